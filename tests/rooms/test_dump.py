"""Rule J49: what another server's database holds becomes a document, in whatever shape it was stored."""

import base64
import gzip
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zstandard

from journal.error import TransferRefused
from journal.imported import Imported
from journal.models import Document
from journal.packed import opened
from journal.reader import hydrate, read_batches
from journal.transfer_line import raw_lines
from rooms.dump import one_document, read_dump
from rooms.dump_intake import import_dump
from tests.crdt.test_vectors import VECTORS, close
from tests.journal.history import append
from vuer_rtc.crdt.canonical import canonical_message
from vuer_rtc.crdt.graph import Graph

pytestmark = pytest.mark.django_db

Raw = dict[str, Any]


def lines_of(*values: Any) -> Iterator[tuple[int, bytes]]:
    return iter([(number, json.dumps(value).encode()) for number, value in enumerate(values, 1)])


def imported(
    *values: Any, skip_bad: bool = False, source: str | None = None, slug: str = "moved"
) -> Imported:
    return import_dump(one_document(read_dump(lines_of(*values)), source), slug, skip_bad=skip_bad)


def graph_of(slug: str = "moved") -> Graph:
    return hydrate(Document.objects.get(slug=slug).pk).graph


def legacy(message: Raw) -> Raw:
    names = {"client": "sessionId", "lt": "lamportTime", "ts": "timestamp"}
    ops = [
        {("otype" if name == "ot" else name): value for name, value in op.items()} for op in message["ops"]
    ]
    return {names.get(name, name): value for name, value in message.items()} | {"ops": ops}


def renamed(value: Raw, names: dict[str, str]) -> Raw:
    return {names.get(name, name): member for name, member in value.items()}


VECTOR_CLOCK = {"clock": "vectorClock"}
SNAKES = {
    "id": "msg_id",
    "msgId": "message_id",
    "client": "session_id",
    "sessionId": "session_id",
    "clock": "vector_clock",
    "vectorClock": "vector_clock",
    "lt": "lamport_time",
    "lamportTime": "lamport_time",
    "ts": "timestamp",
    "documentId": "document_id",
    "journalIndex": "journal_index",
    "textRopes": "text_ropes",
}


def extended(value: Any) -> Any:
    """As `mongoexport` writes numbers."""
    match value:
        case bool() | None | str():
            return value
        case int():
            return {"$numberLong": str(value)} if abs(value) > 2**31 else {"$numberInt": str(value)}
        case float():
            return {"$numberDouble": repr(value)}
        case list():
            return [extended(member) for member in value]
    return {name: extended(member) for name, member in value.items()}


def batches(messages: list[Raw], name: str, stored: Callable[[Raw], Any]) -> list[Raw]:
    return [
        {
            "_id": {"$oid": f"{start:024x}"},
            "documentId": {"$oid": "65a0" * 6},
            "startSeq": start,
            name: [stored(message) for message in messages[start : start + 3]],
            "createdAt": {"$date": "2026-02-14T00:00:00Z"},
            "processed": True,
        }
        for start in range(0, len(messages), 3)
    ]


def rows(messages: list[Raw]) -> list[Raw]:
    return [
        {
            **legacy({**message, "ops": [op]})["ops"][0],
            "_id": {"$oid": f"{n:024x}"},
            "documentId": "d",
            "msgId": message["id"],
            "sessionId": message["client"],
            "vectorClock": message["clock"],
            "lamportTime": message["lt"],
            "timestamp": message["ts"],
        }
        for n, message in enumerate(messages)
        for op in message["ops"]
    ]


def packed(messages: list[Raw]) -> str:
    return base64.b64encode(gzip.compress(json.dumps(messages).encode())).decode()


