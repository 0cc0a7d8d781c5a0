"""Takes out of a snapshot what nobody can see any more, and keeps what later merges need (rules B1 to B4).

It is for states in which everything is folded: what is hidden there stays hidden, because undoing what is folded is
refused (rule U4), and a new incarnation of a removed node begins anew (rule T8).
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .canonical import SERVER_PREFIX
from .layout import Content, decode_content, encode_content
from .message import Op, is_restore
from .node import Node, Register, start_register
from .place import Origin
from .register import implicit_agent

BLANK = "\ufffd"
BLANK_ASTRAL = "\U000ffffd"
"""In the place of a character beyond the basic plane: clients that count UTF-16 units count two for it, too."""
BASIC_MAX = "\uffff"

Json = Any


@dataclass(frozen=True, slots=True)
class Authorship:
    """What tells which messages are one person's."""

    clients: Collection[str] = ()
    """Those that were the person's; the site's is nobody's."""
    site: Mapping[str, bool] | None = None
    """Of messages of the site, by id, whether they were written for the person; None: the site writes for accounts, and
    the person has none."""
    added: Collection[tuple[str, str]] = ()
    """Keys and paths at which the person changed values by other operations than sets."""
    told_above: int = -1
    """Above this Lamport time these are all that there are; of what is older nothing tells."""

    def is_of(self, client: str, message_id: str) -> bool | None:
        """Whether what they wrote is the person's; None when nothing tells.

        What a restore wrote, whoever asked for it, is what others had written.
        """
        if not client.startswith(SERVER_PREFIX):
            return client in self.clients
        if is_restore(message_id):
            return None
        return False if self.site is None else self.site.get(message_id)


@dataclass(slots=True)
class Blanked:
    """What was taken out."""

    characters: int = 0
    """Hidden characters of texts."""
    values: int = 0
    """Initial values that are written over, and whatever removed nodes had."""
    waiting: int = 0
    """Operations for nodes that never came."""


