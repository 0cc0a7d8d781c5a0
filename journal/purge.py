"""Deletes a document and everything that belongs to it, for good (rules J52, J53).

    mark      one row: from here on the document is gone for every reader, and every writer is fenced
    delete    its archives and its rows, in bounded transactions
    forget    the document's own row; its slug is free again

Killed between any two of them, running it again goes on.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from django.db import IntegrityError, models, transaction
from django.db.models.deletion import CASCADE, PROTECT, RESTRICT, ProtectedError, RestrictedError
from django.db.models.functions import Coalesce
from django.utils import timezone

from journal.archive import delete_archives
from journal.durability import journal_alias
from journal.error import JournalBusy, PurgeRefused
from journal.failpoint import reach
from journal.lease import Lease
from journal.models import Document

PURGED_SEQ = 2**62
"""Truncation point of a document that is being deleted: above every sequence, so that the fence (rule J8) takes back
whatever is still written."""
ROWS_MAX = 500
"""Rows that one transaction deletes."""
TRIES = 10
"""How often the last transaction is tried while writers that do not know yet come between."""

Tell = Callable[[str, int], None]
"""Told of progress: of what, and how many so far."""


def mark_purged(held: Lease) -> None:
    """Afterwards nobody can read, join or write the document; nothing is deleted yet.  Idempotent.

    Raises: PurgeRefused when a model of the site protects it; JournalBusy when the lease was lost.
    """
    for relation in relations():
        if _is_protected_elsewhere(relation) and _rows(relation, held.document_id).exists():
            raise PurgeRefused(f"rows of {relation.related_model._meta.label} refer to it and protect it")
    marked = held.held().update(
        condition=Document.Condition.PURGING,
        truncated_seq=PURGED_SEQ,
        archived_at=Coalesce("archived_at", timezone.now()),
    )
    if not marked:
        raise JournalBusy(f"document {held.document_id}: another process has taken the lease over")
    reach("purge.marked")


def delete_document(held: Lease, tell: Tell | None = None) -> dict[str, int]:
    """Afterwards nothing of a marked document is left; numbers of files and rows deleted, by kind.

    Raises: ArchiveFailed: it stays marked; JournalBusy.
    """
    deleted: Counter[str] = Counter()
    if archives := delete_archives(held.document_id):
        deleted["archives"] = archives
    for relation in relations():
        if relation.on_delete is CASCADE or relation.on_delete is PROTECT:
            kind = str(relation.related_model._meta.verbose_name_plural)
            for count in _delete_in_steps(relation, held):
                deleted[kind] += count
                if tell is not None:
                    tell(kind, deleted[kind])
    reach("purge.emptied")
    _delete_last(held)
    reach("purge.done")
    return dict(deleted)


def relations() -> list[models.ManyToOneRel]:
    """The foreign keys to documents, of all apps."""
    return [
        relation for relation in Document._meta.related_objects if isinstance(relation, models.ManyToOneRel)
    ]


def _is_protected_elsewhere(relation: models.ManyToOneRel) -> bool:
    is_ours = relation.related_model._meta.app_label == Document._meta.app_label
    return relation.on_delete is RESTRICT or (relation.on_delete is PROTECT and not is_ours)


def _rows(relation: models.ManyToOneRel, document_id: UUID) -> models.QuerySet[Any]:
    manager = relation.related_model._base_manager.using(journal_alias())
    return manager.filter(**{relation.field.name: document_id}).order_by()


def _delete_in_steps(relation: models.ManyToOneRel, held: Lease) -> Iterator[int]:
    rows = _rows(relation, held.document_id)
    while some := list(rows.values_list("pk", flat=True)[:ROWS_MAX]):
        with transaction.atomic(using=journal_alias()):
            rows.filter(pk__in=some).delete()
            reach("purge.deleting")
        held.renew()
        yield len(some)


def _delete_last(held: Lease) -> None:
    """The document's row, and with it what a projection or a writer left meanwhile."""
    for attempt in range(TRIES):
        try:
            with transaction.atomic(using=journal_alias()):
                for relation in relations():
                    if relation.on_delete is CASCADE or relation.on_delete is PROTECT:
                        _rows(relation, held.document_id).delete()
                Document.objects.filter(pk=held.document_id).delete()
            return
        except (IntegrityError, ProtectedError, RestrictedError):
            if attempt == TRIES - 1:
                raise
            held.renew()
