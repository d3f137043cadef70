"""What a 4096 x 4096 matrix costs through `initcore.jax`, and through JAX: the table of docs/jax.md.

All are asked in turn, round after round, and the best and median times are kept. Each starts from a key or a
seed and ends with an array that is ready; compiling is not counted. Run with ``python benches/jax_table.py``.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

import initcore as ic

SHAPE = (4096, 4096)
ROUNDS = 20
KEY = jax.random.key(0)
DEVICE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def make(dtype):
    ours = jax.jit(lambda key: ic.jax.he_normal()(key, SHAPE, dtype))
    theirs = jax.jit(lambda key: jax.nn.initializers.he_normal()(key, SHAPE, dtype))
    normal = jax.jit(lambda key: jax.random.normal(key, SHAPE, dtype))
    init = ic.get("he_normal")
    return {
        '`make_array("he_normal", ...)`': lambda: ic.jax.make_array(init, SHAPE, DEVICE, seed=0, dtype=dtype),
        "the same, truncated": lambda: ic.jax.make_array(
            "he_truncated_normal", SHAPE, DEVICE, seed=0, dtype=dtype
        ),
        "`jax.device_put` of a NumPy array from `he_normal`: with a copy": lambda: jax.device_put(
            init(SHAPE, seed=0, dtype=dtype)
        ),
        "`ic.jax.he_normal()(key)`": lambda: ic.jax.he_normal()(KEY, SHAPE, dtype),
        "the same in `jax.jit`: a callback": lambda: ours(KEY),
        "`jax.random.normal`, compiled": lambda: normal(KEY),
        "`jax.nn.initializers.he_normal`, compiled": lambda: theirs(KEY),
    }


def main():
    cases = {dtype: make(dtype) for dtype in (jnp.float32, jnp.bfloat16)}
    times = {(dtype, name): [] for dtype, of in cases.items() for name in of}
    for number in range(ROUNDS + 1):
        for (dtype, name), kept in times.items():
            start = time.perf_counter()
            array = cases[dtype][name]().block_until_ready()
            if number:
                kept.append(time.perf_counter() - start)
            assert array.dtype == dtype
            assert np.isfinite(array[0, 0])
            del array
    print("| | float32 | bfloat16 |\n|---|---|---|")
    for name in cases[jnp.float32]:
        cells = [
            f"{1e3 * min(t):.0f} ({1e3 * statistics.median(t):.0f})"
            for t in (times[dtype, name] for dtype in cases)
        ]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