def blanked(data: bytes, authorship: Authorship) -> tuple[bytes, Blanked]:
    """The snapshot without hidden characters (B1), values written over or removed (B2, B3), whoever wrote them, and
    without what waits of the person (B4); and what that was.  Ids, lengths, stamps and places stay.  Idempotent.

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
                    register.text = _blank_rows(register, told)
    _drop_waiting(content, authorship, told)
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


def _blank_rows(register: Register, told: Blanked) -> Json:
    """The rows of a text, or of what is none any more and hides them all (rule X2); of a plain string that an undone op
    gave characters, these stay: an op that counts shows them (rule X6)."""
    agents, encoded = register.text
    plain = None if register.is_text else implicit_agent(register.writer, register.index)
    blank, agent = [], ""
    for row in encoded:
        place, text, *more = row
        if place is not None:
            agent = agents[place[0]]
        content = list(text)
        for at in () if agent == plain else _hidden(row):
            mark = BLANK if content[at] <= BASIC_MAX else BLANK_ASTRAL
            told.characters += content[at] != mark
            content[at] = mark
        blank.append([place, "".join(content), *more])
    return [agents, blank]


def _hidden(row: list[Json]) -> Iterator[int]:
    """Offsets of the characters of a row that nobody sees."""
    deleted: list[list[int]] = row[4] if len(row) > 4 else []
    is_counted: bool = row[5] if len(row) > 5 else True
    if not is_counted:
        yield from range(len(row[1]))
        return
    for first, length in deleted:
        yield from range(first, first + length)


def _drop_waiting(content: Content, authorship: Authorship, told: Blanked) -> None:
    kept = [
        waiting
        for waiting in content.waiting
        if not authorship.is_of(waiting.message.client, waiting.message.id)
    ]
    told.waiting += len(content.waiting) - len(kept)
    content.waiting = kept


def emptying_ops(data: bytes, authorship: Authorship) -> Iterator[Op]:
    """Ordinary operations that empty what the person wrote and everybody still sees: values that the person wrote last,
    characters that the person typed.  Nodes, and their tags, stay.

    Raises: SnapshotError.
    """
    for key, path, register in _shown(decode_content(data)):
        if register.is_text:
            yield from _deleting(key, path, register, authorship)
        elif _is_of(authorship, register.writer):
            yield from _emptying(key, path, register.value)


def left_count(data: bytes, authorship: Authorship) -> int:
    """Of how many properties everybody sees something that is the person's, or may be: after the emptying, what the
    site wrote and nothing tells for whom, what others have added to since, and characters whose ids were given out
    again, so that no operation names them.

    Raises: SnapshotError.
    """
    content = decode_content(data)
    return sum(
        _is_left(authorship, content.nodes[key], key, path, register)
        for key, path, register in _shown(content)
    )


def _is_left(authorship: Authorship, node: Node, key: str, path: str, register: Register) -> bool:
    if not register.is_text:
        is_last = _is_of(authorship, register.writer) is not False
        is_seen = any(_emptying(key, path, register.value))
        return is_seen and (is_last or _has_part(authorship, node, key, path, register))
    found = list(_characters(register))
    if any(authorship.is_of(*writer) is not False for writer, _, _ in found):
        return True
    plain = implicit_agent(register.writer, register.index)
    return any(agent == plain for _, agent, _ in found) and _has_part(authorship, node, key, path, register)


def _has_part(authorship: Authorship, node: Node, key: str, path: str, register: Register) -> bool:
    """True when others have added to a value, and what they added to may be the person's, or the person may have added
    to it in between: a register tells who set it and who wrote it last."""
    base = register.setter if register.is_set else node.created if register.is_touched else None
    if base is None or _is_sum(register.value):
        return False
    is_own = _is_of(authorship, base) is not False
    return is_own or base[0] <= authorship.told_above or (key, path) in authorship.added


def _is_sum(value: Json) -> bool:
    """True for numbers and vectors: of what was added to them nothing is to be seen."""
    members = value if type(value) is list else [value]
    return all(isinstance(member, int | float) for member in members)


def _shown(content: Content) -> Iterator[tuple[str, str, Register]]:
    """Key, path and register of what everybody sees and may be emptied."""
    for key, node in content.nodes.items():
        if node.removed is not None:
            continue
        initial = {path: start_register(node, path) for path in node.initial if path != "key"}
        for path, register in {**initial, **(node.registers or {})}.items():
            if path != "tag" or register.is_text:
                yield key, path, register


def _is_of(authorship: Authorship, origin: Origin | None) -> bool | None:
    return False if origin is None else authorship.is_of(origin[1], origin[2])


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
    if value != empty[1]:
        yield Op(empty[0], key, path, empty[1])


def _deleting(key: str, path: str, register: Register, authorship: Authorship) -> Iterator[Op]:
    """One deletion of all visible characters that the person typed, or that were in a string the person set."""
    ranges: list[list[Json]] = []
    for writer, agent, number in _characters(register):
        if authorship.is_of(*writer):
            _extend(ranges, agent, number)
    if ranges:
        yield Op("text.delete", key, path, rm=ranges)


def _characters(register: Register) -> Iterator[tuple[tuple[str, str], str, int]]:
    """Of every visible character of a text: its writer, its agent, its number."""
    agents, rows = register.text
    writers = _writers(register, agents)
    agent, number = "", 0
    for row in rows:
        if row[0] is not None:
            agent, number = agents[row[0][0]], row[0][1]
        hidden = set(_hidden(row))
        for offset in range(len(row[1])):
            if offset not in hidden:
                yield writers[agent], agent, number + offset
        number += len(row[1])


def _writers(register: Register, agents: list[str]) -> dict[str, tuple[str, str]]:
    """Of each agent of a text the client, and the message's id if it is known.

    An agent is a client; but a plain string's characters are named after its message, whose id need not tell the
    client.  Whoever set a string hid those of all before, so the register tells whose the visible ones are.
    """
    writers = {agent: (agent, "") for agent in agents}
    if (origin := register.writer) is not None:
        writers[implicit_agent(origin, register.index)] = (origin[1], origin[2])
    return writers


def _extend(ranges: list[list[Json]], agent: str, number: int) -> None:
    if ranges:
        first, length = ranges[-1]
        name, _, begin = first.rpartition(":")
        if name == agent and int(begin) + length == number:
            ranges[-1][1] += 1
            return
    ranges.append([f"{agent}:{number}", 1])


__all__ = ["Authorship", "Blanked", "blanked", "emptying_ops", "left_count"]
