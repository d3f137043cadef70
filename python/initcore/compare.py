"""What an initialization does: the same network trained once per scheme, measured and judged.

Everything but the scheme is the same: data, order of the batches, and the random numbers behind the
weights, of which `xavier_normal` and `he_normal` are scaled copies. Pure computation: `cli` prints
the results, `plot` draws them.

The verdict follows the theory (Glorot & Bengio 2010, He et al. 2015). Through L layers of one gain
g, the signal and the error signal are multiplied by about g**L, forward and backward:
`forward_gain` and `backward_gain` measure the two products, `judge` says what they mean.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .guessing import class_entropy
from .initializers import Array, InitLike, get
from .nn import MLP
from .optimizers import SGD, Optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from .datasets import Dataset
    from .training import History

#: What is compared when nothing else is asked for: two that stay symmetric, too small, too large,
#: and right.
INITS = ("zeros", "constant(0.1)", "normal(0.01)", "normal(1)", "xavier_normal", "he_normal")
#: Hidden layers: deep enough that a gain a little off 1 shows.
LAYERS = (128,) * 5
#: Training samples on which signals and gradients are measured.
PROBE = 1000

LOSS = "softmax_cross_entropy"

# Too large a signal does its harm at once. Outputs with a standard deviation of 5 saturate the
# softmax: the loss begins at several times that of guessing. An error signal that is 5 times larger
# in the first layer than in the last makes a step that fits the last layer far too long for the
# first.
EXPLODES = 5.0
# Too small a signal only delays: layers whose errors are a hundred times smaller learn a hundred
# times more slowly. Whether that was too slow is seen in the loss. (The 2-dimensional sets cost
# Xavier a factor of 7 in its first layer alone, where the fans are 2 and 128, and it trains.)
VANISHES = 0.01
# Training has worked when this share of the loss of guessing is left.
LEARNED = 0.25
# Training has not begun to work when this share is left.
STUCK = 0.9


@dataclass(frozen=True)
class Result:
    """What became of one initialization.

    Attributes
    ----------
    init : str
        The scheme.
    activations : tuple of ndarray, (samples, width)
        Outputs of every layer before the training, on the first 1000 training samples.
    gradient_norms : tuple of float
        L2 norm of the gradient of each layer, weight and bias together, there and then.
    forward_gain : float
        Standard deviation of the network's outputs over that of its inputs, before the training.
    backward_gain : float
        The same for the error signal on its way back, from the last layer to the first.
    distinct_units, hidden_units : tuple of int
        Per hidden layer, the units that differ in a weight or bias after the training, and all of
        them.
    initial_loss, loss : float
        Over all training samples, before and after; NaN after a training that diverged.
    guess_loss : float
        Of an answer that knows only how frequent each class is.
    accuracy : float
        Share of right answers on the test samples, after the training.
    history : History
        Of the training, epoch by epoch; its validation data are the test samples.
    seconds : float
        How long the training took.
    verdict : {"symmetric", "vanishing", "exploding", "diverged", "healthy"}
        What happened; see `judge`.
    reason : str
        The numbers behind it, in words.
    """

    init: str
    activations: tuple[Array, ...]
    gradient_norms: tuple[float, ...]
    forward_gain: float
    backward_gain: float
    distinct_units: tuple[int, ...]
    hidden_units: tuple[int, ...]
    initial_loss: float
    loss: float
    guess_loss: float
    accuracy: float
    history: History
    seconds: float
    verdict: str
    reason: str

    @property
    def activation_std(self) -> tuple[float, ...]:
        """Standard deviation of each layer's activations, over samples and units."""
        return tuple(map(_std, self.activations))

    @property
    def trains(self) -> bool:
        """Whether its units learn different things, and the loss fell below that of guessing."""
        return self.verdict not in {"symmetric", "diverged"} and self.loss < STUCK * self.guess_loss

    @property
    def gradient_ratio(self) -> float:
        """Gradient norm of the first layer over that of the last; NaN if both are zero."""
        return _ratio(self.gradient_norms[0], self.gradient_norms[-1])


