"""Networks of dense layers, trained in Rust: arrays in, arrays out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _core
from .arrays import float_array, integer, matrix
from .initializers import Array, get
from .optimizers import SGD, Adam, Optimizer, RMSProp

if TYPE_CHECKING:
    from ._core import Initializer


#: Called after every epoch with its row of the history; something true ends the fit.
Callback: TypeAlias = Callable[[dict[str, Any]], object]


@dataclass
class History(Mapping[str, list[Any]]):
    """What happened in a fit: lists with one entry per epoch, as ``history["loss"]`` or ``history.loss``.

    ``loss``, ``accuracy``, ``val_loss``, ``val_accuracy`` (None where there is none), ``gradient_norm``
    (mean over the steps) and ``seconds``.

    Attributes
    ----------
    epochs : list of dict
        The same, one dict per epoch.
    diverged : bool
        A loss, gradient or parameter was not finite, which ended the fit. A step with such a loss or
        gradient was not applied.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)

    NAMES: ClassVar[tuple[str, ...]] = (
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "gradient_norm",
        "seconds",
    )

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self.NAMES:
            raise KeyError(name)
        return [row[name] for row in self.epochs]

    def __getattr__(self, name: str) -> list[Any]:
        """Give the list of that name."""
        if name in History.NAMES:
            return self[name]
        raise AttributeError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.NAMES)

    def __len__(self) -> int:
        return len(self.NAMES)

    @property
    def diverged(self) -> bool:
        """Whether the fit ended early because a number was not finite."""
        return any(row["diverged"] for row in self.epochs)


