"""Prints the polynomial coefficients of rust/quantile.rs (float64) and rust/tail.rs, with their errors.

Run with ``python tools/quantile_coefficients.py`` (needs mpmath). Every polynomial is a Chebyshev fit in 60
digits, which is within a small factor of the minimax polynomial of its degree. Not part of the build: stream
v1 is defined by the printed numbers, not by how they were found.
"""

import mpmath as mp

mp.mp.dps = 60


def quantile_ratio(w: mp.mpf) -> mp.mpf:
    """``sqrt(2) * erfinv(v) / v`` with ``w = -log(1 - v**2)``: even in v, analytic in w."""
    if w < mp.mpf("1e-20"):
        return mp.sqrt(mp.pi / 2)
    v = mp.sqrt(-mp.expm1(-w))
    q = mp.exp(-w) / (1 + v)  # 1 - v without cancellation
    if v < 0.9:
        return mp.sqrt(2) * mp.erfinv(v) / v
    z = mp.sqrt(2 * mp.log(1 / q))  # Newton on log Q(z) = log(q / 2)
    for _ in range(60):
        tail = mp.erfc(z / mp.sqrt(2)) / 2
        step = (mp.log(tail) - mp.log(q / 2)) * tail * mp.sqrt(2 * mp.pi) * mp.exp(z * z / 2)
        z += step
        if abs(step) < mp.mpf(10) ** -50:
            break
    return z / v


def fit(name, f, low, high, degree, center):
    """Fits f(center + t) for center + t in [low, high] and prints coefficients, lowest power first."""
    coefficients = mp.chebyfit(lambda t: f(center + t), [low - center, high - center], degree + 1)
    rounded = [float(c) for c in coefficients]
    grid = [low + (high - low) * mp.mpf(i) / 400 for i in range(401)]
    error = max(abs(mp.polyval([mp.mpf(c) for c in rounded], x - center) / f(x) - 1) for x in grid)
    print(f"/// Relative error 2^{float(mp.log(error, 2)):.1f}")
    body = ", ".join(repr(c) for c in reversed(rounded))
    print(f"const {name}: [f64; {degree + 1}] = [{body}];\n")


def atanh_ratio(t: mp.mpf) -> mp.mpf:
    """``(2 atanh(s) / s - 2) / s**2`` with ``t = s**2``."""
    if abs(t) < mp.mpf("1e-15"):
        return mp.mpf(2) / 3 + 2 * t / 5 + 2 * t * t / 7
    s = mp.sqrt(abs(t))
    return (2 * mp.atanh(s) / s - 2) / t if t > 0 else (2 * mp.atan(s) / s - 2) / t


def mills_exponent(u: mp.mpf) -> mp.mpf:
    """P of the Mills ratio ``exp(-u P(u)) / x`` with ``u = 1 / x**2``."""
    if u < mp.mpf("1e-12"):
        return 1 - 5 * u / 2
    x = 1 / mp.sqrt(u)
    rest = x
    for n in range(400, 0, -1):
        rest = x + n / rest  # Laplace's continued fraction of 1 / M(x)
    return mp.log(rest / x) / u


if __name__ == "__main__":
    m = mp.mpf

    def tail(s):
        return quantile_ratio(s * s)

    fit("LOG", atanh_ratio, m(0), m("0.02945"), 7, m(0))
    fit("CENTRAL", quantile_ratio, m(0), m(5), 21, m("2.5"))
    fit("TAIL", tail, mp.sqrt(5), m(4), 20, m("3.125"))
    # Words reach w = 43.7; only truncation far in a tail goes on, to 107.
    fit("FAR_TAIL", tail, m(4), m("6.7"), 20, m("5.25"))
    fit("EXTREME_TAIL", tail, m("6.7"), m(11), 15, m("8.75"))
    fit("MILLS", mills_exponent, m(0), m("0.01"), 6, m(0))
