"""Engine = oracle and replica = replica, over random histories: many by seed, and a state machine that shrinks."""

import random
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.crdt.fuzz import MUST_MEET, SEEDS, failure_of, history_of
from tests.crdt.history import (
    Writer,
    assert_equal,
    assert_equal_views,
    everything,
    live_through,
)
from tests.crdt.oracle.graph import OracleGraph
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Epoch, Message, cut_record, reset_record

HISTORIES = 3000
RESET_HISTORIES = 1500
HOSTILE_HISTORIES = 200
THOROUGH_EVERY = 10


def test_random_histories_converge_on_what_the_oracle_says() -> None:
    """O1 to K5: any order, duplicates, undo and redo, cuts, reloads from snapshots."""
    met: Counter[str] = Counter()
    for number in range(HISTORIES):
        live_through(history_of(f"ci/{number}"), met, is_thorough=number % THOROUGH_EVERY == 0)
    print(dict(met))
    assert all(met[what] for what in MUST_MEET), met


def test_random_histories_with_resets_converge_on_what_the_oracle_says() -> None:
    """E1, E2, E4: messages before, after and late for a reset, cuts around it, replicas that hold unjournalled ones."""
    met: Counter[str] = Counter()
    resets = 0
    for number in range(RESET_HISTORIES):
        history = history_of(f"reset/{number}")
        if history.journal:
            resets += 1
            live_through(history, met, is_thorough=number % THOROUGH_EVERY == 0)
    assert resets > RESET_HISTORIES / 3
    assert all(met[what] for what in ("late", "reloads", "undone", "texts")), met


def test_hostile_histories_converge_on_what_the_oracle_says() -> None:
    """O4: odd names, values at the edges, and what the server alone may set, heard without it first."""
    met: Counter[str] = Counter()
    for number in range(HOSTILE_HISTORIES):
        live_through(history_of(f"hostile/ci/{number}"), met, is_thorough=number % THOROUGH_EVERY == 0)
    assert all(met[what] for what in MUST_MEET), met


def kept_seeds() -> list[str]:
    return sorted({line for path in Path(SEEDS).glob("*.txt") for line in path.read_text().split()})


@pytest.mark.parametrize("seed", kept_seeds())
def test_seeds_that_failed_once_do_not_fail_again(seed: str) -> None:
    assert failure_of(history_of(seed), is_thorough=True) is None


class Replicas(RuleBasedStateMachine):
    """A journal and three replicas that read it at their own pace; the third also hears what is not journalled."""

    def __init__(self) -> None:
        super().__init__()
        self.journal: list[Message] = []
        self.unread: list[Message] = []
        """Written, but not in the journal."""
        self.replicas = [(Graph(), OracleGraph(is_terse=True)) for _ in range(3)]
        self.positions = [0, 0, 0]
        self.heard: set[str] = set()

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.writer = Writer(random.Random(seed))

    @rule(count=st.integers(1, 3))
    def write(self, count: int) -> None:
        self.unread += [self.writer.message() for _ in range(count)]

    @precondition(lambda self: self.unread)
    @rule(data=st.data())
    def journal_one(self, data: st.DataObject) -> None:
        message = self.unread.pop(data.draw(st.integers(0, len(self.unread) - 1)))
        self.journal.append(msgspec.structs.replace(message, server_seq=len(self.journal) + 1))

    @precondition(lambda self: self.journal)
    @rule(back=st.integers(0, 4))
    def cut(self, back: int) -> None:
        seq = len(self.journal) + 1
        record = cut_record(f"=cut/{seq}", max(message.lt for message in self.journal) - back, 0)
        self.journal.append(msgspec.structs.replace(record, server_seq=seq))

    @precondition(lambda self: self.journal)
    @rule(ahead=st.integers(-2, 3))
    def reset(self, ahead: int) -> None:
        seq = len(self.journal) + 1
        epoch = Epoch(seq, max(message.lt for message in self.journal) + ahead)
        record = reset_record(f"=reset/{seq}", epoch, 0)
        self.journal.append(msgspec.structs.replace(record, server_seq=seq))

    @rule(replica=st.integers(0, 2), count=st.integers(1, 4))
    def read(self, replica: int, count: int) -> None:
        start = self.positions[replica]
        for message in self.journal[start : start + count]:
            self._apply(replica, message)
            self.positions[replica] += 1

    @precondition(lambda self: self.unread)
    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        message = data.draw(st.sampled_from(self.unread))
        self.heard.add(message.id)
        self._apply(2, message)

    @precondition(lambda self: self.positions[0])
    @rule(data=st.data())
    def hear_again(self, data: st.DataObject) -> None:
        self._apply(0, data.draw(st.sampled_from(self.journal[: self.positions[0]])))

    @rule(replica=st.integers(0, 1))
    def reload(self, replica: int) -> None:
        """From a snapshot, and what the journal holds beyond it."""
        former = self.replicas[replica][0]
        engine = Graph.restore(former.snapshot())
        for message in self.journal[former.folded_seq : self.positions[replica]]:
            engine.apply(message)
        self.replicas[replica] = (engine, self.replicas[replica][1])

    def _apply(self, replica: int, message: Message) -> None:
        engine, oracle = self.replicas[replica]
        applied, expected = engine.apply(message), oracle.apply(message)
        assert (applied.is_new, applied.is_late) == (expected.is_new, expected.is_late)

    @invariant()
    def engines_equal_their_oracles(self) -> None:
        for engine, oracle in self.replicas:
            assert_equal(engine, oracle)

    def teardown(self) -> None:
        self.journal += [
            msgspec.structs.replace(message, server_seq=len(self.journal) + n)
            for n, message in enumerate(self.unread, 1)
        ]
        for replica in range(3):
            self.read(replica, len(self.journal))
        (first, oracle), second, third = self.replicas
        assert_equal_views(first, oracle)
        assert everything(first) == everything(second[0]) == everything(third[0])


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(settings.get_profile(settings._current_profile), stateful_step_count=25)
