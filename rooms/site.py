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

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db import Error

from journal.authoring import Author, Authored, Ops, message_authored
from journal.entry import Entry
from journal.error import JournalError, UnknownDocument
from journal.models import Document
from journal.reader import answering, read_batches
from rooms.admission import limits_of
from rooms.batch import REFUSALS
from rooms.bus import announce
from rooms.herald import committed
from rooms.news import Committed
from rooms.policy import policy
from rooms.projector import project_graph
from rooms.signals import batch_committed
from rooms.site_text import placed_ops
from rooms.thread import in_database_thread
from vuer_rtc.crdt.canonical import InvalidMessage
from vuer_rtc.crdt.dtype import CREATE_OPS
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message
from vuer_rtc.protocol.codes import ClientFault, ErrorCode
from vuer_rtc.protocol.limit import check_message
from vuer_rtc.protocol.session import Right

logger = logging.getLogger(__name__)

AnyDocument = Document | UUID | str
"""A row, its primary key, or its slug."""


class EditRefused(Exception):
    """The document does not take the message; nothing was written."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Scene:
    """A document as everybody sees it."""

    seq: int
    """Server sequence of its newest message."""
    root: str
    """Key of the first node created at root level; `""`: none."""
    nodes: dict[str, dict[str, Any]]
    """Nodes that are not removed, by key: properties (texts as strings), `tag`, `name`, `key` and `children`.  Not
    to be changed: the values are the document's own."""


class Editor:
    """One document, for several edits in a row: it is read once, then only what is new.  For one thread at a time.

    As a context manager it brings the rows of operations and scene objects up to date at the end.
    """

    def __init__(self, document: AnyDocument, *, user: Any = None, check: bool = False) -> None:
        """`user`: the account that is recorded as the author; None: the site itself.  With `check` the policy is asked
        what it may do, for None what a visitor may.

        Raises: UnknownDocument; PermissionDenied; OpenTransaction; CorruptJournal, JournalUnavailable.
        """
        self.document = find_document(document)
        self._user = None if user is None or user.is_anonymous else str(user.pk)
        self._rights = policy().rights(user or AnonymousUser(), self.document) if check else frozenset(Right)
        self._need(Right.VIEW)
        self._limits = limits_of(self.document)
        self._author = Author(self.document.pk)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.project()

    def edit(self, ops: Ops) -> Authored:
        """Afterwards one message of these operations is on disk; its sequence, and the message as it was written.

        `ops`: as clients send them; text operations may name a `position` (and a `length`), in Unicode code points
        of the text as it is when they are written.  One message is journalled, merged and undone as one.

        Raises: EditRefused; PermissionDenied; OpenTransaction, JournalBusy, JournalUnavailable, CorruptJournal.
        """
        self._need(Right.EDIT)
        given = list(ops)
        with refusals():
            authored = self._author.write(
                lambda graph: placed_ops(graph, given), user=self._user, check=self._check
            )
        if authored is None:
            raise EditRefused(
                ErrorCode.BAD_MESSAGE, "a message has at least one operation, that changes something"
            )
        return authored

    def undo(self, message_id: str) -> Authored:
        """Afterwards the message does not count.  With `check`, other accounts' take the right to moderate.

        Raises: as `edit`.
        """
        self._need_undo(message_id)
        with refusals():
            return self._author.undo(message_id, user=self._user, check=self._check)

    def redo(self, message_id: str) -> Authored:
        """Afterwards the message counts again.  Raises: as `edit`."""
        self._need_undo(message_id)
        with refusals():
            return self._author.redo(message_id, user=self._user, check=self._check)

    def read(self) -> Scene:
        """The document as the journal has it now.  Raises: JournalUnavailable, CorruptJournal, UnknownDocument."""
        self._author.read_on()
        graph = self._author.graph
        flat = graph.flat()
        return Scene(graph.head_seq, flat["root"], flat["nodes"])

    def project(self) -> None:
        """Afterwards the rows of operations and scene objects are as new as what this editor has read, whoever has the
        document open.  A database that fails is logged: a room, or the next edit, makes up for it."""
        try:
            project_graph(self.document.pk, self._author.graph)
        except (Error, JournalError) as error:
            logger.warning("rows of document %s wait: %s", self.document.pk, error)

    def _check(self, message: Message, graph: Graph) -> None:
        check_message(message, self._limits)
        made = sum(op.ot in CREATE_OPS for op in message.ops)
        if made and graph.node_count + made > self._limits.nodes_max:
            raise ClientFault(ErrorCode.TOO_MANY_NODES, REFUSALS[ErrorCode.TOO_MANY_NODES])

    def _need(self, right: Right) -> None:
        if right not in self._rights:
            raise PermissionDenied(f"you may not {right} {self.document}")

    def _need_undo(self, message_id: str) -> None:
        self._need(Right.EDIT)
        if Right.MODERATE not in self._rights and not self._is_own(message_id):
            raise PermissionDenied(f"you may not undo others' work in {self.document}")

    def _is_own(self, message_id: str) -> bool:
        self._author.read_on()
        seq = self._author.graph.seq_of(message_id)
        if seq is None or self._user is None:
            return False
        with answering():
            batch = next(read_batches(self.document.pk, seq - 1))
        return batch.entries[seq - batch.first_seq].user == self._user


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


def read(document: AnyDocument, *, user: Any = None, check: bool = False) -> Scene:
    """The document as the journal has it now.  Raises: as `Editor` and its `read`."""
    return Editor(document, user=user, check=check).read()


aedit = in_database_thread(edit)
aundo = in_database_thread(undo)
aredo = in_database_thread(redo)
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


def find_document(document: AnyDocument) -> Document:
    """The row, if it is not archived.  Raises: UnknownDocument, JournalUnavailable."""
    if isinstance(document, Document):
        found: Document | None = document
    else:
        name = {"pk": document} if isinstance(document, UUID) else {"slug": document}
        with answering():
            found = Document.objects.filter(**name).first()
    if found is None or found.archived_at is not None:
        raise UnknownDocument(f"{document}: there is no such document, or it is archived")
    return found


@contextmanager
def refusals() -> Iterator[None]:
    """What is against a message comes out of the block as EditRefused."""
    try:
        yield
    except InvalidMessage as error:
        raise EditRefused(ErrorCode(error.code), error.detail) from error
    except ClientFault as fault:
        raise EditRefused(fault.code, fault.detail) from fault


__all__ = [
    "Authored",
    "EditRefused",
    "Editor",
    "Scene",
    "aedit",
    "aread",
    "aredo",
    "aundo",
    "edit",
    "read",
    "redo",
    "undo",
]
