"""Packed files are read as what they hold, and never as less."""

import io

import pytest
import zstandard

from journal.packed import opened

TEXT = b"".join(b'{"line":%d}\n' % n for n in range(5000))


def unpacked(packed: bytes) -> bytes:
    return opened(io.BytesIO(packed)).read()


def zstd(text: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(text)


def test_plain_text_is_read_as_it_is() -> None:
    assert unpacked(TEXT) == TEXT
    assert unpacked(b"") == b""


@pytest.mark.parametrize("sizes", [[5000], [10, 0, 4000], [1] * 200])
def test_frames_behind_one_another_are_one_text(sizes: list[int]) -> None:
    texts = [TEXT[:size] for size in sizes]
    assert unpacked(b"".join(map(zstd, texts))) == b"".join(texts)


def test_a_frame_that_is_cut_off_anywhere_is_no_end() -> None:
    packed = zstd(TEXT)
    for length in range(4, len(packed), 37):
        with pytest.raises(EOFError):
            unpacked(packed[:length])
        with pytest.raises(EOFError):
            unpacked(packed + packed[:length])


def test_what_follows_a_frame_and_is_none_is_an_error() -> None:
    with pytest.raises(zstandard.ZstdError):
        unpacked(zstd(TEXT) + b"more text")
