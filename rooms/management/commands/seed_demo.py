"""`manage.py seed_demo`: a document for everybody to try the server with."""

from typing import Any

from django.core.management.base import BaseCommand

from journal.models import Document

DEMO_SLUG = "demo"


class Command(BaseCommand):
    help = "Make the document `demo`, open to anonymous editors. Changes nothing when it is there."

    def handle(self, *args: Any, **options: Any) -> None:
        _, is_new = Document.objects.get_or_create(
            slug=DEMO_SLUG, defaults={"title": "Demo", "visibility": Document.Visibility.PUBLIC_EDIT}
        )
        if options["verbosity"] > 0:
            self.stdout.write(f"document {DEMO_SLUG}: {'made' if is_new else 'already there'}")
