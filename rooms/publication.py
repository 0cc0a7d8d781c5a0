"""A client's message put into the journal by site code: a bridge, a bot with a client of its own, a gateway.

What the site writes in its own name goes through `rooms.edit`.
"""

import random
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from journal.authoring import Author
from journal.entry import Entry
from journal.error import JournalBusy
from journal.models import Document
from journal.writer import Appended, Conflict, Fenced, append_batches
from rooms.admission import limits_of
from rooms.batch import Bounds, Submission, build_batch
from rooms.editor import find_document, refusals
from rooms.site import tell
from vuer_rtc.crdt.canonical import canonical_message
from vuer_rtc.crdt.message import Message
from vuer_rtc.protocol.limit import Limits, check_message

ATTEMPTS_MAX = 100
CONFLICT_PAUSE_S = 0.02
AUTHORS_MAX = 8
"""Documents kept in memory, so that a message costs what is new and not what the document holds."""


class Publisher:
    """Journals messages of clients.  For one thread at a time."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._authors: OrderedDict[UUID, Author] = OrderedDict()

    def publish(
        self, document_id: UUID, raw: Message | Mapping[str, Any], user: str | None = None
    ) -> int | None:
        """Afterwards the message is on disk and on its way to everybody; its sequence, None when that has been folded
        away.  A second time it is found, not written again: after JournalUnavailable publish it once more.

        Raises: EditRefused, when it is none or the document does not take it; UnknownDocument; JournalBusy;
        JournalUnavailable, CorruptJournal.
        """
        document = find_document(document_id)
        limits = limits_of(document)
        with refusals():
            message = raw if isinstance(raw, Message) else canonical_message(dict(raw))
            check_message(message, limits)
            return self._journal(self._author(document), message, limits, user)

    def _author(self, document: Document) -> Author:
        """Of the document as the journal has it now."""
        author = self._authors.pop(document.pk, None) or Author(document.pk)
        author.read_on()
        self._authors[document.pk] = author
        if len(self._authors) > AUTHORS_MAX:
            self._authors.popitem(last=False)
        return author

    def _journal(self, author: Author, message: Message, limits: Limits, user: str | None) -> int | None:
        """Its sequence; everybody is told when it was written now."""
        bounds = Bounds(1, limits.frame_bytes_max, limits)
        for attempt in range(ATTEMPTS_MAX):
            submission = Submission(message, None, user, None, time.time(), size=0)
            batch = build_batch(author.graph, deque([submission]), bounds)
            if batch.refused:
                raise batch.refused[0][1]
            if batch.known:
                return batch.known[0][1]
            entry = Entry(batch.messages[0], user, None, submission.received_at)
            [outcome] = append_batches([author.draft(entry)], self._process)
            match outcome:
                case Appended() as appended:
                    author.applied(entry.message, appended)
                    tell(author.document_id, entry)
                    return appended.first_seq
                case Fenced():
                    author.begin_again()
                case Conflict():  # read on after the pause, or what is read is old again
                    time.sleep(random.random() * CONFLICT_PAUSE_S * min(attempt, 10))
                    author.read_on()
        raise JournalBusy(f"document {author.document_id}: its writers left no room")
