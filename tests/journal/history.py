"""Messages and batches for tests: short ways to say what was written where."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from journal.compaction import KeepRules, Report, compact_document
from journal.entry import Entry
from journal.models import Document, JournalBatch, Operation, SceneObject
from journal.position import read_heads
from journal.reader import hydrate, read_after
from journal.writer import Appended, Draft, append_batches
from vuer_rtc.crdt.message import Message, Op


def message(lt: int, *ops: Op, client: str = "ann", id: str | None = None, **fields: Any) -> Message:
    """A message of `client` whose own counter is its Lamport time."""
    given = ops or (put("n", "x", lt),)
    return Message(
        id=id or f"{client}:{lt}",
        client=client,
        clock={client: lt},
        lt=lt,
        ts=1e9 + lt,
        ops=list(given),
        **fields,
    )


def insert(key: str, parent: str = "", **properties: Any) -> Op:
    return Op(ot="node.insert", key=parent, path="children", value={"key": key, **properties})


def put(key: str, path: str, value: Any) -> Op:
    return Op(ot="number.set", key=key, path=path, value=value)


def undo(target: str) -> Op:
    return Op(ot="meta.undo", key="_meta", path="_meta", target=target)


def entries(*messages: Message) -> list[Entry]:
    return [Entry(item, user=None, session="s-1", received_at=1.75e9 + item.lt) for item in messages]


def head_of(document: Document) -> int:
    return read_heads([document.pk])[document.pk]


def append(document: Document, *messages: Message, user: str | None = None) -> tuple[int, int]:
    """One batch behind the document's head; the sequences it got."""
    given = [Entry(item, user=user, session="s-1", received_at=1.75e9 + item.lt) for item in messages]
    [outcome] = append_batches([Draft(document.pk, head_of(document) + 1, given)], "test")
    assert isinstance(outcome, Appended)
    return outcome.first_seq, outcome.last_seq


def append_each(document: Document, messages: Sequence[Message], size: int = 1) -> None:
    """Batches of `size` messages."""
    for start in range(0, len(messages), size):
        append(document, *messages[start : start + size])


def ranges(document_id: UUID) -> list[tuple[int, int]]:
    """First and last sequence of every batch row."""
    rows = JournalBatch.objects.filter(document=document_id).order_by("first_seq")
    return list(rows.values_list("first_seq", "last_seq"))


def copy_records(compacted: Document, whole: Document) -> None:
    """The cuts of the compacted journal, journalled at the same place in the other one."""
    for batch in read_after(compacted.pk, head_of(whole)):
        append(whole, *batch.messages)


ALL = KeepRules(messages=0, days=0)

HISTORY = [
    message(1, insert("a", x=0), insert("b", "a")),
    message(2, put("a", "x", 5)),
    message(3, Op(ot="number.add", key="a", path="x", value=2)),
    message(4, put("b", "y", 4), client="bob"),
    message(5, Op(ot="node.remove", key="a", path="children", value="b")),
    message(6, undo("ann:5")),
    message(7, put("a", "x", 70)),
    message(8, put("late", "z", 1)),
]
"""Insertions, property ops by two clients, a removal that is undone, an op that waits for its node."""


def compact(document: Document, keep: KeepRules = ALL, **options: Any) -> Report:
    document.refresh_from_db()
    return compact_document(document, keep, **options)


def state(document: Document) -> tuple[int, str]:
    found = hydrate(document.pk)
    return found.head_seq, found.graph.digest()


def all_rows(document: Document) -> list[Any]:
    """The projections of a document, without keys that differ each time they are made."""
    operations = Operation.objects.filter(document=document).order_by("server_seq", "op_index")
    found = SceneObject.objects.filter(document=document).order_by("key")
    return [
        [{k: v for k, v in row.items() if k != "id"} for row in operations.values()],
        [{k: v for k, v in row.items() if k not in ("id", "seq")} for row in found.values()],
    ]
