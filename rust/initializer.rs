//! Initializers: what a user names, to be resolved for a shape into a [`Law`].
//!
//! Most are one root, variance scaling, with one table of names. A layer that sums `fan_in` products keeps the
//! variance of its signal when its weights have variance `1 / fan_in`, times what the activation costs; its
//! gradients ask the same with `fan_out`.
//!
//! - xavier = glorot: `2 / (fan_in + fan_out)`, both at once for tanh-like units (Glorot & Bengio, AISTATS 2010)
//! - he = kaiming: `2 / fan_in`, since relu loses half of the second moment (He et al., ICCV 2015)
//! - lecun: `1 / fan_in` (LeCun et al., Efficient `BackProp`, 1998)

use crate::dispatch::with_default_floats;
use crate::distribution::{Distribution, STD_OF_TRUNCATED_AT_2};
use crate::error::{Result, invalid};
use crate::fans::Layout;
use crate::law::Law;
use crate::named::named;
use crate::orthogonal::Orthogonal;
use crate::pattern::Pattern;
use crate::region::{size, tuple};
use crate::sparse::Sparse;
use crate::weight::Weight;

named! {
    /// What the variance is divided by.
    Mode, "mode",
    /// Keeps the forward signal.
    FanIn = "fan_in",
    /// Keeps the gradients.
    FanOut = "fan_out",
    /// The mean of both.
    FanAvg = "fan_avg",
    /// The geometric mean of both.
    FanGeoAvg = "fan_geo_avg",
    /// For layers whose output must shrink as they widen: muP's last layer, SIREN's first.
    FanInSquared = "fan_in_squared"
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

    /// With weights `gain` times as large.
    fn scaled(self, gain: f64) -> Result<Self> {
        let scale = self.scale * (gain * gain);
        if !scale.is_finite() || (scale == 0.0 && gain > 0.0 && self.scale > 0.0) {
            return invalid!(
                "scale = {:e} times the square of gain = {gain:e} is out of range",
                self.scale
            );
        }
        Self::new(scale, self.mode, self.family)
    }

    /// For a leaky relu of this slope in place of a relu: it keeps `(1 + slope^2) / 2` of the second moment.
    ///
    /// # Errors
    /// The slope is not finite, or its square too large.
    pub fn for_slope(self, negative_slope: f64) -> Result<Self> {
        let scale = with_default_floats(|| self.scale / (1.0 + negative_slope * negative_slope));
        if !negative_slope.is_finite() {
            return invalid!("negative_slope must be finite, got {negative_slope}");
        }
        if scale == 0.0 && self.scale > 0.0 {
            return invalid!(
                "scale = {:e} over 1 + {negative_slope:e}^2 is out of range",
                self.scale
            );
        }
        Self::new(scale, self.mode, self.family)
    }

    /// The standard deviation of weights of this shape.
    ///
    /// # Errors
    /// The shape has no fans in this layout, or its fan is 0.
    pub fn std(self, shape: &[u64], layout: &Layout) -> Result<f64> {
        let (fan_in, fan_out) = layout.fans(shape)?;
        let (fan_in, fan_out) = (fan_in as f64, fan_out as f64);
        let fan = with_default_floats(|| match self.mode {
            Mode::FanIn => fan_in,
            Mode::FanOut => fan_out,
            Mode::FanAvg => f64::midpoint(fan_in, fan_out),
            Mode::FanGeoAvg => (fan_in * fan_out).sqrt(),
            Mode::FanInSquared => fan_in * fan_in,
        });
        if fan == 0.0 {
            return invalid!("{} of shape {} is 0", self.mode.name(), tuple(shape));
        }
        Ok(with_default_floats(|| (self.scale / fan).sqrt()))
    }

    /// The law of each weight of an array of this shape. An empty array has none, so any will do.
    ///
    /// # Errors
    /// The shape has no fans in this layout.
    pub fn distribution(self, shape: &[u64], layout: &Layout) -> Result<Distribution> {
        layout.fans(shape)?;
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

/// How an array is filled, whatever its shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initializer {
    /// The same law for every element.
    Fixed(Distribution),
    /// Scaled by the fans.
    VarianceScaling(VarianceScaling),
    /// A table of vectors, one of which may stand for padding.
    Embedding {
        /// The law of the others.
        distribution: Distribution,
        /// The row of zeros; negative ones count from the end.
        padding: Option<i64>,
    },
    /// A function of the position.
    Pattern(Pattern),
    /// Orthonormal.
    Orthogonal(Orthogonal),
    /// Zeros among normal values.
    Sparse(Sparse),
}

/// A parameter of an initializer, as Python gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Parameter {
    /// A number.
    Number(f64),
    /// A name.
    Name(&'static str),
    /// An integer, or none.
    Index(Option<i64>),
}

impl Initializer {
    /// The law of an array of this shape.
    ///
    /// # Errors
    /// The shape does not suit the initializer.
    pub fn law(self, shape: &[u64], layout: &Layout) -> Result<Law> {
        Ok(match self {
            Self::Fixed(distribution) => Law::Each(distribution),
            Self::VarianceScaling(root) => Law::Each(root.distribution(shape, layout)?),
            Self::Embedding { distribution, padding } => {
                let [rows, features] = shape else {
                    return invalid!(
                        "an embedding has a shape (rows, features), got {}",
                        tuple(shape)
                    );
                };
                let Some(row) = padding else {
                    return Ok(Law::Each(distribution));
                };
                let from_start = if row < 0 { row.saturating_add_unsigned(*rows) } else { row };
                let row = match u64::try_from(from_start) {
                    Ok(row) if row < *rows => row,
                    _ => {
                        return invalid!(
                            "padding_idx = {row} is not among the {rows} rows of {}",
                            tuple(shape)
                        );
                    }
                };
                let len = size(shape)?; // or the products below would not fit
                Law::EachBut(distribution, row * features..(row + 1) * features, len)
            }
            Self::Pattern(pattern) => Law::Pattern(pattern, Weight::new(shape, layout)?),
            Self::Orthogonal(orthogonal) => {
                let weight = Weight::new(shape, layout)?;
                orthogonal.check(&weight)?;
                Law::Orthogonal(orthogonal, weight)
            }
            Self::Sparse(sparse) => {
                let [rows, columns] = shape else {
                    return invalid!("sparse needs a shape of 2 dimensions, got {}", tuple(shape));
                };
                Law::Sparse(sparse, [*rows, *columns])
            }
        })
    }

    /// Does a part of an array cost as much as the whole?
    pub fn made_whole(self) -> bool {
        matches!(self, Self::Orthogonal(_) | Self::Sparse(_))
    }

    /// The standard deviation of an element of an array of this shape: over draws, and over all positions.
    ///
    /// # Errors
    /// As [`Self::law`]; or a fan is 0.
    pub fn std(self, shape: &[u64], layout: &Layout) -> Result<f64> {
        if let Self::VarianceScaling(root) = self {
            return root.std(shape, layout);
        }
        let law = self.law(shape, layout)?;
        Ok(with_default_floats(|| law.std()))
    }

    /// With values `gain` times as large.
    ///
    /// # Errors
    /// `gain` is negative or not finite, or a parameter gets out of range.
    pub fn scaled(self, gain: f64) -> Result<Self> {
        if !(gain >= 0.0 && gain.is_finite()) {
            return invalid!("gain must be finite and >= 0, got {gain}");
        }
        let scaled = with_default_floats(|| self.times(gain))?;
        // values of next to nothing must not become zeros unasked
        if gain > 0.0 && scaled.is_zero() && !self.is_zero() {
            return invalid!("gain = {gain:e} leaves nothing of {:?}", self.parameters());
        }
        Ok(scaled)
    }

    /// Are all values zeros, whatever the shape?
    fn is_zero(self) -> bool {
        match self {
            Self::Fixed(distribution) | Self::Embedding { distribution, .. } => {
                distribution == distribution.scaled(0.0)
            }
            Self::VarianceScaling(root) => root.scale == 0.0,
            Self::Pattern(pattern) => pattern.gain == 0.0,
            Self::Orthogonal(orthogonal) => orthogonal.gain == 0.0,
            Self::Sparse(sparse) => sparse.std == 0.0,
        }
    }

    fn times(self, gain: f64) -> Result<Self> {
        Ok(match self {
            Self::Fixed(distribution) => Self::Fixed(distribution.scaled(gain).checked()?),
            Self::VarianceScaling(root) => Self::VarianceScaling(root.scaled(gain)?),
            Self::Embedding { distribution, padding } => {
                Self::Embedding { distribution: distribution.scaled(gain).checked()?, padding }
            }
            Self::Pattern(p) => Self::Pattern(Pattern { gain: p.gain * gain, ..p }.checked()?),
            Self::Orthogonal(o) => {
                Self::Orthogonal(Orthogonal { gain: o.gain * gain, ..o }.checked()?)
            }
            Self::Sparse(s) => Self::Sparse(Sparse { std: s.std * gain, ..s }.checked()?),
        })
    }

    /// The parameters, by the names Python gives them.
    pub fn parameters(self) -> Vec<(&'static str, Parameter)> {
        use Parameter::{Index, Name, Number};
        match self {
            Self::Fixed(distribution) => distribution
                .parameters()
                .into_iter()
                .map(|(name, value)| (name, Number(value)))
                .collect(),
            Self::VarianceScaling(root) => vec![
                ("scale", Number(root.scale)),
                ("mode", Name(root.mode.name())),
                ("distribution", Name(root.family.name())),
            ],
            Self::Embedding { distribution, padding } => {
                vec![("std", Number(distribution.std())), ("padding_idx", Index(padding))]
            }
            Self::Pattern(pattern) => {
                vec![("gain", Number(pattern.gain)), ("center", Name(pattern.center.name()))]
            }
            Self::Orthogonal(o) => {
                let mut parameters = vec![("gain", Number(o.gain))];
                parameters.extend(o.center.map(|center| ("center", Name(center.name()))));
                parameters
            }
            Self::Sparse(sparse) => {
                vec![("sparsity", Number(sparse.sparsity)), ("std", Number(sparse.std))]
            }
        }
    }
}
