"""What several experiments do: train a network quietly, follow a signal, show how far the work is."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from initcore.dense import dense_backward, dense_forward

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from initcore.datasets import Dataset
    from initcore.initializers import Array
    from initcore.nn import MLP
    from initcore.optimizers import Optimizer
    from initcore.training import History

T = TypeVar("T")

LOSS = "softmax_cross_entropy"
#: Training samples on which signals and verdicts are taken.
PROBE = 1000


def track(items: Sequence[T], progress: bool | None, unit: str) -> Iterator[T]:
    """Go through the items under a progress bar, by default where standard error is a terminal."""
    if not (sys.stderr.isatty() if progress is None else progress):
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, unit=unit, leave=False)


def train(
    net: MLP,
    data: Dataset,
    optimizer: Optimizer,
    epochs: int,
    *,
    batch_size: int = 32,
    seed: int = 0,
    validate: bool = False,
    **options: Any,
) -> History:
    """Train on the training samples; a divergence is a result here and no cause for a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return net.fit(
            data.x_train,
            data.y_train,
            loss=LOSS,
            optimizer=optimizer,
            batch_size=batch_size,
            epochs=epochs,
            seed=seed,
            validation_data=(data.x_test, data.y_test) if validate else None,
            progress=False,
            **options,
        )


def accuracy(net: MLP, x: npt.ArrayLike, t: npt.ArrayLike) -> float:
    """Give the share of right decisions."""
    return float(np.mean(net.predict(x) == np.asarray(t)))


def there_and_back(net: MLP, x: npt.ArrayLike, error: npt.ArrayLike) -> tuple[list[Array], list[Array]]:
    """Send a signal forward through the layers and an error signal back.

    Parameters
    ----------
    net : MLP
    x : array_like, (batch, inputs)
    error : array_like, (batch, outputs)
        dL/dy at the outputs.

    Returns
    -------
    y, dz : list of ndarray, (batch, width)
        Outputs y = f(z) of every layer, and dL/dz.
    """
    parameters, y, caches = net.parameters(), np.asarray(x), []
    outputs, errors = [], []
    for layer, activation in enumerate(net.layer_activations()):
        w, b = (parameters.get(f"layers.{layer}.{kind}") for kind in ("weight", "bias"))
        y, cache = dense_forward(y, w, b, activation)  # type: ignore[arg-type]
        outputs.append(y)
        caches.append(cache)
    dy = np.asarray(error)
    for cache in reversed(caches):
        errors.append(dy if cache.slope is None else dy * cache.slope)
        dy, _, _ = dense_backward(dy, cache)
    return outputs, errors[::-1]
