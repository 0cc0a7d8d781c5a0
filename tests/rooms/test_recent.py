from rooms.fanout import Delivery
from rooms.recent import Recent
from vuer_rtc.crdt.message import numbered

from .build import message


def deliveries(first_seq: int, last_seq: int) -> list[Delivery]:
    return [Delivery(numbered(message("ann", seq), seq), None) for seq in range(first_seq, last_seq + 1)]


def test_it_knows_what_came_behind_a_sequence() -> None:
    recent = Recent(10, 3, 1000)
    assert recent.after(10) == []
    recent.add(deliveries(11, 12))
    assert recent.after(10) == deliveries(11, 12)
    assert recent.after(11) == deliveries(12, 12)
    assert recent.after(12) == []
    assert recent.after(9) is None
    assert recent.after(13) is None


def test_it_forgets_the_oldest() -> None:
    recent = Recent(0, 3, 1000)
    recent.add(deliveries(1, 5))
    assert recent.after(2) == deliveries(3, 5)
    assert recent.after(1) is None
    assert [delivery and delivery.message.id for delivery in map(recent.at, range(7))] == [
        *(None, None, None, "ann:3", "ann:4", "ann:5"),
        None,
    ]


def test_it_holds_so_many_bytes_and_no_more() -> None:
    recent = Recent(0, 10, 100)
    recent.add([delivery._replace(size=30) for delivery in deliveries(1, 4)])
    assert recent.after(0) is None
    assert len(recent.after(1) or []) == 3
    recent.add([deliveries(5, 5)[0]._replace(size=500)])
    assert recent.after(4) is None
    assert recent.after(5) == []
    recent.add(deliveries(6, 6))
    assert recent.after(5) == deliveries(6, 6)
