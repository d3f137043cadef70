"""The checks of `audit`: each is a function that gives a p-value and its evidence in words.

A p-value is the probability that a correct array looks as odd as this one or odder; None where there is
too little to judge. What cannot happen by chance has p = 0. Two lists at the ends of their sections say
which checks there are: of the elements by themselves, and of the units (outputs, or inputs, with all their
weights). Needs SciPy.

Arrays of more than `VALUES` elements, and layers of more than `UNITS` units, are judged by an evenly spaced
selection, which bounds time and memory; the evidence says so.
"""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from .laws import (
    RESOLUTION,
    Law,
    at_least,
    in_pieces,
    is_coarse,
    masses,
    of_extreme,
    pearson3,
    pearson3_quantile,
    two_sided,
    undo_rounding,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .laws import Float64s

AnyArray: TypeAlias = npt.NDArray[Any]

Finding: TypeAlias = tuple[float | None, str]

#: Elements that are looked at, at most; of those, as many are sorted.
VALUES = 1 << 24
SORTED = 1 << 22
#: Units that are compared with each other, at most, and of each as many weights.
UNITS = 1 << 12
#: A confidence interval holds the true value with this probability.
CONFIDENCE = 0.99
#: A statistic of a law other than the normal is judged where its skewness is less: the gamma distribution is
#: an approximation then.
SKEWED = 0.5
#: A variance with less than this p-value is wrong.
WRONG = 1e-6
#: Windows that repeat by chance with less than this probability are taken for copies.
COPY = 1e-12


class Sample:
    """An array, the law that its elements should follow, and what several checks need of the two."""

    def __init__(self, array: AnyArray, law: Law) -> None:
        self.array = array
        self.law = law

    @cached_property
    def not_finite(self) -> tuple[int, int]:
        """NaN and infinite elements."""
        return int(np.isnan(self.array).sum()), int(np.isinf(self.array).sum())

    @cached_property
    def selected(self) -> AnyArray:
        """Finite elements in C order, `VALUES` at most."""
        flat = self.array.ravel()
        flat = flat[:: -(-flat.size // VALUES) or 1]
        return flat[np.isfinite(flat)] if any(self.not_finite) else flat

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The least and the largest of all finite elements."""
        x = self.array[np.isfinite(self.array)] if any(self.not_finite) else self.array
        return float(x.min()), float(x.max())

    @cached_property
    def values(self) -> Float64s:
        """The same before they were rounded."""
        return undo_rounding(self.selected, self.law)

    @cached_property
    def scores(self) -> npt.NDArray[np.float32]:
        """All of them, where they belong, mapped to standard normal numbers if the law holds."""
        return _scores(self.law, self.values).reshape(self.array.shape)

    @cached_property
    def sorted(self) -> Float64s:
        """`SORTED` of the values at most, in their order."""
        return np.sort(_thinned(self.values))

    @cached_property
    def frequent(self) -> tuple[AnyArray, npt.NDArray[np.intp]]:
        """Distinct elements and how often they occur."""
        x = _thinned(self.selected)
        if is_coarse(x.dtype, self.law):  # any order will do, and integers have a fast one
            ordered = np.sort(x.view(f"u{x.dtype.itemsize}")).view(x.dtype)
        else:
            ordered = self.sorted.astype(x.dtype)
        first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        return ordered[first], np.diff(first, append=ordered.size)

    @cached_property
    def coincidence(self) -> float:
        """The probability that two elements are equal, by the law or by the count, whichever is more."""
        distinct, counts = self.frequent
        n = int(counts.sum())
        by_law = float(masses(distinct, self.law) @ counts) / n
        return max(by_law, float(counts @ (counts - 1)) / max(n * (n - 1), 1))


def _scores(law: Law, values: Float64s) -> npt.NDArray[np.float32]:
    return in_pieces(lambda x: law.scores(x).clip(-1e6, 1e6), values, np.float32)


def _thinned(x: AnyArray) -> AnyArray:
    return x[:: -(-x.size // SORTED) or 1]


def _of_all(seen: int, size: int, what: str) -> str:
    return "" if seen >= size else f" (of {seen:,} of the {size:,} {what})"


# --- elements -----------------------------------------------------------------------------------------------


def finite(sample: Sample) -> Finding:
    """Check that all numbers are finite."""
    nan, infinite = sample.not_finite
    if nan or infinite:
        return 0.0, f"{nan:,} NaN and {infinite:,} infinite values among {sample.array.size:,}"
    return 1.0, f"all {sample.array.size:,} values are finite"


def bounds(sample: Sample) -> Finding:
    """Check that all elements keep the law's bounds, as nearly as their dtype can say them."""
    law, array = sample.law, sample.array
    if math.isinf(law.low) and math.isinf(law.high):
        return None, "the law has no bounds"
    # the nearest number may lie beyond; that of a wider dtype may also have been computed a little off
    slack = 4 if array.dtype.itemsize >= 4 else 0
    lowest, highest = np.array([law.low, law.high]).astype(array.dtype)
    for _ in range(slack):
        lowest, highest = np.nextafter(lowest, -np.inf), np.nextafter(highest, np.inf)
    least, most = sample.ends
    inside = f"values from {least:.6g} to {most:.6g}, bounds {law.low:.6g} and {law.high:.6g}"
    if least < min(float(lowest), law.low) or most > max(float(highest), law.high):
        outside = int(np.count_nonzero((array < lowest) | (array > highest)))
        return 0.0, f"{outside:,} beyond the bounds: {inside}"
    return 1.0, inside


def mean(sample: Sample) -> Finding:
    """Check the mean."""
    x, law = sample.values, sample.law
    skewness = law.moments[0] / math.sqrt(x.size)
    if abs(skewness) > SKEWED:
        return None, f"too few values: {x.size}"
    found, error = float(x.mean()), law.std / math.sqrt(x.size)
    z = (found - law.mean) / error
    p = pearson3(z, skewness)
    seen = _of_all(x.size, sample.array.size, "values")
    return p, f"{found:.4g}, expected {law.mean:.4g} ± {error:.2g}: z = {z:+.2f}{seen}"


def variance_ratio(sample: Sample) -> tuple[float, float, float, float | None]:
    """Give the variance, as a multiple of the law's; its confidence interval; its p-value, if it has one.

    The mean square of n deviations from the law's mean, in its units, has mean 1, and variance and
    skewness by the law's moments. A gamma distribution with these three is exact for normal laws, where it is
    chi-squared.
    """
    x, law = sample.values, sample.law
    _, fourth, _, sixth = law.moments
    spread = math.sqrt((fourth - 1) / x.size)
    skewness = (sixth - 3 * fourth + 2) / (fourth - 1) ** 1.5 / math.sqrt(x.size)
    deviation = (x - law.mean) / law.std
    ratio = float(deviation @ deviation) / x.size
    low, high = (
        ratio / max(1 + spread * pearson3_quantile(q, skewness), 1e-300)
        for q in ((1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2)
    )
    judged = law.normal or skewness <= SKEWED
    return ratio, low, high, pearson3((ratio - 1) / spread, skewness) if judged else None


def variance(sample: Sample) -> Finding:
    """Check the variance."""
    ratio, low, high, p = variance_ratio(sample)
    if p is None:
        return None, f"too few values: {sample.values.size}"
    interval = f"{100 * CONFIDENCE:.0f} % interval {low:.4g} to {high:.4g}"
    return p, f"{ratio:.4g} times the expected {sample.law.std**2:.4g}, {interval}"


def distribution(sample: Sample) -> Finding:
    """Check the distribution function (Kolmogorov and Smirnov)."""
    x = sample.sorted
    n = x.size
    if n < 8:
        return None, f"too few values: {n}"
    u = sample.law.cdf(x)
    steps = np.arange(n + 1) / n
    above, below = steps[1:] - u, u - steps[:-1]
    at = int(above.argmax() if above.max() >= below.max() else below.argmax())
    distance = float(max(above[at], below[at]))
    p = float(stats.kstwo.sf(distance, n))
    where = f"at {x[at]:.4g}: share below {steps[at]:.4f}, expected {u[at]:.4f}"
    return p, f"largest distance {distance:.4g} {where}{_of_all(n, sample.array.size, 'values')}"


def tails(sample: Sample) -> Finding:
    """Check that the outermost values are as far out as they should be, neither more nor less."""
    law, x = sample.law, sample.values
    n, (least, most) = sample.array.size - sum(sample.not_finite), sample.ends
    if n == x.size:
        least, most = float(x.min()), float(x.max())
    ends = [(law.low, law.cdf, least), (law.high, law.sf, most)]
    # a law with one bound has its tail on the other side
    open_ends = [end for end in ends if math.isinf(end[0])]
    blur = 0.0 if open_ends else RESOLUTION
    ends = open_ends or ends
    out = min(float(tail(np.array(end))) for _, tail, end in ends)
    reached = of_extreme(min(len(ends) * (out + blur), 1), n)
    missed = math.exp(n * math.log1p(-min(len(ends) * max(out - blur, 0.0), 1 - 1e-16)))
    farthest = max((abs(end[2] - law.mean) / law.std for end in ends), default=0.0)
    word = "near" if missed < reached else "far"
    p = two_sided(reached, missed)
    return p, f"outermost of {n:,} is {farthest:.2f} standard deviations off; p = {p:.2g} for so {word} a one"


def repeats(sample: Sample) -> Finding:
    """Check that no number occurs oftener than it should."""
    distinct, counts = sample.frequent
    n = int(counts.sum())
    chance = special.bdtrc(counts - 1, n, np.minimum(masses(distinct, sample.law), 1))
    chance = np.where(counts > 1, chance, 1.0)
    at = int(chance.argmin())
    coarse = sample.array.dtype.itemsize == 2
    p = min(1.0, float(chance[at]) * (2**16 if coarse else 1 / RESOLUTION))
    seen = _of_all(n, sample.array.size, "values")
    return p, f"{float(distinct[at]):.6g} occurs {counts[at]:,} times among {n:,}{seen}"


def stretches(sample: Sample) -> Finding:
    """Check that no run of elements, in C order, is a copy of another one.

    A window is as many elements as it takes to be sure that two equal ones are copies. Of a large array, only
    the windows with one of 16 values of a hash are compared; of 64 in a row, 98 % have one of these.
    """
    x = sample.selected
    pairs = x.size * (x.size - 1) / 2
    bits = -math.log2(min(sample.coincidence, 1 - 1e-9))
    width = max(2, math.ceil(math.log2(max(pairs, 1) / COPY) / bits))
    if 2 * width > x.size:
        return None, f"too few values: {x.size}"
    words = x.view(f"u{x.dtype.itemsize}")
    keys = np.zeros(x.size - width + 1, np.uint64)
    for k in range(width):
        keys *= np.uint64(0x9E3779B97F4A7C15)
        keys += words[k : k + keys.size]
    keys ^= keys >> np.uint64(29)
    keys *= np.uint64(0xBF58476D1CE4E5B9)
    at = np.arange(keys.size)
    if keys.size > SORTED // 4:
        at = np.flatnonzero(keys >> np.uint64(60) == 0)
        keys = keys[at]
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    # windows that overlap are equal in constant stretches; equal hashes are rarely those of other windows
    for i in same[:1000]:
        first, second = int(at[order[i]]), int(at[order[i + 1]])
        if np.array_equal(words[first : first + width], words[second : second + width]):
            length = _common(words, first, second)
            copies = f"{same.size:,} windows of {width} elements occur again"
            where = f"elements {first:,} and {second:,} (in C order) begin {length:,} equal ones"
            return COPY, f"{where}; {copies}"
    return 1.0, f"no {width} elements in a row occur twice{_of_all(x.size, sample.array.size, 'values')}"


def _common(words: AnyArray, first: int, second: int) -> int:
    length = words.size - second
    differ = np.flatnonzero(words[first : first + length] != words[second:])
    return int(differ[0]) if differ.size else length


#: Checks of the elements by themselves.
ELEMENTS: Mapping[str, Callable[[Sample], Finding]] = {
    "finite": finite,
    "bounds": bounds,
    "mean": mean,
    "variance": variance,
    "distribution": distribution,
    "tails": tails,
    "repeated values": repeats,
    "repeated stretches": stretches,
}


# --- units --------------------------------------------------------------------------------------------------


class Units:
    """The weights of each output, or of each input: a matrix of one row for each."""

    def __init__(self, sample: Sample, axes: tuple[int, ...]) -> None:
        self.sample = sample
        self.axes = axes
        self.rows = self._matrix(sample.array)

    def _matrix(self, array: AnyArray) -> AnyArray:
        moved = np.moveaxis(array, self.axes, range(len(self.axes)))
        count = math.prod(moved.shape[: len(self.axes)])
        return moved.reshape(count, array.size // count)

    @cached_property
    def numbers(self) -> npt.NDArray[np.intp]:
        """Those that are compared."""
        count = len(self.rows)
        return np.arange(0, count, -(-count // UNITS))

    @cached_property
    def scores(self) -> npt.NDArray[np.float32]:
        """Their weights, mapped to what are independent standard normal numbers if the law holds.

        A variance that is wrong is told once, by its own check: here it is taken as it is.
        """
        sample = self.sample
        step = -(-self.rows.shape[1] // max(UNITS, VALUES // len(self.numbers)))
        if sample.array.size <= VALUES:
            scores = self._matrix(sample.scores)[self.numbers, ::step]
        else:
            chosen = np.ascontiguousarray(self.rows[self.numbers, ::step])
            scores = _scores(sample.law, undo_rounding(chosen, sample.law))
        ratio, _, _, p = variance_ratio(sample)
        return (
            scores * np.float32(1 / math.sqrt(ratio)) if p is not None and p < WRONG and ratio > 0 else scores
        )

    @property
    def seen(self) -> str:
        """What part of the whole that is, in words."""
        some, each = self.scores.shape
        return _of_all(some, len(self.rows), "units") + _of_all(each, self.rows.shape[1], "weights of each")


def duplicates(units: Units) -> Finding:
    """Check that no two units are equal, or each other's negative."""
    rows = units.rows
    count, width = rows.shape
    if count < 2:
        return None, "one unit"
    known: dict[bytes, tuple[int, bytes]] = {}
    copies, example = 0, ""
    for number, row in enumerate(rows):
        plain, negated = (hashlib.blake2b(x.tobytes(), digest_size=16).digest() for x in (row, -row))
        first, sign = known.setdefault(min(plain, negated), (number, plain))
        if first != number:
            copies += 1
            example = example or f"{number} {'equals' if sign == plain else 'is the negative of'} {first}"
    if not copies:
        return 1.0, f"all {count:,} differ, and from each other's negatives"
    expected = count * (count - 1) * math.exp(width * math.log(min(units.sample.coincidence, 1.0)))
    return at_least(copies, expected), f"{copies:,} of {count:,} are copies: unit {example}"


def correlation(units: Units) -> Finding:
    """Check that no two units point in the same or in opposite directions.

    The squared cosine of two independent normal vectors of d components follows Beta(1/2, (d - 1)/2).
    """
    scores = units.scores
    count, width = scores.shape
    if count < 2 or width < 2:
        return None, "too few weights"
    lengths = np.linalg.norm(scores, axis=1, keepdims=True)
    directions = scores / np.maximum(lengths, np.float32(1e-30))
    best, pair = -1.0, (0, 0)
    block = 1024
    for first in range(0, count, block):
        cosines = np.abs(directions[first : first + block] @ directions[first:].T)
        cosines[np.tril_indices(len(cosines), 0, cosines.shape[1])] = 0
        i, j = divmod(int(cosines.argmax()), cosines.shape[1])
        if cosines[i, j] > best:
            best, pair = float(cosines[i, j]), (first + i, first + j)
    a, b = (directions[i].astype(np.float64) for i in pair)
    a, b = a / (np.linalg.norm(a) or 1), b / (np.linalg.norm(b) or 1)
    cosine = float(a @ b)
    sine = float(np.linalg.norm(b - cosine * a))  # without the cancellation in 1 - cosine^2
    p = float(special.betainc((width - 1) / 2, 0.5, min(sine**2, 1.0)))
    i, j = units.numbers[list(pair)]
    evidence = f"largest {cosine:+.4f}, of units {i} and {j}{units.seen}"
    return of_extreme(p, count * (count - 1) / 2), evidence


def unit_means(units: Units) -> Finding:
    """Check that the units' means are as alike as chance makes them."""
    scores = units.scores
    return _alike(scores.sum(axis=1, dtype=np.float64) / math.sqrt(scores.shape[1]), units)


def unit_variances(units: Units) -> Finding:
    """Check that the units' variances are as alike as chance makes them."""
    scores = units.scores
    half, squares = scores.shape[1] / 2, np.einsum("ij,ij->i", scores, scores, dtype=np.float64)
    below, above = special.gammainc(half, squares / 2), special.gammaincc(half, squares / 2)
    lower = below < above
    tail = special.ndtri(np.maximum(np.where(lower, below, above), 1e-300))
    return _alike(np.where(lower, tail, -tail), units)


def _alike(scores: Float64s, units: Units) -> Finding:
    """Judge dispersion and outermost of what are independent standard normal numbers, but for a shift."""
    n = scores.size
    if n < 2:
        return None, "one unit"
    deviations = scores - scores.mean()
    squares = float(deviations @ deviations)
    at = int(np.abs(deviations).argmax())
    farthest = float(deviations[at]) * math.sqrt(n / (n - 1))
    spread = two_sided(float(special.chdtr(n - 1, squares)), float(special.chdtrc(n - 1, squares)))
    extreme = of_extreme(2 * float(special.ndtr(-abs(farthest))), n)
    dispersion = f"dispersion {squares / (n - 1):.4g} times that of chance"
    outermost = f"unit {units.numbers[at]} farthest off: z = {farthest:+.2f}"
    return min(1.0, 2 * min(spread, extreme)), f"{dispersion}; {outermost}{units.seen}"


#: Checks of units.
UNIT_CHECKS: Mapping[str, Callable[[Units], Finding]] = {
    "duplicates": duplicates,
    "correlation": correlation,
    "means": unit_means,
    "variances": unit_variances,
}