class MLP:
    """A multilayer perceptron: ``y = f(x @ W + b)``, layer after layer.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, then the width of every layer: ``[784, 256, 10]`` has two layers.
    activation, output_activation : str
        "linear", "relu", "leaky_relu", "leaky_relu(0.2)", "tanh" or "sigmoid": of all layers but the last,
        and of the last. The cross-entropy losses take logits, that is a linear output; behind a sigmoid,
        "binary_cross_entropy" takes the sigmoid's argument.
    init : str or Initializer
        For the weights; see `get`. Biases begin at zero.
    bias : bool
        Whether the layers have one.
    seed : int, numpy.random.SeedSequence or None
        Weights are drawn under this seed and their own names.
    dtype : dtype, optional
        float32 (the default) or float64.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described.

    Examples
    --------
    >>> net = MLP([2, 4, 1], activation="tanh", init="xavier_normal", seed=0)
    >>> net.forward([[0.5, -1.0]]).shape
    (1, 1)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str = "relu",
        output_activation: str = "linear",
        init: str | Initializer = "he_normal",
        bias: bool = True,
        seed: int | np.random.SeedSequence | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        sizes = [integer(n, "each of sizes", 1) for n in sizes]
        self.sizes = tuple(sizes)
        self.activation = activation
        self.output_activation = output_activation
        self.init = get(init)
        self.bias = bias
        self.dtype = np.dtype(np.float32 if dtype is None else dtype)
        self._core = _core.Mlp(sizes, activation, output_activation, bias, self.dtype)
        if seed is None:
            seed = np.random.SeedSequence()
        self._core.set_parameters(
            {
                name: self.init(shape, seed=seed, name=name, dtype=self.dtype)
                for name, shape in self._core.shapes()
                if name.endswith("weight")
            }
        )

    def __repr__(self) -> str:
        """Architecture and initializer."""
        return (
            f"MLP({list(self.sizes)}, activation={self.activation!r}, "
            f"output_activation={self.output_activation!r}, init={self.init!r}, bias={self.bias}, "
            f"dtype={self.dtype.name})"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the Rust object, and the parameters."""
        return {**self.__dict__, "_core": self.parameters()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the Rust object anew."""
        self.__dict__.update(state)
        self._core = _core.Mlp(
            list(self.sizes), self.activation, self.output_activation, self.bias, self.dtype
        )
        self.set_parameters(state["_core"])

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters: "layers.0.weight" (fan_in, fan_out), "layers.0.bias", ..."""
        return self._core.parameters()

    def set_parameters(self, mapping: Mapping[str, npt.ArrayLike]) -> None:
        """Replace the named parameters; the others stay. All are checked before the first is written.

        Parameters
        ----------
        mapping : dict of str to array_like
            Names and shapes as in `parameters`.

        Raises
        ------
        KeyError
            There is no such parameter.
        ValueError
            A shape does not fit.
        """
        self._core.set_parameters(
            {name: float_array(value, self.dtype, name) for name, value in mapping.items()}
        )

    def forward(self, x: npt.ArrayLike, *, num_threads: int | None = None) -> Array:
        """Compute the outputs.

        Parameters
        ----------
        x : array_like, (batch, inputs)
            Finite numbers.
        num_threads : int, optional
            At most this many; the result does not depend on it.

        Returns
        -------
        ndarray, (batch, outputs)

        Raises
        ------
        ValueError
            The shape does not fit, or a number is not finite.
        """
        return self._core.forward(matrix(x, self.dtype, "x"), num_threads)

    def activations(self, x: npt.ArrayLike, *, num_threads: int | None = None) -> list[Array]:
        """Compute the outputs of every layer, first to last, each (batch, width); see `forward`."""
        return self._core.activations(matrix(x, self.dtype, "x"), num_threads)

    def predict(self, x: npt.ArrayLike, *, num_threads: int | None = None) -> npt.NDArray[np.int64]:
        """Decide on a class for each row of `x`.

        The class is that of the largest output. A network with a single output decides between 0 and 1: 1
        where its logit is above 0, or, behind a sigmoid, its probability above 1/2. For a regression, use
        `forward`.

        Parameters
        ----------
        x : array_like, (batch, inputs)
            Finite numbers.
        num_threads : int, optional
            At most this many.

        Returns
        -------
        ndarray of int64, (batch,)
        """
        y = self.forward(x, num_threads=num_threads)
        if y.shape[1] > 1:
            return np.asarray(y.argmax(axis=1), np.int64)
        threshold = 0.5 if self.output_activation == "sigmoid" else 0.0
        return np.asarray(y[:, 0] > threshold, np.int64)

    def _samples(
        self, x: npt.ArrayLike, t: npt.ArrayLike, loss: str, where: str = ""
    ) -> tuple[Array, npt.NDArray[Any]]:
        """Give inputs (rows, inputs), and int64 labels (rows,) or target values (rows, outputs)."""
        _, losses = _core.nn_names()
        if not isinstance(loss, str):
            msg = f"loss must be a name, got {loss!r}"
            raise TypeError(msg)
        if loss not in losses:
            msg = f"unknown loss {loss!r}: expected one of {', '.join(losses)}"
            raise ValueError(msg)
        x = matrix(x, self.dtype, f"{where}x")
        array = np.asarray(t)
        given, rows, outputs = array.shape, len(x), self.sizes[-1]
        if loss == "softmax_cross_entropy" and array.ndim == 1:
            if array.dtype.kind not in "iu":
                msg = f"{where}labels must be integers, got dtype {array.dtype}"
                raise TypeError(msg)
            expected: tuple[int, ...] = (rows,)
            if array.size and array.max() >= 2**63:
                msg = f"{where}label {array.max()} is outside of the {outputs} classes 0..={outputs - 1}"
                raise ValueError(msg)
            labels = np.require(array, np.int64, ["C", "A"])
        else:
            if array.ndim == 1 and outputs == 1:
                array = array[:, None]
            expected = (rows, outputs)
            labels = None
        if array.shape != expected:
            labels_too = f"({rows},) and be integers, or " if loss == "softmax_cross_entropy" else ""
            msg = f"{where}targets must have shape {labels_too}{(rows, outputs)} for {loss}, got {given}"
            raise ValueError(msg)
        return x, float_array(array, self.dtype, f"{where}targets") if labels is None else labels

    def loss_and_grad(
        self, x: npt.ArrayLike, t: npt.ArrayLike, *, loss: str, num_threads: int | None = None
    ) -> tuple[float, dict[str, Array]]:
        """Compute the loss over a batch and its gradients.

        Parameters
        ----------
        x : array_like, (batch, inputs)
            Finite numbers.
        t : array_like
            Targets: integer labels (batch,) or probabilities (batch, outputs) for "softmax_cross_entropy";
            probabilities (batch, outputs) for "binary_cross_entropy"; numbers (batch, outputs) for "mse".
            With one output, (batch,) will do.
        loss : {"mse", "binary_cross_entropy", "softmax_cross_entropy"}
            Means as in PyTorch: over all elements, and over the rows for the softmax. The cross-entropies
            take logits.
        num_threads : int, optional
            At most this many.

        Returns
        -------
        loss : float
        gradients : dict of str to ndarray
            By the names of `parameters`.

        Raises
        ------
        ValueError
            Shapes do not fit, a number is not finite, a label is not one of the classes.
        TypeError
            Labels are not integers.
        """
        x, t = self._samples(x, t, loss)
        return self._core.loss_and_grad(x, t, loss, num_threads)

    def evaluate(
        self, x: npt.ArrayLike, t: npt.ArrayLike, *, loss: str, num_threads: int | None = None
    ) -> tuple[float, float | None]:
        """Compute loss and accuracy (None for "mse"); see `loss_and_grad`."""
        x, t = self._samples(x, t, loss)
        return self._core.evaluate(x, t, loss, num_threads)

    def fit(
        self,
        x: npt.ArrayLike,
        t: npt.ArrayLike,
        *,
        loss: str,
        optimizer: Optimizer,
        batch_size: int,
        epochs: int,
        shuffle: bool = True,
        seed: int = 0,
        validation_data: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        callbacks: Iterable[Callback] = (),
        progress: bool | None = None,
        num_threads: int | None = None,
    ) -> History:
        """Train on mini-batches, in place.

        Same network, data, arguments: same parameters, bit for bit, on any number of threads. Ctrl-C ends
        between two steps, with the parameters as they are then.

        Parameters
        ----------
        x, t : array_like
            Samples and targets, as in `loss_and_grad`.
        loss : str
            As in `loss_and_grad`.
        optimizer : SGD, RMSProp or Adam
            Starts afresh in every call.
        batch_size : int
            Samples per step; the last step of an epoch takes what is left.
        epochs : int
            Passes over the samples.
        shuffle : bool
            Take the samples in a new order in every epoch, decided by `seed`.
        seed : int
            In [0, 2**64).
        validation_data : (x, t), optional
            Evaluated after every epoch.
        callbacks : iterable of callable
            Each is called after every epoch with the epoch's row of the history, a dict, and sees the
            parameters of that moment; something true ends the fit. Parameters that a callback, or another
            thread, sets meanwhile are lost. `x` and `t` must not be changed.
        progress : bool, optional
            Show a progress bar; by default where standard error is a terminal.
        num_threads : int, optional
            At most this many.

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError
            As in `loss_and_grad`, before anything is changed.
        """
        if not isinstance(optimizer, SGD | RMSProp | Adam):
            msg = f"optimizer must be an SGD, RMSProp or Adam, got {type(optimizer).__name__}"
            raise TypeError(msg)
        callbacks = tuple(callbacks)
        for callback in callbacks:
            if not callable(callback):
                msg = f"callbacks must be callable, got {callback!r}"
                raise TypeError(msg)
        batch_size, epochs = integer(batch_size, "batch_size", 1), integer(epochs, "epochs", 0)
        seed = integer(seed, "seed", 0, 2**64)
        validation = None
        if validation_data is not None:
            try:
                xv, tv = validation_data
            except (TypeError, ValueError):
                msg = f"validation_data must be a pair (x, t), got {type(validation_data).__name__}"
                raise TypeError(msg) from None
            validation = self._samples(xv, tv, loss, "validation ")
        x, t = self._samples(x, t, loss)
        history = History()
        # No bar at all where none is shown: even a hidden one takes tqdm's global lock, and its import that
        # of the import system; a fork in another thread would leave them locked in the child.
        bar = None
        if sys.stderr.isatty() if progress is None else progress:
            from tqdm import tqdm

            bar = tqdm(total=epochs, unit="epoch", leave=False)

        def on_epoch(row: dict[str, Any]) -> bool:
            history.epochs.append(row)
            if bar is not None:
                bar.set_postfix(loss=f"{row['loss']:.4g}")
                bar.update()
            answers = [callback(row) for callback in callbacks]  # every callback is called
            return any(answers)

        try:
            self._core.fit(
                x, t, loss, optimizer, batch_size, epochs, shuffle, seed, validation, on_epoch, num_threads
            )  # fmt: skip
        finally:
            if bar is not None:
                bar.close()
        return history
