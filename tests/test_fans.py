"""Fans: beside those of PyTorch, JAX and Keras where these are right, beside simulated layers where not.

`tests/vectors/fans_peers.json` holds what the peers gave (`tools/fan_table.py` writes it); the tests marked
`peers` ask those that are installed again.
"""

import copy
import importlib.util
import json
import math
import pickle
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import initcore as ic
from initcore import Layout  # eval(repr(layout)) looks for it

ROOT = Path(__file__).parents[1]
RECORDED = json.loads((ROOT / "tests/vectors/fans_peers.json").read_text())
LAYOUTS = {"torch": "torch", "jax": "numpy", "keras": "numpy"}


def ids(rows):
    return [str(row[0]) for row in rows]


def axes_of(case):
    """Read a row (shape, in_axis, out_axis, batch_axis)."""
    shape, *axes = case
    return shape, dict(zip(("in_axis", "out_axis", "batch_axis"), axes, strict=True))


# -- the peers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", LAYOUTS)
def test_fans_are_those_of_the_peers(peer):
    for shape, fan_in, fan_out in RECORDED[peer]:
        assert ic.fans(shape, layout=LAYOUTS[peer]) == (fan_in, fan_out), shape


@pytest.mark.parametrize("row", RECORDED["jax_axes"], ids=ids(RECORDED["jax_axes"]))
def test_axes_by_number_are_those_of_jax(row):
    (case, *expected) = row
    shape, axes = axes_of(case)
    assert ic.fans(shape, **axes) == tuple(expected)


