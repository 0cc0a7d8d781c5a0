"""The parts of a connection that need no server; the rest is shown by `test_room` and the lossy links."""

import pytest

from vuer_rtc.client.connection import BACKOFF, Backoff, Connection
from vuer_rtc.client.error import RoomClosed
from vuer_rtc.client.graph_store import GraphStore
from vuer_rtc.client.handshake import Handshake
from vuer_rtc.client.syncer import Syncer


def test_pauses_double_up_to_a_bound_and_no_two_clients_come_back_in_step() -> None:
    backoff = Backoff(first_s=1, max_s=60)
    for attempt in (0, 1, 5, 1000):
        longest = min(60, 2.0**attempt if attempt < 30 else 60)
        pauses = [backoff.pause_s(attempt) for _ in range(200)]
        assert all(longest / 10 <= pause <= longest for pause in pauses)
        assert len(set(pauses)) > 100


async def test_what_is_waited_for_after_the_end_says_why_it_ended() -> None:
    ends: list[RoomClosed | None] = []
    connection = Connection(
        Handshake("ws://nowhere/", "ann"),
        Syncer(GraphStore("ann")),
        backoff=BACKOFF,
        retry_pause_s=0.5,
        heartbeat_s=20,
        on_refused=None,
        on_end=lambda: ends.append(connection.end),
    )
    first, second = RoomClosed(None, "the first reason counts"), RoomClosed(None, "too late")
    await connection.until(lambda: True)
    await connection.close(first)
    await connection.close(second)
    assert ends[0] is connection.end is first
    with pytest.raises(RoomClosed, match="the first reason counts"):
        await connection.until(lambda: False)
    assert [names async for names in connection.presence.changes()] == []
