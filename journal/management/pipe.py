"""A standard output that does not take all that is written: `… | head`, or the encoding of a locale."""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet_without_reader() -> Iterator[None]:
    """When nobody reads the standard output any more, the process ends in the block, as others do of SIGPIPE."""
    try:
        yield
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # where the interpreter writes what is left, at its end
        sys.exit(128 + signal.SIGPIPE)


def write_anything(stream: Any) -> None:
    """From now on what the stream's encoding does not have is written by its number, as on the error stream."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
