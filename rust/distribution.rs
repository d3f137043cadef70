//! Random word -> value: the distributions, as monotone maps of one word each.
//!
//! A [`Distribution`] is checked once, in float64; [`Map`]s are its parameters rounded to the type of the
//! values, applied to lanes of words. All maps of one word are inverse distribution functions, so the same
//! word gives every scheme the same quantile: `he_normal` and `xavier_normal` of one name are scaled copies.

use crate::error::{Result, invalid};
use crate::gaussian;
use crate::quantile::quantiles;
use crate::sample::Sample;

/// The law of one element. Construct through the checked functions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Always this value.
    Constant(f64),
    /// Uniform on [low, high).
    Uniform {
        /// The smallest value.
        low: f64,
        /// The bound that is never reached.
        high: f64,
    },
    /// Normal with this mean and standard deviation.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// `mean + std * Z` with Z standard normal, given `low <= Z <= high`.
    TruncatedNormal {
        /// The mean before truncation.
        mean: f64,
        /// The standard deviation before truncation.
        std: f64,
        /// The lower bound, in standard deviations from the mean.
        low: f64,
        /// The upper bound, in standard deviations from the mean.
        high: f64,
    },
}

/// Truncation must leave this much probability: beyond, float32 has no subnormal room left for the tail.
const SMALLEST_MASS: f64 = 1.0 / (1u128 << 90) as f64;

/// The standard deviation of a standard normal truncated at +-2.
pub const STD_OF_TRUNCATED_AT_2: f64 = 0.879_625_661_034_239_8;

impl Distribution {
    /// Checks the parameters.
    ///
    /// # Errors
    /// A parameter is not finite (bounds of the truncated normal may be infinite), `std` is negative,
    /// `low > high`, or a truncation leaves less than 2^-90 of the probability.
    pub fn checked(self) -> Result<Self> {
        let finite = |name: &str, x: f64| {
            if x.is_finite() { Ok(()) } else { invalid!("{name} must be finite, got {x}") }
        };
        let non_negative = |name: &str, x: f64| {
            if x >= 0.0 { finite(name, x) } else { invalid!("{name} must be >= 0, got {x}") }
        };
        match self {
            Self::Constant(_) => {}
            Self::Uniform { low, high } => {
                finite("low", low)?;
                finite("high", high)?;
                if low > high {
                    return invalid!("low must not be above high, got low={low}, high={high}");
                }
                finite("high - low", high - low)?;
            }
            Self::Normal { mean, std } => {
                finite("mean", mean)?;
                non_negative("std", std)?;
            }
            Self::TruncatedNormal { mean, std, low, high } => {
                finite("mean", mean)?;
                non_negative("std", std)?;
                if low.is_nan() || high.is_nan() || low >= high {
                    return invalid!("low must be below high, got low={low}, high={high}");
                }
                let mass = gaussian::interval(low, high).mass;
                if mass < SMALLEST_MASS {
                    return invalid!(
                        "the interval [{low}, {high}] holds {mass:e} of the standard normal \
                         distribution; at least 2^-90 = {SMALLEST_MASS:e} is needed"
                    );
                }
            }
        }
        Ok(self)
    }
}

impl Distribution {
    /// The parameters, by the names Python gives them.
    pub fn parameters(&self) -> Vec<(&'static str, f64)> {
        match *self {
            Self::Constant(value) => vec![("value", value)],
            Self::Uniform { low, high } => vec![("low", low), ("high", high)],
            Self::Normal { mean, std } => vec![("mean", mean), ("std", std)],
            Self::TruncatedNormal { mean, std, low, high } => {
                vec![("mean", mean), ("std", std), ("low", low), ("high", high)]
            }
        }
    }

    /// The standard deviation of the values (after truncation, if any).
    pub fn std(&self) -> f64 {
        match *self {
            Self::Constant(_) => 0.0,
            Self::Uniform { low, high } => (high - low) / 12f64.sqrt(),
            Self::Normal { std, .. } => std,
            Self::TruncatedNormal { std, low, high, .. } => {
                std * gaussian::truncated_std(low, high)
            }
        }
    }
}

/// Words -> values; the parameters are rounded to `T` and checked to fit it.
pub trait Map<T: Sample>: Copy + Send + Sync {
    /// `out[i]` = the value of `words[i]`. Must be `#[inline(always)]`: it runs inside a kernel.
    fn map(&self, words: &[T::Word], out: &mut [T]);
}

/// See [`Distribution::Uniform`].
#[derive(Clone, Copy, Debug)]
pub struct Uniform<T> {
    low: T,
    width: T,
    /// The largest value below `high`: rounding must not reach the excluded bound.
    last: T,
}

impl<T: Sample> Map<T> for Uniform<T> {
    #[inline(always)]
    fn map(&self, words: &[T::Word], out: &mut [T]) {
        for (x, word) in out.iter_mut().zip(words) {
            let y = T::unit(*word).mul_add(self.width, self.low);
            *x = if y < self.last { y } else { self.last };
        }
    }
}