def compare(
    data: Dataset,
    inits: Sequence[InitLike] = INITS,
    *,
    layers: Sequence[int] = LAYERS,
    activation: str = "relu",
    optimizer: Optimizer | None = None,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    dtype: npt.DTypeLike = np.float32,
    num_threads: int | None = None,
) -> list[Result]:
    """Train one network from several initializations and judge each.

    Parameters
    ----------
    data : Dataset
        See `datasets.load`.
    inits : sequence of str or Initializer
        The schemes; see `get`.
    layers : sequence of int
        Widths of the hidden layers.
    activation : str
        Of the hidden layers; see `MLP`.
    optimizer : Optimizer, optional
        By default ``SGD(0.05)``: an adaptive optimizer hides part of what an initialization does.
    epochs, batch_size : int
        As in `MLP.fit`.
    seed : int
        For the weights and the order of the samples.
    dtype : dtype
        float32 or float64.
    num_threads : int, optional
        At most this many; the results do not depend on it.

    Returns
    -------
    list of Result
        One per scheme, in the order of `inits`.

    Raises
    ------
    ValueError, TypeError
        As in `MLP` and `MLP.fit`; all schemes are checked before the first training.
    """
    return list(
        runs(
            data,
            inits,
            layers=layers,
            activation=activation,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            dtype=dtype,
            num_threads=num_threads,
        )
    )


def runs(
    data: Dataset,
    inits: Sequence[InitLike] = INITS,
    *,
    layers: Sequence[int] = LAYERS,
    activation: str = "relu",
    optimizer: Optimizer | None = None,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    dtype: npt.DTypeLike = np.float32,
    num_threads: int | None = None,
    on_epoch: Callable[[], object] = lambda: None,
) -> Iterator[Result]:
    """Do the work of `compare` one scheme at a time; call `on_epoch` after every epoch."""
    if not layers:
        raise ValueError("a comparison needs one hidden layer or more")
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    optimizer = SGD(0.05) if optimizer is None else optimizer
    schemes = {str(init): get(init) for init in inits}
    sizes = [data.x_train.shape[1], *layers, len(data.classes)]
    probe = data.x_train[:PROBE], data.y_train[:PROBE]
    guess_loss = class_entropy(data.y_train)

    def tick(_: dict[str, Any]) -> None:
        on_epoch()

    for name, scheme in schemes.items():
        net = MLP(sizes, activation=activation, init=scheme, seed=seed, dtype=dtype)
        activations = tuple(net.activations(probe[0], num_threads=num_threads))
        _, gradients = net.loss_and_grad(*probe, loss=LOSS, num_threads=num_threads)
        norms = tuple(_gradient_norm(gradients, layer) for layer in range(len(sizes) - 1))
        initial_loss, _ = net.evaluate(data.x_train, data.y_train, loss=LOSS, num_threads=num_threads)

        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the verdict says what a warning would
            history = net.fit(
                data.x_train,
                data.y_train,
                loss=LOSS,
                optimizer=optimizer,
                batch_size=batch_size,
                epochs=epochs,
                seed=seed,
                validation_data=(data.x_test, data.y_test),
                callbacks=[tick],
                progress=False,
                num_threads=num_threads,
            )
        seconds = time.perf_counter() - began
        loss = math.nan
        if not history.diverged:
            loss, _ = net.evaluate(data.x_train, data.y_train, loss=LOSS, num_threads=num_threads)
        gains = _gains(probe[0], activations, norms)
        parameters = net.parameters()
        distinct = tuple(_distinct_units(parameters, layer) for layer in range(len(layers)))
        verdict, reason = judge(
            *gains,
            distinct_units=distinct,
            hidden_units=tuple(layers),
            initial_loss=initial_loss,
            loss=loss,
            guess_loss=guess_loss,
            epochs=len(history["loss"]),
        )
        yield Result(
            init=name,
            activations=activations,
            gradient_norms=norms,
            forward_gain=gains[0],
            backward_gain=gains[1],
            distinct_units=distinct,
            hidden_units=tuple(layers),
            initial_loss=initial_loss,
            loss=loss,
            guess_loss=guess_loss,
            accuracy=history["val_accuracy"][-1],
            history=history,
            seconds=seconds,
            verdict=verdict,
            reason=reason,
        )


