"""What a live room needs of its connections, and why it does not let one in."""

from collections.abc import Sequence
from typing import Protocol

from rooms.fanout import Delivery
from rooms.whereabouts import PresencePeer
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.wire import Ack, Edition, Frame, Outbound


class Peer(PresencePeer, Protocol):
    """What a room needs of a connection."""

    @property
    def is_batched(self) -> bool:
        """It wants one frame per commit."""

    def welcome(self, server_seq: int, undoable: list[str], *, is_resumed: bool) -> None:
        """It is native, and has joined."""

    def push_document(self, frames: Sequence[Frame], size: int) -> None: ...
    def send(self, outbound: Outbound) -> None: ...
    def close(self, code: CloseCode) -> None: ...
    def note_ack(self, seq: int) -> None:
        """One of its messages has that sequence."""

    def note_work(self, work_s: float) -> None:
        """One of its messages has taken that much of the event loop's processor time."""

    def tell_rights(self) -> None:
        """What it may do here has changed with the room."""


class RoomFull(Exception):
    """As many connections as the settings allow."""


class Overtaken(Exception):
    """A later connection of the same client is in the room already."""


def ack_of(peer: Peer, delivery: Delivery) -> Ack:
    """The acknowledgement to who sent a message; native clients learn whether their undos count."""
    message = delivery.message
    auth = message.auth and peer.dialect.edition is Edition.NATIVE
    return Ack(message.id, message.server_seq, delivery.is_late, auth)
