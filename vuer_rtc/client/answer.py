"""What a server tells one client: of its connection, of a commit that it does not take, of how far the document is."""

from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Welcome:
    """What the server told when this connection joined, and of its rights since."""

    document: str = ""
    """The document's key: sequences of another mean nothing here."""
    features: frozenset[str] = frozenset()
    """Those granted of those asked for."""
    rights: frozenset[str] = frozenset()
    """Of `view`, `edit`, `moderate`."""
    limits: dict[str, float] = field(default_factory=dict)
    """In force in this document, by name."""
    durability: dict[str, Any] = field(default_factory=dict)
    """`full`: whether an acknowledged commit survives a power cut; `detail`: for people."""
    undoable: tuple[str, ...] = ()
    """Ids of this client's commits that could be undone when it joined, oldest first."""
    arrived_at: float = 0.0
    """When this connection began, by the server's clock, seconds since the epoch."""

    @classmethod
    def of(cls, wire: dict[str, Any]) -> Self:
        """What a `welcome` message tells."""
        return cls(
            document=wire["document"],
            features=frozenset(wire.get("features", ())),
            rights=frozenset(wire.get("rights", ())),
            limits=wire.get("limits", {}),
            durability=wire.get("durability", {}),
            undoable=tuple(wire.get("undoable", ())),
            arrived_at=wire.get("arrivedAt", 0.0),
        )


@dataclass(frozen=True)
class Refusal:
    """A commit that the server does not take; it has been taken back here."""

    message_id: str
    code: str
    text: str

    @classmethod
    def of(cls, wire: dict[str, Any]) -> Self:
        """What an `error` message about a commit tells; servers that send no code begin the text with it."""
        text = str(wire.get("error", ""))
        return cls(str(wire["msgId"]), str(wire.get("code") or text.partition(":")[0]), text)

    @classmethod
    def reused(cls, message_id: str) -> Self:
        """What a commit meets whose id or counter is that of another, journalled one (rule A3)."""
        return cls(
            message_id, "id-reused", "id-reused: an earlier life of this client has used its id or counter"
        )

    @classmethod
    def stale(cls, message_id: str) -> Self:
        """What a commit meets that was made for a document that is no more (rule R5)."""
        return cls(
            message_id, "stale-epoch", "stale-epoch: the document was reset before this was journalled"
        )

    @classmethod
    def ahead(cls, message_id: str) -> Self:
        """What a commit meets that was made behind a reset which the document has not, or not any more (rule J66)."""
        return cls(
            message_id, "lamport-jump", "lamport-jump: the Lamport time is too far ahead of the document's"
        )


@dataclass(frozen=True)
class Status:
    """How far the document was when the server answered."""

    server_seq: int
    vector_clock: dict[str, int]
    digest: str
    is_same: bool | None = None
    """Whether the scene here was the document then; None: nobody asked, or own commits were on the way."""

    @classmethod
    def of(cls, wire: dict[str, Any]) -> Self:
        """What a `sync-status` message tells."""
        status = wire.get("status") or {}
        return cls(status.get("serverSeq", 0), status.get("vectorClock", {}), status.get("digest", ""))


__all__ = ["Refusal", "Status", "Welcome"]
