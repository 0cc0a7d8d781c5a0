"""Mutated frames against a live room: `python -m tests.protocol.fuzz --seed S [--frames N | --minutes M]`.

Every lifetime of a room is made from `seed/number`, so one that fails can be made again.  The first failure is printed
and kept in `tests/protocol/seeds/`; the exit status is 1 then.
"""

import argparse
import asyncio
import os
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import django

SEEDS = Path(__file__).parent / "seeds" / "failed.txt"
MUST_MEET = ("submitted", "answered or refused", "journalled")


async def run(seed: str, frames: int, minutes: float) -> int:
    """Live through lifetimes until the time or their number is up; how many failed (at most one)."""
    from tests.protocol.arena import FRAMES_PER_LIFETIME, live_through

    met: Counter[str] = Counter()
    started, done = time.monotonic(), 0
    while done * FRAMES_PER_LIFETIME < frames and time.monotonic() - started < minutes * 60:
        name = f"{seed}/{done}"
        done += 1
        try:
            await live_through(name, met)
        except Exception:
            traceback.print_exc()
            SEEDS.parent.mkdir(exist_ok=True)
            with SEEDS.open("a") as file:
                file.write(f"{name}\n")
            return 1
    elapsed, count = time.monotonic() - started, done * FRAMES_PER_LIFETIME
    print(f"seed {seed}: {count} frames in {elapsed:.0f} s ({count / elapsed:.0f}/s), none failed")
    print(", ".join(f"{what}: {number}" for what, number in sorted(met.items())))
    missed = [what for what in MUST_MEET if not met[what]]
    if missed:
        print(f"but never met: {', '.join(missed)}")
    return len(missed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--frames", type=int, default=sys.maxsize)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    arguments = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vuer_rtc.settings")
    django.setup()
    return asyncio.run(run(arguments.seed, arguments.frames, arguments.minutes))


if __name__ == "__main__":
    sys.exit(main())
