"""Model files and those who load them: transformers, huggingface_hub and safetensors' loader for PyTorch."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import initcore as ic

EXAMPLE = Path(__file__).parents[2] / "examples" / "init_checkpoint.py"
INDEX = "model.safetensors.index.json"
RULES = {"*norm.weight": "ones", "*_proj.weight": "xavier_uniform", "*": "normal(0.02)"}


def llama(*, tied=False):
    """A tiny one, without values."""
    config = transformers.LlamaConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
    )
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def planned(model, dtype="float32", order=list):
    shapes = {name: tuple(p.shape) for name, p in order(model.named_parameters())}
    return ic.plan(shapes, RULES, seed=3, dtype=dtype, layout="torch")


def bits(tensors):
    return {name: (x.dtype, tuple(x.shape), x.contiguous().view(torch.uint8).tolist()) for name, x in tensors}


def drawn(plan):
    """What the plan draws, as tensors; bfloat16 goes through a view, as NumPy's is none of PyTorch's."""
    arrays = plan.init()
    if all(p.dtype.name == "bfloat16" for p in plan.parameters.values()):
        return bits((n, torch.from_numpy(x.view("int16")).view(torch.bfloat16)) for n, x in arrays.items())
    return bits((n, torch.from_numpy(x)) for n, x in arrays.items())


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(1, 60))
def test_the_files_are_those_of_huggingface_hub(sizes, limit):
    theirs = huggingface_hub.split_state_dict_into_shards_factory(
        {str(i): n for i, n in enumerate(sizes)},
        get_storage_size=lambda n: 4 * n,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=limit,
    )
    plan = ic.plan({str(i): n for i, n in enumerate(sizes)}, {"*": "ones"}, seed=0)
    tensors = ic.plans.tensors_of(plan, None)
    ours = ic.sharding.Directory.laid_out(Path(), tensors, {}, limit)
    found = {file.path.name: [tensor.name for tensor in file.tensors] for file in ours.files}
    assert list(found.items()) == list(theirs.filename_to_tensors.items())
    if theirs.is_sharded:
        assert json.loads(ours.index)["weight_map"] == theirs.tensor_to_filename
    else:
        assert ours.index is None


@pytest.mark.parametrize("limit", ["20KB", "1MB"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_transformers_loads_every_bit(dtype, tied, limit, tmp_path):
    model = llama(tied=tied)
    plan = planned(model, dtype)
    model.config.save_pretrained(tmp_path)
    plan.save(tmp_path, max_shard_size=limit)
    assert (tmp_path / INDEX).exists() == (limit == "20KB")
    loaded, told = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=dtype, output_loading_info=True
    )
    assert not any(told.values()), told
    assert bits(loaded.named_parameters()) == drawn(plan)
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied


def test_transformers_writes_the_same_layout(tmp_path):
    """The same files hold the same tensors, and the index differs by what says whose it is.

    It goes through the names in alphabetical order.
    """
    plan = planned(llama(), order=sorted)
    llama().config.save_pretrained(tmp_path / "ours")
    plan.save(tmp_path / "ours", max_shard_size="20KB")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    model.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    ours, theirs = (json.loads((tmp_path / name / INDEX).read_text()) for name in ("ours", "theirs"))
    assert ours["metadata"].pop("initcore")
    assert ours == theirs
    for name in set(ours["weight_map"].values()):
        a, b = (load_file(tmp_path / which / name) for which in ("ours", "theirs"))
        assert bits(a.items()) == bits(b.items())


def test_a_checkpoint_of_transformers_is_read_and_compared(tmp_path):
    """Its shapes are a model to draw anew; a step of training is seen."""
    model = llama()
    model.config.save_pretrained(tmp_path / "ours")
    plan = planned(model)
    plan.save(tmp_path / "ours", max_shard_size="20KB")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    model.save_pretrained(tmp_path / "theirs", max_shard_size="1MB")
    stored = ic.safetensors.shapes(tmp_path / "theirs")
    assert {name: x.shape for name, x in stored.items()} == {n: x.shape for n, x in plan.parameters.items()}
    anew = ic.plan(stored, RULES, seed=3, layout="torch")
    assert ic.safetensors.verify(tmp_path / "theirs", anew) == {}
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[5, 7] *= 1.0000002
    model.save_pretrained(tmp_path / "theirs", max_shard_size="1MB")
    changed = {"model.layers.1.mlp.up_proj.weight": "has other values"}
    assert ic.safetensors.verify(tmp_path / "theirs", anew) == changed


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_the_loader_of_safetensors_for_pytorch(dtype, tmp_path):
    plan = ic.plan({"w": (30, 31), "b": 31, "none": (0, 3), "one": ()}, {"*": "normal"}, seed=1, dtype=dtype)
    plan.save(tmp_path / "model.safetensors")
    loaded = load_file(tmp_path / "model.safetensors")
    assert {x.dtype for x in loaded.values()} == {getattr(torch, dtype)}
    for name, array in plan.init().items():
        assert tuple(loaded[name].shape) == array.shape
        assert loaded[name].reshape(-1).view(torch.uint8).numpy().tobytes() == array.tobytes()


def test_the_example(tmp_path):
    """Two processes at once, and three one after the other: the same files."""

    def run(directory, *arguments):
        subprocess.run([sys.executable, EXAMPLE, directory, *arguments], check=True, timeout=120)

    run(tmp_path / "two", "--processes", "2")
    for i in "201":
        assert not (tmp_path / "three" / INDEX).exists()
        run(tmp_path / "three", "--part", i, "3")
    two, three = (
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / name).iterdir()}
        for name in ("two", "three")
    )
    assert two == three
    assert INDEX in two
