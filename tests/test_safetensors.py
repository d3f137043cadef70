"""What `initcore.safetensors` reads: shapes without values, and whether parameters are as they were drawn."""

import json
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import initcore as ic
from files_helpers import LIMIT, SHAPES, model
from initcore import streaming
from initcore.params import Rule, init_params, plan

INDEX = "model.safetensors.index.json"


@pytest.fixture
def sharded(tmp_path):
    """A model in eight files."""
    model().save(tmp_path, max_shard_size=LIMIT)
    return tmp_path


# --- shapes --------------------------------------------------------------------------------------


def test_shapes_are_those_of_the_plan_in_its_order(sharded, tmp_path):
    p = model()
    p.save(tmp_path / "alone.safetensors")
    expected = [(name, (x.shape, x.dtype)) for name, x in p.parameters.items()]
    for path in (sharded, sharded / INDEX, str(sharded), tmp_path / "alone.safetensors"):
        assert [*ic.safetensors.shapes(path).items()] == expected
    stored = ic.safetensors.shapes(sharded)["norm"]
    assert (stored.shape, stored.dtype) == ((512,), np.float32)


def test_the_same_model_with_fresh_weights(sharded, tmp_path):
    rules = {"norm": "ones", "*.b": "he_uniform", "*": "normal(0.02)"}
    init_params(ic.safetensors.shapes(sharded), rules, seed=1, out=tmp_path / "new", max_shard_size=LIMIT)
    assert ic.safetensors.verify(tmp_path / "new", model(1)) == {}
    assert ic.safetensors.verify(tmp_path / "new", model(0)).keys() == SHAPES.keys() - {"norm"}


def test_dtypes(tmp_path):
    floats = ["float64", "float32", "float16", "bfloat16"]
    integers = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
    names = [*floats, *integers, "bool"]
    arrays = {name: np.zeros((2, 3), name) for name in names}
    arrays |= {"F8_E4M3": np.zeros(3, ml_dtypes.float8_e4m3fn), "one": np.ones(()), "none": np.ones((0, 2))}
    save_file(arrays, tmp_path / "model.safetensors")
    shapes = ic.safetensors.shapes(tmp_path)
    assert shapes.keys() == arrays.keys()
    for name in names:
        assert shapes[name] == ((2, 3), np.dtype(name))
    assert shapes["F8_E4M3"] == ((3,), "F8_E4M3")
    assert (shapes["one"].shape, shapes["none"].shape) == ((), (0, 2))
    with pytest.raises(ValueError, match="cannot be initialized so") as caught:
        plan(shapes, {"*": "ones"})
    others = [name for name in [*names, "F8_E4M3"] if name not in floats]
    assert all(f"{name} (" in str(caught.value) for name in others)
    rest = {name: shape for name, shape in shapes.items() if name not in others}
    assert set(plan(rest, {"*": "ones"}).parameters) == {*floats, "one", "none"}


def test_one_file_goes_before_an_index(sharded):
    """As for those who load it."""
    init_params({"w": 3}, {"*": "ones"}, seed=0, out=sharded / "model.safetensors")
    assert ic.safetensors.shapes(sharded).keys() == {"w"}


def test_tensors_that_the_index_does_not_name_are_not_the_models(sharded):
    index = json.loads((sharded / INDEX).read_text())
    del index["weight_map"]["norm"]
    (sharded / INDEX).write_text(json.dumps(index))
    assert ic.safetensors.shapes(sharded).keys() == SHAPES.keys() - {"norm"}
    assert ic.safetensors.verify(sharded, model()) == {"norm": "is missing"}


@pytest.mark.parametrize("content", ["", "[]", "{", "{}", '{"weight_map": 3}', "\xff"])
def test_indices_that_are_none(content, tmp_path):
    (tmp_path / INDEX).write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match="is not the index of a model"):
        ic.safetensors.shapes(tmp_path)