def judge(
    forward_gain: float,
    backward_gain: float,
    *,
    distinct_units: Sequence[int],
    hidden_units: Sequence[int],
    initial_loss: float,
    loss: float,
    guess_loss: float,
    epochs: int,
) -> tuple[str, str]:
    """Say in words what an initialization did.

    It is the first of these that holds:

    - *symmetric*: the units of a hidden layer are equal, bit for bit, after the training.
      Equal units get equal gradients, so this is for ever, whatever else happens.
    - *diverged*: a number stopped being finite, or the loss grew instead of falling.
    - *exploding*: signal or error signal grew 5-fold or more through the layers.
    - *vanishing*: one of them shrank 100-fold or more, and more than a quarter of the loss of
      guessing was left.
    - *healthy*: none of these.

    Parameters
    ----------
    forward_gain, backward_gain, distinct_units, hidden_units, initial_loss, loss, guess_loss
        As in `Result`; a `loss` of NaN stands for a training that diverged.
    epochs : int
        How many were begun.

    Returns
    -------
    verdict : str
    reason : str
    """
    same = [n for d, n in zip(distinct_units, hidden_units, strict=True) if d == 1 < n]
    growth = _growth(forward_gain, backward_gain)
    fall = f"the loss went from {initial_loss:.3g} to {loss:.3g} (guessing: {guess_loss:.3g})"
    if same and forward_gain == backward_gain == 0:
        return "symmetric", (
            f"no signal comes through forward, no error backward: all units stay equal; {fall}"
        )
    if same:
        return "symmetric", (
            f"equal units get equal gradients: {max(same)} of them work like one, however long "
            f"they train; {fall}"
        )
    explodes = not (forward_gain < EXPLODES and backward_gain < EXPLODES)  # also NaN, an overflow
    blame = "" if explodes else "; the initialization is not to blame: try a smaller learning rate"
    if not math.isfinite(loss):
        return "diverged", f"{growth}; a number stopped being finite in epoch {epochs}{blame}"
    if loss > 2 * max(initial_loss, guess_loss):
        return "diverged", f"{growth}; {fall}{blame}"
    if explodes:
        trains = "; it trains all the same" if loss < LEARNED * guess_loss else ""
        return "exploding", f"{growth}; {fall}{trains}"
    if min(forward_gain, backward_gain) < VANISHES and loss > LEARNED * guess_loss:
        return "vanishing", f"{growth}; {fall}"
    hint = ""
    if loss > STUCK * guess_loss:
        hint = "; more epochs or another learning rate may help"
    return "healthy", f"{growth}; {fall}{hint}"


def _growth(forward: float, backward: float) -> str:
    return f"through the layers the signal is multiplied by {forward:.2g}, the error by {backward:.2g}"


def _gains(x: Array, activations: Sequence[Array], norms: Sequence[float]) -> tuple[float, float]:
    """Measure how signal and error signal grow from end to end.

    The gradient of a weight, x^T dz, has about the norm |x| |dz|. Divided by that of the layer's
    input it leaves that of the error signal dz, the quantity that the theory follows backward.
    """
    inputs = [x, *activations[:-1]]
    first, last = (norms[i] / n if (n := _norm(inputs[i])) else 0.0 for i in (0, -1))
    # What never arrives, 0 / 0, has a gain of 0.
    return _std(activations[-1]) / _std(x), first / last if last else 0.0


def _gradient_norm(gradients: dict[str, Array], layer: int) -> float:
    return math.hypot(*(_norm(gradients[f"layers.{layer}.{kind}"]) for kind in ("weight", "bias")))


def _distinct_units(parameters: dict[str, Array], layer: int) -> int:
    """Count the units of a layer that differ in a bit of their incoming weights or bias."""
    w, b = parameters[f"layers.{layer}.weight"], parameters[f"layers.{layer}.bias"]
    # One row per unit: (fan_out, fan_in + 1). The bytes, since NaN, after a divergence, equals
    # nothing.
    units = np.ascontiguousarray(np.vstack([w, b]).T)
    return len({unit.tobytes() for unit in units})


def _std(values: Array) -> float:
    with np.errstate(all="ignore"):  # the std of an overflow is NaN, and that is the answer
        return float(values.std(dtype=np.float64))


def _norm(values: Array) -> float:
    with np.errstate(all="ignore"):
        return float(np.linalg.norm(values.astype(np.float64)))


def _ratio(a: float, b: float) -> float:
    if b == 0:
        return math.nan if a == 0 else math.inf
    return a / b