SHAPES: dict[str, Callable[[list[Raw]], list[Any]]] = {
    "bare": list,
    "legacy": lambda messages: [legacy(message) for message in messages],
    "frames": lambda messages: [{"mtype": "crdt", "msg": message} for message in messages],
    "sequenced": lambda messages: [
        {"mtype": "broadcast", "msg": {**message, "serverSeq": seq}}
        for seq, message in enumerate(messages, 1)
    ],
    "batches": lambda messages: batches(messages, "messages", lambda message: message),
    "legacy batches": lambda messages: batches(messages, "operations", legacy),
    "batches of text": lambda messages: batches(messages, "entries", json.dumps),
    "batches of entries": lambda messages: batches(
        messages, "entries", lambda message: {"msg": message, "ack": True}
    ),
    "extended": lambda messages: [extended(batch) for batch in batches(messages, "messages", legacy)],
    "packed batches": lambda messages: [
        {**batch, "messages": {"$binary": {"base64": packed(batch["messages"]), "subType": "00"}}}
        for batch in batches(messages, "messages", lambda message: message)
    ],
    "operation rows": rows,
    "vector clocks": lambda messages: [renamed(legacy(message), VECTOR_CLOCK) for message in messages],
    "snakes": lambda messages: [renamed(message, SNAKES) for message in messages],
    "rows of snakes": lambda messages: [renamed(row, SNAKES) for row in rows(messages)],
    "state": lambda messages: [{"mtype": "state", "snapshot": {}, "journal": messages}],
}


def vector(name: str, index: int) -> Raw:
    found: Raw = json.loads((VECTORS / f"{name}.jsonl").read_text().splitlines()[index])
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("index", [0, 7])
def test_j49_golden_histories_come_in_as_the_published_client_had_them(shape: str, index: int) -> None:
    recorded = vector("sequential", index)
    report = imported(*SHAPES[shape](recorded["messages"]))
    assert (report.messages, report.refused_count) == (len(recorded["messages"]), 0)
    nodes = graph_of().nodes()
    assert nodes.keys() == recorded["nodes"].keys()
    for key, expected in recorded["nodes"].items():
        assert nodes[key].properties == close(expected["props"])
        assert nodes[key].deleted or nodes[key].children == expected["children"]
    assert graph_of().state(0).graph["rootKey"] == recorded["root"]


def test_j49_every_golden_history_comes_in() -> None:
    for index in range(60):
        recorded = vector("sequential", index)
        imported(
            *[{"mtype": "crdt", "msg": legacy(item)} for item in recorded["messages"]], slug=f"moved-{index}"
        )
        nodes = graph_of(f"moved-{index}").nodes()
        assert {key: node.properties for key, node in nodes.items()} == {
            key: close(expected["props"]) for key, expected in recorded["nodes"].items()
        }


def test_j49_golden_texts_come_in_as_the_published_client_had_them() -> None:
    for index in range(60):
        recorded = vector("text", index)
        imported(*recorded["messages"], slug=f"text-{index}")
        assert graph_of(f"text-{index}").nodes()["doc"].properties["body"] == recorded["text"]


def test_of_a_clock_in_a_dump_its_author_s_entry_is_kept() -> None:
    """C4: as of a commit; each node keeps the clock that it was made with."""
    imported(commit(1, INSERT, client="bob"), {**commit(2, INSERT), "clock": {"ann": 2, "bob": 1, "cy": 9}})
    *_, batch = read_batches(Document.objects.get(slug="moved").pk, 0)
    assert batch.entries[-1].message.clock == {"ann": 2}


def commit(lt: int, *ops: Raw, client: str = "ann") -> Raw:
    return {
        "id": f"{client}:{lt}",
        "client": client,
        "clock": {client: lt},
        "lt": lt,
        "ts": 1e9 + lt,
        "ops": list(ops),
    }


INSERT = {
    "ot": "node.insert",
    "key": "",
    "path": "children",
    "value": {"key": "n", "tag": "Mesh", "name": "N", "x": 0},
}


TYPED = {
    "ot": "text.insert",
    "key": "n",
    "path": "t",
    "value": ["ann:0", "!"],
    "id": "bob:0",
    "seq": 2,
    "ts": 6,
}


def put(value: Any) -> Raw:
    return {"ot": "number.set", "key": "n", "path": "x", "value": value}


def test_what_cannot_be_taken_over_is_named_by_its_line_and_code() -> None:
    bad = [
        ("unknown-op", commit(2, {"otype": "DELETE", "key": "n"})),
        (
            "bad-op",
            commit(3, {"ot": "text.insert", "key": "n", "path": "t", "position": 0, "value": [None, "x"]}),
        ),
        ("not-a-message", {"hello": "world"}),
        ("missing-id", {**commit(4, put(4)), "id": None}),
        ("id-reused", commit(1, put(5))),
    ]
    for code, value in bad:
        with pytest.raises(TransferRefused) as caught:
            imported(commit(1, INSERT), value)
        assert (caught.value.code, caught.value.line) == (code, 2)
        assert not Document.objects.exists(), "nothing is left of it"
    report = imported(
        commit(1, INSERT), *[value for _, value in bad], commit(9, put(9)), commit(9, put(9)), skip_bad=True
    )
    assert [(each["line"], each["code"]) for each in report.refused] == [
        (n, c) for n, (c, _) in enumerate(bad, 2)
    ]
    assert (report.messages, report.duplicates, report.refused_count) == (2, 1, 5)
    assert graph_of().nodes()["n"].properties == {"x": 9}


