"""initcore.torch.init beside torch.nn.init: the same names, signatures, returns, errors and laws.

Laws are compared on samples of 2^17 values: means to 9 standard errors (3.5 % of a standard deviation),
standard deviations to 9 of theirs (2.5 %). Each fails by chance less than once in 10^18; seeds are fixed.
"""

import inspect
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import init as theirs

import initcore as ic
from initcore.torch import init as ours

NAMES = [name for name in theirs.__all__ if name.endswith("_")]
ALIASES = sorted(set(theirs.__all__) - set(NAMES) - {"calculate_gain"})
#: Arguments of those that need some.
REQUIRED = {"constant_": (0.5,), "sparse_": (0.3,)}
NOT_DRAWN = {"constant_", "ones_", "zeros_", "eye_", "dirac_"}


def shape_for(name):
    return (6, 4, 3) if name == "dirac_" else (6, 4)


def call(function, /, **options):
    """Call one of our functions, with the arguments that it needs."""
    tensor = torch.full(shape_for(function), 7.0)
    return getattr(ours, function)(tensor, *REQUIRED.get(function, ()), **options)


def test_the_names_are_the_same():
    assert set(ours.__all__) == set(theirs.__all__)
    assert set(ours.__all__) < set(ic.torch.__all__)
    for name in ours.__all__:
        assert getattr(ic.torch, name) is getattr(ours, name)


@pytest.mark.parametrize("name", [*NAMES, "calculate_gain"])
def test_signatures_are_the_same_but_for_three_keywords(name):
    def parameters(module):
        found = inspect.signature(getattr(module, name)).parameters.values()
        return [(p.name, p.kind, p.default) for p in found]

    more = [(word, inspect.Parameter.KEYWORD_ONLY, None) for word in ("seed", "name", "num_threads")]
    assert parameters(ours) == parameters(theirs) + (more if name in NAMES else [])


@pytest.mark.parametrize("name", NAMES)
def test_the_tensor_is_returned(name):
    for tensor in [torch.empty(shape_for(name)), torch.nn.Parameter(torch.empty(shape_for(name)))]:
        assert getattr(ours, name)(tensor, *REQUIRED.get(name, ())) is tensor
        assert tensor.grad_fn is None


@pytest.mark.parametrize("name", NAMES)
def test_documentation_names_every_parameter(name):
    documented = getattr(ours, name).__doc__
    for parameter in inspect.signature(getattr(ours, name)).parameters:
        assert parameter in documented
    assert "..." not in documented


# Errors and warnings

NAN, INF = math.nan, math.inf
ARGUMENTS = {
    "uniform_": [
        *[(1, 0), (NAN, 1), (0, INF), (-INF, 0), (0, 0), ("a", 1), (None, 1), (0, 1j), (True, 2)],
        *[(-3e38, 3e38), (0, 1e39), (torch.tensor(0.0), 1), (0, 1, "a")],
    ],
    "normal_": [(0, -1), (0, NAN), ("a", 1), (None,), (0, 0), (0, 1j), (0, 1, 3)],
    "trunc_normal_": [
        *[(0, 1, 2, 1), (0, 1, 1, 1), (0, 1, NAN, 1), (0, 1, -INF, INF), (0, 1, INF, INF)],
        *[(5, 1), (-5, 1), (0, 1, 3, 4), (0, 1, -1, 2), (0, 1, "a", 2), (0, 1, -1e39, 1e39)],
    ],
    "constant_": [(NAN,), (INF,), (True,), (3,), ("a",), (None,), (1e300,)],
    "ones_": [(), (1,)],
    "zeros_": [(), (1,)],
    "xavier_uniform_": [(0,), (2,), (-1,), (NAN,), (INF,), ("a",), (1e300,)],
    "xavier_normal_": [(0,), (2,), (-1,), (NAN,), ("a",)],
    "orthogonal_": [(0,), (-1,), ("a",), (None,)],
    "sparse_": [(0.0,), (1.0,), (NAN,), (0.3, -1), (0.3, NAN), (0.3, 0.0), ("a",)],
    "eye_": [(), (1,)],
    "dirac_": [(), (2,), (6,), (4,), ("a",), (1.0,)],
}
for kaiming in ("kaiming_uniform_", "kaiming_normal_"):
    ARGUMENTS[kaiming] = [(), (0.2,), (-1,), (NAN,), ("a",), (True,), (None,), (0, "fan_avg"), (0, "FAN_OUT")]
    ARGUMENTS[kaiming] += [(0, 1), (0, "fan_in", "gelu"), (0, "fan_in", "Relu"), ("a", "fan_in", "relu")]
    ARGUMENTS[kaiming] += [(0, "fan_out", kind) for kind in ("selu", "tanh", "linear", "sigmoid", "conv2d")]

