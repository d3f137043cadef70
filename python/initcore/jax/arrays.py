"""One array, made where it will live: each process makes the shards of its own devices, equal shards once."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec, Sharding

from initcore.arrays import float_dtype, integer, seed_number
from initcore.initializers import get

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from initcore._core import Initializer, Layout
    from initcore.arrays import Seed
    from initcore.initializers import Array, InitLike, Shape

#: On a CPU, XLA takes memory aligned to so many bytes as it is, and copies other memory. NumPy promises 16.
ALIGNMENT = 64


def make_array(
    init: InitLike,
    shape: Shape,
    sharding: Sharding | PartitionSpec | None = None,
    *,
    seed: Seed,
    name: str | None = None,
    dtype: npt.DTypeLike = jnp.float32,
    layout: str | Layout = "numpy",
    num_threads: int | None = None,
) -> jax.Array:
    """Make a `jax.Array` shard by shard, with the values that `init` gives under a seed and a name.

    The values do not depend on the sharding, on the mesh or on the number of processes. A process makes what
    its own devices hold, through `jax.make_array_from_callback`; shards that several devices hold are made
    once. The whole array is nowhere, unless a device holds it, or the initializer has to make it whole
    (orthogonal, sparse).

    Parameters
    ----------
    init : str, Initializer or function
        As `initcore.get` takes it.
    shape : int or tuple of int
        The global shape.
    sharding : jax.sharding.Sharding, PartitionSpec or None
        Of any kind, on any devices and memory of theirs. A PartitionSpec goes with the mesh of
        ``jax.set_mesh``. None leaves it to JAX, which replicates over that mesh, or without one takes its
        default device.
    seed : int in [0, 2**64) or numpy.random.SeedSequence
        The same in every process.
    name : str, optional
        The parameter's name, its address under the seed.
    dtype : dtype
        float32, float16 or bfloat16; float64 where JAX has it enabled.
    layout : str or Layout
        As initializers take it.
    num_threads : int, optional
        At most this many; the values do not depend on it.

    Returns
    -------
    jax.Array
        Of that shape, dtype and sharding.

    Raises
    ------
    ValueError
        The shape does not divide evenly among the devices (JAX has no such arrays), does not go with `init`,
        or JAX has no float64. Nothing has been made then.
    TypeError
        An argument is not as described.

    Examples
    --------
    >>> w = make_array("he_normal", (784, 256), seed=0, name="fc1.weight")
    >>> w.shape, w.dtype
    ((784, 256), dtype('float32'))
    """
    init, dtype = get(init), jax_dtype(dtype)
    shape = checked(init, shape, dtype, layout)
    sharding = resolved(sharding, shape)
    if seed is None:
        msg = "seed must be given, the same in every process, got None"
        raise TypeError(msg)
    draw = partial(
        init, shape, seed=seed_number(seed), name=name, dtype=dtype, layout=layout, num_threads=num_threads
    )
    draw(index=_nothing(shape))  # the name and the threads
    return place(draw, shape, dtype, sharding, divisible=not init.made_whole)


def place(
    draw: Callable[..., Array],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    sharding: Sharding | None,
    *,
    divisible: bool,
) -> jax.Array:
    """Make the array that `draw` draws where `sharding` wants it.

    Parameters
    ----------
    draw : callable
        Fills ``out=`` with the part ``index=``, everything by default.
    shape, dtype
        Of the global array.
    sharding : Sharding or None
        On devices, or JAX's default.
    divisible : bool
        Whether `draw` makes a part at the cost of a part; the whole is drawn once otherwise, and cut.
    """
    if sharding is None:
        return jax.device_put(draw(out=aligned(shape, dtype)))
    whole = None if divisible else draw(out=np.empty(shape, dtype))
    made: dict[tuple[tuple[int, int, int], ...], Array] = {}

    def shard(index: tuple[slice, ...]) -> Array:
        bounds = tuple(axis.indices(n) for axis, n in zip(index, shape, strict=True))
        if bounds not in made:
            made[bounds] = aligned(tuple(len(range(*axis)) for axis in bounds), dtype)
            if whole is None:
                draw(index=index, out=made[bounds])
            else:
                made[bounds][...] = whole[index]
        return made[bounds]

    return jax.make_array_from_callback(shape, sharding, shard, dtype)


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Give an array that nothing has been written to, in memory that JAX need not copy on a CPU."""
    nbytes = math.prod(shape) * dtype.itemsize
    memory = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    array: Array = memory[start : start + nbytes].view(dtype).reshape(shape)
    return array


def checked(init: Initializer, shape: Shape, dtype: np.dtype[Any], layout: str | Layout) -> tuple[int, ...]:
    """Give the shape, if initializer, dtype and layout go with it; nothing is drawn."""
    axes = shape if isinstance(shape, tuple | list) else (shape,)
    shape = tuple(integer(n, "each axis of the shape", 0) for n in axes)
    init(shape, seed=0, dtype=dtype, layout=layout, index=_nothing(shape))
    return shape


def _nothing(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Give the index of no element, or of the only one if there are no axes."""
    return (slice(0, 0),) * min(len(shape), 1)


def jax_dtype(dtype: npt.DTypeLike | None) -> np.dtype[Any]:
    """Give the dtype, in the byte order of the machine, if initcore makes it and JAX has it."""
    dtype = float_dtype(dtype).newbyteorder("=")
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        msg = f"JAX has no {dtype} here: call jax.config.update('jax_enable_x64', True) first"
        raise ValueError(msg)
    return dtype


def resolved(sharding: Any, shape: tuple[int, ...]) -> Sharding | None:
    """Give the sharding on devices that is meant, if an array of that shape can have it.

    The mesh of ``jax.set_mesh`` stands in where none is said; JAX replicates over it what has no sharding.
    None is left where there is no such mesh either.
    """
    if sharding is None:
        mesh = _mesh()
        return None if mesh is None else NamedSharding(mesh, PartitionSpec())
    abstract = isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, AbstractMesh)
    if abstract or isinstance(sharding, PartitionSpec):
        mesh = _mesh()
        if mesh is None:
            msg = f"{sharding} needs a mesh: give a NamedSharding of one, or call jax.set_mesh first"
            raise ValueError(msg)
        if abstract and mesh.abstract_mesh != sharding.mesh:
            msg = f"the mesh of {sharding} is not that of jax.set_mesh, {mesh}"
            raise ValueError(msg)
        sharding = NamedSharding(mesh, sharding.spec if abstract else sharding)
    if not isinstance(sharding, Sharding):
        msg = f"sharding must be a jax.sharding.Sharding, a PartitionSpec or None, got {sharding!r}"
        raise TypeError(msg)
    if getattr(getattr(sharding, "spec", None), "unreduced", None):
        msg = f"an unreduced array is a sum over devices, which has no values to initialize: got {sharding}"
        raise ValueError(msg)
    sharding.check_compatible_aval(shape)
    sharding.shard_shape(shape)  # raises where the axes do not divide evenly
    return sharding


def _mesh() -> Mesh | None:
    """Give the mesh of ``jax.set_mesh``, if there is one."""
    if jax.sharding.get_abstract_mesh().empty:
        return None
    with jax.ensure_compile_time_eval():  # jax.sharding.get_mesh refuses to work under jax.vmap and jax.grad
        return jnp.zeros(()).sharding.mesh