def test_anybody_undid_anything_there_and_it_stays_undone() -> None:
    undo = {"ot": "meta.undo", "key": "_meta", "path": "_meta", "targetMsgId": "ann:2"}
    imported(commit(1, INSERT), commit(2, put(2)), commit(3, undo, client="bob"))
    assert graph_of().nodes()["n"].properties == {"x": 0}


def test_j49_a_dump_of_nothing_is_refused_and_nothing_is_left_of_it() -> None:
    for nothing in ([], [[]], [{"mtype": "state", "snapshot": {}, "journal": []}]):
        with pytest.raises(TransferRefused, match="empty"):
            imported(*nothing)
        assert not Document.objects.exists()
    with pytest.raises(TransferRefused, match="all 1 were left out"):
        imported({"hello": "world"}, skip_bad=True)
    assert imported(commit(1, INSERT)).messages == 1


def test_j49_a_packed_dump_that_is_cut_off_is_refused_wherever_that_is() -> None:
    text = [json.dumps(commit(lt, INSERT if lt == 1 else put(lt))).encode() + b"\n" for lt in range(1, 6)]
    packer = zstandard.ZstdCompressor().compressobj()
    blocks = [packer.compress(line) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for line in text]
    for cut_off in (blocks[0][:5], blocks[0], blocks[0][:-1], b"".join(blocks)):
        with pytest.raises(TransferRefused, match="incomplete"):
            read_packed(cut_off)
        assert not Document.objects.exists()
    assert read_packed(b"".join(blocks) + packer.flush()).messages == 5


def test_the_encoding_of_a_dump_is_utf_8_and_others_are_called_so() -> None:
    text = json.dumps(commit(1, {**INSERT, "value": {"key": "n", "name": "né"}}), ensure_ascii=False)
    for encoding in ("utf-16", "latin-1"):
        with pytest.raises(TransferRefused, match="encoding"):
            read_packed(text.encode(encoding))
    assert read_packed(text.encode("utf-8-sig")).messages == 1


def read_packed(packed: bytes) -> Imported:
    source = opened(io.BytesIO(packed))  # type: ignore[arg-type]
    return import_dump(read_dump(raw_lines(source)), "moved")


def test_two_documents_in_one_dump_are_told_apart() -> None:
    there = [
        {"roomId": "one", "msg": commit(1, INSERT)},
        {"roomId": "two", "msg": commit(1, INSERT, client="bob")},
    ]
    with pytest.raises(TransferRefused, match="several-documents"):
        imported(*there)
    assert imported(*there, source="two").messages == 1
    assert set(graph_of().clock) == {"bob"}


@pytest.mark.parametrize("name", ["documentId", "roomId", "document", "room", "document_id", "room_id"])
def test_a_document_has_any_of_the_names_that_are_known(name: str) -> None:
    there = [{name: "one", "msg": commit(1, INSERT)}, {name: "two", "msg": commit(1, INSERT, client="bob")}]
    assert imported(*there, source="two").messages == 1
    assert graph_of().clock == {"bob": 1}


def test_a_document_that_nothing_names_is_refused() -> None:
    for there in ({"roomId": "one", "msg": commit(1, INSERT)}, commit(1, INSERT)):
        with pytest.raises(TransferRefused, match="no-such-source"):
            imported(there, source="nothere")
        assert not Document.objects.exists()


@pytest.mark.parametrize("order", [1, -1])
def test_what_names_no_document_is_of_the_only_one_that_is_named(order: int) -> None:
    unnamed, one = commit(1, INSERT), {"roomId": "one", "msg": commit(2, put(2))}
    two = {"roomId": "two", "msg": commit(1, INSERT, client="bob")}
    assert imported(*[unnamed, one][::order], source="one").messages == 2
    for there in ([unnamed, one, two], [two, one, unnamed], [one, two, unnamed]):
        with pytest.raises(TransferRefused, match="several-documents"):
            imported(*there[::order], source="one", slug="again")
    assert not Document.objects.filter(slug="again").exists()