/// See [`Distribution::Normal`].
#[derive(Clone, Copy, Debug)]
pub struct Normal<T> {
    mean: T,
    std: T,
}

impl<T: Sample> Map<T> for Normal<T> {
    #[inline(always)]
    fn map(&self, words: &[T::Word], out: &mut [T]) {
        quantiles(words, out, T::centered, |z| z.mul_add(self.std, self.mean));
    }
}

/// See [`Distribution::TruncatedNormal`].
///
/// The word's s in (-1, 1) is mapped affinely onto the v of the interval (see [`crate::quantile`]):
/// `v = middle + mass * s`. Its distance from the nearer of -1 and 1 is built up from the probability that
/// the truncation cut off there, so that tails keep their relative precision.
#[derive(Clone, Copy, Debug)]
pub struct TruncatedNormal<T> {
    mean: T,
    std: T,
    middle: T,
    mass: T,
    /// `2 P(Z < low)` and `2 P(Z > high)`.
    cut: (T, T),
    /// The outermost values inside the bounds.
    first: T,
    last: T,
}

impl<T: Sample> Map<T> for TruncatedNormal<T> {
    #[inline(always)]
    fn map(&self, words: &[T::Word], out: &mut [T]) {
        let place = |word| {
            let (s, near) = T::centered(word); // near = 1 - |s|
            let v = s.mul_add(self.mass, self.middle);
            let negative = v < T::ZERO;
            // 1 - s on the positive side of v, 1 + s on the negative one
            let distance = if (s < T::ZERO) == negative { near } else { T::TWO - near };
            let cut = if negative { self.cut.0 } else { self.cut.1 };
            (v, distance.mul_add(self.mass, cut))
        };
        let clamp = |z: T| {
            let x = z.mul_add(self.std, self.mean);
            let x = if x > self.first { x } else { self.first };
            if x < self.last { x } else { self.last }
        };
        quantiles(words, out, place, clamp);
    }
}

/// A distribution with its parameters in type `T`, ready to be applied.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum AnyMap<T> {
    Constant(T),
    Uniform(Uniform<T>),
    Normal(Normal<T>),
    TruncatedNormal(TruncatedNormal<T>),
}

/// No word maps further out than this many standard deviations (float64 reaches 9.2; see `SMALLEST_MASS`).
const LARGEST_Z: f64 = 15.0;

impl Distribution {
    /// Rounds the parameters to `T`.
    ///
    /// # Errors
    /// A parameter or a possible value does not fit `T`, or no number of `T` lies within the bounds.
    pub fn map<T: Sample>(self) -> Result<AnyMap<T>> {
        let round = |name: &str, x: f64| {
            let rounded = T::from_f64(x);
            if x.is_finite() && !rounded.to_f64().is_finite() {
                return invalid!("{name} = {x:e} does not fit {}", T::NAME);
            }
            Ok(rounded)
        };
        // the smallest T >= x and the largest T <= x
        let up = |x: f64| {
            if T::from_f64(x).to_f64() < x { T::from_f64(x).next_up() } else { T::from_f64(x) }
        };
        let down = |x: f64| {
            if T::from_f64(x).to_f64() > x { T::from_f64(x).next_down() } else { T::from_f64(x) }
        };
        Ok(match self {
            Self::Constant(value) => AnyMap::Constant(round("value", value)?),
            Self::Uniform { low, high } if low == high => AnyMap::Constant(round("low", low)?),
            Self::Uniform { low, high } => {
                round("low", low)?;
                round("high", high)?;
                let (first, last) = (up(low), down(high));
                let last = if last.to_f64() == high { last.next_down() } else { last };
                if first > last {
                    return invalid!("no {} lies in [{low:e}, {high:e})", T::NAME);
                }
                AnyMap::Uniform(Uniform {
                    low: first,
                    width: round("high - low", high - low)?,
                    last,
                })
            }
            Self::Normal { mean, std } => {
                round("mean + 15 std", mean.abs() + LARGEST_Z * std)?;
                AnyMap::Normal(Normal { mean: T::from_f64(mean), std: T::from_f64(std) })
            }
            Self::TruncatedNormal { mean, std: 0.0, .. } => AnyMap::Constant(round("mean", mean)?),
            Self::TruncatedNormal { mean, std, low, high } => {
                round("mean + 15 std", mean.abs() + LARGEST_Z * std)?;
                let (first, last) = (up(mean + std * low), down(mean + std * high));
                if first > last {
                    return invalid!(
                        "no {} lies between the bounds {:e} and {:e}",
                        T::NAME,
                        mean + std * low,
                        mean + std * high
                    );
                }
                let p = gaussian::interval(low, high);
                AnyMap::TruncatedNormal(TruncatedNormal {
                    mean: T::from_f64(mean),
                    std: T::from_f64(std),
                    middle: T::from_f64(p.below - p.above),
                    mass: T::from_f64(p.mass),
                    cut: (T::from_f64(2.0 * p.below), T::from_f64(2.0 * p.above)),
                    first,
                    last,
                })
            }
        })
    }
}
