"""One fit in several processes: what `MLP.fit` takes as ``workers``.

Every process has the network, the data and the arguments, and computes its part of every batch. The sum of
what they find, one per step, is what a single process finds with the whole batch. `Workers` is what connects
them: `TorchWorkers`, `MPIWorkers`, or anything else that has a rank, a size and a sum.
"""

from __future__ import annotations

import hashlib
import signal
from contextlib import contextmanager, nullcontext
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from .arrays import integer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from types import FrameType

    from .initializers import Array

__all__ = ["MPIWorkers", "TorchWorkers", "Workers"]


class Workers(Protocol):
    """What connects the processes of a fit.

    Attributes
    ----------
    rank : int
        Which of the processes this is, from 0.
    size : int
        How many there are.
    """

    @property
    def rank(self) -> int:
        """Which of the processes this is, from 0."""

    @property
    def size(self) -> int:
        """How many there are."""

    def sum(self, buffer: Array) -> object:
        """Put the sum over all processes in the place of every number, the same bits in every process.

        Called as often, with buffers of the same length, in every process. It should raise an error when it
        has waited too long for the others: that ends the fit, with the parameters after the last whole step.

        Parameters
        ----------
        buffer : ndarray, (n,), of float32 or float64
            Contiguous, to read and to write. It is used again: keep no reference to it.
        """


class TorchWorkers:
    """The processes of a group of `torch.distributed`.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup, optional
        By default that of all processes. It needs a backend for arrays in main memory: "gloo" or "mpi".

    Raises
    ------
    ImportError
        There is no PyTorch.
    ValueError
        `torch.distributed.init_process_group` has not been called, or this process is not in the group.
    """

    def __init__(self, group: Any = None) -> None:
        try:
            import torch
        except ImportError as error:
            msg = "TorchWorkers needs PyTorch: pip install 'initcore[torch]'"
            raise ImportError(msg) from error
        self.group = group
        self.rank = int(torch.distributed.get_rank(group))
        self.size = int(torch.distributed.get_world_size(group))
        if self.rank < 0:
            msg = "this process is not in the group of processes it was given"
            raise ValueError(msg)

    def sum(self, buffer: Array) -> None:
        """Add up the buffers of all processes, in place."""
        import torch

        torch.distributed.all_reduce(torch.from_numpy(buffer), group=self.group)


class MPIWorkers:
    """The processes of a communicator of `mpi4py`.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm, optional
        By default ``MPI.COMM_WORLD``.

    Raises
    ------
    ImportError
        There is no mpi4py.
    """

    def __init__(self, comm: Any = None) -> None:
        try:
            from mpi4py import MPI
        except ImportError as error:
            msg = "MPIWorkers needs mpi4py and an MPI: pip install mpi4py mpich"
            raise ImportError(msg) from error
        self.comm = MPI.COMM_WORLD if comm is None else comm
        self.rank = int(self.comm.Get_rank())
        self.size = int(self.comm.Get_size())
        self._in_place = MPI.IN_PLACE

    def sum(self, buffer: Array) -> None:
        """Add up the buffers of all processes, in place."""
        self.comm.Allreduce(self._in_place, buffer)


#: What has to be the same in every process.
ALIKE = (
    "network", "parameters", "x", "t", "sample_weight", "validation_data", "loss", "optimizer", "schedule",
    "clip_norm", "batch_size", "epochs", "shuffle", "seed", "early_stopping", "nonfinite",
)  # fmt: skip


def several(workers: Workers) -> bool:
    """Check what connects the processes; say whether there is more than one."""
    for name in ("rank", "size", "sum"):
        if not hasattr(workers, name):
            kind = type(workers).__name__
            msg = f"workers must have a rank, a size and a method sum, got {kind} without {name}"
            raise TypeError(msg)
    size = integer(workers.size, "workers.size", 1)
    rank = integer(workers.rank, "workers.rank", 0)
    if rank >= size:
        msg = f"workers.rank must be below workers.size, got {rank} of {size}"
        raise ValueError(msg)
    return size > 1


def digest(value: object) -> int:
    """Make 64 bits of a value, or of all in a tuple: of an array's bytes, of anything else's words."""
    state = hashlib.blake2b(digest_size=8)
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, np.ndarray):
            state.update(f"{part.dtype.str} {part.shape} ".encode())
            state.update(np.ascontiguousarray(part).data)
        else:
            state.update(f"{part!r} ".encode())
    return int.from_bytes(state.digest(), "little")


@contextmanager
def agreement(workers: Workers | None) -> Iterator[dict[str, object]]:
    """Compare what each process puts into the dict, under the names `ALIKE`; tell all when one of them fails.

    Without `workers` there is nobody to compare with.

    Raises
    ------
    ValueError
        In every process, if something differs.
    RuntimeError
        If another process has left the block with an error, or `workers` does not add up.
    """
    given: dict[str, object] = {}
    if workers is None:
        yield given
        return
    try:
        yield given
    except BaseException:
        _table(workers, [1] + [0] * len(ALIKE))
        raise
    table = _table(workers, [0] + [digest(given[name]) for name in ALIKE])
    refused = table[:, 0].any(axis=1)
    if refused.any():
        msg = f"process {refused.argmax()} of {len(table)} could not begin: see the error there"
        raise RuntimeError(msg)
    differs = (table[:, 1:] != table[0, 1:]).any(axis=2)
    if differs.any():
        names = ", ".join(name for name, column in zip(ALIKE, differs.T, strict=True) if column.any())
        others = ", ".join(str(rank) for rank in np.flatnonzero(differs.any(axis=1)))
        msg = f"every process must call fit alike: {names} not as in process 0 in {others} (of {len(table)})"
        raise ValueError(msg)


class Connection:
    """`Workers` for the Rust side, which sets `busy` around each sum: Ctrl-C then waits until it is over.

    An exception in the middle of a sum would leave the other processes waiting. After one, the process can
    tell them that it ends.
    """

    def __init__(self, workers: Workers) -> None:
        self.rank, self.size, self.sum = workers.rank, workers.size, workers.sum
        self.busy = self.pending = False
        self._handler = signal.getsignal(signal.SIGINT)

    def deliver(self) -> None:
        """Do what a Ctrl-C does that had to wait."""
        self.pending = False
        self._handle(signal.SIGINT, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.busy:
            self.pending = True
        elif callable(self._handler):
            self._handler(number, frame)

    def __enter__(self) -> Self:
        """Take Ctrl-C over, where signals are heard at all."""
        self._taken = callable(self._handler) and current_thread() is main_thread()
        if self._taken:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        if self._taken:
            signal.signal(signal.SIGINT, self._handler)


def connection(workers: Workers | None) -> AbstractContextManager[Connection | None]:
    """Give the Rust side what it needs of the other processes."""
    return nullcontext() if workers is None else Connection(workers)


def _table(workers: Workers, words: list[int]) -> Array:
    """Give the words of every process, (size, words, 4): 16 bits each, so that sums with zeros are exact."""
    own = np.array(words, np.uint64).view(np.uint16).reshape(-1, 4)
    table = np.zeros((workers.size, *own.shape))
    table[workers.rank] = own
    workers.sum(table.reshape(-1))
    if (table[workers.rank] != own).any():
        msg = (
            f"workers.sum must add up the buffers of {workers.size} processes in place: it did something else"
        )
        raise RuntimeError(msg)
    return table
