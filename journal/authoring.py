"""Messages that the site's own code writes, beside whoever else is writing (rules J18 to J20).

An author is a client of the document like any other, called `=site` in every process: the journal decides between two
of them as between all writers.  It waits for no live room; rooms learn of its batches as of another process's.

Errors, beside those of `journal.error`: `InvalidMessage` (a `ValueError` with a code) for operations that no client
could send either.
"""

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.db import connections
from django.dispatch import Signal
from msgspec import to_builtins

from journal.durability import journal_alias, refuse_manual_commit
from journal.entry import Entry
from journal.error import JournalBusy, JournalTruncated, JournalUnavailable, OpenTransaction
from journal.failpoint import reach
from journal.lease import process_name
from journal.reader import hydrate, read_after
from journal.settings import settings
from journal.writer import Appended, Conflict, Draft, Fenced, Outcome, append_batches
from vuer_rtc.crdt.canonical import InvalidMessage, canonical_ops
from vuer_rtc.crdt.graph import Graph, Identity
from vuer_rtc.crdt.message import SITE_CLIENT, Message, Op, numbered

Ops = Iterable[Op | Mapping[str, Any]]
"""Operations as they travel, in any published form, or canonical ones."""
Plan = Callable[[Graph], Ops]
"""The operations for a document as it is; asked again when somebody else's message came between."""
Check = Callable[[Message, Graph], None]
"""Raises when the message must not be written to the document as it is."""

message_authored = Signal()
"""A message of the site is on disk.  Sender: `Author`.  `document_id`; `entry`: the message, with its sequence, and for
whom it was written.  Sent in the thread that wrote it; the live side tells the server processes."""

CONFLICT_PAUSE_S = 0.002
"""Two writers that keep colliding step apart by up to this, times the number of collisions, ten at most."""
UNAVAILABLE_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Authored:
    """A message of the site, durable."""

    seq: int
    message: Message


class Author:
    """Writes to one document; keep it for several messages in a row, which spares reading the document again."""

    graph: Graph
    """The document as far as this author has read it."""
    last_batch: UUID | None
    """Key of the batch that ends there, if it is known."""

    def __init__(self, document_id: UUID) -> None:
        """Reads the document.

        Raises: OpenTransaction; CorruptJournal, UnknownDocument, JournalUnavailable.
        """
        refuse_open_transaction()
        self.document_id = document_id
        self.begin_again()

    def write(
        self,
        ops: Ops | Plan,
        *,
        user: str | None = None,
        auth: bool = False,
        check: Check | None = None,
        prefix: str = f"{SITE_CLIENT}:",
    ) -> Authored | None:
        """Afterwards one message of these operations is durable; None, and nothing written, when a plan has none.

        `user`: primary key, as text, of the account that is told as its author.  With `auth` its undos count on
        anybody's messages.  `prefix` begins the message's id.

        Raises: InvalidMessage, and whatever `check` does; OpenTransaction; BatchTooLarge; JournalBusy when others leave
        no room; CorruptJournal, UnknownDocument; JournalUnavailable, which says whether it may have been written.
        """
        refuse_open_transaction()
        plan = ops if callable(ops) else _always(list(ops))
        authored = _Attempt(self, plan, f"{prefix}{uuid4().hex}", user, auth, check).run()
        if authored is not None:
            entry = Entry(authored.message, user, None, authored.message.ts)
            message_authored.send_robust(Author, document_id=self.document_id, entry=entry)
        return authored

    def undo(self, message_id: str, *, user: str | None = None, check: Check | None = None) -> Authored:
        """Afterwards the message, whoever's it is, is undone.  Raises: as `write`."""
        return self._revoke("meta.undo", message_id, user, check)

    def redo(self, message_id: str, *, user: str | None = None, check: Check | None = None) -> Authored:
        """Afterwards the message counts again.  Raises: as `write`."""
        return self._revoke("meta.redo", message_id, user, check)

    def _revoke(self, ot: str, message_id: str, user: str | None, check: Check | None) -> Authored:
        def known(message: Message, graph: Graph) -> None:
            if graph.seq_of(message_id) is None:
                detail = f"the document retains no message {message_id!r}"
                raise InvalidMessage("unknown-target", detail, message.id)
            if check is not None:
                check(message, graph)

        ops = [{"ot": ot, "targetMsgId": message_id}]
        authored = self.write(ops, user=user, auth=True, check=known)
        assert authored is not None
        return authored

    def read_on(self) -> None:
        """Afterwards the graph holds what the journal holds.  Raises: as `begin_again`."""
        try:
            batches = read_after(self.document_id, self.graph.head_seq, last_batch=self.last_batch)
        except JournalTruncated:
            self.begin_again()
        else:
            for batch in batches:
                for message in batch.messages:
                    self.graph.apply(message)
                self.last_batch = batch.id

    def begin_again(self) -> None:
        """The same, from the newest snapshot.  Raises: CorruptJournal, UnknownDocument, JournalUnavailable."""
        hydrated = hydrate(self.document_id)
        self.graph, self.last_batch = hydrated.graph, hydrated.last_batch

    def draft(self, entry: Entry) -> Draft:
        """Of a batch right behind what the graph holds."""
        return Draft(self.document_id, self.graph.head_seq + 1, [entry], self.last_batch)

    def applied(self, message: Message, appended: Appended) -> Message:
        """The message as the journal has it, which the graph holds afterwards."""
        journalled = numbered(message, appended.first_seq)
        self.graph.apply(journalled)
        self.last_batch = appended.batch
        return journalled


