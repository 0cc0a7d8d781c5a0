"""One incarnation of a node: how it came to be, where it hangs, what it began with (rules T1 to T9)."""

from typing import Any

import msgspec
from msgspec import UNSET

from .place import Origin

ROOT = ""
"""Parent of the nodes at root level; on the wire `""` or `"."`."""
STRING_PATHS = frozenset({"name", "tag"})
RESERVED_PATHS = frozenset({"", ".", "key", "children", "_crdt", "__proto__"})
_RESERVED_BUT_KEY = RESERVED_PATHS - {"key"}


class Register(msgspec.Struct, gc=False, omit_defaults=True):
    """One property of one incarnation, as its ops left it.

    Where one message is all that ever wrote it, `setter` and `toucher` stay None: snapshots are mostly registers.
    """

    value: Any = msgspec.field(default=UNSET, name="v")
    """The plain value; `UNSET` while there is none or while the property is a text."""
    writer: Origin | None = msgspec.field(default=None, name="w")
    """Who last wrote the plain value, by op `index`: the ids of its characters if it becomes a text (rule X1)."""
    index: int = msgspec.field(default=0, name="i")
    is_set: bool = msgspec.field(default=False, name="s")
    setter: Origin | None = msgspec.field(default=None, name="sb")
    """Who last set it, when that is not the writer; only with `is_set`."""
    is_touched: bool = msgspec.field(default=False, name="t")
    toucher: Origin | None = msgspec.field(default=None, name="tb")
    """Highest origin of all ops that had an effect, when that is not the writer; only with `is_touched`."""
    is_text: bool = msgspec.field(default=False, name="x")
    text: Any = msgspec.field(default=None, name="c")
    """Characters and their places, hidden ones included: a `Text`, or its rows in what lies below the cut."""

    @property
    def stamp(self) -> Origin | None:
        """Own stamp of the last effective set; what a late set is compared with (rule K3)."""
        return (self.setter or self.writer) if self.is_set else None

    @property
    def touched(self) -> Origin | None:
        return (self.toucher or self.writer) if self.is_touched else None

    @property
    def visible(self) -> Any:
        """The value that everybody sees; `UNSET` for none."""
        return self.text.visible() if self.is_text else self.value

    @property
    def is_blank(self) -> bool:
        return self.value is UNSET and self.text is None


class Node(msgspec.Struct, gc=False, array_like=True):
    """One incarnation of a node.  Immutable once it is the base of an `Item`; copied to be changed."""

    parent: str
    created: Origin
    index: int
    """Op index of the creating op."""
    initial: dict[str, Any]
    """Properties it was created with, and perhaps `key`, which is none; `tag` and `name` may be missing."""
    clock: dict[str, int]
    """Vector clock of the creating message."""
    placed: Origin | None = None
    """The last move that took effect; None: the creating op placed it."""
    is_again: bool = False
    """True for a second or later incarnation: late sets below its creation belong to the one before (rule K3)."""
    removed: Origin | None = None
    registers: dict[str, Register] | None = None
    """Properties as of the cut, where they are no longer the initial ones."""
    dated: int | float | None = None
    """The createdAt that the server gave it; None: the `ts` of the creating message."""

    @property
    def placed_by(self) -> Origin:
        return self.placed or self.created

    @property
    def created_at(self) -> int | float:
        """Raw; sorts it among its siblings (rule T7)."""
        return self.created[3] if self.dated is None else self.dated


def start_register(node: Node, path: str) -> Register:
    """A new register holding what `path` began with; blank for nothing."""
    member = node.initial.get(path, UNSET)
    if member is UNSET:
        return Register("", node.created, node.index) if path in STRING_PATHS else Register()
    return Register(member, node.created, node.index)


def initial_values(value: dict[str, Any]) -> dict[str, Any]:
    """The properties in the value of a creating op; the value itself where nothing in it has to be left out."""
    if (
        _RESERVED_BUT_KEY.isdisjoint(value)
        and type(value.get("tag", "")) is type(value.get("name", "")) is str
    ):
        for path in value:
            if path.startswith("_textCrdt."):
                break
        else:
            return value
    return {
        path: member if path not in STRING_PATHS or type(member) is str else ""
        for path, member in value.items()
        if not is_reserved(path)
    }


def normal_parent(key: Any) -> str | None:
    """The parent a key names: root level for `""` and `"."`; None for what is not a key."""
    return (ROOT if key == "." else key) if type(key) is str else None


def is_reserved(path: str) -> bool:
    return path in RESERVED_PATHS or path.startswith("_textCrdt.")


def is_assignable(path: str, value: Any) -> bool:
    """True when a set may put `value` at `path` (rules P5, P6)."""
    return not is_reserved(path) and (path not in STRING_PATHS or type(value) is str)
