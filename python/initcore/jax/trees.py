"""Whole trees of parameters: shapes, rules and shardings -> arrays, each under its path's name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
from jax.sharding import PartitionSpec, Sharding

from initcore.params import plan

from .arrays import jax_dtype, place, resolved

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from initcore._core import Layout
    from initcore.arrays import Seed
    from initcore.params import Spec


def make_tree(
    shapes: Any,
    rules: Mapping[str, Spec] | None = None,
    shardings: Any = None,
    *,
    seed: Seed,
    dtype: npt.DTypeLike | None = None,
    layout: str | Layout = "numpy",
    num_threads: int | None = None,
) -> Any:
    """Make the parameters of a model, each under its name, each process the shards of its own devices.

    The bits are those that `initcore.init_params` gives for the same names, shapes and rules, on any mesh.

    Parameters
    ----------
    shapes : pytree
        Its leaves have a shape and a dtype: what `jax.eval_shape` gives, an `nnx.State` of that, arrays. The
        keys, indices and attributes on the way to a leaf, joined with ".", are its name:
        ``"params.Dense_0.kernel"`` for all variables of a Flax module, ``"Dense_0.kernel"`` for its
        ``["params"]``. Boxes of Flax (`nnx.Variable`, `nn.Partitioned`) are no part of it.
    rules : mapping of str to str, Initializer, Rule or callable
        As in `initcore.plan`.
    shardings : pytree, Sharding, PartitionSpec or None
        One for all, a tree of them like `shapes`, or the upper part of such a tree. None leaves it to the
        leaf, where that has a sharding, else to JAX, as in `make_array`.
    seed : int in [0, 2**64) or numpy.random.SeedSequence
        The same in every process.
    dtype : dtype, optional
        Of leaves that have none; a `Rule` may say another.
    layout : str or Layout
        As initializers take it.
    num_threads : int, optional
        At most this many; the values do not depend on it.

    Returns
    -------
    pytree
        Like `shapes`, of `jax.Array`.

    Raises
    ------
    ValueError
        As in `initcore.plan`; parameters do not divide evenly among their devices, or JAX has no float64. The
        message lists the names, and nothing has been made.
    TypeError
        An argument is not as described.

    Examples
    --------
    >>> shapes = {"fc1": {"kernel": jax.ShapeDtypeStruct((784, 256), "float32")}}
    >>> make_tree(shapes, {"*": "he_normal"}, seed=0)["fc1"]["kernel"].shape
    (784, 256)
    """
    if seed is None:
        msg = "seed must be given, the same in every process, got None"
        raise TypeError(msg)
    leaves, structure = jax.tree.flatten(shapes)
    names = _names(shapes)
    for name, leaf in zip(names, leaves, strict=True):
        if not hasattr(leaf, "shape"):
            msg = f"{name} must have a shape, as a jax.ShapeDtypeStruct, got {leaf!r}"
            raise TypeError(msg)
    model = plan(list(zip(names, leaves, strict=True)), rules, seed=seed, dtype=dtype, layout=layout)
    places = [
        _own(leaf) if given is None else given
        for leaf, given in zip(leaves, _like(shapes, shardings), strict=True)
    ]
    jobs = []
    for (name, p), where in zip(model.parameters.items(), places, strict=True):
        try:
            jobs.append((p, jax_dtype(p.dtype), resolved(where, p.shape)))
        except (ValueError, TypeError) as error:
            msg = f"{name}: {error}"
            raise (TypeError if isinstance(error, TypeError) else ValueError)(msg) from None
    arrays = []
    for p, of, sharding in jobs:
        draw = partial(
            p.init,
            p.shape,
            seed=model.seed,
            name=p.name,
            dtype=of,
            layout=p.layout,
            num_threads=num_threads,
        )
        arrays.append(place(draw, p.shape, of, sharding, divisible=p.divisible))
    return jax.tree.unflatten(structure, arrays)


def _names(tree: Any) -> list[str]:
    """Give the names of the leaves: their paths, without what boxes of Flax add to them."""
    return [
        jax.tree_util.keystr(path + inner * (len(inside) > 1), simple=True, separator=".")
        for path, node in jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_box)[0]
        for inside in [jax.tree_util.tree_flatten_with_path(node)[0]]
        for inner, _ in inside
    ]


def _is_box(node: object) -> bool:
    """Tell whether this is Flax's wrapper of one value: an `nnx.Variable`, or a linen `AxisMetadata`."""
    return any(
        cls.__module__.startswith("flax.") and cls.__name__ in {"AxisMetadata", "Variable"}
        for cls in type(node).__mro__
    )


def _is_sharding(value: object) -> bool:
    return value is None or isinstance(value, Sharding | PartitionSpec)


def _like(shapes: Any, shardings: Any) -> list[Any]:
    """Give a sharding, or None, for each leaf of `shapes`."""

    def spread(sharding: Any, below: Any) -> list[Any]:
        if not _is_sharding(sharding):
            msg = f"shardings must hold Sharding, PartitionSpec or None, got {sharding!r}"
            raise TypeError(msg)
        return [sharding] * len(jax.tree.leaves(below))

    try:
        nested = jax.tree.map(spread, shardings, shapes, is_leaf=_is_sharding)
    except ValueError as error:
        msg = f"shardings must be one sharding, or a tree like that of shapes or its upper part: {error}"
        raise ValueError(msg) from None
    return [s for part in jax.tree.leaves(nested, is_leaf=lambda x: isinstance(x, list)) for s in part]


def _own(leaf: Any) -> Any:
    """Give the sharding that a leaf came with, if it was put there."""
    return getattr(leaf, "sharding", None) if getattr(leaf, "committed", True) else None
