"""One document in the hands of the site's own code; see `rooms.site`."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db import Error

from journal.authoring import Author, Authored, Ops
from journal.error import JournalError, UnknownDocument
from journal.models import Document
from journal.reader import read_batches
from journal.restore import Point, point_at, point_at_time, point_of_label
from journal.restore import restore as restore_document
from journal.stored_row import answering
from rooms.admission import limits_of
from rooms.capacity import Capacity
from rooms.policy import policy
from rooms.projector import project_graph
from rooms.site_text import placed_ops
from vuer_rtc.crdt.canonical import InvalidMessage
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
        self.document, self._rights = find_visible(document, user, check)
        self._user = None if user is None or user.is_anonymous else str(user.pk)
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

    def restore(
        self,
        *,
        seq: int | None = None,
        at: datetime | None = None,
        label: str | None = None,
        keys: Collection[str] | None = None,
    ) -> Authored | None:
        """Afterwards the document, or the nodes of `keys`, are what they were at a server sequence, at a time, or under
        a label; None when they are already.  One message, to be undone as one.  With `check` it takes the right to
        moderate.

        Raises: OutOfReach; RestoreTooLarge; ValueError without one point; and as `edit`, but no limits count.
        """
        self._need(Right.MODERATE)
        point = find_point(self.document.pk, seq, at, label)
        with refusals():
            return restore_document(self._author, point, keys, user=self._user)

    def read(self) -> Scene:
        """The document as the journal has it now.  Raises: JournalUnavailable, CorruptJournal, UnknownDocument."""
        self._author.read_on()
        return scene_of(self._author.graph)

    def project(self) -> None:
        """Afterwards the rows of operations and scene objects are as new as what this editor has read, whoever has the
        document open.  A database that fails is logged: a room, or the next edit, makes up for it."""
        try:
            project_graph(self.document.pk, self._author.graph, self._author.last_batch)
        except (Error, JournalError) as error:
            logger.warning("rows of document %s wait: %s", self.document.pk, error)

    def _check(self, message: Message, graph: Graph) -> None:
        check_message(message, self._limits)
        Capacity(graph, self._limits).take(message)

    def _need(self, right: Right) -> None:
        need(right, self._rights, self.document)

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


def find_point(document_id: UUID, seq: int | None, at: datetime | None, label: str | None) -> Point:
    """The state that exactly one of these names.  Raises: ValueError; OutOfReach and as reading."""
    if [seq, at, label].count(None) != 2:
        raise ValueError("name one point: a sequence, a time or a label")
    if seq is not None:
        return point_at(document_id, seq)
    return point_at_time(document_id, at) if at is not None else point_of_label(document_id, str(label))


def find_visible(document: AnyDocument, user: Any, check: bool) -> tuple[Document, frozenset[Right]]:
    """The row, and what may be done with it: with `check` as the policy says, else all.

    Raises: UnknownDocument; PermissionDenied; JournalUnavailable.
    """
    found = find_document(document)
    rights = policy().rights(user or AnonymousUser(), found) if check else frozenset(Right)
    need(Right.VIEW, rights, found)
    return found, rights


def need(right: Right, rights: frozenset[Right], document: Document) -> None:
    """Returns when the right is among them.  Raises: PermissionDenied."""
    if right not in rights:
        raise PermissionDenied(f"you may not {right} {document}")


def scene_of(graph: Graph) -> Scene:
    flat = graph.flat()
    return Scene(graph.head_seq, flat["root"], flat["nodes"])


def find_document(document: AnyDocument) -> Document:
    """The row, if it is not archived.  Raises: UnknownDocument, JournalUnavailable."""
    if isinstance(document, Document):
        found: Document | None = document
    else:
        name = {"pk": document} if isinstance(document, UUID) else {"slug": document}
        with answering():
            found = Document.objects.filter(**name).first()
    if found is None or found.archived_at is not None:
        raise UnknownDocument(f"{document}, or it is archived")
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


__all__ = ["AnyDocument", "EditRefused", "Editor", "Scene", "find_document", "refusals"]
