"""What theory says of the outputs of each layer, beside what a few hundred networks show.

A mean of N networks may be off by 6.5 standard errors, a standard deviation too (each a false alarm in 1e10;
seeds are fixed), and beyond that by what the theory itself leaves out, as stated in `LEFT_OUT`.

    python tests/test_statistics_theory.py    prints the table of docs/theory.md
"""

import math

import numpy as np
import pytest
from scipy import stats

import initcore as ic
from initcore import _core, theory
from initcore.theory.statistics import STATISTICS

SIGMAS = 6.5
#: How far predicted means may be off: absolutely, and relative to the mean; and factors of the error bars.
LEFT_OUT = {
    "mean": (0.015, 0.03, 1.25),
    "std": (0.0, 0.03, 1.25),
    "skew": (0.06, 0.02, 1.25),
    "dead": (0.003, 0.15, 1.3),
    "saturated": (0.006, 0.02, 1.25),
    "effective_rank": (0.0, 0.05, 1.5),
}


def measure(net, x, threshold=0.05):
    """The statistics of one network: (layers, statistics)."""
    ys = [x, *net.activations(x, num_threads=1)]
    parameters = net.parameters()
    batch = len(x)
    found = []
    for i, activation in enumerate(net.layer_activations()):
        z = ic.dense_forward(
            ys[i], parameters[f"layers.{i}.weight"], parameters[f"layers.{i}.bias"], num_threads=1
        )[0]
        y = ys[i + 1]
        mean, std = y.mean(), y.std()
        centred = y - mean
        _, slope = _core.activation(activation, z.ravel())
        steepest = np.abs(_core.activation(activation, np.linspace(-20, 20, 4001))[1]).max()
        lengths = np.linalg.norm(y, axis=1, keepdims=True)
        cosines = np.einsum("ai,bi->ab", y / lengths, y / lengths)
        found.append(
            [
                mean,
                std,
                (centred * centred * centred).mean() / std**3,
                (y == y[:1]).all(axis=0).mean(),
                (np.abs(slope) < threshold * steepest).mean(),
                batch * (batch - 1) / (np.sum(cosines**2) - batch),
            ]
        )
    return np.array(found)


