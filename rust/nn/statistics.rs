//! What many numbers are like: moments, range, slopes.
//!
//! One sweep gives the sums of `d`, `d^2` and `d^3` in `f64`, where `d` is the distance from a member of what is summed:
//! however far from zero the numbers lie, their spread is not lost. Central moments of parts make those of the whole
//! (Chan, Golub & `LeVeque` 1979; Pébay 2008), in the order of the parts (Law 2).

use super::real::Real;
use super::{CHUNK, Run, for_each, zeros};
use crate::dispatch::{self, Kernel};
use crate::error::Result;
use crate::simd::{Simd, vector_by_vector};

/// Sums that run side by side.
pub(super) const SUMS: usize = 16;

/// Elements that are worth a thread of their own.
const MIN_ELEMENTS: usize = 1 << 17;

/// `run` on no more threads than this many elements are worth.
pub(super) fn worth(run: Run<'_>, elements: usize) -> Run<'_> {
    Run { threads: run.threads.min(elements / MIN_ELEMENTS + 1), ..run }
}

/// Mean, spread, skew and range of numbers. Of none of them, everything is NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    count: usize,
    mean: f64,
    /// Sums of the squares and cubes of the distances from the mean.
    square: f64,
    cube: f64,
    low: f64,
    high: f64,
    nonfinite: usize,
}

impl Default for Moments {
    /// Of no numbers.
    fn default() -> Self {
        let nan = f64::NAN;
        Self { count: 0, mean: nan, square: nan, cube: nan, low: nan, high: nan, nonfinite: 0 }
    }
}

impl Moments {
    /// Of all these numbers.
    pub fn of<T: Real>(values: &[T]) -> Self {
        let Some(&first) = values.first() else {
            return Self::default();
        };
        let about = if first.is_finite() { first } else { T::zero() };
        let Sweep { sums: [s1, s2, s3], low, high } = dispatch::run(Distances { values, about });
        let n = values.len() as f64;
        let mean = s1 / n;
        // The squares of finite numbers overflow only in float64, and there alone have to be told from infinities.
        let (nonfinite, nan) = if s2.is_finite() { (0, false) } else { wild(values) };
        let range = |end: T| if nan { f64::NAN } else { end.widen() };
        Self {
            count: values.len(),
            mean: about.widen() + mean,
            square: if s2.is_finite() { (s2 - s1 * mean).max(0.0) } else { s2 },
            cube: s3 - mean * (3.0 * s2 - 2.0 * s1 * mean),
            low: range(low),
            high: range(high),
            nonfinite,
        }
    }

    /// Of all these numbers, in chunks that threads share.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when there is not enough memory; [`crate::Error::Interrupted`] when stopped.
    pub fn over<T: Real>(values: &[T], run: Run<'_>) -> Result<Self> {
        let mut parts: Vec<Self> = zeros(values.len().div_ceil(CHUNK))?;
        let chunks = parts.iter_mut().zip(values.chunks(CHUNK));
        for_each(worth(run, values.len()), chunks.len(), chunks, |(part, values)| {
            *part = Self::of(values);
        })?;
        Ok(parts.into_iter().fold(Self::default(), Self::and))
    }

    /// Of these and those together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let (a, b) = match (self.count, other.count) {
            (0, _) => return other,
            (_, 0) => return self,
            (a, b) => (a as f64, b as f64),
        };
        let n = a + b;
        let (share, d) = (b / n, other.mean - self.mean);
        let between = d * d * a * share;
        Self {
            count: self.count + other.count,
            mean: self.mean + d * share,
            square: self.square + other.square + between,
            cube: self.cube
                + other.cube
                + between * d * (a - b) / n
                + 3.0 * d * (a * other.square - b * self.square) / n,
            // A NaN of either stays.
            low: if self.low < other.low || self.low.is_nan() { self.low } else { other.low },
            high: if self.high > other.high || self.high.is_nan() { self.high } else { other.high },
            nonfinite: self.nonfinite + other.nonfinite,
        }
    }

    /// How many numbers.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Their mean.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Mean of the squares of the distances from the mean.
    pub fn variance(&self) -> f64 {
        self.square / self.count as f64
    }

    /// Their standard deviation, that of the numbers as a population.
    pub fn std(&self) -> f64 {
        self.variance().sqrt()
    }

    /// Mean cube of the standardized numbers; NaN where all are the same.
    pub fn skew(&self) -> f64 {
        self.cube / self.count as f64 / (self.variance() * self.std())
    }

    /// Mean of the squares.
    pub fn mean_square(&self) -> f64 {
        self.variance() + self.mean * self.mean
    }

    /// Root of the sum of the squares.
    pub fn norm(&self) -> f64 {
        (self.count as f64 * self.mean_square()).sqrt()
    }

    /// The smallest; NaN where one is.
    pub fn low(&self) -> f64 {
        self.low
    }

    /// The largest; NaN where one is.
    pub fn high(&self) -> f64 {
        self.high
    }

    /// How many are infinite or NaN.
    pub fn nonfinite(&self) -> usize {
        self.nonfinite
    }
}

