"""The dense core in plain vectorised NumPy: a peer in the benchmarks, and in float64 what has to come out."""

from collections.abc import Sequence

import numpy as np

Layers = list[list[np.ndarray]]  # of each layer: weights (fan_in, fan_out), biases (fan_out,)


def forward(layers: Layers, x: np.ndarray) -> list[np.ndarray]:
    """Return the input of every layer, and the logits; relu between the layers."""
    kept = [x]
    for i, (w, b) in enumerate(layers):
        z = kept[-1] @ w + b
        kept.append(np.maximum(z, 0) if i + 1 < len(layers) else z)
    return kept


def gradients(layers: Layers, x: np.ndarray, t: np.ndarray) -> Layers:
    """Return those of the mean cross-entropy: softmax for labels, binary for one output."""
    kept = forward(layers, x)
    if kept[-1].shape[1] == 1:
        dz = (1 / (1 + np.exp(-kept[-1])) - t[:, None]) / np.asarray(len(x), x.dtype)
    else:
        p = np.exp(kept[-1] - kept[-1].max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        p[np.arange(len(t)), t] -= 1
        dz = p / np.asarray(len(x), x.dtype)
    found = []
    for (w, _), below in zip(reversed(layers), reversed(kept[:-1]), strict=True):
        found.append([below.T @ dz, dz.sum(axis=0)])
        if len(found) < len(layers):
            dz = (dz @ w.T) * (below > 0)
    return found[::-1]


def sgd_step(layers: Layers, x: np.ndarray, t: np.ndarray, lr: float) -> None:
    """Take a step of plain gradient descent, in place."""
    for layer, found in zip(layers, gradients(layers, x, t), strict=True):
        for parameter, gradient in zip(layer, found, strict=True):
            np.subtract(parameter, parameter.dtype.type(lr) * gradient, out=parameter)


def adam_first_step(layers: Layers, x: np.ndarray, t: np.ndarray, lr: float) -> None:
    """Take the first step of Adam, in place: both its means are then those of one gradient."""
    for layer, found in zip(layers, gradients(layers, x, t), strict=True):
        for parameter, gradient in zip(layer, found, strict=True):
            np.subtract(parameter, lr * gradient / (np.abs(gradient) + 1e-8), out=parameter)


def flat(layers: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Return all parameters in one row, in float64."""
    return np.concatenate([np.asarray(p, np.float64).ravel() for layer in layers for p in layer])
