"""Arguments of the initializers: what is refused, before anything is written, and what works as in NumPy."""

import copy
import inspect
import pickle
import threading
import time

import numpy as np
import pytest

import initcore as ic
from initcore import _core, initializers
from initcore.initializers.fan_scaled import ALIASES

NAN, INF = float("nan"), float("inf")


def f4(*shape):
    return np.full(shape, 7, np.float32)


def read_only():
    array = f4(3)
    array.flags.writeable = False
    return array


class Broken:
    def __index__(self):
        raise RuntimeError("broken")


BAD = [
    # shapes
    (lambda: ic.normal((2, -1)), ValueError, "negative dimensions are not allowed, got -1"),
    (lambda: ic.normal(-3), ValueError, "negative dimensions"),
    (lambda: ic.normal((2**40, 2**40)), ValueError, "too big"),
    (lambda: ic.normal(2**63), ValueError, "too large"),
    (lambda: ic.normal(10**13), MemoryError, "Unable to allocate"),
    (lambda: ic.normal((2.5, 2)), TypeError, "shape must be an integer or a sequence"),
    (lambda: ic.normal("ab"), TypeError, "shape must be"),
    (lambda: ic.normal({2, 3}), TypeError, "shape must be"),
    (lambda: ic.normal({2: 3}), TypeError, "shape must be"),
    (lambda: ic.normal(iter([2, 3])), TypeError, "shape must be"),
    (lambda: ic.normal((10**50,)), ValueError, "is too large"),
    (lambda: ic.normal(Broken()), RuntimeError, "broken"),
    (lambda: ic.normal(None), TypeError, "shape must be"),
    (lambda: ic.he_normal((5,)), ValueError, r"at least 2 dimensions, got \(5,\)"),
    (lambda: ic.xavier_uniform(()), ValueError, r"at least 2 dimensions, got \(\)"),
    (lambda: ic.lecun_normal(5), ValueError, "at least 2 dimensions"),
    (lambda: ic.fans((5,)), ValueError, "at least 2 dimensions"),
    (lambda: ic.get("he_normal").std((0, 5)), ValueError, r"fan_in of shape \(0, 5\) is 0"),
    (lambda: ic.normal((0, 2**40, 2**40)), ValueError, "too big"),
    # names
    (lambda: ic.VarianceScaling(1.0, "fan_sum", "normal"), ValueError, 'unknown mode "fan_sum"'),
    (lambda: ic.VarianceScaling(1.0, "fan_in", "cauchy"), ValueError, "unknown distribution"),
    (lambda: ic.he_normal((3, 3), layout="keras"), ValueError, 'unknown layout "keras"'),
    (lambda: ic.normal(3, layout="keras"), ValueError, 'unknown layout "keras"'),
    (lambda: ic.get("he_norml"), ValueError, "unknown initializer 'he_norml': expected one of"),
    (lambda: ic.get("normal(1"), ValueError, "cannot read the initializer"),
    (lambda: ic.get("normal(x)"), ValueError, "cannot read the initializer"),
    (lambda: ic.get("zeros(1)"), ValueError, "wrong arguments"),
    (lambda: ic.get(f"normal({10**400})"), ValueError, "wrong arguments"),
    (lambda: ic.get("constant"), ValueError, "wrong arguments"),
    (lambda: ic.get("normal(0, 0.02)"), ValueError, "wrong arguments"),  # mean and std in PyTorch
    (lambda: ic.get("truncated_normal(0, 0.02)"), ValueError, "wrong arguments"),
    (lambda: ic.get(3), TypeError, "a name or an Initializer, got int"),
    (lambda: ic.normal(3, name=5), TypeError, "name"),
    (lambda: ic.normal(3, sigma=1), TypeError, "unexpected keyword argument 'sigma'"),
    (lambda: ic.normal(3, 0.0), TypeError, "positional"),
    # dtypes
    (lambda: ic.normal(3, dtype="int32"), TypeError, "dtype must be float32, float64, float16 or bfloat16"),
    (
        lambda: ic.normal(3, dtype="complex64"),
        TypeError,
        "dtype must be float32, float64, float16 or bfloat16",
    ),
    (lambda: ic.normal(3, dtype="quad"), TypeError, "not understood"),
    # seeds
    (lambda: ic.normal(3, seed=-1), ValueError, r"seed must be in \[0, 2\*\*64\), got -1"),
    (lambda: ic.normal(3, seed=2**64), ValueError, "got 18446744073709551616"),
    (lambda: ic.normal(3, seed=1.5), TypeError, "seed must be an integer"),
    (lambda: ic.normal(3, seed="0"), TypeError, "got str"),
    (lambda: ic.normal(3, seed=10**50), ValueError, "seed must be in"),
    (lambda: ic.normal(3, seed=np.array([1, 2])), TypeError, "got ndarray"),
    (lambda: ic.normal(3, seed=Broken()), RuntimeError, "broken"),
    (lambda: ic.normal(3, seed=np.random.default_rng(0)), TypeError, "a Generator is not taken"),
    # parameters
    (lambda: ic.normal(3, std=-1), ValueError, "std must be >= 0, got -1"),
    (lambda: ic.normal(3, std=NAN), ValueError, "std must be >= 0, got NaN"),
    (lambda: ic.normal(3, std=INF), ValueError, "std must be finite"),
    (lambda: ic.normal(3, mean=NAN), ValueError, "mean must be finite"),
    (lambda: ic.normal(3, std=1e38), ValueError, "does not fit float32"),
    (lambda: ic.normal(3, std="1"), TypeError, "std"),
    (lambda: ic.uniform(3, low=1, high=0), ValueError, "low must not be above high"),
    (lambda: ic.uniform(3, low=-INF), ValueError, "low must be finite"),
    (lambda: ic.uniform(3, low=-1e308, high=1e308), ValueError, "high - low must be finite"),
    (lambda: ic.uniform(3, high=1e39), ValueError, "does not fit float32"),
    (lambda: ic.uniform(3, low=16777217.0, high=16777217.5), ValueError, "no float32 lies in"),
    (lambda: ic.truncated_normal(3, low=2, high=2), ValueError, "low must be below high"),
    (lambda: ic.truncated_normal(3, low=NAN), ValueError, "low must be below high"),
    (lambda: ic.truncated_normal(3, low=1e300, std=1e10), ValueError, "low must be below high"),
    (lambda: ic.truncated_normal(3, low=1e300, high=INF, std=1e10), ValueError, "must be finite, got inf"),
    (
        lambda: ic.truncated_normal(3, bounds="value"),
        ValueError,
        'unknown bounds "value": expected one of sigma',
    ),
    (lambda: ic.truncated_normal(3, std=-1), ValueError, "std must be >= 0"),
    (lambda: ic.constant(3, 1e39), ValueError, "value = 1e39 does not fit float32"),
    (lambda: ic.constant(3), TypeError, "value"),
    (lambda: ic.VarianceScaling(-1.0), ValueError, "scale must be finite and >= 0"),
    (lambda: ic.VarianceScaling(NAN), ValueError, "scale must be finite"),
    (lambda: ic.he_normal((3, 3), gain=-1), ValueError, "gain must be finite and >= 0"),
    (lambda: ic.he_normal((3, 3), gain=NAN), ValueError, "gain must be finite"),
    (lambda: ic.he_normal((3, 3), gain=1e200), ValueError, "gain = 1e200 .* out of range"),
    (lambda: ic.he_normal((3, 3), gain=1e-200), ValueError, "gain = 1e-200 .* out of range"),
    (lambda: ic.he_normal((3, 3), negative_slope=INF), ValueError, "negative_slope must be finite"),
    # index
    (lambda: ic.normal((3, 3), index=3), IndexError, "index 3 is out of bounds for axis 0"),
    (lambda: ic.normal((3, 3), index=(0, -4)), IndexError, "index -4 is out of bounds for axis 1"),
    (lambda: ic.normal((3, 3), index=(0, 0, 0)), IndexError, "too many indices"),
    (lambda: ic.normal((3, 3), index=(..., ...)), IndexError, "single ellipsis"),
    (lambda: ic.normal((3, 3), index=True), TypeError, "got bool"),
    (lambda: ic.normal((3, 3), index=np.s_[::0]), ValueError, "slice step cannot be zero"),
    (lambda: ic.normal((3, 3), index=1.0), TypeError, "got float"),
    (lambda: ic.normal((3, 3), index=10**50), IndexError, "out of bounds"),
    (lambda: ic.normal((3, 3), index=Broken()), RuntimeError, "broken"),
    # out
    (lambda: ic.normal(3, out=[0, 0, 0]), TypeError, "out must be a numpy.ndarray, got list"),
    (lambda: ic.normal(3, out=f4(4)), ValueError, r"out has shape \(4,\), expected \(3,\)"),
    (lambda: ic.normal((3, 3), out=f4(3), index=np.s_[:2, 0]), ValueError, r"expected \(2,\)"),
    (
        lambda: ic.normal(3, out=np.zeros(3, int)),
        TypeError,
        "out must be a float32, float64, float16 or bfloat16 array",
    ),
    (lambda: ic.normal(3, out=f4(3), dtype="float64"), TypeError, "out has dtype float32"),
    (lambda: ic.normal(3, out=read_only()), ValueError, "out cannot be written to"),
    (lambda: ic.normal(3, out=np.broadcast_to(f4(1), 3)), ValueError, "read-only"),
    (
        lambda: ic.normal((2, 2), out=np.lib.stride_tricks.as_strided(f4(3), (2, 2), (4, 4), writeable=True)),
        ValueError,
        "share memory",
    ),
    # threads
    (lambda: ic.normal(3, num_threads=0), ValueError, "num_threads must be from 1"),
    (lambda: ic.normal(3, num_threads=-1), ValueError, "num_threads must be from 1 to 1024, got -1"),
    (lambda: ic.normal(3, num_threads=10**6), ValueError, "num_threads must be from 1"),
    (lambda: ic.normal(3, num_threads=10**50), ValueError, "num_threads must be from 1"),
    (lambda: ic.normal(3, num_threads=1.0), TypeError, "num_threads must be an integer, got 1.0"),
    (lambda: ic.set_num_threads(0), ValueError, "num_threads must be from 1"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    "arguments",
    [
        {"std": NAN},
        {"seed": -1},
        {"dtype": "float64"},
        {"index": 0},
        {"num_threads": 0},
        {"layout": "x"},
        {"std": 1e38},
    ],
    ids=str,
)
def test_an_error_leaves_out_untouched(arguments):
    out = f4(3)
    with pytest.raises((ValueError, TypeError)):
        ic.normal(3, out=out, **arguments)
    assert (out == 7).all()


@pytest.mark.parametrize("shape", [0, (0,), (0, 3), (3, 0), (2, 0, 5)], ids=str)
def test_empty_arrays(shape):
    expected = np.empty(shape, np.float32)
    for make in (ic.zeros, ic.normal, ic.uniform, ic.truncated_normal):
        np.testing.assert_array_equal(make(shape), expected, strict=True)
    if np.ndim(expected) > 1:
        for make in (ic.he_normal, ic.xavier_uniform, ic.lecun_truncated_normal):
            np.testing.assert_array_equal(make(shape), expected, strict=True)


def test_shapes_as_numpy_takes_them():
    expected = ic.normal((2, 3), seed=0)
    for shape in ([2, 3], np.array([2, 3]), (np.int64(2), np.uint8(3)), range(2, 4)):
        np.testing.assert_array_equal(ic.normal(shape, seed=0), expected)
    assert ic.normal(5).shape == (5,)
    scalar = ic.normal(())
    assert isinstance(scalar, np.ndarray)
    assert scalar.shape == ()


def test_out_is_written_and_returned():
    for dtype in (np.float32, np.float64):
        out = np.empty((40, 50), dtype)
        assert ic.he_normal((40, 50), seed=1, out=out) is out
        np.testing.assert_array_equal(out, ic.he_normal((40, 50), seed=1, dtype=dtype))
    block = f4(4, 3)
    ic.normal((2, 3), seed=1, out=block[1:3])  # a contiguous part of something larger
    np.testing.assert_array_equal(block[1:3], ic.normal((2, 3), seed=1))
    assert (block[[0, 3]] == 7).all()


def test_constants():
    np.testing.assert_array_equal(ic.zeros((2, 3)), np.zeros((2, 3), np.float32), strict=True)
    np.testing.assert_array_equal(ic.ones(4, dtype="f8"), np.ones(4), strict=True)
    np.testing.assert_array_equal(ic.constant(3, -2.5), np.full(3, -2.5, np.float32), strict=True)
    np.testing.assert_array_equal(ic.normal(9, mean=3, std=0), np.full(9, 3, np.float32))
    np.testing.assert_array_equal(ic.uniform(9, low=2, high=2), np.full(9, 2, np.float32))


def test_every_name_has_its_function_and_object():
    """The table in Rust, the functions in Python and the names that `get` knows are one list."""
    for name, (scale, mode, distribution) in _core.schemes():
        init = ic.VarianceScaling(scale, mode, distribution)
        names = [name]
        for root, alias in ALIASES.items():
            if name.startswith(root + "_"):
                names.append(name.replace(root, alias, 1))
        for known in names:
            assert ic.get(known) == init
            function = getattr(ic, known)
            np.testing.assert_array_equal(function((5, 6), seed=1), init((5, 6), seed=1))
            assert known in ic.__all__
    for name in initializers.SCHEMES:
        assert callable(getattr(ic, name))
    for name in ic.__all__:
        assert getattr(ic, name) is not None


def test_gain_and_slope():
    shape = (30, 40)
    one = ic.he_normal(shape, seed=0, dtype="float64")
    two = ic.he_normal(shape, seed=0, dtype="float64", gain=2.0)
    leaky = ic.he_normal(shape, seed=0, dtype="float64", negative_slope=0.5)
    np.testing.assert_allclose(two, 2 * one, rtol=1e-14)
    np.testing.assert_allclose(leaky, one / np.sqrt(1.25), rtol=1e-14)
    xavier = ic.xavier_uniform(shape, seed=0, dtype="float64", gain=5 / 3)
    np.testing.assert_allclose(xavier, 5 / 3 * ic.xavier_uniform(shape, seed=0, dtype="float64"))
    assert not ic.xavier_normal(shape, gain=0.0).any()


def test_initializers_are_values():
    inits = [
        ic.Constant(2.0),
        ic.Uniform(-1.0, 2.0),
        ic.Normal(0.5, 2.0),
        ic.TruncatedNormal(0.0, 1.0, -1.0, INF),
        ic.VarianceScaling(2.0, "fan_out", "uniform"),
    ]
    for init in inits:
        assert type(init)(**init.get_config()) == init
        assert pickle.loads(pickle.dumps(init)) == init
        assert copy.deepcopy(init) == init
        assert hash(copy.copy(init)) == hash(init)
        assert ic.get(init) is init
        assert isinstance(init, ic.Initializer)
        assert [other == init for other in inits].count(True) == 1
        assert init != "he_normal"
    assert ic.Constant(0.0) == ic.Constant(-0.0)
    assert hash(ic.Constant(0.0)) == hash(ic.Constant(-0.0))
    assert repr(inits[1]) == "Uniform(low=-1.0, high=2.0)"
    assert ic.get("he_normal") == ic.VarianceScaling(scale=2.0, mode="fan_in", distribution="normal")
    assert ic.get("normal(0.01)") == ic.Normal(0.0, 0.01)
    assert ic.get(" kaiming_normal ") == ic.get("he_normal")
    assert ic.get("he_normal(gain=2)") == ic.VarianceScaling(8.0, "fan_in", "normal")


def test_every_function_documents_its_keywords():
    common = ["seed", "name", "dtype", "index", "layout", "out", "num_threads"]
    for name in initializers.SCHEMES:
        function = getattr(ic, name)
        parameters = inspect.signature(function).parameters
        assert [p for p in parameters if p in common] == common
        for parameter in parameters:
            assert (
                f"{parameter} :" in function.__doc__
                or f"{parameter}, " in function.__doc__
                or (f", {parameter} :" in function.__doc__)
            ), (name, parameter)


def test_the_interpreter_runs_during_a_fill():
    """Other Python threads go on while one fills: the lock is released."""
    out = np.empty(1 << 26, np.float32)
    running = threading.Event()
    done = threading.Event()

    def work():
        running.set()
        for _ in range(5):
            ic.normal(out.size, seed=0, out=out, num_threads=1)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    running.wait()
    ticks = 0
    while not done.is_set():
        ticks += 1
        time.sleep(0.001)
    thread.join()
    assert ticks > 20


def test_the_number_of_threads_can_be_set():
    before = ic.get_num_threads()
    try:
        ic.set_num_threads(3)
        assert ic.get_num_threads() == 3
    finally:
        ic.set_num_threads(before)
