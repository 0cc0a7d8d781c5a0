"""Malformed and mutated frames do no harm (rules F3, E1): twenty thousand here, `make fuzz-frames` goes on."""

import random
from collections import Counter
from pathlib import Path

from tests.protocol.arena import FRAMES_PER_LIFETIME, live_through
from tests.protocol.mutation import FrameWriter

KEPT = Path(__file__).parent / "seeds" / "failed.txt"
FRAMES = 20_000


async def test_twenty_thousand_mutated_frames_harm_nobody() -> None:
    met: Counter[str] = Counter()
    for number in range(FRAMES // FRAMES_PER_LIFETIME):
        await live_through(f"ci/{number}", met)
    assert met["submitted"] > FRAMES / 4, "what the room had to lose"
    assert met["answered or refused"] > FRAMES / 4
    assert met["cuts"]
    assert met["closed protocol"]


async def test_what_once_failed_fails_no_more() -> None:
    for name in KEPT.read_text().split():
        await live_through(name, Counter())


def test_a_seed_makes_the_same_frames_again() -> None:
    one, other = (FrameWriter(random.Random("same")) for _ in range(2))
    assert [one.frame() for _ in range(300)] == [other.frame() for _ in range(300)]
