"""One text as pending edits leave it: positions in, operations that travel out.

A draft stands on a text of the replica, which it only reads, for as long as one run of typing or one deletion is all
that is pending: that costs O(log n) and a splice of the visible string.  What goes beyond is applied to a copy.
"""

from typing import Any

from vuer_rtc.crdt.message import UNSET, Op
from vuer_rtc.crdt.plain import plain_text, refuse, shown
from vuer_rtc.crdt.text import Text
from vuer_rtc.crdt.text_id import parse_id, parse_insert


class TextDraft:
    """A text that pending operations have changed."""

    def __init__(self, base: Text | None = None, plain: str = "", agent: str = "=plain/0") -> None:
        """On `base`; or on a plain string, whose characters are `agent:0…`; or on nothing."""
        self._text = base
        self._is_copy = base is None
        self._spliced: list[Op] = []
        """What `visible` has and the text has not, oldest first."""
        self._tail: tuple[int, str, int | float] | None = None
        """Where the last thing typed ends: position, id of its last character, its seq."""
        if base is None:
            self._text = Text()
            self._text.place(agent, 0, plain, None, 0, 0)
        self.visible = plain if base is None else base.visible()

    def copy(self) -> "TextDraft":
        draft = TextDraft()
        draft._text = Text.decode(self._whole().encode())
        draft.visible = self.visible
        return draft

    def _whole(self) -> Text:
        """The text with everything in it."""
        assert self._text is not None
        if not self._is_copy:
            self._text = Text.decode(self._text.encode())
            self._is_copy = True
        for op in self._spliced:
            write(self._text, op)
        self._spliced = []
        return self._text

    @property
    def encoded(self) -> Text:
        """The text with everything in it, to be read only."""
        return self._whole()

    def has_characters_of(self, client: str) -> bool:
        """True when `client` has typed something that is not undone (rule X5)."""
        assert self._text is not None
        typed = any(str(op.id).rpartition(":")[0] == client for op in self._spliced)
        return typed or self._text.has_counted(client)

    # Editing by position

    def edit(self, op: dict[str, Any], client: str, number: int, ts: float) -> Op | None:
        """The operation that an edit by position makes, already applied; None for one that changes nothing.

        `number` is the least that new character ids of `client` may have.  Positions are clamped to the text.

        Raises: InvalidMessage, a ValueError.
        """
        position = min(max(int(op.get("position") or 0), 0), len(self.visible))
        length = 0 if op["ot"] == "text.insert" else max(int(op.get("length") or 0), 0)
        length = min(length, len(self.visible) - position)
        content = "" if op["ot"] == "text.delete" else content_of(op.get("value"))
        if not content and not length:
            return None
        made = self._operation(op, position, length, content, client, number, ts)
        self._spliced.append(made)
        if content:
            last = parse_id(made.id)
            assert last is not None
            self._tail = (position + len(content), f"{client}:{last[1] + len(content) - 1}", made.seq)
        else:
            self._tail = None
        self.visible = self.visible[:position] + content + self.visible[position + length :]
        return made

    def _operation(
        self,
        op: dict[str, Any],
        position: int,
        length: int,
        content: str,
        client: str,
        number: int,
        ts: float,
    ) -> Op:
        key, path = op["key"], op["path"]
        if self._tail is not None and not length and self._tail[0] == position:
            _, anchor, seq = self._tail
            first = max(number, int(anchor.rpartition(":")[2]) + 1)
            return Op("text.insert", key, path, [anchor, content], id=f"{client}:{first}", seq=seq + 1, ts=ts)
        text = self._whole() if self._spliced else self._text
        assert text is not None
        rm = text.ranges_at(position, length) if length else UNSET
        if not content:
            return Op("text.delete", key, path, rm=rm)
        value = [text.anchor_at(position), content]
        first = max(number, next_number(text, client))
        seq = text.highest_seq() + 1
        ot = "text.replace" if length else "text.insert"
        return Op(ot, key, path, value, id=f"{client}:{first}", seq=seq, ts=ts, rm=rm)

    # Operations as they travel

    def apply(self, op: Op, client: str = "", ts: float = 0) -> None:
        """Apply an operation; `client` and `ts` are its message's, for `text.init`."""
        text = self._whole()
        write(text, op, client, ts)
        self._tail = None
        self.visible = text.visible()

    def clear(self, value: Any, agent: str) -> bool:
        """Set it over (rule X2); true when it stays a text."""
        text = self._whole()
        text.hide_all()
        self._tail = None
        if type(value) is not str:
            return False
        text.place(agent, 0, value, None, 0, 0)
        self.visible = text.visible()
        return True


def content_of(value: Any) -> str:
    """What an edit by position types: `[None, content]`, or the content itself; None types nothing.

    Raises: InvalidMessage, a ValueError, for what is no text that travels.
    """
    content = value[1] if isinstance(value, list | tuple) and len(value) == 2 else value
    if content is None:
        return ""
    return (
        plain_text(content) if type(content) is str else refuse("bad-op", f"{shown(content)} cannot be typed")
    )


def next_number(text: Text, client: str) -> int:
    """One more than the highest number of a character id that `client` ever claimed in the text."""
    author = text._authors.get(client)
    return 0 if author is None else author.end


def write(text: Text, op: Op, client: str = "", ts: float = 0) -> bool:
    """Apply an operation after everything that the text holds; true when it has an effect."""
    if op.ot == "text.init":
        if type(op.value) is not str or not op.value or text.has_counted(client):
            return False
        text.place(client, 0, op.value, None, text.highest_seq() + 1, ts)
        return True
    had_effect = op.ot != "text.insert" and text.delete(op.rm)
    if op.ot == "text.delete":
        return had_effect
    agent = str(op.id).rpartition(":")[0]
    claim = parse_insert(op, agent)
    if claim is None:
        return had_effect
    number, anchor, content = claim
    where = None if anchor is None else text.latest(anchor)
    if anchor is not None and where is None:
        return had_effect
    text.place(agent, number, content, where, op.seq, op.ts)
    return True


def is_positional(op: dict[str, Any]) -> bool:
    """True for a text operation that says where by position alone."""
    ot = op.get("ot") or op.get("otype")
    if ot == "text.insert":
        return op.get("id") is None or op.get("seq") is None or not op.get("value")
    if ot == "text.delete":
        return op.get("rm") is None
    if ot == "text.replace":
        return any(op.get(name) is None for name in ("rm", "id", "seq", "value"))
    return False


__all__ = ["TextDraft", "content_of", "is_positional", "next_number", "write"]
