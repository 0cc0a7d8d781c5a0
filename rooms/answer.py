"""What a room answers from memory: its document, how far that is, and what somebody missed of it."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import islice

from rooms.fanout import Delivery, Frames
from rooms.kept_state import KeptState
from rooms.missing import deliveries_since
from rooms.native import native_state, native_state_in_turns
from rooms.recent import Recent
from rooms.settings import settings
from vuer_rtc.crdt.graph import Graph, SnapshotOvertaken
from vuer_rtc.crdt.message import Message
from vuer_rtc.crdt.size import size_of
from vuer_rtc.protocol.codec import encode
from vuer_rtc.protocol.wire import Dialect, Edition, Frame, Standing, State

TRIES_MAX = 3
"""How often a state is begun in turns; each cut that falls among them spoils it.  Then it is made in one."""


class Answers:
    """Of one graph; each is made once while nothing changes, and a state serves those who join for a while longer."""

    def __init__(self, graph: Graph, head_id: str | None = None) -> None:
        """`head_id`: of the message at the graph's head; None: not known."""
        self._graph = graph
        self._head_id = head_id
        self._recent = Recent(graph.head_seq, settings.recent_messages_max, settings.recent_bytes_max)
        self._kept: dict[Dialect, KeptState] = {}
        self._making: dict[Dialect, asyncio.Task[None]] = {}
        self._standing: Standing | None = None

    def note(self, deliveries: Sequence[Delivery]) -> None:
        """These have been applied to the graph, each once, without a gap."""
        self._recent.add(deliveries)
        self._head_id = deliveries[-1].message.id
        self._standing = None
        for dialect, kept in list(self._kept.items()):
            if not self._recent.holds_after(kept.head_seq):
                del self._kept[dialect]

    # The document

    def state(self, dialect: Dialect) -> Frame:
        """The document as it is now."""
        kept = self._kept.get(dialect)
        if kept is None or kept.state_seq != self._graph.head_seq:
            kept = self._keep_now(dialect)
        return kept.state

    def state_and_tail(self, client: str, dialect: Dialect, *, is_batched: bool = False) -> Frames:
        """The document as it was a moment ago, and what has happened since, for who joins as `client`."""
        kept = self._current(dialect)
        if kept is None or not kept.suits(client):
            kept = self._keep_now(dialect)
        return kept.frames(is_batched=is_batched)

    async def prepare(self, client: str, dialect: Dialect) -> None:
        """Afterwards `state_and_tail` costs little; others have their turns meanwhile.  Made once, however many ask."""
        for _ in range(TRIES_MAX if dialect.edition is Edition.NATIVE else 0):
            kept = self._current(dialect)
            if kept is not None and kept.suits(client):
                return
            making = self._making.get(dialect)
            if making is None:
                making = self._making[dialect] = asyncio.create_task(self._make(dialect))
            await asyncio.shield(making)  # who gives up waiting does not take it from the others

    async def _make(self, dialect: Dialect) -> None:
        seq, retained_count = self._graph.head_seq, self._graph.retained_count
        try:
            state = await native_state_in_turns(self._graph, dialect, self._head_id)
            self._kept[dialect] = KeptState(state, seq, retained_count, dialect)
        except SnapshotOvertaken:
            pass
        finally:
            del self._making[dialect]

    def _current(self, dialect: Dialect) -> KeptState | None:
        """What is kept, with all that has happened since; None when that is too much."""
        kept = self._kept.get(dialect)
        if kept is not None:
            since = kept.head_seq
            missing = self._recent.after(since)
            if (
                missing is not None
                and kept.extend(missing, self._graph.retained_count)
                and (dialect.edition is Edition.NATIVE or self._is_read_alike(missing, since))
            ):
                return kept
            del self._kept[dialect]
        return None

    def _is_read_alike(self, missing: Sequence[Delivery], since: int) -> bool:
        """True when published clients that have the document as it was at `since` make of these what we do."""
        commits = sum(not delivery.message.is_server_record for delivery in missing)
        return not commits or self._graph.is_read_alike(commits, since)

    def _keep_now(self, dialect: Dialect) -> KeptState:
        """The document as it is, made in one step."""
        graph = self._graph
        if dialect.edition is Edition.NATIVE:
            state = native_state(graph, dialect, self._head_id)
        else:
            bounds = settings.state_tail_messages, settings.state_tail_bytes_max
            tail = newest_within(graph.retained_messages(), *bounds)
            state = encode(State(graph.state(tail), graph.head_seq), *dialect)
        kept = self._kept[dialect] = KeptState(state, graph.head_seq, graph.retained_count, dialect)
        return kept

    # How far, and what is missing

    def standing(self) -> Standing:
        """How far the document is; costs a digest of all of it."""
        if self._standing is None:
            graph = self._graph
            self._standing = Standing(dict(graph.clock), graph.head_seq, graph.digest())
        return self._standing

    def holds_after(self, seq: int) -> bool:
        """True when everything behind `seq` is in memory."""
        return self._recent.holds_after(seq)

    def message_id_at(self, seq: int) -> str | None:
        """Of the message of that sequence; None when it is not held."""
        if seq == self._graph.head_seq:
            return self._head_id
        delivery = self._recent.at(seq)
        return None if delivery is None else delivery.message.id

    def after(self, since: int, read: Sequence[Message]) -> list[Delivery] | None:
        """What came behind `since`, of which `read` is from the journal; None when not all of it is known."""
        found = [Delivery(m, None) for m in read if since < m.server_seq <= self._graph.head_seq]
        rest = self._recent.after(found[-1].message.server_seq if found else since)
        return found + rest if rest is not None else None

    def beyond(self, clock: Mapping[str, int]) -> list[Delivery] | None:
        """What `clock` lacks; None when only the whole state can tell."""
        return deliveries_since(self._graph, self._recent, clock)


def newest_within(messages: Sequence[Message], messages_max: int, bytes_max: int) -> int:
    """How many of the newest of these, the last ones, are no more than so many and no larger together."""
    for count, message in enumerate(islice(reversed(messages), messages_max)):
        bytes_max -= size_of(message)
        if bytes_max < 0:
            return count
    return min(len(messages), messages_max)