TENSORS = {
    "a number": lambda: torch.empty(()),
    "a vector": lambda: torch.empty(3),
    "three axes": lambda: torch.empty(4, 2, 3),
    "six axes": lambda: torch.empty(1, 2, 1, 2, 1, 2),
    "no rows": lambda: torch.empty(0, 4),
    "no columns": lambda: torch.empty(4, 0),
    "no inputs": lambda: torch.empty(2, 0, 3),
    "an empty vector": lambda: torch.empty(0),
    "meta": lambda: torch.empty(6, 4, device="meta"),
    "a meta vector": lambda: torch.empty(3, device="meta"),
    "float64": lambda: torch.empty(6, 4, dtype=torch.float64),
    "bfloat16": lambda: torch.empty(6, 4, dtype=torch.bfloat16),
    "a transposed one": lambda: torch.empty(4, 6).t(),
}


def outcome(function, *arguments):
    """The error, if any, and the categories of warnings with the files that they point to."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            function(*arguments)
            error = None
        except Exception as found:  # noqa: BLE001  any is compared
            error = found
    return error, [(warning.category, warning.filename) for warning in seen]


def check_outcome(name, make, arguments):
    their_error, their_warnings = outcome(getattr(theirs, name), make(), *arguments)
    error, found = outcome(getattr(ours, name), make(), *arguments)
    if their_error is None:
        assert error is None, repr(error)
    else:
        assert isinstance(error, type(their_error)), (repr(error), repr(their_error))
    assert [category for category, _ in found] == [category for category, _ in their_warnings]
    assert all(filename == __file__ for _, filename in found)


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, arguments) for name, listed in ARGUMENTS.items() for arguments in listed]
)
def test_arguments_are_accepted_and_refused_alike(name, arguments):
    check_outcome(name, lambda: torch.empty(shape_for(name)), arguments)


def test_all_functions_are_tried():
    assert set(ARGUMENTS) == set(NAMES)


@pytest.mark.parametrize(
    ("name", "tensor"),
    # PyTorch has no orthogonal matrices in sixteen bits; those of this library have a test below
    [(name, tensor) for name in NAMES for tensor in TENSORS if (name, tensor) != ("orthogonal_", "bfloat16")],
)
def test_tensors_are_accepted_and_refused_alike(name, tensor):
    check_outcome(name, TENSORS[tensor], REQUIRED.get(name, ()))


finite = st.floats(-100, 100)
scalars = st.one_of(finite, st.sampled_from([0, 1, -1, 0.5]))


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.data())
def test_finite_arguments_of_any_size_are_accepted_and_refused_alike(data):
    name = data.draw(st.sampled_from(["uniform_", "normal_", "xavier_uniform_", "orthogonal_", "constant_"]))
    count = {"uniform_": 2, "normal_": 2}.get(name, 1)
    arguments = data.draw(st.tuples(*[scalars] * count))
    shape = data.draw(st.lists(st.integers(0, 5), min_size=2, max_size=4).filter(any))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    check_outcome(name, lambda: torch.empty(shape, dtype=dtype), arguments)


#: Where PyTorch goes wrong, or on with what has no sense: what is called, what comes of it here and there.
DIFFERENT = {
    "infinite mean": ("normal_", (INF,), ValueError, None),
    "no mean": ("normal_", (NAN,), ValueError, None),
    "infinite std": ("normal_", (0, INF), ValueError, None),
    "negative std": ("trunc_normal_", (0, -1), ValueError, None),
    "no std": ("trunc_normal_", (0, 0), None, ZeroDivisionError),
    "infinite gain": ("xavier_normal_", (INF,), ValueError, None),
    "infinite slope": ("kaiming_normal_", (INF,), ValueError, None),
    "no length": ("orthogonal_", (NAN,), ValueError, None),
    "more zeros than values": ("sparse_", (1.5,), ValueError, None),
    "fewer zeros than none": ("sparse_", (-0.5,), ValueError, None),
    "no groups": ("dirac_", (0,), ValueError, ZeroDivisionError),
    "fewer groups than none": ("dirac_", (-1,), ValueError, None),
    "complex": ("constant_", (1j,), TypeError, RuntimeError),
}


@pytest.mark.parametrize("difference", DIFFERENT)
def test_the_differences_that_are_left(difference):
    name, arguments, expected, their_expected = DIFFERENT[difference]
    tensor = torch.full(shape_for(name), 7.0)
    error, _ = outcome(getattr(ours, name), tensor, *arguments)
    their_error, _ = outcome(getattr(theirs, name), torch.empty(shape_for(name)), *arguments)
    assert isinstance(error, expected or type(None))
    assert isinstance(their_error, their_expected or type(None))
    assert error is None or (tensor == 7).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64, torch.float8_e4m3fn])
def test_other_dtypes_are_refused(name, dtype):
    with pytest.raises(TypeError, match=f"got {dtype}"):
        getattr(ours, name)(torch.zeros(shape_for(name)).to(dtype), *REQUIRED.get(name, ()))


def test_no_fans_at_all_are_no_error():
    with pytest.raises(ZeroDivisionError):
        theirs.xavier_normal_(torch.empty(0, 0))
    assert ours.xavier_normal_(torch.empty(0, 0)).shape == (0, 0)


@pytest.mark.parametrize("error", [ValueError, RuntimeError])
def test_errors_are_of_both_families(error):
    with pytest.raises(error, match="std must be >= 0, got -1"):
        ours.normal_(torch.empty(3), 0, -1)
    with pytest.raises(error, match=r"got shape \(3,\)"):
        ours.eye_(torch.empty(3))


def test_words_of_errors_and_warnings():
    with pytest.warns(UserWarning, match="exactly those of a tail"):
        ours.trunc_normal_(torch.empty(3), 5.0)
    with pytest.warns(UserWarning, match="without elements is left as it is"):
        ours.kaiming_normal_(torch.empty(0, 3))
    with pytest.raises(ValueError, match="mode must be 'fan_in' or 'fan_out', got 'fan_avg'"):
        ours.kaiming_normal_(torch.empty(2, 3), mode="fan_avg")
    with pytest.raises(ValueError, match=r"expected a tensor of 3 or 4 or 5 dimensions, got shape \(2, 3\)"):
        ours.dirac_(torch.empty(2, 3))
    with pytest.raises(ValueError, match="a seed or a generator, not both"):
        ours.normal_(torch.empty(3), seed=0, generator=torch.Generator())


@pytest.mark.parametrize("alias", ALIASES)
def test_names_of_old_warn_and_work(alias):
    tensor = torch.empty(shape_for(f"{alias}_"))
    arguments = REQUIRED.get(f"{alias}_", ())
    _, their_warnings = outcome(getattr(theirs, alias), torch.empty(shape_for(f"{alias}_")), *arguments)
    error, found = outcome(lambda: getattr(ours, alias)(tensor, *arguments, seed=3))
    assert error is None
    assert found == their_warnings == [(FutureWarning, __file__)]
    assert torch.equal(tensor, call(f"{alias}_", seed=3))
    assert getattr(ours, alias).__name__ == alias


@pytest.mark.parametrize("nonlinearity", theirs._NonlinearityType.__args__)
def test_gains(nonlinearity):
    for param in [None, 0, 0.2, -3, 1.5, NAN, INF]:
        expected = theirs.calculate_gain(nonlinearity, param)
        assert ours.calculate_gain(nonlinearity, param) == expected or math.isnan(expected)


@pytest.mark.parametrize("module", [ours, theirs])
def test_gains_that_there_are_not(module):
    for arguments in [("gelu",), ("ReLU",), ("leaky_relu", "a"), ("leaky_relu", True), ("leaky_relu(0.2)",)]:
        with pytest.raises(ValueError, match=r"gelu|ReLU|leaky|number"):
            module.calculate_gain(*arguments)


SEEDED = {
    "uniform_": ((-1.0, 2.0), ic.Uniform(-1.0, 2.0)),
    "normal_": ((0.5, 0.02), ic.Normal(0.5, 0.02)),
    "trunc_normal_": ((0.1, 1.0, -0.5, 2.0), ic.TruncatedNormal(0.1, 1.0, -0.5, 2.0, bounds="absolute")),
    "constant_": ((0.5,), "constant(0.5)"),
    "ones_": ((), "ones"),
    "zeros_": ((), "zeros"),
    "eye_": ((), "eye"),
    "dirac_": ((), "dirac(center='upper')"),
    "xavier_uniform_": ((), "xavier_uniform"),
    "xavier_normal_": ((2.0,), "xavier_normal(2.0)"),
    "kaiming_uniform_": ((0.1,), "he_uniform(negative_slope=0.1)"),
    "kaiming_normal_": ((0, "fan_out", "relu"), "he_normal(mode='fan_out')"),
    "orthogonal_": ((1.5,), "orthogonal(1.5)"),
    "sparse_": ((0.3, 0.1), "sparse(0.3, std=0.1)"),
}


@pytest.mark.parametrize("name", NAMES)
def test_with_a_seed_values_are_those_of_the_initializer(name):
    arguments, init = SEEDED[name]
    for shape in [shape_for(name), *([(4, 3, 5, 2)] if name not in {"eye_", "sparse_"} else [])]:
        tensor = getattr(ours, name)(torch.empty(shape), *arguments, seed=7, name="w", num_threads=1)
        made = ic.get(init)(shape, seed=7, name="w", layout="torch")
        assert torch.equal(tensor, torch.from_numpy(made))


@pytest.mark.parametrize(
    ("nonlinearity", "init"),
    [
        ("relu", ic.get("he_normal")),
        ("leaky_relu", ic.get("he_normal")),
        ("linear", ic.get("lecun_normal")),
        ("selu", ic.get("lecun_normal").scaled(0.75)),
        ("tanh", ic.get("lecun_normal").scaled(5 / 3)),
    ],
)
def test_kaiming_is_he_or_lecun_with_a_gain(nonlinearity, init):
    tensor = ours.kaiming_normal_(torch.empty(6, 4), nonlinearity=nonlinearity, seed=7)
    assert torch.equal(tensor, torch.from_numpy(init((6, 4), seed=7, layout="torch")))


def test_a_leaky_relu_without_a_slope_has_that_of_pytorch():
    tensors = [ours.kaiming_normal_(torch.empty(6, 4), slope, seed=7) for slope in (None, 0.01, 0.0)]
    assert torch.equal(tensors[0], tensors[1])
    assert not torch.equal(tensors[0], tensors[2])


@pytest.mark.parametrize("name", sorted(set(NAMES) - NOT_DRAWN))
def test_without_a_seed_the_generator_governs(name):
    def drawn(*seeds, **options):
        torch.manual_seed(seeds[0])
        return call(name, **options)

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))
    assert not torch.equal(drawn(0), call(name))  # each call a new one
    assert not torch.equal(drawn(0), drawn(0, name="another"))

    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert torch.equal(drawn(0), call(name, generator=generator))
    torch.manual_seed(5)
    call(name, seed=0)
    call(name, generator=generator)
    assert torch.equal(before, torch.get_rng_state())  # the default generator is not touched


@pytest.mark.parametrize("name", sorted(NOT_DRAWN))
def test_constants_draw_nothing(name):
    before = torch.get_rng_state()
    assert torch.equal(call(name), call(name, seed=3))
    assert torch.equal(before, torch.get_rng_state())


def test_all_64_bits_of_a_seed_are_drawn():
    """Each bit is 0 in some of 64 seeds and 1 in others; by chance it is not once in 2^57."""
    from initcore.torch.drawing import _draw_seed

    generator = torch.Generator().manual_seed(0)
    seeds = [_draw_seed(torch.empty(1), generator) for _ in range(64)]
    assert min(seeds) >= 0
    assert np.bitwise_or.reduce(np.array(seeds, np.uint64)) == 2**64 - 1
    assert np.bitwise_and.reduce(np.array(seeds, np.uint64)) == 0


@pytest.mark.parametrize("name", NAMES)
def test_tensors_without_memory_are_left_and_nothing_is_drawn(name):
    before = torch.get_rng_state()
    arguments = REQUIRED.get(name, ())
    tensor = torch.empty(shape_for(name), device="meta")
    assert getattr(ours, name)(tensor, *arguments) is tensor
    with FakeTensorMode():
        tensor = torch.empty(shape_for(name))
        assert getattr(ours, name)(tensor, *arguments) is tensor
    assert torch.equal(before, torch.get_rng_state())


shapes = st.lists(st.integers(0, 7), min_size=2, max_size=2)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    shapes, st.floats(-100, 100, width=16), st.sampled_from([torch.float32, torch.bfloat16]), st.booleans()
)
def test_patterns_of_matrices(shape, value, dtype, transposed):
    def make():
        tensor = torch.full(shape[::-1] if transposed else shape, 7.0, dtype=dtype)
        return tensor.t() if transposed else tensor

    for name, arguments in [("eye_", ()), ("ones_", ()), ("zeros_", ()), ("constant_", (value,))]:
        assert torch.equal(getattr(ours, name)(make(), *arguments), getattr(theirs, name)(make(), *arguments))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), st.integers(1, 4), st.integers(1, 3))
def test_patterns_of_kernels(sizes, groups, outputs):
    shape = [outputs * groups, *sizes]
    assert torch.equal(ours.dirac_(torch.full(shape, 7.0), groups), theirs.dirac_(torch.empty(shape), groups))


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.integers(1, 20), st.integers(1, 6), st.floats(0, 1))
def test_sparse_has_as_many_zeros_in_each_column(rows, columns, sparsity):
    theirs_is = theirs.sparse_(torch.empty(rows, columns), sparsity, 1.0)
    ours_is = ours.sparse_(torch.empty(rows, columns), sparsity, 1.0)
    assert torch.equal((ours_is == 0).sum(0), (theirs_is == 0).sum(0))


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(st.integers(1, 7), min_size=2, max_size=4), st.floats(-2, 2))
def test_orthogonal_on_the_same_side(shape, gain):
    """Rows where they are fewer, else columns; to a few roundings of sums of at most 343 terms."""
    for module in (ours, theirs):
        matrix = module.orthogonal_(torch.empty(shape, dtype=torch.float64), gain).flatten(1)
        if matrix.shape[0] >= matrix.shape[1]:
            matrix = matrix.T
        expected = gain**2 * torch.eye(matrix.shape[0], dtype=torch.float64)
        torch.testing.assert_close(matrix @ matrix.T, expected, rtol=0, atol=1e-12)


def test_orthogonal_in_sixteen_bits():
    with pytest.raises(RuntimeError):
        theirs.orthogonal_(torch.empty(32, 8, dtype=torch.bfloat16))
    matrix = ours.orthogonal_(torch.empty(32, 8, dtype=torch.bfloat16), seed=0)
    assert torch.equal(matrix, ours.orthogonal_(torch.empty(32, 8), seed=0).bfloat16())


LAWS = [
    ("uniform_", (-1.0, 3.0)),
    ("normal_", (0.5, 0.02)),
    ("trunc_normal_", (0.0, 1.0, -2.0, 2.0)),
    ("trunc_normal_", (0.5, 1.0, -1.0, 0.7)),
    ("trunc_normal_", (0.0, 0.02)),
    ("xavier_uniform_", (1.7,)),
    ("xavier_normal_", ()),
    *[
        (f"kaiming_{family}_", arguments)
        for family in ("uniform", "normal")
        for arguments in [(), (0.3,), (0, "fan_out", "relu"), (0, "fan_in", "tanh"), (0, "fan_in", "linear")]
    ],
    ("orthogonal_", (2.0,)),
]


@pytest.mark.parametrize(("name", "arguments"), LAWS)
@pytest.mark.parametrize("shape", [(512, 256), (64, 128, 4, 4)], ids=str)
def test_the_law_is_the_same(name, arguments, shape):
    generator = torch.Generator().manual_seed(0)
    mine = getattr(ours, name)(torch.empty(shape), *arguments, seed=1).double()
    other = getattr(theirs, name)(torch.empty(shape), *arguments, generator=generator).double()
    n, std = other.numel(), other.std()
    # Fourth moments are at most 3 std^4 here, so that of the variance is within sqrt(2 / n) of std^2.
    assert abs(mine.mean() - other.mean()) < 9 * std * math.sqrt(2 / n)
    assert abs(mine.std() / std - 1) < 9 * math.sqrt(1 / n)
    width = other.max() - other.min()
    if width < 6 * std:  # bounds: both come as near as 1 / 1000, or not once in e^29
        assert abs(mine.min() - other.min()) < width / 1000
        assert abs(mine.max() - other.max()) < width / 1000


def test_bounds_hold_in_sixteen_bits():
    for dtype in (torch.float16, torch.bfloat16):
        tensor = ours.trunc_normal_(torch.empty(512, 256, dtype=dtype), 0.0, 1.0, -0.3, 0.7, seed=0)
        assert tensor.double().min() >= -0.3
        assert tensor.double().max() <= 0.7


def test_copies_of_pytorchs_layers_find_the_functions_that_they_call():
    for shape in [(6, 4), (6, 4, 3), (6, 4, 3, 2)]:
        tensor = torch.empty(shape)
        assert ours._calculate_fan_in_and_fan_out(tensor) == theirs._calculate_fan_in_and_fan_out(tensor)
        for mode in ("fan_in", "FAN_OUT"):
            assert ours._calculate_correct_fan(tensor, mode) == theirs._calculate_correct_fan(tensor, mode)
    for module in (ours, theirs):
        with pytest.raises(ValueError, match="2"):
            module._calculate_fan_in_and_fan_out(torch.empty(3))
        with pytest.raises(ValueError, match="avg"):
            module._calculate_correct_fan(torch.empty(3, 2), "fan_avg")


@pytest.mark.parametrize("name", ["kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "zeros_"])
def test_what_is_no_tensor(name):
    with pytest.raises(TypeError, match=r"expected a torch.Tensor, got list"):
        getattr(ours, name)([1.0, 2.0], seed=0)
