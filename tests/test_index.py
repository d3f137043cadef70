"""Parts of arrays through ``index=``: the bits of NumPy's indexing of the whole, and its refusals."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, basic_indices, integer_array_indices

import initcore as ic

SPECS = ["uniform", "normal", "truncated_normal", "he_normal", "constant(2)"]
INTEGERS = ["i1", "u1", ">i2", "u2", "i4", ">u4", "i8", "u8"]
shapes = array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9)
nonempty = array_shapes(min_dims=1, max_dims=5, max_side=7)


def part_and_whole(spec, shape, index, **options):
    """Make the part, and index the whole."""
    if spec == "he_normal" and len(shape) < 2:
        spec = "normal"
    init = ic.get(spec)
    whole = init(shape, seed=3, name="w", dtype=options.get("dtype"))
    return init(shape, seed=3, name="w", index=index, **options), np.asarray(whole[index])


@st.composite
def index_arrays(draw, n, broadcast):
    """Draw any indices of an axis of length n, or a pattern, of a shape that broadcasts to `broadcast`."""
    shape = broadcast[draw(st.integers(0, len(broadcast))) :]
    shape = [draw(st.sampled_from([1, length])) for length in shape]
    size, n = int(np.prod(shape)), max(n, 1)
    if draw(st.booleans()):
        start, step, block = (draw(st.integers(0, 2 * n)), draw(st.integers(-3, 3)), draw(st.integers(1, 4)))
        values = [(start + i % block + i // block * step) % n for i in range(size)]
    else:
        values = draw(st.lists(st.integers(0, n - 1), min_size=size, max_size=size))
    dtype = np.dtype(draw(st.sampled_from(INTEGERS)))
    if dtype.kind == "i" and draw(st.booleans()):
        values = [i - n if draw(st.booleans()) else i for i in values]
    array = np.array(values, dtype).reshape(shape)
    return draw(
        st.sampled_from([array, array.tolist(), np.repeat(array, 2, axis=-1)[..., ::2] if shape else array])
    )


@st.composite
def mixed_indices(draw, shape):
    """Slices, integers and arrays for some of the axes, perhaps with an Ellipsis between, before or after."""
    broadcast = draw(array_shapes(min_dims=1, max_dims=3, min_side=draw(st.integers(0, 3)), max_side=5))

    def items(lengths):
        for n in lengths:
            kinds = [index_arrays(n, broadcast), st.slices(n)]
            yield draw(st.one_of([*kinds, st.integers(-n, n - 1)] if n > 0 else kinds))

    if draw(st.booleans()):
        return tuple(items(shape[: draw(st.integers(0, len(shape)))]))
    first = draw(st.integers(0, len(shape)))
    last = draw(st.integers(first, len(shape)))
    return (*items(shape[:first]), ..., *items(shape[last:]))


@given(st.data(), shapes, st.sampled_from(SPECS), st.sampled_from(["float32", "float64"]), st.integers(1, 4))
def test_basic_indexing(data, shape, spec, dtype, threads):
    index = data.draw(basic_indices(shape, allow_newaxis=False))
    part, expected = part_and_whole(spec, shape, index, dtype=dtype, num_threads=threads)
    np.testing.assert_array_equal(part, expected, strict=True)


@given(st.data(), array_shapes(max_dims=4, max_side=9), st.sampled_from(INTEGERS))
def test_an_array_for_each_axis(data, shape, dtype):
    result = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6)
    index = data.draw(integer_array_indices(shape, result_shape=result, dtype=np.dtype(dtype)))
    part, expected = part_and_whole("normal", shape, index)
    np.testing.assert_array_equal(part, expected, strict=True)


@settings(max_examples=500)
@given(
    st.one_of(nonempty, shapes).flatmap(lambda shape: st.tuples(st.just(shape), mixed_indices(shape))),
    st.sampled_from(SPECS),
)
@example(((2, 3, 4), (slice(None), [0], ..., [1])), "normal")  # an Ellipsis of no axis parts two arrays
@example(((2, 3, 4), (0, slice(None), [1, 2])), "normal")
@example(((2, 3, 4), (0, [], [9])), "normal")  # nobody looks at an array without a value
@example(((2, 3, 4), ([1, 9], [0, 1, 2], 9)), "normal")  # integers are looked at first
def test_mixed_indexing(shape_and_index, spec):
    shape, index = shape_and_index
    try:
        np.empty(shape)[index]
    except IndexError as error:
        with pytest.raises(IndexError, match=re.escape(str(error).strip())):
            ic.normal(shape, index=index)
    else:
        part, expected = part_and_whole(spec, shape, index)
        np.testing.assert_array_equal(part, expected, strict=True)


def block_cyclic(n, block, shards, shard):
    """Columns of one shard, when blocks are dealt out in turn."""
    return np.flatnonzero(np.arange(n) // block % shards == shard)


ROWS = np.random.default_rng(0).integers(-600, 600, 500)
LARGE = {
    "columns": ((600, 700), np.s_[:, 13:500]),
    "every third column, backwards": ((600, 700), np.s_[::2, ::-3]),
    "rows in any order": ((600, 700), ROWS),
    "rows, then columns": ((600, 700), np.s_[ROWS, 13:500]),
    "block-cyclic columns": ((600, 700), np.s_[:, block_cyclic(700, 64, 3, 1)]),
    "a mesh": ((600, 700), np.ix_(ROWS, block_cyclic(700, 16, 2, 0))),
    "a mesh around a slice": ((60, 7, 70, 30), np.s_[ROWS[:, None] // 10, 1:6, block_cyclic(70, 4, 2, 1)]),
    "pairs": ((600, 700), (np.repeat(ROWS, 400), np.arange(200_000) % 700)),
    "a table of rows": ((600, 700), np.s_[np.add.outer(ROWS[:20], np.arange(6)) // 2, 5]),
    "a lookup": ((600, 70), np.add.outer(ROWS, [1, 2, 3, 5]) // 2),
    "blocks of rows": ((50, 6, 700), np.s_[[*range(20, 41), 3, 4, 49], ::-1]),
}


@pytest.mark.parametrize(("shape", "index"), LARGE.values(), ids=LARGE)
def test_parts_of_several_work_items(shape, index):
    """Work begins in the middle of rows and blocks; strided rows and lists lie around each other."""
    for options in ({"num_threads": 1}, {"num_threads": 3}, {"dtype": "float64"}):
        part, expected = part_and_whole("normal", shape, index, **options)
        np.testing.assert_array_equal(part, expected, strict=True)


def test_masks_go_through_nonzero():
    mask = np.random.default_rng(1).random((30, 40)) < 0.3
    part, expected = part_and_whole("normal", (30, 40), mask.nonzero())
    np.testing.assert_array_equal(part, expected)
    np.testing.assert_array_equal(expected, ic.normal((30, 40), seed=3, name="w")[mask])


def test_the_index_itself_is_not_changed_or_kept():
    rows = np.array([3, -1, 0])
    part = ic.normal((4, 5), seed=0, index=rows)
    assert rows.tolist() == [3, -1, 0]
    rows[:] = 0
    np.testing.assert_array_equal(part, ic.normal((4, 5), seed=0)[[3, -1, 0]])


BAD = [
    # as NumPy says it
    (np.s_[[0, 3]], IndexError, "index 3 is out of bounds for axis 0 with size 3"),
    (np.s_[:, [[0, -5]]], IndexError, "index -5 is out of bounds for axis 1 with size 4"),
    (np.s_[0:0, [4]], IndexError, "index 4 is out of bounds for axis 1 with size 4"),
    (np.s_[[], 4], IndexError, "index 4 is out of bounds for axis 1 with size 4"),
    (
        np.s_[[0, 1], [0, 1, 2]],
        IndexError,
        r"shape mismatch: .* broadcast together with shapes \(2,\) \(3,\)",
    ),
    (np.s_[[0], [0], [0]], IndexError, "too many indices"),
    (np.s_[[[0], [1, 2]]], ValueError, "inhomogeneous"),
    # what NumPy would take for a negative index
    (np.array([2**64 - 1], "u8"), IndexError, "index 18446744073709551615 is out of bounds for axis 0"),
    # of another kind
    ([True, False, True], TypeError, r"got list of bool: give numpy.nonzero\(mask\)"),
    (np.ones((3, 4), bool), TypeError, r"got ndarray of bool: give numpy.nonzero\(mask\)"),
    (np.True_, TypeError, "got bool"),
    (np.array(True), TypeError, "got bool"),
    ([0.0, 1.0], TypeError, "arrays of integers, got list of float64"),
    (np.array([]), TypeError, "got ndarray of float64"),
    (np.array([0, 1], object), TypeError, "got ndarray of object"),
    ([2**70], TypeError, "got list of object"),
    ([slice(2)], TypeError, "got list of object"),
    ("ab", TypeError, "got str"),
    ({0, 1}, TypeError, "got set"),
    (np.s_[None, 0], TypeError, r"got NoneType \(numpy.newaxis\)"),
]


@pytest.mark.parametrize(("index", "error", "message"), BAD, ids=range(len(BAD)))
def test_refusals(index, error, message):
    out = np.full((3, 4), 7, np.float32)
    with pytest.raises(error, match=message):
        ic.normal((3, 4), index=index, out=out)
    assert (out == 7).all()


def test_parts_that_are_too_large():
    zeros = np.zeros(1 << 16, int)
    with pytest.raises(ValueError, match=r"array of shape \(65536, 65536, 65536, 65536\) is too big"):
        ic.normal((2, 2, 2, 2), index=np.ix_(zeros, zeros, zeros, zeros))
    # the first array keeps all axes of the broadcast in one list, of 2^63 bytes
    ends, zeros = np.zeros((2, 1, 1, 1, 2), int), np.zeros(1 << 20, int)
    index = (ends, zeros[:, None, None, None], zeros[:, None, None], zeros[: 1 << 18, None])
    with pytest.raises(MemoryError, match="no memory for the 1152921504606846976 elements"):
        ic.normal((2, 2, 2, 2), index=index)


STARTS = [(1 << 32) - 8, (1 << 34) - 8, (1 << 36) - 8, (1 << 40) + 3, (1 << 62) - 8]


@given(st.sampled_from(STARTS), st.sampled_from(["normal", "uniform"]), st.permutations(range(16)))
def test_windows_far_into_a_huge_tensor(start, spec, order):
    """Without the tensor: windows across 2^32 elements, 2^32 blocks, and far beyond."""
    init, whole = ic.get(spec), 2**63 - 1
    window = init(whole, seed=1, index=np.s_[start : start + 16])
    single = [init(whole, seed=1, index=start + i) for i in range(16)]
    np.testing.assert_array_equal(window, np.array(single))
    backwards = init(whole, seed=1, index=np.s_[start + 15 : start - 1 : -5])
    np.testing.assert_array_equal(backwards, window[::-5])
    listed = init(whole, seed=1, index=start + np.array(order))
    np.testing.assert_array_equal(listed, window[list(order)])
    from_the_end = init(whole, seed=1, index=start + np.array(order).reshape(4, 4) - whole)
    np.testing.assert_array_equal(from_the_end, window[np.reshape(order, (4, 4))])
    # the same elements as parts of rows of a matrix: the window's middle may be the end of a row
    matrix = (2**43 - 1, 2**20)
    rows, columns = np.divmod(start + np.arange(16), 2**20)
    np.testing.assert_array_equal(init(matrix, seed=1, index=(rows, columns)), window)
    mesh = init(matrix, seed=1, index=np.ix_([rows[0]], columns[:8][order[0] % 8 :: 2]))
    np.testing.assert_array_equal(mesh[0], window[:8][order[0] % 8 :: 2])
    row = init(matrix, seed=1, index=np.s_[rows[0], columns[0] : columns[0] + 8])
    np.testing.assert_array_equal(row, window[:8])
