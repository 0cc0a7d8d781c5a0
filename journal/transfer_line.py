"""Journals as text: one JSON object a line, each vouched for by the lines before it (rules J40 to J42).

What is written here is read on other machines and by later versions: fields are added, never given another meaning.
"""

import codecs
import hashlib
from collections.abc import Iterable, Iterator
from typing import IO, Annotated, Any

import msgspec

from journal.entry import Entry
from journal.error import TransferRefused
from journal.packed import unpacking
from vuer_rtc.crdt.message import INTEGER_MAX

FORMAT = "vuer-rtc-journal"
VERSION = 1
"""Readers refuse a higher one; one of the same version may have fields that they do not know."""
LINE_BYTES_MAX = 1 << 28
"""A line holds a batch or a snapshot, which are bounded; beyond this it is something else."""
SUM_CHARS = 32
_SUM_PREFIX = b',"sum":"'
_TAIL_CHARS = len(_SUM_PREFIX) + SUM_CHARS + len(b'"}')


Count = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
"""A sequence, a Lamport time or how many: what is beyond does not fit the columns of every database."""


class Header(msgspec.Struct, tag="header", tag_field="kind", rename="camel", kw_only=True):
    """The first line: which document, and which part of it."""

    format: str = FORMAT
    version: int = VERSION
    slug: str
    settings: dict[str, Any] = {}
    """The document's own settings, by the names of their fields."""
    epoch: Count = 0
    from_seq: Count = 0
    """Sequences behind this one follow."""
    to_seq: Count = 0
    """Up to this one; 0: nothing is journalled."""
    cut: Count = 0
    """The cut of the last truncation, where `from_seq` is a truncation point."""
    base_digest: str = ""
    """Full digest of the document at `from_seq`, where what is here continues a document rather than being it."""
    written_at: float = 0.0
    """Seconds since 1970 UTC."""


class Names(msgspec.Struct, tag="names", tag_field="kind", rename="camel"):
    """Accounts that the following lines name by key, with their user names."""

    names: dict[str, str]


class SnapshotLine(msgspec.Struct, tag="snapshot", tag_field="kind", rename="camel", kw_only=True):
    """A snapshot row (rule J5)."""

    seq: Count
    cut: Count
    covered_seq: Count
    digest: str = ""
    full_digest: str = ""
    label: str = ""
    reason: str = ""
    author: str | None = None
    created_at: float = 0.0
    payload: bytes
    """The row's, in base64: a Zstandard frame of msgpack."""


class BatchLine(msgspec.Struct, tag="batch", tag_field="kind", rename="camel", kw_only=True):
    """A batch row (rules J1 to J3)."""

    first_seq: Count
    last_seq: Count
    created_at: float
    writer: str = ""
    entries: list[Entry]


class End(msgspec.Struct, tag="end", tag_field="kind", rename="camel", kw_only=True):
    """The last line: whoever has it has everything before it."""

    lines: Count
    """All of them, this one included."""
    batches: Count
    messages: Count
    digest: str = ""
    full_digest: str = ""
    """Of the document at the header's `to_seq`; empty in an archive, whose document went on."""


Line = Header | Names | SnapshotLine | BatchLine | End

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Header | Names | SnapshotLine | BatchLine | End)


class LineWriter:
    """Writes lines, each with the sum of itself and the line before."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._sum = b""
        self.lines = 0

    def write(self, line: Line) -> None:
        body = _encoder.encode(line)
        self._sum = sum_of(self._sum, body)
        self._out.write(body[:-1] + _SUM_PREFIX + self._sum + b'"}\n')
        self.lines += 1


def sum_of(before: bytes, body: bytes) -> bytes:
    """BLAKE2b-128 in hex over the sum of the line before and the line without its own."""
    return hashlib.blake2b(before + body, digest_size=SUM_CHARS // 2).hexdigest().encode()


def read_lines(source: IO[bytes]) -> Iterator[tuple[int, Line]]:
    """Number, from 1, and content of each line, checked; the first is a header, the last an end.

    Raises: TransferRefused, which names the first line that is not as it was written.
    """
    number, before = 0, b""
    last: Line | None = None
    for number, raw in raw_lines(source):
        if isinstance(last, End):
            raise TransferRefused("damaged-line", number, "something follows the end")
        body, given = _split(raw, number)
        before = sum_of(before, body)
        if given != before:
            raise TransferRefused(
                "damaged-line", number, "its sum does not hold: it, or one before, is missing"
            )
        last = _decoded(body, number, is_first=number == 1)
        yield number, last
    if not isinstance(last, End):
        raise TransferRefused("incomplete", number + 1, "the end is missing")
    if last.lines != number:
        raise TransferRefused("incomplete", number, f"there are {number} lines of {last.lines}")


def raw_lines(source: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each line that is not empty, without its end.  Raises: TransferRefused."""
    number = 0
    while True:
        number += 1
        with unpacking(number):
            raw = source.readline(LINE_BYTES_MAX)
        if number == 1:
            raw = _checked_encoding(raw)
        if not raw:
            return
        if len(raw) >= LINE_BYTES_MAX:
            raise TransferRefused("damaged-line", number, f"it is longer than {LINE_BYTES_MAX} bytes")
        if stripped := raw.strip():
            yield number, stripped


