"""All weights of a Keras model, set by their addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from initcore._core import Initializer, Layout
from initcore.arrays import Seed, expect, float_dtype
from initcore.initializers import is_scheme
from initcore.params import ModelPlan, Rule, plan

from .arrays import draw
from .layers import Weight, weights

if TYPE_CHECKING:
    from initcore.params import ParameterPlan, Spec


def initialize(
    model: Any,
    rules: str | Mapping[str, Spec | None] = "auto",
    seed: Seed = 0,
    *,
    layout: str | Layout | None = None,
    names: Callable[[str], str] | None = None,
    num_threads: int | None = None,
) -> ModelPlan:
    """Set all weights of a model that has been built, each drawn under its address.

    The address of a weight says where it is: the names of the layers on the way to it, from below the model,
    and its own, joined with ".": ``"dense.kernel"``, ``"dense_1.kernel"``, ``"block.fc1.kernel"``. Numbers
    that Keras gave are counted anew among the layers of one model or layer, so that addresses do not depend
    on what was built before. Layers with names of their own keep them.

    Statistics that layers keep (moving means, the state of spectral normalization, metrics, seeds) stay as
    they are, and so does an optimizer's state.

    Parameters
    ----------
    model : keras.Model or keras.Layer
        Built: it has been called, or has the shape of its inputs.
    rules : "auto" or mapping of str to str, Initializer, Rule, callable or None
        As `initcore.plan` takes them, patterns of addresses. None leaves a weight as it is; ``"auto"`` as a
        value, and in place of the mapping, stands for what suits the layer. Kernels are drawn for the
        layer's own activation, as `initcore.theory.recommend` says; where it has none, or one that is not
        known there, for a straight line.
        Recurrent kernels are orthogonal, embeddings uniform on [-0.05, 0.05) as in Keras, ``gamma`` and
        ``scale`` ones, ``bias``, ``beta`` and ``alpha`` zeros, but the biases of an LSTM's forget gate ones
        where the layer says so.
    seed : int in [0, 2**64), numpy.random.SeedSequence or None
        None takes fresh entropy.
    layout : str or Layout, optional
        Of all weights; by default each has that of its layer: groups, transposed and depthwise convolutions,
        embeddings, the gates of recurrent layers and the axes of `keras.layers.EinsumDense`, those of
        attention among them, are known, and all others are "numpy".
    names : callable, optional
        A function of an address that gives the one to use, as for the names of another framework. Rules match
        these.
    num_threads : int, optional
        At most this many; the values do not depend on it.

    Returns
    -------
    ModelPlan
        What was done; ``print`` shows it as a table. What was left as it is, is not in it.

    Raises
    ------
    ValueError
        The model or a layer in it is not built; a weight has no default and "auto" is its rule; a `Rule` has
        another dtype than the weight; or as in `initcore.plan`. No weight has been set then.
    TypeError
        An argument is not as described.

    Examples
    --------
    >>> model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10)])
    >>> list(ic.keras.initialize(model, seed=0).parameters)
    ['dense.kernel', 'dense.bias']
    """
    found = {(w.address if names is None else names(w.address)): w for w in weights(model)}
    if len(found) < len(weights(model)):
        msg = "names gives two weights one address"
        raise ValueError(msg)
    patterns: Any = {"*": "auto"} if rules == "auto" else rules
    expect(patterns, Mapping, "rules")
    automatic: set[str] = set()
    left: set[str] = set()

    def decided(rule: Spec | None) -> Callable[[str, tuple[int, ...]], Rule]:
        def decide(name: str, shape: tuple[int, ...]) -> Rule:
            spec = rule
            if callable(spec) and not isinstance(spec, Initializer) and not is_scheme(spec):
                spec = spec(name, shape)
            if spec is None:
                left.add(name)
                return Rule("zeros", dtype="float32")  # for a plan that nobody follows
            if spec == "auto":
                automatic.add(name)
                spec = _default(found[name])
            spec = spec if isinstance(spec, Rule) else Rule(spec)
            if spec.dtype is not None:
                dtype = float_dtype(found[name].variable.dtype)
                if float_dtype(spec.dtype) != dtype:
                    msg = f"the rule's dtype is {float_dtype(spec.dtype)}, the variable's {dtype}"
                    raise ValueError(msg)
            return Rule(spec.init, spec.layout or layout or found[name].layout, spec.dtype)

        return decide

    shapes = {name: w.variable for name, w in found.items()}
    made = plan(shapes, {pattern: decided(rule) for pattern, rule in patterns.items()}, seed=seed)
    parameters = {name: p for name, p in made.parameters.items() if name not in left}
    made = replace(made, parameters=parameters, _tree={name: name for name in parameters})
    for name, p in parameters.items():
        _set(found[name], p, made.seed, num_threads, automatic=name in automatic)
    return made


def _default(weight: Weight) -> str:
    if weight.default is None:
        kind = type(weight.layer).__name__
        msg = f"no default is known for {weight.variable.name!r} of a {kind}: give it a rule"
        raise ValueError(msg)
    return weight.default


def _set(weight: Weight, p: ParameterPlan, seed: int, num_threads: int | None, *, automatic: bool) -> None:
    variable = weight.variable
    gate = weight.forget_gate if automatic else None
    if gate is not None:
        value = np.zeros(p.shape, p.dtype)
        value[gate] = 1
        variable.assign(value)
        return
    sharding = getattr(variable.value, "sharding", None)
    spread = sharding is not None and len(sharding.device_set) > 1
    variable.assign(
        draw(
            p.init,
            p.shape,
            seed=seed,
            name=p.name,
            dtype=p.dtype.name,
            layout=p.layout,
            sharding=sharding if spread else None,
            num_threads=num_threads,
        )
    )
