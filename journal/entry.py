"""What a batch holds: messages with their provenance, as bytes (rules J3, J4)."""

import hashlib
import threading
from collections.abc import Sequence
from uuid import UUID

import msgspec
import zstandard

from journal.settings import settings
from vuer_rtc.crdt.message import Message

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
"""First bytes of a Zstandard frame; no msgpack array begins so."""

DECOMPRESSED_BYTES_MAX = 1 << 30
"""What a damaged or hostile frame may claim to decompress to, at most."""


class Entry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One journalled message and where it came from."""

    message: Message
    """Its `server_seq` is not stored information: readers set it from the batch's place (rule J2)."""
    user: str | None = None
    """Primary key, as text, of the account it came in by; None: anonymous, or the server itself."""
    session: str | None = None
    """Primary key, as text, of the session it came in by."""
    received_at: float = 0.0
    """When the server received it: seconds since 1970 UTC, by the server's clock."""


class PayloadError(ValueError):
    """The bytes are not a payload of entries."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Entry])
_own = threading.local()
"""Each thread's `compressor`: to make one takes longer than to compress a batch."""


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """The payload of `entries`: a msgpack array, as one Zstandard frame when it is long enough to gain by
    it."""
    plain = _encoder.encode(entries)
    if len(plain) < settings.batch_compress_bytes_min:
        return plain
    if (compressor := getattr(_own, "compressor", None)) is None:
        compressor = _own.compressor = zstandard.ZstdCompressor(level=1)
    compressed: bytes = compressor.compress(plain)
    return compressed


def decode_entries(payload: bytes, first_seq: int) -> list[Entry]:
    """The entries of a payload, their messages numbered from `first_seq`.

    Raises: PayloadError.
    """
    try:
        entries = _decoder.decode(decompress(payload))
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise PayloadError(f"not a list of entries: {error}") from error
    for seq, entry in enumerate(entries, first_seq):
        msgspec.structs.force_setattr(entry.message, "server_seq", seq)
    return entries


def decompress(payload: bytes) -> bytes:
    """The bytes inside a Zstandard frame; anything else unchanged.

    Raises: PayloadError.
    """
    if not payload.startswith(ZSTD_MAGIC):
        return payload
    try:
        if zstandard.frame_content_size(payload) > DECOMPRESSED_BYTES_MAX:
            raise PayloadError("the frame claims to be too large")
        return zstandard.ZstdDecompressor().decompress(payload)
    except zstandard.ZstdError as error:
        raise PayloadError(f"not a Zstandard frame: {error}") from error


def checksum_of(payload: bytes, document_id: UUID, *place: int) -> str:
    """BLAKE2b-128, in hex, over a payload and its place: a row moved elsewhere does not pass for the one
    there."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{document_id.hex}/{'/'.join(map(str, place))}/".encode())
    digest.update(payload)
    return digest.hexdigest()


__all__ = ["Entry", "PayloadError", "checksum_of", "decode_entries", "decompress", "encode_entries"]
