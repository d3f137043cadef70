"""A batch of inputs, on its way up the layers: how alike they are, and what of that is chance.

The correlation c of two inputs goes through the correlation map of each layer. In a layer of n units it
scatters from network to network, by the order 1/n: so do all of them at once, since units serve all inputs,
and each by itself. Correlations and the logarithms of lengths have variances here, to first order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .hermite import power_series
from .maps import non_negative
from .prediction import mean_and_spread

if TYPE_CHECKING:
    import numpy.typing as npt

    from initcore.quadrature import Floats

    from .hermite import Series
    from .prediction import Layer

_ROWS = 32  # inputs whose cosines are followed
_MORE_ROWS = 256  # inputs whose mean squared cosine is taken

# Expectations over what all correlations have in common.
_COMMON = np.polynomial.hermite_e.hermegauss(3)

#: A mean and a variance, or a number and its weight.
Pair = tuple[float, float]
NOTHING = (np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the statistics of layers depend on in a batch of inputs.

    Attributes
    ----------
    mean_square : float
        Of the components of all inputs.
    spread : float
        Variance of the logarithm of an input's mean square.
    cosines : ndarray, (rows, rows)
        Between some of the inputs; 32 are enough.
    batch : int
        How many inputs there are in all.
    mean_cosine, mean_square_cosine : float, optional
        Mean and mean square over the pairs of different inputs of the whole batch, which `cosines` are
        brought to. By default their own.
    """

    mean_square: float
    spread: float
    cosines: Floats
    batch: int
    mean_cosine: float | None = None
    mean_square_cosine: float | None = None

    def __post_init__(self) -> None:
        """Check what was given."""
        non_negative("mean_square", self.mean_square)
        non_negative("spread", self.spread)
        c = np.asarray(self.cosines, dtype=np.float64)
        square = c.ndim == 2 and 1 <= c.shape[0] == c.shape[1] <= self.batch
        if not square or not (np.abs(c) <= 1 + 1e-6).all():
            msg = (
                f"cosines must be a square matrix of numbers from -1 to 1, of {self.batch} rows at most, "
                f"got shape {c.shape}"
            )
            raise ValueError(msg)
        object.__setattr__(self, "cosines", np.clip(c, -1.0, 1.0))

    @classmethod
    def of(cls, x: npt.ArrayLike) -> Inputs:
        """Describe a batch; x: (batch, inputs)."""
        array: Floats = np.asarray(x, dtype=np.float64)
        lengths = np.sqrt(np.sum(array**2, axis=1, keepdims=True))
        directions = np.divide(array, lengths, out=np.zeros_like(array), where=lengths > 0)
        batch, present = len(array), int(np.count_nonzero(lengths))

        def some(count: int) -> Floats:
            found: Floats = directions[np.linspace(0, batch - 1, min(batch, count)).round().astype(int)]
            return found

        mean = square = None
        if batch > _ROWS:
            mean = float((np.sum(directions.sum(axis=0) ** 2) - present) / (batch * (batch - 1)))
            more = some(_MORE_ROWS)
            gram = more @ more.T
            square = float((np.sum(gram**2) - np.sum(np.diag(gram) ** 2)) / (len(more) * (len(more) - 1)))
        rows = some(_ROWS)
        return cls(*mean_and_spread(array), rows @ rows.T, batch, mean, square)

    def pairs(self) -> Floats:
        """Give the cosines of pairs of different inputs, with the mean and mean square of the whole batch."""
        c: Floats = self.cosines[np.triu_indices(len(self.cosines), 1)]
        if not c.size:
            return c
        mean = c.mean() if self.mean_cosine is None else self.mean_cosine
        if self.mean_square_cosine is None:
            factor = 1.0
        else:
            spread = max(self.mean_square_cosine - mean**2, 0.0)
            factor = float(np.sqrt(spread / c.var())) if c.var() > 0 else 1.0
        moved: Floats = np.clip(mean + factor * (c - c.mean()), -1.0, 1.0)
        return moved


