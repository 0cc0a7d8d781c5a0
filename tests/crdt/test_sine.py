"""Sine and cosine, the same on every machine (N7)."""

import math
import random
import struct
import zlib

import pytest

from vuer_rtc.crdt.sine import sine_and_cosine


def angles() -> list[float]:
    """Of all sizes, and beside multiples of a quarter of pi."""
    rng = random.Random(7)
    near = [math.nextafter(n * math.pi / 4, side) for n in range(-40, 41) for side in (-math.inf, math.inf)]
    small = [rng.uniform(-7, 7) for _ in range(2000)]
    large = [math.ldexp(rng.uniform(-1, 1), rng.randint(-1074, 1024)) for _ in range(2000)]
    return [
        0.0,
        -0.0,
        5e-324,
        1e18,
        1.7976931348623157e308,
        6381956970095103 * 2.0**797,
        *near,
        *small,
        *large,
    ]


def test_they_are_the_platform_s_but_for_the_last_bit() -> None:
    for angle in angles():
        for ours, platforms in zip(sine_and_cosine(angle), (math.sin(angle), math.cos(angle)), strict=True):
            # Nearly at zero, of a large angle, the platform's may have fewer digits.
            assert abs(ours - platforms) <= max(1.5 * math.ulp(platforms), 1e-32 * (abs(angle) > 1)), angle


def test_they_are_the_same_bits_everywhere() -> None:
    """N7: on every machine and in every version; a journal has been folded with them."""
    found = b"".join(struct.pack("<dd", *sine_and_cosine(angle)) for angle in angles())
    assert zlib.crc32(found) == 964247443


@pytest.mark.parametrize(("angle", "sine", "cosine"), [(0, 0, 1), (-0.0, 0, 1), (1e-300, 1e-300, 1)])
def test_no_angle_turns_nothing(angle: float, sine: float, cosine: float) -> None:
    assert sine_and_cosine(angle) == (sine, cosine)
