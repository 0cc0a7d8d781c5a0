"""Saves a document from memory when its journal is damaged behind a live room's head (rule J23)."""

import asyncio
import time
from contextlib import suppress
from uuid import uuid4

from journal.models import Snapshot
from rooms.batch import Submission
from rooms.cutter import RECORD_BYTES, Nobody
from rooms.room import LiveRoom
from rooms.snapshotter import draft_in_turns, save
from rooms.thread import Worker
from vuer_rtc.crdt.message import cut_record

PATIENCE_S = 10
"""How long the cut may take to get into the journal."""
TRIES = 3
"""Snapshots begun: a late message ends one."""


class Awaited(Nobody):
    """Who sends a record, and waits until it is journalled."""

    def __init__(self) -> None:
        self.is_journalled = asyncio.Event()

    def note_ack(self, seq: int) -> None:
        self.is_journalled.set()


async def rescue(room: LiveRoom, worker: Worker) -> None:
    """Afterwards recovery begins behind all that the room held, if that could be written: a cut folds it, and a
    snapshot holds what is folded.  What was open cannot be undone any more.

    Raises: SnapshotTooLarge; UnknownDocument; database errors as they are.
    """
    origin, now = Awaited(), time.time()
    record = cut_record(f"=server:{uuid4().hex}", max(room.graph.lt, room.graph.cut), now)
    room.submit(Submission(record, origin, None, None, received_at=now, size=RECORD_BYTES))
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            await origin.is_journalled.wait()
    for _ in range(TRIES):
        if (draft := await draft_in_turns(room)) is not None:
            await worker.run(save, room.document_id, draft, Snapshot.Reason.MANUAL)
            return
