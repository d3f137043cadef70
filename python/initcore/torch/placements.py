"""Which part of the whole array the local shard of a DTensor is.

A dimension of the tensor is a row of indices. Each dimension of the mesh that shards it takes those of its
own coordinate, from the left to the right of the placements; FSDP2 splits last, though its placement stands
before those of tensor parallelism. What is left over is the shard: a slice where the indices are evenly
spaced, as they nearly always are.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from torch.distributed.tensor import Partial, Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    Indices: TypeAlias = range | npt.NDArray[np.int64]

#: What ``array[region]`` and the `index` of an initializer take.
Region: TypeAlias = "tuple[slice | npt.NDArray[np.int64], ...]"


def region(dtensor: Any) -> Region | None:
    """Give the part of the whole tensor that this process holds of a DTensor.

    Parameters
    ----------
    dtensor : torch.distributed.tensor.DTensor
        On any device mesh; placements are Replicate and shards of any kind.

    Returns
    -------
    tuple of slice and ndarray, or None
        As in `region_at`. None where the process has no place in the mesh, and so no part.

    Raises
    ------
    ValueError
        A placement is Partial, or dimensions of the mesh split in another order than that of the placements.
    TypeError
        A placement is of a kind that is not known here.

    Examples
    --------
    >>> part = ic.get("he_normal")(tuple(weight.shape), seed=0, index=region(weight))

    Notes
    -----
    A strided shard before the shards it counts is what FSDP2 makes over tensor parallelism, which has split
    first. `distribute_tensor` splits from the left to the right. The two differ only where splits are uneven;
    then it is FSDP2's part if it has the shape of the local tensor, else the other.
    """
    _check_order(dtensor)
    mesh = dtensor.device_mesh
    coordinate = mesh.get_coordinate()
    if coordinate is None:
        return None
    shape, mesh_shape = tuple(dtensor.shape), tuple(mesh.shape)
    order = _order_of_fsdp(mesh_shape, dtensor.placements)
    if order is not None:
        placements = [_as_shard(dtensor.placements[i]) for i in order]
        part = region_at(shape, [mesh_shape[i] for i in order], placements, [coordinate[i] for i in order])
        if shape_of(part) == tuple(dtensor._local_tensor.shape):
            return part
    return region_at(shape, mesh_shape, dtensor.placements, coordinate)


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

    Placements split from the left to the right, as in `distribute_tensor`. FSDP2 over tensor parallelism
    splits last: where splits are uneven, put its dimension last, as a plain Shard, to have its parts.

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
        The four do not fit together, or a placement is Partial.
    TypeError
        A placement is of a kind that is not known here.

    Examples
    --------
    >>> region_at((10, 6), (2, 2), [Shard(0), Shard(0)], (1, 0))
    (slice(5, 8, 1), slice(0, 6, 1))
    """
    if not len(mesh_shape) == len(placements) == len(coordinate):
        msg = (
            f"a mesh of shape {tuple(mesh_shape)} has a placement and a coordinate for each dimension, "
            f"got {len(placements)} placements and {len(coordinate)} coordinates"
        )
        raise ValueError(msg)
    if not all(0 <= place < size for place, size in zip(coordinate, mesh_shape, strict=True)):
        msg = f"the coordinate {tuple(coordinate)} lies outside a mesh of shape {tuple(mesh_shape)}"
        raise ValueError(msg)
    indices: list[Indices] = [range(size) for size in shape]
    for placement, size, place in zip(placements, mesh_shape, coordinate, strict=True):
        if isinstance(placement, Replicate):
            continue
        dim = _sharded_dim(placement, len(shape))
        if isinstance(placement, _StridedShard):
            indices[dim] = _strided(indices[dim], int(placement.split_factor), size, place)
        else:
            indices[dim] = _chunk(indices[dim], size, place)
    return _as_region(indices)


def shape_of(part: Region) -> tuple[int, ...]:
    """Give the shape of ``whole[part]``."""
    return tuple(
        len(range(rows.start, rows.stop, rows.step)) if isinstance(rows, slice) else rows.size
        for rows in part
    )


def _check_order(dtensor: Any) -> None:
    """Refuse dimensions of the mesh that split one of the tensor in an order of their own."""
    order = getattr(dtensor._spec, "shard_order", None)
    if any(tuple(entry.mesh_dims) != tuple(sorted(entry.mesh_dims)) for entry in order or ()):
        msg = (
            "expected the dimensions of the mesh to split from the left to the right, "
            f"got shard_order {order}; redistribute to the default order first"
        )
        raise ValueError(msg)


def _order_of_fsdp(mesh_shape: Sequence[int], placements: Sequence[Any]) -> list[int] | None:
    """Give the order in which FSDP2 and what it found have split; None where it has not come second."""
    strided = [i for i, placement in enumerate(placements) if isinstance(placement, _StridedShard)]
    if len(strided) != 1:
        return None
    i = strided[0]
    others = [j for j in range(len(placements)) if j != i]
    later = [mesh_shape[j] for j in others if j > i and placements[j].is_shard(placements[i].dim)]
    if not later or math.prod(later) != placements[i].split_factor:
        return None
    return [*others, i]


def _as_shard(placement: Any) -> Any:
    """Take a strided shard for a plain one, which it is where what it counts has split before."""
    return Shard(placement.dim) if isinstance(placement, _StridedShard) else placement


def _sharded_dim(placement: Any, ndim: int) -> int:
    """Give the dimension that a placement shards, counted from the left."""
    if isinstance(placement, Partial):
        msg = (
            f"{placement!r}: every process holds a term of the values, to be reduced, not a part of them; "
            "redistribute to Replicate or Shard first"
        )
        raise ValueError(msg)
    if type(placement) not in {Shard, _StridedShard}:  # another kind, if of theirs, may split otherwise
        msg = f"expected placements of type Replicate or Shard, got {placement!r}"
        raise TypeError(msg)
    if not -ndim <= placement.dim < ndim:
        msg = f"{placement!r} shards a dimension that a tensor of {ndim} dimensions does not have"
        raise ValueError(msg)
    return int(placement.dim) % ndim


def _chunk(indices: Indices, count: int, place: int) -> Indices:
    """Take one of the chunks of torch.chunk: all of one length but for the last, and after it empty ones."""
    length = -(-len(indices) // count)
    return indices[place * length : (place + 1) * length]


def _strided(indices: Indices, split_factor: int, count: int, place: int) -> Indices:
    """Take one of `count` chunks of each of `split_factor` chunks: of FSDP, when TP has split before."""
    pieces = [_chunk(_chunk(indices, split_factor, i), count, place) for i in range(split_factor)]
    return np.concatenate([np.asarray(piece, np.int64) for piece in pieces])


def _as_region(indices: list[Indices]) -> Region:
    """Write rows of indices as slices if possible, else as arrays of which each has an axis of its own."""
    found = [_as_slice(row) for row in indices]
    if found.count(None) > 1:  # beside slices, several arrays would take the first axes of the result
        return np.ix_(*(np.asarray(row, np.int64) for row in indices))
    return tuple(np.asarray(row) if part is None else part for row, part in zip(indices, found, strict=True))


def _as_slice(row: Indices) -> slice | None:
    """Give the slice of a row of evenly spaced, rising indices."""
    if not isinstance(row, range):
        step = int(row[1] - row[0]) if len(row) > 1 else 1
        if (np.diff(row) != step).any():
            return None
        row = range(int(row[0]), int(row[-1]) + 1, step) if len(row) else range(0)
    return slice(row.start, max(row.start, row.stop), row.step)
