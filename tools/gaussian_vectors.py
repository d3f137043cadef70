"""Writes tests/vectors/gaussian.txt: probabilities of intervals of the standard normal distribution.

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
    path = Path(__file__).parents[1] / "tests" / "vectors" / "gaussian.txt"
    path.write_text(HEADER + "".join(row(*pair) + "\n" for pair in bounds))