@pytest.fixture(scope="module")
def recorder():
    """The script that made the table."""
    spec = importlib.util.spec_from_file_location("fan_table", ROOT / "tools/fan_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def peer_or_skip(peer, monkeypatch):
    if peer == "keras":
        monkeypatch.setenv("KERAS_BACKEND", "jax")
        pytest.importorskip("jax")
    pytest.importorskip(peer)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("peer", LAYOUTS)
def test_the_table_is_what_this_peer_gives(peer, recorder, monkeypatch):
    peer_or_skip(peer, monkeypatch)
    fans = getattr(recorder, f"{peer}_fans")
    assert [row[0] for row in RECORDED[peer]] == recorder.SHAPES
    for shape, *expected in RECORDED[peer]:
        assert list(fans(shape)) == expected
    for owner, shape, *expected in RECORDED["defects"]:
        if owner == peer:
            assert list(fans(shape)) == expected
    if peer == "jax":
        assert [row[0] for row in RECORDED["jax_axes"]] == recorder.AXES
        for case, *expected in RECORDED["jax_axes"]:
            assert list(fans(*case)) == expected


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [row[0] for row in RECORDED["jax_axes"]], ids=str)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg", "fan_geo_avg"])
def test_the_std_is_that_of_a_draw_by_jax(mode, case):
    """The largest of 10^5 uniform values is sqrt(3) std within 1e-3, but for a chance of e^-100."""
    jax = pytest.importorskip("jax")
    shape, axes = axes_of(case)
    # axes of length 1 more, of the batch, so that there are enough values whatever the fans
    copies = -(-100_000 // math.prod(shape))
    in_axis, out_axis, batch = (np.atleast_1d(axis).astype(int) for axis in axes.values())
    n = len(shape)
    axes = dict(
        zip(axes, ([int(a) % n for a in axis] for axis in (in_axis, out_axis, batch)), strict=True)
    ) | {"batch_axis": [*(int(a) % n for a in batch), n]}
    shape = (*shape, copies)
    init = jax.nn.initializers.variance_scaling(1.0, mode, "uniform", **axes)
    largest = float(abs(init(jax.random.key(0), shape)).max())
    std = ic.VarianceScaling(1.0, mode, "uniform").std(shape, layout=Layout(**axes))
    assert largest == pytest.approx(math.sqrt(3) * std, rel=1e-3)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_timm_has_the_fans_of_torch():
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm.layers")
    for shape, *_ in RECORDED["torch"]:
        if math.prod(shape) < 10_000:
            continue
        for mode in ("fan_in", "fan_out", "fan_avg"):
            weight = torch.empty(shape)
            torch.manual_seed(0)
            timm.variance_scaling_(weight, 1.0, mode, "uniform")
            std = ic.VarianceScaling(1.0, mode, "uniform").std(shape, layout="torch")
            assert float(weight.abs().max()) == pytest.approx(math.sqrt(3) * std, rel=1e-3)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_an_axis_named_twice_is_no_error_in_jax():
    """It gives a kernel of 3 / 4 positions, silently."""
    initializers = pytest.importorskip("jax._src.nn.initializers")
    assert initializers._compute_fans((4, 3), 0, 0) == (3.0, 3.0)
    with pytest.raises(ValueError, match=r"axis 0 .* named twice"):
        ic.fans((4, 3), in_axis=0, out_axis=0)


# -- simulations ---------------------------------------------------------------------------------------------


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


# -- properties ----------------------------------------------------------------------------------------------

SIZES = st.integers(1, 12)
SHAPES = st.lists(SIZES, min_size=2, max_size=6)


@given(SHAPES)
def test_torch_is_numpy_with_its_axes_moved(shape):
    outputs, inputs, *kernel = shape
    assert ic.fans(shape, layout="torch") == ic.fans((*kernel, inputs, outputs))


@given(SHAPES)
def test_names_are_axes(shape):
    last = len(shape) - 1
    assert ic.fans(shape) == ic.fans(shape, in_axis=-2, out_axis=-1)
    assert ic.fans(shape) == ic.fans(shape, in_axis=last - 1, out_axis=[last])
    assert ic.fans(shape, layout="torch") == ic.fans(shape, in_axis=1, out_axis=0)
    assert ic.fans(shape, layout="embedding") == ic.fans(shape, batch_axis=0, out_axis=-1)
    assert ic.fans(shape, layout="depthwise") == ic.fans(shape, batch_axis=-2, out_axis=-1)


@given(SHAPES, st.data())
def test_fans_are_products(shape, data):
    """fan_in = inputs * kernel, fan_out = outputs * kernel, over any assignment of roles."""
    role = data.draw(st.lists(st.sampled_from(["in", "out", "batch", "kernel"]), min_size=len(shape)))
    axes = {r: [i for i in range(len(shape)) if role[i] == r] for r in ("in", "out", "batch", "kernel")}
    size = {r: math.prod(shape[i] for i in axis) for r, axis in axes.items()}
    signs = data.draw(st.lists(st.booleans(), min_size=len(shape)))
    given_axes = {
        f"{r}_axis": [i - len(shape) if signs[i] else i for i in axes[r]] for r in ("in", "out", "batch")
    }
    fan_in, fan_out = ic.fans(shape, **given_axes)
    assert (fan_in, fan_out) == (size["in"] * size["kernel"], size["out"] * size["kernel"])
    assert fan_in * size["out"] * size["batch"] == math.prod(shape) == fan_out * size["in"] * size["batch"]
    assert (fan_out, fan_in) == ic.fans(shape, transposed=True, **given_axes)


@given(SHAPES, SIZES, SIZES, st.sampled_from(["numpy", "torch"]))
def test_groups_and_blocks_divide(shape, groups, blocks, axes):
    """A weight of all groups has the fans of one group's, and packed weights those of one."""
    out = 0 if axes == "torch" else -1
    whole = list(shape)
    whole[out] *= groups * blocks
    assert ic.fans(whole, layout=axes, groups=groups, blocks=blocks) == ic.fans(shape, layout=axes)
    # of a transposed convolution, the inputs stand where the outputs stood, and hold all groups
    whole = list(shape)
    whole[out] *= groups
    whole[1 if axes == "torch" else -2] *= blocks
    assert ic.fans(whole, layout=axes, transposed=True, groups=groups, blocks=blocks) == ic.fans(
        shape, layout=axes, transposed=True
    )


@given(SHAPES, st.integers(2, 9))
def test_parts_that_do_not_divide_are_refused(shape, parts):
    assume(shape[-1] % parts)
    for what in ("groups", "blocks"):
        message = rf"{what} = {parts} does not divide axis {len(shape) - 1} \(outputs\) of the shape \("
        with pytest.raises(ValueError, match=message) as error:
            ic.fans(shape, **{what: parts})
        assert str(tuple(shape)) in str(error.value)


AXIS = st.integers(-6, 5)
AXES = st.one_of(AXIS, st.lists(AXIS, max_size=3, unique=True).map(tuple))
PARTS = {"groups": st.integers(1, 2**64 - 1), "transposed": st.booleans(), "blocks": st.integers(1, 9)}
ANY_LAYOUT = st.one_of(
    st.fixed_dictionaries(
        {"axes": st.sampled_from(["numpy", "torch", "embedding", "depthwise"])}, optional=PARTS
    ),
    st.fixed_dictionaries({"in_axis": AXES}, optional={"out_axis": AXES, "batch_axis": AXES, **PARTS}),
)


@given(ANY_LAYOUT, ANY_LAYOUT)
def test_layouts_are_values(arguments, others):
    layout = Layout(**arguments)
    assert eval(repr(layout)) == layout
    assert Layout(**layout.get_config()) == layout
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(layout, protocol)) == layout
    assert copy.copy(layout) == copy.deepcopy(layout) == layout
    assert hash(copy.copy(layout)) == hash(layout)
    other = Layout(**others)
    assert (layout == other) == (layout.get_config() == other.get_config())
    assert layout != "numpy"
    assert len({layout, copy.copy(layout), other}) == (1 if layout == other else 2)


