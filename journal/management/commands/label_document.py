"""`manage.py label_document`: keep a state of a document under a name, list the names, drop one."""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from journal.error import OutOfReach
from journal.label import drop_label, label_rows, label_state
from journal.management.argument import Senseless
from journal.management.per_document import NamedDocumentCommand, Result
from journal.models import Document, Snapshot
from journal.position import read_heads


class Command(NamedDocumentCommand):
    help = (
        "Keep a state of a document under a name, whatever is compacted afterwards; drop a name; without either, list "
        "the names there are."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        name = parser.add_mutually_exclusive_group()
        name.add_argument("--label", metavar="NAME", help="Keep a state under this name.")
        name.add_argument("--drop", metavar="NAME", help="Afterwards there is no such name.")
        parser.add_argument("--seq", type=int, help="With --label: of this server sequence, not the present.")

    def treat(self, document: Document, options: dict[str, Any]) -> tuple[Result, bool]:
        name, seq, dropped = options["label"], options["seq"], options["drop"]
        if name is None and seq is not None:
            raise Senseless("--seq goes with --label NAME")
        result: Result = {"slug": document.slug, "outcome": "listed"}
        if dropped is not None:
            if not drop_label(document.pk, dropped):
                raise OutOfReach("no-such-label", f"the document has no label {dropped!r}")
            return result | {"outcome": "dropped", "label": dropped}, True
        if name is None:
            return result | {"labels": [told_label(row) for row in label_rows(document.pk)]}, True
        if seq is None:
            seq = read_heads([document.pk]).get(document.pk, 0)
        return result | {"outcome": "labelled"} | told_label(label_state(document.pk, seq, name)), True

    def is_listened_to(self, options: dict[str, Any]) -> bool:
        """A list is read by somebody, on a terminal or not."""
        return (options["label"] is None and options["drop"] is None) or super().is_listened_to(options)

    def describe(self, result: Result) -> Iterator[str]:
        if "labels" not in result:
            there = f" at sequence {result['seq']}" if "seq" in result else ""
            yield f"{result['outcome']}: {result['label']}{there}"
        elif not result["labels"]:
            yield "no labels"
        else:
            yield from (f"{one['label']} at sequence {one['seq']}" for one in result["labels"])


def told_label(row: Snapshot) -> Result:
    return {
        "label": row.label,
        "seq": row.seq,
        "user": str(row.author_id) if row.author_id is not None else None,
        "created_at": row.created_at.timestamp(),
    }
