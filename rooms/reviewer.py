"""Keeps open connections within the rights they have now."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable
from uuid import UUID

from django.db import Error

from rooms.admission import Admission
from rooms.connection import Connection
from rooms.news import Kicked, RightsChanged
from rooms.settings import settings
from rooms.thread import Worker
from rooms.verdict import Visit, verdicts_of

logger = logging.getLogger(__name__)

GATHER_S = 0.1
"""Changes come in bursts (a form saves a group and its permissions), and a logout is told a moment before it is."""
PAUSE_S = 1
"""After a failure of the database."""
DOCUMENTS_MAX = 50
CONNECTIONS_MAX = 200
"""Of one go, so that joins get their turn at the worker threads."""


class Reviewer:
    """Asks the policy again for the connections of this process: when told to, when a document's access version is
    not the one they were let in by, and every `rights_recheck_s`."""

    def __init__(self, worker: Worker, connections: Collection[Connection]) -> None:
        self._worker = worker
        self._connections = connections
        self._versions: dict[UUID, int] = {}
        """Access version of each live document as of its last review."""
        self._wanted: set[UUID] = set()
        self._has_work = asyncio.Event()

    def request(self, document_ids: Iterable[UUID]) -> None:
        """Review these documents' connections soon."""
        self._wanted.update(document_ids)
        self._has_work.set()

    def take(self, news: RightsChanged) -> None:
        """Review the connections that the news concern soon, guests by that user's leave among them."""
        concerned = (connection.admission for connection in self._connections)
        self.request({each.document_id for each in concerned if _concerns(news, each)})

    def kick(self, news: Kicked) -> None:
        """Close the connections that the news concern."""
        for connection in list(self._connections):
            admission = connection.admission
            wanted = (news.document, news.session, news.user)
            found = (admission.document_id, admission.session_id, admission.user)
            if all(want in (None, have) for want, have in zip(wanted, found, strict=True)):
                connection.close(news.code)

    def note_version(self, document_id: UUID, version: int) -> None:
        """The document's access version is that now."""
        if self._versions.get(document_id, version) != version:
            self.request([document_id])
        self._versions[document_id] = version

    def joined(self, connection: Connection) -> None:
        """The connection is in; what changed after its rights were asked for is not missed."""
        admission = connection.admission
        known = self._versions.setdefault(admission.document_id, admission.access_version)
        if known != admission.access_version:
            self.request([admission.document_id])

    def forgotten(self, document_id: UUID) -> None:
        """The document's room has left memory."""
        self._versions.pop(document_id, None)

    async def run(self) -> None:
        """Reviews until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._work())
            group.create_task(self._recheck())

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(settings.rights_recheck_s or 3600)
            if settings.rights_recheck_s:
                self.request({connection.admission.document_id for connection in self._connections})

    async def _work(self) -> None:
        while True:
            await self._has_work.wait()
            await asyncio.sleep(GATHER_S)
            self._has_work.clear()
            wanted, self._wanted = sorted(self._wanted), set()
            for start in range(0, len(wanted), DOCUMENTS_MAX):
                some = wanted[start : start + DOCUMENTS_MAX]
                if not await self._review(some):
                    self.request(some)
                    await asyncio.sleep(PAUSE_S)

    async def _review(self, document_ids: Collection[UUID]) -> bool:
        """Afterwards the connections of these documents have their rights; False when the database failed."""
        concerned = [each for each in self._connections if each.admission.document_id in document_ids]
        for start in range(0, len(concerned), CONNECTIONS_MAX):
            if not await self._ask(concerned[start : start + CONNECTIONS_MAX]):
                return False
        return True

    async def _ask(self, connections: Collection[Connection]) -> bool:
        visits: dict[UUID, list[Visit]] = defaultdict(list)
        for connection in connections:
            admission = connection.admission
            visits[admission.document_id].append(Visit(admission.session_id, admission.credential))
        try:
            found = await self._worker.run(verdicts_of, visits)
        except Error as error:
            logger.warning("rights cannot be asked for, trying again: %s", error)
            return False
        except Exception:
            logger.exception("rights cannot be asked for")
            return True
        for connection in connections:
            admission = connection.admission
            verdict = found.verdicts.get(admission.session_id)
            if verdict is not None:
                connection.take_verdict(verdict)
            limits = found.limits.get(admission.document_id)
            if limits is not None:
                connection.take_limits(limits)
        return True


def _concerns(news: RightsChanged, admission: Admission) -> bool:
    if news.document not in (None, admission.document_id):
        return False
    grant = admission.credential.grant
    users = (admission.user, grant.authority if grant is not None else None)
    return news.user is None or news.user in users