def test_what_another_document_has_of_no_use_does_not_matter() -> None:
    there = [{"roomId": "two", "hello": "world"}, {"roomId": "one", "msg": commit(1, INSERT)}]
    assert imported(*there, source="one").refused_count == 0
    with pytest.raises(TransferRefused, match="not-a-message"):
        imported(*there, source="two", slug="again")
    assert imported(7, *there, source="one", slug="again", skip_bad=True).refused_count == 1


def test_the_row_of_a_document_names_it_by_its_own_id() -> None:
    _, snapshot = published_document()
    documents = [{"_id": {"$oid": "1" * 24}, "snapshot": {"graph": {"nodes": {}}}}]
    documents += [{"_id": {"$oid": "2" * 24}, "snapshot": snapshot}]
    later = {"documentId": {"$oid": "2" * 24}, "messages": [commit(5, put(8))]}
    report = imported(*documents, later, source="2" * 24)
    assert (report.snapshots, report.messages) == (1, 1)


def published_document() -> tuple[Document, Raw]:
    """A document here, and the state it tells published clients."""
    document = Document.objects.create(slug="origin")
    text = [
        {
            "ot": "text.insert",
            "key": "n",
            "path": "t",
            "value": [None, "hello"],
            "id": "ann:0",
            "seq": 1,
            "ts": 5,
        },
        {"ot": "text.delete", "key": "n", "path": "t", "rm": [["ann:1", 2]]},
    ]
    child = {
        "ot": "node.insert",
        "key": "n",
        "path": "children",
        "value": {"key": "c", "tag": "", "name": "", "y": 1},
    }
    gone = {
        "ot": "node.insert",
        "key": "n",
        "path": "children",
        "value": {"key": "g", "tag": "", "name": "g"},
    }
    remove = {"ot": "node.remove", "key": "n", "path": "children", "value": "g"}
    for raw in [
        commit(1, INSERT, child, gone),
        commit(2, *text),
        commit(3, put(7), client="bob"),
        commit(4, remove),
    ]:
        append(document, canonical_message(raw))
    state = hydrate(document.pk).graph.state(0)
    fields = {
        "graph": state.graph,
        "vectorClock": state.vector_clock,
        "lt": state.lt,
        "journalIndex": 4,
        "textRopes": state.text_ropes,
    }
    return document, json.loads(json.dumps(fields))


@pytest.mark.parametrize("names", [{}, SNAKES, {"vectorClock": "clock", "lt": "lamportTime"}])
def test_j49_a_published_snapshot_comes_in_with_what_follows_it(names: dict[str, str]) -> None:
    document, snapshot = published_document()
    snapshot = renamed(snapshot, names)
    later = [
        commit(5, put(8)),
        commit(6, TYPED, client="bob"),
        commit(4, put(1), client="cyd"),
    ]
    report = imported({"_id": {"$oid": "0" * 24}, "snapshot": snapshot}, *later)
    assert (report.snapshots, report.messages, report.head_seq) == (1, 3, 4 + 3)
    for raw in later:
        append(document, canonical_message(raw))
    mine, theirs = graph_of().nodes(), hydrate(document.pk).graph.nodes()
    assert mine.keys() == theirs.keys()
    for key in mine:
        assert mine[key].properties == theirs[key].properties
        assert (mine[key].deleted, mine[key].children) == (theirs[key].deleted, theirs[key].children)
    assert mine["n"].properties == {"x": 8, "t": "h!lo"}
    assert graph_of().clock == {"ann": 5, "bob": 6, "cyd": 4}


def test_j49_messages_that_the_snapshot_holds_are_duplicates() -> None:
    _, snapshot = published_document()
    report = imported(snapshot, commit(1, INSERT), commit(3, put(7), client="bob"), commit(5, put(8)))
    assert (report.duplicates, report.messages) == (2, 1)


def test_a_snapshot_after_messages_is_refused() -> None:
    _, snapshot = published_document()
    with pytest.raises(TransferRefused, match="late-snapshot"):
        imported(commit(1, INSERT), snapshot)


def test_entries_of_a_dump_belong_to_nobody_and_keep_their_time() -> None:
    imported(commit(1, INSERT))
    [batch] = read_batches(Document.objects.get(slug="moved").pk, 0)
    [entry] = batch.entries
    assert (entry.user, entry.session, entry.received_at) == (None, None, 1e9 + 1)