class _FateUnknown(JournalUnavailable):
    """The message may be in the journal, folded away, and nothing will tell."""


class _Attempt:
    """One message on its way into the journal."""

    def __init__(
        self, author: Author, plan: Plan, message_id: str, user: str | None, auth: bool, check: Check | None
    ) -> None:
        self._author = author
        self._plan = plan
        self._user = user
        self._auth = auth
        self._check = check
        self._id = message_id
        self._doubtful: list[Message] = []
        """As it was tried with an unknown outcome: one of these may be in the journal (rule J20)."""

    def run(self) -> Authored | None:
        give_up_at = time.monotonic() + settings.author_patience_s
        collisions = 0
        while True:
            is_over = time.monotonic() > give_up_at
            try:
                if self._doubtful and (found := self._found()) is not None:
                    return found
                message = self._stamped()
                if message is None:
                    return None
                match self._append(message):
                    case Appended() as appended:
                        reach("author.written")
                        return Authored(appended.first_seq, self._author.applied(message, appended))
                    case Fenced():
                        self._author.begin_again()
                    case Conflict() if is_over:
                        problem = f"document {self._author.document_id}: its writers left no room"
                        raise JournalBusy(f"{problem}; {self._fate}")
                    case Conflict():  # read on after the pause, or what is read is old again
                        time.sleep(random.random() * CONFLICT_PAUSE_S * min(collisions, 10))
                        collisions += 1
                        self._author.read_on()
            except _FateUnknown:
                raise
            except JournalUnavailable as error:
                if is_over:
                    raise JournalUnavailable(f"{error}; {self._fate}") from error
                time.sleep(UNAVAILABLE_PAUSE_S)

    @property
    def _fate(self) -> str:
        """What whoever asked for the message is to think of it after a failure."""
        return "it may have been written" if self._doubtful else "nothing was written"

    def _stamped(self) -> Message | None:
        """The message, behind everything that is known; None when there is nothing to write."""
        graph, now = self._author.graph, time.time()
        raw = [to_builtins(op) if isinstance(op, Op) else op for op in self._plan(graph)]
        if not raw:
            return None
        message = Message(
            id=self._id,
            client=SITE_CLIENT,
            clock={SITE_CLIENT: graph.clock.get(SITE_CLIENT, 0) + 1},
            lt=graph.lt + 1,
            ts=now,
            ops=canonical_ops(raw, SITE_CLIENT, now),
            auth=self._auth,
        )
        if (code := graph.refusal(message)) is not None:
            raise InvalidMessage(code, "what it undoes or redoes is not there, or not the site's", message.id)
        if self._check is not None:
            self._check(message, graph)
        return message

    def _append(self, message: Message) -> Outcome:
        author = self._author
        entry = Entry(message, self._user, None, time.time())
        draft = author.draft(entry)
        reach("author.stamped")
        try:
            [outcome] = append_batches([draft], process_name())
        except JournalUnavailable:
            self._doubtful.append(message)
            raise
        return outcome

    def _found(self) -> Authored | None:
        """The message as an earlier try wrote it, whose outcome was unknown.

        Raises: _FateUnknown when something with its counter is folded away: to write it again might double it.
        """
        self._author.read_on()
        graph = self._author.graph
        message = graph.message(self._id)
        if message is not None:
            return Authored(message.server_seq, message)
        if any(graph.identify(tried) is Identity.DUPLICATE for tried in self._doubtful):
            raise _FateUnknown(
                f"document {self._author.document_id}: it was compacted meanwhile; {self._fate}"
            )
        return None


def refuse_open_transaction() -> None:
    """Returns where a commit is one: not inside an `atomic` block, which could still take it back, nor where the caller
    commits.

    Raises: OpenTransaction.
    """
    connection = connections[journal_alias()]
    refuse_manual_commit(connection)
    blocks = connection.atomic_blocks
    if blocks and not getattr(blocks[-1], "_from_testcase", False):  # as Django's own `durable` has it
        raise OpenTransaction(
            "inside an atomic block nothing is durable before the block ends: write to the document after it, "
            "for example by transaction.on_commit; a view under ATOMIC_REQUESTS needs @non_atomic_requests"
        )


def _always(ops: Sequence[Op | Mapping[str, Any]]) -> Plan:
    if not ops:
        raise InvalidMessage("bad-message", "a message has at least one operation")
    return lambda graph: ops


__all__ = ["Author", "Authored", "Check", "Ops", "Plan", "message_authored", "refuse_open_transaction"]
