"""The loss of guessing: what a network must get below to have learned anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def loss_of_guessing(loss: str, t: npt.ArrayLike) -> float | None:
    """Give the loss of an answer that knows only how frequent each is; None for the less usual losses.

    Parameters
    ----------
    loss : str
        As in `MLP.loss_and_grad`.
    t : array_like
        The targets, which suit the loss.
    """
    array = np.asarray(t)
    if loss == "mse":
        return float(np.var(array, axis=0).mean())
    if loss == "softmax_cross_entropy":
        return class_entropy(array) if array.ndim == 1 else _entropy(array.mean(axis=0))
    if loss == "binary_cross_entropy":
        shares = np.atleast_1d(array.mean(axis=0, dtype=np.float64))
        return _entropy(np.stack([shares, 1 - shares])) / shares.size
    return None


def class_entropy(labels: npt.ArrayLike) -> float:
    """Give the cross-entropy of answering every sample with the frequencies of the classes."""
    array = np.asarray(labels)
    return _entropy(np.bincount(array) / len(array))


def _entropy(shares: npt.NDArray[np.floating[Any]]) -> float:
    return float(-(shares * np.log(shares, where=shares > 0, out=np.zeros(shares.shape))).sum())
