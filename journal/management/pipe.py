"""A standard output that does not take all that is written: `… | head`, a full disk, the encoding of a locale, or none
at all."""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError


@contextmanager
def written_out() -> Iterator[None]:
    """What the block writes to the standard output is out afterwards.  When nobody reads it any more, the process ends
    there, as others do of SIGPIPE.

    Raises: CommandError where there is no room for it.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _lose_the_rest()
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        _lose_the_rest()
        raise CommandError(f"the standard output: {error}") from error


def _lose_the_rest() -> None:
    """Afterwards the interpreter, at its end, writes what is left into nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_closed() -> None:
    """Afterwards there are standard streams; what is written to those that were closed (`>&-`) goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (until the process ends)


def write_anything(stream: Any) -> None:
    """From now on what the stream's encoding does not have is written by its number, as on the error stream."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
