"""The digest: the vectors of PROTOCOL.md, numbers as ECMAScript writes them."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.crdt.scenario import Author, graph_of, insert, node, prop, remove
from vuer_rtc.crdt.digest import canonical_json, number_text
from vuer_rtc.crdt.message import Message, Op

PROTOCOL = Path(__file__).parents[2] / "vuer_rtc" / "protocol" / "PROTOCOL.md"


def section() -> str:
    return PROTOCOL.read_text().partition("\n## Digest\n")[2].partition("\n## ")[0]


def documents() -> list[list[Message]]:
    """Messages that make the documents of the table, in its order."""
    author = Author("al")
    box = insert("box", "scene", tag="Mesh", name="Box", position=[0, 1.5, -0.0], color="#ff8800")
    return [
        [],
        [author(1, insert("scene", tag="Scene")), author(2, box)],
        [
            author(1, insert("a", size=1e21)),
            author(2, insert("ä", "a", on=True, none=None, tags={"😀": 2, "ﬀ": 3, "z": 1.0})),
            author(3, insert("b", "a"), Op("text.init", "b", "note", 'Hi "you"\n')),
            author(4, insert("c", "a")),
            author(5, remove("c", "a")),
        ],
    ]


def test_documents_have_the_digests_of_the_protocol() -> None:
    """D1, D3."""
    rows = re.findall(r"^\| `(\{.*\})` \| `([0-9a-f]{64})` \|$", section(), flags=re.MULTILINE)
    assert len(rows) == len(documents())
    for (text, expected), messages in zip(rows, documents(), strict=True):
        assert canonical_json(json.loads(text)) == text
        assert hashlib.sha256(text.encode()).hexdigest() == expected
        assert graph_of(messages).digest() == expected
        assert graph_of(messages[::-1]).digest() == expected


def test_numbers_are_written_as_the_protocol_shows() -> None:
    rows = re.findall(r"`(\S+)` → `(\S+)`", section())
    assert len(rows) >= 10
    assert [(text, number_text(json.loads(text))) for text, _ in rows] == rows


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1e21, "1e+21"),
        (1e-7, "1e-7"),
        (1e-6, "0.000001"),
        (-1.5e-7, "-1.5e-7"),
        (-0.0, "0"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (2**53, "9007199254740992"),
        (1e16, "10000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (-295147905179352830000.0, "-295147905179352830000"),
        (9.999999999999999e20, "999999999999999900000"),
        (333333333.33333329, "333333333.3333333"),
        (100, "100"),
        (0.1, "0.1"),
    ],
)
def test_numbers_are_written_as_ecmascript_writes_them(number: float, text: str) -> None:
    """D3; the texts are those of JSON.stringify."""
    assert number_text(number) == text


def test_strings_are_escaped_only_where_json_demands_it() -> None:
    assert (
        canonical_json('\x00\b\t\n\x0b\f\r"\\/\x7fé\u2028')
        == r'"\u0000\b\t\n\u000b\f\r\"\\/' + '\x7fé\u2028"'
    )


def test_equal_numbers_of_both_kinds_have_one_digest() -> None:
    author = Author("al")
    insertion = author(1, insert("n"))
    ints, floats = (author(2, prop("vector3.set", "v", value)) for value in ([0, 1, 2], [-0.0, 1.0, 2.0]))
    assert graph_of([insertion, ints]).digest() == graph_of([insertion, floats]).digest()
    assert node(graph_of([insertion, ints])).properties == {"v": [0, 1, 2]}
