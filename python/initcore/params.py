"""Whole models: a tree of shapes and a few rules -> a plan -> arrays, or a file that is never held in memory.

Every parameter is drawn under the seed of the model and its own full name. Parameters that are added, removed
or put in another order therefore change none of the others.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import storage
from ._core import Constant, Initializer, Layout, stream_version
from .arrays import Seed, expect, float_dtype, seed_number
from .config import __version__, get_num_threads
from .initializers import SCHEMES, Array, InitLike, get, is_scheme
from .layouts import fans
from .trees import Leaf, fill, flatten

if TYPE_CHECKING:
    import os


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


@dataclass(frozen=True)
class ParameterPlan:
    """How one parameter will be drawn.

    Attributes
    ----------
    name : str
        The full name, which is its address under the seed.
    shape : tuple of int
    dtype : dtype
    init : Initializer
    layout : str or Layout
    fan_in, fan_out : int or None
        None where the shape has no fans, as that of a bias.
    std : float
        The standard deviation that the elements will have; 0 where there are none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    init: Initializer
    layout: str | Layout
    fan_in: int | None
    fan_out: int | None
    std: float

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self.size * self.dtype.itemsize

    @property
    def divisible(self) -> bool:
        """Whether a part of the array costs less than the whole."""
        return not self.init.made_whole

    def to_dict(self) -> dict[str, Any]:
        """Give what `json` can write."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "init": _label(self.init),
            "layout": str(self.layout),
            "fan_in": self.fan_in,
            "fan_out": self.fan_out,
            "std": self.std,
            "nbytes": self.nbytes,
        }


@dataclass(frozen=True)
class ModelPlan:
    """How a model will be drawn: what `plan` makes. ``print(plan)`` shows it as a table.

    Attributes
    ----------
    parameters : dict of str to ParameterPlan
        By full name, in the order of the model.
    seed : int
        What all parameters are drawn under.
    """

    parameters: Mapping[str, ParameterPlan]
    seed: int
    _tree: Any = field(repr=False)

    @property
    def size(self) -> int:
        """Number of elements of all parameters."""
        return sum(p.size for p in self.parameters.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(p.nbytes for p in self.parameters.values())

    def init(self, *, num_threads: int | None = None, progress: bool | None = None) -> Any:
        """Draw the parameters.

        Parameters
        ----------
        num_threads : int, optional
            At most this many; the values do not depend on it.
        progress : bool, optional
            Show a progress bar; by default where standard error is a terminal.

        Returns
        -------
        dict, list or tuple
            The arrays, in the structure that the shapes were given in.

        Raises
        ------
        MemoryError
            There is no memory for them; nothing has been drawn then.

        Examples
        --------
        >>> plan({"fc1": {"weight": (784, 256)}}, {"*": "he_normal"}, seed=0).init()["fc1"]["weight"].shape
        (784, 256)
        """
        arrays = {name: np.empty(p.shape, p.dtype) for name, p in self.parameters.items()}
        with _bar(self.nbytes, progress) as advance:
            for name, p in self.parameters.items():
                self._maker(p, num_threads)(out=arrays[name])
                advance(p.nbytes)
        return fill(self._tree, arrays)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        num_threads: int | None = None,
        progress: bool | None = None,
    ) -> None:
        """Draw the parameters into a safetensors file, under their full names.

        Each thread draws a piece, writes it and goes on to the next, so that the model is never in memory;
        only initializers that cannot make a part alone are drawn whole. The values are those of `init`. The
        file's metadata has, under "initcore", the versions of the library and of its random stream and the
        seed.

        Parameters
        ----------
        path : str or path-like
            A file that is there is replaced, once the new one is complete. After an error or Ctrl-C it is as
            it was.
        num_threads : int, optional
            At most this many.
        progress : bool, optional
            Show a progress bar; by default where standard error is a terminal.

        Raises
        ------
        OSError
            The file cannot be written, or there is no room for it.

        Examples
        --------
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     plan({"w": (4, 2)}, {"*": "ones"}).save(os.path.join(directory, "model.safetensors"))
        ...     os.listdir(directory)
        ['model.safetensors']
        """
        Constant(0.0)(0, num_threads=num_threads)  # an error if it is none
        tensors = [
            storage.Tensor(
                p.name,
                p.shape,
                p.dtype.newbyteorder("<"),
                self._maker(p, 1 if p.divisible else num_threads),
                p.divisible,
            )
            for p in self.parameters.values()
        ]
        record = {"version": __version__, "stream": stream_version(), "seed": self.seed}
        metadata = {storage.KEY: json.dumps(record)}
        with _bar(self.nbytes, progress) as advance:
            storage.stream(path, tensors, metadata, num_threads or get_num_threads(), advance)

    def to_dict(self) -> dict[str, Any]:
        """Give what `json` can write: versions, seed, totals, and the parameters as a list of dicts."""
        return {
            "version": __version__,
            "stream": stream_version(),
            "seed": self.seed,
            "size": self.size,
            "nbytes": self.nbytes,
            "parameters": [p.to_dict() for p in self.parameters.values()],
        }

    def __str__(self) -> str:
        """Give a table with a row for each parameter, and the totals."""
        dicts = [p.to_dict() for p in self.parameters.values()]
        columns = [[key, *(_cell(row[key]) for row in dicts)] for key in (dicts[0] if dicts else ())]
        padded = [_aligned(column, right=i >= 5) for i, column in enumerate(columns)]
        lines = [*map("  ".join, zip(*padded, strict=True))]
        total = f"{len(self.parameters):,} parameters, {self.size:,} elements, {self.nbytes:,} bytes"
        return "\n".join([*lines, f"{total}; seed {self.seed}, stream v{stream_version()}"])

    def _maker(self, p: ParameterPlan, num_threads: int | None) -> Callable[..., Array]:
        """Give the function that draws a parameter, or a part of it."""
        return partial(p.init, p.shape, seed=self.seed, name=p.name, layout=p.layout, num_threads=num_threads)


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
    _refuse("names that occur more than once", [name for name, count in times.items() if count > 1])
    deciding = {
        leaf.name: next((pattern for pattern in rules if fnmatchcase(leaf.name, pattern)), None)
        for leaf in leaves
        if leaf.init is None
    }
    _refuse("parameters that no rule matches", [name for name, rule in deciding.items() if rule is None])
    unused = rules.keys() - deciding.values() - {"*"}
    _refuse("rules that decide no parameter", [pattern for pattern in rules if pattern in unused])
    parameters: dict[str, ParameterPlan] = {}
    faults: dict[str, list[str]] = {}
    for leaf in leaves:
        spec = rules[str(deciding[leaf.name])] if leaf.init is None else leaf.init
        try:
            parameters[leaf.name] = _parameter(leaf, spec, dtype, layout)
        except (ValueError, TypeError) as error:
            faults.setdefault(str(error), []).append(leaf.name)
    _refuse(
        "parameters that cannot be initialized so",
        [f"{_list(names)} ({why})" for why, names in faults.items()],
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
    num_threads: int | None = None,
    progress: bool | None = None,
) -> Any:
    """Draw all parameters of a model, each under its full name: `plan`, then its `init` or `save`.

    Parameters
    ----------
    shapes, rules, seed, dtype, layout
        As in `plan`.
    out : str or path-like, optional
        A safetensors file to draw into, piece by piece; see `ModelPlan.save`.
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
    if out is None:
        return model.init(num_threads=num_threads, progress=progress)
    return model.save(out, num_threads=num_threads, progress=progress)


def _list(names: list[str], shown: int = 20) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _refuse(what: str, names: list[str]) -> None:
    """Raise an error that lists the names, if there are any."""
    if names:
        msg = f"{what}: {_list(names)}"
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


def _schemes_without_arguments() -> dict[Initializer, str]:
    """Give the names of the initializers that `get` knows without arguments."""
    names: dict[Initializer, str] = {}
    for entry in SCHEMES.values():
        with suppress(TypeError, ValueError):  # it needs arguments
            names.setdefault(entry.make(), entry.name)
    return names


_names = cache(_schemes_without_arguments)


def _label(init: Initializer) -> str:
    return _names().get(init, repr(init))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return str(tuple(value))
    return "" if value is None else str(value)


def _aligned(column: list[str], *, right: bool) -> list[str]:
    width = max(map(len, column))
    return [cell.rjust(width) if right else cell.ljust(width) for cell in column]


@contextmanager
def _bar(total: int, progress: bool | None) -> Iterator[Callable[[int], object]]:
    """Show a bar of bytes, or none at all; give what moves it on."""
    if not (sys.stderr.isatty() if progress is None else progress):
        yield lambda _: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="B", unit_scale=True, leave=False) as bar:
        yield bar.update