def measure_many(sizes, x, activation, init, bias_std, networks):
    """(networks, layers, statistics)."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(networks):
        net = ic.MLP(
            sizes, activation=activation, output_activation=activation, init=init, seed=seed, dtype="float64"
        )
        if bias_std:
            shapes = {name: value.shape for name, value in net.parameters().items()}
            net.set_parameters({k: rng.normal(0, bias_std, s) for k, s in shapes.items() if "bias" in k})
        found.append(measure(net, x))
    return np.array(found)


def inputs_of(kind, batch):
    if kind == "digits":
        return ic.datasets.load("digits").x_train[:batch].astype(np.float64)
    return np.random.default_rng(1).normal(size=(batch, 64))


CASES = [
    ([64, *[64] * 10], "relu", "he_normal", 0.0, "normal"),
    ([64, *[32] * 4], "relu", "he_normal", 0.0, "digits"),
    ([64, *[256] * 4], "relu", "he_uniform", 0.0, "digits"),
    ([64, *[64] * 8], "tanh", "xavier_normal", 0.0, "normal"),
    ([64, *[64] * 6], "tanh", "normal(0.3)", 0.2, "digits"),
    ([64, *[96] * 5], "sigmoid", "xavier_normal", 0.0, "digits"),
    ([64, 128, 48, 96], "gelu", "he_normal", 0.0, "digits"),
    ([64, *[64] * 6], "leaky_relu(0.2)", "he_normal", 0.0, "normal"),
    ([64, *[64] * 5], "hard_tanh", "he_normal", 0.0, "digits"),
    ([64, *[64] * 6], "selu", "lecun_normal", 0.0, "digits"),
    ([64, *[64] * 5], "relu", "orthogonal", 0.0, "digits"),
]


def names(case):
    sizes, activation, init, bias_std, kind = case
    return f"{activation}, {init}{f', bias {bias_std}' if bias_std else ''}, {sizes[1:]}, {kind}"


@pytest.mark.parametrize("case", CASES, ids=names)
def test_networks_are_as_predicted(case):
    sizes, activation, init, bias_std, kind = case
    networks = 100 if max(sizes) > 200 else 200
    x = inputs_of(kind, 64)
    measured = measure_many(sizes, x, activation, init, bias_std, networks)
    predicted = theory.statistics(
        sizes, x, activation=activation, output_activation=activation, init=init, bias_std=bias_std
    )
    for values, (name, (absolute, relative, factor)) in zip(
        np.moveaxis(measured, 2, 0), LEFT_OUT.items(), strict=True
    ):
        expected = getattr(predicted, name)
        assert np.isfinite(expected.mean).all()
        mean, std = values.mean(axis=0), values.std(axis=0)
        off = np.abs(mean - expected.mean)
        allowed = SIGMAS * np.maximum(std, expected.std) / math.sqrt(networks)
        assert (off < allowed + absolute + relative * np.abs(mean)).all(), name
        # Counts of a few units in all networks tell no scatter, nor does what is the same in each of them.
        rare = expected.mean * np.array(sizes[1:]) * networks < 50
        scatters = (std > 1e-3 * np.abs(mean)) & ~(rare & (name in ("dead", "saturated")))
        deviations = values[:, scatters] - mean[scatters]
        kurtosis = (deviations**4).mean(axis=0) / (deviations**2).mean(axis=0) ** 2
        ratio = np.abs(np.log(expected.std[scatters] / std[scatters]))
        assert (ratio < math.log(factor) + SIGMAS * np.sqrt((kurtosis - 1) / (4 * networks))).all(), name


def test_wide_layers_in_closed_form():
    """relu of a standard normal number: moments, and arc-cosine kernels of orthogonal and equal inputs."""
    n = 10**9
    x = np.sqrt(8) * np.eye(8)  # orthogonal, mean square 1
    s = theory.statistics([8, n, n, n], x, init="lecun_normal", output_activation="relu")
    mean = 1 / math.sqrt(2 * math.pi)
    variance = 0.5 - mean**2
    np.testing.assert_allclose(s.mean.mean, mean * 2.0 ** -np.array([0, 0.5, 1]), rtol=1e-5)
    np.testing.assert_allclose(s.std.mean, np.sqrt(variance / 2 ** np.arange(3)), rtol=1e-5)
    skew = (2 * mean - 1.5 * mean + 2 * mean**3) / variance**1.5
    np.testing.assert_allclose(s.skew.mean, skew, rtol=1e-4)
    np.testing.assert_allclose(s.saturated.mean, 0.5, rtol=1e-5)
    c = [theory.correlation_map("relu", 0.0, 1.0, 2.0)]
    for _ in range(2):
        c.append(theory.correlation_map("relu", c[-1], 1.0, 2.0))
    np.testing.assert_allclose(s.effective_rank.mean, 1 / np.square(c), rtol=1e-4)
    # All eight below 0: independent, then with what all have in common (SciPy, one factor).
    t = np.linspace(-9, 9, 20001)
    below = [
        np.trapezoid(stats.norm.pdf(t) * stats.norm.cdf(-math.sqrt(r / (1 - r)) * t) ** 8, t)
        for r in (0.0, *c[:2])
    ]
    np.testing.assert_allclose(s.dead.mean, below, rtol=1e-3)
    for name in STATISTICS:
        assert (getattr(s, name).std < 1e-3).all()


def test_two_inputs_are_dead_by_the_angle_between_them():
    angle = 1.1
    x = np.array([[1.0, 0.0], [math.cos(angle), math.sin(angle)]])
    s = theory.statistics([2, 30, 1], x)
    p = 0.5 - angle / (2 * math.pi)
    np.testing.assert_allclose(s.dead.mean[0], p, rtol=1e-3)
    np.testing.assert_allclose(s.dead.std[0], math.sqrt(p * (1 - p) / 30), rtol=1e-3)
    # Both inputs on the left, or on the right: the correlation is that of z.
    s = theory.statistics([2, 30, 1], x, activation="hard_tanh", init="normal(1e6)")
    np.testing.assert_allclose(s.dead.mean[0], 2 * p, rtol=1e-3)


def test_inputs_by_what_matters_of_them():
    x = inputs_of("digits", 300)
    sizes = [64, 40, 30, 20]
    by_x = theory.statistics(sizes, x, activation="tanh")
    by_inputs = theory.statistics(sizes, theory.Inputs.of(x), activation="tanh")
    net = ic.MLP(sizes, activation="tanh", init="he_normal", seed=0)
    by_net = theory.statistics(net, x)
    for name in STATISTICS:
        for other in (by_inputs, by_net):
            np.testing.assert_array_equal(getattr(by_x, name).mean, getattr(other, name).mean)
            np.testing.assert_array_equal(getattr(by_x, name).std, getattr(other, name).std)
    # The whole batch counts, although few of its cosines are kept.
    inputs = theory.Inputs.of(x)
    directions = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = (directions @ directions.T)[np.triu_indices(len(x), 1)]
    assert inputs.cosines.shape == (32, 32)
    np.testing.assert_allclose(inputs.pairs().mean(), cosines.mean(), rtol=1e-3)
    np.testing.assert_allclose(np.mean(inputs.pairs() ** 2), np.mean(cosines**2), rtol=0.02)
    own = theory.Inputs(1.0, 0.0, inputs.cosines, 32)
    np.testing.assert_allclose(own.pairs(), inputs.cosines[np.triu_indices(32, 1)], rtol=1e-12)


def test_layers_that_nothing_reaches():
    x = inputs_of("normal", 20)
    s = theory.statistics([64, 5, 4], x, activation="sigmoid", init="zeros")
    assert s.mean.mean.tolist() == [0.5, 0.0]
    assert s.std.mean.tolist() == [0.0, 0.0]
    assert s.dead.mean.tolist() == [1.0, 1.0]
    assert s.effective_rank.mean[0] == 1.0
    assert np.isnan([*s.skew.mean, s.effective_rank.mean[1]]).all()
    one = theory.statistics([64, 5, 4], x[:1])
    assert np.isnan([*one.dead.mean, *one.effective_rank.mean]).all()
    same = theory.statistics([64, 50, 50], np.ones((30, 64)), output_activation="relu")
    np.testing.assert_allclose(same.dead.mean, 0.5, atol=0.02)
    np.testing.assert_allclose(same.effective_rank.mean, 1.0, rtol=1e-6)


def test_functions_as_activations():
    x = inputs_of("normal", 20)
    named = theory.statistics([64, 30, 20], x, activation="tanh")
    given = theory.statistics([64, 30, 20], x, activation=np.tanh)
    for name in STATISTICS:
        np.testing.assert_allclose(getattr(given, name).mean, getattr(named, name).mean, rtol=1e-6, atol=1e-9)
    clipped = theory.statistics([64, 30, 20], x[:3], activation=lambda u: np.clip(u, -0.5, 0.25))
    assert clipped.dead.mean[0] > 0.1
    assert 0.6 < clipped.saturated.mean[0] < 0.8


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (1.0, {}, "rows, columns"),
        (np.ones((3, 4)), {}, r"\(batch, 5\)"),
        (np.ones((3, 5)), {"threshold": -0.1}, "threshold"),
        (np.ones((3, 5)), {"init": "ones"}, "mean 0"),
    ],
)
def test_refusals(x, options, message):
    with pytest.raises(ValueError, match=message):
        theory.statistics([5, 4], x, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 0.0, np.ones(3), 3), "square matrix"),
        ((1.0, 0.0, np.eye(4), 3), "3 rows at most"),
        ((1.0, 0.0, 2 * np.eye(3), 3), "from -1 to 1"),
        ((-1.0, 0.0, np.eye(3), 3), "mean_square"),
        ((1.0, -1.0, np.eye(3), 3), "spread"),
    ],
)
def test_inputs_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        theory.Inputs(*arguments)


def table():
    """Print by how much predictions are off at worst, among the layers of each network.

    The mean: in standard deviations of the networks. The standard deviation: as a ratio, from ... to ...
    """
    networks, batch = 400, 256
    print("| network | " + " | ".join(STATISTICS) + " |")
    print("|---" * (1 + len(STATISTICS)) + "|")
    for case in CASES:
        sizes, activation, init, bias_std, kind = case
        x = inputs_of(kind, batch)
        measured = measure_many(sizes, x, activation, init, bias_std, networks)
        predicted = theory.statistics(
            sizes, x, activation=activation, output_activation=activation, init=init, bias_std=bias_std
        )
        cells = []
        for i, name in enumerate(STATISTICS):
            mean, std = measured[..., i].mean(axis=0), measured[..., i].std(axis=0)
            expected = getattr(predicted, name)
            # Where there are units to count in a tenth of the networks, at least.
            seen = (name not in ("dead", "saturated")) | (mean * np.array(sizes[1:]) > 0.1)
            seen &= std > 0
            off = (np.abs(expected.mean - mean)[seen] / std[seen]).max(initial=0.0)
            ratio = expected.std[seen] / std[seen]
            cells.append(f"{off:.2f}, {ratio.min():.2f}–{ratio.max():.2f}" if seen.any() else "")
        widths = f"{len(sizes) - 1} x {sizes[1]}" if len(set(sizes[1:])) == 1 else str(sizes[1:])
        bias = f", bias {bias_std}" if bias_std else ""
        print(f"| {activation}, {init}{bias}, {widths}, {kind} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    table()
