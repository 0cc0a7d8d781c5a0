"""Packed files are read as what they hold, and never as less."""

import gzip
import io
from collections.abc import Callable

import pytest
import zstandard

from journal.error import TransferRefused
from journal.packed import opened, packing, unpacking

TEXT = b"".join(b'{"line":%d}\n' % n for n in range(5000))


def unpacked(packed: bytes) -> bytes:
    return opened(io.BytesIO(packed)).read()


def zstd(text: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(text)


def test_plain_text_is_read_as_it_is() -> None:
    assert unpacked(TEXT) == TEXT
    assert unpacked(b"") == b""


WAYS = [zstd, gzip.compress]


@pytest.mark.parametrize("pack", WAYS)
@pytest.mark.parametrize("sizes", [[5000], [10, 0, 4000], [1] * 200])
def test_frames_behind_one_another_are_one_text(sizes: list[int], pack: Callable[[bytes], bytes]) -> None:
    texts = [TEXT[:size] for size in sizes]
    assert unpacked(b"".join(map(pack, texts))) == b"".join(texts)


@pytest.mark.parametrize("pack", WAYS)
def test_a_frame_that_is_cut_off_anywhere_is_no_end(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(TEXT)
    for length in range(4, len(packed), 37):
        with pytest.raises(EOFError):
            unpacked(packed[:length])
        with pytest.raises(EOFError):
            unpacked(packed + packed[:length])


@pytest.mark.parametrize("pack", WAYS)
def test_what_follows_a_frame_and_is_none_is_an_error(pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(TransferRefused), unpacking(1):
        unpacked(pack(TEXT) + b"more text")


@pytest.mark.parametrize("pack", WAYS)
def test_damage_inside_a_frame_is_an_error(pack: Callable[[bytes], bytes]) -> None:
    packed = bytearray(pack(TEXT))
    packed[12:40] = bytes(28)
    with pytest.raises(TransferRefused), unpacking(1):
        unpacked(bytes(packed))


@pytest.mark.parametrize(("suffix", "unpack"), [(".zst", unpacked), (".gz", gzip.decompress), ("", bytes)])
def test_a_file_is_packed_as_its_name_says(suffix: str, unpack: Callable[[bytes], bytes]) -> None:
    file = io.BytesIO()
    with packing(file, suffix) as out:
        out.write(TEXT)
    assert unpack(file.getvalue()) == TEXT
    assert (file.getvalue() == TEXT) is (suffix == "")
