"""`manage.py look_back`: a document as it was, what differs between two points, how one object came to be so; changes
nothing."""

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

import msgspec

from journal.admin_text import brief, brief_pair, command_line, names_of, seconds
from journal.admin_told import told_node, told_values, tree
from journal.change import PropertyChange, Touch
from journal.column import moment as time_of
from journal.difference import Touches, difference, steps_of
from journal.history import graph_at, reach_of, seq_at
from journal.label import graph_of_label
from journal.management.argument import Senseless
from journal.management.moment import moment
from journal.management.per_document import NamedDocumentCommand, Result
from journal.management.visible import visible
from journal.models import Document
from journal.settings import settings
from vuer_rtc.crdt.graph import Graph, NodeView
from vuer_rtc.crdt.message import UNSET

VALUE_CHARS_MAX = 1_000_000
"""Of the JSON of one value that is told whole."""


class Command(NamedDocumentCommand):
    help = (
        "Show a document as it was at some point, the present without one; with --since or --since-at, what "
        "differs between two points, and who did it; with --key, who changed one object until then, from what to what."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        point = parser.add_mutually_exclusive_group()
        point.add_argument("--seq", type=int, help="The state when this was the newest server sequence.")
        point.add_argument("--at", type=moment, metavar="TIME", help="The state at this time (ISO 8601).")
        point.add_argument("--label", help="The state of this name.")
        since = parser.add_mutually_exclusive_group()
        since.add_argument("--since", type=int, metavar="SEQ", help="Tell what differs from this sequence.")
        since.add_argument(
            "--since-at", type=moment, metavar="TIME", help="Tell what differs from this time."
        )
        parser.add_argument(
            "--key", help="Tell the newest changes of this object (with --since, from there on)."
        )

    def treat(self, document: Document, options: dict[str, Any]) -> tuple[Result, bool]:
        reach = reach_of(document.pk)
        if options["key"] is not None and options["label"] is not None:
            raise Senseless("--key takes --seq, --at and --since, no --label")
        told: Result = {"slug": document.slug, "outcome": "told", "reach": [reach.oldest_seq, reach.head_seq]}
        if options["label"] is not None:
            graph = graph_of_label(document.pk, options["label"])
            return told | self._told(document, graph, graph.head_seq, options), True
        seq = reach.head_seq if options["seq"] is None else options["seq"]
        if options["at"] is not None:
            seq = seq_at(document.pk, options["at"])
        if options["since_at"] is not None:
            options = options | {"since": seq_at(document.pk, options["since_at"])}
        if options["key"] is not None:
            since = reach.oldest_seq if options["since"] is None else options["since"]
            return told | history_of(document, options["key"], *sorted((since, seq))), True
        return told | self._told(document, None, seq, options), True

    def _told(
        self, document: Document, graph: Graph | None, seq: int, options: dict[str, Any]
    ) -> dict[str, Any]:
        if options["since"] is not None:
            return difference_of(document, *sorted((options["since"], seq)))
        nodes = (graph or graph_at(document.pk, seq)).nodes()
        return {"seq": seq, "nodes": {key: msgspec.to_builtins(view) for key, view in nodes.items()}}

    def show(self, result: Result, is_well: bool, options: dict[str, Any]) -> None:
        """Whoever looks back wants to see it, on a terminal or not."""
        if options["json"] or not is_well:
            super().show(result, is_well, options)
        else:
            self.stdout.write("\n".join(map(visible, self.describe(result))))

    def describe(self, result: Result) -> Iterator[str]:
        oldest_seq, head_seq = result["reach"]
        where = (
            f"at sequence {result['seq']}" if "seq" in result else "from {} to {}".format(*result["between"])
        )
        yield f"{result['slug']} {where}; states can be told from {oldest_seq} to {head_seq}"
        if "key" in result:
            yield from history_lines(result)
        else:
            yield from state_lines(result["nodes"]) if "seq" in result else difference_lines(result)


def difference_of(document: Document, seq_a: int, seq_b: int) -> dict[str, Any]:
    """What differs, as JSON; the first nodes and properties (`node_count` says how many differ)."""
    found = difference(document.pk, seq_a, seq_b)
    return {
        "between": [seq_a, seq_b],
        "message_count": found.message_count,
        "node_count": found.node_count,
        "changes": [
            {
                "key": node.change.key,
                "what": told_node(node.change),
                "by": touches_of(node.by),
                "properties": [
                    property_of(one.change) | {"by": touches_of(one.by)} for one in node.properties
                ],
            }
            for node in found.nodes
        ],
    }


def history_of(document: Document, key: str, seq_a: int, seq_b: int) -> dict[str, Any]:
    """What changed one object, newest first, as JSON; the last changes (`change_count` says how many there are).

    Raises: Senseless for an object that was not there yet, or has another key; OutOfReach; and as reading."""
    found = steps_of(document.pk, key, seq_a, seq_b)
    if not found.count and not graph_at(document.pk, seq_b).has_node(key):
        raise Senseless(f"there was no object {key} until sequence {seq_b}")
    return {
        "key": key,
        "between": [seq_a, seq_b],
        "change_count": found.count,
        "changes": [
            {
                **touch_of(step.touch),
                "what": told_node(change),
                "properties": [
                    property_of(one) for one in change.properties[: settings.history_properties_max]
                ],
                "property_count": len(change.properties),
            }
            for step in found.newest
            for change in step.changes
        ],
    }


def property_of(change: PropertyChange) -> dict[str, Any]:
    """Whole values; one that is not there has none, not null.  With `is_cut` they are texts: the beginning of the JSON
    from where they differ."""
    values = {"before": change.before, "after": change.after}
    found = {name: value for name, value in values.items() if value is not UNSET}
    if all(len(json.dumps(value)) <= VALUE_CHARS_MAX for value in found.values()):
        return {"path": change.path, **found}
    pair = brief_pair(found.get("before"), found.get("after"), VALUE_CHARS_MAX)
    texts = {name: text for name, text in zip(values, pair, strict=True) if name in found}
    return {"path": change.path, **texts, "is_cut": True}


def touches_of(touches: Touches) -> list[dict[str, Any]]:
    return [touch_of(touch) for touch in touches.newest]


def touch_of(touch: Touch) -> dict[str, Any]:
    return {
        "seq": touch.seq,
        "message": touch.message_id,
        "client": touch.client,
        "user": touch.user,
        "received_at": touch.received_at,
    }


def state_lines(nodes: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The tree of what is shown, one node a line."""
    views = {key: msgspec.convert(node, NodeView) for key, node in nodes.items()}
    roots = sorted(key for key, view in views.items() if not view.parent and not view.hidden)
    for key, depth in tree(roots, lambda key: views[key].children):
        view = views[key]
        named = " ".join(word for word in (view.tag, view.name) if word)
        values = ", ".join(f"{path}: {brief(value, 60) or 'null'}" for path, value in view.properties.items())
        yield f"{'  ' * depth}{key}{f' ({named})' if named else ''} {values}".rstrip()
    hidden = sum(view.hidden for view in views.values())
    if hidden:
        yield f"and {hidden} removed or hidden"


def difference_lines(result: dict[str, Any]) -> Iterator[str]:
    """One line for each difference, with who made it."""
    changes = result["changes"]
    touches = [touch for change in changes for one in (change, *change["properties"]) for touch in one["by"]]
    names = names_of({touch["user"] for touch in touches if touch["user"] is not None})
    for change in changes:
        for line in change["what"]:
            yield f"{change['key']}: {what_line(line)}{by_line(change['by'], names)}"
        for one in change["properties"]:
            yield f"{change['key']}: {value_line(one)}{by_line(one['by'], names)}"
    if result["node_count"] > len(changes):
        yield f"and {result['node_count'] - len(changes)} more objects"
    if not changes:
        yield "nothing differs"


def history_lines(result: dict[str, Any]) -> Iterator[str]:
    """A line for each change of one object, newest first; then how to tell older ones, and how to have it back."""
    changes, key = result["changes"], result["key"]
    names = names_of({change["user"] for change in changes if change["user"] is not None})
    for change in changes:
        by = by_line([change], names)
        for line in (*map(what_line, change["what"]), *map(value_line, change["properties"])):
            yield f"{key}: {line}{by}"
        if more := change["property_count"] - len(change["properties"]):
            yield f"{key}: and {more} more properties{by}"
    if result["change_count"] > len(changes):
        yield f"and {result['change_count'] - len(changes)} earlier changes: --seq {changes[-1]['seq'] - 1}"
    if changes:
        yield f"to have it back: {command_line('restore_document', result['slug'], key=key)} --seq SEQ"
    else:
        yield "nothing has changed it"


def what_line(line: dict[str, str]) -> str:
    moved = " → ".join(word for word in (line["before"], line["after"]) if word)
    return f"{line['what']} {moved}".rstrip()


def value_line(one: dict[str, Any]) -> str:
    before, after = told_values(one.get("before", UNSET), one.get("after", UNSET))
    cut = f" (cut at {VALUE_CHARS_MAX} characters)" if one.get("is_cut") else ""
    return f"{one['path']} {before or 'none'} → {after or 'none'}{cut}"


def by_line(touches: list[dict[str, Any]], names: dict[str, str]) -> str:
    told = []
    for touch in touches:
        who = names[touch["user"]] if touch["user"] is not None else touch["client"]
        at = time_of(touch["received_at"])
        told.append(f"{touch['seq']} {who}{f' {seconds(at)}' if at else ''}")
    return f"  [{'; '.join(told)}]" if told else ""
