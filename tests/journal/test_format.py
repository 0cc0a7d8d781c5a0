"""J1 to J5: what FORMAT.md says of the rows is enough to read them with nothing of the project."""

import hashlib
from typing import Any

import msgspec
import pytest
import zstandard
from django.db import connection

from journal.models import Document
from tests.journal.history import HISTORY, append, append_each, compact, put
from tests.journal.history import message as edit

pytestmark = pytest.mark.sql


def rows(table: str, columns: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT document_id, checksum, payload, {columns} FROM vuer_journal_{table} ORDER BY 4"
        )
        return cursor.fetchall()


def unpacked(row: tuple[Any, ...]) -> Any:
    """What a row holds, its checksum proved."""
    document_id, checksum, payload, *place = row
    named = "".join(f"{part}/" for part in (str(document_id).replace("-", ""), *place))
    assert hashlib.blake2b(named.encode() + bytes(payload), digest_size=16).hexdigest() == checksum
    if bytes(payload[:4]) == b"\x28\xb5\x2f\xfd":
        payload = zstandard.ZstdDecompressor().decompress(payload)
    return msgspec.msgpack.decode(payload)


def test_j1_to_j4_batches_are_read_by_sql_and_msgpack_alone(document: Document) -> None:
    append_each(document, HISTORY, size=3)
    append(document, *[edit(lt, put("a", "x", lt)) for lt in range(9, 60)])
    told = []
    for row in rows("journalbatch", "first_seq, last_seq"):
        entries = unpacked(row)
        assert (row[3], row[4]) == (len(told) + 1, len(told) + len(entries))
        told += [
            (entry["message"]["id"], entry["session"], entry["message"]["ops"][0]["key"]) for entry in entries
        ]
    assert told[:2] == [("ann:1", "s-1", ""), ("ann:2", "s-1", "a")]
    assert len(told) == len(HISTORY) + 51


def test_j3_j5_the_record_of_a_compaction_and_its_snapshot_are_read_alike(document: Document) -> None:
    append_each(document, HISTORY)
    compact(document)
    [record] = unpacked(rows("journalbatch", "first_seq, last_seq")[-1])
    op = record["message"]["ops"][0]
    assert (record["message"]["client"], op["ot"]) == ("=server", "server.cut")
    found = [(row[3], row[4], unpacked(row)) for row in rows("snapshot", "seq, cut, covered_seq")]
    told = [(seq, cut, state) for seq, cut, state in found if isinstance(state, dict)]
    assert (
        {(state["head"], state["cut"]) for _, _, state in told}
        == {(9, op["value"])}
        == {(seq, cut) for seq, cut, _ in told}
    )
    assert sorted(told[0][2]["nodes"]) == ["a", "b"]
