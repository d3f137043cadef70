"""Weights that are not drawn one by one: identity, ZerO, sparse, and embeddings with a row for padding."""

import math
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats

import initcore as ic
from initcore import Layout

BF16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = [np.dtype(np.float16), BF16, np.dtype(np.float32), np.dtype(np.float64)]
PATTERNS = [ic.Identity, ic.ZerO]


def exact(x):
    """Give the values as float64, which holds all four types."""
    return x.astype(np.float64)


# -- identity and ZerO: in their own words -------------------------------------------------------------------


def middle(kernel, center):
    """Give the central position of a kernel."""
    return tuple(k // 2 if center == "upper" else max(k - 1, 0) // 2 for k in kernel)


def identity(inputs, outputs):
    return np.eye(inputs, outputs)


def zero(inputs, outputs):
    """Zhao, Schaefer & Anandkumar 2022, algorithm 1: for more outputs than inputs, the corner of c H."""
    if inputs >= outputs:
        return np.eye(inputs, outputs)
    m = math.ceil(math.log2(outputs))
    return 2 ** (-(m - 1) / 2) * linalg.hadamard(2**m)[:inputs, :outputs]


MATRICES = {ic.Identity: identity, ic.ZerO: zero}


def in_numpy(init, shape, *, gain=1.0, center="lower", axes="numpy", groups=1):
    """Give what `init` must be: a matrix (in, out) at the centre of the kernel, once for each group."""
    moved = tuple(shape) if axes == "numpy" else (*shape[2:], shape[1], shape[0])
    *kernel, inputs, outputs = moved
    expected = np.zeros(moved)
    for group in range(groups):
        part = slice(group * (outputs // groups), (group + 1) * (outputs // groups))
        if 0 not in kernel:
            expected[middle(kernel, center)][:, part] = gain * MATRICES[init](inputs, outputs // groups)
    return expected if axes == "numpy" else np.moveaxis(expected, (-1, -2), (0, 1))


SIZES = st.integers(1, 9)


@given(
    st.sampled_from(PATTERNS),
    st.lists(SIZES, min_size=2, max_size=5),
    st.sampled_from([1, 2, 3]),
    st.sampled_from(["numpy", "torch"]),
    st.sampled_from(["lower", "upper"]),
    st.floats(-4, 4),
)
def test_patterns_are_their_definitions(init, shape, groups, axes, center, gain):
    shape[0 if axes == "torch" else -1] *= groups
    layout = Layout(axes, groups=groups)
    pattern = init(gain, center)
    w = pattern(shape, layout=layout, dtype="float64")
    expected = in_numpy(init, shape, gain=gain, center=center, axes=axes, groups=groups)
    np.testing.assert_allclose(w, expected, rtol=1e-15, atol=0)
    # the sum of n values is off by n roundings at most; squares of the smallest gains would vanish
    std = abs(gain) * in_numpy(init, shape, center=center, axes=axes, groups=groups).std()
    allowed = 1e-8 * abs(gain) + 1e-323
    assert pattern.std(shape, layout=layout) == pytest.approx(std, rel=1e-13, abs=allowed)
    assert pattern.law(shape, layout=layout) is None


@pytest.mark.parametrize("init", PATTERNS)
@pytest.mark.parametrize("gain", [1e200, 1e-200, -3e-310])
def test_the_std_of_a_gain_whose_square_is_out_of_range(init, gain):
    assert init(gain).std((3, 5)) == pytest.approx(abs(gain) * init().std((3, 5)), rel=1e-12)


@pytest.mark.parametrize("init", PATTERNS)
@pytest.mark.parametrize(
    "shape", [(70, 300), (300, 70), (5, 64, 65), (3, 3, 33, 129), (1, 2), (1, 1)], ids=str
)
def test_larger_patterns(init, shape):
    w = init()(shape, dtype="float64")
    np.testing.assert_allclose(w, in_numpy(init, shape), rtol=1e-15)
    assert init().std(shape) == pytest.approx(w.std(), rel=1e-12, abs=1e-15)


def test_the_std_of_zero_over_all_sizes():
    """The sum over a corner of a Hadamard matrix is a sum over its blocks: here beside the matrix itself."""
    hadamard = linalg.hadamard(64).cumsum(axis=0).cumsum(axis=1)
    for inputs in range(1, 65):
        for outputs in range(inputs + 1, 65):
            mean = hadamard[inputs - 1, outputs - 1] / (inputs * outputs)
            c = 2 ** (-(math.ceil(math.log2(outputs)) - 1) / 2)
            std = c * math.sqrt(1 - mean**2)
            assert ic.ZerO().std((inputs, outputs)) == pytest.approx(std, rel=1e-12), (inputs, outputs)


def test_zero_is_a_scaled_orthogonal_matrix_where_sizes_are_powers_of_2():
    for n in (2, 8, 64):
        w = ic.ZerO()((n // 2, n), dtype="float64")
        np.testing.assert_allclose(w @ w.T, 2 * np.eye(n // 2), atol=1e-14)  # c^2 2^m = 2


@pytest.mark.parametrize("init", PATTERNS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("gain", [1.0, -0.3, 1e-3, 0.0])
def test_patterns_are_rounded_once(init, dtype, gain):
    for shape in [(5, 9), (9, 5), (3, 6, 12)]:
        for stream in ({}, {"seed": 5, "name": "w"}):  # nothing is drawn
            w = init(gain)(shape, dtype=dtype, **stream)
            assert w.dtype == dtype
            np.testing.assert_array_equal(w, init(gain)(shape, dtype="float64").astype(dtype))


@pytest.mark.parametrize("init", PATTERNS)
def test_packed_blocks_are_alike(init):
    """Query, key and value each have the pattern; experts too."""
    one = init()((4, 8), layout="torch")
    packed = init()((12, 8), layout=Layout("torch", blocks=3))
    np.testing.assert_array_equal(packed, np.concatenate([one] * 3))
    experts = init()((3, 8, 4), layout=Layout(in_axis=1, out_axis=2, batch_axis=0))
    np.testing.assert_array_equal(experts, np.stack([one.T] * 3))
    heads = init()((8, 2, 6), layout=Layout(in_axis=0, out_axis=(1, 2)))
    np.testing.assert_array_equal(heads.reshape(8, 12), init()((8, 12)))


# -- the identity passes the signal --------------------------------------------------------------------------


def same(w, x):
    """A convolution with padding "same", as JAX, Keras and PyTorch pad: (k - 1) // 2 before.

    w: (*kernel, in, out), x: (*space, in) -> (*space, out)
    """
    *kernel, _, outputs = w.shape
    space = x.shape[:-1]
    x = np.pad(x, [((k - 1) // 2, k - 1 - (k - 1) // 2) for k in kernel] + [(0, 0)])
    y = np.zeros((*space, outputs))
    for position in np.ndindex(*kernel):
        y += x[tuple(slice(p, p + n) for p, n in zip(position, space, strict=True))] @ w[position]
    return y


@pytest.mark.parametrize("kernel", [(3,), (4,), (1,), (2,), (3, 5), (4, 3), (2, 6), (3, 2, 4)], ids=str)
def test_the_identity_is_the_identity(kernel):
    space = (7, 8, 6)[: len(kernel)]
    x = ic.normal((*space, 5), seed=0, dtype="float64")
    for init in PATTERNS:
        w = init()((*kernel, 5, 5), dtype="float64")
        np.testing.assert_array_equal(same(w, x), x)
    more = ic.Identity()((*kernel, 5, 7), dtype="float64")
    np.testing.assert_array_equal(same(more, x), np.pad(x, [(0, 0)] * len(kernel) + [(0, 2)]))
    fewer = ic.Identity()((*kernel, 5, 3), dtype="float64")
    np.testing.assert_array_equal(same(fewer, x), x[..., :3])
    upper = same(ic.Identity(center="upper")((*kernel, 5, 5), dtype="float64"), x)
    shift = tuple((k + 1) % 2 for k in kernel)
    assert (upper == x).all() == (not any(shift))
    inner = tuple(slice(0, n - s) for n, s in zip(space, shift, strict=True))
    moved = tuple(slice(s, n) for n, s in zip(space, shift, strict=True))
    np.testing.assert_array_equal(upper[inner], x[moved])  # one step ahead along even axes


def test_the_identity_of_groups():
    """Each group passes its own channels: with as many outputs as inputs, all of them."""
    x = ic.normal((9, 12), seed=0, dtype="float64")
    w = ic.Identity()((3, 4, 12), layout=Layout(groups=3), dtype="float64")
    y = np.concatenate([same(w[..., 4 * g : 4 * g + 4], x[:, 4 * g : 4 * g + 4]) for g in range(3)], axis=1)
    np.testing.assert_array_equal(y, x)


TORCH_SHAPES = [(6, 4), (4, 6), (5, 5), (1, 3)]
KERNELS = [(3,), (4,), (1,), (3, 3), (2, 5), (4, 4), (3, 2, 1), (2, 2, 2)]


@pytest.mark.peers
@pytest.mark.parametrize("shape", TORCH_SHAPES, ids=str)
def test_identity_is_eye_of_torch(shape):
    torch = pytest.importorskip("torch")
    expected = torch.nn.init.eye_(torch.empty(shape)).numpy()
    for layout in ("torch", "numpy"):
        np.testing.assert_array_equal(ic.Identity()(shape, layout=layout), expected)


@pytest.mark.peers
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_identity_is_dirac_of_torch(kernel, groups):
    torch = pytest.importorskip("torch")
    for outputs, inputs in TORCH_SHAPES:
        shape = (groups * outputs, inputs, *kernel)
        expected = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
        layout = Layout("torch", groups=groups)
        np.testing.assert_array_equal(ic.Identity(center="upper")(shape, layout=layout), expected)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_same_pads_as_torch_and_jax_do(kernel):
    """What `same` above is built on; and the identity of PyTorch's own layer, which its `dirac_` is not."""
    torch = pytest.importorskip("torch")
    jax = pytest.importorskip("jax")
    layer = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)[len(kernel) - 1](
        4, 4, kernel, padding="same", bias=False
    )
    x = ic.normal((1, 4, *(6, 7, 5)[: len(kernel)]), seed=0)
    even = any(k % 2 == 0 for k in kernel)
    for center in ("lower", "upper"):
        w = ic.Identity(center=center)(tuple(layer.weight.shape), layout="torch")
        layer.weight.data = torch.from_numpy(w)
        with torch.no_grad():
            y = layer(torch.from_numpy(x)).numpy()
        z = jax.lax.conv_general_dilated(x, w, [1] * len(kernel), "SAME")
        for result in (y, z):
            assert np.array_equal(result, x) == (center == "lower" or not even)


# -- parts, threads, refusals --------------------------------------------------------------------------------

STRUCTURED = [
    ic.Identity(0.7),
    ic.ZerO(-2.0, "upper"),
    ic.Sparse(0.4, 1.0),
    ic.Embedding(0.5, padding_idx=1),
]


def an_index(shape):
    """Draw what may stand between brackets."""
    slices = st.slices
    return st.tuples(*(st.one_of(slices(n), st.integers(-n, n - 1)) for n in shape)).flatmap(
        lambda index: st.sampled_from([index, index[:1], (..., index[-1])])
    )


@settings(max_examples=150)
@given(st.sampled_from(STRUCTURED), st.sampled_from(DTYPES), st.data())
def test_slices_are_slices_of_the_whole(init, dtype, data):
    axes = 2 if isinstance(init, ic.Sparse | ic.Embedding) else data.draw(st.integers(2, 4))
    shape = tuple(data.draw(st.lists(st.integers(2, 9), min_size=axes, max_size=axes)))
    index = data.draw(an_index(shape))
    layout = data.draw(st.sampled_from(["numpy", "torch", "depthwise", Layout(in_axis=0, batch_axis=1)]))
    options = {"seed": 3, "name": "w", "dtype": dtype, "layout": layout}
    whole = init(shape, **options)
    np.testing.assert_array_equal(init(shape, index=index, **options), whole[index])
    out = np.full(whole[index].shape, 7, dtype)
    init(shape, index=index, out=out, **options)
    np.testing.assert_array_equal(out, whole[index])
    strided = np.empty((*whole.shape, 2), dtype)[..., 0]
    init(shape, out=strided, **options)
    np.testing.assert_array_equal(strided, whole)


@pytest.mark.parametrize("init", STRUCTURED, ids=lambda init: type(init).__name__)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_threads_change_nothing(init, dtype):
    shape = (700, 1001)  # several work items of 2^16 elements
    options = {"seed": 1, "name": "w", "dtype": dtype}
    whole = init(shape, num_threads=1, **options)
    for threads in (2, 3, 7):
        np.testing.assert_array_equal(init(shape, num_threads=threads, **options), whole)
        part = init(shape, num_threads=threads, index=np.s_[1:, ::-3], **options)
        np.testing.assert_array_equal(part, whole[1:, ::-3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ic.Identity(math.nan), "gain must be finite, got NaN"),
        (lambda: ic.ZerO(math.inf), "gain must be finite, got inf"),
        (lambda: ic.Identity(center="middle"), 'unknown center "middle": expected one of lower, upper'),
        (lambda: ic.Identity()(5), r"at least 2 dimensions, got \(5,\)"),
        (lambda: ic.Identity(1e5)((2, 2), dtype="float16"), "gain = 1e5 does not fit float16"),
        (
            lambda: ic.ZerO()((2, 5), layout=Layout(groups=2)),
            r"groups = 2 does not divide axis 1 \(outputs\)",
        ),
        (lambda: ic.Identity().scaled(-1.0), "gain must be finite and >= 0"),
        (lambda: ic.Sparse(-0.1), "sparsity must be from 0 to 1, got -0.1"),
        (lambda: ic.Sparse(1.1), "sparsity must be from 0 to 1, got 1.1"),
        (lambda: ic.Sparse(math.nan), "sparsity must be from 0 to 1, got NaN"),
        (lambda: ic.Sparse(0.5, -1.0), "std must be >= 0, got -1"),
        (lambda: ic.Sparse(0.5)((2, 3, 4)), r"sparse needs a shape of 2 dimensions, got \(2, 3, 4\)"),
        (lambda: ic.Sparse(0.5, 1e10)((2, 3), dtype="float16"), "does not fit float16"),
        (lambda: ic.Embedding(-1.0), "std must be >= 0, got -1"),
        (lambda: ic.Embedding(padding_idx=-4)((3, 2)), "padding_idx = -4 is not among the 3 rows"),
        (lambda: ic.Embedding(padding_idx=2**64), "padding_idx must be the number of a row"),
        (lambda: ic.Embedding(padding_idx=3)((3, 2)), r"padding_idx = 3 is not among the 3 rows of \(3, 2\)"),
        (lambda: ic.Embedding()((3,)), r"an embedding has a shape \(rows, features\), got \(3,\)"),
    ],
    ids=str,
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_types_are_refused():
    for call in (lambda: ic.Embedding(padding_idx=1.0), lambda: ic.Embedding(padding_idx="1")):
        with pytest.raises(TypeError, match="padding_idx must be an integer or None, got"):
            call()
    with pytest.raises(TypeError):
        ic.Sparse()


def test_an_error_leaves_out_untouched():
    out = np.full((2, 2), 7, np.float16)
    for init in (ic.Identity(1e5), ic.Sparse(0.5, 1e10), ic.Embedding(1e10)):
        with pytest.raises(ValueError, match="does not fit float16"):
            init((2, 2), out=out)
    assert (out == 7).all()


@pytest.mark.parametrize("init", STRUCTURED, ids=lambda init: type(init).__name__)
def test_empty_arrays(init):
    for shape in [(0, 3), (3, 0), (2, 0)]:
        if isinstance(init, ic.Embedding) and shape[0] == 0:
            continue  # has no row 1
        assert init(shape).shape == shape
        assert math.isfinite(init.std(shape))


# -- sparse --------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 12), st.floats(0, 1))
def test_a_column_has_this_many_zeros(rows, columns, sparsity):
    """ceil(sparsity * rows) of them; the others are those of `normal` under the same name."""
    init = ic.Sparse(sparsity, std=0.3)
    w = init((rows, columns), seed=2, name="w")
    zeros = math.ceil(sparsity * rows)
    assert ((w == 0).sum(axis=0) == zeros).all()
    normal = ic.normal((rows, columns), std=0.3, seed=2, name="w")
    np.testing.assert_array_equal(w, np.where(w == 0, 0, normal))
    assert not np.signbit(w[w == 0]).any()
    assert init.std((rows, columns)) == pytest.approx(0.3 * math.sqrt(1 - zeros / rows), rel=1e-14)


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory")
def test_memory_for_the_choice_of_zeros_that_is_not_there():
    """More than the matrix takes, and missed before anything is written: in a process with little left."""
    code = """
import resource, numpy as np, initcore as ic
out = np.full((10_000_000, 1), 7, np.float16)
ic.Sparse(0.5)((5, 5), num_threads=1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000,) * 2)
try:
    ic.Sparse(0.5)(out.shape, seed=0, out=out, num_threads=1)
except MemoryError as error:
    print(error, (out == 7).all())
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout == "no room for the 20000000 elements of type float64 True\n", run.stderr


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_zeros_stand_in_the_same_places_whatever_the_type_and_std(dtype):
    places = ic.Sparse(0.3, 1.0)((40, 50), seed=0, name="w", dtype="float64") == 0
    w = ic.Sparse(0.3, 0.02)((40, 50), seed=0, name="w", dtype=dtype)
    np.testing.assert_array_equal(w == 0, places)
    other = ic.Sparse(0.3, 1.0)((40, 50), seed=0, name="v", dtype=dtype) == 0
    assert (other != places).any()


@pytest.mark.parametrize(("rows", "sparsity"), [(10, 0.1), (12, 0.5), (7, 0.8)])
def test_zeros_are_anywhere(rows, sparsity):
    """Each row, and each pair of rows, is as often zero as any other: chi-squared, false alarm 1e-10 each.

    Drawn without replacement, counts by rows have the covariance p (1 - p) (I - J / n) n / (n - 1).
    """
    columns = 200_000
    places = ic.Sparse(sparsity, 1.0)((rows, columns), seed=5) == 0
    zeros = math.ceil(sparsity * rows)
    p = zeros / rows
    counts = places.sum(axis=1)
    scale = columns * p * (1 - p) * rows / (rows - 1)
    assert stats.chi2.sf(((counts - columns * p) ** 2).sum() / scale, rows - 1) > 1e-10
    # all sets of rows are alike
    sets, counts = np.unique(places.T.astype(np.int64) @ (1 << np.arange(rows)), return_counts=True)
    assert len(sets) == math.comb(rows, zeros)
    assert stats.chisquare(counts).pvalue > 1e-10
    # and a column's set says nothing of the next: zeros in common are hypergeometric
    common = (places[:, ::2] & places[:, 1::2]).sum(axis=0)
    values = np.arange(max(0, 2 * zeros - rows), zeros + 1)
    expected = stats.hypergeom.pmf(values, rows, zeros, zeros) * len(common)
    seen = np.array([(common == value).sum() for value in values])
    assert seen.sum() == len(common)
    assert stats.chisquare(seen, expected).pvalue > 1e-10


def test_values_and_zeros_are_independent():
    """The mean and variance of those left are not changed by the choice. 7 standard errors: 1e-11 each."""
    w = ic.Sparse(0.75, 1.0)((1000, 1000), seed=0, dtype="float64")
    left = w[w != 0]
    assert left.size == 250_000
    assert abs(left.mean()) < 7 / math.sqrt(left.size)
    assert abs(left.var() - 1) < 7 * math.sqrt(2 / left.size)


def test_a_sparse_matrix_of_one_column_or_row():
    assert (ic.Sparse(0.5, 1.0)((100_000, 1), seed=0) == 0).sum() == 50_000
    assert not ic.Sparse(0.5, 1.0)((1, 1000), seed=0).any()  # ceil(0.5) of 1 row
    assert ic.Sparse(0.0, 1.0)((10, 10), seed=0).all()
    assert not ic.Sparse(1.0)((10, 10), seed=0).any()


@pytest.mark.peers
@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.3, 0.5, 0.9, 1.0])
def test_torch_has_as_many_zeros(sparsity):
    torch = pytest.importorskip("torch")
    for shape in [(10, 4), (7, 5), (1, 3), (33, 2)]:
        w = torch.nn.init.sparse_(torch.empty(shape), sparsity, 1.0).numpy()
        assert ((w == 0).sum(axis=0) == (ic.Sparse(sparsity, 1.0)(shape, seed=0) == 0).sum(axis=0)).all()


# -- embedding -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("row", [0, 4, 9, -1])
def test_the_row_for_padding(dtype, row):
    shape = (10, 300)
    options = {"seed": 0, "name": "emb", "dtype": dtype}
    w = ic.Embedding(0.02, padding_idx=row)(shape, **options)
    expected = ic.normal(shape, std=0.02, **options)
    assert expected[row].any()
    expected[row] = 0
    np.testing.assert_array_equal(w, expected)
    np.testing.assert_array_equal(ic.Embedding(0.02)(shape, **options), ic.normal(shape, std=0.02, **options))
    assert ic.Embedding(0.02, padding_idx=row).std(shape) == pytest.approx(0.02 * 0.9**0.5)
    for index in (row, np.s_[row:, 7], np.s_[::-1, ::2], np.array([row, 0, row])):
        np.testing.assert_array_equal(
            ic.Embedding(0.02, padding_idx=row)(shape, index=index, **options), w[index]
        )


def test_a_table_that_is_too_large_is_refused():
    """Its number of elements does not fit 64 bits, and a row of zeros is a share of it."""
    for shape in [(2**62, 4), (2**40, 2**40)]:
        with pytest.raises(ValueError, match="is too big"):
            ic.Embedding(padding_idx=0).std(shape)
    w = ic.Embedding(padding_idx=-1)((2**61, 2), seed=0, index=(slice(-2, None), 0))
    assert (w == 0).tolist() == [False, True]


def test_an_embedding_is_its_parameters():
    assert ic.Embedding().get_config() == {"std": 1.0, "padding_idx": None}
    assert ic.Embedding(0.5, padding_idx=np.int64(3)) == ic.Embedding(0.5, 3)
    assert ic.Embedding(0.5, 3).scaled(2.0) == ic.Embedding(1.0, 3)
    assert ic.Embedding(0.5, 3) != ic.Embedding(0.5)
    assert ic.Embedding(0.5).law((4, 5)) == ic.Normal(0.0, 0.5)
    assert ic.Embedding(0.5, 3).law((4, 5)) is None
    assert ic.Embedding(0.5).std((4, 5)) == 0.5
