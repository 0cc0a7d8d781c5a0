"""A state as plain JSON values and back: nothing a later merge needs is lost (rule K5).

Layout (lists keep it small; a stamp is `[lt, client, id]`, a touch `[lt, client, id, ts]`):

    state     {root, nodes: {key: node}, waiting: {key: [waiting…]}}
    node      {parent, created: touch, placed: touch, clock, floor?: stamp, removed?: touch, dated?: ts,
               registers: {path: register}}
    register  {value?, writer: [message id, op index], stamp?, touched?, text?: [claim…], is_text?: true}
              (for the digest, the claims of a text are told as the rows of `vuer_rtc.crdt.text_run`)
    claim     [agent, first number, content, anchor: [claim, offset] | null, seq, ts, is_counted,
               deleted: [[offset, length]…]]
    waiting   [message with that one op, op index, is_undone, is_late]
"""

from itertools import pairwise
from typing import Any

import msgspec

from vuer_rtc.crdt.message import UNSET, Message
from vuer_rtc.crdt.text_run import encode_runs

from .fold import Node, Placed, Register, State, Touch
from .rope import Char, PlainRope

Json = Any


def encode_state(state: State) -> dict[str, Json]:
    return {
        "root": state.root_key,
        "nodes": {key: _encode_node(node) for key, node in state.nodes.items()},
        "waiting": {key: [_encode_waiting(*item) for item in items] for key, items in state.waiting.items()},
    }


def digest_state(state: State) -> dict[str, Json]:
    """What the digest of everything covers."""
    data = encode_state(state)
    for key, node in state.nodes.items():
        for path, register in node.registers.items():
            if register.text is not None:
                data["nodes"][key]["registers"][path]["text"] = encode_runs(register.text.runs())
    return data


def decode_state(data: dict[str, Json]) -> State:
    return State(
        nodes={key: _decode_node(key, node) for key, node in data["nodes"].items()},
        waiting={key: [_decode_waiting(item) for item in items] for key, items in data["waiting"].items()},
        root_key=data["root"],
    )


def _encode_node(node: Node) -> dict[str, Json]:
    data: dict[str, Json] = {
        "parent": node.parent,
        "created": _flat(node.created),
        "placed": _flat(node.placed),
        "clock": node.clock,
        "registers": {path: _encode_register(register) for path, register in node.registers.items()},
    }
    if node.floor:
        data["floor"] = list(node.floor)
    if node.removed:
        data["removed"] = _flat(node.removed)
    if node.dated is not None:
        data["dated"] = node.dated
    return data


def _decode_node(key: str, data: dict[str, Json]) -> Node:
    return Node(
        key=key,
        parent=data["parent"],
        created=_touch(data["created"]),
        placed=_touch(data["placed"]),
        clock=data["clock"],
        floor=tuple(data["floor"]) if "floor" in data else None,
        removed=_touch(data["removed"]) if "removed" in data else None,
        dated=data.get("dated"),
        registers={path: _decode_register(register) for path, register in data["registers"].items()},
    )


def _encode_register(register: Register) -> dict[str, Json]:
    data: dict[str, Json] = {"writer": list(register.writer)}
    if register.value is not UNSET:
        data["value"] = register.value
    if register.stamp:
        data["stamp"] = list(register.stamp)
    if register.touched:
        data["touched"] = _flat(register.touched)
    if register.text is not None:
        data["text"] = [_encode_claim(claim) for claim in register.text.claims]
    if register.is_text:
        data["is_text"] = True
    return data


def _decode_register(data: dict[str, Json]) -> Register:
    return Register(
        value=data.get("value", UNSET),
        writer=tuple(data["writer"]),
        stamp=tuple(data["stamp"]) if "stamp" in data else None,
        touched=_touch(data["touched"]) if "touched" in data else None,
        text=_decode_text(data["text"]) if "text" in data else None,
        is_text=data.get("is_text", False),
    )


def _encode_claim(claim: list[Char]) -> list[Json]:
    head = claim[0]
    anchor = None
    if head.anchor is not None:
        anchor = [head.anchor.claim, head.anchor.offset]
    hidden = [char.offset for char in claim if char.is_deleted]
    content = "".join(char.content for char in claim)
    return [head.agent, head.number, content, anchor, head.seq, head.ts, head.is_counted, _ranges(hidden)]


def _ranges(offsets: list[int]) -> list[list[int]]:
    """Sorted offsets as `[[first, length], …]`."""
    starts = [offset for before, offset in pairwise([-2, *offsets]) if offset != before + 1]
    ends = [offset for offset, after in pairwise([*offsets, 2**63]) if after != offset + 1]
    return [[start, end - start + 1] for start, end in zip(starts, ends, strict=True)]


def _decode_text(claims: list[list[Json]]) -> PlainRope:
    text = PlainRope()
    for agent, number, content, anchor, seq, ts, is_counted, hidden in claims:
        where = text.claims[anchor[0]][anchor[1]] if anchor else None
        text.place(agent, number, content, where, seq, ts, is_counted=is_counted)
        for first, length in hidden:
            for char in text.claims[-1][first : first + length]:
                char.is_deleted = True
    return text


def _encode_waiting(placed: Placed, index: int) -> list[Json]:
    alone = msgspec.structs.replace(placed.message, ops=[placed.op(index)])
    return [msgspec.to_builtins(alone), index, placed.is_undone, placed.is_late]


def _decode_waiting(data: list[Json]) -> tuple[Placed, int]:
    message, index, is_undone, is_late = data
    return Placed(msgspec.convert(message, Message), is_undone, is_late, index), index


def _flat(touch: Touch) -> list[Json]:
    return [*touch[0], touch[1]]


def _touch(data: list[Json]) -> Touch:
    lt, client, message_id, ts = data
    return ((lt, client, message_id), ts)
