"""Writes tests/vectors/moments_v1.json: Gaussian moments of every activation, from 30 digits.

Run with ``python tools/moment_vectors.py`` (needs mpmath). A row holds the function's name, q, and the
expectations of f, f^2 and f'^2 under N(0, q), as text.
"""

import json
from pathlib import Path

import mpmath as mp
from activation_vectors import ACTIVATIONS

mp.mp.dps = 30
PATH = Path(__file__).parents[1] / "tests" / "vectors" / "moments_v1.json"
CUTS = [-1, 0, 1]  # between them, every function is smooth


#: Of the value and the slope.
MOMENTS = (lambda value, slope: value, lambda value, slope: value**2, lambda value, slope: slope**2)


def expectation(function, of, q):
    """``E[of(f(u), f'(u))]`` for ``u ~ N(0, q)``."""
    std = mp.sqrt(q)
    # Panels of the function's scale and of the Gaussian's. Beyond 14 std there is less than 1e-40.
    points = {*CUTS, *(k * std for k in (-14, -7, -4, -2, -1, 1, 2, 4, 7, 14))}
    points |= {sign * 2.0**k for sign in (-1, 1) for k in range(1, 9)}
    edges = sorted(p for p in map(mp.mpf, points) if abs(p) <= 14 * std)
    return mp.quad(lambda u: of(*function(u)) * mp.npdf(u, 0, std), edges)


def rows():
    for name, function in ACTIVATIONS.items():
        for q in ("0.001", "0.5", "1", "7", "400"):
            moments = (expectation(function, of, mp.mpf(q)) for of in MOMENTS)
            yield [name, q, *(mp.nstr(moment, 20) for moment in moments)]


if __name__ == "__main__":
    PATH.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows()) + "\n]\n")
