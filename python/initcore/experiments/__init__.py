"""Experiments that show what an initialization does: one command, a table, a picture, the theory beside it.

Each module holds one experiment, which enters itself in the registry under a name; the command line, the
documentation and the tests go through that list. `run` gives an `ExperimentResult`: print it for the tables,
`save` it for pictures and a page to look at. The same seed gives the same tables.
"""

from __future__ import annotations

from typing import Any

from . import depth, depth_limit, example, optimizers, pitfalls, signal  # noqa: F401  each enters its own
from .registry import EXPERIMENTS, Experiment
from .result import ExperimentResult, Table

__all__ = ["EXPERIMENTS", "Experiment", "ExperimentResult", "Table", "run"]


def run(name: str, *, seed: int = 0, progress: bool | None = None, **options: Any) -> ExperimentResult:
    """Run an experiment.

    Parameters
    ----------
    name : str
        One of `EXPERIMENTS`: "pitfalls", "depth", "signal", "example", "optimizers" or "depth-limit".
    seed : int
        In [0, 2**64), of data, weights and order of the samples.
    progress : bool, optional
        Show a progress bar; by default where standard error is a terminal.
    **options
        Sizes of the experiment, to make it smaller or larger: see the function of that name.

    Returns
    -------
    ExperimentResult

    Raises
    ------
    ValueError
        There is no experiment of that name, or an option is out of range.
    ImportError
        The package that holds the data is not installed.

    Examples
    --------
    >>> result = ic.experiments.run("example", seed=0, steps=2)
    >>> result.numbers["zeros"]["hidden_moved"]
    False
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {name!r}: expected one of {', '.join(EXPERIMENTS)}")
    entry = EXPERIMENTS[name]
    tables, figures, numbers = entry.function(seed=seed, progress=progress, **options)
    return ExperimentResult(entry.name, entry.title, entry.lesson, tables, figures, numbers)
