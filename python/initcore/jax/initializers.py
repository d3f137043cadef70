"""Initializers as JAX and Flax take them: ``init(key, shape, dtype, out_sharding)``, under the names of JAX.

Laws and signatures are those of `jax.nn.initializers`: the normal ones that scale with fans are truncated at
two standard deviations, `uniform` is on [0, scale). The key is the seed: the values are those that the
initializer gives for the key's number, without a name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import constant, ones, zeros  # they draw nothing: JAX's own will do
from jax.sharding import AxisType, NamedSharding, PartitionSpec, Sharding
from numpy.lib.array_utils import normalize_axis_tuple

from initcore._core import (
    DeltaOrthogonal,
    Initializer,
    Layout,
    Normal,
    Orthogonal,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
)
from initcore.arrays import integer
from initcore.initializers import get

from .arrays import checked, jax_dtype, place, resolved

if TYPE_CHECKING:
    from initcore.initializers import Array, InitLike

__all__ = ["constant", "ones", "zeros"]

Axes: TypeAlias = int | Sequence[int]


class _Own:
    """Stands for the dtype that an initializer was made with."""

    def __repr__(self) -> str:
        return "own dtype"


_OWN = _Own()


@dataclass(frozen=True)
class KeyedInitializer:
    """An initializer of this library behind JAX's protocol.

    Two that were made alike are equal and have one hash, so that Flax modules that differ in nothing else are
    equal too.

    Attributes
    ----------
    init : Initializer
        What is drawn.
    layout : str, Layout or callable
        Which axes are inputs and outputs; a callable gives it for a shape.
    dtype : dtype, optional
        Where a call names none; by default JAX's default.
    """

    init: Initializer
    layout: str | Layout | Callable[[tuple[int, ...]], str | Layout] = "numpy"
    dtype: Any = None

    def __call__(
        self, key: jax.Array, shape: Sequence[int], dtype: Any = _OWN, out_sharding: Any = None
    ) -> jax.Array:
        """Make an array.

        Outside of `jax.jit` and its like the array is made on the host, shard by shard where `out_sharding`
        says so. Inside, a `jax.pure_callback` makes it when the compiled function runs: the whole array, on
        one host, which then hands it to the devices; under `jax.vmap` one for each key.

        Parameters
        ----------
        key : jax.Array
            A key of `jax.random`, typed or raw, of any implementation. Its words are the seed: two (threefry,
            the default) as one number, the first the more significant, so that ``jax.random.key(7)`` is seed
            7; others by their BLAKE2b hash.
        shape : sequence of int
            Shape of the array.
        dtype : dtype, optional
            float32, float16 or bfloat16; float64 where JAX has it enabled. None is JAX's default.
        out_sharding : Sharding or PartitionSpec, optional
            Where the array will be; by default with the key, if that was put somewhere, else as in
            `make_array`.

        Returns
        -------
        jax.Array

        Raises
        ------
        ValueError
            The shape does not go with the initializer or the sharding, JAX has no float64, or there are
            several keys (`jax.vmap` takes these).
        TypeError
            The key is none, or an argument is not as described.
        """
        dtype = self.dtype if isinstance(dtype, _Own) else dtype
        dtype = jax_dtype(jnp.result_type(float) if dtype is None else dtype)
        layout = self.layout(tuple(shape)) if callable(self.layout) else self.layout
        shape = checked(self.init, tuple(shape), dtype, layout)
        words = jax.random.key_data(key)
        if words.ndim != 1:
            msg = f"an initializer takes one key, got keys of shape {words.shape[:-1]}: use jax.vmap"
            raise ValueError(msg)
        draw = partial(self.init, shape, dtype=dtype, layout=layout)
        if isinstance(words, jax.core.Tracer):
            return _at_run_time(draw, shape, dtype, words, out_sharding)
        sharding = resolved(_beside(words) if out_sharding is None else out_sharding, shape)
        draw = partial(draw, seed=_seed(np.asarray(words)))
        return place(draw, shape, dtype, sharding, divisible=not self.init.made_whole)


def _seed(words: Array) -> int:
    """Give the number of a key; different keys of two words have different numbers."""
    if len(words) == 2:
        return int(words[0]) << 32 | int(words[1])
    return int.from_bytes(hashlib.blake2b(words.astype("<u4").tobytes(), digest_size=8).digest(), "little")


def _beside(words: jax.Array) -> Sharding | None:
    """Give where a key was put, if it was: what JAX makes of it is there too."""
    where = words.sharding if getattr(words, "committed", False) else None
    return NamedSharding(where.mesh, PartitionSpec()) if isinstance(where, NamedSharding) else where


def _at_run_time(
    draw: Callable[..., Array], shape: tuple[int, ...], dtype: Any, words: jax.Array, sharding: Any
) -> jax.Array:
    """Put a callback that draws the array for a key into the function that is being traced."""

    def made(words: jax.Array) -> jax.Array:
        array = jax.pure_callback(
            partial(_draw_each, draw, shape, dtype),
            jax.ShapeDtypeStruct(shape, dtype),
            words,
            vmap_method="broadcast_all",
        )
        return _constrained(array, sharding)

    # compiled under an eager jax.vmap too: alone, a callback gives an array whose sharding JAX cannot read
    return jax.jit(made)(words)


def _draw_each(draw: Callable[..., Array], shape: tuple[int, ...], dtype: Any, words: Any) -> Array:
    """Draw an array for each key of an array of them; called by XLA, so that JAX must not be called here."""
    words = np.asarray(words)  # words: (*batch, words of a key)
    batch = words.shape[:-1]
    out = np.empty(batch + shape, dtype)
    for i in np.ndindex(batch):
        draw(seed=_seed(words[i]), out=out[(*i, ...)])
    return out


def _constrained(array: jax.Array, sharding: Any) -> jax.Array:
    """Say how the array of a callback is sharded: on its own it is on one device, even of ``jax.set_mesh``.

    Arrays that JAX makes there are replicated.
    """
    context = jax.sharding.get_abstract_mesh()
    if sharding is None:
        if context.empty or AxisType.Manual in context.axis_types:
            return array
        sharding = PartitionSpec()
    mesh = context if isinstance(sharding, PartitionSpec) else sharding.mesh
    if AxisType.Explicit in mesh.axis_types:
        return jax.sharding.reshard(array, sharding)
    return jax.lax.with_sharding_constraint(array, sharding)


def initializer(init: InitLike, *, layout: str | Layout = "numpy", dtype: Any = None) -> KeyedInitializer:
    """Give any initializer of this library the protocol of JAX.

    Parameters
    ----------
    init : str, Initializer or function
        As `initcore.get` takes it; names have the laws of this library then: "he_normal" is not truncated.
    layout : str or Layout
        As initializers take it.
    dtype : dtype, optional
        Where a call names none; by default JAX's default.

    Returns
    -------
    KeyedInitializer

    Raises
    ------
    ValueError, TypeError
        An argument is not as described.

    Examples
    --------
    >>> initializer("sparse(0.9)")(jax.random.key(0), (784, 256)).shape
    (784, 256)
    """
    return KeyedInitializer(get(init), layout, None if dtype is None else jax_dtype(dtype))


def uniform(scale: float = 1e-2, dtype: Any = None) -> KeyedInitializer:
    """Draw from the uniform distribution on [0, scale); see `jax.nn.initializers.uniform`."""
    return initializer(Uniform(0.0, float(scale)), dtype=dtype)


def normal(stddev: float = 1e-2, dtype: Any = None) -> KeyedInitializer:
    """Draw from the normal distribution; see `jax.nn.initializers.normal`."""
    return initializer(Normal(0.0, float(stddev)), dtype=dtype)


def truncated_normal(
    stddev: float = 1e-2, dtype: Any = None, lower: float = -2.0, upper: float = 2.0
) -> KeyedInitializer:
    """Draw from the normal distribution between two bounds, in units of `stddev`, that before the truncation.

    See `jax.nn.initializers.truncated_normal`.
    """
    return initializer(TruncatedNormal(0.0, float(stddev), float(lower), float(upper)), dtype=dtype)


@dataclass(frozen=True)
class _FanAxes:
    """The axes of `variance_scaling`, which may be counted from either end."""

    mode: str
    in_axis: tuple[int, ...]
    out_axis: tuple[int, ...]
    batch_axis: tuple[int, ...]

    def __call__(self, shape: tuple[int, ...]) -> Layout:
        ins, outs, batch = (
            normalize_axis_tuple(axes, len(shape), name)
            for name, axes in (
                ("in_axis", self.in_axis),
                ("out_axis", self.out_axis),
                ("batch_axis", self.batch_axis),
            )
        )
        # JAX's fan_in is the size without outputs and batch, whatever the inputs are, and so with fan_out.
        # Flax initializes embeddings so: axis 0 of (vocabulary, features) is both, the fan the features.
        if set(ins) & set(outs) and self.mode == "fan_in":
            ins = ()
        elif set(ins) & set(outs) and self.mode == "fan_out":
            outs = ()
        return Layout(in_axis=ins, out_axis=outs, batch_axis=batch)


def variance_scaling(
    scale: float,
    mode: str,
    distribution: str,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: Any = None,
) -> KeyedInitializer:
    """Draw with mean 0 and variance ``scale / fan``; see `jax.nn.initializers.variance_scaling`.

    Parameters
    ----------
    scale : float
        What is divided.
    mode : {"fan_in", "fan_out", "fan_avg", "fan_geo_avg"}
        What divides it.
    distribution : {"truncated_normal", "normal", "uniform"}
        The first is cut at two standard deviations, and its variance is that after the cut.
    in_axis, out_axis, batch_axis : int or sequence of int
        The axes of inputs, outputs, and of weights that have nothing to do with each other. All others are
        positions of a kernel.
    dtype : dtype, optional
        Where a call names none; by default JAX's default.

    Returns
    -------
    KeyedInitializer

    Raises
    ------
    ValueError, TypeError
        An argument is not as described; in the call, the shape has no such axes.
    """
    axes = ((axis,) if isinstance(axis, int) else tuple(axis) for axis in (in_axis, out_axis, batch_axis))
    init = VarianceScaling(float(scale), mode, distribution)
    return KeyedInitializer(init, _FanAxes(mode, *axes), None if dtype is None else jax_dtype(dtype))


def _named(name: str, scale: float, mode: str, distribution: str) -> Callable[..., KeyedInitializer]:
    """Give a named case of `variance_scaling`."""

    def factory(
        in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None
    ) -> KeyedInitializer:
        return variance_scaling(scale, mode, distribution, in_axis, out_axis, batch_axis, dtype)

    factory.__name__ = factory.__qualname__ = name
    factory.__doc__ = (
        f"Draw as ``variance_scaling({scale}, {mode!r}, {distribution!r})`` does; see "
        f"`variance_scaling` and `jax.nn.initializers.{name}`."
    )
    return factory


glorot_normal = xavier_normal = _named("glorot_normal", 1.0, "fan_avg", "truncated_normal")
glorot_uniform = xavier_uniform = _named("glorot_uniform", 1.0, "fan_avg", "uniform")
he_normal = kaiming_normal = _named("he_normal", 2.0, "fan_in", "truncated_normal")
he_uniform = kaiming_uniform = _named("he_uniform", 2.0, "fan_in", "uniform")
lecun_normal = _named("lecun_normal", 1.0, "fan_in", "truncated_normal")
lecun_uniform = _named("lecun_uniform", 1.0, "fan_in", "uniform")


def orthogonal(scale: float = 1.0, column_axis: int = -1, dtype: Any = None) -> KeyedInitializer:
    """Draw orthonormal columns or rows, whichever are fewer; see `jax.nn.initializers.orthogonal`.

    Parameters
    ----------
    scale : float
        The length of each row or column.
    column_axis : int
        The axis of the columns; all others together are the rows.
    dtype : dtype, optional
        Where a call names none; by default JAX's default.

    Returns
    -------
    KeyedInitializer
    """
    # Any other axis will do for the inputs: they and the positions of the kernel are the rows.
    beside = column_axis - 1 if column_axis > 0 or column_axis == -1 else column_axis + 1
    layout = Layout(in_axis=beside, out_axis=column_axis)
    return initializer(Orthogonal(float(scale)), layout=layout, dtype=dtype)


def delta_orthogonal(scale: float = 1.0, column_axis: int = -1, dtype: Any = None) -> KeyedInitializer:
    """Draw a convolution with an orthogonal matrix at its centre; see `jax.nn.initializers.delta_orthogonal`.

    Parameters
    ----------
    scale : float
        By how much the norm of the input grows.
    column_axis : {-1, -2, 0, 1}
        Of the matrix at the centre; its law, inputs being no more than outputs, does not depend on it.
    dtype : dtype, optional
        Where a call names none; by default JAX's default.

    Returns
    -------
    KeyedInitializer
    """
    integer(column_axis, "column_axis", -2, 2)
    return initializer(DeltaOrthogonal(float(scale)), dtype=dtype)
