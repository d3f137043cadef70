"""One fit in several processes that MPI connects; the same weights as in one.

mpiexec -n 2 python examples/data_parallel_mpi.py
"""

import numpy as np

import initcore as ic


def digits(count, seed):
    """Noisy pictures of ten patterns of 8 x 8 points, and which of them each is."""
    patterns = ic.normal((10, 64), seed=0, name="patterns")
    labels = np.random.default_rng(seed).integers(0, 10, count)
    return patterns[labels] + ic.normal((count, 64), std=2.5, seed=seed, name="noise"), labels


def train(workers):
    """The same call in every process: `workers` alone makes the difference."""
    net = ic.MLP([64, 128, 10], seed=0)
    history = net.fit(
        *digits(5000, seed=1),
        loss="softmax_cross_entropy",
        optimizer=ic.Adam(1e-3),
        batch_size=128,
        epochs=5,
        validation_data=digits(1000, seed=2),
        workers=workers,
        num_threads=1,
    )
    return net.parameters(), history


workers = ic.distributed.MPIWorkers()
shared, history = train(workers)
if workers.rank == 0:
    alone, _ = train(None)
    difference = max(abs(shared[name] - alone[name]).max() for name in alone)
    print(f"{workers.size} processes: validation accuracy {history.val_accuracy[-1]:.3f},")
    print(f"largest difference {difference:.1e} from the weights that one process finds")
