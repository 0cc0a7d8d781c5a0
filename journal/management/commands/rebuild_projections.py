"""`manage.py rebuild_projections`: makes `Operation` and `SceneObject` rows anew."""

from collections.abc import Iterator
from typing import Any

from journal.management.per_document import DocumentCommand
from journal.models import Document
from journal.projection import rebuild


class Command(DocumentCommand):
    is_exclusive = True
    help = "Make the rows of operations and objects anew from the journal. Safe beside running servers."

    def treat(self, document: Document, options: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        operations, objects = rebuild(document.pk)
        return {
            "slug": document.slug,
            "outcome": "rebuilt",
            "operations": operations,
            "objects": objects,
        }, True

    def describe(self, result: dict[str, Any]) -> Iterator[str]:
        yield f"{result['operations']} operations, {result['objects']} objects"
