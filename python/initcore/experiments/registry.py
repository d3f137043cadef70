"""The one list of experiments: a name, a title, the lesson, the function that does the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from .result import Figures, Table


class Findings(NamedTuple):
    """What an experiment's function returns.

    Attributes
    ----------
    tables : tuple of Table
        To print, in this order.
    figures : Figures
        To draw when they are asked for.
    numbers : mapping of str to object
        The tables' contents and more, to compute with.
    """

    tables: tuple[Table, ...]
    figures: Figures
    numbers: Mapping[str, Any]


@dataclass(frozen=True)
class Experiment:
    """An experiment that has a name.

    Attributes
    ----------
    name : str
        As on the command line.
    title : str
        What it is about, in a line.
    lesson : str
        What is to be learnt from it, in two or three sentences.
    function : callable
        Does the work: ``function(seed=0, progress=None, ...) -> Findings``.
    """

    name: str
    title: str
    lesson: str
    function: Callable[..., Findings]


_experiments: dict[str, Experiment] = {}

#: Every experiment by its name.
EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(_experiments)

F = TypeVar("F", bound=Callable[..., Findings])


def experiment(name: str, *, title: str, lesson: str) -> Callable[[F], F]:
    """Enter the function that runs an experiment in the registry."""

    def enter(function: F) -> F:
        _experiments[name] = Experiment(name, title, lesson, function)
        return function

    return enter
