"""What `audit` checks of each kind of initializer, and between parameters.

`findings` says which checks an array gets: independent elements those of `checks`; what is a function
of the position, equality; orthogonal and sparse matrices their structure, and the law of what is left to
chance. Needs SciPy.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

from initcore import _core
from initcore._core import (
    DeltaOrthogonal,
    Embedding,
    Initializer,
    Layout,
    Normal,
    Orthogonal,
    Sparse,
    VarianceScaling,
)

from .checks import (
    CONFIDENCE,
    ELEMENTS,
    UNIT_CHECKS,
    UNITS,
    Finding,
    Sample,
    Units,
    variance_ratio,
)
from .laws import Law, coordinate, law_of, masses, of_extreme, two_sided, undo_rounding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .laws import Float64s

AnyArray: TypeAlias = npt.NDArray[Any]
Named: TypeAlias = tuple[str, Finding]

#: Entries of an orthogonal matrix that are looked at; its distribution function is a slow one.
ENTRIES = 1 << 18
#: Leading elements by which parameters are compared.
LEADING = 1 << 12
#: Pairs of parameters that are less probable than this are called shared.
SHARED = 1e-6
#: Matrices of a batch of orthogonal ones that are looked at.
MATRICES = 16


def units(array: AnyArray, layout: str | Layout) -> tuple[AnyArray, dict[str, tuple[int, ...]]]:
    """Give the array with an axis for each role, and the axes that number the outputs, and the inputs.

    Weights that have nothing to do with each other (groups, packed blocks, experts) have units of their own.
    The rows of an embedding are the outputs of nothing: they are its units.
    """
    try:
        lengths, roles = zip(*_as_layout(layout).dimensions(array.shape), strict=True)
    except ValueError:  # no inputs and outputs: a bias
        return array, {}
    sides = {"output": {"batch", "output"}, "input": {"batch", "input"}}
    if not {"input", "kernel"} & set(roles):
        sides = {"output": {"batch"}, "input": {"output"}}
    numbered = {
        side: tuple(axis for axis, role in enumerate(roles) if role in numbers)
        for side, numbers in sides.items()
    }
    inside = {side: axes for side, axes in numbered.items() if 0 < len(axes) < len(roles)}
    return array.reshape(lengths), inside


def _as_layout(layout: str | Layout) -> Layout:
    return layout if isinstance(layout, Layout) else Layout(layout)


def findings(array: AnyArray, init: Initializer, layout: str | Layout) -> Iterator[Named]:
    """Give every check that this array gets under this initializer."""
    if array.size == 0:
        yield "finite", (None, "no values")
        return
    law = init.law(array.shape, layout=layout)
    config = init.get_config()
    if init.std(array.shape, layout=layout) == 0 or not (law or isinstance(init, _WITH_CHANCE)):
        yield "values", _equal(array, init(array.shape, seed=0, dtype=array.dtype, layout=layout))
    elif isinstance(init, Sparse):
        yield from _sparse(array, config["sparsity"], config["std"])
    elif isinstance(init, (Orthogonal, DeltaOrthogonal)):
        yield from _orthogonal(array, config, _as_layout(layout))
    elif law is None:  # an embedding with a row of zeros
        row = config["padding_idx"]
        yield "padding", _equal(array[row], np.zeros_like(array[row]))
        yield from _independent(np.delete(array, row, 0), Normal(0.0, config["std"]), init, layout)
    else:
        yield from _independent(array, law, init, layout)


_WITH_CHANCE = (Sparse, Orthogonal, DeltaOrthogonal, Embedding)


def _equal(array: AnyArray, expected: AnyArray) -> Finding:
    """Check that the array is what it must be."""
    differ = array != expected
    count = int(np.count_nonzero(differ))
    if not count:
        return 1.0, f"all {array.size:,} are as they must be"
    at = np.unravel_index(int(differ.argmax()), array.shape)
    place = ", ".join(str(int(i)) for i in at)
    values = f"{float(array[at]):.9g} in place of {float(expected[at]):.9g}"
    return 0.0, f"{count:,} of {array.size:,} differ, the first at [{place}]: {values}"


def _independent(
    array: AnyArray, fixed: Initializer, init: Initializer, layout: str | Layout
) -> Iterator[Named]:
    shape = array.shape
    array, sides = units(array, layout)
    sample = Sample(array, law_of(fixed))
    yield from _elements(sample, init, shape, layout)
    if any(sample.not_finite):
        return
    for side, axes in sides.items():
        of_side = Units(sample, axes)
        yield from ((f"{side} {name}", check(of_side)) for name, check in UNIT_CHECKS.items())


def _elements(
    sample: Sample, init: Initializer, shape: tuple[int, ...], layout: str | Layout
) -> Iterator[Named]:
    for name, check in ELEMENTS.items():
        if sample.selected.size == 0 and name != "finite":
            return
        p, evidence = check(sample)
        if name == "variance" and p is not None and p < 1 - CONFIDENCE:
            evidence += _likely(sample, init, shape, layout)
        yield name, (p, evidence)


def _likely(sample: Sample, init: Initializer, shape: tuple[int, ...], layout: str | Layout) -> str:
    """Name the schemes and mistakes whose variance is the one that was found."""
    _, low, high, _ = variance_ratio(sample)
    expected = sample.law.std**2
    family = init.get_config().get("distribution", "normal")
    explained: dict[str, float] = {
        "a standard deviation given as a variance": math.sqrt(expected),
        "a variance given as a standard deviation": expected**2,
        "a truncation at 2 standard deviations that is not made up for": 0.8796256610342398**2 * expected,
    }
    swapped = _swapped(layout)
    for name, arguments in _core.schemes():
        scheme = VarianceScaling(*arguments)
        if not name.endswith(f"_{family}") or name.count("_") != family.count("_") + 1:
            continue
        if scheme == init:
            continue
        for at, words in ((layout, name), (swapped, f"{name} with inputs and outputs swapped")):
            try:
                explained[words] = scheme.std(shape, layout=at) ** 2
            except ValueError:  # the shape has no fans, or what is swapped does not divide into the blocks
                continue
    if isinstance(init, VarianceScaling):
        with suppress(ValueError):
            explained["the same scheme with inputs and outputs swapped"] = (
                init.std(shape, layout=swapped) ** 2
            )
    fitting = [words for words, var in explained.items() if low * expected <= var <= high * expected]
    return f"; fits {', or '.join(fitting)}" if fitting else ""


def _swapped(layout: str | Layout) -> Layout:
    config = _as_layout(layout).get_config()
    if "axes" not in config:
        config["in_axis"], config["out_axis"] = config["out_axis"], config["in_axis"]
        return Layout(**config)
    return Layout(**config | {"transposed": not config.get("transposed", False)})


# --- sparse -------------------------------------------------------------------------------------------------


def _sparse(array: AnyArray, sparsity: float, std: float) -> Iterator[Named]:
    rows, columns = array.shape
    zeros = min(math.ceil(sparsity * rows), rows)
    law = law_of(Normal(0.0, std))
    zero = array == 0
    # a 16-bit number may also be drawn as zero
    drawn = float(masses(np.zeros(1, array.dtype), law)[0]) if array.dtype.itemsize == 2 else 0.0
    found = zero.sum(axis=0)
    wrong = np.flatnonzero(found != zeros)
    least, extra = int(found.min()), int(found.sum()) - zeros * columns
    p = 0.0 if least < zeros else float(special.pdtrc(extra - 1, array.size * drawn)) if extra else 1.0
    example = f": column {wrong[0]} has {found[wrong[0]]}" if wrong.size else ""
    yield (
        "zeros of columns",
        (p, f"{zeros} expected in each; other numbers in {wrong.size} of {columns}{example}"),
    )
    share = zeros / rows
    variance = columns * share * (1 - share)
    if variance < 10 or rows < 2:
        yield "zeros of rows", (None, "too few zeros")
    else:
        # the counts of the rows add up to a fixed number: rows - 1 degrees of freedom
        squares = float(((zero.sum(axis=1) - columns * share) ** 2).sum()) / variance * (rows - 1) / rows
        p = two_sided(float(special.chdtr(rows - 1, squares)), float(special.chdtrc(rows - 1, squares)))
        yield "zeros of rows", (p, f"dispersion {squares / (rows - 1):.4g} times that of chance")
    yield from _elements(Sample(array[~zero], law), Normal(0.0, std), array.shape, "numpy")


# --- orthogonal ---------------------------------------------------------------------------------------------


def _orthogonal(array: AnyArray, config: Mapping[str, Any], layout: Layout) -> Iterator[Named]:
    weights, center = _matrices(array, config, layout)
    if "center" in config:
        surround = weights.copy()
        surround[center] = 0
        yield "zeros around the center", _equal(surround, np.zeros_like(surround))
    matrices = weights[center].reshape(len(weights), -1, weights.shape[-1])
    for number in range(0, len(matrices), -(-len(matrices) // MATRICES)):
        prefix = f"matrix {number}: " if len(matrices) > 1 else ""
        for name, finding in _frame(matrices[number], config["gain"]):
            yield prefix + name, finding


def _matrices(
    array: AnyArray, config: Mapping[str, Any], layout: Layout
) -> tuple[AnyArray, tuple[slice, ...]]:
    """Give orthogonal weights as (batch, *kernel, inputs, outputs), and which part of that is drawn."""
    lengths, roles = zip(*layout.dimensions(array.shape), strict=True)
    axes = {
        role: [axis for axis in range(len(roles)) if roles[axis] == role]
        for role in ("batch", "kernel", "input", "output")
    }
    size = {role: math.prod(lengths[axis] for axis in numbers) for role, numbers in axes.items()}
    kernel = [lengths[axis] for axis in axes["kernel"]]
    weights = array.reshape(lengths).transpose([axis for numbers in axes.values() for axis in numbers])
    center: tuple[slice, ...] = ()
    if "center" in config:
        half = [(k - (config["center"] == "lower")) // 2 for k in kernel]
        center = (slice(None), *(slice(at, at + 1) for at in half))
    return weights.reshape(size["batch"], *kernel, size["input"], size["output"]), center


def _frame(matrix: AnyArray, gain: float) -> Iterator[Named]:
    """Check one matrix with orthonormal rows or columns, times the gain."""
    matrix = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    sample = Sample(matrix, coordinate(matrix.shape[1], abs(gain)))
    yield "finite", ELEMENTS["finite"](sample)
    if any(sample.not_finite):
        return
    yield "orthonormal", orthonormal(sample)
    yield "mean", frame_mean(sample)
    yield "diagonal", diagonal(sample)
    flat = matrix.ravel()
    entries = Sample(flat[:: -(-flat.size // ENTRIES)], sample.law)
    if matrix.shape[1] > 1:
        yield from ((name, ELEMENTS[name](entries)) for name in ("distribution", "repeated values"))


def _gain(sample: Sample) -> float:
    return sample.law.high


def orthonormal(sample: Sample) -> Finding:
    """Check that the rows, the shorter side, are orthogonal and of length `gain`, but for rounding."""
    matrix, gain = sample.array, _gain(sample)
    step = -(-len(matrix) // UNITS)
    wide: type[np.floating[Any]] = np.float64 if matrix.dtype.itemsize == 8 else np.float32
    rows: AnyArray = matrix[::step].astype(wide) / gain
    products = rows @ rows.T
    products[np.diag_indices_from(products)] -= 1
    error = float(np.abs(products).max())
    # entries are rounded once to their dtype, and computed in float32 or float64
    one = np.ones((), matrix.dtype)
    epsilon = float(np.nextafter(one, one + one) - one)
    allowed = epsilon + 8 * math.sqrt(matrix.shape[1]) * float(np.finfo(wide).eps)
    seen = f" (of {len(rows):,} of {len(matrix):,} vectors)" if step > 1 else ""
    p = 1.0 if error <= allowed else 0.0
    return p, f"products are off by {error:.2g} gain^2 at most, {allowed:.2g} is rounding{seen}"


def frame_mean(sample: Sample) -> Finding:
    """Check that the mean of all entries is as near to zero as it should be.

    u'Qv of fixed unit vectors u and v is one coordinate of a uniform point on the sphere, here with all
    components of u equal, and of v.
    """
    matrix, law = sample.array, sample.law
    if matrix.shape[1] < 2:
        return None, "one entry"
    product = float(matrix.sum(dtype=np.float64)) / math.sqrt(matrix.size)
    at = np.array(product)
    p = two_sided(float(law.cdf(at)), float(law.sf(at)))
    return p, f"the sum is {product / law.std:+.2f} standard deviations from 0"


def diagonal(sample: Sample) -> Finding:
    """Check that the trace is as near to zero as it should be.

    Of k rows and n columns it has mean 0 and variance gain^2 k / n, and is nearly normal. A QR decomposition
    prefers one sign, unless that is put right (Mezzadri, How to generate random matrices from the classical
    compact groups, Notices of the AMS 54, 2007).
    """
    k, n = sample.array.shape
    if n < 8:
        return None, f"too few columns: {n}"
    z = float(np.trace(sample.array.astype(np.float64))) / (_gain(sample) * math.sqrt(k / n))
    p = two_sided(float(special.ndtr(z)), float(special.ndtr(-z)))
    return p, f"the trace is {z:+.2f} standard deviations from 0"


# --- between parameters -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leading:
    """The first elements of a parameter, mapped to what are standard normal numbers if its law holds."""

    name: str
    scores: Float64s
    wide: bool
    memory: tuple[Any, ...]


def leading(name: str, array: AnyArray, init: Initializer, layout: str | Layout) -> Leading | None:
    """Give the leading elements in C order; None where nothing is drawn, or they are not finite.

    The zeros of sparse weights and of padding have the score 0, and take no part in cosines.
    """
    drawn = array
    if isinstance(init, (Orthogonal, DeltaOrthogonal)):
        # in the order of the Gaussian vectors, which are as long as the longer side
        weights, center = _matrices(array, init.get_config(), _as_layout(layout))
        drawn = weights[center].reshape(len(weights), -1, weights.shape[-1])
        drawn = drawn if drawn.shape[1] >= drawn.shape[2] else drawn.transpose(0, 2, 1)
    first = np.ascontiguousarray(drawn.flat[: 2 * LEADING])
    if first.size < 2 or init.std(array.shape, layout=layout) == 0 or not np.isfinite(first).all():
        return None
    fixed = init.law(array.shape, layout=layout)
    if fixed is None and not isinstance(init, _WITH_CHANCE):
        return None
    std = init.std(array.shape, layout=layout)
    law: Law = law_of(fixed or Normal(0.0, std))
    scores = law.scores(undo_rounding(first, law)).clip(-1e6, 1e6)
    interface = array.__array_interface__
    memory = (interface["data"][0], array.shape, array.strides)
    return Leading(name, scores, array.dtype.itemsize == 8, memory)


def shared_words(parameters: Sequence[Leading]) -> Finding:
    """Check that no two parameters come from the same random numbers.

    Those of one seed and name, of whatever law, shape and dtype, are monotone functions of the same numbers
    in C order, so that their scores are equal. For unrelated ones, the squared cosine of the scores of n
    elements follows Beta(1/2, (n - 1)/2).
    """
    count = len(parameters)
    if count < 2:
        return None, "fewer than two parameters with random numbers"
    # float64 takes two words where the others take one: its element 16 a + b has the word of their 32 a + b
    index = np.arange(LEADING)
    spread = index // 16 * 32 + index % 16
    narrow = [i for i, p in enumerate(parameters) if not p.wide]
    wide = [i for i, p in enumerate(parameters) if p.wide]
    found: list[tuple[float, int, int]] = []
    compared = 0
    for first, second, take in ((narrow, narrow, index), (wide, wide, index), (narrow, wide, spread)):
        if not first or not second:
            continue
        a, sizes_a = _padded([parameters[i].scores for i in first], take)
        b, sizes_b = _padded([parameters[i].scores for i in second], index)
        p = _cosine_p(a, sizes_a, b, sizes_b)
        for i, j in np.ndindex(p.shape):
            left, right = first[i], second[j]
            if (first is second and i >= j) or parameters[left].memory == parameters[right].memory:
                continue  # itself, or tied on purpose
            compared += 1
            found.append((float(p[i, j]), left, right))
    if not compared:
        return None, "nothing to compare"
    found.sort()
    best, i, j = found[0]
    pair = f"{parameters[i].name!r} and {parameters[j].name!r}"
    alike = sum(p * compared < SHARED for p, _, _ in found)
    if alike:
        return of_extreme(best, compared), (
            f"{alike:,} of {compared:,} pairs are made from the same random numbers, first {pair}: "
            "give each a name or a seed of its own"
        )
    return of_extreme(best, compared), f"most alike of {compared:,} pairs: {pair}"


def _padded(scores: Sequence[Float64s], take: npt.NDArray[np.intp]) -> tuple[Float64s, npt.NDArray[np.intp]]:
    """Give the elements at `take`, followed by zeros, and their numbers."""
    rows = np.zeros((len(scores), take.size))
    sizes = np.array([int(np.searchsorted(take, x.size)) for x in scores])
    for row, x, size in zip(rows, scores, sizes, strict=True):
        row[:size] = x[take[:size]]
    return rows, sizes


def _cosine_p(
    a: Float64s, sizes_a: npt.NDArray[np.intp], b: Float64s, sizes_b: npt.NDArray[np.intp]
) -> Float64s:
    """Give the p-value of the cosine of each row of `a` with each of `b`, over the elements of both."""
    shared = np.minimum.outer(sizes_a, sizes_b)
    last = np.maximum(shared, 1) - 1
    squares_a = np.take_along_axis(np.cumsum(a**2, axis=1), last, axis=1)
    squares_b = np.take_along_axis(np.cumsum(b**2, axis=1), last.T, axis=1).T
    cosine2 = (a @ b.T) ** 2 / np.maximum(squares_a * squares_b, 1e-300)
    p: Float64s = special.betainc(np.maximum(shared - 1, 1) / 2, 0.5, np.clip(1 - cosine2, 1e-15, 1))
    return np.where(shared < 2, 1.0, p)
