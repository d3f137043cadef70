//! The laws themselves, by another way than the library's: float64 arithmetic and the error functions of the crate
//! `libm`, corrected by a step of Newton's method carried to third order. `main.rs` holds the error functions against
//! numbers of 60 digits.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use initcore::distribution::Distribution;

/// Words as a number: positions run from 0 to this, and word w lies at w + 1/2.
pub const END: f64 = (1_u64 << 32) as f64;

/// `P(Z > x)`. The rounding of the argument moves x by half a unit of its last place, and z no further.
pub fn upper_tail(x: f64) -> f64 {
    0.5 * libm::erfc(x * FRAC_1_SQRT_2)
}

/// The density of the standard normal distribution.
fn density(z: f64) -> f64 {
    libm::exp(-0.5 * z * z) / (2.0 * PI).sqrt()
}

/// The four central moments around a point.
pub type Moments = [f64; 4];

/// What the values should follow.
#[derive(Clone, Copy, Debug)]
pub enum Law {
    /// On [low, high), in steps of 2^-24 of the width.
    Uniform { low: f64, high: f64 },
    /// `mean + std Z` given `low <= Z <= high`.
    Normal(Normal),
}

#[derive(Clone, Copy, Debug)]
pub struct Normal {
    mean: f64,
    std: f64,
    low: f64,
    high: f64,
    below: f64,
    mass: f64,
    above: f64,
}

impl Law {
    pub fn new(distribution: Distribution) -> Self {
        let infinity = f64::INFINITY;
        match distribution {
            Distribution::Uniform { low, high } => Self::Uniform { low, high },
            Distribution::Normal { mean, std } => {
                Self::Normal(Normal::new(mean, std, -infinity, infinity))
            }
            Distribution::TruncatedNormal { mean, std, low, high } => {
                Self::Normal(Normal::new(mean, std, low, high))
            }
            Distribution::Constant(_) => panic!("a constant has nothing to prove"),
        }
    }

    /// The closed bounds of the values, but for the excluded end of the uniform law.
    pub fn bounds(&self) -> (f64, f64) {
        match self {
            Self::Uniform { low, high } => (*low, *high),
            Self::Normal(n) => (n.mean + n.std * n.low, n.mean + n.std * n.high),
        }
    }

    /// Are the values of a word and its complement opposite?
    pub fn is_symmetric(&self) -> bool {
        matches!(self, Self::Normal(n) if n.mean == 0.0 && n.low == -n.high)
    }

    /// Errors near x are counted in the spacing of float32 at max(|x|, this). A symmetric law is held to units of the last
    /// place down to zero; elsewhere zero is a point like any other, and small values come from a difference.
    pub fn floor(&self) -> f64 {
        match self {
            Self::Uniform { low, high } => low.abs().max(high.abs()),
            Self::Normal(_) if self.is_symmetric() => 0.0,
            Self::Normal(n) => n.mean.abs().max(n.std / 2.0),
        }
    }

    /// The unit of errors at x.
    pub fn unit(&self, x: f64) -> f64 {
        let x = x.abs().max(self.floor()) as f32;
        f64::from(x.next_up() - x)
    }

    /// The position in (0, 2^32) of x: how many words should have values below it.
    pub fn position(&self, x: f64) -> f64 {
        match self {
            Self::Uniform { low, high } => (x - low) / (high - low) * END,
            Self::Normal(n) => n.position((x - n.mean) / n.std),
        }
    }

    /// Words per unit of x at x.
    pub fn words_per_unit(&self, x: f64) -> f64 {
        match self {
            Self::Uniform { low, high } => END / (high - low),
            Self::Normal(n) => END * density((x - n.mean) / n.std) / (n.mass * n.std),
        }
    }

    /// Words that go to one value by construction, beyond rounding.
    pub fn step(&self) -> f64 {
        match self {
            Self::Uniform { .. } => 256.0,
            Self::Normal(_) => 1.0,
        }
    }

    /// How far the values of these words should lie beyond x, which is nearly their value.
    pub fn beyond(&self, x: f64, words: [u32; 2]) -> [f64; 2] {
        match self {
            Self::Uniform { low, high } => words.map(|word| {
                let k = f64::from(word >> 8);
                (high - low).mul_add(k / f64::from(1 << 24), *low) - x
            }),
            Self::Normal(n) => {
                let here = Point::new((x - n.mean) / n.std);
                words.map(|word| n.std * here.beyond(n, f64::from(word) + 0.5))
            }
        }
    }

