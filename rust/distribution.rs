//! Random word -> value: the distributions, as monotone maps of one word each.
//!
//! A [`Distribution`] is checked once, in float64; [`Map`]s are its parameters rounded to the type of the
//! values, applied to lanes of words. All maps of one word are inverse distribution functions, so the same
//! word gives every scheme the same quantile: `he_normal` and `xavier_normal` of one name are scaled copies.

use crate::error::{Result, invalid};
use crate::gaussian;
use crate::philox::LANES;
use crate::sample::{Float, Sample};
use crate::simd::{Simd, lanes};
use crate::tail::Tail;

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

/// A truncation that leaves less probability than this is an [`Unlikely`] one: float32 would have no subnormal room left
/// for the tail.
const SMALLEST_MASS: f64 = 1.0 / (1u128 << 90) as f64;

/// The standard deviation of a standard normal truncated at +-2.
pub const STD_OF_TRUNCATED_AT_2: f64 = 0.879_625_661_034_239_8;

impl Distribution {
    /// Checks the parameters.
    ///
    /// # Errors
    /// A parameter is not finite (bounds of the truncated normal may be infinite), `std` is negative,
    /// `low > high`, or the values of a truncation are out of the range of float64.
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
                if gaussian::interval(low, high).mass < SMALLEST_MASS {
                    for z in extremes(low, high) {
                        finite("mean + std * bound", mean + std * z)?;
                    }
                }
            }
        }
        Ok(self)
    }
}

