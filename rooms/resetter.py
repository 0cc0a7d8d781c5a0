"""Resets that clients ask for: done in a worker thread, answered by the record that everybody gets (rule R6)."""

import asyncio
import logging
from uuid import UUID

from django.db import Error as DatabaseError

from journal.error import JournalError
from journal.models import Document
from journal.reset import StaleEpoch
from rooms.connection import Connection
from rooms.moderation import reset_by
from rooms.thread import Worker
from vuer_rtc.protocol.codes import ClientFault, ErrorCode
from vuer_rtc.protocol.wire import Error

logger = logging.getLogger(__name__)

AWAY = "the document could not be reset now"


class Resetter:
    """Empties documents for moderators' connections."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._tasks: set[asyncio.Task[None]] = set()

    def request(self, connection: Connection, epoch: int) -> None:
        """Empty the connection's document, if it is in that epoch still; else tell the connection why not."""
        task = asyncio.get_running_loop().create_task(self._reset(connection, epoch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reset(self, connection: Connection, epoch: int) -> None:
        admission = connection.admission
        try:
            await self._worker.run(_reset, admission.document_id, admission.user, epoch)
        except ClientFault as fault:
            refuse(connection, fault.code, fault.detail)
        except StaleEpoch as error:
            refuse(connection, ErrorCode.STALE_EPOCH, str(error))
        except (JournalError, DatabaseError) as error:
            logger.warning("document %s could not be reset: %s", admission.document_id, error)
            refuse(connection, ErrorCode.UNAVAILABLE, AWAY)
        except Exception:
            logger.exception("document %s could not be reset", admission.document_id)
            refuse(connection, ErrorCode.UNAVAILABLE, AWAY)


def refuse(connection: Connection, code: ErrorCode, detail: str) -> None:
    connection.send(Error.because(code, detail, about="room-reset"))


def _reset(document_id: UUID, user: str | None, epoch: int) -> None:
    """Afterwards the document is empty.  Raises: ClientFault for one that nobody may edit now; as `reset_by`."""
    document = Document.objects.get(pk=document_id)
    if document.is_read_only or document.archived_at is not None:
        raise ClientFault(ErrorCode.FORBIDDEN, "the document takes no edits from anybody")
    reset_by(document_id, user, epoch)
