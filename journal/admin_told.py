"""Changes, messages and states in the words and bounds of the admin's pages."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from journal.admin_link import list_url, row_url
from journal.admin_text import brief, brief_pair, names_of, nobody
from journal.change import NodeChange, PropertyChange, Touch
from journal.column import bounded, moment
from journal.difference import Difference, NodeDifference, Touches
from journal.entry import Entry
from journal.models import SceneObject
from journal.settings import settings
from vuer_rtc.crdt.graph import Graph, NodeView
from vuer_rtc.crdt.message import UNSET
from vuer_rtc.crdt.node import ROOT

VALUE_CHARS_MAX = 200
"""Of a value in a table."""
DEPTH_MAX = 40
"""Nodes deeper than this are indented no further."""


class Names:
    """Names of the accounts behind messages, in one query for all of a page."""

    def __init__(self, users: Iterable[str | None]) -> None:
        self._names = names_of({user for user in users if user is not None})

    def who(self, user: str | None, client: str) -> str:
        """The account, or what is known of whoever has none."""
        if user is not None:
            return self._names[user]
        return nobody(client)


def users_of(touches: Iterable[Touch]) -> set[str | None]:
    return {touch.user for touch in touches}


def touches_of(nodes: Iterable[NodeDifference]) -> list[Touch]:
    """Every message that a difference names."""
    return [
        touch
        for node in nodes
        for touches in (node.by, *(one.by for one in node.properties))
        for touch in touches.newest
    ]


# Messages


def told_touch(touch: Touch, names: Names, document_id: UUID) -> dict[str, Any]:
    """One line about a message: which, when, who, what kind of operations."""
    return {
        "seq": touch.seq,
        "id": touch.message_id,
        "at": time_of(touch.received_at),
        "who": names.who(touch.user, touch.client),
        "client": touch.client,
        "otypes": ", ".join(touch.otypes[:4]) + ("…" if len(touch.otypes) > 4 else ""),
        "url": list_url("vuer_journal_operation", document=document_id, message=bounded(touch.message_id)),
    }


def time_of(received_at: float) -> datetime | None:
    """When a message came in; None for one that does not say."""
    return moment(received_at) if received_at else None


def told_entries(entries: Sequence[Entry], document_id: UUID) -> list[dict[str, Any]]:
    """A line for each of these messages."""
    touches = [Touch.of(entry) for entry in entries]
    names = Names(users_of(touches))
    return [told_touch(touch, names, document_id) for touch in touches]


def told_touches(touches: Touches, names: Names, document_id: UUID) -> dict[str, Any]:
    """Who changed something, and how many more did."""
    shown = [told_touch(touch, names, document_id) for touch in touches.newest]
    return {"shown": shown, "more": touches.count - len(shown)}


# Changes


def told_node(change: NodeChange) -> list[dict[str, str]]:
    """What happened to the node itself, in words."""
    was, now = change.before, change.after
    told: list[tuple[str, str, str]] = []
    if change.is_added:
        told.append(("added" if was is None else "back again", "", place(now)))
    elif change.is_removed:
        told.append(("removed", place(was), ""))
    elif change.is_moved:
        told.append(("moved", place(was), place(now)))
    if not change.is_added and not change.is_removed:
        if change.is_hidden:
            told.append(("hidden", "", "by what is above it"))
        elif change.is_shown:
            told.append(("shown", "", ""))
    return [{"what": what, "before": before, "after": after} for what, before, after in told]


def place(view: NodeView | None) -> str:
    """Where a node hangs."""
    if view is None:
        return ""
    return f"below {view.parent}" if view.parent else "at root level"


def told_property(change: PropertyChange) -> dict[str, Any]:
    before, after = told_values(change.before, change.after)
    return {"path": change.path, "before": before, "after": after}


def told_values(before: Any, after: Any) -> tuple[str | None, str | None]:
    """Two values as bounded JSON, which differs when they do; None for none."""
    chars_max = min(VALUE_CHARS_MAX, settings.admin_value_chars_max)
    was, now = (None if value is UNSET else value for value in (before, after))
    one, other = brief_pair(was, now, chars_max)
    return (None if before is UNSET else one), (None if after is UNSET else other)


def told_change(change: NodeChange) -> dict[str, Any]:
    """Everything about one node that one message changed, bounded."""
    properties = change.properties
    return {
        "key": change.key,
        "node": told_node(change),
        "properties": [told_property(one) for one in properties[: settings.history_properties_max]],
        "more": max(0, len(properties) - settings.history_properties_max),
    }


def told_difference(found: Difference, document_id: UUID) -> dict[str, Any]:
    """The table of a difference."""
    names = Names(users_of(touches_of(found.nodes)))
    urls = object_urls(document_id, [node.change.key for node in found.nodes])
    return {
        "seq_a": found.seq_a,
        "seq_b": found.seq_b,
        "message_count": found.message_count,
        "node_count": found.node_count,
        "more": found.node_count - len(found.nodes),
        "nodes": [
            {
                "key": node.change.key,
                "url": urls.get(node.change.key),
                "node": told_node(node.change),
                "by": told_touches(node.by, names, document_id),
                "properties": [
                    told_property(one.change) | {"by": told_touches(one.by, names, document_id)}
                    for one in node.properties
                ],
                "more": len(node.change.properties) - len(node.properties),
            }
            for node in found.nodes
        ],
    }


# States


def told_state(graph: Graph, document_id: UUID) -> dict[str, Any]:
    """The tree of what is shown, then what is not; the first nodes of each."""
    bound = settings.admin_nodes_max
    depths = dict(islice(tree(sorted(graph.children_of(ROOT)), graph.children_of), bound))
    all_hidden = graph.hidden_keys()
    hidden = sorted(all_hidden)[:bound]
    shown_count = graph.node_count - len(all_hidden)
    urls = object_urls(document_id, [*depths, *hidden])

    def told(keys: Iterable[str]) -> list[dict[str, Any]]:
        views = graph.views(keys, with_children=False).values()
        return [told_view(view, min(depths.get(view.key, 0), DEPTH_MAX), urls) for view in views if view]

    return {
        "shown": told(depths),
        "shown_count": shown_count,
        "shown_more": shown_count - len(depths),
        "hidden": told(hidden),
        "hidden_count": len(all_hidden),
        "hidden_more": len(all_hidden) - len(hidden),
    }


def tree(roots: Sequence[str], children_of: Callable[[str], Sequence[str]]) -> Iterator[tuple[str, int]]:
    """Keys and depths of these nodes and of all below them, depth first."""
    waiting = [(key, 0) for key in reversed(roots)]
    while waiting:
        key, depth = waiting.pop()
        yield key, depth
        waiting += [(child, depth + 1) for child in reversed(children_of(key))]


def told_view(view: NodeView, depth: int, urls: dict[str, str]) -> dict[str, Any]:
    bound = settings.admin_properties_max
    shown = list(view.properties.items())[:bound]
    return {
        "key": view.key,
        "url": urls.get(view.key),
        "indent": depth,
        "name": view.name,
        "tag": view.tag,
        "parent": view.parent,
        "condition": "removed" if view.deleted else "hidden by what is above it" if view.hidden else "shown",
        "properties": [(path, brief(value, 80) if value is not None else "null") for path, value in shown],
        "more": len(view.properties) - len(shown),
    }


def object_urls(document_id: UUID, keys: Collection[str]) -> dict[str, str]:
    """Pages of the objects that have one, by key, in one query."""
    rows = SceneObject.objects.filter(document=document_id, key__in=[bounded(key) for key in keys])
    found = dict(rows.values_list("key", "pk"))
    urls = {key: row_url("vuer_journal_sceneobject", pk) for key, pk in found.items()}
    return {key: url for key in keys if (url := urls.get(bounded(key))) is not None}
