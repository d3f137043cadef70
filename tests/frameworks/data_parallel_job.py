"""What the processes of `test_data_parallel.py` do: `data_parallel_job.py torch|mpi|alone DIRECTORY`.

Each process runs every case in order and writes to the directory, under its rank, the parameters and the
history that it ended with, or the error.
"""

import json
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

import numpy as np

import initcore as ic

RNG = np.random.default_rng(7)
ROWS = 203
X, LABELS, VALUES = RNG.normal(size=(ROWS, 20)), RNG.integers(0, 5, ROWS), RNG.normal(size=(ROWS, 5))
WEIGHTS = RNG.random(ROWS) * (RNG.random(ROWS) < 0.8)
CE, MSE = "softmax_cross_entropy", "mse"

# Batches of 64 leave 11 samples for the last, those of 101 a single one.
FITS = {
    "sgd": {"optimizer": ic.SGD(0.1), "loss": MSE},
    "momentum": {"optimizer": ic.SGD(0.1, momentum=0.9), "clip_norm": 0.2},
    "adam": {"optimizer": ic.Adam(1e-3), "sample_weight": WEIGHTS, "batch_size": 101},
    "adamw": {"optimizer": ic.AdamW(1e-3), "loss": MSE, "clip_norm": 0.2, "sample_weight": WEIGHTS},
}
CASES = {f"{name}-{dtype}": {**fit, "dtype": dtype} for name, fit in FITS.items() for dtype in ("f4", "f8")}
CASES["again"] = CASES["momentum-f4"]
# 3 million numbers: connections take other ways for long buffers.
CASES["large"] = {"dtype": "f4", "optimizer": ic.SGD(0.01), "width": 1700, "epochs": 1, "batch_size": 101}
CASES["diverging"] = {"dtype": "f4", "optimizer": ic.SGD(1e18), "loss": MSE}
CASES["skipping"] = {**CASES["diverging"], "nonfinite": "skip"}
# Those of which a process alone knows nothing.
TOGETHER = ("other data", "stopped", "callback", "interrupted")


def fit(workers, net, **options):
    loss = options.pop("loss", CE)
    t = LABELS if loss == CE else VALUES
    kw = {
        "x": X, "t": t, "batch_size": 64, "epochs": 3, "seed": 1, "validation_data": (X[:50], t[:50]),
        "optimizer": ic.SGD(0.1), "num_threads": 1, "progress": False, **options,
    }  # fmt: skip
    return net.fit(loss=loss, workers=workers, **kw)


def interrupt_soon():
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.daemon = True
    timer.start()


def together(name, workers, net):
    """A case in which process 1 does something else."""
    other = workers.rank == 1
    if name == "other data":
        return fit(workers, net, x=X[::-1] if other else X)
    if name == "stopped":
        return fit(workers, net, epochs=9, callbacks=[lambda row: other and row["epoch"] == 1])
    if name == "callback":
        return fit(workers, net, epochs=9, callbacks=[lambda row: other and [0, 0][row["epoch"]]])
    if name == "interrupted":
        if other:
            interrupt_soon()
        return fit(workers, net, epochs=10**7)
    raise AssertionError(name)


def run(name, workers):
    """Network, and history or error, of a case."""
    options = dict(CASES.get(name, {"dtype": "f8"}))
    width, dtype = options.pop("width", 40), options.pop("dtype")
    net = ic.MLP([20, width, width, 5], activation="tanh", init="xavier_normal", seed=0, dtype=dtype)
    try:
        history = fit(workers, net, **options) if name in CASES else together(name, workers, net)
    except BaseException as error:  # noqa: BLE001
        return net, {"error": f"{type(error).__name__}: {error}"}
    names = ["loss", "accuracy", "val_loss", "val_accuracy", "gradient_norm", "skipped"]
    rows = [{name: row[name] for name in names if row[name] is not None} for row in history.epochs]
    return net, {"rows": rows, "divergence": str(history.divergence), "skipped": history.skipped}


def engine(kind):
    if kind == "torch":
        from datetime import timedelta

        import torch.distributed as dist

        dist.init_process_group("gloo", timeout=timedelta(seconds=60))
        return ic.distributed.TorchWorkers()
    return ic.distributed.MPIWorkers() if kind == "mpi" else None


def main(kind, directory):
    workers = engine(kind)
    directory, rank = Path(directory), workers.rank if workers else 0
    warnings.simplefilter("ignore", RuntimeWarning)  # that a fit diverges

    def write(name, net, outcome):
        parameters = np.concatenate([value.ravel() for value in net.parameters().values()])
        np.save(directory / f"{name}.{rank}.npy", parameters)
        (directory / f"{name}.{rank}.json").write_text(json.dumps(outcome))

    for name in [*CASES, *(TOGETHER if workers else ())]:
        write(name, *run(name, workers))
    if kind == "torch":
        # The last process goes without a word.
        def go(row):
            if row["epoch"] == 1 and rank == workers.size - 1:
                os._exit(0)

        net = ic.MLP([20, 40, 40, 5], activation="tanh", init="xavier_normal", seed=0, dtype="f8")
        try:
            fit(workers, net, epochs=9, callbacks=[go])
        except Exception as error:  # noqa: BLE001
            write("gone", net, {"error": f"{type(error).__module__}.{type(error).__name__}: {error}"})
        os._exit(0)  # a group that has lost a member cannot be left in order


if __name__ == "__main__":
    main(*sys.argv[1:])
