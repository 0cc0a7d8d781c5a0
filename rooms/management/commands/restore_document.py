"""`manage.py restore_document`: put a document, or some of its nodes, back to what it was."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from journal.authoring import Author, Authored
from journal.management.argument import Senseless
from journal.management.moment import moment
from journal.management.per_document import NamedDocumentCommand
from journal.models import Document, Snapshot
from journal.restore import (
    Point,
    planned,
    point_at,
    point_at_time,
    point_of,
    point_of_label,
    restore,
    unknown_keys,
)
from rooms.projector import project_graph
from vuer_rtc.crdt.canonical import InvalidMessage


class Command(NamedDocumentCommand):
    help = (
        "Write one message that makes a document show what it showed at some point. Whoever has it open sees it at "
        "once; a moderator, or --undo, can undo it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        point = parser.add_mutually_exclusive_group(required=True)
        point.add_argument("--seq", type=int, help="The state when this was the newest server sequence.")
        point.add_argument("--at", type=moment, metavar="TIME", help="The state at this time (ISO 8601).")
        point.add_argument("--label", help="The state of this name.")
        point.add_argument("--snapshot", type=UUID, metavar="ID", help="The state of this snapshot.")
        point.add_argument("--undo", metavar="MESSAGE", help="Undo a restore (or any message), by its id.")
        point.add_argument("--redo", metavar="MESSAGE", help="Let a message that is undone count again.")
        parser.add_argument(
            "--key", action="append", metavar="KEY", help="Only this node; may be given several times."
        )
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be written.")

    def treat(self, document: Document, options: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        result: dict[str, Any] = {"slug": document.slug, "outcome": "nothing to do"}
        author = Author(document.pk)
        try:
            for name, outcome in (("undo", "undone"), ("redo", "redone")):
                if options[name] is not None:
                    return result | self._turn(author, name, options) | {"outcome": outcome}, True
            return result | self._restore(author, document, options), True
        except InvalidMessage as error:
            return result | {"outcome": "failed", "detail": str(error), "code": error.code}, False

    def _turn(self, author: Author, name: str, options: dict[str, Any]) -> dict[str, Any]:
        if options["dry_run"] or options["key"]:
            raise Senseless(f"--{name} takes neither --dry-run nor --key")
        turn = author.undo if name == "undo" else author.redo
        return written(author, turn(options[name]))

    def _restore(self, author: Author, document: Document, options: dict[str, Any]) -> dict[str, Any]:
        point, keys = point_of_options(document, options), options["key"]
        if keys and (unknown := unknown_keys(author, point, keys)):
            raise Senseless(f"no such node, then or now: {', '.join(unknown)}")
        result: dict[str, Any] = {"to_seq": point.seq}
        if options["dry_run"]:
            ops = planned(author, point, keys)
            return result | ({"outcome": "planned", "ops": dict(Counter(op.ot for op in ops))} if ops else {})
        authored = restore(author, point, keys)
        return result if authored is None else result | {"outcome": "restored", **written(author, authored)}

    def is_listened_to(self, options: dict[str, Any]) -> bool:
        """Always: whoever restores needs the id of the message to take it back."""
        return True

    def describe(self, result: dict[str, Any]) -> Iterator[str]:
        there = f" to sequence {result['to_seq']}" if "to_seq" in result else ""
        ops = ", ".join(f"{count} {ot}" for ot, count in result.get("ops", {}).items())
        yield f"{result['outcome']}{there}{': ' if ops else ''}{ops}"
        if result["outcome"] == "restored":
            yield f"to undo it: --undo {result['message']}"


def point_of_options(document: Document, options: dict[str, Any]) -> Point:
    if options["seq"] is not None:
        return point_at(document.pk, options["seq"])
    if options["at"] is not None:
        return point_at_time(document.pk, options["at"])
    if options["label"] is not None:
        return point_of_label(document.pk, options["label"])
    row = Snapshot.objects.filter(document=document, pk=options["snapshot"]).first()
    if row is None:
        raise Senseless(f"{document.slug} has no snapshot {options['snapshot']}")
    return point_of(row)


def written(author: Author, authored: Authored) -> dict[str, Any]:
    """What was written."""
    project_graph(author.document_id, author.graph, author.last_batch)
    message = authored.message
    return {"seq": authored.seq, "message": message.id, "ops": dict(Counter(op.ot for op in message.ops))}
