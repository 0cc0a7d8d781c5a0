"""The journal's protocol between processes, small enough to be tried out whole.

Two writers, a compactor, snapshots of live rooms and one crash: every interleaving of their atomic steps, without
transactions, each one row or one read at a time.  Always true, or the schedule that breaks it is told:

- what was acknowledged is in the snapshot that recovery would begin from, or in a row behind it (J10);
- no message is journalled twice (J7, J9);
- the rows behind that snapshot are contiguous (J1, J12).

At the end of every schedule everything is acknowledged.  Change the model first when you change the protocol; the
mutations are what the rules are there for: each breaks it.  (That a writer takes its row back by the row's own key,
not by its place, is courtesy: a rival's row there is behind the fence as well.)
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

INBOX = (("a", "c"), ("b", "a"))
"""What the clients of each writer send: `a` comes to both."""
RUNS = 2
"""Compactions."""
SNAPSHOTS = (1, 0)
"""Live snapshots of each writer's room."""


class Mutation(StrEnum):
    """A rule left out."""

    NO_FENCE = "a writer does not read the truncation point after its insert"
    DEDUPE_AT_ARRIVAL = "whether a message is known is decided when it comes, not when its batch is built"
    DELETE_FIRST = "a compaction deletes before it says where the journal begins"
    STALE_SNAPSHOT = "recovery begins from a snapshot that does not reach the truncation point"
    SNAPSHOT_OF_INSERTED = "a live snapshot counts what is inserted, but not through the fence yet"


@dataclass(frozen=True, slots=True)
class Snapshot:
    seq: int = 0
    messages: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Row:
    seq: int
    message: str
    key: int


@dataclass(frozen=True, slots=True)
class Writer:
    phase: str
    """`idle`, `insert`, `check` (the fence), `reread`, `hydrate`."""
    queue: tuple[str, ...]
    head: int = 0
    known: frozenset[str] = frozenset()
    message: str = ""
    """On its way."""
    key: int = 0
    """Of the row that was inserted for it."""
    draft: Snapshot | None = None
    """A live snapshot that is being written."""
    snapshots_left: int = 0


@dataclass(frozen=True, slots=True)
class Compactor:
    phase: str = "wait"
    """`wait`, `store`, `fence`, `delete`."""
    snapshot: Snapshot = Snapshot()
    runs_left: int = RUNS


@dataclass(frozen=True, slots=True)
class World:
    """The database, what the clients were told, and every process."""

    rows: tuple[Row, ...] = ()
    truncated_seq: int = 0
    snapshots: tuple[Snapshot, ...] = ()
    acked: frozenset[str] = frozenset()
    writers: tuple[Writer, ...] = tuple(
        Writer("idle", queue, snapshots_left=count) for queue, count in zip(INBOX, SNAPSHOTS, strict=True)
    )
    compactor: Compactor = Compactor()
    keys_used: int = 0
    crashes_left: int = 1


