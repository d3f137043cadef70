"""Dask arrays have the values of the whole, however they are cut, wherever their chunks are made."""

import pickle

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, wait
from hypothesis import given, settings
from hypothesis import strategies as st

import initcore as ic
from initcore.dask import _Parameter

SCHEMES = ["he_normal", "xavier_uniform", "lecun_truncated_normal", "identity", "orthogonal", "sparse(0.5)"]


@pytest.fixture(autouse=True)
def scheduler():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def made(monkeypatch):
    """Give a list of the shapes that are drawn from now on."""
    shapes = []
    plain = _Parameter.__getitem__

    def recorded(self, index):
        part = plain(self, index)
        shapes.append(part.shape)
        return part

    monkeypatch.setattr(_Parameter, "__getitem__", recorded)
    return shapes


def same(x, y):
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


@st.composite
def cuts(draw, low=0, high=4):
    """Draw a shape, and a way to cut it along every axis."""
    shape = tuple(draw(st.lists(st.integers(0, 9), min_size=low, max_size=high)))
    chunks = []
    for n in shape:
        bounds = sorted(draw(st.sets(st.integers(1, n - 1)))) if n > 1 else []
        chunks.append(tuple(np.diff([0, *bounds, n]).tolist()))
    return shape, tuple(chunks)


@given(
    cuts(),
    st.sampled_from(["normal", "uniform", "zeros"]),
    st.sampled_from(["float32", "float64", "bfloat16"]),
)
@settings(max_examples=60, deadline=None)
def test_any_shape_cut_anyhow(cut, init, dtype):
    shape, chunks = cut
    array = ic.dask.make_array(init, shape, chunks=chunks, seed=1, name="w", dtype=dtype)
    assert (array.shape, array.chunks, array.dtype) == (shape, chunks, np.dtype(array.dtype))
    assert same(array.compute(), ic.get(init)(shape, seed=1, name="w", dtype=dtype))


@given(
    cuts(2, 2).filter(lambda cut: 0 not in cut[0]),
    st.sampled_from(SCHEMES),
    st.sampled_from(["numpy", "torch"]),
)
@settings(max_examples=60, deadline=None)
def test_any_initializer_and_layout(cut, init, layout):
    shape, chunks = cut
    array = ic.dask.make_array(init, shape, chunks=chunks, seed=1, layout=layout)
    assert array.chunks == chunks
    assert same(array.compute(), ic.get(init)(shape, seed=1, layout=layout))


@given(cuts(1, 3), st.data())
@settings(max_examples=40, deadline=None)
def test_cut_again_or_indexed(cut, data):
    shape, chunks = cut
    whole = ic.normal(shape, seed=2)
    array = ic.dask.make_array("normal", shape, chunks=chunks, seed=2)
    assert same(array.rechunk(2).compute(), whole)
    index = tuple(data.draw(st.slices(n)) for n in shape)
    assert same(array[index].compute(), whole[index])


@pytest.mark.parametrize(
    ("shape", "chunks", "expected"),
    [
        ((6, 4), "auto", ((6,), (4,))),
        ((6, 4), 4, ((4, 2), (4,))),
        ((6, 4), (4, -1), ((4, 2), (4,))),
        ((6, 4), {1: 3}, ((6,), (3, 1))),
        ((6, 4), "16 B", None),
        (5, 2, ((2, 2, 1),)),
        ((), "auto", ()),
        ((0, 3), (1, 2), ((0,), (2, 1))),
    ],
)
def test_chunks_as_dask_takes_them(shape, chunks, expected):
    array = ic.dask.make_array("normal", shape, chunks=chunks, seed=0)
    assert expected is None or array.chunks == expected
    assert same(array.compute(), ic.normal(shape, seed=0))


def test_no_task_makes_more_than_its_chunk(made):
    array = ic.dask.make_array("he_normal", (7, 10), chunks=((3, 4), (5, 2, 3)), seed=0)
    made.clear()
    array.compute()
    assert sorted(made) == sorted((i, j) for i in (3, 4) for j in (5, 2, 3))


def test_a_parameter_larger_than_memory_is_made_in_parts(made):
    array = ic.dask.make_array("he_normal", (2**40, 2**20), chunks=(2**30, 2**20), seed=0, name="huge")
    made.clear()
    part = array[2**39 : 2**39 + 3, -5:].compute()
    assert made == [(3, 5)]
    assert same(part, ic.he_normal((2**40, 2**20), seed=0, name="huge", index=np.s_[2**39 : 2**39 + 3, -5:]))


