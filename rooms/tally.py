"""What this process has done since its start, in plain numbers: written on the event loop, read by `rooms.metrics`.

A dictionary entry counted up costs a twentieth of a microsecond, where a labelled counter of prometheus-client, with
its lock, costs one; a message costs the server some fifty.
"""

from bisect import bisect_left
from collections import defaultdict

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
MESSAGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Distribution:
    """How many values fell between which bounds, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Values up to each bound and above the one before; last, those above all bounds."""
        self.total = 0.0

    def note(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Tally:
    """The counts of one process."""

    def __init__(self) -> None:
        self.received: dict[type, int] = defaultdict(int)
        """What clients asked for, by effect of the session; a `Reply` is a refusal."""
        self.received_bytes = 0
        self.sent: dict[type, int] = defaultdict(int)
        """Messages to clients, by type; those in a `batch` each for itself."""
        self.sent_frames = 0
        self.sent_bytes = 0
        """What sockets took; of text frames the characters."""
        self.refused: dict[str, int] = defaultdict(int)
        """Messages refused, by error code."""
        self.closed: dict[tuple[int, str], int] = defaultdict(int)
        """Connections that ended or were not let in, by close code and whose that is (`Session.ClosedBy`)."""
        self.ack_s = Distribution(SECONDS)
        """From a message's arrival until it is acknowledged."""
        self.commit_s = Distribution(SECONDS)
        """Of one transaction, for all rooms that it wrote."""
        self.batch_messages = Distribution(MESSAGES)
        self.hydration_s = Distribution(SECONDS)
        self.conflicts = 0
        """Batches that another writer was faster than."""
        self.snapshots = 0
        self.failures: dict[str, int] = defaultdict(int)
        """What nobody foresaw and the log has the traceback of, and where the journal did not answer."""


tally = Tally()
