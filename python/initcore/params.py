"""Whole models: a tree of shapes and a few rules -> a plan -> arrays, or files that are never held in memory.

Every parameter is drawn under the seed of the model and its own full name. Parameters that are added, removed
or put in another order therefore change none of the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeAlias

from ._core import Initializer, Layout
from .arrays import Seed, expect, float_dtype, seed_number
from .initializers import InitLike, get, is_scheme
from .layouts import fans
from .plans import ModelPlan, ParameterPlan
from .trees import Leaf, flatten

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

__all__ = ["ModelPlan", "ParameterPlan", "Rule", "Spec", "init_params", "plan"]


@dataclass(frozen=True)
class Rule:
    """An initializer with options, where a rule or a parameter takes an initializer.

    Parameters
    ----------
    init : str, Initializer or function
        As `get` takes it.
    layout : str or Layout, optional
        As initializers take it; by default that of the model.
    dtype : dtype, optional
        By default that of the parameter if it has one, else that of the model.

    Raises
    ------
    ValueError, TypeError
        `init` or `dtype` is not as described.

    Examples
    --------
    >>> Rule("he_normal", layout="torch")
    Rule(init='he_normal', layout='torch', dtype=None)
    """

    init: InitLike
    layout: str | Layout | None = None
    dtype: npt.DTypeLike | None = None

    def __post_init__(self) -> None:
        """Check the arguments; the layout's meaning depends on the shape."""
        get(self.init)
        float_dtype(self.dtype)


#: How a parameter is initialized; a function of its name and shape gives one of the others.
Spec: TypeAlias = str | Initializer | Rule | Callable[..., Any]


def plan(
    shapes: Any,
    rules: Mapping[str, Spec] | None = None,
    *,
    seed: Seed = None,
    dtype: npt.DTypeLike | None = None,
    layout: str | Layout = "numpy",
) -> ModelPlan:
    """Decide how every parameter of a model will be drawn, and check all of it; nothing is drawn.

    Parameters
    ----------
    shapes : mapping, list, tuple, or iterable of (name, shape)
        The parameters, nested as they may be. The keys on the way to a parameter, and its place in lists and
        tuples, joined with ".", are its name. A parameter is one of

        - an int or a tuple of int, its shape (a list of them is several parameters),
        - something that has a ``shape``, and perhaps a ``dtype``: an array, a ``jax.ShapeDtypeStruct``,
          a tensor,
        - (one of these, what `rules` have as values): an initializer of its own, which no rule overrides.

        The (name, shape) pairs are those of ``module.named_parameters()``, for instance.
    rules : mapping of str to str, Initializer, Rule or callable, optional
        Which names are initialized how. The keys are patterns of the full name, as in `fnmatch`, case and
        all: ``"*.bias"``, ``"*"``. The first that matches, in the order of the mapping, decides. The values
        are what `get` takes, a `Rule`, or a function of a parameter's name and shape that gives either.
    seed : int in [0, 2**64), numpy.random.SeedSequence or None
        None takes fresh entropy, once for the whole model; the plan's `seed` is what it was.
    dtype : dtype, optional
        Of parameters that have none of their own: float32 (the default), float64, float16 or bfloat16.
    layout : str or Layout
        As initializers take it.

    Returns
    -------
    ModelPlan

    Raises
    ------
    ValueError
        A name occurs twice; parameters match no rule; rules decide nothing (but "*" may have nothing left to
        decide); initializers do not go with their parameters. The message lists the names.
    TypeError
        An argument is not as described.

    Examples
    --------
    >>> shapes = {"fc1": {"weight": (784, 256), "bias": 256}, "fc2": {"weight": (256, 10), "bias": 10}}
    >>> p = plan(shapes, {"*.bias": "zeros", "fc2.*": "xavier_normal", "*": "he_normal"}, seed=0)
    >>> p.parameters["fc1.weight"].fan_in
    784
    """
    rules = {} if rules is None else rules
    expect(rules, Mapping, "rules")
    tree, leaves = flatten(shapes, _is_spec)
    times = Counter(leaf.name for leaf in leaves)
    refuse("names that occur more than once", [name for name, count in times.items() if count > 1])
    deciding = {
        leaf.name: next((pattern for pattern in rules if fnmatchcase(leaf.name, pattern)), None)
        for leaf in leaves
        if leaf.init is None
    }
    refuse("parameters that no rule matches", [name for name, rule in deciding.items() if rule is None])
    unused = rules.keys() - deciding.values() - {"*"}
    refuse("rules that decide no parameter", [pattern for pattern in rules if pattern in unused])
    parameters: dict[str, ParameterPlan] = {}
    faults: dict[str, list[str]] = {}
    for leaf in leaves:
        spec = rules[str(deciding[leaf.name])] if leaf.init is None else leaf.init
        try:
            parameters[leaf.name] = _parameter(leaf, spec, dtype, layout)
        except (ValueError, TypeError) as error:
            faults.setdefault(str(error), []).append(leaf.name)
    refuse(
        "parameters that cannot be initialized so",
        [f"{listed(names)} ({why})" for why, names in faults.items()],
    )
    return ModelPlan(parameters, seed_number(seed), tree)


