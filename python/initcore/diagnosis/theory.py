"""What theory expects of each layer that was measured: random weights of the same size, the same inputs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from initcore._core import Orthogonal
from initcore.activations import as_activation
from initcore.nn import MLP
from initcore.theory import Inputs, predict, statistics
from initcore.theory.prediction import Description
from initcore.theory.statistics import STATISTICS

from .facts import log
from .measurement import FLAT, levels_off

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from initcore.quadrature import Floats

    from .measurement import Measurement
    from .report import Expectation, LayerDiagnosis


def expectations(net: object, found: Measurement) -> Callable[[], list[Expectation]] | None:
    """Give a function that computes what to expect; None where too little is known of the network.

    Of an `MLP` everything is; layers that are arrays need their weights and activations, and the inputs. Kept
    are some numbers for each layer, no weights: training goes on, and what theory says is asked for later.
    """
    if found.inputs is None or found.cosines is None or not 0 < found.inputs.mean_square < math.inf:
        return None
    inputs = _inputs(found.inputs, found.cosines, found.batch)
    network = _describe(found.layers, rotates=isinstance(net, MLP) and isinstance(net.init, Orthogonal))
    return None if network is None else lambda: _compute(network, inputs, found)


def _describe(layers: Sequence[LayerDiagnosis], *, rotates: bool) -> Description | None:
    """Describe the network for the theory: its sizes and activations, and how large its weights are."""
    sizes, functions, weights, biases = [], [], [], []
    for layer in layers:
        if layer.activation is None or not layer.fan_in or layer.weight_norm is None:
            return None
        if not math.isfinite(layer.weight_norm + (layer.bias_norm or 0.0)):
            return None
        sizes.append(layer.fan_in)
        functions.append(as_activation(layer.activation))
        weights.append(log(layer.weight_norm**2 / (layer.fan_in * layer.width)))
        biases.append(log((layer.bias_norm or 0.0) ** 2 / layer.width))
    return Description((*sizes, layers[-1].width), functions, weights, biases, [rotates] * len(layers))


def _inputs(measured: LayerDiagnosis, cosines: Floats, batch: int) -> Inputs:
    squares = np.square(measured.sample.astype(np.float64)).mean(axis=1)
    mean = squares.mean()
    spread = float(np.log1p(squares.var() / mean**2)) if mean else 0.0
    return Inputs(measured.mean_square, spread, np.nan_to_num(cosines), batch)  # inputs of zeros have none


def _compute(network: Description, inputs: Inputs, found: Measurement) -> list[Expectation]:
    expected = statistics(network, inputs, threshold=FLAT)
    rows: list[dict[str, tuple[float, float]]] = []
    for i, layer in enumerate(found.layers):
        row = {}
        for name in STATISTICS:
            estimate = getattr(expected, name)
            pair = float(estimate.mean[i]), float(estimate.std[i])
            if name == "saturated" and not (layer.activation and levels_off(layer.activation)):
                continue
            if all(map(math.isfinite, pair)):
                row[name] = pair
        rows.append(row)
    last = found.layers[-1].gradient_std
    if last is not None and math.isfinite(last):
        errors = predict(network, inputs.mean_square).dz
        for row, mean, std in zip(rows, errors.mean, errors.std, strict=True):
            pair = _root(float(mean), float(std))
            if all(map(math.isfinite, pair)):
                row["gradient_std"] = (last * pair[0], last * pair[1])
    return list(rows)


def _root(mean: float, std: float) -> tuple[float, float]:
    """Give mean and standard deviation of the root of a log-normal number."""
    if mean == 0:
        return 0.0, 0.0
    variance = math.log1p((std / mean) ** 2)
    root = math.sqrt(mean) * math.exp(-variance / 8)
    return root, root * math.sqrt(math.expm1(variance / 4))