def _checked_encoding(beginning: bytes) -> bytes:
    """The same without a mark of UTF-8.  Raises: TransferRefused `encoding`."""
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in beginning[:4]:
        raise TransferRefused("encoding", 1, "it is not in UTF-8, but in UTF-16 or the like")
    return beginning.removeprefix(codecs.BOM_UTF8)


def _split(raw: bytes, number: int) -> tuple[bytes, bytes]:
    tail = raw[-_TAIL_CHARS:]
    if not (tail.startswith(_SUM_PREFIX) and tail.endswith(b'"}')):
        code = "not-an-export" if number == 1 else "damaged-line"
        raise TransferRefused(code, number, "it does not end with its sum")
    return raw[:-_TAIL_CHARS] + b"}", tail[len(_SUM_PREFIX) : -2]


def _decoded(body: bytes, number: int, *, is_first: bool) -> Line:
    try:
        line = _decoder.decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        code = "not-an-export" if is_first else "newer-version"
        raise TransferRefused(code, number, f"it means nothing to this version: {error}") from error
    if is_first is not isinstance(line, Header) or (isinstance(line, Header) and line.format != FORMAT):
        raise TransferRefused("not-an-export", number, "a header stands first, and nowhere else")
    if isinstance(line, Header) and line.version > VERSION:
        detail = f"it was written in version {line.version} of the format; this reads up to {VERSION}"
        raise TransferRefused("newer-version", number, detail)
    return line


Part = tuple[str, Iterator[tuple[int, Line]]]
"""Name of a file, and its lines."""


def joined(parts: Iterable[Part]) -> Iterator[tuple[int, Line]]:
    """The lines of one document out of several files, each of which follows the one before; with one end.  A file is
    asked for when the one before it has ended.

    Raises: TransferRefused, which names the file; `gap` when one does not follow, or the first begins late and does not
    bring the state that it begins at.
    """
    first: Header | None = None
    reached = batches = messages = 0
    is_based = False
    end = End(lines=0, batches=0, messages=0)
    for name, part in parts:
        for number, line in _named(name, part):
            match line:
                case Header():
                    if first is not None and line.from_seq != reached:
                        detail = f"it follows seq {line.from_seq}, what came before ends at {reached}"
                        raise TransferRefused("gap", number, detail, name)
                    reached = line.to_seq
                    if first is None:
                        first, is_based = line, not line.from_seq or bool(line.base_digest)
                        yield number, line
                case SnapshotLine():
                    is_based = is_based or not line.label
                    if batches == 0 or line.label:
                        yield number, line
                case End():
                    end = line
                    batches, messages = batches + line.batches, messages + line.messages
                case BatchLine() if not is_based:
                    detail = f"it follows seq {line.first_seq - 1}, and nothing tells what was there"
                    raise TransferRefused("gap", number, detail, name)
                case _:
                    yield number, line
    full = End(
        lines=end.lines, batches=batches, messages=messages, digest=end.digest, full_digest=end.full_digest
    )
    yield end.lines, full


def _named(name: str, lines: Iterator[tuple[int, Line]]) -> Iterator[tuple[int, Line]]:
    """The same; what they raise names the file."""
    try:
        yield from lines
    except TransferRefused as error:
        raise TransferRefused(error.code, error.line, error.detail, name) from error


def looks_like_export(source: IO[bytes]) -> bool:
    """True when the first line begins as a header does; `source` can peek, and is left as it was.

    Raises: TransferRefused.
    """
    with unpacking(1):
        beginning: bytes = source.peek(100)  # type: ignore[attr-defined]
    return _checked_encoding(beginning).lstrip().startswith(b'{"kind":"header"')
