"""A pipe that nobody reads any more: `… | head`."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_without_reader() -> Iterator[None]:
    """When nobody reads the standard output any more, the process ends in the block, as others do of SIGPIPE."""
    try:
        yield
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # where the interpreter writes what is left, at its end
        sys.exit(128 + signal.SIGPIPE)
