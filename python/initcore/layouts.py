"""Fan-in and fan-out of a weight: how many numbers make one output, and how many outputs an input reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsIndex

from ._core import Layout

if TYPE_CHECKING:
    from .initializers import Shape


def fans(
    shape: Shape,
    *,
    layout: str | Layout | None = None,
    in_axis: Shape | None = None,
    out_axis: Shape | None = None,
    batch_axis: Shape | None = None,
    groups: SupportsIndex = 1,
    transposed: bool = False,
    blocks: SupportsIndex = 1,
) -> tuple[int, int]:
    """Count the inputs that one output sums, and the outputs that one input reaches.

    Parameters
    ----------
    shape : tuple of int
        Shape of the weight.
    layout : {"numpy", "torch", "embedding", "depthwise"} or Layout, optional
        Which axes are inputs and outputs: (..., in, out), the default; (out, in, ...); (vocabulary,
        features), where one row is looked up and nothing is summed; (..., channels, multiplier), where each
        channel has filters of its own. A `Layout` says all of what follows too.
    in_axis, out_axis, batch_axis : int or tuple of int, optional
        In place of a name: the axes of inputs, of outputs, and of weights that have nothing to do with each
        other (heads, experts). All other axes are positions of a kernel.
    groups : int
        Groups of a convolution: inputs and outputs meet only within their group.
    transposed : bool
        Of a transposed convolution, whose weight has inputs and outputs in each other's place; axes given by
        number are exchanged too.
    blocks : int
        Equal weights packed side by side along the outputs, as 3 for query, key and value.

    Returns
    -------
    fan_in, fan_out : int

    Raises
    ------
    ValueError
        The shape has no such axes, or an axis does not divide into the groups or blocks.
    TypeError
        An argument is of the wrong type.

    Examples
    --------
    >>> fans((784, 256)), fans((256, 784), layout="torch")
    ((784, 256), (784, 256))
    >>> fans((3, 3, 64, 128))  # a 3x3 convolution
    (576, 1152)
    >>> fans((128, 16, 3, 3), layout="torch", groups=4)  # 64 inputs, 128 outputs
    (144, 288)
    >>> fans((2304, 768), layout="torch", blocks=3)  # query, key, value
    (768, 768)
    """
    if isinstance(layout, Layout):
        axes = any(axis is not None for axis in (in_axis, out_axis, batch_axis))
        if axes or groups != 1 or transposed or blocks != 1:
            msg = f"{layout} says all there is: give it alone, or the keywords"
            raise ValueError(msg)
        return layout.fans(shape)
    if not isinstance(layout, str | None):
        msg = f"layout must be a name or a Layout, got {type(layout).__name__}"
        raise TypeError(msg)
    return Layout(
        layout,
        in_axis=in_axis,
        out_axis=out_axis,
        batch_axis=batch_axis,
        groups=groups,
        transposed=transposed,
        blocks=blocks,
    ).fans(shape)
