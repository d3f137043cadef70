"""Layers of all kinds, simulated: the fans of `fans` keep the variance, those of others do not.

`tests/vectors/fans_peers.json` holds what the peers give for these shapes (`tools/fan_table.py` writes it).
"""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import initcore as ic
from initcore import Layout

RECORDED = json.loads((Path(__file__).parent / "vectors/fans_peers.json").read_text())


def dense(w, x):
    """(in, out), (batch, in) -> (batch, out)."""
    return x @ w


def convolution(w, x, groups=1):
    """w: (*kernel, in / groups, out), x: (batch, *space, in) -> (batch, *space, out), on rings.

    On a ring every position has as many neighbours as every other, so the variance is the same everywhere.
    """
    *kernel, _, outputs = w.shape
    x = x.reshape(*x.shape[:-1], groups, -1)
    w = w.reshape(*w.shape[:-1], groups, -1)
    y = 0
    for position in np.ndindex(*kernel):
        moved = np.roll(x, [-p for p in position], axis=tuple(range(1, 1 + len(kernel))))
        y = y + np.einsum("...gi,igo->...go", moved, w[position])
    return y.reshape(*y.shape[:-2], outputs)


def depthwise(w, x):
    """w: (*kernel, channels, multiplier): channel c gives outputs c * multiplier ... of its own."""
    *_, channels, multiplier = w.shape
    return convolution(w.reshape(*w.shape[:-2], 1, channels * multiplier), x, groups=channels)


def torch_convolution(w, x, groups=1):
    """w: (out, in / groups, *kernel)."""
    return convolution(np.moveaxis(w, (1, 0), (-2, -1)), x, groups)


