"""The document as its journal on disk has it, read beside the running server, and as a room client shows it."""

import sqlite3
from pathlib import Path
from typing import Any

from journal.entry import decode_entries
from vuer_rtc.client.room import RoomClient
from vuer_rtc.crdt.graph import Graph

BATCHES = """
    SELECT batch.first_seq, batch.last_seq, batch.payload FROM vuer_journal_journalbatch AS batch
    JOIN vuer_journal_document AS document ON document._id = batch.document_id
    WHERE document.slug = ? ORDER BY batch.first_seq
"""


def journal_rows(data_dir: Path, slug: str) -> list[tuple[int, int, bytes]]:
    """`(first_seq, last_seq, payload)` of every batch, in sequence."""
    with sqlite3.connect(f"file:{data_dir / 'db.sqlite3'}?mode=ro", uri=True) as connection:
        return connection.execute(BATCHES, (slug,)).fetchall()


def journal_messages(data_dir: Path, slug: str) -> list[tuple[int, str]]:
    """`(serverSeq, message id)` of every journalled message."""
    return [
        (first + offset, entry.message.id)
        for first, _, payload in journal_rows(data_dir, slug)
        for offset, entry in enumerate(decode_entries(payload, first))
    ]


def document_graph(data_dir: Path, slug: str) -> Graph:
    """The fold of the whole journal of a document that was never compacted."""
    graph = Graph()
    for first, _, payload in journal_rows(data_dir, slug):
        for entry in decode_entries(payload, first):
            graph.apply(entry.message)
    return graph


def document_view(data_dir: Path, slug: str) -> dict[str, Any]:
    """The same in the shape of `driver.Driver.graph`."""
    graph = document_graph(data_dir, slug)
    nodes = {
        key: {
            "tag": node.tag,
            "name": node.name,
            "children": node.children,
            "properties": node.properties,
            "deleted": node.deleted,
            "parent": node.parent,
        }
        for key, node in graph.nodes().items()
    }
    return {"root": graph.state(0).graph["rootKey"], "nodes": nodes}


def room_view(client: RoomClient) -> dict[str, Any]:
    """The same of what a room client shows."""
    graph = client.graph
    nodes = {
        key: {
            "tag": node.tag,
            "name": node.name,
            "children": node.children,
            "properties": node.properties,
            "deleted": node.is_deleted,
        }
        for key, node in graph.nodes.items()
    }
    return {"root": graph.rootKey, "nodes": nodes}
