"""Microseconds per step of a fit, alone or shared; every process prints what it measures.

python benches/data_parallel.py
torchrun --standalone --nproc-per-node=2 benches/data_parallel.py torch
mpiexec -n 2 python benches/data_parallel.py mpi
"""

import sys

import numpy as np

import initcore as ic

# Sizes, samples per step, epochs.
CASES = [
    ([64, 64, 10], 64, 2000),
    ([784, 256, 128, 10], 128, 150),
    ([784, 256, 128, 10], 1024, 40),
    ([1024, 1024, 1024, 10], 512, 12),
]
STEPS = 4  # of an epoch


class Mirror:
    """A second process that always says the same: what a shared step costs without any connection."""

    rank, size = 0, 2

    def sum(self, buffer):
        report = buffer.size // 2 if buffer.dtype == np.float64 else 16
        buffer[-report:] = buffer[-2 * report : -report]


def microseconds(sizes, batch, epochs, workers=None, threads=1):
    """Of a step in the fastest epoch: others may use the machine too."""
    rng = np.random.default_rng(0)
    rows = STEPS * batch
    x, t = rng.normal(size=(rows, sizes[0])).astype(np.float32), rng.integers(0, 10, rows)
    net = ic.MLP(sizes, seed=0)
    history = net.fit(
        x, t, loss="softmax_cross_entropy", optimizer=ic.SGD(1e-4, momentum=0.9), batch_size=batch,
        epochs=epochs, progress=False, workers=workers, num_threads=threads,
    )  # fmt: skip
    return min(history.seconds) / STEPS * 1e6


def columns(kind):
    if kind == "alone":
        return [
            ("1 thread", lambda case: microseconds(*case)),
            ("2 threads", lambda case: microseconds(*case, threads=2)),
            ("half of the batch", lambda case: microseconds(case[0], case[1] // 2, case[2])),
            ("half, mirror", lambda case: microseconds(*case, workers=Mirror())),
        ]
    if kind == "torch":
        import torch.distributed as dist

        dist.init_process_group("gloo")
        workers = ic.distributed.TorchWorkers()
    else:
        workers = ic.distributed.MPIWorkers()
    return [(f"{workers.size} processes ({kind})", lambda case: microseconds(*case, workers=workers))]


def main(kind="alone"):
    for name, measure in columns(kind):
        print(f"{name:24}", *(f"{measure(case):10.0f}" for case in CASES), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
