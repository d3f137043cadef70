"""Prints the polynomial coefficients in rust/quantile.rs, with the error of each fit.

Run with ``python tools/quantile_coefficients.py`` (needs mpmath). Every polynomial is a Chebyshev fit in 60
digits, which is within a small factor of the minimax polynomial of its degree. Not part of the build: stream
v1 is defined by the printed numbers, not by how they were found.
"""

import mpmath as mp
import numpy as np

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


def fit(name, f, low, high, degree, center, dtype):
    """Fits f(center + t) for center + t in [low, high] and prints coefficients, lowest power first."""
    coefficients = mp.chebyfit(lambda t: f(center + t), [low - center, high - center], degree + 1)
    rounded = [dtype(c) for c in coefficients]
    grid = [low + (high - low) * mp.mpf(i) / 400 for i in range(401)]
    error = max(abs(mp.polyval([mp.mpf(float(c)) for c in rounded], x - center) / f(x) - 1) for x in grid)
    print(f"/// Relative error 2^{float(mp.log(error, 2)):.1f}")
    body = ", ".join(str(c) if dtype is np.float32 else repr(float(c)) for c in reversed(rounded))
    print(f"const {name}: [f{np.dtype(dtype).itemsize * 8}; {degree + 1}] = [{body}];\n")


def log_ratio(f: mp.mpf) -> mp.mpf:
    """``(log(1 + f) - f) / f**2``."""
    if abs(f) < mp.mpf("1e-12"):
        return -mp.mpf(1) / 2 + f / 3 - f * f / 4 + f**3 / 5
    return (mp.log1p(f) - f) / f**2


def atanh_ratio(t: mp.mpf) -> mp.mpf:
    """``(2 atanh(s) / s - 2) / s**2`` with ``t = s**2``."""
    if abs(t) < mp.mpf("1e-15"):
        return mp.mpf(2) / 3 + 2 * t / 5 + 2 * t * t / 7
    s = mp.sqrt(abs(t))
    return (2 * mp.atanh(s) / s - 2) / t if t > 0 else (2 * mp.atan(s) / s - 2) / t


if __name__ == "__main__":
    f32, f64 = np.float32, np.float64
    third, m = mp.mpf(1) / 3, mp.mpf

    def tail(s):
        return quantile_ratio(s * s)

    fit("LOG_F32", log_ratio, -third, third, 7, m(0), f32)
    fit("CENTRAL_F32", quantile_ratio, m(0), m("6.25"), 10, m("3.125"), f32)
    fit("TAIL_F32", tail, m("2.5"), m("4.7"), 8, m("3.5"), f32)
    fit("LOG_F64", atanh_ratio, m(0), m("0.02945"), 7, m(0), f64)
    fit("CENTRAL_F64", quantile_ratio, m(0), m(5), 21, m("2.5"), f64)
    fit("TAIL_F64", tail, mp.sqrt(5), m(4), 20, m("3.125"), f64)

    fit("FAR_TAIL_F64", tail, m(4), m("6.7"), 20, m("5.25"), f64)
    # Words reach w = 21.5 (float32) and 43.7 (float64); only truncation far in a tail goes on, to 107.
    fit("FAR_TAIL_F32", tail, m("4.7"), m("9.5"), 7, m(7), f32)
    fit("EXTREME_TAIL_F64", tail, m("6.7"), m(11), 15, m("8.75"), f64)
