"""Who keeps losing the race for a document's next sequence asks the others for a turn (rule J24).

Nothing depends on it but fairness: reading on takes longer than the next commit of a writer that never rests, so
whoever has lost once would go on losing for as long as it writes.
"""

from collections import Counter
from contextlib import suppress
from uuid import UUID

from django.db import Error, connections, transaction
from django.db.models import F

from journal.durability import journal_alias
from journal.models import Document

LOSSES_PER_QUESTION = 2
"""So many in a row, and at every further so many, the others are asked."""

_losses: Counter[UUID] = Counter()


def note_loss(document_id: UUID) -> None:
    """This process has lost a race."""
    _losses[document_id] += 1
    if _losses[document_id] % LOSSES_PER_QUESTION == 0:
        with suppress(Error):
            _ask(document_id)


def _ask(document_id: UUID) -> None:
    """Not while somebody holds the document's row: all rooms of this process would wait for that, their batches written
    but not acknowledged."""
    alias = journal_alias()
    features = connections[alias].features
    rows = Document.objects.using(alias).filter(pk=document_id)
    if features.has_select_for_update_skip_locked:
        with transaction.atomic(using=alias):
            free = rows.select_for_update(skip_locked=True, no_key=features.has_select_for_no_key_update)
            if free.values_list("pk").first() is not None:
                rows.update(turns_wanted=F("turns_wanted") + 1)
    else:
        rows.update(turns_wanted=F("turns_wanted") + 1)


def note_win(document_id: UUID) -> None:
    """This process has written, or need not any more."""
    _losses.pop(document_id, None)
