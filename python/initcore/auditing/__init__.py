"""Does this array look like a draw of that initializer? Statistics of arrays from anywhere, with a verdict.

`audit` runs the checks that `structures` and `checks` hold, over one array or a whole model, and
judges their p-values together (Holm, A simple sequentially rejective multiple test procedure, Scand. J.
Statist. 6, 1979): a correct draw is rejected with a probability of `alpha` at most, however many checks there
are. SciPy is imported when something is audited.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from initcore import notebook
from initcore.initializers import InitLike, get
from initcore.params import ModelPlan
from initcore.trees import named

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from initcore._core import Layout
    from initcore.initializers import Array

_DTYPES = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Check:
    """One check of one parameter, or of all together.

    Attributes
    ----------
    name : str
        What was looked at.
    passed : bool
        False if this check rejects the array; True also where there was too little to judge.
    p_value : float or None
        How probable it is that a correct array looks as odd as this one or odder: 0 for what cannot happen,
        1 for what must; None where there was too little to judge.
    evidence : str
        What was found, in words.
    parameter : str
        Name of the parameter; empty if there is one only, and for checks between parameters.
    """

    name: str
    passed: bool
    p_value: float | None
    evidence: str
    parameter: str = ""


@dataclass(frozen=True)
class AuditReport:
    """What an audit found; printed, it is a table.

    Attributes
    ----------
    checks : tuple of Check
        All checks, in the order in which they were made.
    alpha : float
        The probability that a correct draw is rejected.
    """

    checks: tuple[Check, ...]
    alpha: float

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed, the least probable first."""
        failed = (check for check in self.checks if not check.passed)
        return tuple(sorted(failed, key=lambda check: check.p_value or 0.0))

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        judged = sum(check.p_value is not None for check in self.checks)
        if not judged:
            return "Nothing to judge: there are too few values."
        if self.ok:
            return f"Consistent: none of {judged} checks rejects it, at a false-alarm rate of {self.alpha:g}."
        first, number = self.failed[0], len(self.failed)
        return f"Rejected by {number} of {judged} checks, most clearly by {_title(first)}: {first.evidence}."

    def to_dict(self) -> dict[str, Any]:
        """Give all of it as what JSON can hold."""
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "alpha": self.alpha,
            "checks": [asdict(check) for check in self.checks],
        }

    def _rows(self) -> list[tuple[str, str, str, str]]:
        shown = _worth_showing(self.checks)
        rows = [("", "check", "p", "evidence")]
        return rows + [("" if c.passed else "FAIL", _title(c), _number(c.p_value), c.evidence) for c in shown]

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        cells: list[list[notebook.Cell]] = [
            [(mark, "bad"), (title, "text"), p, (evidence, "text")] for mark, title, p, evidence in rows
        ]
        return notebook.fragment(f"<p><b>{escape(self.verdict)}</b></p>{notebook.table(head, cells)}")

    def __str__(self) -> str:
        rows = self._rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"{mark:<{widths[0]}}  {title:<{widths[1]}}  {p:>{widths[2]}}  {evidence}".strip("\n").rstrip()
            for mark, title, p, evidence in rows
        ]
        return "\n".join([*lines, "", self.verdict])


def _title(check: Check) -> str:
    return f"{check.parameter}: {check.name}" if check.parameter else check.name


def _number(p: float | None) -> str:
    if p is None:
        return "-"
    if p == 0:
        return "0"
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def _worth_showing(checks: Sequence[Check]) -> list[Check]:
    """Give all checks of one array; of a model, the failed and the least probable of each parameter."""
    if not any(check.parameter for check in checks):
        return list(checks)
    least: dict[str, Check] = {}
    for check in checks:
        known = least.setdefault(check.parameter, check)
        if _odd(check) < _odd(known):
            least[check.parameter] = check
    return [check for check in checks if not check.passed or check is least[check.parameter]]


def _odd(check: Check) -> float:
    return math.inf if check.p_value is None else check.p_value


def require() -> None:
    """Raise the ImportError of a missing SciPy now, before any work."""
    try:
        import scipy  # noqa: F401
    except ImportError:
        raise ImportError("an audit needs SciPy: pip install 'initcore[audit]'") from None


