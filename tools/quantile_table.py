"""Writes rust/quantile_table.rs: the polynomials of the float32 quantile function.

Run with ``python tools/quantile_table.py`` (needs SciPy). Row ``bits(q) >> 22`` serves half an octave of q,
the two-sided tail probability: ``z = P(t)``, where t in [0, 1/2] runs against q (see rust/quantile.rs). z and
all its derivatives grow with t, so the fit is restricted to coefficients >= 0: every step of Horner's rule is
then monotone in t, and so are the rounded values. Not part of the build: stream v1 is defined by the bits.
"""

from pathlib import Path

import numpy as np
from scipy.optimize import lsq_linear
from scipy.special import erfinv, ndtri

DEGREE = 6
ROWS = 256  # of the exponent (8 bits, sign 0) and one bit of the mantissa: 2^-126 <= q <= 1
WIDTH = 0.5  # of t, in every row
GRID = WIDTH * (1 - np.cos(np.linspace(0, np.pi, 400))) / 2


def row_parts(row):
    """Row -> (where t = 0 lies on the axis of the row, z at GRID)."""
    exponent, half = row // 2 - 127, row % 2
    if exponent >= -1:  # q >= 1/2: t = 2 v - start, with full relative precision near v = 0
        start = 0.0 if half or exponent == 0 else WIDTH
        return 0.0 - start, np.sqrt(2) * erfinv((GRID + start) / 2)
    top = 1 + WIDTH * (half + 1)  # t = top - mantissa of q
    return top, -ndtri((top - GRID) * 2.0**exponent / 2)


def fit(z, lowest):
    """Coefficients of z(GRID), powers `lowest` up, rounded one after the other; the rest make up for it."""
    coefficients = [np.float32(0)] * lowest
    rest = z.copy()
    # errors count relative to z: weigh the points by 1 / ulp
    weight = 2.0 ** -np.floor(np.log2(np.maximum(z, 1e-3)))
    for power in range(lowest, DEGREE + 1):
        basis = (GRID[:, None] / WIDTH) ** np.arange(power, DEGREE + 1)
        solution = lsq_linear(basis * weight[:, None], rest * weight, (0, np.inf), method="bvls").x
        coefficients.append(np.float32(solution[0] / WIDTH**power))
        rest -= float(coefficients[-1]) * GRID**power
    return coefficients


def horner(coefficients, t):
    """P(t) in float32, each step rounded (by way of float64, which is near enough to choose by)."""
    total = np.float32(coefficients[-1])
    for c in coefficients[-2::-1]:
        total = np.float32(float(total) * t + float(c))
    return total


def table():
    """All rows as float32: where t starts, then the coefficients, lowest power first."""
    rows = np.zeros((ROWS, DEGREE + 2), np.float32)
    below = np.float32(0)  # the value at the end of the row before, which the next one must not undercut
    worst = 0.0
    for row in range(253, 1, -1):
        start, z = row_parts(row)
        coefficients = fit(z, lowest=row == 253)
        coefficients[0] = max(coefficients[0], below)
        below = horner(coefficients, WIDTH)
        found = np.polynomial.polynomial.polyval(GRID, np.array(coefficients, float))
        with np.errstate(invalid="ignore"):
            worst = max(worst, np.nanmax(np.abs(found - z) / np.spacing(z.astype(np.float32))))
        rows[row] = [start, *coefficients]
    rows[:2] = rows[2]  # subnormal q: no probability is that small
    rows[254:] = rows[253]  # q = 1
    print(f"fit: largest error {worst:.3f} units in the last place, smallest coefficient {rows[:, 1:].min()}")
    return rows


HEAD = """\
//! Written by `tools/quantile_table.py`, which says what the numbers are: do not edit.

/// Row `bits(q) >> 22`: where t starts, then the coefficients of P(t), lowest power first, as the bits of
/// float32 numbers.
#[rustfmt::skip]
pub const ROWS: [[u32; 8]; 256] = [
"""

if __name__ == "__main__":
    lines = [f"    [{', '.join(f'0x{bits:08x}' for bits in row)}],\n" for row in table().view(np.uint32)]
    path = Path(__file__).parents[1] / "rust" / "quantile_table.rs"
    path.write_text(HEAD + "".join(lines) + "];\n")
