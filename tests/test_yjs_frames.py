"""The Yjs client of the benchmark writes what yjs does.

The bytes were recorded with `node benchmarks/peers/record.mjs`, yjs 13.6.33.
"""

import pytest

from benchmarks.crowd import Room
from benchmarks.yjs import YjsClient, first_setting, next_setting, varuint

REPLICA, KEY = 3_000_000_001, "c7-é"
FIRST = "010181bcc1960b002801056e6f6465730563372dc3a90176010374616777044d65736800"
NEXT = (
    "010181bcc1960b01a881bcc1960b000176030261747b40934a4584f4c6e70170778201"
    + "70" * 130
    + "08706f736974696f6e"
    "75037b3fb999999999999a7b3fc999999999999a7bbfd33333333333330181bcc1960b010001"
)


def test_a_first_setting_of_a_key_is_written_as_yjs_does() -> None:
    assert first_setting(REPLICA, KEY, {"tag": "Mesh"}).hex() == FIRST


def test_a_replacement_is_written_as_yjs_does() -> None:
    value = {"at": 1234.56789, "p": "p" * 130, "position": [0.1, 0.2, -0.3]}
    assert next_setting(REPLICA, 1, value).hex() == NEXT


@pytest.mark.parametrize(("number", "written"), [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02")])
def test_numbers_have_seven_bits_a_byte(number: int, written: str) -> None:
    assert varuint(number).hex() == written


async def test_what_a_frame_says_is_told_by_its_first_bytes() -> None:
    acks: list[object] = []
    room = Room()
    client = YjsClient("c0", room, is_observer=True, on_ack=acks.append)
    client.address = b"\x07bench-0"
    client.take_message(client.address + bytes.fromhex("00010100"))
    assert client.joined.done()
    client.take_message(client.address + bytes.fromhex("0801"))
    assert (len(acks), client.acks, client.heard) == (1, 1, -1), "an own edit comes back, and is not heard"
    update = bytes.fromhex(NEXT)
    client.take_message(client.address + b"\x00\x02" + varuint(2 * len(update)) + update * 2)
    assert (client.heard, len(room.delays_s)) == (1, 2)
