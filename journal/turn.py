"""Who keeps losing the race for a document's next sequence asks the others for a turn (rule J24).

Nothing depends on it but fairness: reading on takes longer than the next commit of a writer that never rests, so
whoever has lost once would go on losing for as long as it writes.
"""

from collections import Counter
from contextlib import suppress
from uuid import UUID

from django.db import Error
from django.db.models import F

from journal.models import Document

LOSSES_PER_QUESTION = 2
"""So many in a row, and at every further so many, the others are asked."""

_losses: Counter[UUID] = Counter()


def note_loss(document_id: UUID) -> None:
    """This process has lost a race."""
    _losses[document_id] += 1
    if _losses[document_id] % LOSSES_PER_QUESTION == 0:
        with suppress(Error):
            Document.objects.filter(pk=document_id).update(turns_wanted=F("turns_wanted") + 1)


def note_win(document_id: UUID) -> None:
    """This process has written, or need not any more."""
    _losses.pop(document_id, None)
