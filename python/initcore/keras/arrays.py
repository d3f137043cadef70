"""Values of the library as tensors of Keras' backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from initcore._core import Constant, Initializer, Layout

if TYPE_CHECKING:
    from initcore.initializers import Array


def draw(
    init: Initializer,
    shape: tuple[int, ...],
    *,
    seed: int,
    name: str | None,
    dtype: Any,
    layout: str | Layout,
    sharding: Any = None,
    num_threads: int | None = None,
) -> Any:
    """Draw a tensor; with a sharding, each device's part on its own.

    Parameters
    ----------
    init, shape, seed, name, layout, num_threads
        As initializers take them.
    dtype : str or None
        As Keras takes it. Constants may be of any.
    sharding : keras.distribution.TensorLayout or jax.sharding.Sharding, optional
        Where the parts are to be; of the JAX backend.
    """
    dtype = keras.backend.standardize_dtype(dtype)
    if isinstance(init, Constant) and "float" not in dtype:
        return keras.ops.full(shape, init.get_config()["value"], dtype)

    def part(index: Any) -> Array:
        return init(
            shape, seed=seed, name=name, dtype=dtype, layout=layout, index=index, num_threads=num_threads
        )

    if sharding is None:
        return to_tensor(part(None), dtype)
    import jax

    sharding = getattr(sharding, "backend_layout", sharding)
    if not isinstance(sharding.mesh, jax.sharding.Mesh):  # Keras gives the axes' names; who they are is set
        sharding = jax.sharding.NamedSharding(jax.sharding.get_mesh(), sharding.spec)
    return jax.make_array_from_callback(shape, sharding, part)


def to_tensor(array: Array, dtype: str) -> Any:
    """Give the backend's tensor of an array."""
    return keras.ops.convert_to_tensor(np.asarray(array), dtype=dtype)