impl Distribution {
    /// The law of `gain` times the values.
    pub(crate) fn scaled(self, gain: f64) -> Self {
        match self {
            Self::Constant(value) => Self::Constant(gain * value),
            Self::Uniform { low, high } => Self::Uniform { low: gain * low, high: gain * high },
            Self::Normal { mean, std } => Self::Normal { mean: gain * mean, std: gain * std },
            Self::TruncatedNormal { mean, std, low, high } => {
                Self::TruncatedNormal { mean: gain * mean, std: gain * std, low, high }
            }
        }
    }

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

/// Words -> values in `F`; the parameters are rounded to `F` and checked to fit the type of the values.
pub trait Map<F: Float>: Copy + Send + Sync {
    /// The values of these words, and whether one was left out, being unlikely; `EVERYWHERE` leaves none out, and
    /// is slow. Must be `#[inline(always)]`: it runs inside a kernel.
    fn map<S: Simd, const EVERYWHERE: bool>(
        &self,
        simd: S,
        words: &[F::Word; LANES],
    ) -> ([F; LANES], bool);
}

/// The outermost values inside the bounds, in the type of the values.
#[derive(Clone, Copy, Debug)]
struct Bounds<F> {
    first: F,
    last: F,
}

impl<F: Float> Bounds<F> {
    #[inline(always)]
    fn clamp(self, x: F) -> F {
        let x = if x > self.first { x } else { self.first };
        if x < self.last { x } else { self.last }
    }
}

/// See [`Distribution::Uniform`].
#[derive(Clone, Copy, Debug)]
pub struct Uniform<F> {
    low: F,
    width: F,
    /// Rounding must not reach the excluded bound.
    bounds: Bounds<F>,
}

impl<F: Float> Map<F> for Uniform<F> {
    #[inline(always)]
    fn map<S: Simd, const EVERYWHERE: bool>(
        &self,
        _: S,
        words: &[F::Word; LANES],
    ) -> ([F; LANES], bool) {
        let x = lanes!(F::ZERO; l => self.bounds.clamp(F::unit(words[l]).mul_add(self.width, self.low)));
        (x, false)
    }
}

/// See [`Distribution::Normal`].
#[derive(Clone, Copy, Debug)]
pub struct Normal<F> {
    mean: F,
    std: F,
}

impl<F: Float> Map<F> for Normal<F> {
    #[inline(always)]
    fn map<S: Simd, const EVERYWHERE: bool>(
        &self,
        simd: S,
        words: &[F::Word; LANES],
    ) -> ([F; LANES], bool) {
        quantiles::<F, S, EVERYWHERE>(simd, words, F::centered, |z| z.mul_add(self.std, self.mean))
    }
}

/// See [`Distribution::TruncatedNormal`].
///
/// The word's s in (-1, 1) is mapped affinely onto the v of the interval (see [`crate::quantile`]):
/// `v = middle + mass * s`. Its distance from the nearer of -1 and 1 is built up from the probability that
/// the truncation cut off there, so that tails keep their relative precision.
#[derive(Clone, Copy, Debug)]
pub struct TruncatedNormal<F> {
    mean: F,
    std: F,
    middle: F,
    mass: F,
    /// `2 P(Z < low)` and `2 P(Z > high)`.
    cut: (F, F),
    bounds: Bounds<F>,
}

impl<F: Float> TruncatedNormal<F> {
    /// (v, 1 - |v|) of a word. Both are monotone in the word, and on the same side of 1/2.
    #[inline(always)]
    fn place(&self, word: F::Word) -> (F, F) {
        let (s, near) = F::centered(word); // near = 1 - |s|
        let v = s.mul_add(self.mass, self.middle);
        let negative = v < F::ZERO;
        // 1 - s on the positive side of v, 1 + s on the negative one
        let distance = if (s < F::ZERO) == negative { near } else { F::TWO - near };
        let cut = if negative { self.cut.0 } else { self.cut.1 };
        let q = distance.mul_add(self.mass, cut);
        let q = if q < F::BELOW_HALF { q } else { F::BELOW_HALF };
        (v, if v.abs() < F::HALF { F::ONE - v.abs() } else { q })
    }
}

impl<F: Float> Map<F> for TruncatedNormal<F> {
    #[inline(always)]
    fn map<S: Simd, const EVERYWHERE: bool>(
        &self,
        simd: S,
        words: &[F::Word; LANES],
    ) -> ([F; LANES], bool) {
        let place = |word| self.place(word);
        let scale = |z: F| self.bounds.clamp(z.mul_add(self.std, self.mean));
        quantiles::<F, S, EVERYWHERE>(simd, words, place, scale)
    }
}

/// A truncated normal whose interval holds less than 2^-90 of the probability: far in a tail, or very narrow. Computed
/// in float64 from one of its ends, for all types: `value = anchor + step * distance`.
#[derive(Clone, Copy, Debug)]
pub struct Unlikely<F> {
    anchor: f64,
    /// Negative if the distances are measured from the upper bound down.
    step: f64,
    law: Distances,
    bounds: Bounds<F>,
}

#[derive(Clone, Copy, Debug)]
enum Distances {
    /// In a tail, measured from its near end.
    Tail(Tail),
    /// Around zero, and hence uniform to 50 digits: measured from the middle, this far to either side.
    Uniform(f64),
}

impl<F: Float> Unlikely<F> {
    fn new(mean: f64, std: f64, low: f64, high: f64, bounds: Bounds<F>) -> Self {
        let (anchor, step, law) = if low >= 0.0 {
            (mean + std * low, std, Distances::Tail(Tail::new(low, high)))
        } else if high <= 0.0 {
            (mean + std * high, -std, Distances::Tail(Tail::new(-high, -low)))
        } else {
            let middle = (low + high) * 0.5;
            (mean + std * middle, std, Distances::Uniform((high - low) * 0.5))
        };
        Self { anchor, step, law, bounds }
    }
}

impl<F: Float> Map<F> for Unlikely<F> {
    #[inline(always)]
    fn map<S: Simd, const EVERYWHERE: bool>(
        &self,
        _: S,
        words: &[F::Word; LANES],
    ) -> ([F; LANES], bool) {
        let (p, q) = (lanes!(0.0; l => F::share(words[l])), lanes!(0.0; l => F::share(!words[l])));
        let distance = match &self.law {
            Distances::Tail(tail) if self.step < 0.0 => {
                lanes!(0.0; l => tail.distance(q[l], p[l]))
            }
            Distances::Tail(tail) => lanes!(0.0; l => tail.distance(p[l], q[l])),
            Distances::Uniform(reach) => lanes!(0.0; l => (p[l] - q[l]) * reach),
        };
        let value = |y: f64| F::from_f64(y.mul_add(self.step, self.anchor));
        (lanes!(F::ZERO; l => self.bounds.clamp(value(distance[l]))), false)
    }
}

/// `scale(z)` of each word, z being the quantile at `place(word)`, a signed v and `q = 1 - |v|`.
#[inline(always)]
fn quantiles<F: Float, S: Simd, const EVERYWHERE: bool>(
    simd: S,
    words: &[F::Word; LANES],
    place: impl Fn(F::Word) -> (F, F),
    scale: impl Fn(F) -> F,
) -> ([F; LANES], bool) {
    let (mut v, mut q) = ([F::ZERO; LANES], [F::ZERO; LANES]);
    for l in 0..LANES {
        (v[l], q[l]) = place(words[l]);
    }
    let distance = lanes!(F::ZERO; l => v[l].abs());
    let (z, left_out) = F::quantile::<S, EVERYWHERE>(simd, distance, q);
    (lanes!(F::ZERO; l => scale(z[l].copysign(v[l]))), left_out)
}

/// A distribution ready to be applied, for values of type `T`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum AnyMap<T: Sample> {
    Constant(T),
    Uniform(Uniform<T::Float>),
    Normal(Normal<T::Float>),
    TruncatedNormal(TruncatedNormal<T::Float>),
    Unlikely(Unlikely<T::Float>),
}

