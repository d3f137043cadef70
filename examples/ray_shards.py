"""A weight made by Ray tasks, each its own columns: `python examples/ray_shards.py`.

A task is told the shape, the seed, the name and its columns; no values travel to it. Where it runs, and
how often it is started again, changes nothing.
"""

import hashlib
from itertools import pairwise

import numpy as np
import ray

import initcore as ic

SHAPE = (1003, 512)  # of the whole: fans and addresses come from it
TASKS = 3


@ray.remote
def columns(start: int, stop: int) -> np.ndarray:
    """Make the columns from start to stop; with one thread, as Ray counts on one core for a task."""
    return ic.he_normal(SHAPE, seed=0, name="layers.0.weight", index=np.s_[:, start:stop], num_threads=1)


def main() -> None:
    """Make the parts, put them together, and compare with what one process makes."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    bounds = [SHAPE[1] * task // TASKS for task in range(TASKS + 1)]
    parts = ray.get([columns.remote(*pair) for pair in pairwise(bounds)])
    digest = hashlib.sha256(np.concatenate(parts, axis=1)).hexdigest()
    assert digest == hashlib.sha256(ic.he_normal(SHAPE, seed=0, name="layers.0.weight")).hexdigest()
    print(f"{TASKS} tasks: {digest}")
    ray.shutdown()


if __name__ == "__main__":
    main()
