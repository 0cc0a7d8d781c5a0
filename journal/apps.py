"""The Django app."""

from django.apps import AppConfig


class JournalConfig(AppConfig):
    """Label `vuer_journal`: a site may well have an app `journal` of its own."""

    name = "journal"
    label = "vuer_journal"
    verbose_name = "Journal"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.core.checks import Tags, register
        from django.db.backends.signals import connection_created

        from journal.check import check_accounts, check_durability, check_settings
        from journal.sqlite_file import note_opened

        register(check_settings)
        register(check_accounts)
        register(check_durability, Tags.database)
        connection_created.connect(note_opened)
