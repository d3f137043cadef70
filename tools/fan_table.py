"""Writes tests/vectors/fans_peers.json: the fans that PyTorch, JAX and Keras give for a table of shapes.

python tools/fan_table.py        (needs torch, jax and keras)
"""

import importlib.metadata
import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

VECTORS = Path(__file__).parents[1] / "tests/vectors/fans_peers.json"

#: Dense, convolutions of 1 to 3 dimensions, with odd, even and unequal kernels, and axes of length 1.
SHAPES = [
    [2, 3],
    [784, 256],
    [1, 1],
    [1, 7],
    [4, 5, 3],
    [64, 3, 7, 7],
    [3, 3, 64, 128],
    [16, 8, 1, 5],
    [1, 32, 4, 2],
    [2, 3, 3, 4, 5],
    [8, 4, 3, 2, 1],
]

#: For JAX: shape, in_axis, out_axis, batch_axis.
AXES = [
    [[512, 8, 64], 0, [1, 2], []],
    [[512, 8, 64], [0], [2], [1]],
    [[8, 64, 512], [0, 1], [-1], []],
    [[8, 64, 512], [1], [2], [0]],
    [[6, 5, 4, 3], -1, 0, []],
    [[6, 5, 4, 3], -2, -1, 0],
    [[6, 5, 4, 3], [0, 3], [], [1]],
    [[6, 5, 4, 3], [], [0, -1], [2]],
    [[6, 5, 4, 3], [0, 1], [2, 3], []],
    [[3, 3, 16, 4], -1, -2, []],
    [[7], 0, [], []],
    [[9, 7], [], 1, 0],
]

#: Weights whose layer is not what their shape tells these libraries (see tests/test_fans_simulated.py).
DEFECTS = [
    ["torch", [24, 4, 3]],  # 4 groups
    ["jax", [3, 4, 24]],  # 4 groups
    ["keras", [3, 4, 24]],
    ["keras", [3, 3, 16, 2]],  # depthwise
    ["torch", [6, 24, 3]],  # transposed
    ["torch", [8, 12, 3]],  # transposed, 2 groups
    ["torch", [96, 32]],  # query, key and value; or a gate and its value
    ["jax", [4, 24, 16]],  # experts
    ["keras", [4, 24, 16]],
    ["jax", [32, 4, 8]],  # (embed, heads, head_dim)
    ["keras", [32, 4, 8]],
]


def torch_fans(shape):
    """Give the two fans of a weight (out, in, *kernel)."""
    import torch
    from torch.nn import init

    return init._calculate_fan_in_and_fan_out(torch.empty(shape))


def jax_fans(shape, in_axis=-2, out_axis=-1, batch_axis=()):
    """Give the two fans; JAX divides as floats, hence the rounding."""
    from jax._src.nn import initializers

    axes = [tuple(axis) if isinstance(axis, list) else axis for axis in (in_axis, out_axis, batch_axis)]
    return tuple(round(fan, 9) for fan in initializers._compute_fans(tuple(shape), *axes))


def keras_fans(shape):
    """Give the two fans of a kernel (*kernel, in, out)."""
    from keras.src.initializers import random_initializers

    return random_initializers.compute_fans(shape)


def table():
    """Give the recorded table."""
    return {
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "jax", "keras")},
        "torch": [[shape, *torch_fans(shape)] for shape in SHAPES],
        "jax": [[shape, *map(int, jax_fans(shape))] for shape in SHAPES],
        "keras": [[shape, *keras_fans(shape)] for shape in SHAPES],
        "jax_axes": [[case, *map(int, jax_fans(*case))] for case in AXES],
        "defects": [[peer, shape, *map(int, globals()[f"{peer}_fans"](shape))] for peer, shape in DEFECTS],
    }


def main():
    rows = {
        key: value if key == "versions" else [json.dumps(row) for row in value]
        for key, value in table().items()
    }
    lines = [f'"versions": {json.dumps(rows.pop("versions"))}']
    lines += [f'"{key}": [\n  ' + ",\n  ".join(value) + "\n]" for key, value in rows.items()]
    VECTORS.write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
