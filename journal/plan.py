"""Which batches the keep rules let go, and the cut that folds them: from rows alone, without a graph (rule J14)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from journal.lease import CLOCKS_APART_MAX
from journal.models import Document, JournalBatch
from journal.position import TRUNCATED
from journal.reader import Batch, read_batches, retained, while_retained
from journal.settings import settings
from vuer_rtc.crdt.message import INTEGER_MAX, cut_of
from vuer_rtc.crdt.undo import targets_of

SPANS_MAX = 20_000
"""Spans of a document that planning holds before it takes neighbours together, about: a robot makes 50 million batches
in a month, and of so many it does not matter whether four thousand more stay."""


@dataclass(frozen=True, slots=True)
class KeepRules:
    """What compaction leaves alone; both must let a message go."""

    messages: int
    """The newest so many messages of clients."""
    days: float
    """Everything younger than this."""

    @classmethod
    def of(cls, document: Document, messages: int | None = None, days: float | None = None) -> "KeepRules":
        """The rules given, else the document's, else the site's."""
        own = (document.keep_messages, document.keep_days)
        return cls(
            messages=next(n for n in (messages, own[0], settings.keep_messages) if n is not None),
            days=next(n for n in (days, own[1], settings.keep_days) if n is not None),
        )


@dataclass(frozen=True, slots=True)
class Span:
    """What planning needs to know of a retained batch, or of several in a row that undo nothing and cut nothing."""

    first_seq: int
    last_seq: int
    created_at: datetime
    """Of the youngest batch."""
    edits: int = 0
    """Messages of clients in it.  Server records do not count: a cut must not push the next cut along for
    ever."""
    lt_max: int = 0
    """Highest Lamport time of these."""
    lt_min: int = INTEGER_MAX
    """Lowest."""
    targets: tuple[str, ...] = ()
    """Ids of the messages that they undo or redo."""
    cut: int = 0
    """The highest that a record in it says; 0: none."""
    batches: int = 1

    @property
    def is_plain(self) -> bool:
        """True when nobody needs to know in which batch of several something is."""
        return not self.targets and not self.cut

    def with_next(self, following: "Span") -> "Span":
        """Both, as one; they are plain."""
        return Span(
            self.first_seq,
            following.last_seq,
            max(self.created_at, following.created_at),
            self.edits + following.edits,
            max(self.lt_max, following.lt_max),
            min(self.lt_min, following.lt_min),
            batches=self.batches + following.batches,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a compaction is going to do."""

    truncate_seq: int
    """S: batches up to here go."""
    cut: int
    """F: highest Lamport time among their messages."""
    batches: int
    messages: int


@dataclass(slots=True)
class Outline:
    """The measures of all retained batches of a document, in order; of very many, of a few in a row together."""

    document_id: UUID
    truncated_seq: int
    spans: list[Span] = field(default_factory=list)
    last_batch: UUID = TRUNCATED
    """Key of the batch that ends at the head."""
    _grain: int = 1
    """Batches of one span, at most."""
    _thin_at: int = field(default_factory=lambda: SPANS_MAX)

    @property
    def head_seq(self) -> int:
        return self.spans[-1].last_seq if self.spans else self.truncated_seq

    def read_on(self) -> None:
        """Afterwards it holds what was journalled meanwhile, too."""
        self.add(read_batches(self.document_id, self.head_seq))

    def add(self, batches: Iterable[Batch]) -> "Outline":
        """The same, with these batches behind the others."""
        for batch in batches:
            append_span(self.spans, span_of(batch), self._grain)
            self.last_batch = batch.id
            if len(self.spans) >= self._thin_at:
                self._grain *= 2
                spans, self.spans = self.spans, []
                for span in spans:
                    append_span(self.spans, span, self._grain)
                self._thin_at = max(SPANS_MAX, 2 * len(self.spans))
        return self

    def behind(self, seq: int) -> list[Span]:
        """The batches behind a truncation point."""
        return [span for span in self.spans if span.first_seq > seq]

    def cut_seq(self, cut: int) -> int | None:
        """Last sequence of the first batch with which everything up to `cut` is folded; None when there is none."""
        return next((span.last_seq for span in self.spans if span.cut >= cut), None)


