"""What open connections may do now: the policy asked again, in a worker thread."""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from django.db import Error

from journal.models import Document
from journal.position import still_there
from rooms.admission import limits_of
from rooms.credential import Accounts, Credential, rights_of
from rooms.models import Session
from rooms.policy import NOTHING
from rooms.refusal import Refused
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.limit import Limits
from vuer_rtc.protocol.session import Rights

logger = logging.getLogger(__name__)

Verdict = Rights | CloseCode
"""The rights of a connection now, or the code to close it with."""


class Visit(NamedTuple):
    """One open connection."""

    session_id: UUID
    credential: Credential


class Findings(NamedTuple):
    """What holds now for the connections that were asked about."""

    verdicts: dict[UUID, Verdict]
    """By session."""
    limits: dict[UUID, Limits]
    """By document; those that are gone are missing."""


def verdicts_of(visits: Mapping[UUID, Sequence[Visit]]) -> Findings:
    """For the open connections to each document.

    Costs one query for the documents, one for requests to close, one for accounts, one per login, and what the policy
    asks per account and document.  A policy that fails changes nothing, nor does a row that cannot be read.  Raises:
    django.db.Error.
    """
    documents = _documents(list(visits))
    requested = Session.objects.connected().filter(
        document__in=list(visits), close_requested_at__isnull=False
    )
    kicked = set(requested.values_list("pk", flat=True))
    accounts = Accounts()
    accounts.load(visit.credential for those in visits.values() for visit in those)
    verdicts: dict[UUID, Verdict] = {}
    for document_id, those in visits.items():
        if document_id not in documents:
            continue
        document = documents[document_id]
        try:
            by_credential = {
                visit.credential: _verdict(visit.credential, document, accounts) for visit in those
            }
        except Error:
            raise
        except Exception:
            logger.exception("rights in document %s could not be asked for and stay as they are", document_id)
            continue
        verdicts.update((visit.session_id, by_credential[visit.credential]) for visit in those)
    limits = {key: limits_of(document) for key, document in documents.items() if document is not None}
    return Findings({**verdicts, **dict.fromkeys(kicked, CloseCode.KICKED)}, limits)


def _documents(document_ids: list[UUID]) -> dict[UUID, Document | None]:
    """The rows of these, None for those that are gone; one that cannot be read is missing, and keeps nobody else's from
    being read."""
    try:
        found = still_there().in_bulk(document_ids)
    except Error:
        raise
    except Exception:  # of Django, over what somebody has written into a column
        if len(document_ids) > 1:
            return {key: row for each in document_ids for key, row in _documents([each]).items()}
        logger.exception("document %s cannot be read, and rights in it stay as they are", *document_ids)
        return {}
    return {document_id: found.get(document_id) for document_id in document_ids}


def _verdict(credential: Credential, document: Document | None, accounts: Accounts) -> Verdict:
    if document is None:
        return NOTHING
    try:
        return rights_of(credential, document, accounts)
    except Refused as refusal:
        return refusal.code
