"""What a diagnosis says: numbers and a verdict for each layer, as objects, as a table, as plain data."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from initcore.initializers import Array

#: Every verdict, that of a network being the first that one of its layers has.
VERDICTS = (
    "zero trap",
    "symmetric",
    "dead",
    "saturated",
    "exploding",
    "vanishing",
    "chaotic",
    "healthy",
)

#: What theory says of a layer: the mean and the standard deviation of a statistic, by its name.
Expectation = Mapping[str, tuple[float, float]]

#: A measurement this many standard deviations from what theory expects has a mark in the table. Of all
#: numbers that follow the theory, one in 400 has one.
REMARKABLE = 3.0

#: Characters in a printed line.
WIDTH = 110


class Theory:
    """What theory says of each layer, computed when it is first asked for."""

    def __init__(self, compute: Callable[[], list[Expectation]] | None = None) -> None:
        self._compute = compute

    @cached_property
    def layers(self) -> list[Expectation] | None:
        """An expectation for each layer; None where there is no theory."""
        return None if self._compute is None else self._compute()

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep what was computed, or can be, not how."""
        return _known, (self.layers,)


def _known(layers: list[Expectation] | None) -> Theory:
    return Theory(None if layers is None else lambda: layers)


@dataclass(frozen=True, eq=False)
class LayerDiagnosis:
    """One layer: what was measured, what theory expects, and what to make of it.

    Statistics are over all inputs and units, unless something else is said. None stands for what could not be
    measured: slopes of a function that is not known, gradients that were not given.

    Attributes
    ----------
    name : str
    width : int
        Units.
    fan_in : int or None
        Inputs of each unit.
    activation : str or None
    verdict, evidence, advice : str
        One of `VERDICTS`, what it is based on, and what to do about it.
    mean, std, skew, mean_square : float
        Of the outputs y = f(z).
    nonfinite : int
        Outputs and gradients that are infinite or NaN.
    dead : float or None
        Share of the units that give the same output for every input.
    saturated : float or None
        Share of the outputs where the slope of the activation is below a twentieth of its steepest.
    effective_rank : float or None
        One over the mean squared cosine between the outputs for two different inputs: 1 where all inputs look
        alike, the number of units where they point anywhere.
    duplicates, flipped, collinear : int or None
        Units whose weights are those of another unit, their negative, or another multiple of them.
    twins : int or None
        Units that have the weights of another and the same gradient too.
    slope_square : float or None
        Mean of f'(z)^2.
    gradient_std, gradient_norm : float or None
        Of dL/dz: standard deviation, and L2 norm over all inputs and units.
    weight_norm, bias_norm, weight_gradient_norm, weight_gradient_std : float or None
        L2 norms of W, b and dL/dW, and the standard deviation of the entries of the latter.
    update_ratio : float or None
        L2 norm of what one step of the optimizer changes W by, over that of W.
    sensitivity : float or None
        Mean square of how far a small shift of the inputs moves the outputs, relative to the shift; where
        layers are functions and there are no gradients.
    sample, gradient_sample : ndarray, (rows, width), or None
        Outputs and dL/dz for some of the inputs, 32 at most.
    """

    name: str
    width: int
    mean: float
    std: float
    skew: float
    mean_square: float
    nonfinite: int
    sample: Array = field(repr=False)
    fan_in: int | None = None
    activation: str | None = None
    dead: float | None = None
    saturated: float | None = None
    effective_rank: float | None = None
    duplicates: int | None = None
    flipped: int | None = None
    collinear: int | None = None
    twins: int | None = None
    slope_square: float | None = None
    gradient_std: float | None = None
    gradient_norm: float | None = None
    weight_norm: float | None = None
    bias_norm: float | None = None
    weight_gradient_norm: float | None = None
    weight_gradient_std: float | None = None
    update_ratio: float | None = None
    sensitivity: float | None = None
    gradient_sample: Array | None = field(default=None, repr=False)
    verdict: str = "healthy"
    evidence: str = ""
    advice: str = ""
    _theory: Theory = field(default_factory=Theory, repr=False)
    _index: int = field(default=0, repr=False)

    @property
    def expected(self) -> Expectation:
        """What theory expects of random weights of this size: (mean, std) of a statistic, by its name.

        "mean", "std", "skew", "dead", "saturated", "effective_rank" and "gradient_std", the last given the
        error at the outputs; computed when first asked for. Empty where the theory does not apply.
        """
        layers = self._theory.layers
        return {} if layers is None else layers[self._index]

    def is_remarkable(self, statistic: str) -> bool:
        """Whether a number lies outside of what theory expects, by three standard deviations."""
        value, expected = getattr(self, statistic), self.expected.get(statistic)
        if value is None or expected is None:
            return False
        mean, std = expected
        return not abs(value - mean) <= REMARKABLE * std + 1e-6 * abs(mean)

    def to_dict(self) -> dict[str, Any]:
        """Give numbers and words as what JSON can hold; samples are left out."""
        left_out = {"sample", "gradient_sample", "_theory", "_index"}
        numbers = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name not in left_out}
        numbers["expected"] = {name: [_plain(v) for v in pair] for name, pair in self.expected.items()}
        return numbers


