"""One parameter, every framework, 1 to 8 shards: one SHA-256.

Each function makes it in so many parts, as its framework shards arrays, and gives the parts put together.
``python examples/one_hash.py`` prints the table of the README.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import numpy as np

import initcore as ic

INIT, SHAPE, LAYOUT, SEED, NAME = "he_normal", (840, 768), "torch", 0, "blocks.0.mlp.weight"
SHARDS = range(1, 9)  # all divide 840, which JAX asks for; PyTorch and Dask do not


def numpy(shards: int) -> np.ndarray[Any, Any]:
    """Make one part after the other."""
    rows = SHAPE[0] // shards
    parts = [
        ic.he_normal(SHAPE, seed=SEED, name=NAME, layout=LAYOUT, index=np.s_[rows * i : rows * (i + 1)])
        for i in range(shards)
    ]
    return np.concatenate(parts)


def pytorch(shards: int) -> np.ndarray[Any, Any]:
    """Make each rank's part of a DTensor, in a group whose other processes are not there."""
    import torch
    from torch import distributed as dist
    from torch.distributed.tensor import Shard, empty, init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    parts = []
    for rank in range(shards):
        dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=shards)
        mesh = init_device_mesh("cpu", (shards,))
        weight = empty(SHAPE, dtype=torch.float32, device_mesh=mesh, placements=[Shard(0)])
        ic.torch.fill_(weight, INIT, seed=SEED, name=NAME, layout=LAYOUT)
        parts.append(weight.to_local().numpy())
        dist.destroy_process_group()
    return np.concatenate(parts)


def jax(shards: int) -> np.ndarray[Any, Any]:
    """Make an array that is spread over so many devices."""
    from jax import devices
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.array(devices("cpu")[:shards]), ["data"])
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return np.asarray(ic.jax.make_array(INIT, SHAPE, sharding, seed=SEED, name=NAME, layout=LAYOUT))


def keras(shards: int) -> np.ndarray[Any, Any]:
    """Make the whole: Keras itself has no parts."""
    if shards > 1:
        raise NotImplementedError
    initializer = ic.keras.Initializer(INIT, seed=SEED, name=NAME, layout=LAYOUT)
    return np.asarray(initializer(SHAPE))


def dask(shards: int) -> np.ndarray[Any, Any]:
    """Make an array of so many chunks."""
    chunks = (SHAPE[0] // shards, SHAPE[1])
    return ic.dask.make_array(INIT, SHAPE, chunks=chunks, seed=SEED, name=NAME, layout=LAYOUT).compute()


def safetensors(shards: int) -> np.ndarray[Any, Any]:
    """Make a file; a tensor lies in one of them as a whole."""
    if shards > 1:
        raise NotImplementedError
    from safetensors.numpy import load_file

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.safetensors")
        ic.init_params({NAME: (SHAPE, INIT)}, seed=SEED, layout=LAYOUT, out=path)
        return load_file(path)[NAME]


FRAMEWORKS: dict[str, Callable[[int], np.ndarray[Any, Any]]] = {
    "NumPy": numpy,
    "PyTorch (DTensor)": pytorch,
    "JAX": jax,
    "Keras": keras,
    "Dask": dask,
    "safetensors": safetensors,
}


def digests() -> Iterator[tuple[str, int, str]]:
    """Give framework, number of shards and SHA-256 of the whole, as little-endian bytes in C order."""
    for framework, make in FRAMEWORKS.items():
        for shards in SHARDS:
            try:
                whole = make(shards)
            except NotImplementedError:
                continue
            if whole.shape != SHAPE:
                raise ValueError(f"{framework}, {shards} shards: shape {whole.shape}, expected {SHAPE}")
            yield framework, shards, hashlib.sha256(whole.astype("<f4", copy=False).tobytes()).hexdigest()


if __name__ == "__main__":
    found: dict[tuple[str, str], list[int]] = {}
    for framework, shards, digest in digests():
        found.setdefault((framework, digest), []).append(shards)
    for (framework, digest), shards in found.items():
        count = f"{shards[0]} to {shards[-1]} shards" if len(shards) > 1 else "1 shard"
        print(f"{framework:18} {count:13}  {digest}")
