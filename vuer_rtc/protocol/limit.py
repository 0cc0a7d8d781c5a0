"""A bound on everything a client may send, and the checks that need nothing but the message.

What depends on the document (`clients_max`, `counter_gaps_max`, `nodes_max`, `tree_depth_max`, `document_bytes_max`,
`text_chars_max`, `value_members_max`, `compared_members_max`, `waiting_ops_max`, `lamport_jump_max`) is checked where
the document is, what depends on connections where those are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NoReturn

import msgspec

from vuer_rtc.crdt.dtype import CREATE_OPS, META_OPS, PROPERTY_OPS, TEXT_OPS
from vuer_rtc.crdt.message import UNSET, Message, Op

from .codes import ClientFault, ErrorCode

OP_WEIGHT = 256
"""Bytes that each operation of a frame counts beside its own."""
CONTAINER_WEIGHT = 32
"""The same of each list and map: `[]` is one byte, and takes as long to look at as fifty of a string."""
MEMBER_WEIGHT = 4
"""The same of each member of a list or map."""
LIGHT_FRAME_BYTES_MAX = 1_024
"""A frame up to this counts its bytes alone: how many there are is bounded by `messages_per_second_max`."""
PRESENCE_FRAME_FACTOR = 8
"""A frame that much larger than `presence_bytes_max` is not looked into: JSON takes six bytes for one at most."""

_encoder = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound with its default; a document may override any of them."""

    frame_bytes_max: int = 1_048_576
    """One WebSocket frame.  Holds a commit of a thousand nodes; a larger import is many commits."""
    frame_weight_max: int = 8_388_608
    """The same as it weighs by what it costs to look at: a megabyte of numbers, or two hundred thousand lists."""
    ops_per_message_max: int = 1_000
    """Operations of one message.  A message is atomic: it is journalled, relayed and undone as one."""
    op_bytes_max: int = 262_144
    """One operation as msgpack.  A scene refers to meshes and images by address, it does not contain them."""
    value_depth_max: int = 32
    """Nesting of lists and maps in a value.  Everybody who handles it recurses."""
    id_chars_max: int = 200
    """Message ids, also those an undo names.  Kept for as long as a duplicate may come."""
    client_id_chars_max: int = 128
    """Client ids.  Part of every message, clock and stamp."""
    key_chars_max: int = 256
    """Node keys.  Longer than the paths people use as keys."""
    path_chars_max: int = 256
    """Property names."""
    clock_entries_max: int = 100_000
    """Clients in a vector clock: as many as ever edited the document, for a client that knows it all.  In the end it is
    `frame_bytes_max` that bounds what such a client can send."""
    text_insert_chars_max: int = 100_000
    """Characters of one text operation.  Every character is remembered, deleted or not."""
    text_delete_chars_max: int = 1_000_000
    """Characters that the ranges of all text operations of one message cover together: each run of them is looked at,
    and a thousand operations may name the same million."""
    text_seq_per_lt_max: int = 10_000
    """Bound of a text operation's `seq`, times its Lamport time plus one.  An honest `seq` grows by at most
    one per operation: keep this above the largest `ops_per_message_max` the document ever had.  Without it
    one message could use up all numbers, and nobody could type there any more."""
    lamport_jump_max: int = 1_000_000
    """How far a Lamport time may be ahead of the document's: commits a client may make offline."""
    clients_max: int = 100_000
    """Clients that ever edited the document: each is remembered for ever, also through a reset, and told to whoever
    joins.  A page that takes a new id each time it is loaded, a hundred times a day, needs three years."""
    counter_gaps_max: int = 100_000
    """Gaps that clients have left in their counters, of the document: each is remembered for ever, like a client.  Who
    counts one by one leaves none."""
    nodes_max: int = 100_000
    """Nodes of a document, tombstones included."""
    tree_depth_max: int = 256
    """Levels of the tree in which nodes are put.  A move looks at all that its new parent hangs below, a late one at as
    much for each later one, and clients recurse.  Merging may make it deeper."""
    document_bytes_max: int = 134_217_728
    """The whole document as msgpack, with the messages above its cut; reckoned, so that what was overwritten since the
    last snapshot counts as well.  In memory it takes three to five times as much."""
    text_chars_max: int = 1_000_000
    """Characters of one text or string as it grows, deleted and overwritten ones of a text included: they keep their
    places for ever."""
    value_members_max: int = 100_000
    """Members of one list or map as it grows by operations that add to it.  Each costs its message only once, and
    everybody's memory for ever."""
    compared_members_max: int = 5_000_000
    """Members of lists that the unions and removals of one message compare together: each looks at the whole list."""
    waiting_ops_max: int = 10_000
    """Operations on nodes that are not there.  They wait for them, through every compaction."""
    sessions_max: int = 1_000
    """Connections of one document in one server process; each costs a share of every broadcast."""
    outbound_bytes_max: int = 8_388_608
    """Bytes queued for one connection beyond what it takes to send it the document.  A client further behind is
    closed with `slow-client` and gets the whole state when it comes back, which is cheaper."""
    outbound_frames_max: int = 20_000
    """The same, in frames: small frames cost memory of their own."""

    messages_per_second_max: float = 500
    """Frames a connection may send in the long run.  A drag at 120 Hz needs a quarter."""
    message_burst_max: int = 2_000
    """Frames it may send at once after a pause: a backlog made offline."""
    bytes_per_second_max: float = 16_777_216
    """Bytes of frames a connection may send in the long run, those that rule L8 adds included.  A robot that
    streams 200 kB thirty times a second, in small lists, needs three quarters."""
    byte_burst_max: int = 67_108_864
    """The same at once: as much as may wait for the journal."""
    reads_per_second_max: float = 5
    """`sync` and `sync-check` in the long run; each may cost as much as the document is large."""
    read_burst_max: int = 20
    """The same at once."""
    presence_bytes_max: int = 4_096
    """One presence as msgpack: a camera and a selection of some dozens of nodes.  Sent on to everybody."""
    presence_per_second_max: float = 60
    """Presence a connection may send in the long run: one for each frame that is drawn."""
    presence_burst_max: int = 120
    """The same at once."""
    presence_silence_s_max: float = 30
    """Seconds without a frame after which a presence ends.  Clients show life every third of it."""
    faults_per_second_max: float = 10
    """Frames that are no messages, or came too fast, in the long run; beyond it the connection is closed."""
    fault_burst_max: int = 100
    """The same at once."""

    def overridden(self, overrides: Mapping[str, object]) -> "Limits":
        """These limits with those of `overrides` in their place.

        Raises: ValueError for a name that is no limit, or a value that is not a number from 0.
        """
        kinds = {field.name: field.type for field in fields(self)}
        for name, value in overrides.items():
            if name not in kinds:
                raise ValueError(f"{name} is not a limit")
            allowed = (int, float) if kinds[name] is float else (int,)
            if isinstance(value, bool) or not isinstance(value, allowed) or not value >= 0:
                raise ValueError(f"{name} is {value!r}, not a number from 0")
        return replace(self, **overrides)  # type: ignore[arg-type]