def test_an_index_that_names_what_is_not_there(sharded):
    text = (sharded / INDEX).read_text()
    (sharded / INDEX).write_text(text.replace('"norm"', '"nrom"'))
    with pytest.raises(ValueError, match="names tensors that are not there: nrom in model-00008"):
        ic.safetensors.shapes(sharded)
    (sharded / INDEX).write_text(text)
    (sharded / "model-00003-of-00008.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="model-00003-of-00008"):
        ic.safetensors.shapes(sharded)


@pytest.mark.parametrize("data", [b"", b"text", b"\xff" * 100])
def test_files_that_are_not_of_safetensors(data, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(data)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(ValueError, match=r"model\.safetensors is not a safetensors file"):
            ic.safetensors.shapes(path)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither model\.safetensors nor"):
        ic.safetensors.shapes(tmp_path)
    with pytest.raises(FileNotFoundError):
        ic.safetensors.shapes(tmp_path / "no")


# --- verify --------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_bit_counts(dtype, threads, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "PIECE", 64)
    path = tmp_path / "model.safetensors"
    shapes = {
        "a": (7, 9),
        "b": (3, 2, 11),
        "q": ((12, 12), Rule("orthogonal", dtype="f4")),
        "z": (),
        "n": (0, 3),
    }
    p = plan(shapes, {"*": "normal"}, seed=3, dtype=dtype)
    p.save(path)
    assert ic.safetensors.verify(path, p, num_threads=threads) == {}
    data = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:begin])
    for name in ("a", "b", "q", "z"):
        low, high = entries[name]["data_offsets"]
        for place in (low, (low + high) // 2, high - 1):
            data[begin + place] ^= 1
            path.write_bytes(data)
            assert ic.safetensors.verify(path, p, num_threads=threads) == {name: "has other values"}
            data[begin + place] ^= 1


def test_files_that_others_have_written(tmp_path):
    """Their order and alignment are their own."""
    p = plan({"x": 5, "b": (6, 7), "a": ((3, 4), Rule("he_normal", dtype="f8"))}, {"*": "normal"}, seed=0)
    p.save(tmp_path / "ours")
    save_file(load_file(tmp_path / "ours"), tmp_path / "theirs")
    assert ic.safetensors.verify(tmp_path / "theirs", p) == {}


def test_what_is_wrong_is_said_of_each(tmp_path):
    shapes = {"same": 3, "changed": 3, "gone": 3, "shape": (2, 3), "dtype": 3, "both": 4}
    p = plan(shapes, {"*": "normal"}, seed=0)
    arrays = p.init()
    arrays["changed"][1] += 1
    arrays["shape"] = arrays["shape"].reshape(3, 2)
    arrays["dtype"] = arrays["dtype"].astype("f8")
    arrays["both"] = np.arange(3)
    del arrays["gone"]
    save_file(arrays | {"new": np.ones(1)}, tmp_path / "model")
    faults = ic.safetensors.verify(tmp_path / "model", p, progress=True)
    assert faults == {
        "changed": "has other values",
        "gone": "is missing",
        "shape": "has shape (3, 2) and dtype float32, expected shape (2, 3) and dtype float32",
        "dtype": "has shape (3,) and dtype float64, expected shape (3,) and dtype float32",
        "both": "has shape (3,) and dtype int64, expected shape (4,) and dtype float32",
        "new": "is not in the plan",
    }
    assert list(faults) == ["changed", "gone", "shape", "dtype", "both", "new"]


def test_no_model_is_in_memory(tmp_path):
    p = plan({"w": (4096, 2048), "b": 2**23}, {"*": "zeros"}, seed=0)
    p.save(tmp_path, max_shard_size="40MB")
    tracemalloc.start()
    try:
        assert ic.safetensors.verify(tmp_path, p, num_threads=2) == {}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**24


def test_arguments_that_are_wrong(sharded):
    with pytest.raises(TypeError, match="plan must be ModelPlan, got dict"):
        ic.safetensors.verify(sharded, {})
    with pytest.raises(ValueError, match="num_threads"):
        ic.safetensors.verify(sharded, model(), num_threads=0)