/// How many are not finite, and whether one is a NaN.
#[cold]
fn wild<T: Real>(values: &[T]) -> (usize, bool) {
    let count = values.iter().filter(|value| !value.is_finite()).count();
    (count, values.iter().any(|value| value.is_nan()))
}

/// The sum of what runs side by side, in a fixed order.
#[inline(always)]
fn fold(mut sums: [f64; SUMS]) -> f64 {
    let mut half = SUMS / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

/// Sums of the first three powers of the distances from `about`, and the range.
struct Distances<'a, T> {
    values: &'a [T],
    about: T,
}

struct Sweep<T> {
    sums: [f64; 3],
    low: T,
    high: T,
}

impl<T: Real> Kernel for Distances<'_, T> {
    type Output = Sweep<T>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Sweep<T> {
        let Self { values, about } = self;
        let from = about.widen();
        let (mut s1, mut s2, mut s3) = ([0.0; SUMS], [0.0; SUMS], [0.0; SUMS]);
        let (mut low, mut high) = ([T::infinity(); SUMS], [T::neg_infinity(); SUMS]);
        let mut add = |lane: usize, value: T| {
            let d = value.widen() - from;
            s1[lane] += d;
            s2[lane] += d * d;
            s3[lane] += d * d * d;
            low[lane] = if value < low[lane] { value } else { low[lane] };
            high[lane] = if value > high[lane] { value } else { high[lane] };
        };
        let (whole, rest) = values.as_chunks::<SUMS>();
        for values in whole {
            vector_by_vector();
            for lane in 0..SUMS {
                add(lane, values[lane]);
            }
        }
        for (lane, &value) in rest.iter().enumerate() {
            add(lane, value);
        }
        let least = low.into_iter().fold(T::infinity(), |a, b| if b < a { b } else { a });
        let most = high.into_iter().fold(T::neg_infinity(), |a, b| if b > a { b } else { a });
        Sweep { sums: [fold(s1), fold(s2), fold(s3)], low: least, high: most }
    }
}

/// How steep an activation is over a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Slopes {
    count: usize,
    square: f64,
    flat: usize,
}

impl Slopes {
    /// Of all these f'(z); below `threshold` one is flat.
    pub fn of<T: Real>(slopes: &[T], threshold: T) -> Self {
        let (square, flat) = dispatch::run(Steepness { slopes, threshold });
        Self { count: slopes.len(), square, flat }
    }

    /// Of all these, in chunks that threads share.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when there is not enough memory; [`crate::Error::Interrupted`] when stopped.
    pub fn over<T: Real>(slopes: &[T], threshold: T, run: Run<'_>) -> Result<Self> {
        let mut parts: Vec<Self> = zeros(slopes.len().div_ceil(CHUNK))?;
        let chunks = parts.iter_mut().zip(slopes.chunks(CHUNK));
        for_each(worth(run, slopes.len()), chunks.len(), chunks, |(part, slopes)| {
            *part = Self::of(slopes, threshold);
        })?;
        Ok(parts.into_iter().fold(Self::default(), Self::and))
    }

    /// Of these and those together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            square: self.square + other.square,
            flat: self.flat + other.flat,
        }
    }

    /// Mean of f'(z)^2.
    pub fn mean_square(&self) -> f64 {
        self.square / self.count as f64
    }

    /// Share of the flat ones.
    pub fn saturated(&self) -> f64 {
        self.flat as f64 / self.count as f64
    }
}

struct Steepness<'a, T> {
    slopes: &'a [T],
    threshold: T,
}

impl<T: Real> Kernel for Steepness<'_, T> {
    type Output = (f64, usize);

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> (f64, usize) {
        let Self { slopes, threshold } = self;
        let (mut squares, mut flat) = ([0.0; SUMS], [0.0; SUMS]);
        let mut add = |lane: usize, slope: T| {
            let wide = slope.widen();
            squares[lane] += wide * wide;
            flat[lane] += if slope.abs() < threshold { 1.0 } else { 0.0 };
        };
        let (whole, rest) = slopes.as_chunks::<SUMS>();
        for slopes in whole {
            vector_by_vector();
            for lane in 0..SUMS {
                add(lane, slopes[lane]);
            }
        }
        for (lane, &slope) in rest.iter().enumerate() {
            add(lane, slope);
        }
        (fold(squares), fold(flat) as usize)
    }
}
