"""Fans: beside those of PyTorch, JAX and Keras where these are right, and by their properties and refusals.

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
