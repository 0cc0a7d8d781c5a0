"""The server record that folds history away, journalled beside live writers (rule J15, step 1)."""

import random
import time
from uuid import UUID, uuid4

from journal.entry import Entry
from journal.error import JournalBusy
from journal.lease import process_name
from journal.reader import read_after
from journal.settings import settings
from journal.writer import Appended, Conflict, Draft, append_batches
from vuer_rtc.crdt.message import cut_record


def journal_cut(document_id: UUID, head_seq: int, cut: int, last_batch: UUID | None = None) -> None:
    """Afterwards the record of `cut` is journalled, behind `head_seq`, where that batch ends if it is known.

    Live writers may be appending: on a conflict the record goes behind what they wrote.

    Raises: JournalBusy when writers never leave a gap or another compaction has truncated behind the head, or what was
    there is not there any more (rule J66).
    """
    record = cut_record(f"=server:{uuid4().hex}", cut, time.time())
    for _ in range(settings.cut_attempts_max):
        draft = Draft(document_id, head_seq + 1, [Entry(record, received_at=time.time())], last_batch)
        [outcome] = append_batches([draft], process_name())
        match outcome:
            case Appended():
                return
            case Conflict(was_locked=was_locked):
                for batch in read_after(document_id, head_seq, last_batch=last_batch):
                    head_seq, last_batch = batch.last_seq, batch.id
                if was_locked:
                    time.sleep(random.uniform(0.005, 0.05))
            case _:
                raise JournalBusy(f"document {document_id}: another compaction has overtaken this one")
    raise JournalBusy(f"document {document_id}: its writers left no room for the cut; try again")