/// Values of an interval with less than [`SMALLEST_MASS`] lie between these, in standard deviations: no word maps to 4
/// beyond the near end.
fn extremes(low: f64, high: f64) -> [f64; 2] {
    if low + high < 0.0 { [low.max(high - 4.0), high] } else { [low, high.min(low + 4.0)] }
}

/// No word maps further out than this many standard deviations (float64 reaches 9.2; see `SMALLEST_MASS`).
const LARGEST_Z: f64 = 15.0;

impl Distribution {
    /// Rounds the parameters to the type that `T` is computed in.
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
        let float = <T::Float as Float>::from_f64;
        let bounds =
            |first: T, last: T| Bounds { first: float(first.to_f64()), last: float(last.to_f64()) };
        Ok(match self {
            Self::Constant(value) => AnyMap::Constant(round("value", value)?),
            Self::Uniform { low, high } if low == high => AnyMap::Constant(round("low", low)?),
            Self::Uniform { low, high } => {
                round("low", low)?;
                round("high", high)?;
                round("high - low", high - low)?;
                let (first, last) = (up(low), down(high));
                let last = if last.to_f64() == high { last.next_down() } else { last };
                if first.to_f64() > last.to_f64() {
                    return invalid!("no {} lies in [{low:e}, {high:e})", T::NAME);
                }
                AnyMap::Uniform(Uniform {
                    low: float(low),
                    width: float(high - low),
                    bounds: bounds(first, last),
                })
            }
            Self::Normal { mean, std } => {
                round("mean + 15 std", mean.abs() + LARGEST_Z * std)?;
                AnyMap::Normal(Normal { mean: float(mean), std: float(std) })
            }
            Self::TruncatedNormal { mean, std: 0.0, .. } => AnyMap::Constant(round("mean", mean)?),
            Self::TruncatedNormal { mean, std, low, high } => {
                let p = gaussian::interval(low, high);
                if p.mass < SMALLEST_MASS {
                    for z in extremes(low, high) {
                        round("mean + std * bound", mean + std * z)?;
                    }
                } else {
                    for z in [low, high].map(|z| z.clamp(-LARGEST_Z, LARGEST_Z)) {
                        round("mean + std * bound", mean + std * z)?;
                    }
                    // what it is computed in takes the values before they meet the bounds
                    let farthest = mean.abs() + LARGEST_Z * std;
                    if !float(farthest).to_f64().is_finite() {
                        return invalid!("mean + 15 std = {farthest:e} does not fit {}", T::NAME);
                    }
                }
                let (first, last) = (up(mean + std * low), down(mean + std * high));
                if first.to_f64() > last.to_f64() {
                    return invalid!(
                        "no {} lies between the bounds {:e} and {:e}",
                        T::NAME,
                        mean + std * low,
                        mean + std * high
                    );
                }
                let bounds = bounds(first, last);
                if p.mass < SMALLEST_MASS {
                    return Ok(AnyMap::Unlikely(Unlikely::new(mean, std, low, high, bounds)));
                }
                AnyMap::TruncatedNormal(TruncatedNormal {
                    mean: float(mean),
                    std: float(std),
                    middle: float(p.below - p.above),
                    mass: float(p.mass),
                    cut: (float(2.0 * p.below), float(2.0 * p.above)),
                    bounds,
                })
            }
        })
    }
}
