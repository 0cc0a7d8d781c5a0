"""A text read out: as runs, as the rows of a snapshot, as the rope that published clients take.

    text     [[agent…], [row…]]        agents sorted; rows in document order
    row      [place, content, seq, ts, deleted, is_counted, layer]    trailing defaults ([], true, 0) left out
    place    [agent's index, number, depth] of the first character; null when it continues the row before: the same
             agent, the next number, one deeper
    ts       a number; or a list, one for each character, of a row that was typed: each has one `seq` more than the last
    deleted  [[offset, length]…] of the characters that deletes hide
    layer    how many claims of its ids are earlier

Depths say all that anchors would: a character's anchor is the last one before it that is one less deep.  The rows are a
function of the characters alone, not of how they arrived, in how many claims, nor of how often each was deleted.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

Number = int | float
Json = Any


class Run(NamedTuple):
    """Neighbours of one claim that are alike: each hangs below the one before and has the next number."""

    agent: str
    number: int
    depth: int
    """How many characters the first one hangs below."""
    content: str
    seq: Number
    ts: Number
    is_deleted: bool = False
    is_counted: bool = True
    """False while the insert they belong to is undone."""
    layer: int = 0
    """How many claims of these ids are earlier."""
    is_latest: bool = True
    """False when a later claim has taken these ids over."""
    times: list[Number] | None = None
    """Of neighbours that were typed: the `ts` of each; each has one `seq` more than the last."""

    @property
    def is_hidden(self) -> bool:
        return self.is_deleted or not self.is_counted

    @property
    def published_id(self) -> str:
        """Its id; one that a later claim has taken over is told apart."""
        return self.id_at(self.depth)

    def id_at(self, depth: int) -> str:
        """Published id of its character of that depth."""
        text_id = f"{self.agent}:{self.number + depth - self.depth}"
        return text_id if self.is_latest else f"=earlier/{self.layer}/{text_id}"


class _Row:
    """Characters that share a row of a snapshot, while it grows."""

    __slots__ = ("_parts", "deleted", "head", "length", "times")

    def __init__(self, run: Run) -> None:
        self.head = run
        self.length = len(run.content)
        self._parts = [run.content]
        self.times = run.times
        self.deleted = [[0, self.length]] if run.is_deleted else []

    @property
    def content(self) -> str:
        return "".join(self._parts)

    def is_continued_by(self, head: Run) -> bool:
        mine, length = self.head, self.length
        is_next = head.number == mine.number + length and head.depth == mine.depth + length
        return is_next and head.agent == mine.agent

    def is_like(self, head: Run) -> bool:
        mine = self.head
        is_alike = head.layer == mine.layer and head.is_counted == mine.is_counted
        return is_alike and self.is_continued_by(head)

    def is_typed_on_by(self, row: "_Row") -> bool:
        """True when `row` is what was typed next."""
        is_typed = (row.length == 1 or row.times is not None) and (self.length == 1 or self.times is not None)
        return is_typed and row.head.seq == self.head.seq + self.length and self.is_like(row.head)

    def append(self, row: "_Row") -> None:
        for first, length in row.deleted:
            if self.deleted and sum(self.deleted[-1]) == self.length + first:
                self.deleted[-1][1] += length
            else:
                self.deleted.append([self.length + first, length])
        self._parts += row._parts
        self.length += row.length


def encode_runs(runs: Iterable[Run]) -> Json:
    """The runs of a whole text, in document order, as rows."""
    rows = list(_typed(_pasted(runs)))
    agents = {name: index for index, name in enumerate(sorted({row.head.agent for row in rows}))}
    encoded: list[list[Json]] = []
    before: _Row | None = None
    for row in rows:
        head = row.head
        place = None
        if before is None or not before.is_continued_by(head):
            place = [agents[head.agent], head.number, head.depth]
        ts = head.ts if row.times is None else row.times
        fields = [place, row.content, head.seq, ts, row.deleted, head.is_counted, head.layer]
        while len(fields) > 4 and fields[-1] == ([], True, 0)[len(fields) - 5]:
            fields.pop()
        encoded.append(fields)
        before = row
    return [list(agents), encoded]


def _pasted(runs: Iterable[Run]) -> Iterator[_Row]:
    """Neighbours of equal `seq` and `ts` joined."""
    row: _Row | None = None
    for run in runs:
        if row is not None and run.seq == row.head.seq and run.ts == row.head.ts and row.is_like(run):
            row.append(_Row(run))
            continue
        if row is not None:
            yield row
        row = _Row(run)
    if row is not None:
        yield row


def _typed(rows: Iterable[_Row]) -> Iterator[_Row]:
    """Single characters of rising `seq` joined."""
    typed: _Row | None = None
    for row in rows:
        if typed is not None and typed.is_typed_on_by(row):
            if typed.times is None:
                typed.times = [typed.head.ts]
            typed.times += row.times or [row.head.ts]
            typed.append(row)
            continue
        if typed is not None:
            yield typed
        typed = row
    if typed is not None:
        yield typed


def decode_rows(data: Json) -> Iterator[tuple[Run, list[Number] | None, list[list[int]]]]:
    """For each row a run of all its characters, the `ts` of each if it was typed, and what is deleted of it."""
    rows: list[list[Json]]
    agents, rows = data
    agent, number, depth = "", 0, 0
    for place, content, seq, ts, *more in rows:
        deleted: list[list[int]] = more[0] if more else []
        is_counted: bool = more[1] if len(more) > 1 else True
        layer: int = more[2] if len(more) > 2 else 0
        if place is not None:
            agent, number, depth = agents[place[0]], place[1], place[2]
        times = ts if type(ts) is list else None
        if not content or (times is not None and len(times) != len(content)):
            raise ValueError("a row of a text does not fit its characters")
        yield (
            Run(agent, number, depth, content, seq, ts if times is None else 0, False, is_counted, layer),
            times,
            deleted,
        )
        number, depth = number + len(content), depth + len(content)


def publish_runs(runs: Iterable[Run], max_seq: Number) -> dict[str, Json]:
    """The lossless rope that published clients hydrate: hidden characters are items too."""
    items: list[dict[str, Json]] = []
    path: list[Run] = []
    """The runs that the next character may hang in, one below the other."""
    last: Run | None = None
    for run in runs:
        while path and path[-1].depth >= run.depth:
            path.pop()
        if path and path[-1] is last and _is_one_item(last, run):
            items[-1]["content"] += run.content
        else:
            items.append({
                "id": run.published_id,
                "content": run.content,
                "isDeleted": run.is_hidden,
                "anchor": path[-1].id_at(run.depth - 1) if path else None,
                "seq": run.seq,
                "ts": run.ts,
            })  # fmt: skip
        path.append(run)
        last = run
    return {"_tree": {"root": {"type": "leaf", "items": items}}, "agentId": "", "clock": 0, "maxSeq": max_seq}


def _is_one_item(before: Run, run: Run) -> bool:
    length = len(before.content)
    return (
        run.depth == before.depth + length
        and run.number == before.number + length
        and run.agent == before.agent
        and (run.seq, run.ts, run.is_hidden) == (before.seq, before.ts, before.is_hidden)
        and (run.layer, run.is_latest) == (before.layer, before.is_latest)
    )