def check_message(message: Message, limits: Limits) -> None:
    """Returns when the message is within all limits that it can be held to by itself.

    Raises: ClientFault `over-limit`.  Source: rule L1.
    """
    try:
        if len(message.id) > limits.id_chars_max:
            _refuse("id_chars_max", limits, len(message.id))
        if len(message.client) > limits.client_id_chars_max:
            _refuse("client_id_chars_max", limits, len(message.client))
        if len(message.clock) > limits.clock_entries_max:
            _refuse("clock_entries_max", limits, len(message.clock))
        if len(message.ops) > limits.ops_per_message_max:
            _refuse("ops_per_message_max", limits, len(message.ops))
        for op in message.ops:
            _check_op(op, message, limits)
        if (deleted := sum(map(_deleted, message.ops))) > limits.text_delete_chars_max:
            _refuse("text_delete_chars_max", limits, deleted)
    except ClientFault as fault:
        fault.message_id = message.id
        raise


def check_presence(data: dict[str, object] | None, limits: Limits) -> None:
    """Returns when a presence is within all limits.

    Raises: ClientFault `over-limit`.  Source: rule W7.
    """
    if data is not None:
        if (size := len(_encoder.encode(data))) > limits.presence_bytes_max:
            _refuse("presence_bytes_max", limits, size)
        _check_depth(data, limits)


def check_clock(message: Message, known: Mapping[str, int], lost: Mapping[str, int]) -> None:
    """Returns when the message's clock claims nothing of other clients beyond `known`, the document's clock, and
    `lost`, that of what it had before its database was put back.

    Clients merge the clocks they are sent, their own entry included: a made-up one would carry them away.

    Raises: ClientFault `foreign-clock`.  Source: rule L2.
    """
    for client, counter in message.clock.items():
        if counter > known.get(client, 0) and counter > lost.get(client, 0) and client != message.client:
            detail = (
                f"message {counter} of another client is claimed, the document has {known.get(client, 0)}"
            )
            raise ClientFault(ErrorCode.FOREIGN_CLOCK, detail, message.id)


def _refuse(name: str, limits: Limits, actual: int) -> NoReturn:
    raise ClientFault(ErrorCode.OVER_LIMIT, f"{name} is {getattr(limits, name)}, here are {actual}")


def _check_op(op: Op, message: Message, limits: Limits) -> None:
    size = len(_encoder.encode(op))
    if size > limits.op_bytes_max:
        _refuse("op_bytes_max", limits, size)
    if len(op.key) > limits.key_chars_max:
        _refuse("key_chars_max", limits, len(op.key))
    if len(op.path) > limits.path_chars_max:
        _refuse("path_chars_max", limits, len(op.path))
    if type(op.value) in (list, dict):
        _check_depth(op.value, limits)
    if op.ot in PROPERTY_OPS:
        if op.path == "." and type(op.value) is dict:
            _check_names(op.value, limits)
    elif op.ot in TEXT_OPS:
        _check_text(op, message, limits)
    elif op.ot in META_OPS:
        if len(op.target) > limits.id_chars_max:
            _refuse("id_chars_max", limits, len(op.target))
    else:
        _check_node(op, limits)


