"""What the pages of one batch, one operation and one object show beside their fields."""

from collections.abc import Iterable
from typing import Any

from journal.admin_forget import forget_command
from journal.admin_link import list_url, row_url
from journal.admin_replay import refuse_long, refuse_long_way, refuse_unfinished
from journal.admin_text import brief, command_line, names_of, nobody, who
from journal.admin_told import Names, object_urls, told_change, told_touch, users_of
from journal.column import bounded, moment
from journal.difference import step_at, steps_of
from journal.entry import Entry
from journal.error import CorruptJournal, JournalError, OutOfReach
from journal.history import reach_length, reach_of, told_within
from journal.models import KEY_CHARS_MAX, JournalBatch, Operation, SceneObject
from journal.operation import extra_of, subject_of
from journal.reader import hydrate, verified
from journal.settings import settings
from journal.stored_row import Unreadable, backup_hint, stored
from vuer_rtc.crdt.message import UNSET, Op

HISTORY_MAX = 25
"""Earlier operations on the same property that an operation's page shows."""


def batch_page(row: JournalBatch) -> dict[str, Any]:
    """The messages of a batch, bounded; or what is wrong with it."""
    try:
        [whole] = stored(JournalBatch.objects.filter(pk=row.pk))
        entries = verified(whole).entries
    except CorruptJournal as error:
        return {"problem": f"{error.problem}. {error.hint}"}
    except Unreadable as error:
        return {"problem": f"{str(error).capitalize()}. {backup_hint(row.document_id, row.first_seq)}"}
    shown = entries[: settings.admin_messages_max]
    names = names_of({entry.user for entry in shown if entry.user is not None})
    return {
        "journalled": [_message(row, entry, names) for entry in shown],
        "total": len(entries),
        "operations_url": list_url("vuer_journal_operation", document=row.document_id),
    }


def _message(row: JournalBatch, entry: Entry, names: dict[str, str]) -> dict[str, Any]:
    message = entry.message
    return {
        "seq": message.server_seq,
        "id": message.id,
        "client": message.client,
        "who": names[entry.user] if entry.user is not None else nobody(message.client),
        "session": entry.session or "",
        "received_at": moment(entry.received_at),
        "lt": message.lt,
        "clock": brief(message.clock, 200),
        "ops": [_op(row, op) for op in message.ops[: settings.admin_messages_max]],
        "ops_total": len(message.ops),
        "url": list_url("vuer_journal_operation", document=row.document_id, message=bounded(message.id)),
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


def object_page(row: SceneObject) -> dict[str, Any]:
    """The object's retained history, as far as a page reads: who changed it when, from what to what."""
    document = row.document
    try:
        refuse_unfinished(document)
        refuse_long(reach_length(document.pk), "look_back", document, key=row.key)
        reach = reach_of(document.pk)
        since = told_within(document.pk, reach, settings.admin_replay_messages_max)
        refuse_long_way(document, since, reach.head_seq, "look_back", key=row.key)
        key = key_of(row)
        steps = steps_of(document.pk, key, since, reach.head_seq)
    except JournalError as error:
        return {"history_problem": str(error)}
    names = Names(users_of(step.touch for step in steps.newest))
    is_all = steps.count == len(steps.newest)
    is_older = is_all and (not steps.newest or steps.newest[-1].changes[0].before is not None)
    return {
        "steps": [
            told_touch(step.touch, names, document.pk) | told_change(step.changes[0]) for step in steps.newest
        ],
        "more": steps.count - len(steps.newest),
        "oldest_seq": since if is_older else None,
        "older_command": command_line("look_back", document.slug, key=key)
        if since > reach.oldest_seq
        else "",
        "object_key": key,
    }


def key_of(row: SceneObject) -> str:
    """The key of the node, which the row may have cut or altered."""
    if len(row.key) < KEY_CHARS_MAX and "␀" not in row.key:
        return row.key
    keys = hydrate(row.document_id).graph.nodes()
    return next((key for key in keys if bounded(key) == row.key), row.key)


def operation_page(row: Operation) -> dict[str, Any]:
    """What its message changed; what was done to the same property before, newest first; who undid it."""
    rows = Operation.objects.select_related("user").filter(document=row.document_id)
    earlier = rows.filter(key=row.key, path__in=_paths(row), server_seq__lte=row.server_seq).exclude(
        server_seq=row.server_seq, op_index__gte=row.op_index
    )
    undoing = rows.filter(target_message_id=row.message_id) if row.undone else rows.none()
    return {
        "earlier": _lines(earlier.order_by("-server_seq", "-op_index")[:HISTORY_MAX]),
        "undoing": _lines(undoing.order_by("-server_seq")[:HISTORY_MAX]),
        "object_url": list_url("vuer_journal_operation", document=row.document_id, key=row.key),
        "is_undoable": row.is_about_a_node,
        "forget_command": forget_command(row.document, row.client, row.user_id, row.user),
        **_effect(row),
    }


def _effect(row: Operation) -> dict[str, Any]:
    """What its whole message changed when it came in."""
    since, seq = row.server_seq - 1, row.server_seq
    try:
        refuse_unfinished(row.document)
        refuse_long_way(row.document, since, seq, "look_back", since=since, seq=seq)
        step = step_at(row.document_id, seq)
    except OutOfReach:
        return {"is_out_of_reach": True}
    except JournalError as error:
        return {"history_problem": str(error)}
    urls = object_urls(row.document_id, [change.key for change in step.changes])
    told = [told_change(change) | {"url": urls.get(change.key)} for change in step.changes]
    return {"changes": told, "changes_more": step.change_count - len(told)}


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
