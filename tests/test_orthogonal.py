"""Orthogonal weights: orthonormal, the values of the documented definition, and any shape, layout and part.

Whether all orthonormal matrices are equally likely is in ``test_haar.py``.
"""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices

import initcore as ic

HALVES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
TOLERANCES = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-13}
BATCH = ic.Layout(batch_axis=0, in_axis=1, out_axis=2)
#: both sides of the sizes of panels and blocks of columns, 64
SHAPES = [(1, 1), (1, 7), (9, 1), (5, 5), (63, 64), (65, 64), (129, 65), (64, 200), (300, 257)]
sides = st.sampled_from([1, 2, 3, 16, 17, 63, 64, 65, 130])


def stewart(normals):
    """Give the matrix with orthonormal columns of Gaussian vectors, one reflector after the other."""
    rows, columns = normals.shape
    q = np.eye(rows, columns)  # column k is that of the identity until reflector k comes
    for k in reversed(range(columns)):
        x = normals[k:, k].astype(np.float64)
        size = np.copysign(np.linalg.norm(x), x[0])
        v = x + size * np.eye(len(x))[0]
        q[k, k] = -np.sign(x[0])
        q[k:, k:] -= np.outer(v, 2 / (v @ v) * (v @ q[k:, k:]))
    return q


def expected(rows, columns, count=1, **options):
    """Give matrices (count, rows, columns) by the definition in docs/stream-v1.md."""
    n, m = max(rows, columns), min(rows, columns)
    frames = np.stack([stewart(x) for x in ic.normal((count, n, m), **options)])
    return frames if rows >= columns else frames.transpose(0, 2, 1)


def assert_orthonormal(matrix, tolerance, size=1.0):
    """Columns, or rows if they are fewer, have this length and stand at right angles."""
    matrix = np.asarray(matrix, np.float64)
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.T
    wrong = matrix.T @ matrix - size**2 * np.eye(matrix.shape[1])
    assert np.abs(wrong).max(initial=0) <= tolerance * size**2


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_are_those_of_the_definition(shape, dtype):
    matrix = ic.Orthogonal()(shape, seed=5, name="w", dtype=dtype)
    assert_orthonormal(matrix, TOLERANCES[dtype])
    reference = expected(*shape, seed=5, name="w", dtype=dtype)[0]
    assert np.abs(matrix - reference).max() <= TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", [(1024, 1024), (2048, 700), (600, 2500)], ids=str)
def test_large_matrices_are_orthonormal(shape, dtype):
    assert_orthonormal(ic.Orthogonal(-3.0)(shape, seed=1, dtype=dtype), TOLERANCES[dtype], 3.0)


@given(
    sides,
    sides,
    st.integers(1, 5),
    st.sampled_from(list(TOLERANCES)),
    st.sampled_from([1, 2, 3, 7]),
    st.sampled_from([1.0, -0.3, 12.0, 0.0]),
)
@settings(max_examples=30)
def test_a_batch_is_many_matrices(rows, columns, count, dtype, threads, gain):
    init = ic.Orthogonal(gain)
    options = {"seed": 2, "name": "experts", "dtype": dtype}
    weight = init((count, rows, columns), layout=BATCH, num_threads=threads, **options)
    reference = gain * expected(rows, columns, count, **options)
    assert np.abs(weight - reference).max() <= TOLERANCES[dtype] * abs(gain)
    alone = init((rows, columns), num_threads=1, **options)
    assert weight[0].tobytes() == alone.tobytes()


def test_many_small_matrices_are_made_over_several_rounds():
    weight = ic.Orthogonal()((9000, 12, 12), seed=0, layout=BATCH)
    wrong = weight.transpose(0, 2, 1).astype(np.float64) @ weight - np.eye(12)
    assert np.abs(wrong).max() <= 2e-6
    assert len(np.unique(weight[:, 0, 0])) > 8900  # some are equal by chance
    reference = expected(12, 12, 9000, seed=0)
    assert np.abs(weight - reference).max() <= 1e-5


