//! The named schemes: one root, variance scaling, and one table.
//!
//! A layer that sums `fan_in` products keeps the variance of its signal when its weights have variance
//! `1 / fan_in`, times what the activation costs; its gradients ask the same with `fan_out`.
//!
//! - xavier = glorot: `2 / (fan_in + fan_out)`, both at once for tanh-like units (Glorot & Bengio, AISTATS 2010)
//! - he = kaiming: `2 / fan_in`, since relu loses half of the second moment (He et al., ICCV 2015)
//! - lecun: `1 / fan_in` (LeCun et al., Efficient `BackProp`, 1998)

use crate::dispatch::with_default_floats;
use crate::distribution::{Distribution, STD_OF_TRUNCATED_AT_2};
use crate::error::{Error, Result, invalid};
use crate::fans::{Layout, fans};
use crate::region::tuple;

/// An enum whose variants have the names Python gives: `name`, `FromStr`, and the list for messages.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident, $what:literal, $($(#[$variant_doc:meta])* $variant:ident = $name:literal),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$variant_doc])* $variant),+ }

        impl $type {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in Python.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl std::str::FromStr for $type {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => invalid!(concat!("unknown ", $what, " {:?}: expected one of {}"), text, [$($name),+].join(", ")),
                }
            }
        }
    };
}

named! {
    /// What the variance is divided by.
    Mode, "mode",
    /// Keeps the forward signal.
    FanIn = "fan_in",
    /// Keeps the gradients.
    FanOut = "fan_out",
    /// The mean of both.
    FanAvg = "fan_avg"
}

named! {
    /// The shape of the distribution; the variance is the same for all.
    Family, "distribution",
    /// Normal.
    Normal = "normal",
    /// Normal cut at two standard deviations of the parent; the variance is that after the cut.
    TruncatedNormal = "truncated_normal",
    /// Uniform on a symmetric interval.
    Uniform = "uniform"
}

/// Weights with mean 0 and variance `scale / fan`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VarianceScaling {
    scale: f64,
    mode: Mode,
    family: Family,
}

impl VarianceScaling {
    /// Checks `scale`.
    ///
    /// # Errors
    /// `scale` is negative or not finite.
    pub fn new(scale: f64, mode: Mode, family: Family) -> Result<Self> {
        if scale >= 0.0 && scale.is_finite() {
            Ok(Self { scale, mode, family })
        } else {
            invalid!("scale must be finite and >= 0, got {scale}")
        }
    }

    /// The numerator of the variance.
    pub fn scale(self) -> f64 {
        self.scale
    }

    /// Which fan divides it.
    pub fn mode(self) -> Mode {
        self.mode
    }

    /// The shape of the distribution.
    pub fn family(self) -> Family {
        self.family
    }

    /// With weights `gain` times as large, corrected for a leaky relu of this slope in place of a relu:
    /// it keeps `(1 + slope^2) / 2` of the second moment.
    ///
    /// # Errors
    /// `gain` is negative, or one of them is not finite.
    pub fn scaled(self, gain: f64, negative_slope: f64) -> Result<Self> {
        if !(gain >= 0.0 && gain.is_finite()) {
            return invalid!("gain must be finite and >= 0, got {gain}");
        }
        if !negative_slope.is_finite() {
            return invalid!("negative_slope must be finite, got {negative_slope}");
        }
        let (scale, lost) = with_default_floats(|| {
            let scale = self.scale * (gain * gain) / (1.0 + negative_slope * negative_slope);
            (scale, scale == 0.0 && gain > 0.0 && self.scale > 0.0)
        });
        if lost || !scale.is_finite() {
            return invalid!(
                "the square of gain = {gain:e} over 1 + {negative_slope:e}^2 is out of range"
            );
        }
        Self::new(scale, self.mode, self.family)
    }

    /// The standard deviation of weights of this shape.
    ///
    /// # Errors
    /// The shape has fewer than two axes, or its fan is 0.
    pub fn std(self, shape: &[u64], layout: Layout) -> Result<f64> {
        let (fan_in, fan_out) = fans(shape, layout)?;
        let fan = match self.mode {
            Mode::FanIn => fan_in as f64,
            Mode::FanOut => fan_out as f64,
            Mode::FanAvg => f64::midpoint(fan_in as f64, fan_out as f64),
        };
        if fan == 0.0 {
            return invalid!("{} of shape {} is 0", self.mode.name(), tuple(shape));
        }
        Ok(with_default_floats(|| (self.scale / fan).sqrt()))
    }

    /// The law of each weight of an array of this shape. An empty array has none, so any will do.
    ///
    /// # Errors
    /// The shape has fewer than two axes.
    pub fn distribution(self, shape: &[u64], layout: Layout) -> Result<Distribution> {
        fans(shape, layout)?;
        if shape.contains(&0) {
            return Ok(Distribution::Constant(0.0));
        }
        let std = self.std(shape, layout)?;
        Ok(with_default_floats(|| match self.family {
            Family::Normal => Distribution::Normal { mean: 0.0, std },
            Family::TruncatedNormal => Distribution::TruncatedNormal {
                mean: 0.0,
                std: std / STD_OF_TRUNCATED_AT_2,
                low: -2.0,
                high: 2.0,
            },
            Family::Uniform => {
                let high = 3f64.sqrt() * std;
                Distribution::Uniform { low: -high, high }
            }
        }))
    }
}

/// The named roots; each comes with every [`Family`], as "root_family".
const ROOTS: [(&str, f64, Mode); 3] =
    [("xavier", 1.0, Mode::FanAvg), ("he", 2.0, Mode::FanIn), ("lecun", 1.0, Mode::FanIn)];

/// All named variance-scaling schemes.
pub fn schemes() -> impl Iterator<Item = (String, VarianceScaling)> {
    ROOTS.into_iter().flat_map(|(root, scale, mode)| {
        Family::ALL.iter().map(move |family| {
            (format!("{root}_{}", family.name()), VarianceScaling { scale, mode, family: *family })
        })
    })
}

/// How an array is filled: a law for each element, or one that depends on the shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initializer {
    /// The same law whatever the shape.
    Fixed(Distribution),
    /// Scaled by the fans.
    VarianceScaling(VarianceScaling),
}

impl Initializer {
    /// The law of each element of an array of this shape.
    ///
    /// # Errors
    /// See [`VarianceScaling::distribution`].
    pub fn distribution(self, shape: &[u64], layout: Layout) -> Result<Distribution> {
        match self {
            Self::Fixed(distribution) => Ok(distribution),
            Self::VarianceScaling(root) => root.distribution(shape, layout),
        }
    }
}
