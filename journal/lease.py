"""One command at work on a document at a time (rules J14, J48).

The lease saves work and keeps reports honest; nothing is lost without it, because the truncation point never
falls and the last word is a compare-and-set that names the holder.
"""

import logging
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from django.db import Error
from django.db.models import Q, QuerySet
from django.utils import timezone

from journal.error import JournalBusy
from journal.models import Document
from journal.settings import settings

logger = logging.getLogger(__name__)

CLOCKS_APART_MAX = timedelta(days=1)
"""How far the clocks of two hosts may be apart.  A lease that ends later than any does by more than this was written by
a clock that was wrong, and whoever held it may be long gone: it would keep everybody out until that time comes."""

_STARTED = f"{time.time_ns() // 1_000_000:x}"


def process_name() -> str:
    """This process, for people and for leases: where it runs, process id, start in hex milliseconds; at most 64
    characters."""
    return f"{_place()}/{os.getpid()}/{_STARTED}"


def _place() -> str:
    """Where process ids mean the same processes: the host and, on Linux, the number of the PID namespace, for
    containers may share a host name."""
    host = socket.gethostname()
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # as pid:[4026531836]
    except OSError:
        return host[:40]
    return f"{host[:32]}:{namespace[5:-1]}"


@dataclass(slots=True)
class Lease:
    """The right to be at work on one document, until it expires or is lost."""

    document_id: UUID
    holder: str
    _renewed_at: float = field(default=-math.inf, init=False, compare=False)
    """By the process's own clock."""

    def held(self) -> "QuerySet[Document]":
        """The document's row if the lease is still ours, else nothing: for compare-and-set updates."""
        documents = Document.objects
        return documents.filter(pk=self.document_id, lease_holder=self.holder)

    def renew(self) -> None:
        """Afterwards the lease lasts its whole time again.

        Raises: JournalBusy when another process has taken it over.
        """
        if not self.held().update(lease_until=timezone.now() + timedelta(seconds=settings.lease_s)):
            raise JournalBusy(f"document {self.document_id}: another process has taken the lease over")
        self._renewed_at = time.monotonic()

    def keep(self) -> None:
        """As `renew`, unless that was a moment ago: for loops that read, where a commit at every step would take longer
        than the step.  What is deleted or truncated behind it needs an answer of its own.

        Raises: JournalBusy, a hundredth of the lease's time late at most.
        """
        if time.monotonic() - self._renewed_at >= settings.lease_s / 100:
            self.renew()

    def confirm(self, truncated_seq: int) -> None:
        """As `renew`, and nobody has moved the truncation point; always asks the database.  Before what cannot be
        taken back, and after what must be when another command came between.

        Raises: JournalBusy.
        """
        until = timezone.now() + timedelta(seconds=settings.lease_s)
        if not self.held().filter(truncated_seq=truncated_seq).update(lease_until=until):
            raise JournalBusy(f"document {self.document_id}: another command has overtaken this one")
        self._renewed_at = time.monotonic()


@contextmanager
def lease(document_id: UUID, holder: str | None = None) -> Iterator[Lease]:
    """Holds the document's lease for the length of the block.

    Raises: JournalBusy when a living process holds it.
    """
    taken = Lease(document_id, holder or process_name())
    documents = Document.objects.filter(pk=document_id)
    now, length = timezone.now(), timedelta(seconds=settings.lease_s)
    is_free = Q(lease_holder="") | Q(lease_until__isnull=True) | Q(lease_until__lt=now)
    is_free |= Q(lease_until__gt=now + length + CLOCKS_APART_MAX)
    current = documents.values_list("lease_holder", flat=True).first() or ""
    if _is_dead(current):
        is_free |= Q(lease_holder=current)
    if not documents.filter(is_free).update(lease_holder=taken.holder, lease_until=now + length):
        raise JournalBusy(f"{current or 'another process'} is at work on document {document_id}")
    try:
        yield taken
    finally:
        _release(taken)


def _release(taken: Lease) -> None:
    """Afterwards it is free, or, when the database does not take that, ends with this process or its time."""
    try:
        taken.held().update(lease_holder="", lease_until=None)
    except Error as error:
        logger.warning("the lease of document %s could not be given back: %s", taken.document_id, error)


def _is_dead(holder: str) -> bool:
    """True when the holder ran where this process does and is gone: its lease need not run out."""
    place, _, rest = holder.rpartition("/")[0].rpartition("/")
    if place != _place() or not rest.isdecimal():
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it is another account's, and there
    return False
