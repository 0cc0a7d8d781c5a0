"""One property of one node above the cut: its ops in total order, and the register they add up to.

An op that comes last applies to the register.  One that comes out of order, or is undone, re-folds from the nearest set
before it up to the nearest set after it; long runs between sets have checkpoints.  A property that is or was a text
re-folds whole, save for what its `Text` can place out of order by itself.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from .dtype import MODIFIERS, SET_OPS, SETTERS, TEXT_OPS
from .fold import Fold
from .message import UNSET, Op
from .node import STRING_PATHS, Node, Register, is_reserved, start_register
from .place import BELOW, Entry, Origin, Spot
from .register import is_spread, operand, step
from .text import Text
from .text_id import parse_insert
from .value import NO_EFFECT, is_number

PLACING_OPS = frozenset({"text.insert", "text.delete", "text.replace"})
CHECKPOINT_DISTANCE = 64
"""Ops between checkpoints: bounds what an op near the end of a long run without sets re-folds."""
CHECKPOINTS_MAX = 32
"""More are thinned out, the older ones first."""
FAR = 1e300
"""Numbers below it are far from having no double, whatever was rounded on the way."""


class Life(msgspec.Struct, gc=False):
    """The incarnation that an item has at some place, and which entries are about it."""

    node: Node
    since: Spot | None = None
    """Where it was created; None: below the cut."""
    is_first: bool = False
    """True for the first incarnation, created above the cut: entries before it waited for it (rule P2)."""
    removed_at: Spot | None = None
    """Where it was removed; None: not, or below the cut."""

    @property
    def floor(self) -> Origin | None:
        return self.node.created if self.node.is_again else None

    def concerns(self, entry: Entry) -> bool:
        """True when the entry is about this incarnation, and is not what created it, nor an upsert of its tombstone."""
        if entry[:2] == self.since:
            return False
        if self.since is not None and not self.is_first and entry < self.since:
            return False
        if self.node.removed is not None and is_spread(entry[2]) and entry[2].ot != "object.merge":
            return self.removed_at is not None and entry < self.removed_at
        return True


class Run(msgspec.Struct, gc=False):
    """Ops of one message in one log, one right after the other, with others behind them; folded when the last is in."""

    first: int
    last: int
    """Indices of the first and the last of them."""
    fold: Fold
    """What the log adds up to, as far as the last of them."""
    growth: tuple[float, float] | None
    """(a, b): what is behind makes of a number x one of at most a * |x| + b; None: that is not known."""

    def is_sure_to_fit(self, op: Op) -> bool:
        """True when the op fits the value behind all others, whatever exactly that is: both are numbers."""
        value = self.fold.register.value
        if self.growth is None or not (
            op.ot.startswith("number.") and is_number(op.value) and is_number(value)
        ):
            return False
        a, b = self.growth
        return (1 + a * abs(value) + b) * (1 + abs(op.value)) < FAR


class Property(msgspec.Struct, gc=False):
    """The ops of one path above the cut (of all incarnations; waiting ones included), and what they add up to."""

    path: str
    log: list[Entry]
    register: Register | None = None
    """Now; None while the node is missing, and for paths that no op may write."""
    has_text: bool = False
    """True when a text op or characters are in what the register is folded from."""
    text_from: Spot | None = None
    """From there on the register has been a text without a break; None: it is none."""
    last_init: Spot = BELOW
    """The last `text.init` with a value: it depends on everything before it (rule X5)."""
    checkpoints: list[tuple[int, Register]] | None = None
    """(n, the register after the first n entries), ascending."""

    def start(self, life: Life) -> Register:
        """A new register as the incarnation began with, or as it was at the cut."""
        registers = life.node.registers
        if registers is None or (base := registers.get(self.path)) is None:
            return start_register(life.node, self.path)
        register: Register = replace(base)
        if register.text is not None:
            register.text = Text.decode(register.text)
        return register

    def append_next(self, entry: Entry, register: Register) -> bool:
        """`append` where `register`, ours, is plain and nothing is late or undone: the usual case, made short."""
        op, origin, log = entry[2], entry[0], self.log
        log.append(entry)
        setter = SETTERS.get(op.ot)
        if setter is not None:
            value = setter(UNSET, op)
            if value is NO_EFFECT or (type(value) is not str and self.path in STRING_PATHS):
                return False
            register.is_set = True
            register.setter = None
        else:
            value = MODIFIERS[op.ot](register.value, op)
            if value is NO_EFFECT or (type(value) is not str and self.path in STRING_PATHS):
                return False
            if register.is_set and register.setter is None:
                register.setter = register.writer
        register.value = value
        register.writer = origin
        register.index = entry[1]
        register.is_touched = True
        register.toucher = None
        if setter is None and len(log) % CHECKPOINT_DISTANCE == 0:
            self._keep_checkpoint(len(log), register)
        return True

    def append(self, entry: Entry, life: Life) -> bool:
        """Apply an entry that stands after all others; true when it fits (and `concerns` it)."""
        log = self.log
        log.append(entry)
        register = self.register
        if register is None:
            if is_reserved(self.path):
                return False
            register = self.register = self._begin(life)
            self.has_text = register.text is not None
        if not self.has_text and entry[2].ot in TEXT_OPS:
            self.has_text = True
        fits = step(register, entry, self.path, life.floor)
        if self.has_text:
            self._follow_text(entry, register)
        elif len(log) % CHECKPOINT_DISTANCE == 0 and entry[2].ot not in SET_OPS:
            self._keep_checkpoint(len(log), register)
        return fits

    def toggle(self, entries: Iterable[Entry], life: Life | None) -> None:
        """Afterwards the register is right again, when these came to count or to be undone."""
        places = [at for entry in entries if (at := self._index_of(entry)) is not None]
        if places:
            self._drop_checkpoints(min(places))
            self.refold(life, min(places), max(places))

    def _index_of(self, entry: Entry) -> int | None:
        at = bisect_left(self.log, entry[:2])
        return at if at < len(self.log) and self.log[at][:2] == entry[:2] else None

    def insert(self, entry: Entry, life: Life | None) -> bool:
        """Put an entry at its place; true when it fits there."""
        at = bisect_right(self.log, entry)
        self.log.insert(at, entry)
        if entry[2].ot in TEXT_OPS:
            self.has_text = True
        self._drop_checkpoints(at)
        if life is not None and self.register is not None and self._finds_its_place(entry, life):
            return step(self.register, entry, self.path, life.floor)
        return self.refold(life, at)

    def begin_run(self, entry: Entry, life: Life) -> Run:
        """A run for an entry that is not in yet, and those that follow it; the register is wrong until it ends."""
        at = bisect_right(self.log, entry)
        fold = Fold(self.fold_until(life, entry[:2]), self.path, life.floor)
        return Run(at, at, fold, growth_of(self.log[at:]))

    def insert_in(self, run: Run, entry: Entry, life: Life) -> bool:
        """`insert`, in a run."""
        at = run.last = bisect_right(self.log, entry)
        self.log.insert(at, entry)
        self._drop_checkpoints(at)
        return life.concerns(entry) and run.fold.step(entry)

    def end_run(self, run: Run, life: Life | None) -> None:
        """Afterwards the register is right again."""
        self.refold(life, run.first, run.last)

    def _finds_its_place(self, entry: Entry, life: Life) -> bool:
        """True when the `Text` can take an op out of order by itself: nothing after it depends on it."""
        spot, (_, _, op, placed) = entry[:2], entry
        if (
            self.text_from is None
            or spot < self.text_from
            or spot < self.last_init
            or op.ot not in PLACING_OPS
        ):
            return False
        if placed.is_late or not life.concerns(entry):
            return False
        claim = parse_insert(op, placed.message.client) if op.ot != "text.delete" else None
        if claim is None:
            return True
        assert self.register is not None
        return not self.register.text.needs_refold(spot, placed.message.client, claim[0], len(claim[2]))

    def _begin(self, life: Life) -> Register:
        """`start`, to be followed by every entry of the log."""
        register = self.start(life)
        self.text_from, self.last_init = BELOW if register.is_text else None, BELOW
        return register

    def _follow_text(self, entry: Entry, register: Register) -> None:
        """Keep account of where the register became a text, after an entry at the end."""
        if not register.is_text:
            self.text_from = None
        elif self.text_from is None:
            self.text_from = entry[:2]
        if entry[2].ot == "text.init" and entry[2].value:
            self.last_init = entry[:2]

    def refold(self, life: Life | None, at: int, until: int = 0) -> bool:
        """Afterwards the register is right again: the entry at `at`, and perhaps others up to `until`, is new or has
        changed; true when it fits."""
        if life is None or is_reserved(self.path):
            self.register = None
            return False
        if self.has_text or self.register is None:
            return self.fold_all(life, at)
        log = self.log
        done, register = self._before(life, at)
        fold, fits = Fold(register, self.path, life.floor), False
        distance = CHECKPOINT_DISTANCE * (1 + (len(log) - done) // (CHECKPOINT_DISTANCE * CHECKPOINTS_MAX))
        for index in range(done, len(log)):
            entry = log[index]
            if (entry[3].is_undone and index != at) or not life.concerns(entry):
                continue
            if index > at and index > until and self._sets(entry):
                return fits
            if fold.step(entry) and index == at:
                fits = True
            if (index + 1) % distance == 0 and index + 1 - done >= distance:
                self._keep_checkpoint(index + 1, register)
                fold.share()
        self.register = register
        return fits

    def fold_all(self, life: Life | None, at: int = -1) -> bool:
        """Afterwards the register is what the whole log makes of the incarnation; true when the entry at `at` fits."""
        self.checkpoints = None
        if life is None or is_reserved(self.path):
            self.register = None
            return False
        register, fits = self._begin(life), False
        self.has_text = register.text is not None or any(entry[2].ot in TEXT_OPS for entry in self.log)
        begin = 0
        if not self.has_text and len(self.log) > CHECKPOINT_DISTANCE and at < 0:
            begin, register = self._before(life, len(self.log))
        fold = Fold(register, self.path, life.floor)
        for index in range(begin, len(self.log)):
            entry = self.log[index]
            if life.concerns(entry):
                if fold.step(entry) and index == at:
                    fits = True
                if self.has_text:
                    self._follow_text(entry, register)
        self.register = register
        return fits

    def fold_until(self, life: Life, end: Spot) -> Register:
        """A new register: what the entries before `end` make of the incarnation."""
        stop = bisect_left(self.log, end)
        register, done = self.start(life), 0
        if register.text is None and not any(entry[2].ot in TEXT_OPS for entry in self.log[:stop]):
            done, register = self._before(life, stop)
        fold = Fold(register, self.path, life.floor)
        for entry in self.log[done:stop]:
            if life.concerns(entry):
                fold.step(entry)
        return register

    def remove(self, entry: Entry) -> None:
        """Take an entry out, where it is in; the register is wrong until the next fold."""
        at = self._index_of(entry)
        if at is not None:
            del self.log[at]
            self._drop_checkpoints(at)

    def reaches_below(self, end: Spot) -> bool:
        """True when an entry stands before `end`."""
        return bool(self.log) and self.log[0] < end

    def forget_below(self, end: Spot) -> None:
        """Drop the entries before `end`, which the base has now."""
        del self.log[: bisect_left(self.log, end)]
        self.checkpoints = None
        if self.text_from is not None and self.text_from < end:
            self.text_from = BELOW
        if self.last_init < end:
            self.last_init = BELOW

    def _before(self, life: Life, at: int) -> tuple[int, Register]:
        """A new register of the first n entries, n at most `at`, by the nearest set, checkpoint or beginning; and n."""
        checkpoints = self.checkpoints or []
        known = bisect_right(checkpoints, at, key=lambda checkpoint: checkpoint[0]) - 1
        lowest = checkpoints[known][0] if known >= 0 else 0
        for index in range(at - 1, lowest - 1, -1):
            entry = self.log[index]
            if entry[3].is_late:
                break
            if not life.concerns(entry):
                if life.since is not None and not life.is_first and entry < life.since:
                    return index + 1, self.start(life)
                continue
            if self._sets(entry):
                register = Register()
                step(register, entry, self.path, life.floor)
                return index + 1, register
        if known >= 0:
            return lowest, replace(checkpoints[known][1])
        return 0, self.start(life)

    def _sets(self, entry: Entry) -> bool:
        """True when nothing before the entry shows in the register after it; the entry must concern the incarnation."""
        _, _, op, placed = entry
        if placed.is_undone or placed.is_late or not (op.ot in SET_OPS or is_spread(op)):
            return False
        return operand(op, self.path) is not NO_EFFECT

    def _keep_checkpoint(self, count: int, register: Register) -> None:
        if self.checkpoints is None:
            self.checkpoints = []
        checkpoints = self.checkpoints
        if checkpoints and checkpoints[-1][0] >= count:
            return
        checkpoints.append((count, replace(register)))
        if len(checkpoints) > CHECKPOINTS_MAX:
            half = CHECKPOINTS_MAX // 2
            checkpoints[:half] = checkpoints[1:half:2]

    def _drop_checkpoints(self, at: int) -> None:
        """Forget those that counted the entry now at `at`."""
        if self.checkpoints:
            while self.checkpoints and self.checkpoints[-1][0] > at:
                self.checkpoints.pop()


def growth_of(entries: list[Entry]) -> tuple[float, float] | None:
    """What these do to the size of any number: see `Run.growth`."""
    a, b = 1.0, 0.0
    for _, _, op, _ in entries:
        if not op.ot.startswith("number."):
            return None
        size = abs(op.value) if is_number(op.value) else 0
        if op.ot == "number.multiply":
            a, b = a * max(1, size), b * max(1, size)
        else:
            b += size
    return a, b


def new_property(path: str, life: Life) -> Property:
    """A property without ops above the cut."""
    node = life.node
    if node.registers is None:
        return Property(path, [], start_register(node, path))
    prop = Property(path, [])
    prop.register = prop._begin(life)
    prop.has_text = prop.register.text is not None
    return prop
