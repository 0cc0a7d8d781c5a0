"""What processes tell each other, one type each; a new kind is a class here, in `News`, and a handler in the hub.

News may be lost, doubled, late or out of order: each kind says what makes that harmless.
"""

from collections.abc import Hashable
from typing import Any, ClassVar, Self
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from vuer_rtc.protocol.codes import CloseCode

SITE_GROUP = "vuer-site"


def group_of(document_id: UUID) -> str:
    """The channel layer's group of the processes where that document's room is open."""
    return f"vuer-room.{document_id.hex}"


class _News(Struct, frozen=True, tag_field="kind", omit_defaults=True):
    is_fleeting: ClassVar[bool] = False
    """Worth nothing later: not told again when the layer was away."""

    @property
    def group(self) -> str:
        """Who is told: by default every process of the site."""
        return SITE_GROUP

    @property
    def subject(self) -> Hashable | None:
        """Of several about one subject that wait to be told, only the newest is; None: all are."""
        return None

    def after(self, older: Self) -> Self:
        """The same, with what remains of older news about its subject that were not told."""
        return self


class _DocumentNews(_News, frozen=True):
    """About one document: told where its room is open, and the newest counts."""

    document: UUID

    @property
    def group(self) -> str:
        return group_of(self.document)

    @property
    def subject(self) -> Hashable | None:
        return self.document


class Committed(_DocumentNews, frozen=True, tag="committed"):
    """A document is that far.  The poll of the heads (`head_poll_s`), a conflict and the next commit tell the
    same."""

    seq: int


class RightsChanged(_News, frozen=True, tag="rights-changed"):
    """Rights have changed, or may have: ask the policy again for the open connections that this concerns.
    Asking once more changes nothing; new connections are asked anyway."""

    document: UUID | None = None
    """None: in every document."""
    user: str | None = None
    """Primary key, as text; None: everybody's."""


class Kicked(_News, frozen=True, tag="kicked"):
    """Connections are to be closed: those that everything given here is true of.  The sessions' rows say so too, and
    are read when rights are (`rooms.verdict`)."""

    document: UUID | None = None
    session: UUID | None = None
    user: str | None = None
    """Primary key, as text."""
    code: CloseCode = CloseCode.KICKED


class Entered(_DocumentNews, frozen=True, tag="entered"):
    """Clients have come in at that process, and live: older connections of theirs elsewhere are replaced (rule A6).
    What is lost leaves both open; what comes twice or late finds none that is older, or closes it late."""

    is_fleeting = True
    clients: dict[str, float]
    """When the handshake of each began, seconds since the epoch."""

    def after(self, older: Self) -> Self:
        return replace(self, clients={**older.clients, **self.clients})


class Told(Struct, frozen=True, omit_defaults=True):
    """One presence, on its way to other processes."""

    client: str
    arrived_at: float
    """Of its connection; see `rooms.presence.Source`."""
    data: dict[str, Any] | None
    """None: it is not present any more."""
    user: str | None = None
    """Name of its account."""


class PresenceTold(_DocumentNews, frozen=True, tag="presence"):
    """Who is present, and where, on that process.  What is lost is told again with the whole."""

    is_fleeting = True
    process: str
    clients: list[Told]
    is_whole: bool = False
    """Whoever is not among the clients is not present there."""

    def after(self, older: Self) -> Self:
        if self.is_whole:
            return self
        newest = {told.client: told for told in (*older.clients, *self.clients)}
        return replace(self, clients=list(newest.values()), is_whole=older.is_whole)


class PresenceAsked(_DocumentNews, frozen=True, tag="presence-asked"):
    """A room of that process wants to know who is present elsewhere.  The whole comes now and then anyway."""

    is_fleeting = True
    process: str


News = Committed | RightsChanged | Kicked | Entered | PresenceTold | PresenceAsked
