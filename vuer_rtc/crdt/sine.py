"""Sine and cosine by basic arithmetic alone: the same bits on every machine (rule N7).

`math.sin` is the platform's, which may differ from the next one's in the last bit; so would what two replicas make of
the same rotation, and their digests.
"""

BITS = 1200
"""Of pi: a double may be nearly 2**1024, and the next multiple of pi/2 as near as 2**-60."""
USUAL_BITS = 200
USUAL_MAX = 1e18
"""Angles up to here need no more than those."""


def _scaled_half_pi() -> int:
    """Half of pi, times 2**`BITS`, but for the last few bits.  Source: Machin, pi/4 = 4 arctan(1/5) - arctan(1/239)."""

    def arctangent_of_one_over(n: int) -> int:
        power = total = (1 << BITS) // n
        k = 1
        while power:
            power //= -n * n
            k += 2
            total += power // k
        return total

    return 2 * (4 * arctangent_of_one_over(5) - arctangent_of_one_over(239))


_HALF_PI = _scaled_half_pi()
_USUAL_HALF_PI = _HALF_PI >> (BITS - USUAL_BITS)


def _series(first: int) -> tuple[float, ...]:
    """1/first!, -1/(first+2)! and so on, the last first: enough for a quarter of pi."""
    terms, factorial = [], 1
    for k in range(1, first + 16):
        factorial *= k
        if k >= first and (k - first) % 2 == 0:
            terms.append((-1) ** ((k - first) // 2) / factorial)
    return tuple(reversed(terms))


_SINE, _COSINE = _series(3), _series(4)


def sine_and_cosine(angle: float) -> tuple[float, float]:
    """Of a finite angle in radians, each within about a unit in the last place."""
    quarter, rest = _reduced(float(angle))
    square = rest * rest
    sine, cosine = 0.0, 0.0
    for term in _SINE:
        sine = sine * square + term
    for term in _COSINE:
        cosine = cosine * square + term
    sine = rest - rest * square * sine
    cosine = 1.0 - (square * 0.5 - square * square * cosine)
    match quarter:
        case 0:
            return sine, cosine
        case 1:
            return cosine, -sine
        case 2:
            return -sine, -cosine
        case _:
            return -cosine, sine


def _reduced(angle: float) -> tuple[int, float]:
    """The nearest multiple of pi/2, modulo 4, and what is left."""
    if abs(angle) < 0.78:  # less than a quarter of pi
        return 0, angle
    is_usual = abs(angle) < USUAL_MAX
    bits, half_pi = (USUAL_BITS, _USUAL_HALF_PI) if is_usual else (BITS, _HALF_PI)
    numerator, denominator = angle.as_integer_ratio()
    scaled = (numerator << bits) // denominator
    quarters = (scaled + half_pi // 2) // half_pi
    return quarters % 4, (scaled - quarters * half_pi) / (1 << bits)
