"""What a distribution promises about the numbers drawn from it, after they were rounded to their dtype.

A `Law` is a distribution function with its moments. A rounded number stands for all reals that round to it,
its cell. Where cells are so wide that statistics would see them (16-bit dtypes), `undo_rounding` draws one of
those reals by the law: if the array follows the law, then so do these, exactly, and every statistic of
continuous numbers holds. At the end, what turns statistics into p-values. Needs SciPy.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

from initcore._core import Initializer, TruncatedNormal, Uniform

Float64s: TypeAlias = npt.NDArray[np.float64]
Map: TypeAlias = Callable[[Float64s], Float64s]
Cells: TypeAlias = tuple[Float64s, Float64s, Float64s, Float64s]

#: Float32 numbers are made from words of 23 bits or more, whoever makes them: what is finer than this
#: probability says nothing about a law.
RESOLUTION = 2.0**-23
#: Cells are undone where they are wider than this, in standard deviations of the law.
FINE = 1e-5
#: Elements that are worked on at once.
PIECE = 1 << 15


@dataclass(frozen=True)
class Law:
    """A continuous distribution.

    Attributes
    ----------
    mean, std : float
    low, high : float
        Its support; maybe infinite.
    moments : tuple of float
        The third to the sixth central moment, in units of `std`.
    cdf, sf, ppf : callable
        Distribution function; one minus it, without cancellation; the inverse of the distribution function.
    normal : bool
        Whether it is normal.
    half_open : bool
        Whether the upper bound itself is never drawn, nor reached by rounding.
    """

    mean: float
    std: float
    low: float
    high: float
    moments: tuple[float, float, float, float]
    cdf: Map
    sf: Map
    ppf: Map
    normal: bool = False
    half_open: bool = False

    def scores(self, x: Float64s) -> Float64s:
        """Map numbers that follow the law to standard normal ones, monotonically."""
        if self.normal:
            return (x - self.mean) / self.std
        below = self.cdf(x)
        lower = below < 0.5
        tail = np.where(lower, below, self.sf(x))
        bounded = math.isfinite(self.low) and math.isfinite(self.high)
        score: Float64s = special.ndtri(np.maximum(tail, RESOLUTION / 2 if bounded else 1e-300))
        signed: Float64s = np.where(lower, score, -score)
        return signed


def _law_of(init: Initializer) -> Law:
    """Give the law of Normal, Uniform or TruncatedNormal."""
    config = init.get_config()
    if isinstance(init, Uniform):
        return _uniform(**config)
    if isinstance(init, TruncatedNormal):
        return _truncated_normal(**config)
    return _normal(**config)


law_of = functools.cache(_law_of)


def _normal(mean: float, std: float) -> Law:
    return Law(
        mean,
        std,
        -math.inf,
        math.inf,
        (0.0, 3.0, 0.0, 15.0),
        cdf=lambda x: special.ndtr((x - mean) / std),
        sf=lambda x: special.ndtr((mean - x) / std),
        ppf=lambda u: mean + std * special.ndtri(u),
        normal=True,
    )


def _uniform(low: float, high: float) -> Law:
    width = high - low
    return Law(
        low + width / 2,
        width / math.sqrt(12),
        low,
        high,
        (0.0, 9 / 5, 0.0, 27 / 7),
        cdf=lambda x: np.clip((x - low) / width, 0, 1),
        sf=lambda x: np.clip((high - x) / width, 0, 1),
        ppf=lambda u: low + width * u,
        half_open=True,
    )


def _truncated_normal(mean: float, std: float, low: float, high: float) -> Law:
    if low > 0:  # the mirror image, whose probabilities do not cancel
        mirror = _truncated_normal(-mean, std, -high, -low)
        third, fourth, fifth, sixth = mirror.moments
        return Law(
            -mirror.mean,
            mirror.std,
            -mirror.high,
            -mirror.low,
            (-third, fourth, -fifth, sixth),
            cdf=lambda x: mirror.sf(-x),
            sf=lambda x: mirror.cdf(-x),
            ppf=lambda u: -mirror.ppf(1 - u),
        )
    center, spread, moments = _truncated_moments(low, high)
    if high < -8:  # far in the tail: the probabilities there, relative to that below `high`, by logarithms
        at_high = special.log_ndtr(high)
        empty = np.exp(special.log_ndtr(low) - at_high)

        def share_below(x: Float64s) -> Float64s:
            z = np.clip((x - mean) / std, low, high)
            share: Float64s = (np.exp(special.log_ndtr(z) - at_high) - empty) / (1 - empty)
            return share

        def share_above(x: Float64s) -> Float64s:
            z = np.clip((x - mean) / std, low, high)
            share: Float64s = -np.expm1(special.log_ndtr(z) - at_high) / (1 - empty)
            return share

        return Law(
            mean + std * center,
            std * spread,
            mean + std * low,
            mean + std * high,
            moments,
            share_below,
            share_above,
            ppf=lambda u: mean + std * special.ndtri_exp(at_high + np.log(empty + (1 - empty) * u)),
        )
    below, above = special.ndtr(low), special.ndtr(-high)
    mass = special.ndtr(high) - below

    def cdf(x: Float64s) -> Float64s:
        share: Float64s = np.clip((special.ndtr((x - mean) / std) - below) / mass, 0, 1)
        return share

    def sf(x: Float64s) -> Float64s:
        z = (x - mean) / std
        # P(z < Z < high), from the side on which it does not cancel
        left = special.ndtr(high) - special.ndtr(z)
        right = special.ndtr(-z) - above
        share: Float64s = np.clip(np.where(z < 0, left, right) / mass, 0, 1)
        return share

    return Law(
        mean + std * center,
        std * spread,
        mean + std * low,
        mean + std * high,
        moments,
        cdf,
        sf,
        ppf=lambda u: mean + std * special.ndtri(below + mass * u),
    )


def _truncated_moments(low: float, high: float) -> tuple[float, float, tuple[float, float, float, float]]:
    """Mean, standard deviation and moments of a standard normal within bounds, `low` <= 0, by quadrature."""
    # beyond these ends the density has fallen by e^-50 at least
    peak = min(high, 0.0)
    reach = 50 / max(5.0, -peak)
    a, b = max(low, peak - reach), min(high, 10.0)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    z = (a + b) / 2 + (b - a) / 2 * nodes
    weights = weights * np.exp((peak - z) * (peak + z) / 2)
    weights /= weights.sum()
    center = float(weights @ z)
    spread = math.sqrt(float(weights @ (z - center) ** 2))
    third, fourth, fifth, sixth = (float(weights @ ((z - center) / spread) ** k) for k in (3, 4, 5, 6))
    return center, spread, (third, fourth, fifth, sixth)


def coordinate(n: int, radius: float) -> Law:
    """Give the law of one coordinate of a uniform point on the sphere in n >= 2 dimensions.

    Its square, in units of the squared radius, follows Beta(1/2, (n - 1)/2).
    """

    def cdf(x: Float64s) -> Float64s:
        half: Float64s = special.betainc(0.5, (n - 1) / 2, np.minimum((x / radius) ** 2, 1)) / 2
        return np.where(x < 0, 0.5 - half, 0.5 + half)

    def sf(x: Float64s) -> Float64s:
        tail: Float64s = special.betainc((n - 1) / 2, 0.5, np.maximum(1 - (x / radius) ** 2, 0)) / 2
        return np.where(x < 0, 1 - tail, tail)

    def ppf(u: Float64s) -> Float64s:
        size: Float64s = radius * np.sqrt(special.betaincinv(0.5, (n - 1) / 2, np.abs(2 * u - 1)))
        return np.copysign(size, u - 0.5)

    moments = (0.0, 3 * n / (n + 2), 0.0, 15 * n * n / ((n + 2) * (n + 4)))
    return Law(0.0, radius / math.sqrt(n), -radius, radius, moments, cdf, sf, ppf)


def is_coarse(dtype: np.dtype[Any], law: Law) -> bool:
    """Say whether numbers of the dtype lie so far apart that statistics of the law would see it."""
    return _epsilon(dtype) * (abs(law.mean) + law.std) > FINE * law.std


def _epsilon(dtype: np.dtype[Any]) -> float:
    one = np.ones((), dtype)
    return float(np.nextafter(one, np.full((), 2, dtype))) - 1


def cells(x: npt.NDArray[Any], law: Law) -> Cells:
    """Give the intervals that round to these numbers: both ends, the probability below, and that within.

    No number of a law is rounded past its bounds.
    """
    infinity = np.array(np.inf, x.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        down = np.nextafter(x, -infinity).astype(np.float64)
        up = np.nextafter(x, infinity).astype(np.float64)
        wide = x.astype(np.float64)
        first = down < law.low
        last = up >= law.high if law.half_open else up > law.high
        below = np.where(first, -np.inf, (wide + down) / 2)
        above = np.where(last, np.inf, (wide + up) / 2)
        start = law.cdf(below)
        return below, above, start, law.cdf(above) - start


def _cells_by_table(law: Law, dtype: np.dtype[Any]) -> Callable[[npt.NDArray[Any], Law], Cells]:
    """Give `cells` for more numbers than a 16-bit dtype has different ones."""
    tables = cells(np.arange(1 << 16, dtype=np.uint16).view(dtype), law)

    def look_up(x: npt.NDArray[Any], _: Law) -> Cells:
        bits = x.view(np.uint16)
        below, above, start, mass = (table[bits] for table in tables)
        return below, above, start, mass

    return look_up


def masses(x: npt.NDArray[Any], law: Law) -> Float64s:
    """Give the probability of exactly these numbers, or an upper bound of it where the dtype is fine."""
    return np.maximum(cells(x, law)[3], RESOLUTION)


def undo_rounding(x: npt.NDArray[Any], law: Law) -> Float64s:
    """Give for each number one of the reals that round to it, drawn by the law; of a fine dtype, itself."""
    if not is_coarse(x.dtype, law):
        return x.astype(np.float64)
    # Seeded by the numbers themselves: audits repeat, and different arrays have independent draws.
    seed = hashlib.blake2b(x.tobytes(), digest_size=16).digest()
    rng = np.random.default_rng(int.from_bytes(seed, "little"))
    find = _cells_by_table(law, x.dtype) if x.dtype.itemsize == 2 and x.size > 1 << 16 else cells

    def draw(x: npt.NDArray[Any]) -> Float64s:
        below, above, start, mass = find(x, law)
        real = np.clip(law.ppf(np.clip(start + mass * rng.random(x.shape), 0, 1)), below, above)
        # where the law has nothing, an outlier stays what it is
        return np.where(mass > 1e-14, real, x.astype(np.float64))

    return in_pieces(draw, x, np.float64)


def in_pieces(function: Callable[[Any], Any], x: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Apply a function of each element, to as many at once as the cache holds."""
    flat = x.reshape(-1)
    out = np.empty(flat.size, dtype)
    for start in range(0, flat.size, PIECE):
        piece = slice(start, start + PIECE)
        out[piece] = function(flat[piece])
    return out.reshape(x.shape)


