"""Takes out of a snapshot what nobody can see any more, and keeps what later merges need (rules B1 to B4).

It is for states in which everything is folded: what is hidden there stays hidden, because undoing what is folded is
refused (rule U4), and a new incarnation of a removed node begins anew (rule T8).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from .layout import Content, decode_content, encode_content
from .message import Op
from .node import STRING_PATHS, Node, Register
from .place import Origin
from .register import implicit_agent

BLANK = "\ufffd"
BLANK_ASTRAL = "\U000ffffd"
"""In the place of a character beyond the basic plane: clients that count UTF-16 units count two for it, too."""
BASIC_MAX = "\uffff"

Json = Any


@dataclass(slots=True)
class Blanked:
    """What was taken out."""

    characters: int = 0
    """Hidden characters of texts."""
    values: int = 0
    """Initial values that are written over, and whatever removed nodes had."""
    waiting: int = 0
    """Operations for nodes that never came."""


def blanked(data: bytes, clients: Collection[str]) -> tuple[bytes, Blanked]:
    """The snapshot without hidden characters (B1), values written over or removed (B2, B3), whoever wrote them, and
    without what waits of `clients` (B4); and what that was.  Ids, lengths, stamps and places stay.  Idempotent.

    Raises: SnapshotError.
    """
    content = decode_content(data)
    told = Blanked()
    for key, node in content.nodes.items():
        if node.removed is not None:
            _empty(key, node, told)
        else:
            _forget_overwritten(node, told)
            for register in (node.registers or {}).values():
                if register.text is not None:
                    register.text = _blank_rows(register.text, told, is_whole=not register.is_text)
    _drop_waiting(content, clients, told)
    return encode_content(content), told


def _empty(key: str, node: Node, told: Blanked) -> None:
    told.values += len(node.initial.keys() - {"key"}) + len(node.registers or {})
    node.initial = {"key": key} if "key" in node.initial else {}
    node.registers = None


def _forget_overwritten(node: Node, told: Blanked) -> None:
    """A register stands for its path: nothing asks for the initial value there."""
    gone = [path for path in node.initial if path in (node.registers or {})]
    if gone:
        told.values += len(gone)
        node.initial = {path: value for path, value in node.initial.items() if path not in gone}


def _blank_rows(rows: Json, told: Blanked, *, is_whole: bool) -> Json:
    agents, encoded = rows
    blank = []
    for row in encoded:
        place, text, *more = row
        content = list(text)
        for at in _hidden(row, is_whole=is_whole):
            mark = BLANK if content[at] <= BASIC_MAX else BLANK_ASTRAL
            told.characters += content[at] != mark
            content[at] = mark
        blank.append([place, "".join(content), *more])
    return [agents, blank]


def _hidden(row: list[Json], *, is_whole: bool) -> Iterator[int]:
    """Offsets of the characters of a row that nobody sees."""
    deleted: list[list[int]] = row[4] if len(row) > 4 else []
    is_counted: bool = row[5] if len(row) > 5 else True
    if is_whole or not is_counted:
        yield from range(len(row[1]))
        return
    for first, length in deleted:
        yield from range(first, first + length)


def _drop_waiting(content: Content, clients: Collection[str], told: Blanked) -> None:
    kept = [waiting for waiting in content.waiting if waiting.message.client not in clients]
    told.waiting += len(content.waiting) - len(kept)
    content.waiting = kept


def emptying_ops(data: bytes, clients: Collection[str]) -> Iterator[Op]:
    """Ordinary operations that empty what these clients wrote and everybody still sees: values that one of them wrote
    last, characters that one of them typed.  Nodes, and their tags, stay.

    Raises: SnapshotError.
    """
    content = decode_content(data)
    for key, node in content.nodes.items():
        if node.removed is not None:
            continue
        registers = node.registers or {}
        for path, value in node.initial.items():
            if path not in registers and path not in ("key", "tag") and _is_of(node.created, clients):
                yield from _emptying(key, path, value)
        for path, register in registers.items():
            if register.is_text:
                yield from _deleting(key, path, register, clients)
            elif path != "tag" and _is_of(register.writer, clients):
                yield from _emptying(key, path, register.value)


def _is_of(origin: Origin | None, clients: Collection[str]) -> bool:
    return origin is not None and origin[1] in clients


def _emptying(key: str, path: str, value: Json) -> Iterator[Op]:
    match value:
        case str():
            empty: tuple[str, Json] = ("string.set", "")
        case bool():
            empty = ("boolean.set", False)
        case int() | float():
            empty = ("number.set", 0)
        case list():
            empty = ("array.set", [])
        case dict():
            empty = ("object.set", {})
        case _:
            return
    if value != empty[1] and (path not in STRING_PATHS or type(value) is str):
        yield Op(empty[0], key, path, empty[1])


def _deleting(key: str, path: str, register: Register, clients: Collection[str]) -> Iterator[Op]:
    """One deletion of all visible characters that the clients typed, or that were in a string one of them set."""
    agents, rows = register.text
    writers = _writers(register, agents)
    ranges: list[list[Json]] = []
    agent, number = "", 0
    for row in rows:
        if row[0] is not None:
            agent, number = agents[row[0][0]], row[0][1]
        hidden = set(_hidden(row, is_whole=False))
        if writers[agent] in clients:
            for offset in range(len(row[1])):
                if offset not in hidden:
                    _extend(ranges, agent, number + offset)
        number += len(row[1])
    if ranges:
        yield Op("text.delete", key, path, rm=ranges)


def _writers(register: Register, agents: list[str]) -> dict[str, str]:
    """The client of each agent of a text.

    It is the agent itself; but a plain string's characters are named after its message, whose id need not tell the
    client.  Whoever set a string hid those of all before, so the register tells whose the visible ones are.
    """
    writers = {agent: agent for agent in agents}
    if register.writer is not None:
        writers[implicit_agent(register.writer, register.index)] = register.writer[1]
    return writers


def _extend(ranges: list[list[Json]], agent: str, number: int) -> None:
    if ranges:
        first, length = ranges[-1]
        name, _, begin = first.rpartition(":")
        if name == agent and int(begin) + length == number:
            ranges[-1][1] += 1
            return
    ranges.append([f"{agent}:{number}", 1])


__all__ = ["Blanked", "blanked", "emptying_ops"]