def read_outline(document_id: UUID) -> Outline:
    """The document as planning sees it.  Cost: reading and decoding every retained batch; nothing is applied.

    Raises: CorruptJournal; UnknownDocument; JournalUnavailable.
    """
    return while_retained(
        document_id,
        lambda truncated_seq: Outline(document_id, truncated_seq).add(retained(document_id, truncated_seq)),
    )


def append_span(spans: list[Span], span: Span, grain: int) -> None:
    """The span behind the others, or, with up to so many batches, as one with the last of them."""
    last = spans[-1] if spans else span
    if spans and last.is_plain and span.is_plain and last.batches + span.batches <= grain:
        spans[-1] = last.with_next(span)
    else:
        spans.append(span)


def span_of(batch: Batch) -> Span:
    """The measures of one batch."""
    lts: list[int] = []
    targets: list[str] = []
    cut = 0
    for entry in batch.entries:
        message = entry.message
        if message.is_server_record:
            cut = max(cut, cut_of(message))
            continue
        lts.append(message.lt)
        targets += targets_of(message)
    lowest, highest = (min(lts), max(lts)) if lts else (INTEGER_MAX, 0)
    return Span(
        batch.first_seq, batch.last_seq, batch.created_at, len(lts), highest, lowest, tuple(targets), cut
    )


def plan_truncation(spans: Sequence[Span], keep: KeepRules, now: datetime) -> Plan | None:
    """The longest run of batches, from the oldest on, that both rules let go; None when it holds no edit.  Pure.

    A batch from a day that is yet to come has its time from a clock that was wrong: it goes with the next that goes.
    """
    try:
        oldest_to_keep = now - timedelta(days=keep.days)
    except (OverflowError, ValueError):
        return None  # before the calendar begins; or no number: everything stays
    spare = sum(span.edits for span in spans) - keep.messages
    count = 0
    for place, span in enumerate(spans, 1):
        spare -= span.edits
        if spare < 0:
            break
        if _is_to_come(span.created_at, now):
            continue
        if span.created_at > oldest_to_keep:
            break
        count = place
    going = spans[:count]
    if not any(span.edits for span in going):
        return None
    return Plan(
        truncate_seq=going[-1].last_seq,
        cut=max(span.lt_max for span in going),
        batches=sum(span.batches for span in going),
        messages=going[-1].last_seq - going[0].first_seq + 1,
    )


def _is_to_come(moment: datetime, now: datetime) -> bool:
    """True for a time that no clock shows yet that is right, more or less."""
    return moment > now + CLOCKS_APART_MAX


def may_let_go(document_id: UUID, truncated_seq: int, keep: KeepRules, now: datetime) -> bool:
    """False when the keep rules let nothing go, not even the oldest batch, as its row and the newest one tell without
    their payloads.  Cost: those two, however long the journal is."""
    rows = JournalBatch.objects.filter(document=document_id, last_seq__gt=truncated_seq).order_by("last_seq")
    oldest = rows.values_list("first_seq", "last_seq", "created_at").first()
    if oldest is None:
        return False
    first_seq, last_seq, created_at = oldest
    if created_at is None or _is_to_come(created_at, now):
        return True  # a text that is no time: reading the journal says what is wrong; or those behind it tell
    head_seq = rows.values_list("last_seq", flat=True).last() or last_seq
    rest = Span(last_seq + 1, head_seq, now, edits=head_seq - last_seq)
    guess = [Span(first_seq, last_seq, created_at, edits=last_seq - first_seq + 1), rest]
    return plan_truncation(guess, keep, now) is not None
