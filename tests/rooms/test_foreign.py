from dataclasses import replace
from typing import Any

from journal.entry import Entry
from rooms import foreign
from rooms.foreign import bytes_of, in_steps
from vuer_rtc.crdt.message import numbered

from .build import insert, message
from .fake_room import Journal, Room, batch_of


def test_batches_are_taken_in_a_few_at_a_time_and_in_order(monkeypatch: Any) -> None:
    monkeypatch.setattr(foreign, "MESSAGES_PER_TURN", 3)
    batches = [
        replace(batch_of(numbered(message("ann", seq), seq)), entries=[Entry(message("ann", seq))] * count)
        for seq, count in ((1, 2), (3, 2), (5, 4), (9, 1))
    ]
    assert [[batch.first_seq for batch in step] for step in in_steps(batches)] == [[1, 3], [5], [9]]
    assert list(in_steps([])) == []
    assert bytes_of(batches) > 9 * 30
    assert bytes_of([]) == 0


async def test_who_joins_while_a_room_catches_up_misses_nothing(monkeypatch: Any) -> None:
    """A4."""
    monkeypatch.setattr(foreign, "MESSAGES_PER_TURN", 2)
    journal = Journal()
    room = Room(journal)
    ann = room.enter("ann")
    journal.add(*(message("far", counter, insert(f"n{counter}")) for counter in range(1, 8)), first_seq=1)
    catching_up = room.catch_up()
    seen = []
    try:
        while True:
            catching_up.send(None)  # to its next pause
            seen.append(room.enter(f"bob{len(seen)}"))
    except StopIteration:
        pass
    assert len(seen) == 4
    assert room.graph.head_seq == 7
    everything = [f"far:{seq} at {seq}" for seq in range(1, 8)]
    assert ann.got == ["state 0", *everything]
    for bob in seen:
        seq = int(bob.got[0].removeprefix("state "))
        assert bob.got[1:] == everything[seq:]