def torch_transposed(w, x, groups=1):
    """w: (in, out / groups, *kernel): each input is spread over the kernel, y[p + k] += x[p] w[k]."""
    inputs, outputs, *kernel = w.shape
    w = np.moveaxis(w, (0, 1), (-2, -1)).reshape(*kernel, groups, inputs // groups, outputs)
    x = x.reshape(*x.shape[:-1], groups, -1)
    y = 0
    for position in np.ndindex(*kernel):
        part = np.einsum("...gi,gio->...go", x, w[position])
        y = y + np.roll(part, position, axis=tuple(range(1, 1 + len(kernel))))
    return y.reshape(*y.shape[:-2], -1)


def block(number, of):
    """One of the weights packed along the outputs of a torch weight (out, in)."""
    return lambda w, x: x @ np.split(w, of)[number].T


def per_expert(w, x):
    """(experts, in, out), (batch, experts, in) -> (batch, experts, out)."""
    return np.einsum("bei,eio->beo", x, w)


def per_head(w, x):
    """(embed, heads, head_dim), (batch, embed) -> (batch, heads * head_dim)."""
    return np.einsum("be,ehd->bhd", x, w)


def from_heads(w, x):
    """(heads, head_dim, embed), (batch, heads, head_dim) -> (batch, embed)."""
    return np.einsum("bhd,hde->be", x, w)


def case(shape, inputs, forward, wrong=None, **layout):
    """A layer: `wrong` are the fans that are found elsewhere, `inputs` the shape of one sample."""
    return SimpleNamespace(shape=shape, inputs=inputs, forward=forward, wrong=wrong, layout=Layout(**layout))


LAYERS = {
    "dense": case((48, 32), (48,), dense),
    "dense, torch": case((24, 48), (48,), lambda w, x: x @ w.T, axes="torch"),
    "convolution": case((3, 3, 8, 12), (3, 3, 8), convolution),
    "convolution, torch": case((12, 8, 4), (9, 8), torch_convolution, axes="torch"),
    # PyTorch's fan_out counts the outputs of all groups, of which an input reaches one
    "grouped, torch": case(
        (24, 4, 3),
        (9, 16),
        lambda w, x: torch_convolution(w, x, 4),
        wrong=(12, 72),
        axes="torch",
        groups=4,
    ),
    "grouped": case((3, 4, 24), (9, 16), lambda w, x: convolution(w, x, 4), wrong=(12, 72), groups=4),
    # Keras counts all channels, though each has its filters
    "depthwise": case((3, 3, 16, 2), (3, 3, 16), depthwise, wrong=(144, 18), axes="depthwise"),
    # PyTorch takes the first axis for outputs here too
    "transposed, torch": case(
        (6, 24, 3), (8, 6), torch_transposed, wrong=(72, 18), axes="torch", transposed=True
    ),
    "transposed and grouped, torch": case(
        (8, 12, 3),
        (7, 8),
        lambda w, x: torch_transposed(w, x, 2),
        wrong=(36, 24),
        axes="torch",
        transposed=True,
        groups=2,
    ),
    # pytorch#23854, #166378: MultiheadAttention's in_proj_weight
    "query of query, key, value": case((96, 32), (32,), block(0, 3), wrong=(32, 96), axes="torch", blocks=3),
    "value of query, key, value": case((96, 32), (32,), block(2, 3), wrong=(32, 96), axes="torch", blocks=3),
    # the gate and the value of a GLU
    "gated": case((96, 32), (32,), block(1, 2), wrong=(32, 96), axes="torch", blocks=2),
    "experts": case((4, 24, 16), (4, 24), per_expert, wrong=(96, 64), in_axis=1, out_axis=2, batch_axis=0),
    # JAX's default axes take the embedding for a kernel of as many positions
    "to heads": case((32, 4, 8), (32,), per_head, wrong=(128, 256), in_axis=0, out_axis=(1, 2)),
    "from heads": case((4, 8, 32), (4, 8), from_heads, wrong=None, in_axis=(0, 1), out_axis=2),
}

DRAWS, SAMPLES = 64, 16


def preserved(layer, mode, std=None):
    """Measure E y^2 / E x^2, or that of gradients for fan_out: its mean over draws, and the standard error.

    The layer is linear, so outputs of the unit vectors make the matrix that takes gradients back.
    """
    n = math.prod(layer.inputs)
    units = np.eye(n).reshape(n, *layer.inputs)
    init = ic.VarianceScaling(1.0, mode, "normal") if std is None else ic.Normal(0.0, std)
    ratios = []
    for seed in range(DRAWS):
        w = init(layer.shape, seed=seed, name="weight", layout=layer.layout, dtype="float64")
        matrix = layer.forward(w, units).reshape(n, -1)  # (inputs, outputs)
        matrix = matrix if mode == "fan_in" else matrix.T
        x = ic.normal((SAMPLES, matrix.shape[0]), seed=seed, name="signal", dtype="float64")
        ratios.append(((x @ matrix) ** 2).mean() / (x**2).mean())
    return np.mean(ratios), np.std(ratios, ddof=1) / math.sqrt(DRAWS)


TOLERANCE = 0.09  # a false alarm has a probability below 1e-11: it takes 7 standard errors


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_keep_the_variance(name, mode):
    """Forward with fan_in, backward with fan_out. A fan that is wrong by 20 % is found."""
    mean, error = preserved(LAYERS[name], mode)
    assert error < TOLERANCE / 7
    assert abs(mean - 1) < TOLERANCE


@pytest.mark.parametrize("name", [name for name, layer in LAYERS.items() if layer.wrong])
def test_other_fans_do_not_keep_it(name):
    """The fans of the peers: outputs and gradients are off by the factor by which the fan is."""
    layer = LAYERS[name]
    right = ic.fans(layer.shape, layout=layer.layout)
    assert right != layer.wrong
    for mode, fan, wrong in zip(("fan_in", "fan_out"), right, layer.wrong, strict=True):
        mean, _ = preserved(layer, mode, std=wrong**-0.5)
        assert mean == pytest.approx(fan / wrong, rel=TOLERANCE)


@pytest.mark.parametrize("row", RECORDED["defects"], ids=[f"{r[0]} {r[1]}" for r in RECORDED["defects"]])
def test_other_fans_are_those_of_the_peers(row):
    peer, shape, *fans = row
    layers = [layer for layer in LAYERS.values() if list(layer.shape) == shape and layer.wrong]
    assert layers, f"no layer stands for what {peer} gives"
    assert all(layer.wrong == tuple(fans) for layer in layers)


def test_every_other_fan_is_recorded():
    recorded = [shape for _, shape, *_ in RECORDED["defects"]]
    assert all(list(layer.shape) in recorded for layer in LAYERS.values() if layer.wrong)


def test_xavier_of_packed_projections():
    """pytorch#23854: with fan_out 3d, queries have half the variance that a weight (d, d) gives them.

    The variance of 3 * 256^2 uniform values has a relative standard error of 0.002.
    """
    d = 256
    x = ic.normal((512, d), seed=1, dtype="float64")
    packed = ic.xavier_uniform((3 * d, d), seed=0, layout="torch", dtype="float64")
    right = ic.xavier_uniform((3 * d, d), seed=0, layout=Layout("torch", blocks=3), dtype="float64")
    alone = ic.xavier_uniform((d, d), layout="torch", seed=0, dtype="float64")
    for w in (right[:d], right[d : 2 * d], right[2 * d :], alone):
        assert (x @ w.T).var() == pytest.approx(1, abs=0.07)
    assert (x @ packed[:d].T).var() == pytest.approx(0.5, abs=0.035)


def test_rows_of_an_embedding():
    """A row is looked up and nothing summed: fan_in 1. Logits of a tied table sum over `features`.

    Of 1e6 elements, the variance has a standard error of 0.0014; that of the logits, 0.006.
    """
    words, features = 10_000, 100
    assert ic.fans((words, features), layout="embedding") == (1, features)
    table = ic.VarianceScaling(1.0, "fan_in", "normal")(
        (words, features), seed=0, layout="embedding", dtype="float64"
    )
    rows = table[[3, 17, 9_999]]
    assert table.var() == pytest.approx(1, abs=0.01)
    assert rows.shape == (3, features)
    plain = ic.VarianceScaling(1.0, "fan_in", "normal")((words, features), seed=0, dtype="float64")
    assert plain.var() == pytest.approx(1 / words, rel=0.01)  # as for a sum over all words
    tied = ic.VarianceScaling(1.0, "fan_out", "normal")(
        (words, features), seed=0, layout="embedding", dtype="float64"
    )
    hidden = ic.normal((512, features), seed=1, dtype="float64")
    assert (hidden @ tied.T).var() == pytest.approx(1, abs=0.05)
    assert ic.fans((words, features), layout=Layout("embedding", transposed=True)) == (features, 1)