class Batch:
    """Pairs of inputs: their correlation, and how far that and their lengths scatter among networks."""

    def __init__(self, inputs: Inputs) -> None:
        self.rows, self.size = len(inputs.cosines), inputs.batch
        # Pairs of different inputs, and last an input with itself.
        self.c = np.append(inputs.pairs(), 1.0)
        self.c_variance = np.zeros_like(self.c)
        self.common = 0.0  # variance of what all correlations have in common
        self.apart = 0.0  # covariance of the correlations of two pairs, root mean square: the rest of it
        self.handed = 0.0  # of `differences`, what came from below, and not from the noise of this layer
        self.lengths = np.zeros_like(self.c)  # covariances of the logarithms of mean squares

    def enter(self, share: float) -> None:
        """Go from outputs y to the sums z above them; biases are the same for all inputs."""
        self.c = share * self.c + (1 - share)
        self.c_variance = share**2 * self.c_variance
        self.common *= share**2
        self.apart *= share**2
        self.lengths = share**2 * self.lengths

    def merge(self) -> None:
        """Make all inputs the same."""
        self.c[:] = 1.0
        self.c_variance[:] = self.lengths[:] = self.common = self.apart = self.handed = 0.0

    def average(self, pairs: Floats) -> Floats:
        """Average over all pairs of the batch, an input with itself among them; pairs: (..., pairs)."""
        alone = 1 / self.size
        others = pairs[..., :-1]
        found: Floats = pairs[..., -1] if not others.shape[-1] else (1 - alone) * others.mean(axis=-1)
        return found + alone * pairs[..., -1] if others.shape[-1] else found

    def powers(self) -> Floats:
        """Give the powers of c at two places, which stand for its law: (degrees + 1, places, pairs)."""
        step = np.minimum(np.sqrt(self.c_variance), 1 - np.abs(self.c))
        return power_series(np.stack([self.c - step, self.c + step]))

    def independent(self) -> float:
        """Give the number of independent inputs that are as many as the batch, beside what all share.

        Of the correlations that are left: ``(sum sqrt(eigenvalue))^2 / sum eigenvalue`` (Galwey 2009).
        """
        rest = np.eye(self.rows)
        rest[np.triu_indices(self.rows, 1)] = (self.c[:-1] - self.rho) / max(1 - self.rho, 1e-12)
        values = np.maximum(np.linalg.eigvalsh(rest, UPLO="U"), 0.0)
        return float(self.size * np.sqrt(values).sum() ** 2 / values.sum() / self.rows)

    @property
    def rho(self) -> float:
        """The mean correlation of different inputs."""
        return float(self.c[:-1].mean()) if self.c.size > 1 else 1.0

    def common_law(self) -> list[Pair]:
        """Give numbers and weights that stand for the law of the correlation that all pairs have in common.

        Its distance from 1 is log-normal.
        """
        distance = max(1 - max(self.rho, 0.0), 1e-12)
        variance = float(np.log1p(min(self.common / distance**2, 2.0)))
        scores, weights = normal_nodes(_COMMON, variance)
        rhos = np.maximum(1 - distance * np.exp(scores - variance / 2), 0.0)
        return list(zip(rhos.tolist(), weights.tolist(), strict=True))

    def differences(self) -> float:
        """Give the mean square of correlations, without what they have in common."""
        if self.c.size == 1:
            return 0.0
        square = float(np.mean(self.c[:-1] ** 2 + self.c_variance[:-1]))
        return max(square - self.rho**2 - self.common, 0.0)

    def length_variances(self, spread: float) -> Pair:
        """Give the variance of log Q among networks, and that among the inputs of a network."""
        common = float(self.average(self.lengths))
        return common, max(float(self.lengths[-1]) - common, 0.0) + spread

    def leave(self, series: Series, layer: Layer, powers: Floats, n: int) -> None:
        """Go from z to outputs y, of n units."""
        rho = self.rho
        common = sum(w * series.common_noise(r, self.size) for r, w in self.common_law())
        differences = self.differences()
        noise = series.square_noise @ powers.mean(axis=1)
        self.lengths = layer.law.value_rate**2 * self.lengths + np.log1p(np.maximum(noise, 0.0) / n)
        self.c, self.c_variance = series.carry(powers, n)
        slope2 = series.slope(rho) ** 2
        self.common = slope2 * self.common + common / n
        self.apart = slope2 * (self.apart + (1 - series.kept) * differences / n)
        self.handed = min(slope2 * differences, self.differences())

    def effective_rank(self) -> Pair:
        """Give the mean and the variance of 1 / mean c^2."""
        if self.c.size == 1:
            return NOTHING
        square = np.mean(self.c[:-1] ** 2 + self.c_variance[:-1])  # 0 where nothing arrives
        # Of c^2, by what correlations have in common; by the rest, for pairs of four different inputs; for
        # pairs that share an input; and for a pair itself.
        noise = 4 * self.rho**2 * self.common + 4 * self.apart**2
        noise += 16 / self.size * self.handed * self.apart
        noise += 4 * (self.differences() ** 2 - self.handed**2) / (self.size * (self.size - 1))
        relative = noise / square**2
        return (1 + relative) / square, relative / square**2


def normal_nodes(rule: tuple[Floats, Floats], variance: float) -> tuple[Floats, Floats]:
    """Give numbers and weights that stand for the law N(0, variance)."""
    if variance < 1e-12:
        return np.zeros(1), np.ones(1)
    return np.sqrt(variance) * rule[0], rule[1] / rule[1].sum()
