"""J2, J3, J4: what a payload is and what its checksum covers."""

from uuid import uuid4

import msgspec
import pytest
from django.test import override_settings

from journal.entry import (
    ZSTD_MAGIC,
    Entry,
    PayloadError,
    checksum_of,
    decode_entries,
    decompress,
    encode_entries,
)
from tests.journal.history import entries, message
from vuer_rtc.crdt.message import Message

LONG = entries(*[message(lt) for lt in range(1, 101)])
SHORT = entries(message(1))


def unnumbered(found: list[Entry]) -> list[Entry]:
    for entry in found:
        msgspec.structs.force_setattr(entry.message, "server_seq", 0)
    return found


@pytest.mark.parametrize("given", [LONG, SHORT])
def test_j3_a_payload_decodes_to_what_was_encoded(given: list[Entry]) -> None:
    assert unnumbered(decode_entries(encode_entries(given), 1)) == given


def test_j3_long_payloads_are_compressed_and_short_ones_are_plain_msgpack() -> None:
    assert encode_entries(LONG).startswith(ZSTD_MAGIC)
    assert msgspec.msgpack.decode(encode_entries(SHORT))[0]["message"]["id"] == "ann:1"


def test_j3_any_msgpack_array_of_entries_may_or_may_not_be_compressed() -> None:
    with override_settings(VUER_RTC={"JOURNAL_BATCH_COMPRESS_BYTES_MIN": 1 << 40}):
        plain = encode_entries(LONG)
    assert not plain.startswith(ZSTD_MAGIC)
    assert decode_entries(plain, 1) == decode_entries(encode_entries(LONG), 1)


def test_j2_readers_number_the_messages_whatever_the_payload_says() -> None:
    stale = Entry(message(1, server_seq=99))
    found = decode_entries(encode_entries([stale, *SHORT]), 7)
    assert [entry.message.server_seq for entry in found] == [7, 8]


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x93", b"\x01", ZSTD_MAGIC, encode_entries(LONG)[:-9], msgspec.msgpack.encode([{"message": 1}])],
)
def test_j3_other_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        decode_entries(payload, 1)


def test_j3_a_frame_that_is_too_large_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = encode_entries(LONG)
    size = len(decompress(payload))
    monkeypatch.setattr("journal.entry.DECOMPRESSED_BYTES_MAX", size)
    assert len(decode_entries(payload, 1)) == 100
    monkeypatch.setattr("journal.entry.DECOMPRESSED_BYTES_MAX", size - 1)
    with pytest.raises(PayloadError, match="too large"):
        decode_entries(payload, 1)


def test_j4_the_checksum_covers_bytes_and_place() -> None:
    document, other = uuid4(), uuid4()
    whole = checksum_of(b"abc", document, 1, 2)
    assert len(whole) == 32
    changed = [
        checksum_of(b"abd", document, 1, 2),
        checksum_of(b"abc", other, 1, 2),
        checksum_of(b"abc", document, 1, 3),
        checksum_of(b"abc", document, 12),
    ]
    assert len({whole, *changed}) == 5


def test_messages_keep_their_type_through_a_payload() -> None:
    [found] = decode_entries(encode_entries(SHORT), 1)
    assert type(found.message) is Message
