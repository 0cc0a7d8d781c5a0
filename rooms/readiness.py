"""Whether this process should be sent more clients."""

import asyncio
import logging

from journal.durability import journal_connection
from journal.error import JournalUnavailable
from journal.models import Document
from journal.stored_row import answering
from rooms.hub import hub_of_this_process
from rooms.settings import settings
from rooms.thread import in_database_thread
from rooms.vitals import Vitals

logger = logging.getLogger(__name__)


async def obstacles() -> list[str]:
    """Why it should not; nothing when it should.

    A hub that has not begun yet, as under a server without the lifespan protocol, begins with the first client.
    """
    found = []
    hub = hub_of_this_process()
    if hub is not None and hub.is_leaving:
        return ["the server is stopping"]
    if hub is not None and hub.loop is asyncio.get_running_loop():
        stuck_s = _stuck_s(hub.vitals())
        if stuck_s > settings.ready_stuck_s:
            found.append(f"messages wait, and nothing was written for {stuck_s:.0f} s")
    try:
        async with asyncio.timeout(settings.ready_timeout_s):
            await in_database_thread(ask_database)()
    except TimeoutError:
        found.append("the database does not answer")
    except JournalUnavailable as error:
        logger.warning("not ready: %s", error)
        found.append("the database cannot be read")
    return found


def _stuck_s(vitals: Vitals) -> float:
    """PostgreSQL's locks are each in the way of something, SQLite's is in the way of everything."""
    return vitals.unanswered_s if journal_connection().vendor == "postgresql" else vitals.stuck_s


def ask_database() -> None:
    """Returns when the database answers.  Raises: JournalUnavailable."""
    with answering():
        Document.objects.order_by().values_list("pk").first()