@given(SHAPES, ANY_LAYOUT)
def test_keywords_are_a_layout(shape, arguments):
    """`fans` with keywords or a `Layout` and an initializer's std agree, also in what they refuse."""
    layout = Layout(**arguments)
    keywords = {"layout" if name == "axes" else name: value for name, value in arguments.items()}
    scaling = ic.VarianceScaling(1.0, "fan_in", "normal")
    try:
        expected = layout.fans(shape)
    except ValueError as error:
        refused = re.escape(str(error))
    else:
        refused = None
    if refused is not None:
        for call in (
            lambda: ic.fans(shape, **keywords),
            lambda: ic.fans(shape, layout=layout),
            lambda: scaling.std(shape, layout=layout),
            lambda: scaling(shape, layout=layout, seed=0),
        ):
            with pytest.raises(ValueError, match=refused):
                call()
        return
    assert ic.fans(shape, **keywords) == ic.fans(shape, layout=layout) == expected
    assert scaling.std(shape, layout=layout) == pytest.approx(expected[0] ** -0.5, rel=1e-15)
    geometric = ic.VarianceScaling(1.0, "fan_geo_avg", "normal").std(shape, layout=layout)
    assert geometric == pytest.approx(math.prod(expected) ** -0.25, rel=1e-15)
    squared = ic.VarianceScaling(1.0, "fan_in_squared", "normal").std(shape, layout=layout)
    assert squared == pytest.approx(1 / expected[0], rel=1e-15)


def test_a_layout_is_of_any_form_of_numbers():
    expected = Layout(in_axis=(0, 1), out_axis=(-1,), groups=2)
    for axis in ([0, 1], np.array([0, 1]), range(2), (np.int64(0), np.uint8(1))):
        assert Layout(in_axis=axis, out_axis=-1, groups=np.int32(2)) == expected
    assert repr(expected) == "Layout(in_axis=(0, 1), out_axis=(-1,), batch_axis=(), groups=2)"
    assert repr(Layout("torch", transposed=True)) == "Layout(axes='torch', transposed=True)"
    assert Layout() == Layout("numpy") == Layout(None, groups=None, blocks=None)
    assert Layout().get_config() == {"axes": "numpy"}
    assert ic.fans((7,), in_axis=0) == (7, 1)
    assert ic.fans((7,), out_axis=0) == (1, 7)
    assert ic.fans((), in_axis=()) == (1, 1)
    assert ic.fans((0, 5)) == (0, 5)
    assert ic.fans((6, 0), blocks=3) == (6, 0)


def test_products_beyond_64_bits_are_no_error_of_an_empty_shape():
    assert ic.fans((2**62, 2**62, 0)) == (2**64 - 1, 0)


class Broken:
    def __index__(self):
        raise RuntimeError("broken")


