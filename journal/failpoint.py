"""Places where the crash tests end the process, as a power cut would (rule J17).

`VUER_RTC_FAILPOINT=append.inserted` makes the process SIGKILL itself when it comes there;
`append.inserted:5` the fifth time; `append.inserted:5:SIGSTOP` puts it to sleep there instead, until SIGCONT.
Without that variable `reach` does nothing.
"""

import os
import signal
import threading

VARIABLE = "VUER_RTC_FAILPOINT"

POINTS = (
    "append.drafted",
    "append.begun",
    "append.inserted",
    "append.fenced",
    "append.committed",
    "author.stamped",
    "author.written",
    "reset.written",
    "settle.begun",
    "settle.applied",
    "settle.told",
    "project.operations",
    "project.objects",
    "project.done",
    "snapshot.begun",
    "snapshot.written",
    "compact.leased",
    "compact.cut",
    "compact.snapshot",
    "compact.origin",
    "compact.proved",
    "compact.spared",
    "archive.begun",
    "archive.saved",
    "archive.proved",
    "compact.truncated",
    "compact.deleting",
    "compact.deleted",
    "compact.pruned",
    "compact.projected",
    "import.begun",
    "import.writing",
    "import.written",
    "import.proved",
    "import.done",
    "purge.marked",
    "purge.deleting",
    "purge.emptied",
    "purge.done",
    "redact.begun",
    "redact.replaced",
    "redact.deleted",
)
"""Every named point; FORMAT.md says what follows from a death at each."""

AT_COMMANDS = tuple(point for point in POINTS if point.startswith(("import.", "purge.", "redact.", "reset.")))
"""Those that no live room and no compaction comes to."""


class Fuse:
    """Ends the process the `times`-th time it is reached, or sends it another signal then."""

    def __init__(self, point: str, times: int = 1, number: signal.Signals = signal.SIGKILL) -> None:
        if point not in POINTS:
            raise ValueError(f"{VARIABLE}: no such point: {point!r}; there are {', '.join(POINTS)}")
        self.point = point
        self.times_left = times
        self.number = number

    @classmethod
    def parse(cls, text: str) -> "Fuse":
        point, times, name, *_ = [*text.split(":"), "", ""]
        return cls(point, int(times or 1), signal.Signals[name or "SIGKILL"])

    def reach(self, point: str) -> None:
        if point == self.point:
            self.times_left -= 1
            if self.times_left == 0:
                # To this thread: the process as a whole is stopped by whichever thread the signal finds first, while
                # this one goes on for a moment.
                signal.pthread_kill(threading.get_ident(), self.number)


_fuse = Fuse.parse(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def reach(point: str) -> None:
    """Called at every point; does nothing unless the process was started with that point armed."""
    if _fuse is not None:
        _fuse.reach(point)


def arm(text: str) -> None:
    """Afterwards this process is as if it had been started with the variable set so."""
    global _fuse
    _fuse = Fuse.parse(text)
