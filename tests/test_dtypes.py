"""Types of samples and arrays to write to: 16 bits, byte orders, strides, alignment."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import initcore as ic

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HALVES = [np.dtype(np.float16), BFLOAT16]
DTYPES = [*HALVES, np.dtype(np.float32), np.dtype(np.float64)]
#: initializer, lower bound, upper bound, may the upper bound be reached
LAWS = [
    (ic.Uniform(), 0.0, 1.0, False),
    (ic.Uniform(-0.3, 0.7), -0.3, 0.7, False),
    (ic.Uniform(1.0, 1.01), 1.0, 1.01, False),
    (ic.TruncatedNormal(), -2.0, 2.0, True),
    (ic.TruncatedNormal(0.1, 0.02, -1.0, 2.5), 0.08, 0.15, True),
    (ic.Normal(), -np.inf, np.inf, True),
    (ic.Normal(0.0, 1e-6), -np.inf, np.inf, True),  # float16 has few bits down there
    (ic.Constant(0.1), -np.inf, np.inf, True),
]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize(("init", "low", "high", "closed"), LAWS)
def test_sixteen_bits_are_float32_rounded_once(init, low, high, closed, dtype):
    shape = (300, 257)
    single = init(shape, seed=1, name="w")
    half = init(shape, seed=1, name="w", dtype=dtype)
    assert half.dtype == dtype
    found = half.astype(np.float64)
    assert (found >= low).all()
    assert ((found <= high) if closed else (found < high)).all()
    expected = single.astype(dtype).astype(np.float64)
    allowed = (expected >= low) & ((expected <= high) if closed else (expected < high))
    np.testing.assert_array_equal(found[allowed], expected[allowed])
    # where plain rounding would have left the bounds, the outermost value inside them
    if not allowed.all():
        assert set(found[~allowed]) <= {found.min(), found.max()}


@pytest.mark.parametrize(("dtype", "bits"), [(HALVES[0], 11), (HALVES[1], 8)], ids=str)
@pytest.mark.parametrize("beyond", range(20, 34))
def test_a_value_given_in_float64_is_rounded_as_float32_is(dtype, bits, beyond):
    """Just above the middle of two sixteen-bit numbers, by more and by less than float32 can tell."""
    value = 1 + 2.0**-bits + 2.0**-beyond
    expected = np.float32(value).astype(dtype)
    assert ic.Constant(value)(1, dtype=dtype)[0] == expected
    assert ic.Identity(value)((1, 1), dtype=dtype)[0, 0] == expected


def test_plain_rounding_would_leave_the_bounds():
    """The case above is not empty: peers return the excluded bound here."""
    uniform = ic.uniform(100_000, seed=0)
    for dtype in HALVES:
        assert (uniform.astype(dtype) == 1).any()
        assert not (ic.uniform(100_000, seed=0, dtype=dtype) == 1).any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_part_on_any_threads(dtype):
    shape = (40, 3000)
    whole = ic.normal(shape, seed=2, dtype=dtype, num_threads=2)
    for index in np.s_[:, 64:128], np.s_[::-3, 7], np.s_[[3, 1, 1], ::1000], np.s_[5]:
        part = ic.normal(shape, seed=2, dtype=dtype, index=index, num_threads=3)
        np.testing.assert_array_equal(part, whole[index], strict=True)


@pytest.mark.parametrize(
    ("spelling", "dtype"),
    [
        ("bfloat16", BFLOAT16),
        (ml_dtypes.bfloat16, BFLOAT16),
        (BFLOAT16, BFLOAT16),
        ("float16", np.float16),
        ("half", np.float16),
        (">f2", ">f2"),
        (">f4", ">f4"),
        (">f8", ">f8"),
        ("<f4", "<f4"),
        (float, np.float64),
    ],
)
def test_spellings(spelling, dtype):
    array = ic.normal((5, 7), seed=3, dtype=spelling)
    assert array.dtype == np.dtype(dtype)
    native = array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(array.astype(native), ic.normal((5, 7), seed=3, dtype=native))


@pytest.mark.parametrize(
    "dtype", ["int32", "longdouble", "complex64", "f4,f4", "S4", bool, ml_dtypes.float8_e5m2]
)
def test_other_types_are_refused(dtype):
    with pytest.raises(TypeError, match="float32, float64, float16 or bfloat16, got"):
        ic.normal(3, dtype=dtype)
    with pytest.raises(TypeError, match="out must be a float32, float64, float16 or bfloat16 array, got"):
        ic.normal(3, out=np.empty(3, dtype))


def test_what_does_not_fit_is_refused():
    for init in ic.Normal(0, 5000), ic.Uniform(0, 7e4), ic.Constant(7e4), ic.TruncatedNormal(6.5e4, 1000):
        with pytest.raises(ValueError, match="float16"):
            init(3, dtype=np.float16)
        init(3, dtype=BFLOAT16)
    # 1.0 and 1.001 have no float16 between them
    with pytest.raises(ValueError, match="no float16 lies in"):
        ic.uniform(3, low=1.0001, high=1.0005, dtype=np.float16)


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=100
    )


def test_bfloat16_by_name_needs_no_import():
    code = "import initcore as ic; print(ic.normal(2, seed=0, dtype='bfloat16').dtype)"
    assert run(code).stdout == "bfloat16\n"


def test_without_ml_dtypes():
    block = "import sys; sys.modules['ml_dtypes'] = None; import initcore as ic; ic.normal(2); "
    message = "ImportError: dtype bfloat16 needs the package ml_dtypes: pip install ml_dtypes"
    assert message in run(block + "ic.normal(2, dtype='bfloat16')").stderr


SHAPE = (3, 4, 5)


@st.composite
def views(draw):
    """A function that gives new memory and a view of it: transposed, with steps, swapped, not aligned."""
    dtype = draw(st.sampled_from(DTYPES))
    if dtype != BFLOAT16:
        dtype = dtype.newbyteorder(draw(st.sampled_from("<>")))
    order = draw(st.permutations(range(3)))
    steps = draw(st.tuples(*[st.sampled_from([-3, -1, 1, 2])] * 3))
    offset = draw(st.sampled_from([0, 1, 2, dtype.itemsize]))
    lengths = [SHAPE[axis] * abs(step) for axis, step in zip(order, steps, strict=True)]

    def make():
        memory = np.full(np.prod(lengths) * dtype.itemsize + offset, 7, np.uint8)
        base = memory[offset:].view(dtype).reshape(lengths)
        return memory, base[tuple(slice(None, None, step) for step in steps)].transpose(np.argsort(order))

    return make


@given(views(), st.integers(1, 3))
def test_out_may_be_any_array(make, threads):
    """Written as NumPy would write the values there, and nothing beside them."""
    (found, out), (expected, view) = make(), make()
    assert out.shape == SHAPE
    view[...] = ic.normal(SHAPE, seed=5, dtype=out.dtype.newbyteorder("="))
    assert ic.normal(SHAPE, seed=5, out=out, num_threads=threads) is out
    np.testing.assert_array_equal(found, expected)


def test_large_strided_out():
    """Longer than a stage, its last one ragged."""
    out = np.zeros((70_001, 4), np.float32)[:, 1::2]
    ic.normal(out.shape, seed=6, out=out, num_threads=2)
    np.testing.assert_array_equal(out, ic.normal(out.shape, seed=6))
    assert not out.base[:, ::2].any()


@pytest.mark.parametrize("shape", [(), (0,), (0, 3)])
def test_small_strided_out(shape):
    out = np.zeros(shape, ">f4")
    np.testing.assert_array_equal(ic.normal(shape, seed=7, out=out), ic.normal(shape, seed=7))


def test_out_is_untouched_by_an_error():
    out = np.full((4, 6), 7, np.float16)[:, ::2]
    readonly = out.view()
    readonly.flags.writeable = False
    for call, error in [
        (lambda: ic.normal((4, 3), std=1e6, out=out), ValueError),
        (lambda: ic.normal((4, 4), out=out), ValueError),
        (lambda: ic.normal((4, 3), out=out, dtype="float32"), TypeError),
        (lambda: ic.normal((4, 3), out=readonly), ValueError),
        (lambda: ic.normal((4, 3), out=np.broadcast_to(np.float32(0), (4, 3))), ValueError),
    ]:
        with pytest.raises(error):
            call()
        assert (out == 7).all()
