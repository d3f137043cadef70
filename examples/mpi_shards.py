"""A weight made by the ranks of an MPI job, each its own rows: `mpiexec -n 4 python examples/mpi_shards.py`.

No rank draws what another has, none is told anything by another, and the number of ranks changes no value.
Here the first one gathers the rows all the same, to show that they are those of a single process.
"""

import hashlib

import numpy as np
from mpi4py import MPI

import initcore as ic

SHAPE = (1003, 512)  # of the whole: fans and addresses come from it
OPTIONS = {"seed": 0, "name": "layers.0.weight"}

world = MPI.COMM_WORLD
bounds = [SHAPE[0] * rank // world.size for rank in range(world.size + 1)]
mine = np.s_[bounds[world.rank] : bounds[world.rank + 1]]

# One thread for each rank, as there are as many ranks as cores.
part = ic.he_normal(SHAPE, **OPTIONS, index=mine, num_threads=1)

whole = np.empty(SHAPE, np.float32) if world.rank == 0 else None
counts = np.diff(bounds) * SHAPE[1]
world.Gatherv(part, (whole, counts) if world.rank == 0 else None)
if world.rank == 0:
    digest = hashlib.sha256(whole).hexdigest()
    assert digest == hashlib.sha256(ic.he_normal(SHAPE, **OPTIONS)).hexdigest()
    print(f"{world.size} ranks: {digest}")
