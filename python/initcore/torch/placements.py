"""Which part of the whole array the local shard of a DTensor is.

A dimension of the tensor is a row of indices; each dimension of the mesh that shards it takes the indices of its
own coordinate, from the left to the right of the placements. What is left over is the shard: a slice where the
indices are evenly spaced, as they are but for the strided shards of FSDP2 with tensor parallelism.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch.distributed.tensor import Partial, Replicate, Shard

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

#: What `array[region]` and the `index` of an initializer take.
Region: TypeAlias = "tuple[slice | npt.NDArray[np.int64], ...]"


def region(dtensor: Any) -> Region | None:
    """Give the part of the whole tensor that this process holds of a DTensor.

    Parameters
    ----------
    dtensor : torch.distributed.tensor.DTensor
        Of any device mesh; placements are Replicate and shards of any kind.

    Returns
    -------
    tuple of slice and ndarray, or None
        As in `region_at`. None where the process has no place in the mesh, and no part.

    Raises
    ------
    ValueError
        A placement is Partial.
    TypeError
        A placement is of a kind that is not known here.
    """
    mesh = dtensor.device_mesh
    coordinate = mesh.get_coordinate()
    if coordinate is None:
        return None
    return region_at(tuple(dtensor.shape), tuple(mesh.shape), dtensor.placements, coordinate)


def regions(
    shape: Sequence[int], mesh_shape: Sequence[int], placements: Sequence[Any]
) -> Iterator[tuple[tuple[int, ...], Region]]:
    """Go over the coordinates of a mesh, in C order: each with its part of the tensor, see `region_at`."""
    for coordinate in itertools.product(*map(range, mesh_shape)):
        yield coordinate, region_at(shape, mesh_shape, placements, coordinate)


def region_at(
    shape: Sequence[int], mesh_shape: Sequence[int], placements: Sequence[Any], coordinate: Sequence[int]
) -> Region:
    """Give the part of a tensor that stands at a coordinate of a device mesh. It takes no process group.

    Parameters
    ----------
    shape : sequence of int
        Shape of the whole tensor.
    mesh_shape : sequence of int
        Shape of the device mesh.
    placements : sequence of torch.distributed.tensor.placement_types.Placement
        One for each dimension of the mesh.
    coordinate : sequence of int
        The place in the mesh.

    Returns
    -------
    tuple of slice and ndarray
        ``whole[region]`` is the shard, with all its dimensions. Slices where the indices are evenly spaced;
        else integer arrays, that go together as those of `numpy.ix_`.

    Raises
    ------
    ValueError
        The three do not fit, the coordinate lies outside, or a placement is Partial.
    TypeError
        A placement is of a kind that is not known here.
    """
    shape, mesh_shape = tuple(shape), tuple(mesh_shape)
    placements, coordinate = tuple(placements), tuple(coordinate)
    if not len(mesh_shape) == len(placements) == len(coordinate):
        msg = (
            f"a mesh of shape {mesh_shape} has a placement and a coordinate for each dimension, "
            f"got {len(placements)} placements and {len(coordinate)} coordinates"
        )
        raise ValueError(msg)
    if not all(0 <= place < size for place, size in zip(coordinate, mesh_shape, strict=True)):
        msg = f"the coordinate {coordinate} lies outside a mesh of shape {mesh_shape}"
        raise ValueError(msg)
    indices: list[range | npt.NDArray[np.int64]] = [range(size) for size in shape]
    for placement, size, place in zip(placements, mesh_shape, coordinate, strict=True):
        if isinstance(placement, Replicate):
            continue
        dim = _sharded_dim(placement, len(shape))
        indices[dim] = _take(placement, indices[dim], size, place)
    return _as_region(indices)


def _sharded_dim(placement: Any, ndim: int) -> int:
    """Give the dimension that a placement shards, counted from the left."""
    if isinstance(placement, Partial):
        msg = (
            f"{placement!r} has no part of the tensor's values, only terms of a sum or the like that are yet "
            "to be reduced: redistribute to Replicate or Shard first"
        )
        raise ValueError(msg)
    if not hasattr(placement, "_split_tensor"):
        msg = f"placements are Replicate and shards, got {placement!r}"
        raise TypeError(msg)
    dim = int(placement.dim)
    if not -ndim <= dim < ndim:
        msg = f"{placement!r} shards a dimension that a tensor with {ndim} dimensions does not have"
        raise ValueError(msg)
    return dim % ndim


def _take(
    placement: Any, indices: range | npt.NDArray[np.int64], count: int, place: int
) -> range | npt.NDArray[np.int64]:
    """Give the indices of one of `count` shards."""
    if type(placement) is Shard:  # as torch.chunk: all of one length, but for the last; then empty ones
        length = -(-len(indices) // count)
        return indices[place * length : (place + 1) * length]
    # Strided shards join pieces, in a way that has changed between versions: only they know.
    # They split the dimension that they name, so the row of indices stands there.
    row = torch.arange(len(indices), device="cpu").view([1] * (placement.dim % 64) + [-1])
    shards, _ = placement._split_tensor(row, count, with_padding=False, contiguous=False)
    taken = shards[place].reshape(-1).numpy()
    return np.asarray(indices, np.int64)[taken]


def _as_region(indices: list[range | npt.NDArray[np.int64]]) -> Region:
    """Write indices as slices, or where that is impossible as arrays that index every dimension by itself."""
    found = [_as_slice(entry) for entry in indices]
    uneven = [dim for dim, entry in enumerate(found) if entry is None]
    if len(uneven) > 1:  # arrays beside slices would be moved to the front
        return np.ix_(*(np.asarray(entry, np.int64) for entry in indices))
    return tuple(
        np.asarray(row, np.int64) if entry is None else entry
        for row, entry in zip(indices, found, strict=True)
    )


def _as_slice(indices: range | npt.NDArray[np.int64]) -> slice | None:
    """Give the slice of evenly spaced, rising indices."""
    if not isinstance(indices, range):
        step = int(indices[1] - indices[0]) if len(indices) > 1 else 1
        if len(indices) and (step < 1 or (np.diff(indices) != step).any()):
            return None
        indices = range(indices[0], indices[-1] + 1, step) if len(indices) else range(0)
    return slice(indices.start, max(indices.start, indices.stop), indices.step)