def init_params(
    shapes: Any,
    rules: Mapping[str, Spec] | None = None,
    *,
    seed: Seed,
    dtype: npt.DTypeLike | None = None,
    layout: str | Layout = "numpy",
    out: str | os.PathLike[str] | None = None,
    max_shard_size: int | str | None = None,
    part: tuple[int, int] | None = None,
    num_threads: int | None = None,
    progress: bool | None = None,
) -> Any:
    """Draw all parameters of a model, each under its full name: `plan`, then its `init` or `save`.

    Parameters
    ----------
    shapes, rules, seed, dtype, layout
        As in `plan`.
    out : str or path-like, optional
        A safetensors file to draw into, piece by piece, or the directory of several; see `ModelPlan.save`.
    max_shard_size, part
        As in `ModelPlan.save`; only with `out`.
    num_threads : int, optional
        At most this many; the values do not depend on it.
    progress : bool, optional
        Show a progress bar; by default where standard error is a terminal.

    Returns
    -------
    dict, list or tuple
        The arrays, in the structure of `shapes`; None with `out`.

    Raises
    ------
    ValueError, TypeError, MemoryError, OSError
        As in `plan`, `ModelPlan.init` and `ModelPlan.save`, before anything is drawn.

    Examples
    --------
    >>> params = init_params({"fc1.weight": ((784, 256), "he_normal"), "fc1.bias": ((256,), "zeros")}, seed=0)
    >>> params["fc1.weight"].shape
    (784, 256)
    """
    model = plan(shapes, rules, seed=seed, dtype=dtype, layout=layout)
    if part is not None and seed is None:
        msg = "seed must be given with part: each process would take another one"
        raise ValueError(msg)
    if out is not None:
        return model.save(
            out, max_shard_size=max_shard_size, part=part, num_threads=num_threads, progress=progress
        )
    if max_shard_size is not None or part is not None:
        msg = "max_shard_size and part are for files: give out, a directory"
        raise ValueError(msg)
    return model.init(num_threads=num_threads, progress=progress)


def listed(names: list[str], shown: int = 20) -> str:
    """Write names, not all of very many."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def refuse(what: str, names: list[str]) -> None:
    """Raise an error that lists the names, if there are any."""
    if names:
        msg = f"{what}: {listed(names)}"
        raise ValueError(msg)


def _is_spec(value: object) -> bool:
    return isinstance(value, str | Rule) or callable(value)


def _parameter(leaf: Leaf, spec: Spec, dtype: npt.DTypeLike | None, layout: str | Layout) -> ParameterPlan:
    """Give the plan of a parameter, of which everything has been checked."""
    if callable(spec) and not isinstance(spec, Initializer) and not is_scheme(spec):
        spec = spec(leaf.name, leaf.shape)
    rule = spec if isinstance(spec, Rule) else Rule(spec)
    init, shape = get(rule.init), leaf.shape
    layout = layout if rule.layout is None else rule.layout
    dtype = float_dtype(next((given for given in (rule.dtype, leaf.dtype) if given is not None), dtype))
    std = init.std(shape, layout=layout) if 0 not in shape else 0.0
    fan_in = fan_out = None
    with suppress(ValueError):  # no fans, and none needed
        fan_in, fan_out = fans(shape, layout=layout)
    p = ParameterPlan(leaf.name, shape, dtype, init, layout, fan_in, fan_out, std)
    nothing = (slice(0, 0),) * min(len(shape), 1)  # all is checked, and one element made at most
    init(shape, seed=0, name=p.name, dtype=dtype, layout=layout, index=nothing)
    return p
