"""Writes rust/nn/elementary_table.rs: the constants of the elementary functions, and how good each fit is.

Run with ``python tools/elementary_coefficients.py && rustfmt rust/nn/elementary_table.rs`` (needs mpmath).
Every polynomial is a Chebyshev fit in 60 digits, within a small factor of the minimax polynomial of its
degree.
"""

import struct
from pathlib import Path

import mpmath as mp

mp.mp.dps = 60
PATH = Path(__file__).parents[1] / "rust" / "nn" / "elementary_table.rs"
HEADER = """\
//! The constants of [`super::elementary`] in each type. Written by
//! tools/elementary_coefficients.py: do not edit. Coefficients stand lowest power first; above them the
//! largest error relative to the function, coefficients rounded.

use super::elementary::Table;

"""
LN2 = mp.log(2)


class Float:
    """A binary floating-point type: its name, its fraction bits, and the degrees its polynomials need."""

    def __init__(
        self, name: str, fraction: int, subnormal: int, reach: int, pivot: float, degrees: dict[str, int]
    ) -> None:
        self.name, self.fraction, self.degrees = name, fraction, degrees
        self.reach, self.pivot = mp.mpf(reach), mp.mpf(pivot)
        self.log_tiny = subnormal * LN2  # log of the least positive number

    def round(self, x: mp.mpf) -> float:
        return float(x) if self.fraction == 52 else struct.unpack("f", struct.pack("f", float(x)))[0]

    def literal(self, x: mp.mpf) -> str:
        x = self.round(x)
        if self.fraction == 52:
            return repr(x)
        digits = next(d for d in range(1, 10) if self.round(mp.mpf(f"{x:.{d}g}")) == x)
        text = f"{x:.{digits}g}"
        return text if "." in text or "e" in text else text + ".0"


def exp_rest(r: mp.mpf) -> mp.mpf:
    """``(e^r - 1 - r) / r^2``."""
    return sum(r**n / mp.factorial(n + 2) for n in range(50))


def atanh_rest(z: mp.mpf) -> mp.mpf:
    """``(2 atanh(s) / s - 2) / s^2`` with ``z = s^2``."""
    return sum(2 * z**n / (2 * n + 3) for n in range(60))


def erf_rest(z: mp.mpf) -> mp.mpf:
    """``erf(x) / x - 1`` with ``z = x^2``."""
    return 2 / mp.sqrt(mp.pi) * sum((-z) ** n / (mp.factorial(n) * (2 * n + 1)) for n in range(60)) - 1


def mills(t: mp.mpf, p: mp.mpf) -> mp.mpf:
    """``(a + p) P(Z > a) / exp(-a^2 / 2)`` for a standard normal Z, with ``t = (a - p) / (a + p)``.

    A larger p needs fewer coefficients, a smaller one makes rounding errors of t matter less.
    """
    a = p * (1 + t) / (1 - t)
    return (a + p) * mp.erfc(a / mp.sqrt(2)) * mp.exp(a * a / 2) / 2


def polynomial(kind: Float, name: str, f, low, high, size) -> str:
    """The fit of f on [low, high]; ``size(x)`` is what an error is relative to."""
    low, high = mp.mpf(low), mp.mpf(high)
    rounded = [kind.round(c) for c in mp.chebyfit(f, [low, high], kind.degrees[name] + 1)]
    grid = [low + (high - low) * mp.mpf(i) / 500 for i in range(501)]
    error = max(abs(mp.polyval([mp.mpf(c) for c in rounded], x) - f(x)) * size(x) for x in grid)
    body = ", ".join(kind.literal(mp.mpf(c)) for c in reversed(rounded))
    return f"    // 2^{float(mp.log(error, 2)):.1f}\n    {name}: &[{body}],\n"


def table(kind: Float) -> str:
    # k ln(2) is exact in its high part for every exponent k: those take at most 11 or 8 bits.
    bits = kind.fraction + 1 - (11 if kind.fraction == 52 else 8)
    high = mp.floor(LN2 * 2**bits) / 2**bits
    half = LN2 / 2 * mp.mpf("1.01")
    edge = (mp.sqrt(2) - 1) / (mp.sqrt(2) + 1) * mp.mpf("1.001")
    top = (kind.reach - kind.pivot) / (kind.reach + kind.pivot)

    def ratio(t: mp.mpf) -> mp.mpf:
        return mills(t, kind.pivot)

    lines = [
        f"/// Of `{kind.name}`.\npub const {kind.name.upper()}: Table<{kind.name}> = Table {{\n",
        f"    ln2: ({kind.literal(high)}, {kind.literal(LN2 - high)}),\n",
        f"    exp_zero: {kind.literal(mp.floor(kind.log_tiny) - 2)},\n",
        f"    exp_infinite: {kind.literal(mp.ceil(LN2 * (1024 if kind.fraction == 52 else 128)))},\n",
        f"    normal_zero: {kind.literal(kind.reach)},\n",
        polynomial(kind, "exp", exp_rest, -half, half, abs),
        polynomial(kind, "ln", atanh_rest, 0, edge**2, lambda z: z / 2),
        polynomial(kind, "erf", erf_rest, 0, 1, lambda z: 1 / (1 + erf_rest(z))),
        f"    pivot: {kind.literal(kind.pivot)},\n",
        polynomial(kind, "mills", ratio, -1, top, lambda t: 1 / ratio(t)),
        "};\n",
    ]
    return "".join(lines)


if __name__ == "__main__":
    single = Float("f32", 23, -149, 15, 2, {"exp": 5, "ln": 2, "erf": 7, "mills": 12})
    double = Float("f64", 52, -1074, 40, 2.5, {"exp": 10, "ln": 6, "erf": 14, "mills": 26})
    PATH.write_text(HEADER + "\n".join(map(table, (single, double))))
