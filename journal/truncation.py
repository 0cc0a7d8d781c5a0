"""Where a journal begins, and the deletion of what lies before it (rule J15, steps 0, 4 and 5)."""

from collections.abc import Callable
from uuid import UUID

from django.db import connections, transaction

from journal.durability import journal_alias
from journal.error import JournalBusy
from journal.failpoint import reach
from journal.lease import Lease
from journal.models import JournalBatch, Operation
from journal.operation import delete_operations
from journal.pace import Pace
from journal.position import truncated_seq_of
from journal.settings import settings

BATCHES_MAX = 1000
"""Batches that one transaction deletes, at most."""

Tell = Callable[[str, int], None]
"""Told of progress: of what, and how far."""


def truncate(held: Lease, seq: int, cut: int) -> None:
    """Afterwards batches up to `seq`, folded by `cut`, are nobody's, for every process.

    Raises: JournalBusy when the lease was lost.
    """
    ending = JournalBatch.objects.filter(document=held.document_id, last_seq=seq).order_by()
    batch = ending.values_list("pk", flat=True).first()
    lower = held.held().filter(truncated_seq__lt=seq)
    if not lower.update(truncated_seq=seq, truncated_batch=batch, cut=cut):
        raise JournalBusy(f"document {held.document_id}: another process has taken the lease over")


def has_truncated(document_id: UUID, truncated_seq: int) -> bool:
    """True while rows are left at or below the truncation point."""
    batches = JournalBatch.objects.filter(document=document_id, last_seq__lte=truncated_seq)
    operations = Operation.objects.filter(document=document_id, server_seq__lte=truncated_seq)
    return batches.exists() or operations.exists()


def delete_truncated(held: Lease, tell: Tell | None) -> int:
    """Afterwards no batch is left at or below the truncation point, nor its operation rows; how many went."""
    alias, document_id = journal_alias(), held.document_id
    truncated_seq = truncated_seq_of(document_id)
    batches = JournalBatch.objects.filter(document=document_id, last_seq__lte=truncated_seq)
    deleted, pace = 0, Pace(BATCHES_MAX)
    while some := _oldest(
        list(batches.order_by("last_seq").values_list("pk", "last_seq", "message_count")[: pace.rows])
    ):
        upto = some[-1][1]
        delete_operations(document_id, upto)  # a message may have many
        with pace.step(connections[alias]), transaction.atomic(using=alias):
            Operation.objects.filter(document=document_id, server_seq__lte=upto).delete()
            # One bound: of two, SQLite looks rows up by the one and reads all that are to go for the other.
            deleted += JournalBatch.objects.filter(document=document_id, last_seq__lte=upto).delete()[0]
            reach("compact.deleting")
        held.renew()
        if tell is not None:
            tell("deleted up to seq", upto)
    delete_operations(document_id, truncated_seq)  # a live room may have written rows of batches just gone
    return deleted


def _oldest(rows: list[tuple[UUID, int, int]]) -> list[tuple[UUID, int, int]]:
    """As many of the oldest batches as one transaction may delete, at least one if there are any."""
    messages = 0
    for index, (_, _, count) in enumerate(rows):
        messages += count
        if messages > settings.delete_messages_max and index:
            return rows[:index]
    return rows
