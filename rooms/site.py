"""Editing from the site's own code: views, commands, jobs, receivers of signals.

    import rooms

    rooms.edit("stage", [{"ot": "number.set", "key": "lamp", "path": "watts", "value": 40}], user=request.user)
    await rooms.aedit("stage", […])
    rooms.read("stage").nodes["lamp"]

It makes no difference whether the room is open in this process, in another one, or nowhere: the message goes into the
journal, and every process that has the room open is told.  When a call returns, its message is on disk.

What may go wrong: `EditRefused` (a coded refusal, as a client would get it), `PermissionDenied` (with `check`), and the
errors of `journal.error`: `UnknownDocument`, `OpenTransaction`, `JournalBusy`, `JournalUnavailable`, `CorruptJournal`.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from journal.authoring import Authored, Ops, message_authored
from journal.entry import Entry
from journal.models import Document
from journal.reader import hydrate
from rooms.bus import announce
from rooms.editor import AnyDocument, Editor, EditRefused, Scene, find_visible, scene_of
from rooms.herald import committed
from rooms.news import Committed
from rooms.signals import batch_committed
from rooms.thread import in_database_thread


def edit(document: AnyDocument, ops: Ops, *, user: Any = None, check: bool = False) -> Authored:
    """Afterwards one message of these operations is on disk, and on its way to everybody who has the document open.

    Reads the whole document; an `Editor` reads it once for many edits.  Raises: as `Editor` and its `edit`.
    """
    with Editor(document, user=user, check=check) as editor:
        return editor.edit(ops)


def undo(document: AnyDocument, message_id: str, *, user: Any = None, check: bool = False) -> Authored:
    """Afterwards the message does not count.  Raises: as `Editor` and its `undo`."""
    with Editor(document, user=user, check=check) as editor:
        return editor.undo(message_id)


def redo(document: AnyDocument, message_id: str, *, user: Any = None, check: bool = False) -> Authored:
    """Afterwards the message counts again.  Raises: as `Editor` and its `redo`."""
    with Editor(document, user=user, check=check) as editor:
        return editor.redo(message_id)


def restore(
    document: AnyDocument,
    *,
    seq: int | None = None,
    at: datetime | None = None,
    label: str | None = None,
    keys: Collection[str] | None = None,
    user: Any = None,
    check: bool = False,
) -> Authored | None:
    """Afterwards the document, or some of its nodes, are what they were.  Raises: as `Editor` and its `restore`."""
    with Editor(document, user=user, check=check) as editor:
        return editor.restore(seq=seq, at=at, label=label, keys=keys)


def read(document: AnyDocument, *, user: Any = None, check: bool = False) -> Scene:
    """The document as the journal has it now; inside an `atomic` block, too.

    Raises: UnknownDocument; PermissionDenied; CorruptJournal, JournalUnavailable.
    """
    found, _ = find_visible(document, user, check)
    return scene_of(hydrate(found.pk).graph)


aedit = in_database_thread(edit)
aundo = in_database_thread(undo)
aredo = in_database_thread(redo)
arestore = in_database_thread(restore)
aread = in_database_thread(read)


def connect_signals() -> None:
    """Afterwards the live side hears of every message of the site that this process writes."""
    message_authored.connect(_hear, dispatch_uid="vuer_rooms.site")


def _hear(sender: type, document_id: UUID, entry: Entry, **_: Any) -> None:
    tell(document_id, entry)


def tell(document_id: UUID, entry: Entry) -> None:
    """Afterwards the processes that have the document open know of a batch of one message that was written here, or
    will soon; and so do this process's receivers."""
    seq = entry.message.server_seq
    announce(Committed(document_id, seq))
    if batch_committed.receivers:
        batch_committed.send_robust(Document, **committed(document_id, seq, [entry]))


__all__ = [
    "Authored",
    "EditRefused",
    "Editor",
    "Scene",
    "aedit",
    "aread",
    "aredo",
    "arestore",
    "aundo",
    "edit",
    "read",
    "redo",
    "restore",
    "undo",
]
