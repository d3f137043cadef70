"""Why does this network not train? Statistics of every layer beside what theory expects, and a verdict.

`measurement` takes the numbers (in the core, in one pass over memory), `theory` says what they should be,
`verdicts` what they mean and `advice` what to do; `report` holds and prints all that, `page` shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from initcore.arrays import expect, integer
from initcore.guessing import loss_of_guessing
from initcore.nn import MLP
from initcore.optimizers import Optimizer

from .facts import Facts
from .measurement import Measurement, default_loss, of_arrays, of_functions, of_network
from .report import VERDICTS, Diagnosis, LayerDiagnosis, Theory
from .theory import expectations
from .verdicts import judge

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["VERDICTS", "Diagnosis", "LayerDiagnosis", "Recorder", "diagnose"]


def diagnose(
    net: MLP | Mapping[str, Any] | Sequence[Any],
    x: Any = None,
    t: npt.ArrayLike | None = None,
    *,
    loss: str | None = None,
    optimizer: Optimizer | None = None,
    activation: str | Mapping[str, str | None] | Sequence[str | None] | None = None,
    gradients: Mapping[str, Any] | Sequence[Any] | None = None,
    weights: Mapping[str, Any] | Sequence[Any] | None = None,
    weight_gradients: Mapping[str, Any] | Sequence[Any] | None = None,
    num_threads: int | None = None,
) -> Diagnosis:
    """Tell whether a network will train, and if not, why and what to do.

    The verdict is one of

    - "zero trap": weights are 0, and so are the gradients of all weights: none moves, ever;
    - "symmetric": units are equal and get equal gradients: they work as one, for ever;
    - "dead": units give the same output for every input, a whole layer or more than chance can explain;
    - "saturated": most outputs of a layer lie where its activation is flat;
    - "exploding": signals grow by a factor of more than e^6 in square over all layers (Schoenholz et al.
      2017), or numbers overflow;
    - "vanishing": signals, or gradients on their way back, shrink by as much;
    - "chaotic": gradients grow by as much on their way back, while signals keep their size;
    - "healthy": none of these.

    Parameters
    ----------
    net : MLP, or mapping or sequence of array_like or of callables
        A network, new or in training. Or what each layer of any other network gives out, (batch, ..., units)
        by name; or its layers as functions, each called with what the one before it gave.
    x : array_like, (batch, inputs)
        What goes in; may be left out beside arrays. Some tens of inputs will do, some hundreds show more.
    t : array_like, optional
        The targets, as in `MLP.loss_and_grad`. Without them, the error at the outputs is random.
    loss : str, optional
        As in `MLP.loss_and_grad`; by default a cross-entropy for labels, "mse" for other targets.
    optimizer : Optimizer, optional
        Measure by how much its first step would change the weights.
    activation : str, or mapping or sequence of str or None, optional
        Of the layers that are given as arrays or functions: needed to see saturation, and for advice.
    gradients, weights, weight_gradients : mapping or sequence of array_like, optional
        Beside arrays, with the same names or in the same order: dL/dz or dL/dy of each layer, shaped as the
        outputs; W, (fan_in, units); dL/dW. None for a layer without.
    num_threads : int, optional
        At most this many; the result does not depend on it.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError, TypeError
        Shapes or names do not fit, numbers are not real, or an argument does not go with this kind of `net`.

    Notes
    -----
    Functions have no gradients. In their place, inputs are shifted a little towards each other: in both
    directions, differences go through the same matrices and slopes.

    References
    ----------
    S. Schoenholz, J. Gilmer, S. Ganguli, J. Sohl-Dickstein, Deep information propagation, ICLR 2017.

    Examples
    --------
    >>> net = ic.MLP([784] + [100] * 20 + [10], activation="relu", init="xavier_normal", seed=0)
    >>> report = ic.diagnose(net, ic.normal((128, 784), seed=0))
    >>> report.verdict, report.advice.split(":")[0]
    ('vanishing', 'use he_normal')
    """
    if optimizer is not None:
        expect(optimizer, Optimizer, "optimizer")
    if isinstance(net, MLP):
        _refuse(
            "an MLP",
            activation=activation,
            gradients=gradients,
            weights=weights,
            weight_gradients=weight_gradients,
        )
        if x is None:
            msg = "an MLP needs inputs: diagnose(net, x)"
            raise TypeError(msg)
        if t is None and loss is not None:
            msg = "a loss needs targets: diagnose(net, x, t, loss=...)"
            raise TypeError(msg)
        if t is not None and loss is None:
            loss = default_loss(net, t)
        found = of_network(net, x, t, loss, optimizer, num_threads)
        guess = None if loss is None or t is None else loss_of_guessing(loss, t)
    else:
        _refuse("layers that are arrays or functions", t=t, loss=loss, optimizer=optimizer)
        layers = _named(net)
        functions = _are_functions(layers)
        names = _activations(activation, layers)
        if functions:
            _refuse("functions", gradients=gradients, weights=weights, weight_gradients=weight_gradients)
            if x is None:
                msg = "functions need inputs: diagnose(layers, x)"
                raise TypeError(msg)
            found = of_functions(layers, x, names, num_threads)
        else:
            found = of_arrays(
                layers,
                x,
                names,
                _aligned(gradients, layers, "gradients"),
                _aligned(weights, layers, "weights"),
                _aligned(weight_gradients, layers, "weight_gradients"),
                num_threads,
            )
        guess = None
    return _report(net, found, guess)


def _report(net: object, found: Measurement, guess: float | None) -> Diagnosis:
    init = net.init if isinstance(net, MLP) else None
    facts = Facts(found.layers, found.inputs, found.loss, guess, init)
    verdicts, overall = judge(facts)
    theory = Theory(expectations(net, found))
    layers = tuple(
        replace(layer, verdict=v.name, evidence=v.evidence, advice=v.advice, _theory=theory, _index=i)
        for i, (layer, v) in enumerate(zip(found.layers, verdicts, strict=True))
    )
    return Diagnosis(
        overall.name,
        overall.evidence,
        overall.advice,
        layers,
        found.inputs,
        found.batch,
        found.loss,
        facts.forward_growth(),
        facts.backward_growth(),
    )


def _refuse(kind: str, **given: object) -> None:
    names = [name for name, value in given.items() if value is not None]
    if names:
        msg = f"{' and '.join(names)}: not for {kind}"
        raise TypeError(msg)


def _named(layers: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    if isinstance(layers, Mapping):
        named = dict(layers)
    elif isinstance(layers, list | tuple):
        named = {f"layers.{i}": layer for i, layer in enumerate(layers)}
    else:
        msg = f"net must be an MLP, or a dict or list of layers, got {type(layers).__name__}"
        raise TypeError(msg)
    if not named:
        msg = "there is no layer to diagnose"
        raise ValueError(msg)
    return named


def _are_functions(layers: Mapping[str, Any]) -> bool:
    others = [name for name, layer in layers.items() if not callable(layer)]
    if 0 < len(others) < len(layers):
        msg = f"{others[0]} is no function, as other layers are"
        raise TypeError(msg)
    return not others


def _activations(
    given: str | Mapping[str, str | None] | Sequence[str | None] | None, layers: Mapping[str, Any]
) -> list[str | None]:
    return [given] * len(layers) if isinstance(given, str) else _aligned(given, layers, "activation")


def _aligned(
    given: Mapping[str, Any] | Sequence[Any] | None, layers: Mapping[str, Any], what: str
) -> list[Any]:
    if given is None:
        return [None] * len(layers)
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in layers]
        if unknown:
            msg = f"{what}: there is no layer {unknown[0]!r}, only {', '.join(layers)}"
            raise ValueError(msg)
        return [given.get(name) for name in layers]
    values = list(given)
    if len(values) != len(layers):
        msg = f"{what} has {len(values)} entries, but there are {len(layers)} layers"
        raise ValueError(msg)
    return values


class Recorder:
    """A callback for `MLP.fit` that diagnoses the network after every epoch.

    Parameters
    ----------
    net : MLP
        The network that is trained.
    x, t : array_like
        What to look at: some hundreds of the samples, not all of them.
    every : int
        Diagnose after every so many epochs.
    loss, optimizer, num_threads
        As in `diagnose`.

    Attributes
    ----------
    reports : list of Diagnosis
        The first is from before the training.
    epochs : list of int
        After how many epochs each was made.

    Examples
    --------
    >>> x, t = ic.normal((64, 2), seed=0), np.arange(64) % 2
    >>> net = ic.MLP([2, 8, 2], seed=0)
    >>> recorder = ic.Recorder(net, x, t)
    >>> history = net.fit(
    ...     x, t, loss="softmax_cross_entropy", optimizer=ic.SGD(0.1), batch_size=8, epochs=3,
    ...     callbacks=[recorder],
    ... )
    >>> recorder.epochs, [report.verdict for report in recorder.reports]
    ([0, 1, 2, 3], ['healthy', 'healthy', 'healthy', 'healthy'])
    """

    def __init__(
        self,
        net: MLP,
        x: npt.ArrayLike,
        t: npt.ArrayLike | None = None,
        *,
        every: int = 1,
        loss: str | None = None,
        optimizer: Optimizer | None = None,
        num_threads: int | None = None,
    ) -> None:
        expect(net, MLP, "net")
        self.every = integer(every, "every", 1)
        self._diagnose: Callable[[], Diagnosis] = lambda: diagnose(
            net, x, t, loss=loss, optimizer=optimizer, num_threads=num_threads
        )
        self._seen = 0
        self.reports = [self._diagnose()]
        self.epochs = [0]

    def __call__(self, _: Mapping[str, Any]) -> None:
        """Diagnose, if it is time to."""
        self._seen += 1
        if self._seen % self.every == 0:
            self.reports.append(self._diagnose())
            self.epochs.append(self._seen)
