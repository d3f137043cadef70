"""A weight made by processes, each its rows of shared memory: `python examples/multiprocessing_shards.py`.

The processes are started in the way that is given, spawn if none is: spawn, fork or forkserver.
"""

import hashlib
import multiprocessing
import sys
from itertools import pairwise
from multiprocessing.shared_memory import SharedMemory

import numpy as np

import initcore as ic

SHAPE = (1003, 512)  # of the whole: fans and addresses come from it
OPTIONS = {"seed": 0, "name": "layers.0.weight"}
PROCESSES = 3


def make_rows(memory: str, start: int, stop: int) -> None:
    """Make the rows from start to stop where they belong."""
    shared = SharedMemory(memory)
    whole = np.ndarray(SHAPE, np.float32, shared.buf)
    ic.he_normal(SHAPE, **OPTIONS, index=np.s_[start:stop], out=whole[start:stop], num_threads=1)
    del whole
    shared.close()


def main(method: str) -> None:
    """Make the parts, and compare with what one process makes."""
    expected = hashlib.sha256(ic.he_normal(SHAPE, **OPTIONS)).hexdigest()  # before the fork, on all threads
    shared = SharedMemory(create=True, size=4 * SHAPE[0] * SHAPE[1])
    try:
        bounds = [SHAPE[0] * i // PROCESSES for i in range(PROCESSES + 1)]
        parts = [(shared.name, *pair) for pair in pairwise(bounds)]
        with multiprocessing.get_context(method).Pool(PROCESSES) as pool:
            pool.starmap(make_rows, parts)
        digest = hashlib.sha256(shared.buf[: 4 * SHAPE[0] * SHAPE[1]]).hexdigest()
        assert digest == expected
        print(f"{PROCESSES} processes, {method}: {digest}")
    finally:
        shared.close()
        shared.unlink()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "spawn")