# --- p-values -----------------------------------------------------------------------------------------------


def two_sided(below: float, above: float) -> float:
    """Give the p-value of a statistic with these probabilities of a smaller and of a larger one."""
    return min(1.0, 2 * min(below, above))


def of_extreme(p: float, count: float) -> float:
    """Give the p-value of the least of so many p-values."""
    return 1.0 if p >= 1 else -math.expm1(count * math.log1p(-p))


def pearson3(z: float, skewness: float) -> float:
    """Give the two-sided p-value of a standardized statistic, by the gamma distribution of its skewness."""
    if skewness < 0:
        z, skewness = -z, -skewness
    if skewness < 1e-4:
        return two_sided(float(special.ndtr(z)), float(special.ndtr(-z)))
    shape = 4 / skewness**2
    at = max(shape + z * math.sqrt(shape), 0.0)
    return two_sided(float(special.gammainc(shape, at)), float(special.gammaincc(shape, at)))


def pearson3_quantile(probability: float, skewness: float) -> float:
    """Give the standardized value below which such a statistic lies with this probability; skewness >= 0."""
    if skewness < 1e-4:
        return float(special.ndtri(probability))
    shape = 4 / skewness**2
    return (float(special.gammaincinv(shape, probability)) - shape) / math.sqrt(shape)


def at_least(count: int, expected: float) -> float:
    """Give the probability of a Poisson count of so many or more."""
    return 1.0 if count == 0 else float(special.pdtrc(count - 1, expected))
