"""What differs between two states of a node, and who made the difference.  Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from journal.entry import Entry
from vuer_rtc.crdt.graph import NodeView
from vuer_rtc.crdt.message import UNSET
from vuer_rtc.crdt.value import json_key


@dataclass(frozen=True, slots=True)
class PropertyChange:
    """One property, before and after; `UNSET`: it was, or is, not there."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class NodeChange:
    """One node, before and after; None: it was, or is, not there, not even as a tombstone."""

    key: str
    before: NodeView | None
    after: NodeView | None

    @property
    def is_added(self) -> bool:
        """True also for a tombstone that lives again."""
        return not is_live(self.before) and is_live(self.after)

    @property
    def is_removed(self) -> bool:
        return is_live(self.before) and not is_live(self.after)

    @property
    def is_moved(self) -> bool:
        """True when it hangs below another node, or does for the first time."""
        return parent_of(self.before) != parent_of(self.after)

    @property
    def is_shown(self) -> bool:
        """True when it is visible and was not."""
        return not is_visible(self.before) and is_visible(self.after)

    @property
    def is_hidden(self) -> bool:
        """True when it is not visible and was."""
        return is_visible(self.before) and not is_visible(self.after)

    @property
    def is_structural(self) -> bool:
        """True when the node itself, not only what is above it, came, went or moved."""
        return self.is_added or self.is_removed or self.is_moved

    @property
    def properties(self) -> list[PropertyChange]:
        """What differs, by path, `name` and `tag` among them.  Removal changes none; of a tombstone nobody sees
        any."""
        return self.written if is_live(self.before) or is_live(self.after) else []

    @property
    def written(self) -> list[PropertyChange]:
        """The same, of a tombstone too."""
        before, after = values_of(self.before), values_of(self.after)
        return [
            PropertyChange(path, before.get(path, UNSET), after.get(path, UNSET))
            for path in sorted({*before, *after})
            if differs(before.get(path, UNSET), after.get(path, UNSET))
        ]

    def __bool__(self) -> bool:
        """True when somebody would see a difference."""
        return bool(self.is_structural or self.is_shown or self.is_hidden or self.properties)


@dataclass(frozen=True, slots=True)
class Touch:
    """A journalled message that changed something."""

    seq: int
    message_id: str
    client: str
    user: str | None
    """Primary key, as text, of the account it came in by; None: anonymous, or the server itself."""
    received_at: float
    """Seconds since 1970 UTC, by the server's clock."""
    otypes: tuple[str, ...]
    """Kinds of its operations, each once."""

    @classmethod
    def of(cls, entry: Entry) -> "Touch":
        message = entry.message
        otypes = tuple(dict.fromkeys(op.ot for op in message.ops))
        return cls(message.server_seq, message.id, message.client, entry.user, entry.received_at, otypes)


def differs(before: Any, after: Any) -> bool:
    """True for values that are not the same JSON, `UNSET` among them.  Most are the same object, or none: looking into
    large ones takes long."""
    if before is after:
        return False
    return before is UNSET or after is UNSET or json_key(before) != json_key(after)


def is_live(view: NodeView | None) -> bool:
    return view is not None and not view.deleted


def is_visible(view: NodeView | None) -> bool:
    return view is not None and not view.hidden


def parent_of(view: NodeView | None) -> str | None:
    """Key of its parent; None when there is no node."""
    return view.parent if view is not None and not view.deleted else None


def values_of(view: NodeView | None) -> Mapping[str, Any]:
    """Properties of a node, `name` and `tag` among them unless empty."""
    if view is None:
        return {}
    named = {path: value for path, value in (("name", view.name), ("tag", view.tag)) if value}
    return {**view.properties, **named}
