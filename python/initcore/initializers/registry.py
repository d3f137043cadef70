"""The one list of initializers: a name, what makes the object, the variance, the source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from initcore import specs
from initcore._core import Initializer

from .options import F, document

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Scheme:
    """An initializer that has a name.

    Attributes
    ----------
    name : str
        That of the function which draws from it, too.
    make : callable
        Gives the `Initializer`, from the arguments that users write in brackets.
    variance : str
        The variance of the values, as a formula.
    source : str
        The paper.
    """

    name: str
    make: Callable[..., Initializer]
    variance: str
    source: str


#: What users give where an initializer is wanted: its name, itself, or the function that draws from it.
InitLike: TypeAlias = str | Initializer | Callable[..., Any]

_schemes: dict[str, Scheme] = {}
_functions: dict[Callable[..., Any], Scheme] = {}

#: Every scheme, by every name that it has.
SCHEMES: Mapping[str, Scheme] = MappingProxyType(_schemes)


def scheme(
    make: Callable[..., Initializer], *, variance: str, source: str = "", aliases: tuple[str, ...] = ()
) -> Callable[[F], F]:
    """Enter the function that draws from a scheme in the registry, and complete its documentation."""

    def enter(function: F) -> F:
        entry = Scheme(function.__name__, make, variance, source)
        _schemes.update(dict.fromkeys([entry.name, *aliases], entry))
        _functions[function] = entry
        return document(function, variance, source)

    return enter


def listing() -> list[tuple[list[str], str, str]]:
    """Give names, variance and source of all schemes; those with the same two of these together."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for name, entry in SCHEMES.items():
        # constants have nothing but their variance in common
        kind = (entry.variance, entry.source or entry.name)
        grouped.setdefault(kind, []).append(name)
    return [(names, variance, SCHEMES[names[0]].source) for (variance, _), names in grouped.items()]


def is_scheme(function: Callable[..., Any]) -> bool:
    """Tell whether this is one of the functions that draw from a scheme, such as `he_normal`."""
    return function in _functions


def get(spec: InitLike) -> Initializer:
    """Return the initializer of a name, with arguments in brackets if it takes any.

    Parameters
    ----------
    spec : str, Initializer or function
        As in ``"he_normal"``, ``"kaiming_uniform"``, ``"constant(0.5)"``, ``"normal(0.01)"`` (the standard
        deviation comes first) or ``"variance_scaling(2, mode='fan_out')"``. A function of this library, such
        as `he_normal`, stands for its name. An initializer is returned as it is.

    Returns
    -------
    Initializer

    Raises
    ------
    ValueError
        The name is unknown, or its arguments are wrong.
    TypeError
        `spec` is neither a string nor an initializer.
    """
    if isinstance(spec, Initializer):
        return spec
    if callable(spec) and spec in _functions:
        spec = _functions[spec].name
    if not isinstance(spec, str):
        msg = f"an initializer is a name or an Initializer, got {type(spec).__name__}"
        raise TypeError(msg)
    return specs.make(spec, {name: entry.make for name, entry in SCHEMES.items()}, "initializer")
