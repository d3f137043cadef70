"""Weights that are more than independent numbers: identity, orthogonal, sparse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from initcore._core import DeltaOrthogonal, Identity, Orthogonal, Sparse, ZerO

from .registry import scheme

if TYPE_CHECKING:
    from .options import Array, Options, Shape


_ONE_EACH = "gain^2 (1 / n - 1 / n^2), n = max(inputs, outputs) * kernel size"


@scheme(Identity, variance=_ONE_EACH, aliases=("eye",))
def identity(shape: Shape, *, gain: float = 1.0, center: str = "lower", **options: Unpack[Options]) -> Array:
    """Make weights that pass each input on to the output of the same number, as far as there is one.

    A kernel has the matrix at its centre. Each group, block or batch of the layout has an identity of its
    own.

    Parameters
    ----------
    shape : tuple of int
        Shape of the weight; it need not be square.
    gain : float
        What stands on the diagonal.
    center : {"lower", "upper"}
        The centre of a kernel of even length k: (k - 1) // 2 as in JAX and for ``padding="same"``, or k // 2.
    ...
    """
    return Identity(gain, center)(shape, **options)


eye = identity


@scheme(Identity, variance=_ONE_EACH)
def dirac(shape: Shape, *, gain: float = 1.0, center: str = "lower", **options: Unpack[Options]) -> Array:
    """Make a convolution that passes each channel on unchanged: Dirac's delta, the `identity` of kernels.

    Parameters
    ----------
    shape : tuple of int
        Shape of the kernel.
    gain : float
        What stands at the centre.
    center : {"lower", "upper"}
        The centre of a kernel of even length k: (k - 1) // 2 as in JAX and for ``padding="same"``, or k // 2
        as in PyTorch.
    ...
    """
    return Identity(gain, center)(shape, **options)


@scheme(
    ZerO,
    variance="that of the identity; where outputs are more, a mean square of "
    "gain^2 2^(1 - ceil(log2(outputs))) / kernel size",
    source="J. Zhao, F. Schaefer, A. Anandkumar, ZerO initialization, TMLR 2022, algorithm 1.",
)
def zero_init(shape: Shape, *, gain: float = 1.0, center: str = "lower", **options: Unpack[Options]) -> Array:
    """Make ZerO's weights, without any chance: the identity, or a Hadamard matrix where outputs are more.

    Parameters
    ----------
    shape : tuple of int
        Shape of the weight.
    gain : float
        Multiplies the weights.
    center : {"lower", "upper"}
        As in `identity`.
    ...
    """
    return ZerO(gain, center)(shape, **options)


@scheme(
    Orthogonal,
    variance="gain^2 / max(fan_in, outputs)",
    source="A. Saxe, J. McClelland, S. Ganguli, Exact solutions to the nonlinear dynamics of learning in "
    "deep linear networks, ICLR 2014. Drawn by G. Stewart's method, SIAM J. Numer. Anal. 17 (1980) 403.",
)
def orthogonal(shape: Shape, *, gain: float = 1.0, **options: Unpack[Options]) -> Array:
    """Draw orthonormal columns or rows, whichever are fewer; all frames are equally likely (Haar measure).

    The matrix is (kernel positions and inputs) x outputs. Each group, block or batch of the layout has a
    frame of its own. Values are the same for any number of threads, but not to the last bit on every kind of
    CPU.

    Parameters
    ----------
    shape : tuple of int
        Shape of the weight.
    gain : float
        The length of each row or column.
    ...
    """
    return Orthogonal(gain)(shape, **options)


@scheme(
    DeltaOrthogonal,
    variance="gain^2 / (outputs * kernel size)",
    source="L. Xiao et al., Dynamical isometry and a mean field theory of CNNs, ICML 2018.",
)
def delta_orthogonal(
    shape: Shape, *, gain: float = 1.0, center: str = "lower", **options: Unpack[Options]
) -> Array:
    """Draw a convolution that keeps the norm of its input: an orthogonal matrix at the kernel's centre.

    Parameters
    ----------
    shape : tuple of int
        Shape of the kernel, with no fewer outputs than inputs.
    gain : float
        By how much the norm grows.
    center : {"lower", "upper"}
        As in `identity`.
    ...
    """
    return DeltaOrthogonal(gain, center)(shape, **options)


@scheme(
    Sparse,
    variance="std^2 times the share that is not zero",
    source="J. Martens, Deep learning via Hessian-free optimization, ICML 2010.",
)
def sparse(shape: Shape, *, sparsity: float, std: float = 0.01, **options: Unpack[Options]) -> Array:
    """Draw normal values, with the same number of zeros in each column of the array.

    Parameters
    ----------
    shape : (int, int)
        Shape of the matrix.
    sparsity : float
        ``ceil(sparsity * rows)`` values of each column are zeros.
    std : float
        Standard deviation of the others.
    ...
    """
    return Sparse(sparsity, std)(shape, **options)