BAD = [
    ((2, 3), {"in_axis": 2, "out_axis": 0}, r"axis 2 is out of bounds for the shape \(2, 3\)"),
    ((2, 3), {"in_axis": 0, "out_axis": -3}, r"axis -3 is out of bounds for the shape \(2, 3\)"),
    ((2, 3), {"batch_axis": [0, 5]}, r"axis 5 is out of bounds for the shape \(2, 3\)"),
    ((), {"in_axis": 0}, r"axis 0 is out of bounds for the shape \(\)"),
    ((2, 3), {"in_axis": 2**63 - 1}, "axis 9223372036854775807 is out of bounds"),
    ((2, 3), {"in_axis": -(2**63)}, "axis -9223372036854775808 is out of bounds"),
    ((2, 3), {"in_axis": 10**30}, "in_axis is out of range: 10{30}"),
    ((2, 3), {"in_axis": 0, "out_axis": 0}, r"axis 0 of the shape \(2, 3\) is named twice"),
    ((2, 3), {"in_axis": 1, "out_axis": -1}, r"axis -1 of the shape \(2, 3\) is named twice"),
    ((2, 3, 4), {"in_axis": (0, -3)}, r"axis -3 of the shape \(2, 3, 4\) is named twice"),
    ((2, 3, 4), {"in_axis": 0, "batch_axis": (1, 0)}, r"axis 0 of the shape \(2, 3, 4\) is named twice"),
    ((5,), {}, r"at least 2 dimensions, got \(5,\)"),
    ((), {"layout": "torch"}, r"at least 2 dimensions, got \(\)"),
    (5, {"layout": "embedding"}, r"at least 2 dimensions, got \(5,\)"),
    ((5,), {"layout": "depthwise"}, r"at least 2 dimensions, got \(5,\)"),
    ((2, 4), {"groups": 0}, "groups must be 1 or more, got 0"),
    ((2, 4), {"blocks": 0}, "blocks must be 1 or more, got 0"),
    ((2, 4), {"groups": -1}, "groups must be 1 or more, got -1"),
    ((2, 4), {"blocks": 2**64}, "blocks must be 1 or more, got 18446744073709551616"),
    ((2, 4), {"groups": 3}, r"groups = 3 does not divide axis 1 \(outputs\) of the shape \(2, 4\)"),
    (
        (6, 2, 5),
        {"layout": "torch", "groups": 4},
        r"groups = 4 does not divide axis 0 \(outputs\) of the shape \(6, 2, 5\)",
    ),
    (
        (6, 2, 5),
        {"layout": "torch", "groups": 4, "transposed": True},
        r"groups = 4 does not divide axis 0 \(inputs\) of the shape \(6, 2, 5\)",
    ),
    (
        (2, 6),
        {"groups": 2, "blocks": 2},
        r"blocks = 2 does not divide axis 1 \(outputs\) of the shape \(2, 6\)",
    ),
    (
        (2, 3),
        {"in_axis": 0, "blocks": 2},
        r"blocks = 2 needs an output axis, and the shape \(2, 3\) has none",
    ),
    (
        (2, 3),
        {"out_axis": 0, "transposed": True, "blocks": 2},
        r"blocks = 2 needs an output axis, and the shape \(2, 3\) has none",
    ),
    (
        (2, 4),
        {"out_axis": 0, "batch_axis": 1, "groups": 2, "transposed": True, "blocks": 1},
        None,
    ),
    ((2, 3), {"layout": "torch", "in_axis": 0}, "by a name or by their numbers, not both"),
    ((2, 3), {"layout": Layout("torch"), "in_axis": 0}, r"Layout\(axes='torch'\) says all there is"),
    ((2, 3), {"layout": Layout(), "in_axis": np.array([0, 1])}, "says all there is"),
    ((2, 3), {"layout": Layout(), "batch_axis": ()}, "says all there is"),
    ((2, 3), {"layout": Layout(), "groups": 3}, "give it alone, or the keywords"),
    ((2, 3), {"layout": Layout(), "transposed": True}, "give it alone"),
    ((2, 3), {"layout": "keras"}, "unknown layout \"keras\": expected 'numpy' .* or a Layout"),
    ((2, -3), {}, "negative dimensions are not allowed, got -3"),
]


@pytest.mark.parametrize(("shape", "arguments", "message"), BAD, ids=range(len(BAD)))
def test_errors_name_the_axis_and_the_shape(shape, arguments, message):
    if message is None:
        assert ic.fans(shape, **arguments) == (1, 1)
        return
    with pytest.raises(ValueError, match=message):
        ic.fans(shape, **arguments)


@pytest.mark.parametrize("axis", ["in_axis", "out_axis", "batch_axis"])
@pytest.mark.parametrize("value", ["0", 1.0, (0, 1.0), [[0]], ("a",), object()], ids=str)
def test_axes_of_the_wrong_type(axis, value):
    with pytest.raises(TypeError, match=f"{axis} must be an integer or several, got"):
        ic.fans((2, 3), **{axis: value})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 1.0}, "groups must be an integer, got 1.0"),
        ({"blocks": "3"}, "blocks must be an integer, got '3'"),
        ({"groups": (2,)}, r"groups must be an integer, got \(2,\)"),
        ({"transposed": "yes"}, "(?s)'str' object is not an instance of 'bool'.*transposed"),
        ({"transposed": 1}, "(?s)'int' object is not an instance of 'bool'.*transposed"),
        ({"layout": 3}, "layout must be a name or a Layout, got int"),
        ({"layout": b"torch"}, "layout must be a name or a Layout, got bytes"),
    ],
    ids=str,
)
def test_other_arguments_of_the_wrong_type(arguments, message):
    with pytest.raises(TypeError, match=message):
        ic.fans((2, 3), **arguments)
    if "layout" in arguments:
        with pytest.raises(TypeError, match=message):
            ic.he_normal((2, 3), **arguments)
        with pytest.raises(TypeError, match="'str'"):
            Layout(*arguments.values())
    else:
        with pytest.raises(TypeError, match=message):
            Layout(**arguments)


def test_errors_of_the_object_itself_pass():
    for arguments in ({"groups": Broken()}, {"in_axis": Broken()}, {"in_axis": [Broken()]}):
        with pytest.raises(RuntimeError, match="broken"):
            ic.fans((2, 3), **arguments)