def _plain(value: Any) -> Any:
    """Give None for what JSON has no number for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Whether a network will train, and why. Print it for a table; a notebook shows it with pictures.

    Attributes
    ----------
    verdict, reason, advice : str
        One of `VERDICTS`, the evidence for it in words, and what to do; see `diagnose`.
    layers : tuple of LayerDiagnosis
        First to last; the last is the output.
    inputs : LayerDiagnosis or None
        Statistics of the inputs.
    batch : int
        Inputs that were looked at.
    loss : float or None
        Where there are targets.
    forward_growth, backward_growth : float or None
        What the mean square of signals, and of gradients on their way back, is multiplied by in each layer,
        from the first hidden one to the last, and back.
    """

    verdict: str
    reason: str
    advice: str
    layers: tuple[LayerDiagnosis, ...]
    inputs: LayerDiagnosis | None
    batch: int
    loss: float | None
    forward_growth: float | None
    backward_growth: float | None

    def __repr__(self) -> str:
        """Name the verdict; `print` shows the rest."""
        return f"Diagnosis(verdict={self.verdict!r}, layers={len(self.layers)}, batch={self.batch})"

    @property
    def healthy(self) -> bool:
        """Whether the verdict is "healthy"."""
        return self.verdict == "healthy"

    def to_dict(self) -> dict[str, Any]:
        """Give all of it as what JSON can hold."""
        own = [f.name for f in fields(self) if f.name not in {"layers", "inputs"}]
        rest = {name: _plain(getattr(self, name)) for name in own}
        return {
            **rest,
            "inputs": None if self.inputs is None else self.inputs.to_dict(),
            "layers": [layer.to_dict() for layer in self.layers],
        }

    def to_html(self) -> str:
        """Give a page of its own: verdict, pictures of signal and gradient, table."""
        from .page import page

        return page(self)

    def _repr_html_(self) -> str:
        from .page import fragment

        return fragment(self)

    def __str__(self) -> str:
        """Lay out verdict and table, the latter in as many blocks as it takes."""
        words = [f"{self.verdict}: {self.reason}"]
        if self.advice:
            words.append(f"What to do: {self.advice}")
        words = [textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in words]
        rows = table(self)
        blocks = ["\n".join(block) for block in _blocks(rows)]
        if any(cell.startswith("*") for row in rows for cell in row):
            blocks.append(
                f"* more than {REMARKABLE:g} standard deviations from what theory expects of random weights"
            )
        return "\n\n".join(["\n".join(words), *blocks])


def _blocks(rows: list[list[str]]) -> Iterator[list[str]]:
    """Print columns side by side as far as they fit, with the names again in each block."""
    names, *columns = [
        [f"{cell:<{width}}" if i == 0 else f"{cell:>{width}}" for cell in column]
        for i, column in enumerate(zip(*rows, strict=True))
        for width in [max(map(len, column))]
    ]
    block = names
    for i, column in enumerate(columns):
        pair = rows[0][i + 2 : i + 3] == ["theory"]  # stays with what it is about
        room = len(block[0]) + 2 + len(column[0]) + (2 + len(columns[i + 1][0]) if pair else 0)
        if room > WIDTH:
            yield [line.rstrip() for line in block]
            block = names
        block = [f"{left}  {right}" for left, right in zip(block, column, strict=True)]
    yield [line.rstrip() for line in block]


def number(value: float) -> str:
    """Print with two or three digits that matter."""
    return f"{value:.2g}" if abs(value) < 1e-3 or abs(value) >= 1e4 else f"{value:.3g}"


def percent(value: float) -> str:
    """Print a share."""
    return f"{value:.1%}"


def tenths(value: float) -> str:
    """Print with one decimal."""
    return f"{value:.1f}"


#: What a table shows: heading, attribute, how to print a number.
COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("mean", "mean", number),
    ("std", "std", number),
    ("skew", "skew", tenths),
    ("dead", "dead", percent),
    ("satur.", "saturated", percent),
    ("rank", "effective_rank", tenths),
    ("std of dL/dz", "gradient_std", number),
    ("|dW|/|W|", "gradient_ratio", number),
    ("step/|W|", "update_ratio", number),
)


def table(report: Diagnosis) -> list[list[str]]:
    """Give headings and rows; each measured number with what theory expects."""
    rows = [] if report.inputs is None else [report.inputs]
    rows += report.layers
    heads = ["", "units", "verdict"]
    verdicts = ["" if layer is report.inputs else layer.verdict for layer in rows]
    columns = [[layer.name for layer in rows], [str(layer.width) for layer in rows], verdicts]
    for head, name, show in COLUMNS:
        cells = [_cell(layer, name, show) for layer in rows]
        if any(cells):
            heads.append(head)
            columns.append(cells)
        expected = [_expectation(layer, name, show) for layer in rows]
        if any(expected):
            heads.append("theory")
            columns.append(expected)
    return [heads, *map(list, zip(*columns, strict=True))]


def _cell(layer: LayerDiagnosis, name: str, show: Callable[[float], str]) -> str:
    value = _ratio(layer) if name == "gradient_ratio" else getattr(layer, name)
    if value is None:
        return ""
    mark = "*" if name != "gradient_ratio" and layer.is_remarkable(name) else ""
    return mark + (show(value) if math.isfinite(value) else str(value))


def _expectation(layer: LayerDiagnosis, name: str, show: Callable[[float], str]) -> str:
    if name not in layer.expected:
        return ""
    mean, std = layer.expected[name]
    if show is percent:
        return f"{mean:.1%}±{std:.1%}"
    return f"{show(0.0 if abs(mean) < 1e-9 * std else mean)}±{std:.1g}"


def _ratio(layer: LayerDiagnosis) -> float | None:
    """Give |dL/dW| / |W|."""
    if layer.weight_gradient_norm is None or layer.weight_norm is None:
        return None
    with np.errstate(all="ignore"):
        return float(np.divide(layer.weight_gradient_norm, layer.weight_norm))