class Model:
    """What may happen next in a world."""

    def __init__(self, mutation: Mutation | None = None) -> None:
        self.mutation = mutation

    def steps(self, world: World) -> Iterator[World]:
        for place, writer in enumerate(world.writers):
            for changed, now in self._write(world, writer):
                writers = (*world.writers[:place], now, *world.writers[place + 1 :])
                yield replace(changed, writers=writers)
        yield from self._compact(world)

    # Writers

    def _write(self, world: World, writer: Writer) -> Iterator[tuple[World, Writer]]:
        if world.crashes_left and writer.phase != "idle":
            yield replace(world, crashes_left=world.crashes_left - 1), reborn(writer)
        yield from self._snapshot(world, writer)
        match writer.phase:
            case "idle" if writer.queue:
                message, rest = writer.queue[0], writer.queue[1:]
                if message in writer.known:
                    yield acknowledged(world, message), replace(writer, queue=rest)
                else:
                    yield world, replace(writer, phase="insert", queue=rest, message=message)
            case "insert":
                yield self._insert(world, writer)
            case "check":
                yield self._check(world, writer)
            case "reread":
                head, known = read_on(world.rows, writer.head, writer.known)
                phase = "hydrate" if head < world.truncated_seq else "insert"
                yield world, replace(writer, phase=phase, head=head, known=known)
            case "hydrate":
                start = self.start(world)
                head, known = read_on(world.rows, start.seq, start.messages)
                phase = "insert" if writer.message else "idle"
                yield world, replace(writer, phase=phase, head=head, known=known)

    def _insert(self, world: World, writer: Writer) -> tuple[World, Writer]:
        message, seq = writer.message, writer.head + 1
        if self.mutation is not Mutation.DEDUPE_AT_ARRIVAL and message in writer.known:
            return acknowledged(world, message), replace(writer, phase="idle", message="")
        if any(row.seq == seq for row in world.rows):
            return world, replace(writer, phase="reread")
        key = world.keys_used + 1
        rows = tuple(sorted((*world.rows, Row(seq, message, key)), key=lambda row: (row.seq, row.key)))
        return replace(world, rows=rows, keys_used=key), replace(writer, phase="check", key=key)

    def _check(self, world: World, writer: Writer) -> tuple[World, Writer]:
        seq = writer.head + 1
        if self.mutation is not Mutation.NO_FENCE and seq <= world.truncated_seq:
            rows = tuple(row for row in world.rows if row.key != writer.key)
            return replace(world, rows=rows), replace(writer, phase="hydrate", key=0)
        known = writer.known | {writer.message}
        done = replace(writer, phase="idle", head=seq, known=known, message="", key=0)
        return acknowledged(world, writer.message), done

    def _snapshot(self, world: World, writer: Writer) -> Iterator[tuple[World, Writer]]:
        """A live room's state, taken at one moment and written at a later one, whatever happens between (J11)."""
        if writer.draft is not None:
            yield with_snapshot(world, writer.draft), replace(writer, draft=None)
        elif writer.snapshots_left and writer.head and writer.phase in ("idle", "insert", "check"):
            seq, messages = writer.head, writer.known
            if writer.phase == "check" and self.mutation is Mutation.SNAPSHOT_OF_INSERTED:
                seq, messages = seq + 1, messages | {writer.message}
            draft = Snapshot(seq, messages)
            yield world, replace(writer, draft=draft, snapshots_left=writer.snapshots_left - 1)

    # Compaction and recovery

    def _compact(self, world: World) -> Iterator[World]:
        compactor = world.compactor
        is_reversed = self.mutation is Mutation.DELETE_FIRST
        match compactor.phase:
            case "wait" if compactor.runs_left:
                start = self.start(world)
                head, known = read_on(world.rows, start.seq, start.messages)
                if head > world.truncated_seq:
                    runs_left = compactor.runs_left - 1
                    yield replace(world, compactor=Compactor("store", Snapshot(head, known), runs_left))
            case "store":
                stored = with_snapshot(world, compactor.snapshot)
                phase = "delete" if is_reversed else "fence"
                yield replace(stored, compactor=replace(compactor, phase=phase))
            case "fence":
                phase = "wait" if is_reversed else "delete"
                now = replace(compactor, phase=phase)
                yield replace(world, truncated_seq=compactor.snapshot.seq, compactor=now)
            case "delete":
                old = [row for row in world.rows if row.seq <= compactor.snapshot.seq]
                if old:
                    yield replace(world, rows=tuple(row for row in world.rows if row != old[0]))
                else:
                    phase = "fence" if is_reversed else "wait"
                    yield replace(world, compactor=replace(compactor, phase=phase))

    def start(self, world: World) -> Snapshot:
        """Where recovery begins (J10)."""
        if self.mutation is Mutation.STALE_SNAPSHOT and world.snapshots:
            return world.snapshots[0]
        usable = [one for one in world.snapshots if one.seq >= world.truncated_seq]
        return usable[-1] if usable else Snapshot()


def reborn(writer: Writer) -> Writer:
    """Its memory is gone; the client sends again what was not acknowledged."""
    waiting = ((writer.message,) if writer.message else ()) + writer.queue
    return Writer("hydrate", waiting, snapshots_left=writer.snapshots_left)


def acknowledged(world: World, message: str) -> World:
    return replace(world, acked=world.acked | {message})


def with_snapshot(world: World, snapshot: Snapshot) -> World:
    """By sequence, of equal ones the one written last behind the others."""
    others = (one for one in world.snapshots if one != snapshot)
    return replace(world, snapshots=tuple(sorted((*others, snapshot), key=lambda one: one.seq)))


def read_on(rows: tuple[Row, ...], head: int, known: frozenset[str]) -> tuple[int, frozenset[str]]:
    """The contiguous rows behind a head."""
    by_seq = {row.seq: row.message for row in rows}
    while head + 1 in by_seq:
        head += 1
        known |= {by_seq[head]}
    return head, known


def fault_of(world: World, start: Snapshot) -> str:
    """What is wrong in a world; empty: nothing."""
    live = [row for row in world.rows if row.seq > start.seq]
    messages = [row.message for row in live]
    if world.acked - start.messages - set(messages):
        return "an acknowledged message is lost"
    if len(set(messages)) != len(messages) or set(messages) & start.messages:
        return "a message is journalled twice"
    if [row.seq for row in live] != list(range(start.seq + 1, start.seq + 1 + len(live))):
        return "the rows have a gap"
    return ""


@dataclass(frozen=True, slots=True)
class Result:
    states: int
    ends: int
    fault: str = ""
    schedule: tuple[World, ...] = ()
    """The worlds on the way to the fault."""


def explore(mutation: Mutation | None = None) -> Result:
    """Every world that can be reached, or the shortest way to one that is wrong."""
    model, begin = Model(mutation), World()
    came_from: dict[World, World | None] = {begin: None}
    todo, ends = deque([begin]), 0
    while todo:
        world = todo.popleft()
        if fault := fault_of(world, model.start(world)):
            return Result(len(came_from), ends, fault, way_to(world, came_from))
        is_end = True
        for after in model.steps(world):
            is_end = False
            if after not in came_from:
                came_from[after] = world
                todo.append(after)
        if is_end:
            ends += 1
            if world.acked != {message for queue in INBOX for message in queue}:
                return Result(
                    len(came_from), ends, "not everything is acknowledged", way_to(world, came_from)
                )
    return Result(len(came_from), ends)


def way_to(world: World, came_from: dict[World, World | None]) -> tuple[World, ...]:
    way: list[World] = []
    at: World | None = world
    while at is not None:
        way.append(at)
        at = came_from[at]
    return tuple(reversed(way))
