"""What pictures take from diagnoses: which reports were given, and the numbers of their layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from initcore.diagnosis import Diagnosis, LayerDiagnosis


def one(report: Diagnosis) -> Diagnosis:
    """Check that this is a diagnosis, of at least one layer."""
    if not hasattr(report, "layers"):
        raise TypeError(f"expected a Diagnosis, as diagnose gives, got {type(report).__name__}")
    if not len(report.layers):
        raise ValueError("expected a Diagnosis of at least one layer, got one of none")
    return report


def by_name(report: Diagnosis | Mapping[str, Diagnosis]) -> dict[str, Diagnosis]:
    """Give diagnoses by the name to show; a single one has no name."""
    several = dict(report) if isinstance(report, Mapping) else {"": report}
    if not several:
        raise ValueError("expected at least one Diagnosis, got none")
    return {str(name): one(report) for name, report in several.items()}


def series_by_name(
    reports: Sequence[Diagnosis] | Mapping[str, Sequence[Diagnosis]],
) -> dict[str, list[Diagnosis]]:
    """Give sequences of diagnoses of the same layers by the name to show; a single one has no name."""
    several = dict(reports) if isinstance(reports, Mapping) else {"": reports}
    if not several:
        raise ValueError("expected at least one sequence of diagnoses, got none")
    found = {}
    for name, series in several.items():
        if not isinstance(series, Sequence):
            raise TypeError(
                f"expected a sequence of diagnoses, as Recorder.reports, got {type(series).__name__}"
            )
        if not series:
            raise ValueError("expected at least one Diagnosis, got an empty sequence")
        found[str(name)] = [one(report) for report in series]
        depths = sorted({len(report.layers) for report in series})
        if len(depths) > 1:
            raise ValueError(
                f"expected diagnoses of one network, got some of {depths[0]} and of {depths[-1]} layers"
            )
    return found


def numbers(layers: Sequence[LayerDiagnosis], attribute: str) -> npt.NDArray[np.float64]:
    """Give an attribute of every layer; NaN where there is none."""
    values: list[Any] = [getattr(layer, attribute) for layer in layers]
    return np.array([np.nan if value is None else value for value in values], np.float64)


def expectations(layers: Sequence[LayerDiagnosis], statistic: str) -> npt.NDArray[np.float64]:
    """Give what theory expects of the layers, (2, layers): mean and standard deviation, or NaN."""
    return np.array([layer.expected.get(statistic, (np.nan, np.nan)) for layer in layers], np.float64).T
