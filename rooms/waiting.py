"""What waits for the journal in one room: first come first, within bounds, and its senders know how it stands."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from rooms.batch import Batch, Bounds, GraphReader, Submission, build_batch
from rooms.settings import settings
from vuer_rtc.protocol.codes import ErrorCode
from vuer_rtc.protocol.limit import Limits
from vuer_rtc.protocol.wire import Ack, Error

AWAY = "the journal does not answer; the message waits for it"
FULL = "too much waits for the journal; send it again later"
FAULT = "the message could not be journalled"


class Budget:
    """Bytes that may wait for the journal, shared by all rooms of the process."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_left = bytes_max


class Waiting:
    """The messages of one room that no batch has taken yet.

    What a batch has taken still counts against the budget until `finish`, `put_back` or `isolate` says what became of
    it, or the room closes: one that fails over a batch says nothing more of it.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._messages_max = settings.waiting_messages_max
        self._submissions: deque[Submission] = deque()
        self._suspects_max: int | None = None
        """Messages that the next batch may hold while the one that cannot be written is looked for; None: as many
        as the settings allow."""
        self._bytes_held = 0
        """Of the budget, by what waits here and by what batches have taken."""
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._submissions)

    def __iter__(self) -> Iterator[Submission]:
        return iter(self._submissions)

    def take(self, submission: Submission) -> bool:
        """Afterwards it waits; False when that would be too much, and its sender is told."""
        if len(self._submissions) >= self._messages_max or self._budget.bytes_left < submission.size:
            refuse(submission, ErrorCode.UNAVAILABLE, FULL)
            return False
        self._budget.bytes_left -= submission.size
        self._bytes_held += submission.size
        self._submissions.append(submission)
        return True

    def next_batch(self, graph: GraphReader, limits: Limits, lost: Mapping[str, int]) -> Batch | None:
        """The next batch, off the queue; what is refused, and without a batch what is known, has been answered."""
        messages_max = self._suspects_max or settings.batch_messages_max
        bounds = Bounds(messages_max, settings.batch_bytes_max, limits, lost)
        batch = build_batch(graph, self._submissions, bounds)
        if not batch.accepted:
            self._acknowledge(batch)
        for submission, fault in batch.refused:
            submission.origin.send(Error.of(fault))
        self._release(submission for submission, _ in batch.refused)
        return batch if batch.accepted else None

    def finish(self, batch: Batch) -> None:
        """The fate of its messages is known, and the senders of what it has written know it."""
        self._acknowledge(batch)
        self._release(batch.written)
        self._suspects_max = None

    def _acknowledge(self, batch: Batch) -> None:
        """What was known before is answered."""
        for submission, seq in batch.known:
            submission.origin.send(Ack(submission.message.id, seq))
            if seq is not None:
                submission.origin.note_ack(seq)
        self._release(submission for submission, _ in batch.known)

    def put_back(self, batch: Batch) -> None:
        """The batch is not on disk, or nobody knows: its messages wait again, before all others."""
        if not self._is_closed:
            self._submissions.extendleft(reversed(list(batch.submissions)))

    def isolate(self, batch: Batch) -> None:
        """The batch cannot be written as it is: try half of it next, and refuse the one message at fault."""
        if len(batch.accepted) > 1:
            self._suspects_max = len(batch.accepted) // 2
            self.put_back(batch)
            return
        for submission in batch.written:
            refuse(submission, ErrorCode.BAD_MESSAGE, FAULT)
        self.finish(batch)

    def warn(self, batch: Batch | None = None) -> None:
        """Tell senders, once per message, that the journal is unavailable; those of a batch on its way, too."""
        for submission in (*(batch.submissions if batch is not None else ()), *self._submissions):
            if not submission.is_warned:
                submission.is_warned = True
                refuse(submission, ErrorCode.UNAVAILABLE, AWAY)

    def close(self) -> None:
        """What waits is dropped without an answer, and what is put back later, too; nothing of it counts any more."""
        self._is_closed = True
        self._give_back(self._bytes_held)
        self._submissions.clear()

    def _release(self, submissions: Iterable[Submission]) -> None:
        if not self._is_closed:
            self._give_back(sum(submission.size for submission in submissions))

    def _give_back(self, size: int) -> None:
        self._bytes_held -= size
        self._budget.bytes_left += size


def refuse(submission: Submission, code: ErrorCode, detail: str) -> None:
    """Tell its sender that it is not taken, or not yet."""
    submission.origin.send(Error.because(code, detail, submission.message.id))