def test_what_is_made_whole_is_made_once(made):
    array = ic.dask.make_array("orthogonal", (12, 8), chunks=(3, 4), seed=0)
    made.clear()
    assert same(array.compute(), ic.orthogonal((12, 8), seed=0))
    assert made == [(12, 8)]


ARGUMENTS = {"init": "he_normal", "shape": (6, 4), "chunks": 2, "seed": 0, "name": "w", "dtype": "float32"}


def test_the_same_arguments_give_the_same_name():
    names = [ic.dask.make_array(**ARGUMENTS).name for _ in range(2)]
    names.append(ic.dask.make_array(**ARGUMENTS | {"init": ic.VarianceScaling(2.0, "fan_in", "normal")}).name)
    assert len(set(names)) == 1
    array = ic.dask.make_array(**ARGUMENTS)
    assert pickle.loads(pickle.dumps(array)).name == array.name


@pytest.mark.parametrize(
    "changed",
    [
        {"init": "he_uniform"},
        {"init": "he_normal(1.5)"},
        {"shape": (4, 6)},
        {"chunks": 3},
        {"seed": 1},
        {"name": None},
        {"dtype": "float16"},
        {"dtype": "bfloat16"},
        {"layout": "torch"},
        {"layout": ic.Layout("numpy", groups=2)},
    ],
    ids=str,
)
def test_other_arguments_give_another_name(changed):
    assert ic.dask.make_array(**ARGUMENTS | changed).name != ic.dask.make_array(**ARGUMENTS).name


def test_no_seed_is_one_seed():
    array = ic.dask.make_array("normal", (4, 4), chunks=2, seed=None)
    assert same(array.compute(), array.compute())
    assert not same(array.compute(), ic.dask.make_array("normal", (4, 4), seed=None).compute())


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"init": "he_norml"}, ValueError, "he_norml"),
        ({"shape": (6,)}, ValueError, "at least 2 dimensions"),
        ({"shape": (6, -1)}, ValueError, "each axis of shape must be in"),
        ({"shape": (6, 1.5)}, TypeError, "each axis of shape must be an integer, got 1.5"),
        ({"seed": -1}, ValueError, "seed"),
        ({"name": 3}, TypeError, "name"),
        ({"dtype": "int32"}, (TypeError, ValueError), "int32"),
        ({"layout": "tf"}, ValueError, "tf"),
        ({"chunks": (3, (1, 1))}, ValueError, "Chunks do not add up"),
        ({"num_threads": 0}, ValueError, "num_threads"),
    ],
)
def test_errors_come_now_and_not_in_a_worker(changed, error, message):
    with pytest.raises(error, match=message):
        ic.dask.make_array(**ARGUMENTS | changed)


def test_the_seed_must_be_given():
    with pytest.raises(TypeError, match="seed"):
        ic.dask.make_array("normal", (4, 4))


def held(dask_worker):
    """Give the shapes of what a worker holds."""
    return [value.shape for value in dask_worker.data.values() if isinstance(value, np.ndarray)]


def named(arguments):
    return ic.dask.make_array(**arguments).name


def test_a_cluster_of_processes_makes_the_same(made):
    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(n_workers=2, **options) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        arrays = [
            ic.dask.make_array("he_normal", (64, 48), chunks=(16, 24), seed=3, name="w", dtype=dtype)
            for dtype in ("float32", "bfloat16")
        ]
        made.clear()
        kept = client.persist(arrays)
        wait(kept)
        chunks = client.run(held)
        assert all(chunks.values())  # both workers
        assert [shape for shapes in chunks.values() for shape in shapes] == [(16, 24)] * 16
        for array in kept:
            expected = ic.he_normal((64, 48), seed=3, name="w", dtype=array.dtype)
            assert same(client.compute(array, sync=True), expected)
        assert not made  # nothing in this process
        orthogonal = ic.dask.make_array("orthogonal", (64, 48), chunks=(16, 24), seed=3)
        assert same(client.compute(orthogonal, sync=True), ic.orthogonal((64, 48), seed=3))
        assert client.submit(named, ARGUMENTS).result(timeout=60) == named(ARGUMENTS)
        mean = da.mean(ic.dask.make_array("uniform", (1000, 1000), chunks=100, seed=0))
        assert abs(client.compute(mean, sync=True) - 0.5) < 6.5 / (12e6) ** 0.5
