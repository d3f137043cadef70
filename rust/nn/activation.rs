//! Activation functions, elementwise: value and derivative side by side, one entry per function.

use std::fmt;
use std::str::FromStr;

use super::real::Real;
use crate::error::{Error, Result, invalid};

/// An elementwise activation function.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// `z`
    Linear,
    /// `max(z, 0)`
    Relu,
    /// `z` where positive, `negative_slope * z` elsewhere.
    LeakyRelu {
        /// Slope for negative inputs.
        negative_slope: f64,
    },
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-z))`
    Sigmoid,
}

use Activation::{LeakyRelu, Linear, Relu, Sigmoid, Tanh};

/// Writes the loop once per activation: each copy knows its `match` arm, so the simple ones vectorise.
macro_rules! specialize {
    ($self:expr, |$f:ident| $body:expr) => {
        match $self {
            Linear => {
                let $f = Linear;
                $body
            }
            Relu => {
                let $f = Relu;
                $body
            }
            LeakyRelu { negative_slope } => {
                let $f = LeakyRelu { negative_slope };
                $body
            }
            Tanh => {
                let $f = Tanh;
                $body
            }
            Sigmoid => {
                let $f = Sigmoid;
                $body
            }
        }
    };
}

impl Activation {
    /// Every activation, with its default parameters: the one list that parser, tables and tests use.
    pub const ALL: [Self; 5] = [Linear, Relu, LeakyRelu { negative_slope: 0.01 }, Tanh, Sigmoid];

    /// The name, without parameters.
    pub const fn name(self) -> &'static str {
        match self {
            Linear => "linear",
            Relu => "relu",
            LeakyRelu { .. } => "leaky_relu",
            Tanh => "tanh",
            Sigmoid => "sigmoid",
        }
    }

    /// Passes it on if its parameters are usable.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a slope is not finite.
    pub fn check(self) -> Result<Self> {
        match self {
            LeakyRelu { negative_slope } if !negative_slope.is_finite() => {
                invalid!("leaky_relu needs a finite slope, got {negative_slope}")
            }
            _ => Ok(self),
        }
    }

    /// `f(z)`. A NaN stays a NaN.
    #[inline(always)]
    pub fn value<T: Real>(self, z: T) -> T {
        let zero = T::zero();
        match self {
            Relu if z < zero => zero,
            LeakyRelu { negative_slope } if z < zero => T::narrow(negative_slope) * z,
            Linear | Relu | LeakyRelu { .. } => z,
            Tanh => z.tanh_fast(),
            Sigmoid => z.sigmoid(),
        }
    }

    /// `f'(z)`, given also `y = f(z)`. At a kink it is the left derivative, as in `PyTorch`.
    #[inline(always)]
    pub fn derivative<T: Real>(self, z: T, y: T) -> T {
        let (zero, one) = (T::zero(), T::one());
        match self {
            Relu if z <= zero => zero,
            LeakyRelu { negative_slope } if z <= zero => T::narrow(negative_slope),
            Linear | Relu | LeakyRelu { .. } => one,
            Tanh => one - y * y,
            Sigmoid => y * (one - y),
        }
    }

    /// `y = f(z)`, elementwise.
    ///
    /// # Panics
    /// When the lengths differ.
    #[inline(always)]
    pub fn forward<T: Real>(self, z: &[T], y: &mut [T]) {
        assert_eq!(z.len(), y.len());
        specialize!(self, |f| for (y, &z) in y.iter_mut().zip(z) {
            *y = f.value(z);
        });
    }

    /// `dz = dy * f'(z)`, elementwise and in place: `dz` holds `dy` on entry.
    ///
    /// # Panics
    /// When the lengths differ.
    #[inline(always)]
    pub fn backward<T: Real>(self, z: &[T], y: &[T], dz: &mut [T]) {
        assert!(z.len() == dz.len() && y.len() == dz.len());
        specialize!(self, |f| for ((dz, &z), &y) in dz.iter_mut().zip(z).zip(y) {
            *dz *= f.derivative(z, y);
        });
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeakyRelu { negative_slope } => write!(f, "{}({negative_slope})", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

impl FromStr for Activation {
    type Err = Error;

    /// Reads `"relu"`, `"leaky_relu"` (the default slope) or `"leaky_relu(0.2)"`.
    fn from_str(text: &str) -> Result<Self> {
        let (name, argument) = match text.strip_suffix(')').and_then(|t| t.split_once('(')) {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let Some(&found) = Self::ALL.iter().find(|a| a.name() == name) else {
            let known = Self::ALL.map(Self::name).join(", ");
            return invalid!("unknown activation {text:?}; known are {known}");
        };
        match (found, argument) {
            (_, None) => Ok(found),
            (LeakyRelu { .. }, Some(slope)) => match slope.trim().parse::<f64>() {
                Ok(negative_slope) => LeakyRelu { negative_slope }.check(),
                Err(_) => invalid!("{name} needs a finite slope, got {slope:?}"),
            },
            _ => invalid!("{name} takes no parameter, got {text:?}"),
        }
    }
}
