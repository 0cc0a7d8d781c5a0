"""The command line: `python -m vuer_rtc state|tail|edit URL …`.

Exit status: 0 done, 1 the room is closed to us or refused the edit, 2 the arguments make no sense, 130 interrupted.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any, TextIO

from vuer_rtc.crdt.plain import InvalidMessage

from .assignment import set_op
from .message import Operation
from .node import SceneGraph, node_to_dict
from .outbox import Outbox, OutboxError
from .room import RoomClient, RoomError

URL = "the room's address, for example ws://127.0.0.1:8000/ws/rooms/demo/"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    options = parser().parse_args(arguments)
    try:
        return asyncio.run(asyncio.wait_for(run(options), options.timeout))
    except (RoomError, OutboxError) as error:
        print(f"vuer_rtc: {error}", file=sys.stderr)
        return 1
    except InvalidMessage as error:
        print(f"vuer_rtc: {error}", file=sys.stderr)
        return 2
    except TimeoutError:
        silence = f"nothing from {options.url} in {options.timeout} s"
        print(f"vuer_rtc: {silence}{kept(getattr(options, 'outbox', None))}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 130


def kept(outbox: str | None) -> str:
    """What the outbox holds, for who would give the same command again: that edits once more."""
    if outbox is None:
        return ""
    with Outbox(outbox) as box:
        return f"; {outbox} keeps {len(box)} commits, which the next `edit` with it sends"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m vuer_rtc", description="Look into a room, and change it.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("url", help=URL)
    shared.add_argument("--client", help="client id; made up when none is given")
    shared.add_argument(
        "--header",
        action="append",
        default=[],
        type=header,
        metavar="NAME: VALUE",
        help="of the handshake, may be repeated",
    )
    commands = made.add_subparsers(dest="command", required=True)

    state = commands.add_parser("state", parents=[shared], help="print the scene graph")
    state.add_argument("--json", action="store_true", help="as JSON, nodes flat as they travel")
    state.add_argument("--timeout", type=float, default=30.0, help="seconds (default 30)")

    tail = commands.add_parser("tail", parents=[shared], help="print the nodes, then those that change")
    tail.add_argument("--json", action="store_true", help="one JSON object a line")
    tail.add_argument("--count", type=int, default=0, help="stop after so many nodes (default: never)")
    tail.add_argument("--timeout", type=float, default=None, help="seconds (default: none)")

    edit = commands.add_parser(
        "edit", parents=[shared], help="commit operations, and wait until they are on disk"
    )
    edit.add_argument(
        "operation", nargs="*", help="JSON operation, or KEY.PATH=JSON; none: a line each from stdin"
    )
    edit.add_argument("--outbox", help="file that keeps the commit until it is acknowledged")
    edit.add_argument("--timeout", type=float, default=30.0, help="seconds (default 30)")
    return made


def header(text: str) -> tuple[str, str]:
    """Name and value of a header."""
    name, colon, value = text.partition(":")
    if not (colon and name.strip() and text.isascii() and text.isprintable()):
        raise argparse.ArgumentTypeError(f"{text!r} is no header: NAME: VALUE")
    return name.strip(), value.strip()


async def run(options: argparse.Namespace) -> int:
    outbox = getattr(options, "outbox", None)
    if options.command == "edit":
        ops = [parse_operation(text) for text in options.operation or lines(sys.stdin)]
    async with RoomClient(options.url, options.client, headers=dict(options.header), outbox=outbox) as room:
        match options.command:
            case "state":
                print_state(room.graph, options.json)
            case "tail":
                await follow(room, options.json, options.count)
            case "edit":
                await commit(room, ops)
    return 0


def lines(stream: TextIO) -> Iterable[str]:
    return (line for line in stream if line.strip())


def parse_operation(text: str) -> Operation:
    """A JSON operation, or `key.path=value`, which sets a property (the key ends at the first dot).

    Raises: InvalidMessage.
    """
    target, equals, value = text.partition("=")
    key, dot, path = target.partition(".")
    try:
        if not text.lstrip().startswith("{") and equals and dot and path:
            return {**set_op(path, json.loads(value)), "key": key}
        operation = json.loads(text)
    except ValueError as error:
        raise InvalidMessage("bad-op", f"{text.strip()!r} is no JSON: {error}") from None
    if not isinstance(operation, dict):
        raise InvalidMessage("bad-op", f"{text.strip()!r} is no operation")
    return operation


async def commit(room: RoomClient, ops: list[Operation]) -> None:
    for op in ops:
        room.edit(op)
    message = room.commit()
    status = await room.synced()
    said = f"{message.id}: {len(message.ops)} operations" if message is not None else "nothing to commit"
    print(f"{said}; the document is at {status.server_seq}")


async def follow(room: RoomClient, as_json: bool, count: int) -> None:
    """Print what there is, then what changes; ends with an error when the room does."""
    left = count or -1
    keys = {key for key, node in room.graph.nodes.items() if not node.is_deleted}
    async with aclosing(room.changes()) as changes:
        while True:
            for key in sorted(keys):
                print_change(room.graph, key, as_json)
                left -= 1
                if left == 0:
                    return
            try:
                keys = set(await anext(changes))
            except StopAsyncIteration:
                await room.joined()
                return


def print_change(graph: SceneGraph, key: str, as_json: bool) -> None:
    node = graph.nodes.get(key)
    if as_json:
        shown = None if node is None or node.is_deleted else flat(node_to_dict(node))
        print(json.dumps({"key": key, "node": shown}, ensure_ascii=False), flush=True)
    elif node is None or node.is_deleted:
        print(f"{key}  removed", flush=True)
    else:
        print(f"{key}  {described(node_to_dict(node))}", flush=True)


def print_state(graph: SceneGraph, as_json: bool) -> None:
    """The live nodes, as JSON or as a tree."""
    alive = {key: node for key, node in graph.nodes.items() if not node.is_deleted}
    if as_json:
        nodes = {key: flat(node_to_dict(node)) for key, node in alive.items()}
        print(json.dumps({"rootKey": graph.rootKey, "nodes": nodes}, ensure_ascii=False, indent=2))
        return
    tops = [key for key, node in alive.items() if not node.parent]
    queue = [(key, 0) for key in sorted(tops, reverse=True)]
    while queue:
        key, depth = queue.pop()
        node = alive[key]
        print(f"{'  ' * depth}{key}  {described(node_to_dict(node))}")
        queue.extend((child, depth + 1) for child in reversed(node.children))


def flat(node: dict[str, Any]) -> dict[str, Any]:
    """A node as it travels, without its metadata."""
    return {name: value for name, value in node.items() if name != "_crdt"}


def described(node: dict[str, Any]) -> str:
    """Tag, name and properties in one line."""
    left_out = ("key", "tag", "name", "children", "_crdt")
    properties = [f"{path}={shown(value)}" for path, value in node.items() if path not in left_out]
    return " ".join([f"<{node['tag']}>", *([shown(node["name"])] if node["name"] else []), *properties])


def shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


__all__ = ["main", "parse_operation"]
