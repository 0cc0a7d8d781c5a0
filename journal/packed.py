"""Files of text that may be packed, as Zstandard or gzip, read a piece at a time."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import zstandard

from journal.entry import ZSTD_MAGIC
from journal.error import TransferRefused

GZIP_MAGIC = b"\x1f\x8b"
PIECE_BYTES = 1024
"""Packed bytes taken at a time: even of a hostile file they unpack to less than 50 MB."""


class ZstdReader(io.RawIOBase):
    """What Zstandard frames hold, one behind the other.

    Raises: EOFError where the last one is cut off, which zstandard's own reader takes for the end; ZstdError.
    """

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._frame: Any = None
        """What unpacks the frame that has begun; None between two."""
        self._packed = self._plain = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._plain:
            if not (packed := self._packed or self._source.read(PIECE_BYTES)):
                if self._frame is not None:
                    raise EOFError("it was cut off in the middle of a Zstandard frame")
                return 0
            self._plain = self._unpack(packed)
        count = min(len(target), len(self._plain))
        target[:count], self._plain = self._plain[:count], self._plain[count:]
        return count

    def _unpack(self, packed: bytes) -> bytes:
        frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
        plain: bytes = frame.decompress(packed)
        self._frame, self._packed = (None, frame.unused_data) if frame.eof else (frame, b"")
        return plain


def opened(source: IO[bytes]) -> IO[bytes]:
    """The same bytes, unpacked if they are packed; the source must be able to peek or seek."""
    buffered: Any = source if hasattr(source, "peek") else io.BufferedReader(source)
    beginning = buffered.peek(4)
    if beginning.startswith(ZSTD_MAGIC):
        return io.BufferedReader(ZstdReader(buffered))
    if beginning.startswith(GZIP_MAGIC):
        return io.BufferedReader(gzip.GzipFile(fileobj=buffered))
    return buffered  # type: ignore[no-any-return]


@contextmanager
def packing(file: IO[bytes], suffix: str) -> Iterator[IO[bytes]]:
    """What is written in the block is in the file afterwards, packed as the suffix of its name says."""
    match suffix:
        case ".zst":
            with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as packed:
                yield packed
        case ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6) as packed:
                yield packed  # type: ignore[misc]
        case _:
            yield file


@contextmanager
def unpacking(line: int) -> Iterator[None]:
    """What goes wrong with reading in the block comes out as TransferRefused, at that line."""
    try:
        yield
    except EOFError as error:
        raise TransferRefused("incomplete", line, str(error)) from error
    except (zstandard.ZstdError, zlib.error, OSError) as error:
        raise TransferRefused("damaged-line", line, f"it cannot be read: {error}") from error
