"""Who is let into a room: asked in a worker thread, because every answer is in the database."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import Error, IntegrityError, router, transaction
from django.utils import timezone

from journal.column import as_column
from journal.error import JournalUnavailable
from journal.models import Document
from journal.position import read_heads
from rooms.address import Address, Scope
from rooms.credential import Accounts, Credential, credential_of, rights_of, user_of
from rooms.doorplate import document_of, is_there
from rooms.models import Session, SpentToken
from rooms.policy import policy
from rooms.process import ProcessIdentity
from rooms.record import NotRecorded, record_newcomer
from rooms.refusal import Refused
from rooms.settings import settings
from rooms.tokens import Grant
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.limit import Limits
from vuer_rtc.protocol.session import Right, Rights

logger = logging.getLogger(__name__)

EXPIRED_MAX = 100
"""Rows of expired tokens that one admission clears away: more than it adds, and nobody waits for years of them."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A connection that was let in."""

    document_id: UUID
    session_id: UUID
    """Of its row."""
    credential: Credential
    rights: Rights
    access_version: int
    """Of the document, read before the rights were asked for."""
    limits: Limits
    head_seq: int = 0
    """How far the document was then: what its client was told before, by whatever process, is not beyond that."""
    shown_name: str | None = None
    """Of the account, for the others in the room; None: anonymous, or nobody is told."""
    row: Session | None = None
    """The session's, as it was when it was let in."""
    is_recorded: bool = True
    """False: the row could not be written; until it is, the connection may only look."""

    @property
    def user(self) -> str | None:
        """Primary key of the account, as text; None: anonymous."""
        account = self.credential.account
        return None if account is None else str(account)


def admit(address: Address, scope: Scope, process: ProcessIdentity) -> Admission:
    """Afterwards the session's row is there, if the database takes rows at all, and a token for single use is spent.

    Who may not see a document is told the same as who names one that does not exist.

    Raises: Refused.
    """
    try:
        accounts = Accounts()
        credential = credential_of(address, scope, accounts)
        document = document_of(address.slug)
        rights = _rights(credential, document, accounts)
        shown_name = policy().shown_name(user_of(credential, accounts)) if address.features else None
        head_seq = read_heads([document.pk]).get(document.pk, 0)
        # Last what stays: nobody would close the session, or give the token back, of an admission that fails behind it.
        if credential.grant is not None and credential.grant.is_single_use:
            _spend(credential.grant)
        session, is_recorded = _claim_client(document, address, credential.account, process)
    except (Error, JournalUnavailable) as error:
        logger.warning("nobody can join: the database does not answer: %s", error)
        raise Refused(CloseCode.UNAVAILABLE) from error
    return Admission(
        document.pk,
        session.pk,
        credential,
        rights,
        document.access_version,
        limits_of(document),
        head_seq,
        shown_name,
        session,
        is_recorded,
    )


def _rights(credential: Credential, document: Document, accounts: Accounts) -> Rights:
    """With `view` among them.  That a token has expired is told to who could enter with it, and to nobody else."""
    try:
        rights = rights_of(credential, document, accounts)
    except Error:
        raise
    except Refused as refusal:
        is_told = refusal.code is CloseCode.TOKEN_EXPIRED
        raise refusal if is_told else Refused(CloseCode.UNKNOWN_ROOM) from None
    except Exception:
        if is_there(document):
            raise
        raise Refused(CloseCode.UNKNOWN_ROOM) from None  # a policy may well stumble over what is nowhere
    if Right.VIEW not in rights or not is_there(document):
        raise Refused(CloseCode.UNKNOWN_ROOM)
    return rights


def _spend(grant: Grant) -> None:
    """Afterwards the token lets nobody in any more; the primary key arbitrates between processes."""
    expired = SpentToken.objects.filter(expires_at__lt=timezone.now()).values_list("pk", flat=True)
    if keys := list(expired[:EXPIRED_MAX]):
        SpentToken.objects.filter(pk__in=keys).delete()
    expires_at = as_column(datetime.fromtimestamp(grant.expires_at, UTC))
    try:
        with transaction.atomic(using=router.db_for_write(SpentToken)):
            SpentToken.objects.create(id=grant.id, expires_at=expires_at)
    except IntegrityError:
        raise Refused(CloseCode.BAD_TOKEN) from None


def _claim_client(
    document: Document, address: Address, account: Any, process: ProcessIdentity
) -> tuple[Session, bool]:
    """The session, and whether its row could be written: a disk that is full keeps nobody from looking."""
    now = timezone.now()
    session = Session(
        document_id=document.pk,
        client=address.client,
        user_id=account,
        transport=address.transport,
        remote_address=address.remote_address,
        user_agent=address.user_agent,
        process=str(process),
        connected_at=now,
        last_seen_at=now,
    )
    try:
        if not record_newcomer(session):
            raise Refused(CloseCode.CLIENT_TAKEN)
    except NotRecorded as error:
        logger.warning("%s joins %s without a row, to look: %s", address.client, document.slug, error)
        return session, False
    return session, True


def limits_of(document: Document) -> Limits:
    """The limits of a document: the protocol's, the site's, its own; a bad override counts for nothing."""
    limits = Limits()
    for place, overrides in (("VUER_RTC['LIMITS']", settings.limits), (document.slug, document.limits)):
        try:
            limits = limits.overridden(overrides)
        except (ValueError, AttributeError) as error:
            logger.error("limits of %s are ignored: %s", place, error)
    return limits
