"""Which server process this is, in the rows it writes."""

import os
import secrets
import socket
from dataclasses import dataclass

HOST_CHARS_MAX = 40
PID_DIGITS_MAX = 9
"""More are no process id anywhere, and too large to ask the system about."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """Host, process id and a random mark of this start: the pid alone comes back after a crash."""

    host: str
    pid: int
    start: str

    @classmethod
    def of_this_process(cls) -> "ProcessIdentity":
        return cls(socket.gethostname().replace(":", "-")[:HOST_CHARS_MAX], os.getpid(), secrets.token_hex(4))

    @classmethod
    def parse(cls, text: str) -> "ProcessIdentity | None":
        """The identity written as `str`; None for anything else."""
        host, pid, start = text.split(":") if text.count(":") == 2 else ("", "", "")
        return cls(host, int(pid), start) if pid.isdecimal() and len(pid) <= PID_DIGITS_MAX else None

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.start}"

    def is_known_dead(self, other: "ProcessIdentity") -> bool:
        """True when `other` was a process of this host that is gone; of other hosts nothing is known."""
        if other.host != self.host or other == self:
            return False
        return other.pid == self.pid or not _is_running(other.pid)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's, so it runs
    return True
