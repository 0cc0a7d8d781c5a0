"""Who is let into a room: asked in a worker thread, because every answer is in the database."""

import logging
from dataclasses import dataclass
from uuid import UUID

from django.db import Error
from django.utils import timezone

from journal.models import Document
from rooms.address import Address, Scope
from rooms.models import Session
from rooms.policy import User, policy
from rooms.process import ProcessIdentity
from rooms.refusal import Refused
from rooms.session import owner_of_client
from rooms.settings import settings
from rooms.visitor import visitor_of
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.limit import Limits
from vuer_rtc.protocol.session import Right, Rights

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Admission:
    """A connection that was let in."""

    document_id: UUID
    session_id: UUID
    """Of the row that was written for it."""
    user: str | None
    """Primary key of the account, as text; None: anonymous."""
    rights: Rights
    limits: Limits


def admit(address: Address, scope: Scope, process: ProcessIdentity) -> Admission:
    """Afterwards the session's row is there.

    Who may not see a document is told the same as who names one that does not exist.

    Raises: Refused.
    """
    try:
        user = visitor_of(scope)
        document = _document(address.slug)
        rights = policy().rights(user, document)
        if Right.VIEW not in rights:
            raise Refused(CloseCode.UNKNOWN_ROOM)
        session = _claim_client(document, address, user, process)
    except Error as error:
        logger.warning("nobody can join: the database does not answer: %s", error)
        raise Refused(CloseCode.UNAVAILABLE) from error
    account = None if user.is_anonymous else str(user.pk)
    return Admission(document.pk, session.pk, account, rights, limits_of(document))


def _document(slug: str) -> Document:
    is_possible = len(slug) <= settings.slug_chars_max and "\0" not in slug
    document = Document.objects.filter(slug=slug, archived_at=None).first() if is_possible else None
    if document is None:
        raise Refused(CloseCode.UNKNOWN_ROOM)
    return document


def _claim_client(document: Document, address: Address, user: User, process: ProcessIdentity) -> Session:
    """The session's row.  Asked before and after it is written: of two accounts that claim one client id at
    the same time, whoever's row is older has it."""
    pk = None if user.is_anonymous else user.pk
    if owner_of_client(document.pk, address.client) not in (None, pk):
        raise Refused(CloseCode.CLIENT_TAKEN)
    now = timezone.now()
    session = Session.objects.create(
        document=document,
        client=address.client,
        user_id=pk,
        transport=address.transport,
        remote_address=address.remote_address,
        user_agent=address.user_agent,
        process=str(process),
        connected_at=now,
        last_seen_at=now,
    )
    if owner_of_client(document.pk, address.client) not in (None, pk):
        session.delete()
        raise Refused(CloseCode.CLIENT_TAKEN)
    return session


def limits_of(document: Document) -> Limits:
    """The limits of a document: the protocol's, the site's, its own; a bad override counts for nothing."""
    limits = Limits()
    for place, overrides in (("VUER_RTC['LIMITS']", settings.limits), (document.slug, document.limits)):
        try:
            limits = limits.overridden(overrides)
        except (ValueError, AttributeError) as error:
            logger.error("limits of %s are ignored: %s", place, error)
    return limits
