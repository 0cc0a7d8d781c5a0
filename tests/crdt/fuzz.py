"""Random histories, as many as time allows: `python -m tests.crdt.fuzz --seed S --minutes M [--histories N]`.

Every history is made from its name, so one that fails can be made again: by turns `seed/number` (`history.py`) and
`hostile/seed/number` (`hostile.py`).  The first failure is shrunk, printed and kept in `tests/crdt/seeds/`; the exit
status is 1 then.
"""

import argparse
import random
import sys
import time
import traceback
from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec

from tests.crdt.history import History, live_through, make_history, with_resets
from tests.crdt.hostile import hostile_history

SEEDS = Path(__file__).parent / "seeds"
MUST_MEET = (
    "out of order",
    "late",
    "refused cycles",
    "new incarnations",
    "hidden texts",
    "tombstones",
    "undone",
    "reloads",
)
KIND_LENGTH = 30
"""As much of a failure's text tells what kind it is."""
THOROUGH_EVERY = 50
"""One history in so many is compared after every step, and in all that can be read."""


def history_of(seed: str) -> History:
    """A hostile one if the seed begins with `hostile/`; with resets in its journal, if it has one, if with `reset/`."""
    rng = random.Random(seed)
    if seed.startswith("hostile/"):
        return hostile_history(rng)
    history = make_history(rng)
    return with_resets(rng, history) if seed.startswith("reset/") and history.journal else history


def failure_of(history: History, *, is_thorough: bool) -> str | None:
    """Why the history fails; None when it does not."""
    try:
        live_through(history, Counter(), is_thorough=is_thorough)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        return f"{type(error).__name__}: {error}\n  at {frames[-1].filename}:{frames[-1].lineno}"
    return None


def shrink(history: History) -> History:
    """A smaller history that fails in the same way, with nothing in it that could be left out."""
    kind = (failure_of(history, is_thorough=True) or "")[:KIND_LENGTH]
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for smaller in _smaller(history):
            if (failure_of(smaller, is_thorough=True) or " ")[:KIND_LENGTH] == kind:
                history, is_smaller = smaller, True
                break
    return history


def _smaller(history: History) -> list[History]:
    found = []
    for i in range(len(history.messages)):
        found.append(_without_message(history, i))
    for i in range(len(history.steps)):
        found.append(replace(history, steps=history.steps[:i] + history.steps[i + 1 :]))
    for i, message in enumerate(history.messages):
        for j in range(len(message.ops) if len(message.ops) > 1 else 0):
            fewer = msgspec.structs.replace(message, ops=message.ops[:j] + message.ops[j + 1 :])
            found.append(
                replace(history, messages=[*history.messages[:i], fewer, *history.messages[i + 1 :]])
            )
    return found


def _without_message(history: History, gone: int) -> History:
    """Its deliveries and its journal entry go too; the positions after it move up."""
    position = next((p for p, entry in enumerate(history.journal) if entry == ("message", gone)), None)
    steps = []
    for replica, action, argument in history.steps:
        if action in ("deliver", "hear"):
            if argument == gone:
                continue
            argument -= argument > gone
        elif action in ("read", "again") and position is not None:
            if argument == position:
                continue
            argument -= argument > position
        steps.append((replica, action, argument))
    journal = [
        (kind, at - (kind == "message" and at > gone))
        for kind, at in history.journal
        if (kind, at) != ("message", gone)
    ]
    return History(history.messages[:gone] + history.messages[gone + 1 :], journal, steps, history.replicas)


def run(seed: str, minutes: float, histories: int) -> int:
    """Live through histories until the time or their number is up; how many failed (at most one)."""
    met: Counter[str] = Counter()
    started, done = time.monotonic(), 0
    while done < histories and time.monotonic() - started < minutes * 60:
        number, is_hostile = divmod(done, 2)
        name = f"hostile/{seed}/{number}" if is_hostile else f"{seed}/{number}"
        history = history_of(name)
        done += 1
        try:
            live_through(history, met, is_thorough=(number + 1) % THOROUGH_EVERY == 0)
        except Exception:
            _report(name, history)
            return 1
    elapsed = time.monotonic() - started
    print(f"seed {seed}: {done} histories in {elapsed:.0f} s ({done / elapsed:.0f}/s), none failed")
    print(", ".join(f"{what}: {count}" for what, count in sorted(met.items())))
    missed = [what for what in MUST_MEET if not met[what]]
    if missed and done >= 1000:
        print(f"but never met: {', '.join(missed)}")
        return 1
    return 0


def _report(name: str, history: History) -> None:
    print(f"{name} failed: {failure_of(history, is_thorough=True)}")
    SEEDS.mkdir(exist_ok=True)
    with (SEEDS / "failed.txt").open("a") as file:
        file.write(f"{name}\n")
    smallest = shrink(history)
    print(smallest.show())
    print(failure_of(smallest, is_thorough=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--histories", type=int, default=sys.maxsize)
    arguments = parser.parse_args()
    return run(arguments.seed, arguments.minutes, arguments.histories)


if __name__ == "__main__":
    sys.exit(main())
