"""What the pages of one batch and one operation show beside their fields."""

from collections.abc import Iterable
from typing import Any

from journal.admin_text import brief, list_url, names_of, row_url, who
from journal.column import bounded, moment
from journal.entry import Entry
from journal.error import CorruptJournal
from journal.models import JournalBatch, Operation
from journal.operation import extra_of, subject_of
from journal.reader import verified
from journal.settings import settings
from vuer_rtc.crdt.message import SERVER_CLIENT, UNSET, Op

HISTORY_MAX = 25
"""Earlier operations on the same property that an operation's page shows."""


def batch_page(row: JournalBatch) -> dict[str, Any]:
    """The messages of a batch, bounded; or what is wrong with it."""
    try:
        entries = verified(row).entries
    except CorruptJournal as error:
        return {"problem": f"{error.problem}. {error.hint}"}
    shown = entries[: settings.admin_messages_max]
    names = names_of({entry.user for entry in shown if entry.user is not None})
    return {
        "journalled": [_message(row, entry, names) for entry in shown],
        "total": len(entries),
        "operations_url": list_url("vuer_journal_operation", document=row.document_id),
    }


def _message(row: JournalBatch, entry: Entry, names: dict[str, str]) -> dict[str, Any]:
    message = entry.message
    nobody = "server" if message.client == SERVER_CLIENT else "anonymous"
    return {
        "seq": message.server_seq,
        "id": message.id,
        "client": message.client,
        "who": names[entry.user] if entry.user is not None else nobody,
        "session": entry.session or "",
        "received_at": moment(entry.received_at),
        "lt": message.lt,
        "clock": brief(message.clock, 200),
        "ops": [_op(row, op) for op in message.ops[: settings.admin_messages_max]],
        "ops_total": len(message.ops),
        "url": list_url("vuer_journal_operation", document=row.document_id, q=bounded(message.id)),
    }


def _op(row: JournalBatch, op: Op) -> dict[str, Any]:
    key, path = subject_of(op)
    extra = extra_of(op) | ({} if op.target is UNSET else {"targetMsgId": op.target})
    bound = settings.admin_value_chars_max
    return {
        "otype": op.ot,
        "key": key,
        "path": path,
        "value": "" if op.value is UNSET else brief(op.value, bound),
        "extra": brief(extra, bound) if extra else "",
        "url": list_url("vuer_journal_operation", document=row.document_id, key=bounded(key)),
    }


def operation_page(row: Operation) -> dict[str, Any]:
    """What was done to the same property before, newest first, and who undid this operation."""
    rows = Operation.objects.select_related("user").filter(document=row.document_id)
    earlier = rows.filter(key=row.key, path__in=_paths(row), server_seq__lte=row.server_seq).exclude(
        server_seq=row.server_seq, op_index__gte=row.op_index
    )
    undoing = rows.filter(target_message_id=row.message_id) if row.undone else rows.none()
    return {
        "earlier": _lines(earlier.order_by("-server_seq", "-op_index")[:HISTORY_MAX]),
        "undoing": _lines(undoing.order_by("-server_seq")[:HISTORY_MAX]),
        "object_url": list_url("vuer_journal_operation", document=row.document_id, key=row.key),
    }


def _paths(row: Operation) -> list[str]:
    """The property itself, and the structural operations, which may have given it its first value."""
    return sorted({row.path, ""})


def _lines(rows: Iterable[Operation]) -> list[dict[str, Any]]:
    return [
        {
            "url": row_url("vuer_journal_operation", row.pk),
            "place": f"{row.server_seq}/{row.op_index}",
            "received_at": row.received_at,
            "who": who(row),
            "client": row.client,
            "otype": row.otype,
            "path": row.path,
            "value": brief(row.value, 200) or row.target_message_id,
            "undone": row.undone,
        }
        for row in rows
    ]
