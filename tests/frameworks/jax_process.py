"""One process of several that share a mesh: makes its shards, and writes them to a directory.

python jax_process.py ADDRESS COUNT RANK DIRECTORY, with the devices of XLA_FLAGS; ran by test_jax.py.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import initcore as ic
from initcore.jax import arrays

SHAPE = (64, 48)
CASES = [
    (init, spec, dtype)
    for init in ("he_normal", "orthogonal", "truncated_normal")
    for spec in (P("a"), P("b", "a"), P(None, ("a", "b")), P("b"), P())
    for dtype in ("float32", "bfloat16")
]
SHAPES = {
    "fc1": {
        "kernel": jax.ShapeDtypeStruct((8, 16), "float32"),
        "bias": jax.ShapeDtypeStruct((16,), "float32"),
    }
}


def main(address, count, rank, directory):
    jax.distributed.initialize(address, count, rank)
    mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(-1, 4), ("a", "b"))
    assert len(jax.local_devices()) == len(jax.devices()) // count
    allocated, aligned = [], arrays.aligned
    arrays.aligned = lambda shape, dtype: allocated.append(shape) or aligned(shape, dtype)

    out, made = Path(directory), {}
    for i, (init, spec, dtype) in enumerate(CASES):
        allocated.clear()
        x = ic.jax.make_array(init, SHAPE, NamedSharding(mesh, spec), seed=3, name=f"w{i}", dtype=dtype)
        assert x.shape == SHAPE
        made[i] = [list(shape) for shape in allocated]
        for j, shard in enumerate(x.addressable_shards):
            bounds = [axis.indices(n)[:2] for axis, n in zip(shard.index, SHAPE, strict=True)]
            np.savez(out / f"{i}.{rank}.{j}.npz", bounds=bounds, words=np.asarray(shard.data).view(np.uint8))

    tree = ic.jax.make_tree(
        SHAPES,
        {"*.bias": "zeros", "*": "he_normal"},
        {"fc1": {"kernel": NamedSharding(mesh, P("a", "b")), "bias": NamedSharding(mesh, P())}},
        seed=3,
    )
    # a computation over all processes agrees
    total = jax.jit(lambda w: (w**2).sum(), out_shardings=NamedSharding(mesh, P()))(tree["fc1"]["kernel"])
    with jax.set_mesh(mesh):
        eager = ic.jax.he_normal()(jax.random.key(7), (8, 16), out_sharding=P("a", "b"))
        replicated = ic.jax.he_normal()(jax.random.key(7), (4, 4))
        compiled = jax.jit(lambda key: ic.jax.he_normal()(key, (8, 16)), out_shardings=eager.sharding)
        for mine, theirs in zip(
            compiled(jax.random.key(7)).addressable_shards, eager.addressable_shards, strict=True
        ):
            assert np.array_equal(mine.data, theirs.data)
    sums = [float(total), float(jax.jit(lambda w: w.sum(), out_shardings=NamedSharding(mesh, P()))(eager))]
    assert replicated.is_fully_replicated
    assert len(replicated.sharding.device_set) == len(jax.devices())
    (out / f"{rank}.json").write_text(json.dumps({"made": made, "sums": sums}))
    jax.distributed.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
