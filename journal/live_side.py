"""What the durable side asks of whoever serves documents live, without knowing who that is."""

from collections.abc import Collection
from typing import Protocol
from uuid import UUID


class LiveSide(Protocol):
    """The part of a live side that commands need.  All of it is synchronous."""

    def connected(self, document_id: UUID) -> int:
        """How many connections to the document are open, in all processes, as far as their rows tell."""

    def close_all(self, document_id: UUID) -> None:
        """Afterwards, within about a second, they are closed, whatever process holds them."""

    def clients_of(self, user: str | None, client: str | None) -> set[tuple[UUID, str]]:
        """Documents in which an account (primary key as text) or a client was, with the client ids used there."""

    def is_ending(self) -> bool:
        """True when this process serves documents and is about to end: what takes long, and can go on later, stops."""

    def forget(self, document_id: UUID, user: str | None, clients: Collection[str]) -> int:
        """Afterwards nothing tells from where, with what program and by which account they were connected to the
        document; of how many sessions."""


class NobodyLive:
    """A site without one."""

    def connected(self, document_id: UUID) -> int:
        return 0

    def close_all(self, document_id: UUID) -> None:
        pass

    def clients_of(self, user: str | None, client: str | None) -> set[tuple[UUID, str]]:
        return set()

    def is_ending(self) -> bool:
        return False

    def forget(self, document_id: UUID, user: str | None, clients: Collection[str]) -> int:
        return 0


live_side: LiveSide = NobodyLive()


def register_live_side(side: LiveSide) -> None:
    """From now on commands ask this one.  Called once, when the apps are ready."""
    global live_side
    live_side = side


def current_live_side() -> LiveSide:
    return live_side