def audit(
    array: npt.ArrayLike | Mapping[str, Any],
    init: InitLike | Mapping[str, InitLike] | ModelPlan,
    *,
    layout: str | Layout | Mapping[str, str | Layout] = "numpy",
    alpha: float = 1e-3,
) -> AuditReport:
    """Judge whether an array, or each parameter of a model, looks like a draw of an initializer.

    The arrays may come from anywhere: nothing is compared with what this library would draw. Checked are NaN
    and infinities, bounds, mean, variance, the distribution, the outermost values, values and stretches that
    repeat, and between outputs and between inputs: copies (equal, negated or scaled), and means and variances
    that are too different or too alike. Orthogonal and sparse weights are checked for their structure, and
    those without chance for equality. In a model, also that no two parameters come from the same random
    numbers, which happens when a seed is used twice.

    Parameters
    ----------
    array : array_like, or mapping of str to array_like
        Of float16, bfloat16, float32 or float64; or the parameters of a model by name, nested as they may be.
    init : str or Initializer, mapping of str to str or Initializer, or ModelPlan
        What they should be drawn by; for a model one for all, one for each full name, or what `plan` gives.
        See `get`.
    layout : str or Layout, or mapping of str to str or Layout
        Which axes are the inputs and outputs; see `fans`. For a model one for all, or one for each name.
    alpha : float
        The probability, at most, that a correct draw is rejected, over all checks together.

    Returns
    -------
    AuditReport

    Raises
    ------
    ImportError
        SciPy is not installed.
    TypeError
        The array is not of one of the dtypes, or an initializer is neither a name nor an Initializer.
    ValueError
        `alpha` is not between 0 and 1; a name is missing or unknown; or the initializer does not suit the
        shape.

    Examples
    --------
    >>> import initcore as ic
    >>> weight = ic.he_normal((784, 256), seed=0, name="fc1.weight")
    >>> audit(weight, "he_normal").ok, audit(weight, "xavier_normal").ok
    (True, False)
    """
    require()
    from .structures import findings, leading, shared_words

    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}")
    arrays = named(array) if isinstance(array, Mapping) else {"": array}
    if isinstance(init, ModelPlan):
        planned = init.parameters
        layout = {name: parameter.layout for name, parameter in planned.items()}
        init = {name: parameter.init for name, parameter in planned.items()}
    parameters = {name: _floats(name, values) for name, values in arrays.items()}
    inits = {name: get(scheme) for name, scheme in _for_each(parameters, init, "init").items()}
    layouts = _for_each(parameters, layout, "layout")
    found: list[tuple[str, str, float | None, str]] = []
    first_elements = []
    for name, values in parameters.items():
        try:
            for check, (p, evidence) in findings(values, inits[name], layouts[name]):
                found.append((name, check, p, evidence))
            first_elements.append(leading(name, values, inits[name], layouts[name]))
        except ValueError as error:
            raise ValueError(f"parameter {name!r}: {error}" if name else str(error)) from None
    if isinstance(array, Mapping):
        found.append(("", "shared words", *shared_words([x for x in first_elements if x])))
    passed = _holm([p for _, _, p, _ in found], alpha)
    return AuditReport(
        tuple(
            Check(check, good, p, evidence, name)
            for (name, check, p, evidence), good in zip(found, passed, strict=True)
        ),
        alpha,
    )


def _floats(name: str, values: npt.ArrayLike) -> Array:
    array = np.asarray(values)
    if array.dtype.name not in _DTYPES:
        of = f" of parameter {name!r}" if name else ""
        raise TypeError(f"expected an array of {', '.join(_DTYPES)}, got dtype {array.dtype}{of}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _for_each(parameters: Mapping[str, object], given: Any, what: str) -> Mapping[str, Any]:
    """Give one for each parameter: the same for all, or those that a mapping holds."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(parameters, given)
    if parameters.keys() != given.keys():
        missing, unknown = parameters.keys() - given.keys(), given.keys() - parameters.keys()
        names = f"missing {sorted(missing)}, unknown {sorted(unknown)}"
        raise ValueError(f"{what} must have the names of the parameters: {names}")
    return given


def _holm(p_values: Sequence[float | None], alpha: float) -> list[bool]:
    """Say which hypotheses stand, if any true one may fall with a probability of alpha at most."""
    passed = [True] * len(p_values)
    judged = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    for rank, (p, i) in enumerate(judged):
        if p > alpha / (len(judged) - rank):
            break
        passed[i] = False
    return passed
