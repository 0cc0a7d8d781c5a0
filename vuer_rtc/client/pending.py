"""The edits of one client that are not committed: they show here at once, and travel with the next commit."""

import time

from vuer_rtc.crdt.canonical import canonical_message
from vuer_rtc.crdt.dtype import TEXT_OPS
from vuer_rtc.crdt.message import Op

from .buffer import Buffer
from .message import Operation, OpMeta
from .node import SceneGraph
from .optimistic import draft_of, keep_draft
from .replica import Replica
from .text_draft import TextDraft, is_positional
from .view import View


class PendingEdits:
    """An edit buffer on top of a replica, as a view shows both.  The replica is only read."""

    def __init__(self, replica: Replica, view: View) -> None:
        self.ts = 0.0
        """Wall clock of the first edit; means nothing while there is none."""
        self._replica = replica
        self._view = view
        self._buffer = Buffer()
        self._numbers: dict[tuple[str, str], int] = {}
        """By text, one more than the highest character number ever given."""
        self._lone_drafts: dict[tuple[str, str], TextDraft] = {}
        """Of pending texts whose node is missing."""

    @property
    def ops(self) -> list[Op]:
        """In order, those merged that may be."""
        return self._buffer.ops

    def read(self) -> SceneGraph:
        """The scene graph with these edits on top; the same object every time."""
        replica = self._replica
        meta = OpMeta(replica.client, replica.clock, replica.lt + 1, self.ts)
        return self._view.read(self._buffer, meta)

    def add(self, op: Operation) -> str | None:
        """Take one operation in; the key that it names, None when it changes nothing.

        Raises: InvalidMessage, a ValueError, for what the server would refuse.
        """
        if not self.ops:
            self.ts = time.time()
        if is_positional(op):
            return self._add_text(op)
        made = self._canonical(op)
        if made.ot == "text.init" and made.value:
            return self._add_text({**op, "ot": "text.init", "value": made.value})
        return self._put(made)

    def drop(self) -> set[str]:
        """Afterwards nothing is pending; the keys of what was."""
        if not self.ops:
            return set()
        keys = self._buffer.keys()
        self._buffer = Buffer()
        self._lone_drafts.clear()
        self._view.forget_edits()
        return keys

    def take(self, other: "PendingEdits") -> None:
        """Afterwards the same is pending as in the other."""
        self._buffer, self.ts = Buffer(other.ops), other.ts
        self._numbers = dict(other._numbers)

    def _canonical(self, op: Operation) -> Op:
        client = self._replica.client
        envelope = {"id": "edit", "client": client, "clock": {client: 1}, "lt": 0, "ts": 0, "ops": [op]}
        return canonical_message(envelope).ops[0]

    def _put(self, op: Op) -> str:
        if op.ot in TEXT_OPS and op.id:
            self._claim(op)
        merged_at = self._buffer.add(op)
        if merged_at is not None:
            self._view.merged(op.key)
        return op.key

    def _add_text(self, op: Operation) -> str | None:
        """An edit by position, turned into what travels by the text as it is here and now.

        A `text.init` with a value becomes the insert that it means: its own ids would begin at 0 again.
        """
        target = self._canonical({"ot": "text.init", "key": op.get("key", ""), "path": op.get("path")})
        key, path = target.key, target.path
        node = self.read().nodes.get(key)
        if node is not None:
            draft = draft_of(node, path, self._view)
        else:
            draft = self._lone_drafts.setdefault((key, path), TextDraft())
        if draft is None:
            return None
        client = self._replica.client
        ot = str(op.get("ot") or op.get("otype"))
        if ot == "text.init":
            if draft.has_characters_of(client):
                return None
            ot, op = "text.insert", {"value": op["value"]}
        number = self._numbers.get((key, path), 0)
        made = draft.edit({**op, "ot": ot, "key": key, "path": path}, client, number, time.time())
        if made is None:
            return None
        if node is None:
            return self._put(made)
        self._claim(made)
        keep_draft(node, path, draft)
        is_new = self._buffer.add(made) is None
        self._view.applied(key, is_new)
        return key

    def _claim(self, op: Op) -> None:
        if type(op.id) is str:
            end = int(op.id.rpartition(":")[2]) + len(op.value[1])
            self._numbers[op.key, op.path] = max(end, self._numbers.get((op.key, op.path), 0))


__all__ = ["PendingEdits"]