@given(st.data())
def test_a_part_is_that_of_the_whole(data):
    shape = data.draw(st.tuples(sides, sides) | st.tuples(st.integers(1, 4), sides, sides))
    index = data.draw(basic_indices(shape, allow_ellipsis=True))
    layout = data.draw(st.sampled_from(["numpy", "torch"]))
    init = data.draw(st.sampled_from([ic.Orthogonal(), ic.Orthogonal(1.5)]))
    dtype = data.draw(st.sampled_from([*HALVES, *TOLERANCES]))
    options = {"seed": 3, "name": "w", "dtype": dtype, "layout": layout}
    part = init(shape, index=index, **options)
    whole = init(shape, num_threads=1, **options)[index]
    assert part.shape == np.shape(whole)
    assert part.tobytes() == np.asarray(whole).tobytes()


@pytest.mark.parametrize("shape", [(300, 130), (130, 300), (70, 70), (7, 1), (1, 7)], ids=str)
@pytest.mark.parametrize("dtype", [*HALVES, *TOLERANCES], ids=str)
def test_layouts_are_transposes(shape, dtype):
    options = {"seed": 4, "dtype": dtype}
    matrix = ic.Orthogonal()(shape, **options)
    torch = ic.Orthogonal()(shape[::-1], layout="torch", **options)
    assert torch.T.tobytes() == matrix.tobytes()


def test_kernel_positions_are_inputs():
    matrix = ic.Orthogonal()((3 * 2 * 20, 50), seed=6)
    keras = ic.Orthogonal()((3, 2, 20, 50), seed=6)
    torch = ic.Orthogonal()((50, 20, 3, 2), seed=6, layout="torch")
    assert keras.tobytes() == matrix.tobytes()
    assert torch.transpose(2, 3, 1, 0).tobytes() == matrix.tobytes()
    by_number = ic.Layout(in_axis=0, out_axis=(1, 3))
    mixed = ic.Orthogonal()((20, 5, 6, 10), seed=6, layout=by_number)
    assert mixed.transpose(2, 0, 1, 3).tobytes() == matrix.tobytes()


def test_groups_and_blocks_are_independent_matrices():
    batch = ic.Orthogonal()((3, 40, 30), seed=7, layout=BATCH)
    packed = ic.Orthogonal()((40, 3 * 30), seed=7, layout=ic.Layout(blocks=3))
    assert packed.reshape(40, 3, 30).transpose(1, 0, 2).tobytes() == batch.tobytes()
    torch = ic.Orthogonal()((3 * 30, 40), seed=7, layout=ic.Layout("torch", blocks=3))
    assert torch.reshape(3, 30, 40).transpose(0, 2, 1).tobytes() == batch.tobytes()
    grouped = ic.Orthogonal()((3 * 30, 10, 2, 2), seed=7, layout=ic.Layout("torch", groups=3))
    grouped = grouped.reshape(3, 30, 10, 4).transpose(0, 3, 2, 1)
    assert grouped.reshape(3, 40, 30).tobytes() == batch.tobytes()
    for matrix in batch:
        assert_orthonormal(matrix, 1e-6)
    assert np.abs(batch[0].T @ batch[1]).max() > 0.1


