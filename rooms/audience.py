"""Who is in a room, and what all of them are told, in sequence."""

from collections.abc import Iterable, Mapping, Sequence

from rooms.answer import Answers
from rooms.fanout import Delivery, Fanout
from rooms.peer import Overtaken, Peer, RoomFull, ack_of
from rooms.tally import tally
from vuer_rtc.protocol.codec import encode
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.wire import Broadcast, Edition, Frame, RoomReset, State

Replies = Mapping[Peer, Mapping[int, list[Frame]]]
"""What some get instead of the messages at those indices."""


class Audience:
    """The connections of one room, one for each client."""

    def __init__(self) -> None:
        self.connections: dict[str, Peer] = {}
        self._begun_anew: set[Peer] = set()
        """Published clients that got a state on the way: what they had sent just before may be gone from their
        stores, so from then on their own messages come back to them behind the acknowledgement (rule A8)."""

    def enter(self, peer: Peer, sessions_max: int) -> None:
        """From now on it is told what all are told; an older connection of the same client is closed.

        Raises: RoomFull; Overtaken, when this connection took so long to be let in that its client had given it up.
        """
        former = self.connections.get(peer.client)
        if former is not None:
            if former.arrived_at > peer.arrived_at:
                raise Overtaken
            former.close(CloseCode.REPLACED)
        elif len(self.connections) >= sessions_max:
            raise RoomFull
        self.connections[peer.client] = peer

    def replace_older(self, clients: Mapping[str, float]) -> None:
        """These have come in elsewhere, at those times: what they have here since before is closed."""
        for client, arrived_at in clients.items():
            peer = self.connections.get(client)
            if peer is not None and peer.arrived_at < arrived_at:
                peer.close(CloseCode.REPLACED)

    def leave(self, peer: Peer) -> bool:
        """Afterwards it is told nothing; True when it was a member and not replaced before."""
        self._begun_anew.discard(peer)
        if not self._has(peer):
            return False
        del self.connections[peer.client]
        return True

    def _has(self, peer: Peer) -> bool:
        return self.connections.get(peer.client) is peer

    def close(self, code: CloseCode) -> None:
        for peer in self.connections.values():
            peer.close(code)

    def tell_rights(self) -> None:
        """What they may do here has changed with the room."""
        for peer in self.connections.values():
            peer.tell_rights()

    # Messages

    def replies_to(self, peer: Peer, delivery: Delivery) -> list[Frame]:
        """What the author of a message gets for it."""
        frames = [encode(ack_of(peer, delivery), *peer.dialect)]
        if peer in self._begun_anew and (echo := delivery.frame(peer.dialect)) is not None:
            frames.append(echo)
        return frames

    def shows_own(self, peer: Peer) -> bool:
        """False for a published client whose store still has all that it sent: an acknowledgement is enough."""
        return peer.dialect.edition is Edition.NATIVE or peer in self._begun_anew

    def fan_out(self, deliveries: Sequence[Delivery], replies: Replies, answers: Answers) -> None:
        """To everybody, in sequence.

        Published clients get the whole state behind their replies when a restore or a reset is among the messages
        (rules A8, R5).
        """
        fanout = Fanout(deliveries)
        has_reset = fanout.has_reset
        replied = sum(len(own) for peer, own in replies.items() if self._has(peer))
        tally.sent[Broadcast] += len(deliveries) * len(self.connections) - replied
        lost = self._published_peers() if has_reset or fanout.has_restore else frozenset()
        for peer in self.connections.values():
            if peer not in replies and peer not in lost:
                peer.push(*fanout.for_others(peer.dialect, is_batched=peer.is_batched))
        for peer, own in replies.items():
            if self._has(peer):
                part = Fanout.of_replies(own) if peer in lost else None
                peer.push(*(part or fanout.for_author(peer.dialect, own, is_batched=peer.is_batched)))
        self._begin_anew(lost, answers, has_reset=has_reset)

    def _published_peers(self) -> frozenset[Peer]:
        return frozenset(p for p in self.connections.values() if p.dialect.edition is not Edition.NATIVE)

    # The whole state

    def begin_anew(self, answers: Answers, *, has_reset: bool) -> None:
        """Send everybody the whole state; published clients are told of a reset first."""
        self._begin_anew(self.connections.values(), answers, has_reset=has_reset)

    def _begin_anew(self, peers: Iterable[Peer], answers: Answers, *, has_reset: bool) -> None:
        for peer in peers:
            if peer.dialect.edition is not Edition.NATIVE:
                self._begun_anew.add(peer)
                if has_reset:
                    peer.send(RoomReset())
            send_state(peer, answers)


def send_state(peer: Peer, answers: Answers, *, is_joining: bool = False) -> None:
    """The document: as it is, or as it was a moment ago and what has happened since.

    A published client that has been here may have seen some of that, and gets it as it is.
    """
    tally.sent[State] += 1
    if is_joining or peer.dialect.edition is Edition.NATIVE:
        peer.push_document(*answers.state_and_tail(peer.client, peer.dialect, is_batched=peer.is_batched))
    else:
        frame = answers.state(peer.dialect)
        peer.push_document([frame], len(frame))
