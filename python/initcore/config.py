"""What this installation is and how it runs: versions, instruction set, threads."""

import numpy as np

from . import _core

__version__ = _core.version()


def show_config() -> None:
    """Print versions, instruction sets and number of threads."""
    lines = {
        "initcore": __version__,
        "stream": f"v{_core.stream_version()}",
        "isa": f"{get_isa()} (of {', '.join(_core.available_isas())})",
        "threads": get_num_threads(),
        "numpy": np.__version__,
    }
    for name, value in lines.items():
        print(f"{name:10} {value}")


def get_num_threads() -> int:
    """Give the number of threads that calls without ``num_threads`` use.

    Returns
    -------
    int
        What `set_num_threads` was given, else the environment variable ``INITCORE_NUM_THREADS``, else the
        number of cores this process may use. The calling thread counts.

    Raises
    ------
    ValueError
        If ``INITCORE_NUM_THREADS`` is needed and is not an integer from 1 to 1024.
    """
    return _core.get_num_threads()


def thread_count(num_threads: int | None) -> int:
    """Give what ``num_threads=`` means: an integer from 1 to 1024, or what `get_num_threads` gives."""
    _core.Constant(0.0)(0, num_threads=num_threads)  # an error if it is no such integer
    return num_threads or get_num_threads()


def set_num_threads(n: int) -> None:
    """Set the number of threads that calls without ``num_threads`` use from now on, in the whole process.

    Parameters
    ----------
    n : int
        From 1 to 1024, the calling thread included; small arrays are made on that one alone.

    Raises
    ------
    ValueError, TypeError
        If it is no such integer.
    """
    _core.set_num_threads(n)


def get_isa() -> str:
    """Give the instruction set that kernels run on.

    Returns
    -------
    str
        What `set_isa` was given, else the environment variable ``INITCORE_ISA``, else the best that this
        machine has.

    Raises
    ------
    ValueError
        If ``INITCORE_ISA`` is needed and names none, or one that this machine lacks.
    """
    return _core.get_isa()


def set_isa(name: str) -> None:
    """Make kernels run on this instruction set from now on, in the whole process.

    Samples have the same bits on all of them: this is for tests and benchmarks.

    Parameters
    ----------
    name : str
        ``"baseline"``, ``"avx2"`` or ``"avx512"`` (x86-64), ``"neon"`` (64-bit ARM). On x86-64 the baseline
        has no fused multiply-add and is slow.

    Raises
    ------
    ValueError
        If it is none of these, or this machine lacks it.
    """
    _core.set_isa(name)
