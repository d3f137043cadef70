"""Whole modules: every parameter of an `nn.Module`, by rules or by what follows it, under its own full name.

1. places(module)       the parameters, each once, with name and owners   walking.py
2. plan(module, rules)  an initializer for each, everything checked   rules.py, tracing.py, report.py
3. initialize_          what has no memory is refused; then they are written, one after the other

What a parameter gets depends on the rules, the seed, its name and its whole shape, so all workers that hold a
part of a model make the same one, whatever part that is.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn

from initcore._core import Initializer, VarianceScaling
from initcore.arrays import float_dtype, seed_number
from initcore.config import thread_count
from initcore.initializers import get, is_scheme
from initcore.params import Rule, listed, refuse
from initcore.params import plan as plan_parameters
from initcore.plans import progress_bar

from . import filling
from .report import BufferReport, ParameterReport, Report
from .rules import STATISTICS, Decision, decide, layout
from .tracing import followers
from .walking import buffers, places

if TYPE_CHECKING:
    from initcore.arrays import Seed
    from initcore.params import Spec

    from .tracing import Following
    from .walking import Buffer, Names

#: What decides how parameters are initialized.
Rules: TypeAlias = "str | Mapping[str, Spec | None] | Report"


def plan(module: nn.Module, rules: Rules = "auto", *, names: Names | None = None) -> Report:
    """Decide how every parameter of a module would be initialized; nothing is written.

    Parameters
    ----------
    module : torch.nn.Module
        On any device, "meta" too.
    rules, names
        As in `initialize_`.

    Returns
    -------
    Report
        Also good as the `rules` of `initialize_`, for this module or parts of it.

    Raises
    ------
    ValueError, TypeError
        As `initialize_`, but for what concerns memory.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    >>> ic.torch.plan(net).parameters["0.weight"].reason
    'relu follows'
    """
    return _Planner(module, rules, names).report()


def initialize_(
    module: nn.Module,
    rules: Rules = "auto",
    seed: Seed = 0,
    *,
    names: Names | None = None,
    num_threads: int | None = None,
    progress: bool | None = None,
) -> Report:
    """Initialize all parameters of a module in place, each under the seed and its own full name.

    Parameters
    ----------
    module : torch.nn.Module
        Its parameters have memory and are of dtype float32, float64, float16 or bfloat16; of DTensors each
        process writes its own shard. Those that require no gradient are initialized too. Tied parameters are
        drawn once, under the first of their names in the order of registration. The pieces that wrappers
        (`torch.compile`, DataParallel, checkpointing) add to names are left out.
    rules : "auto", mapping of str to str, Initializer, Rule, callable or None, or Report
        Which names are initialized how. A mapping is as in `initcore.plan`: the keys are patterns, and the
        first that matches decides. Beside what they are there, values may be "auto", and None for what is
        left as it is. Layouts, where a `Rule` gives none, are those of the modules: grouped and transposed
        convolutions, embeddings, the packed weights of attention and recurrent layers.

        "auto" takes the scheme and the gain of linear layers and convolutions from the activation that
        follows, see `initcore.theory.recommend`; biases are zero, scales of normalization 1, embeddings have
        standard deviation 1 (1 / sqrt(features) if tied to a layer; a padding row is zero), recurrent weights
        are orthogonal.

        A `Report`, as of the whole model of which this is a part, gives each name what it says there.
    seed : int in [0, 2**64) or numpy.random.SeedSequence
        The same on every worker that holds a part of the model.
    names : callable or mapping of (str or torch.nn.Module) to str, optional
        For a module that is a part of another: a function that gives the full name for a name in `module`; or
        full prefixes for prefixes or modules in it, the longest deciding.
    num_threads : int, optional
        At most this many; the values do not depend on it.
    progress : bool, optional
        Show a progress bar; by default where standard error is a terminal.

    Returns
    -------
    Report
        What each parameter got and why, and which buffers were not touched.

    Raises
    ------
    ValueError
        Parameters are on the device "meta", flattened by FSDP1 or lazy; rules fail as in `initcore.plan`;
        "auto" does not know what a parameter is for. The message has the names; nothing has been written.
    TypeError
        An argument is not as described.

    Warns
    -----
    UserWarning
        A buffer that is not touched has NaN: a sign that `to_empty` has left it without values.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))
    >>> report = ic.torch.initialize_(net, seed=0)
    >>> report.parameters["0.weight"].activation
    'gelu'
    """
    thread_count(num_threads)
    if seed is None:  # entropy of its own would give each worker other values
        msg = "seed must be an integer, got None"
        raise TypeError(msg)
    seed = seed_number(seed)
    planner = _Planner(module, rules, names)
    report = replace(planner.report(), seed=seed)
    _check_memory(planner)
    plans = [(place, report.parameters[place.name].plan) for place in planner.places]
    with progress_bar(sum(p.nbytes for _, p in plans if p is not None), progress) as advance:
        for place, p in plans:
            if p is not None:
                filling.fill_(
                    place.tensor, p.init, seed=seed, name=p.name, layout=p.layout, num_threads=num_threads
                )
                advance(p.nbytes)
    for buffer in planner.buffers:
        if report.buffers[buffer.name].reset:
            buffer.owner.reset_running_stats()
    _warn_of_nan([b for b in planner.buffers if not report.buffers[b.name].reset])
    return report


class _Planner:
    """One module and its rules, on the way to a report."""

    def __init__(self, module: nn.Module, rules: Rules, names: Names | None) -> None:
        self.module = module
        self.places = places(module, names)
        self.buffers = buffers(module, names)
        self.rules: Mapping[str, Any]
        if isinstance(rules, Report):
            rows = {name: row for row in rules.parameters.values() for name in (row.name, *row.tied)}
            self._take_names(rows)
            self.rules = {"*": lambda name, _: self._as_reported(rows[name])}
        elif isinstance(rules, Mapping):
            self.rules = rules
        elif rules == "auto":
            self.rules = {"*": "auto"}
        else:
            msg = f'rules must be "auto", a mapping of patterns or a Report, got {rules!r}'
            raise TypeError(msg)
        self.by_name = {place.name: place for place in self.places}
        self.decisions: dict[str, Decision | ParameterReport] = {}
        self.left: set[str] = set()
        self._followers: dict[nn.Module, Following] | None = None

    def _take_names(self, rows: Mapping[str, ParameterReport]) -> None:
        """Call parameters by the names that are their addresses in the whole, where they may be tied."""
        missing, untied = [], []
        taken: set[str] = set()
        for place in self.places:
            here = [place.name, *place.others]
            row = next((rows[name] for name in here if name in rows), None)
            if row is None:
                missing.append(place.name)
            elif row.name in taken:
                untied.append(f"{place.name} = {row.name}")
            else:
                taken.add(row.name)
                place.name, place.others = row.name, [name for name in here if name != row.name]
        refuse("parameters that the report given as rules does not have", missing)
        refuse("parameters that are tied in the report given as rules, to be tied again before", untied)

    def report(self) -> Report:
        """Decide and check everything."""
        shapes = [(place.name, place.tensor) for place in self.places]
        model = plan_parameters(shapes, {key: self._resolver(value) for key, value in self.rules.items()})
        rows = {}
        for place in self.places:
            decision = self.decisions.get(place.name)
            rows[place.name] = ParameterReport(
                name=place.name,
                plan=None if place.name in self.left else model.parameters[place.name],
                shape=tuple(place.tensor.shape),
                activation=getattr(decision, "activation", ""),
                how=getattr(decision, "how", "rule"),
                reason=getattr(decision, "reason", ""),
                tied=tuple(place.others),
                trainable=bool(place.tensor.requires_grad),
            )
        kept = {
            b.name: BufferReport(b.name, tuple(b.tensor.shape), b.persistent, self.is_reset(b))
            for b in self.buffers
        }
        made = [d for d in self.decisions.values() if isinstance(d, Decision) and d.activation]
        return Report(rows, kept, None, {d.activation: d.advice for d in made})

    def _resolver(self, spec: object) -> Any:
        """Make a rule of `initcore.plan` of one of these here."""

        def resolve(name: str, shape: tuple[int, ...]) -> Rule:
            place, value = self.by_name[name], spec
            if callable(value) and not isinstance(value, Initializer) and not is_scheme(value):
                value = value(name, shape)
            if value is None:
                self.left.add(name)
                return Rule("zeros", dtype="float32")  # for a plan that nobody follows
            if isinstance(value, str) and value == "auto":
                self.decisions[name] = decision = decide(place, self.followers())
                value = decision.init
            rule = value if isinstance(value, Rule) else Rule(value)  # type: ignore[arg-type]
            dtype = float_dtype(place.tensor.dtype)
            if rule.dtype is not None and float_dtype(rule.dtype) != dtype:
                msg = f"the rule's dtype is {float_dtype(rule.dtype)}, the parameter's {dtype}"
                raise ValueError(msg)
            if rule.layout is not None:
                return rule
            axes = layout(place)
            stack = axes == "torch" and len(shape) > 2 and not isinstance(place.owners[0][0], nn.Bilinear)
            if stack and name not in self.decisions and isinstance(get(rule.init), VarianceScaling):
                msg = f"which axes of {shape} are inputs and outputs? Give Rule(..., layout=...)"
                raise ValueError(msg)
            return replace(rule, layout=axes)

        return resolve

    def _as_reported(self, row: ParameterReport) -> Rule | None:
        shape = tuple(self.by_name[row.name].tensor.shape)
        if shape != row.shape:
            msg = f"its shape is {shape}, in the report given as rules {row.shape}"
            raise ValueError(msg)
        self.decisions[row.name] = row
        return None if row.plan is None else Rule(row.plan.init, layout=row.plan.layout)

    def followers(self) -> dict[nn.Module, Following]:
        """Give what follows each layer; found out when it is first asked for."""
        if self._followers is None:
            self._followers = followers(self.module)
        return self._followers

    def is_reset(self, buffer: Buffer) -> bool:
        """Whether it is a running statistic, and its layer is not left as it is."""
        if not isinstance(buffer.owner, nn.modules.batchnorm._NormBase) or buffer.attribute not in STATISTICS:
            return False
        own = [place.name for place in self.places if any(owner is buffer.owner for owner, _ in place.owners)]
        if own:
            return not all(name in self.left for name in own)
        pattern = next((pattern for pattern in self.rules if fnmatchcase(buffer.name, pattern)), None)
        return pattern is None or self.rules[pattern] is not None


def _check_memory(planner: _Planner) -> None:
    """Refuse what `fill_` would refuse, before anything is written."""
    written = [place for place in planner.places if place.name not in planner.left]
    empty = [place.name for place in written if filling.has_no_memory(place.tensor)]
    resets = {b.name for b in planner.buffers if planner.is_reset(b)}
    if empty or any(b.name in resets and b.tensor.is_meta for b in planner.buffers):
        raise ValueError(_recipe(empty, planner, resets))
    faults: dict[str, list[str]] = {}
    spans = []  # (device, storage, first byte, byte after the last, name)
    for place in written:
        try:
            local = filling.memory(place.tensor)[0]
            if local is not None and local.numel():
                filling.check_strides(local)
                reach = sum(n * (size - 1) for n, size in zip(local.stride(), local.shape, strict=True))
                first, end = (
                    n * local.itemsize for n in (local.storage_offset(), local.storage_offset() + reach + 1)
                )
                spans.append((str(local.device), local.untyped_storage().data_ptr(), first, end, place.name))
        except (ValueError, TypeError) as error:
            faults.setdefault(str(error), []).append(place.name)
    refuse("parameters that cannot be written", [f"{listed(names)} ({why})" for why, names in faults.items()])
    spans.sort()
    shared = [f"{a[4]} and {b[4]}" for a, b in pairwise(spans) if a[:2] == b[:2] and b[2] < a[3]]
    refuse("parameters that share memory, but not element by element", shared)


def _recipe(empty: list[str], planner: _Planner, resets: set[str]) -> str:
    """Tell what to do about a module on the device "meta"."""
    what = f'{len(empty)} parameters have no memory (device "meta"): {listed(empty)}.'
    lines = [what, "Call module.to_empty(device=...), then initialize_ again."]
    lost = [b.name for b in planner.buffers if b.name not in resets]
    if lost:
        lines.append(f"to_empty leaves these buffers without values, to be computed again: {listed(lost)}.")
    tied = [f"{other} = {place.name}" for place in planner.places for other in place.others]
    if tied:
        lines.append(f"to_empty unties parameters, to be tied again: {listed(tied)}.")
    return " ".join(lines)


def _warn_of_nan(untouched: list[Buffer]) -> None:
    """Warn of buffers that have NaN; infinities stand in masks."""
    bad = [b.name for b in untouched if _has_nan(b.tensor)]
    if bad:
        msg = (
            f"buffers have NaN and are not touched by initialize_: {listed(bad)}. After to_empty they have "
            "no values until they are computed again"
        )
        warnings.warn(msg, UserWarning, stacklevel=3)


def _has_nan(tensor: torch.Tensor) -> bool:
    if tensor.is_meta or not tensor.is_floating_point():
        return False
    try:
        return bool(torch.isnan(tensor).any())
    except (RuntimeError, NotImplementedError):  # a kind of tensor that cannot be asked
        return False
