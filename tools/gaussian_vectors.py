"""Writes tests/vectors/gaussian.txt and tail.txt: intervals of the standard normal distribution.

Run with ``python tools/gaussian_vectors.py`` (needs mpmath).
"""

import random
import struct
from pathlib import Path

import mpmath as mp

mp.mp.dps = 60
HEADER = """\
# Probabilities of intervals of the standard normal distribution, rounded to float64 from 60 digits:
# low  high  P(Z < low)  P(low < Z < high)  P(Z > high), each as its 64 bits in hex.
# Written by tools/gaussian_vectors.py.
"""
TAIL_HEADER = """\
# Parts of the upper tail of the standard normal distribution, rounded to float64 from 700 digits:
# low  high  P(low < Z < high) / P(Z > low)  P(Z > high) / P(Z > low) or 0 below e^-100
# P(Z > low) / density(low)  density(low) / P(Z > low) - low
# and, of Z given that it lies there, mean  standard deviation, each as its 64 bits in hex.
# Written by tools/gaussian_vectors.py.
"""
INF = float("inf")


def bits(x: float) -> str:
    return struct.pack(">d", x).hex()


def upper_tail(x: float) -> mp.mpf:
    return mp.erfc(mp.mpf(x) / mp.sqrt(2)) / 2


def row(low: float, high: float) -> str:
    below, above = upper_tail(-low), upper_tail(high)
    mass = (
        upper_tail(low) - above if low > 0 else upper_tail(-high) - below if high < 0 else 1 - below - above
    )
    return " ".join(map(bits, (low, high, *map(float, (below, mass, above)))))


def tail_row(low: float, high: float) -> str:
    """One row for 0 <= low < high."""
    with mp.workdps(700):
        a = mp.mpf(low)
        mills = upper_tail(low) * mp.sqrt(2 * mp.pi) * mp.exp(a * a / 2)
        exponent, b = (-mp.inf, mp.mpf(0)) if high == INF else ((a - high) * (a + high) / 2, mp.mpf(high))
        rest = upper_tail(high) / upper_tail(low) if exponent > -100 else mp.mpf(0)
        share = 1 - rest
        # moments from the density relative to that at low (Johnson, Kotz & Balakrishnan 1994, 10.1)
        ratio, mass = mp.exp(exponent), mills - mp.exp(exponent) * mills_ratio(high)
        mean = (1 - ratio) / mass
        std = mp.sqrt(1 + (a - b * ratio) / mass - mean**2)
        numbers = share, rest, mills, 1 / mills - a, mean, std
        return " ".join(map(bits, (low, high, *map(float, numbers))))


def mills_ratio(x: float) -> mp.mpf:
    return mp.mpf(0) if x == INF else upper_tail(x) * mp.sqrt(2 * mp.pi) * mp.exp(mp.mpf(x) ** 2 / 2)


def tails(rng: random.Random) -> list[tuple[float, float]]:
    bounds = [(0.0, INF), (0.0, 1e-30), (30.0, INF), (1e6, INF), (5.5, 5.6), (1e-20, 1e-19), (999.5, 1000.0)]
    while len(bounds) < 300:
        low = rng.choice([0.0, rng.uniform(0, 12), rng.uniform(0, 60), 10 ** rng.uniform(-30, 6)])
        width = rng.choice([INF, 10 ** rng.uniform(-40, 2), 10 ** rng.uniform(-1, 1) / (1 + low)])
        if low + width > low:
            bounds.append((low, low + width))
    return bounds


if __name__ == "__main__":
    rng = random.Random(0)
    bounds = [(-2.0, 2.0), (-1.0, 1.0), (0.0, 1.0), (-1.0, 0.0), (-float("inf"), 0.0), (5.5, 37.0)]
    while len(bounds) < 1000:
        scale = rng.choice([0.1, 1, 3, 10])
        low, high = sorted(rng.gauss(0, scale) for _ in range(2))
        if rng.random() < 0.1:
            high = float("inf")
        elif rng.random() < 0.1:
            high = low + 10.0 ** rng.uniform(-6, 0)
        if abs(low) < 37 and not 37 < abs(high) < float("inf"):
            bounds.append((low, high))
    folder = Path(__file__).parents[1] / "tests" / "vectors"
    (folder / "gaussian.txt").write_text(HEADER + "".join(row(*pair) + "\n" for pair in bounds))
    (folder / "tail.txt").write_text(TAIL_HEADER + "".join(tail_row(*pair) + "\n" for pair in tails(rng)))
