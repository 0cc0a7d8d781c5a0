"""How far a long command is, on a terminal; nothing anywhere else."""

import time
from typing import Any

INTERVAL_S = 0.2


class Progress:
    """One line that overwrites itself; `stream` is the error stream, so that the output stays clean."""

    def __init__(self, stream: Any, *, is_shown: bool) -> None:
        self._stream = stream
        self._is_shown = is_shown
        self._next_at = 0.0
        self._is_dirty = False

    def tell(self, what: str, done: int, total: int = 0) -> None:
        """`done` of `total` (0: nobody knows) of `what`; shown a few times a second at most."""
        if self._is_shown and (now := time.monotonic()) >= self._next_at:
            self._next_at = now + INTERVAL_S
            self._is_dirty = True
            of = f" of {total} ({100 * done // total} %)" if total else ""
            self._stream.write(f"\r\x1b[K{what}: {done}{of}", ending="")
            self._stream.flush()

    def clear(self) -> None:
        """Afterwards the line is gone."""
        if self._is_dirty:
            self._is_dirty = False
            self._stream.write("\r\x1b[K", ending="")
            self._stream.flush()