@pytest.mark.parametrize(("shape", "channels"), [((3, 3, 6, 9), 6), ((5, 4, 2, 8, 8), 8), ((3, 1, 4), 1)])
@pytest.mark.parametrize("center", ["lower", "upper"])
def test_delta_orthogonal_convolutions_preserve_norms(shape, channels, center):
    gain = 1.25
    kernel = ic.DeltaOrthogonal(gain, center)(shape, seed=8, dtype="f8")
    inputs = tuple(7 + n for n in range(len(shape) - 2))
    axes = tuple(range(len(inputs)))
    x = ic.normal((*inputs, channels), seed=9, dtype="f8")
    frequencies = np.fft.fftn(x, axes=axes)[..., None, :] @ np.fft.fftn(kernel, inputs, axes=axes)
    y = np.fft.ifftn(frequencies[..., 0, :], axes=axes)
    assert np.abs(y.imag).max() < 1e-12
    # at every position, not only in total: nothing spreads
    sizes, grown = np.linalg.norm(x, axis=-1), np.linalg.norm(y.real, axis=-1)
    middle = tuple((k - 1) // 2 if center == "lower" else k // 2 for k in shape[:-2])
    np.testing.assert_allclose(grown, gain * np.roll(sizes, middle, axis=axes), rtol=1e-12)
    assert np.count_nonzero(kernel) == kernel[middle].size
    matrix = ic.Orthogonal(gain)(shape[-2:], seed=8, dtype="f8")
    assert kernel[middle].tobytes() == matrix.tobytes()


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("shape", [(100, 70), (70, 100)], ids=str)
def test_sixteen_bits_are_float32_rounded_once(shape, dtype):
    for gain in (1.0, 0.3, 1e4):
        single = ic.Orthogonal(gain)(shape, seed=1)
        half = ic.Orthogonal(gain)(shape, seed=1, dtype=dtype)
        assert half.tobytes() == single.astype(dtype).tobytes()


@pytest.mark.parametrize("dtype", [*HALVES, *TOLERANCES], ids=str)
def test_one_number_is_the_gain_with_a_sign(dtype):
    most = float(np.finfo(dtype).max if dtype.kind == "f" else ml_dtypes.finfo(dtype).max)
    for gain in (1.0, -0.7, most):
        found = ic.Orthogonal(gain)((60, 1, 1), seed=0, layout=BATCH, dtype=dtype).ravel()
        assert {float(x) for x in found} == {float(np.array(s * gain).astype(dtype)) for s in (1, -1)}


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (3, 0, 4)])
def test_empty_weights_are_empty(shape):
    assert ic.Orthogonal()(shape, seed=0).shape == shape
    assert ic.DeltaOrthogonal()((*shape[:-2], 0, 4), seed=0).size == 0
    for gain in (0.0, 1.0):
        assert ic.Orthogonal(gain).std(shape) == 0
        assert ic.DeltaOrthogonal(gain).std((*shape[:-2], 0, 4)) == 0


def test_of_nothing_only_the_checks_are_made():
    """The whole, of 10^12 elements, could not be."""
    nothing = np.s_[:0]
    assert ic.Orthogonal()((10**6, 10**6), seed=0, index=nothing).shape == (0, 10**6)
    assert ic.Sparse(0.5)((10**6, 10**6), seed=0, index=nothing).shape == (0, 10**6)
    with pytest.raises(ValueError, match="gain = 7e4 does not fit float16"):
        ic.Orthogonal(7e4)((10**6, 10**6), seed=0, index=nothing, dtype=np.float16)
    with pytest.raises(ValueError, match="does not fit float16"):
        ic.Sparse(0.5, 1e10)((10**6, 10**6), seed=0, index=nothing, dtype=np.float16)


def test_a_gain_beyond_the_type_is_refused_before_anything_is_written():
    out = np.full((3, 3), 7, np.float16)
    with pytest.raises(ValueError, match=r"gain = 7e4 does not fit float16"):
        ic.Orthogonal(7e4)((3, 3), seed=0, out=out)
    with pytest.raises(ValueError, match=r"gain = 1e39 does not fit float32"):
        ic.DeltaOrthogonal(1e39)((3, 3, 3), seed=0)
    with pytest.raises(ValueError, match="does not fit float16"):  # as float32 it is the middle to infinity
        ic.Orthogonal(65519.99999)((1, 1), seed=0, out=out[:1, :1])
    assert (out == 7).all()


def test_what_does_not_suit_is_refused():
    with pytest.raises(ValueError, match="gain must be finite, got NaN"):
        ic.Orthogonal(float("nan"))
    with pytest.raises(ValueError, match="no fewer outputs than inputs, got 5 inputs and 4 outputs"):
        ic.DeltaOrthogonal()((3, 5, 4), seed=0)
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        ic.Orthogonal()((5,), seed=0)


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (3, 3, 4, 50)], ids=str)
def test_std_is_that_of_the_values(shape):
    init = ic.Orthogonal(1.7)
    values = init(shape, seed=0, dtype="f8")
    assert init.std(shape) == pytest.approx(np.sqrt((values**2).mean()), rel=1e-12)
    delta = ic.DeltaOrthogonal(1.7)
    values = delta((3, 4, 9), seed=0, dtype="f8")
    assert delta.std((3, 4, 9)) == pytest.approx(np.sqrt((values**2).mean()), rel=1e-12)
