"""Writes tests/vectors/activations_v1.json: activations and elementary functions, rounded from 60 digits.

Run with ``python tools/activation_vectors.py`` (needs mpmath). A row holds the function's name, the argument,
the value and, for activations, the slope, as text since JSON has no infinities.
"""

import json
import random
import sys
from pathlib import Path

import mpmath as mp

mp.mp.dps = 60
PATH = Path(__file__).parents[1] / "tests" / "vectors" / "activations_v1.json"
INF, MAX, TINY = float("inf"), sys.float_info.max, 5e-324
SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def sigmoid(z):
    return 1 / (1 + mp.exp(-z))


def sigmoid_slope(z):
    return sigmoid(z) * sigmoid(-z)


def sech2(z):
    return mp.sech(z) ** 2


def cdf(z):
    return mp.erfc(-z / mp.sqrt(2)) / 2


def pdf(z):
    return mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)


def gelu_argument(z):
    """Twice the argument of tanh, since ``(1 + tanh(u)) / 2 = sigmoid(2 u)``; and its slope."""
    c = 2 * mp.sqrt(2 / mp.pi)
    return c * (z + mp.mpf("0.044715") * z**3), c * (1 + 3 * mp.mpf("0.044715") * z**2)


def softplus(z):
    return z + mp.log1p(mp.exp(-z)) if z > 0 else mp.log1p(mp.exp(z))


def gated(gate, slope):
    """``z g(z)``, with its slope. Far out g has its limit, and an infinity times zero is zero."""

    def value_and_slope(z):
        near = min(max(z, mp.mpf(-10000)), mp.mpf(10000))
        g, dg = gate(near), slope(near)
        return (mp.mpf(0) if z == -mp.inf else z * g), g + near * dg

    return value_and_slope


def saturating(f, slope):
    def value_and_slope(z):
        near = min(max(z, mp.mpf(-10000)), mp.mpf(10000))
        return f(near), slope(near)

    return value_and_slope


def kinked(scale, alpha):
    """``scale z``, and ``alpha (e^z - 1)`` up to 0, where the left slope counts."""
    return lambda z: (scale * z, scale) if z > 0 else (alpha * mp.expm1(z), alpha * mp.exp(z))


def leaky(negative_slope):
    return lambda z: (z, 1) if z > 0 else (negative_slope * z, negative_slope)


def softsign(z):
    return (mp.sign(z), 0) if mp.isinf(z) else (z / (1 + abs(z)), 1 / (1 + abs(z)) ** 2)


ACTIVATIONS = {
    "linear": lambda z: (z, 1),
    "relu": lambda z: (z, 1) if z > 0 else (0, 0),
    "leaky_relu": leaky(mp.mpf(0.01)),
    "leaky_relu(0.2)": leaky(mp.mpf(0.2)),
    "elu": kinked(1, 1),
    "elu(0.5)": kinked(1, mp.mpf("0.5")),
    "selu": kinked(mp.mpf(SELU_SCALE), mp.mpf(SELU_SCALE) * mp.mpf(SELU_ALPHA)),
    "gelu": gated(cdf, pdf),
    "gelu_tanh": gated(
        lambda z: sigmoid(gelu_argument(z)[0]),
        lambda z: sigmoid_slope(gelu_argument(z)[0]) * gelu_argument(z)[1],
    ),
    "silu": gated(sigmoid, sigmoid_slope),
    "tanh": saturating(mp.tanh, sech2),
    "sigmoid": saturating(sigmoid, sigmoid_slope),
    "softplus": lambda z: (z, 1) if z > 10000 else saturating(softplus, sigmoid)(z),
    "softsign": softsign,
    "mish": gated(lambda z: mp.tanh(softplus(z)), lambda z: sech2(softplus(z)) * sigmoid(z)),
    "hard_tanh": lambda z: (min(max(z, mp.mpf(-1)), mp.mpf(1)), int(-1 < z < 1)),
}
ELEMENTARY = {
    "exp": lambda x: mp.exp(min(max(x, mp.mpf(-10000)), mp.mpf(10000))),
    "expm1": lambda x: mp.expm1(min(max(x, mp.mpf(-10000)), mp.mpf(10000))),
    "ln_1p": lambda x: mp.nan if x < -1 else -mp.inf if x == -1 else mp.log1p(x),
    "tanh": lambda x: ACTIVATIONS["tanh"](x)[0],
    "sigmoid": lambda x: ACTIVATIONS["sigmoid"](x)[0],
    "erf": lambda x: saturating(mp.erf, pdf)(x)[0],
    "normal": lambda x: saturating(cdf, pdf)(x)[0],
}


def points():
    rng = random.Random(0)
    sizes = [0.0, TINY, 1e-310, 2.3e-308, 1e-100, 1e-20, 1e-8, 1e-4, 1.0, 2.0, 6.0, 8.5, 20.0, 37.0, 40.0]
    sizes += [
        88.7,
        354.8,
        709.5,
        744.5,
        750.0,
        1e3,
        1e5,
        1e10,
        1e19,
        1e77,
        1e150,
        1.7e154,
        1e200,
        1e300,
        MAX,
        INF,
    ]
    sizes += [1 - 2.0**-53, 1 + 2.0**-52, 0.347, 0.4142, 0.7517915]
    sizes += [rng.uniform(0, 6) for _ in range(36)] + [10 ** rng.uniform(-3, 2.8) for _ in range(16)]
    return sorted({sign * size for size in sizes for sign in (1.0, -1.0)})


def rows():
    for name, function in ACTIVATIONS.items():
        for z in points():
            yield [name, z, *(float(v) for v in function(mp.mpf(z)))]
    for name, function in ELEMENTARY.items():
        for z in points():
            yield [f"{name} alone", z, float(function(mp.mpf(z)))]


if __name__ == "__main__":
    lines = [json.dumps([row[0], *map(repr, row[1:])]) for row in rows()]
    PATH.write_text("[\n" + ",\n".join(lines) + "\n]\n")
