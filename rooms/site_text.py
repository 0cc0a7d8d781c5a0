"""Text operations of the site by position: turned into what travels by the text as it is when they are written."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vuer_rtc.client.text_draft import TextDraft, is_positional
from vuer_rtc.client.view import draft_on
from vuer_rtc.crdt.canonical import InvalidMessage
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import SITE_CLIENT, Op

AnyOp = Op | Mapping[str, Any]


def placed_ops(graph: Graph, ops: Sequence[AnyOp]) -> list[AnyOp]:
    """The operations with those by position replaced; what changes nothing is left out.

    Raises: InvalidMessage `bad-op` where there can be no text.
    """
    return list(_placed(graph, ops))


def _placed(graph: Graph, ops: Sequence[AnyOp]) -> Iterator[AnyOp]:
    drafts: dict[tuple[Any, Any], TextDraft] = {}
    for op in ops:
        if isinstance(op, Op) or not is_positional(dict(op)):
            yield op
            continue
        place = op.get("key"), op.get("path")
        if place not in drafts:
            drafts[place] = _draft(graph, *place)
        named = {**op, "ot": op.get("ot") or op.get("otype")}
        made = drafts[place].edit(named, SITE_CLIENT, 0, time.time())
        if made is not None:
            yield made


def _draft(graph: Graph, key: Any, path: Any) -> TextDraft:
    view = graph.views([key])[key] if type(key) is str else None
    if view is None or type(path) is not str:
        raise InvalidMessage("bad-op", f"there is no node {key!r} whose text could be edited by position")
    draft = draft_on(graph, key, path)
    if draft is None and path in view.properties:
        raise InvalidMessage("bad-op", f"property {path!r} of node {key!r} is no text")
    return draft or TextDraft()
