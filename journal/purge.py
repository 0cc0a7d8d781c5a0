"""Deletes a document and everything that belongs to it, for good (rules J52, J53).

    mark      one row: from here on the document is gone for every reader, and every writer is fenced
    delete    its archives and its rows, in bounded transactions
    forget    the document's own row; its slug is free again

Killed between any two of them, running it again goes on.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import IntegrityError, connections, models, transaction
from django.db.models.deletion import CASCADE, PROTECT, RESTRICT, Collector, ProtectedError, RestrictedError
from django.db.models.functions import Coalesce
from django.utils import timezone

from journal.archive import delete_archives, may_have_archives
from journal.durability import journal_alias
from journal.error import JournalBusy, PurgeRefused
from journal.failpoint import reach
from journal.lease import Lease, lease
from journal.live_side import current_live_side
from journal.models import Document
from journal.pace import Pace
from journal.truncation import Tell

PURGED_SEQ = 2**62
"""Truncation point of a document that is being deleted: above every sequence, so that the fence (rule J8) takes back
whatever is still written."""
ROWS_MAX = 500
"""Rows that one transaction deletes, at most."""
FAREWELL_MAX_S = 5
"""How long to wait for the sockets of people who are sent away to close."""
TRIES = 10
"""How often the last transaction is tried while writers that do not know yet come between."""


def purge_document(
    document: Document, *, is_forced: bool = False, tell: Tell | None = None
) -> dict[str, int]:
    """Afterwards the document, and everything that belongs to it, is gone for good; what went, by kind.

    `is_forced`: although people are in it; they are sent away.  One that an earlier run has marked is finished whoever
    seems to be in it.

    Raises: PurgeRefused, and nothing has changed; ArchiveFailed, and it is marked: run it again; JournalBusy.
    """
    with lease(document.pk) as held:
        present = current_live_side().connected(document.pk)
        is_marked = document.condition == Document.Condition.PURGING
        if present and not (is_forced or is_marked):
            raise PurgeRefused(
                f"{present} connections are open in {document.slug!r}: close them, or use --force"
            )
        mark_purged(held)
        if present:
            _send_away(document.pk)
        return delete_document(held, tell)


def _send_away(document_id: UUID) -> None:
    """Returns when nobody is connected any more, or soon: who still is can write nothing (rule J52)."""
    current_live_side().close_all(document_id)
    give_up_at = time.monotonic() + FAREWELL_MAX_S
    while current_live_side().connected(document_id) and time.monotonic() < give_up_at:
        time.sleep(0.1)


def mark_purged(held: Lease) -> None:
    """Afterwards nobody can read, join or write the document; nothing is deleted yet.  Idempotent.

    Raises: PurgeRefused when rows of the site protect it; JournalBusy when the lease was lost.
    """
    _refuse_protected(held.document_id)
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
    may_be_there = may_have_archives(held.document_id)
    if archives := delete_archives(held.document_id, may_be_there=may_be_there):
        deleted["archives"] = archives
    for relation in filter(_goes_along, relations()):
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
    """The foreign keys to documents, of all apps; those without a name on this side as well."""
    fields = Document._meta.get_fields(include_hidden=True)
    return [relation for relation in fields if isinstance(relation, models.ManyToOneRel)]


def _refuse_protected(document_id: UUID) -> None:
    """Returns when no row of the site protects the document, nor a row that goes along.  Raises: PurgeRefused."""
    for relation in relations():
        if _is_protected_elsewhere(relation) and _rows(relation, document_id).exists():
            raise PurgeRefused(f"rows of {relation.related_model._meta.label} refer to it and protect it")
        if _goes_along(relation):
            _refuse_protected_rows(_rows(relation, document_id).order_by("pk"))


def _refuse_protected_rows(rows: models.QuerySet[Any]) -> None:
    """The same for the rows of one model, as many at a time as will be deleted together."""
    if Collector(using=journal_alias()).can_fast_delete(rows):
        return  # nothing refers to rows of this model
    page = rows
    while some := list(page.values_list("pk", flat=True)[:ROWS_MAX]):
        try:
            Collector(using=journal_alias()).collect(rows.filter(pk__in=some).only("pk"))
        except (ProtectedError, RestrictedError) as error:
            raise PurgeRefused(str(error.args[0])) from error
        page = rows.filter(pk__gt=some[-1])


def _goes_along(relation: models.ManyToOneRel) -> bool:
    """True when the rows are deleted with the document; those of the site that protect it have refused."""
    return relation.on_delete is CASCADE or relation.on_delete is PROTECT


def _is_protected_elsewhere(relation: models.ManyToOneRel) -> bool:
    is_ours = relation.related_model._meta.app_label == Document._meta.app_label
    return relation.on_delete is RESTRICT or (relation.on_delete is PROTECT and not is_ours)


def _rows(relation: models.ManyToOneRel, document_id: UUID) -> models.QuerySet[Any]:
    manager = relation.related_model._base_manager.using(journal_alias())
    return manager.filter(**{relation.field.name: document_id}).order_by()


def _delete_in_steps(relation: models.ManyToOneRel, held: Lease) -> Iterator[int]:
    rows, pace = _rows(relation, held.document_id), Pace(ROWS_MAX)
    while some := list(rows.values_list("pk", flat=True)[: pace.rows]):
        with pace.step(connections[journal_alias()]), transaction.atomic(using=journal_alias()):
            if relation.related_model._meta.app_label != Document._meta.app_label:
                _forget_log(relation.related_model, some)
            rows.filter(pk__in=some).delete()
            reach("purge.deleting")
        held.renew()
        yield len(some)


def _delete_last(held: Lease) -> None:
    """The document's row, and with it what a projection or a writer left meanwhile."""
    for attempt in range(TRIES):
        try:
            with transaction.atomic(using=journal_alias()):
                for relation in filter(_goes_along, relations()):
                    _rows(relation, held.document_id).delete()
                _forget_log(Document, [held.document_id])
                Document.objects.filter(pk=held.document_id).delete()
            return
        except (IntegrityError, ProtectedError, RestrictedError):
            if attempt == TRIES - 1:
                raise
            held.renew()


def _forget_log(model: type[models.Model], keys: Sequence[Any]) -> None:
    """What the admin's log says of these rows: it names them, and with them the document."""
    if apps.is_installed("django.contrib.admin"):
        name = {"app_label": model._meta.app_label, "model": model._meta.model_name}
        types = apps.get_model("contenttypes", "ContentType").objects.filter(**name)
        entries = apps.get_model("admin", "LogEntry").objects.filter(
            content_type__in=list(types),  # not by a join: MongoDB deletes from one collection only
            object_id__in=[str(key) for key in keys],
        )
        entries.delete()
