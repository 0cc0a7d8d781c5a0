"""The Django app."""

from django.apps import AppConfig


class RoomsConfig(AppConfig):
    """Label `vuer_rooms`: a site may well have an app `rooms` of its own."""

    name = "rooms"
    label = "vuer_rooms"
    verbose_name = "Rooms"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.core.checks import register

        from journal.live_side import register_live_side
        from journal.models import document_checks
        from rooms import access, site
        from rooms.limit_form import check_limits
        from rooms.live_side import RoomsLive
        from rooms.settings import check_settings

        register(check_settings)
        access.connect_signals()
        site.connect_signals()
        register_live_side(RoomsLive())
        if check_limits not in document_checks:
            document_checks.append(check_limits)