def _check_depth(value: object, limits: Limits) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > limits.value_depth_max:
            detail = f"value_depth_max is {limits.value_depth_max}, a value is nested deeper"
            raise ClientFault(ErrorCode.OVER_LIMIT, detail)
        level = _inside(level)


def _check_node(op: Op, limits: Limits) -> None:
    keys = (
        [op.value]
        if op.ot == "node.remove"
        else [op.value.get(n, "") for n in ("key", "nodeKey", "newParent")]
    )
    longest = max(map(len, keys))
    if longest > limits.key_chars_max:
        _refuse("key_chars_max", limits, longest)
    if op.ot in CREATE_OPS:
        _check_names(op.value, limits)


def _check_names(properties: dict[str, object], limits: Limits) -> None:
    longest = max(map(len, properties), default=0)
    if longest > limits.path_chars_max:
        _refuse("path_chars_max", limits, longest)


def _check_text(op: Op, message: Message, limits: Limits) -> None:
    content = op.value[1] if type(op.value) is list else op.value
    if content is not UNSET and len(content) > limits.text_insert_chars_max:
        _refuse("text_insert_chars_max", limits, len(content))
    seq_max = (message.lt + 1) * limits.text_seq_per_lt_max
    if op.seq is not UNSET and op.seq > seq_max:
        detail = f"text_seq_per_lt_max allows `seq` {seq_max} at this Lamport time, it is {op.seq}"
        raise ClientFault(ErrorCode.OVER_LIMIT, detail)


def _deleted(op: Op) -> int:
    """Characters that its ranges cover."""
    return 0 if op.rm is UNSET else sum(length for _, length in op.rm)


def weight_of(fields: Mapping[str, object], size: int, bound: int) -> int:
    """Bytes that a decoded frame of `size` counts as: what it costs to look at; counted no further than just beyond
    `bound`.  Source: rule L8."""
    if size <= LIGHT_FRAME_BYTES_MAX:
        return size
    ops = _commit_of(fields).get("ops")
    weight = size + (OP_WEIGHT * len(ops) if type(ops) is list else 0)
    level: list[Any] = [fields]
    while level and weight <= bound:
        weight += CONTAINER_WEIGHT * len(level) + MEMBER_WEIGHT * sum(map(len, level))
        level = _inside(level)
    return weight


def check_fields(fields: Mapping[str, object], size: int, weight: int, limits: Limits) -> None:
    """Returns when nothing shows, before all members are looked at, that a decoded frame is beyond a limit.

    Raises: ClientFault `over-limit`.  Source: rules L1, L8, W7.
    """
    if weight > limits.frame_weight_max:
        message_id = _commit_of(fields).get("id")
        detail = f"frame_weight_max is {limits.frame_weight_max}, this weighs more: send less at a time"
        raise ClientFault(ErrorCode.OVER_LIMIT, detail, message_id if type(message_id) is str else None)
    presence_max = PRESENCE_FRAME_FACTOR * limits.presence_bytes_max + LIGHT_FRAME_BYTES_MAX
    if fields.get("mtype") == "presence" and size > presence_max:
        _refuse("presence_bytes_max", limits, size)


def _commit_of(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    commit = fields.get("msg", fields)
    return commit if type(commit) is dict else {}


def _inside(containers: list[Any]) -> list[Any]:
    """The lists and maps that are members of these."""
    return [
        member
        for container in containers
        for member in (container.values() if type(container) is dict else container)
        if type(member) is list or type(member) is dict
    ]


class TokenBucket:
    """Lets `burst` things through at once and `per_second` in the long run; time is passed in (rule L3)."""

    __slots__ = ("_burst", "_per_second", "_taken_at", "_tokens")

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = float(burst)
        self._taken_at: float | None = None

    def resize(self, per_second: float, burst: int) -> None:
        """From now on these hold; what it holds already stays, up to the burst."""
        self._per_second = per_second
        self._burst = burst
        self._tokens = min(self._tokens, burst)

    def take(self, now: float, count: int = 1) -> bool:
        """True, and `count` tokens less, when there is one: the rest is owed.  `now` is monotonic, in seconds."""
        since = self._taken_at if self._taken_at is not None else now
        self._tokens = min(self._burst, self._tokens + max(0.0, now - since) * self._per_second)
        self._taken_at = max(now, since)
        if self._tokens < 1:
            return False
        self._tokens -= count
        return True

    def owe(self, count: int) -> None:
        """Note that what was taken turned out to be `count` more."""
        self._tokens -= count