    /// Mean, and central moments around it, of the 2^32 values that the law asks for. `near` gives a value of the map
    /// under test, to start Newton's method from.
    pub fn moments(&self, near: impl Fn(u32) -> f64) -> (f64, Moments) {
        match self {
            Self::Uniform { low, high } => {
                // k / n, 0 <= k < n
                let (width, n) = (high - low, f64::from(1 << 24));
                let squared = 1.0 / (n * n);
                let second = (1.0 - squared) / 12.0;
                let fourth = (3.0 - 10.0 * squared + 7.0 * squared * squared) / 240.0;
                let mean = low + width * (0.5 - 0.5 / n);
                (mean, [0.0, width.powi(2) * second, 0.0, width.powi(4) * fourth])
            }
            Self::Normal(n) => n.moments(near),
        }
    }
}

impl Normal {
    fn new(mean: f64, std: f64, low: f64, high: f64) -> Self {
        let (below, above) = (upper_tail(-low), upper_tail(high));
        let mass = if low > 0.0 {
            upper_tail(low) - above
        } else if high < 0.0 {
            upper_tail(-high) - below
        } else {
            1.0 - below - above
        };
        Self { mean, std, low, high, below, mass, above }
    }

    fn position(&self, z: f64) -> f64 {
        if z <= self.low {
            0.0
        } else if z >= self.high {
            END
        } else if z < 0.0 {
            END * ((upper_tail(-z) - self.below) / self.mass)
        } else {
            END * (1.0 - (upper_tail(z) - self.above) / self.mass)
        }
    }

    /// z of a position, from a value near it.
    fn quantile(&self, near: f64, position: f64) -> f64 {
        let z = (near - self.mean) / self.std;
        let z = z + Point::new(z).beyond(self, position);
        z + Point::new(z).beyond(self, position)
    }

    /// The outer words one by one, since the density is steep there in terms of the word; between them the mean over words
    /// is the integral (the midpoint rule is off by less than 2^-32 / OUTER there), by Simpson's rule.
    fn moments(&self, near: impl Fn(u32) -> f64) -> (f64, Moments) {
        const OUTER: u32 = 1 << 14;
        const PANELS: u32 = 1 << 16;
        let outer: Vec<f64> = (0..OUTER)
            .flat_map(|i| [i, u32::MAX - i])
            .map(|word| self.quantile(near(word), f64::from(word) + 0.5))
            .collect();
        let first = self.quantile(near(OUTER), f64::from(OUTER));
        let last = self.quantile(near(u32::MAX - OUTER), END - f64::from(OUTER));
        let points: Vec<(f64, f64)> = (0..=PANELS)
            .map(|i| {
                let z = first + (last - first) * (f64::from(i) / f64::from(PANELS));
                let rule = if i == 0 || i == PANELS { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
                (z, rule * density(z))
            })
            .collect();
        let mass: f64 = points.iter().map(|(_, weight)| weight).sum();
        let inner_share = 1.0 - 2.0 * f64::from(OUTER) / END;
        let mean_of = |f: &dyn Fn(f64) -> f64| {
            let inner: f64 = points.iter().map(|(z, weight)| weight * f(*z)).sum();
            let outer: f64 = outer.iter().map(|z| f(*z)).sum();
            inner / mass * inner_share + outer / END
        };
        let center = mean_of(&|z| z);
        let moments = std::array::from_fn(|k| {
            let k = k as i32 + 1;
            self.std.powi(k) * mean_of(&|z| (z - center).powi(k))
        });
        (self.mean + self.std * center, moments)
    }
}

/// A point of the standard normal distribution, with its probability as seen from the nearest of -inf, 0 and inf, where
/// alone a float64 has full relative precision.
struct Point {
    z: f64,
    probability: f64,
    density: f64,
}

/// Nearer to zero, probabilities are counted from zero.
const CENTER: f64 = 0.6;

impl Point {
    fn new(z: f64) -> Self {
        let probability =
            if z.abs() < CENTER { 0.5 * libm::erf(z * FRAC_1_SQRT_2) } else { upper_tail(z.abs()) };
        Self { z, probability, density: density(z) }
    }

    /// How far beyond this point the position lies.
    fn beyond(&self, law: &Normal, position: f64) -> f64 {
        let Self { z, probability, density } = *self;
        let difference = if z.abs() < CENTER {
            let s = position / (END / 2.0) - 1.0;
            0.5 * (law.below - law.above + law.mass * s) - probability
        } else if z < 0.0 {
            law.below + law.mass * (position / END) - probability
        } else {
            probability - (law.above + law.mass * ((END - position) / END))
        };
        // z(p + d) with z' = 1 / density, z'' = z z'^2, z''' = (2 z^2 + 1) z'^3
        let d = difference / density;
        d * (1.0 + d * (0.5 * z + d * (2.0 * z * z + 1.0) / 6.0))
    }
}
