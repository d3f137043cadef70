"""Networks of dense layers, trained in Rust: arrays in, arrays out."""

from __future__ import annotations

import sys
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import _core, distributed, notebook, storage
from .arrays import expect, float_array, integer, matrix, one_or_several, per_layer
from .config import thread_count
from .initializers import Array, InitLike, get
from .optimizers import Optimizer
from .schedules import ConstantSchedule, Schedule
from .training import Callback, Divergence, EarlyStopping, History, Watch

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from .distributed import Workers
    from .training import Samples


class MLP:
    """A multilayer perceptron: ``y = f(x @ W + b)``, layer after layer.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, then the width of every layer: ``[784, 256, 10]`` has two layers.
    activation : str or sequence of str
        Of all layers but the last, or one for each of them: "linear", "relu", "leaky_relu", "elu", "selu",
        "gelu" (with the exact error function), "gelu_tanh", "silu", "tanh", "sigmoid", "softplus",
        "softsign", "mish" or "hard_tanh", as PyTorch defines them. "leaky_relu(0.2)" and "elu(0.5)" have
        another slope and limit than 0.01 and 1.
    output_activation : str
        Of the last layer. The cross-entropy losses take logits, that is a linear output; behind a sigmoid,
        "binary_cross_entropy" takes the sigmoid's argument.
    init : str or Initializer
        For the weights; see `get`. Biases begin at zero.
    bias : bool or sequence of bool
        Whether the layers have one; for all, or for each.
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
        activation: str | Sequence[str] = "relu",
        output_activation: str = "linear",
        init: InitLike = "he_normal",
        bias: bool | Sequence[bool] = True,
        seed: int | np.random.SeedSequence | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        self.sizes = tuple(integer(n, "each of sizes", 1) for n in sizes)
        self.activation = one_or_several(activation, str, "activation")
        self.output_activation = output_activation
        self.init = get(init)
        self.bias = one_or_several(bias, bool, "bias")
        self.dtype = np.dtype(np.float32 if dtype is None else dtype)
        self._core = self._new_core()
        if seed is None:
            seed = np.random.SeedSequence()
        self._core.set_parameters(
            {
                name: self.init(shape, seed=seed, name=name, dtype=self.dtype)
                for name, shape in self._core.shapes()
                if name.endswith("weight")
            }
        )

    def _new_core(self) -> _core.Mlp:
        """Make the Rust object, with all parameters zero."""
        bias = per_layer(self.bias, max(len(self.sizes) - 1, 0), "bias")
        return _core.Mlp(list(self.sizes), self.layer_activations(), bias, self.dtype)

    def layer_activations(self) -> list[str]:
        """Name the activation of each layer, the output's last."""
        depth = max(len(self.sizes) - 1, 0)
        hidden = per_layer(self.activation, max(depth - 1, 0), "activation")
        expect(self.output_activation, str, "output_activation")
        return [*hidden, self.output_activation][:depth]

    def __repr__(self) -> str:
        """Architecture and initializer."""
        return (
            f"MLP({list(self.sizes)}, activation={self.activation!r}, "
            f"output_activation={self.output_activation!r}, init={self.init!r}, bias={self.bias}, "
            f"dtype={self.dtype.name})"
        )

    def _repr_html_(self) -> str:
        return notebook.network(self)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the Rust object, and the parameters."""
        return {**self.__dict__, "_core": self.parameters()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the Rust object anew."""
        self.__dict__.update(state)
        self._core = self._new_core()
        self.set_parameters(state["_core"])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to a safetensors file, which any library that knows the format can read.

        The tensors are those of `parameters`; what the network is stands in the file's metadata.

        Parameters
        ----------
        path : str or path-like
            A file that is there is replaced, once the new one is complete.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        config = {
            "sizes": self.sizes,
            "activation": self.activation,
            "output_activation": self.output_activation,
            "init": [type(self.init).__name__, self.init.get_config()],
            "bias": self.bias,
            "dtype": self.dtype.name,
        }
        storage.save(path, self.parameters(), config)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MLP:
        """Read a network that `save` wrote: the same, to the last bit.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        MLP

        Raises
        ------
        ValueError
            The file is not one of safetensors, is damaged or does not describe a network.
        OSError
            The file cannot be read.
        """
        parameters, config = storage.load(path)
        try:
            name, arguments = config.pop("init")
            law = getattr(_core, name)
            if not issubclass(law, _core.Initializer):
                msg = f"{name} is no initializer"
                raise TypeError(msg)
            sizes = tuple(config.pop("sizes"))
            # Before a network of these sizes is made: damaged ones may be absurd.
            weights = [parameters[f"layers.{i}.weight"].shape for i in range(len(sizes) - 1)]
            if weights != list(pairwise(sizes)):
                msg = f"sizes {sizes} do not fit weights of shapes {weights}"
                raise ValueError(msg)
            net = cls(sizes, init=law(**arguments), seed=0, **config)
            if net.parameters().keys() != parameters.keys():
                msg = f"its tensors are {', '.join(parameters)}"
                raise ValueError(msg)
            for name, value in parameters.items():
                if value.dtype != net.dtype:
                    msg = f"{name} has dtype {value.dtype}, and the network {net.dtype}"
                    raise TypeError(msg)
            net.set_parameters(parameters)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            msg = f"{path!s} does not describe a network: {error}"
            raise ValueError(msg) from error
        return net

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
        self,
        x: npt.ArrayLike,
        t: npt.ArrayLike,
        loss: str,
        sample_weight: npt.ArrayLike | None,
        where: str = "",
    ) -> Samples:
        """Give inputs (rows, inputs), int64 labels (rows,) or values (rows, outputs), and weights (rows,)."""
        if not isinstance(loss, str):
            msg = f"loss must be a name, got {loss!r}"
            raise TypeError(msg)
        takes_labels = _core.loss_takes_labels(loss)
        x = matrix(x, self.dtype, f"{where}x")
        array = np.asarray(t)
        given, rows, outputs = array.shape, len(x), self.sizes[-1]
        expected: tuple[int, ...] = (rows, outputs)
        labels = takes_labels and array.ndim == 1
        if labels:
            if array.dtype.kind not in "iu":
                msg = f"{where}labels must be integers, got dtype {array.dtype}"
                raise TypeError(msg)
            if array.size and array.max() >= 2**63:
                msg = f"{where}label {array.max()} is outside of the {outputs} classes 0..={outputs - 1}"
                raise ValueError(msg)
            expected = (rows,)
        elif array.ndim == 1 and outputs == 1:
            array = array[:, None]
        if array.shape != expected:
            labels_too = f"({rows},) and be integers, or " if takes_labels else ""
            msg = f"{where}targets must have shape {labels_too}{(rows, outputs)} for {loss}, got {given}"
            raise ValueError(msg)
        if labels:
            array = np.require(array, np.int64, ["C", "A"])
        else:
            array = float_array(array, self.dtype, f"{where}targets")
        if sample_weight is None:
            return x, array, None
        weights = float_array(sample_weight, self.dtype, f"{where}sample_weight")
        if weights.shape != (rows,):
            msg = f"{where}sample_weight must have shape ({rows},), one per row of x, got {weights.shape}"
            raise ValueError(msg)
        return x, array, weights

    def loss_and_grad(
        self,
        x: npt.ArrayLike,
        t: npt.ArrayLike,
        *,
        loss: str,
        sample_weight: npt.ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> tuple[float, dict[str, Array]]:
        """Compute the loss over a batch and its gradients.

        Parameters
        ----------
        x : array_like, (batch, inputs)
            Finite numbers.
        t : array_like, (batch, outputs)
            Targets: probabilities for the cross-entropies, else finite numbers. With one output, (batch,)
            will do. "softmax_cross_entropy" takes integer labels (batch,) too.
        loss : str
            Definitions as in PyTorch. The cross-entropies take logits.

            - "mse": ``(y - t)**2``.
            - "mae": ``|y - t|``, with slope 0 at 0.
            - "huber" or "huber(delta)": ``d**2 / 2`` where ``d = |y - t|`` is at most `delta` (1 by default),
              and ``delta * (d - delta / 2)`` beyond.
            - "binary_cross_entropy" or "binary_cross_entropy(label_smoothing)": with a smoothing ``e`` in
              [0, 1), the target is ``(1 - e) * t + e / 2``.
            - "softmax_cross_entropy" or "softmax_cross_entropy(label_smoothing)": likewise
              ``(1 - e) * t + e / outputs``.

            Means are over the rows for the softmax, over all elements for the others. The parameter may be
            named: "huber(delta=0.5)".
        sample_weight : array_like, (batch,), optional
            Finite numbers of at least 0, not all of them 0: the mean over the rows becomes
            ``sum(w * l) / sum(w)``. A row of weight 0 might as well be left out.
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
            Shapes do not fit, a number is not finite, a label is not one of the classes, a weight is
            negative, the loss is unknown or its parameter out of range.
        TypeError
            Labels are not integers.
        """
        return self._core.loss_and_grad(self._samples(x, t, loss, sample_weight), loss, num_threads)

    def evaluate(
        self,
        x: npt.ArrayLike,
        t: npt.ArrayLike,
        *,
        loss: str,
        sample_weight: npt.ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> tuple[float, float | None]:
        """Compute loss and accuracy; see `loss_and_grad`.

        The accuracy is the share of right decisions, in which every sample counts alike; None for the losses
        of regression.
        """
        return self._core.evaluate(self._samples(x, t, loss, sample_weight), loss, num_threads)

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
        sample_weight: npt.ArrayLike | None = None,
        schedule: Schedule | None = None,
        clip_norm: float | None = None,
        early_stopping: EarlyStopping | None = None,
        nonfinite: str = "stop",
        validation_data: tuple[npt.ArrayLike, npt.ArrayLike]
        | tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike | None]
        | None = None,
        callbacks: Iterable[Callback] = (),
        progress: bool | None = None,
        workers: Workers | None = None,
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
        optimizer : SGD, Adagrad, RMSProp, Adam or AdamW
            Starts afresh in every call.
        batch_size : int
            Samples per step; the last step of an epoch takes what is left.
        epochs : int
            Passes over the samples.
        shuffle : bool
            Take the samples in a new order in every epoch, decided by `seed`.
        seed : int
            In [0, 2**64).
        sample_weight : array_like, (samples,), optional
            As in `loss_and_grad`. Each batch has its own mean; one whose weights are all 0 has loss and
            gradient 0.
        schedule : ConstantSchedule, StepSchedule or CosineSchedule, optional
            How the learning rate changes over the fit; by default it does not.
        clip_norm : float, optional
            Scale the gradients of a step down where their L2 norm, all together, is larger than this, as
            `torch.nn.utils.clip_grad_norm_` does.
        early_stopping : EarlyStopping, optional
            End when a figure no longer gets better.
        nonfinite : {"stop", "skip"}
            What to do when a loss or a gradient is infinite or NaN. "stop": end the fit, with the last
            parameters that had a finite loss. "skip": go back to these, and on with the next batch. Either
            way there is a RuntimeWarning, and `History.divergence` says where it began.
        validation_data : (x, t) or (x, t, sample_weight), optional
            Evaluated after every epoch.
        callbacks : iterable of callable
            Each is called after every epoch with the epoch's row of the history, a dict, and sees the
            parameters of that moment; something true ends the fit. Parameters that a callback, or another
            thread, sets meanwhile are lost. `x` and `t` must not be changed.
        progress : bool, optional
            Show a progress bar; by default where standard error is a terminal. Of several processes, only the
            first shows one.
        workers : initcore.distributed.Workers, optional
            Share the work of every batch with other processes, all of which call this alike: same network,
            data, arguments. The result is that of one process but for rounding, and the same bits in each of
            them. An error, a Ctrl-C or a callback's wish in one ends the fit in all, after the same step.
        num_threads : int, optional
            At most this many.

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError
            As in `loss_and_grad`, before anything is changed; and, in every process, when `workers` have been
            given different arguments.
        RuntimeError
            Another of the `workers` could not go on, or they no longer agree.
        """
        if workers is not None and not distributed.several(workers):
            workers = None
        with distributed.agreement(workers) as alike:
            schedule = ConstantSchedule() if schedule is None else schedule
            expect(optimizer, Optimizer, "optimizer")
            expect(schedule, Schedule, "schedule")
            if nonfinite not in {"stop", "skip"}:
                msg = f"nonfinite must be 'stop' or 'skip', got {nonfinite!r}"
                raise ValueError(msg)
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
                    xv, tv, *rest = validation_data
                    (wv,) = rest or (None,)
                except (TypeError, ValueError):
                    kind = type(validation_data).__name__
                    msg = f"validation_data must be (x, t) or (x, t, sample_weight), got {kind}"
                    raise TypeError(msg) from None
                validation = self._samples(xv, tv, loss, wv, "validation ")
            samples = self._samples(x, t, loss, sample_weight)
            num_threads = thread_count(num_threads)
            watch = None
            if early_stopping is not None:
                expect(early_stopping, EarlyStopping, "early_stopping")
                if early_stopping.monitor.startswith("val_") and validation is None:
                    msg = f"early stopping watches {early_stopping.monitor}: it needs validation_data"
                    raise ValueError(msg)
                if early_stopping.monitor.endswith("accuracy") and not _core.loss_has_accuracy(loss):
                    msg = f"early stopping watches {early_stopping.monitor}, which {loss} does not have"
                    raise ValueError(msg)
                watch = Watch(early_stopping)
            if workers is not None:
                alike.update(
                    network=(self.sizes, self.layer_activations(), self.bias, self.dtype.str),
                    parameters=tuple(self.parameters().values()),
                    x=samples[0], t=samples[1], sample_weight=samples[2], validation_data=validation,
                    loss=loss, optimizer=optimizer, schedule=schedule, clip_norm=clip_norm,
                    batch_size=batch_size, epochs=epochs, shuffle=shuffle, seed=seed,
                    early_stopping=early_stopping, nonfinite=nonfinite,
                )  # fmt: skip
        history, best = History(), None
        # No bar at all where none is shown: even a hidden one takes tqdm's global lock, and its import that
        # of the import system; a fork in another thread would leave them locked in the child.
        bar = None
        shown = sys.stderr.isatty() if progress is None else progress
        if shown and (workers is None or workers.rank == 0):
            from tqdm import tqdm

            bar = tqdm(total=epochs, unit="epoch", leave=False)

        def on_epoch(row: dict[str, Any]) -> bool:
            nonlocal best
            if row["divergence"] is not None:
                row["divergence"] = Divergence(*row["divergence"])
            history.epochs.append(row)
            if bar is not None:
                bar.set_postfix(loss=f"{row['loss']:.4g}")
                bar.update()
            if watch is not None and watch.see(row):
                history.best_epoch = row["epoch"]
                best = self.parameters() if watch.rule.restore_best else None
            answers = [callback(row) for callback in callbacks]  # every callback is called
            return any(answers) or (watch is not None and watch.over)

        try:
            with distributed.connection(workers) as others:
                self._core.fit(
                    samples, loss, optimizer, schedule, clip_norm, batch_size, epochs, shuffle, seed,
                    nonfinite == "skip", validation, on_epoch, others, num_threads,
                )  # fmt: skip
        finally:
            if bar is not None:
                bar.close()
        if best is not None:
            self.set_parameters(best)
        if history.divergence is not None:
            then = "the fit ended with the last parameters of a finite loss"
            if nonfinite == "skip":
                then = f"{history.skipped} such steps were left out"
            warnings.warn(f"{history.divergence}; {then}", RuntimeWarning, stacklevel=2)
        return history
