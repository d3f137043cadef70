//! Activation functions, elementwise: value and slope side by side, one entry per function.
//!
//! Definitions and slopes at kinks are those of `PyTorch`, with one difference: `softplus` is the function itself
//! everywhere, also above 20. A NaN stays a NaN, infinities give the limits, and nothing overflows on the way.

use std::f64::consts::{FRAC_2_SQRT_PI, SQRT_2};
use std::fmt;
use std::str::FromStr;

use super::elementary::within;
use super::real::Real;
use super::spec;
use crate::error::{Error, Result, invalid};

/// Makes [`Activation`] of the table below: one row for each function, with its name, variant, parameter and default
/// if it has one, and the function `(z, parameter) -> (value, slope)`.
macro_rules! activations {
    ($(
        $(#[$about:meta])*
        $name:literal $Variant:ident
        $({ $(#[$about_parameter:meta])* $parameter:ident: $default:literal })? = $function:ident;
    )*) => {
        /// An elementwise activation function.
        #[derive(Debug, Clone, Copy, PartialEq)]
        #[non_exhaustive]
        pub enum Activation {
            $($(#[$about])* $Variant $({ $(#[$about_parameter])* $parameter: f64 })?,)*
        }

        impl Activation {
            /// Every activation, with its default parameter: the one list that parser, tables and tests use.
            pub const ALL: [Self; [$($name),*].len()] =
                [$(Self::$Variant $({ $parameter: $default })?),*];

            /// The name, without the parameter.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Variant { .. } => $name,)*
                }
            }

            /// Name and value of the parameter.
            pub fn parameter(self) -> Option<(&'static str, f64)> {
                match self {
                    $(Self::$Variant $({ $parameter })? => {
                        None $(.or(Some((stringify!($parameter), $parameter))))?
                    })*
                }
            }

            /// The same function with another parameter, if it has one.
            fn with_parameter(self, value: f64) -> Self {
                match self {
                    $(Self::$Variant { .. } => Self::$Variant $({ $parameter: value })?,)*
                }
            }

            /// `f(z)` and `f'(z)`; at a kink the left derivative, for `hard_tanh` 0.
            #[inline(always)]
            pub fn value_and_slope<T: Real>(self, z: T) -> (T, T) {
                match self {
                    $(Self::$Variant $({ $parameter })? => {
                        $function(z $(, T::narrow($parameter))?)
                    })*
                }
            }

            /// In place: `z` becomes `f(z)`.
            #[inline(always)]
            pub fn forward<T: Real>(self, z: &mut [T]) {
                match self {
                    // A loop each, so that each vectorises.
                    $(Self::$Variant $({ $parameter })? => {
                        for z in z {
                            *z = $function(*z $(, T::narrow($parameter))?).0;
                        }
                    })*
                }
            }

            /// In place: `z` becomes `f(z)`, and `slope` is set to `f'(z)`.
            ///
            /// # Panics
            /// When the lengths differ.
            #[inline(always)]
            pub fn forward_with_slope<T: Real>(self, z: &mut [T], slope: &mut [T]) {
                assert_eq!(z.len(), slope.len());
                match self {
                    $(Self::$Variant $({ $parameter })? => {
                        for (z, slope) in z.iter_mut().zip(slope) {
                            (*z, *slope) = $function(*z $(, T::narrow($parameter))?);
                        }
                    })*
                }
            }
        }
    };
}

activations! {
    /// `z`
    "linear" Linear = linear;
    /// `max(z, 0)`
    "relu" Relu = relu;
    /// `z` where positive, `negative_slope * z` elsewhere (Maas, Hannun & Ng 2013).
    "leaky_relu" LeakyRelu {
        /// Slope for negative inputs.
        negative_slope: 0.01
    } = leaky_relu;
    /// `z` where positive, `alpha * (exp(z) - 1)` elsewhere (Clevert, Unterthiner & Hochreiter 2016).
    "elu" Elu {
        /// Minus the limit at minus infinity.
        alpha: 1.0
    } = elu;
    /// A scaled `elu` that keeps mean 0 and variance 1 (Klambauer et al. 2017).
    "selu" Selu = selu;
    /// `z * P(Z < z)` for a standard normal Z (Hendrycks & Gimpel 2016), exactly.
    "gelu" Gelu = gelu;
    /// The same authors' approximation, `z / 2 * (1 + tanh(sqrt(2 / pi) * (z + 0.044715 z^3)))`.
    "gelu_tanh" GeluTanh = gelu_tanh;
    /// `z * sigmoid(z)`, also known as swish (Elfwing, Uchibe & Doya 2018).
    "silu" Silu = silu;
    /// Hyperbolic tangent.
    "tanh" Tanh = tanh;
    /// `1 / (1 + exp(-z))`
    "sigmoid" Sigmoid = sigmoid;
    /// `log(1 + exp(z))`
    "softplus" Softplus = softplus;
    /// `z / (1 + |z|)`
    "softsign" Softsign = softsign;
    /// `z * tanh(softplus(z))` (Misra 2020).
    "mish" Mish = mish;
    /// `z` held in [-1, 1].
    "hard_tanh" HardTanh = hard_tanh;
}

#[inline(always)]
fn linear<T: Real>(z: T) -> (T, T) {
    (z, T::one())
}

// Here and below, `+ zero` turns a -0 into 0. Without it, some lanes of z would stay as they are, which the compiler
// makes a masked store for AVX2, at a quarter of the speed.
#[inline(always)]
fn relu<T: Real>(z: T) -> (T, T) {
    let (zero, one) = (T::zero(), T::one());
    let y = if z < zero { zero } else { z };
    (y + zero, if z <= zero { zero } else { one })
}

#[inline(always)]
fn leaky_relu<T: Real>(z: T, negative_slope: T) -> (T, T) {
    let zero = T::zero();
    let y = if z < zero { negative_slope * z } else { z };
    (y + zero, if z <= zero { negative_slope } else { T::one() })
}

#[inline(always)]
fn elu<T: Real>(z: T, alpha: T) -> (T, T) {
    scaled_elu(z, T::one(), alpha)
}

#[inline(always)]
fn selu<T: Real>(z: T) -> (T, T) {
    // The fixed point's constants as in the paper's appendix, to the digits that float64 holds.
    const SCALE: f64 = 1.050_700_987_355_480_5;
    const ALPHA: f64 = 1.673_263_242_354_377_2;
    scaled_elu(z, T::narrow(SCALE), T::narrow(SCALE * ALPHA))
}

/// `scale * z` where positive, `alpha * (exp(z) - 1)` elsewhere.
#[inline(always)]
fn scaled_elu<T: Real>(z: T, scale: T, alpha: T) -> (T, T) {
    let (exp, expm1) = z.exp_and_expm1(-T::zero());
    let positive = z > T::zero();
    let y = if positive { scale * z } else { alpha * expm1 };
    (y + T::zero(), if positive { scale } else { alpha * exp })
}

/// `z g(z)` and its slope `g + z g'`, for a gate g from 0 to 1 that is 0 from `-reach` down, with no slope outside of
/// `+-reach`. There z is held, since an infinity times zero is not the limit.
#[inline(always)]
fn gated<T: Real>(z: T, reach: T, (gate, slope): (T, T)) -> (T, T) {
    let (from, to) = (within(z, -reach, T::infinity()), within(z, -reach, reach));
    (from * gate, gate + to * slope)
}

#[inline(always)]
fn gelu<T: Real>(z: T) -> (T, T) {
    gated(z, T::TABLE.normal_zero, z.normal_and_density())
}

#[inline(always)]
fn gelu_tanh<T: Real>(z: T) -> (T, T) {
    // (1 + tanh(u)) / 2 = sigmoid(2 u);  2 u = z (LINEAR + CUBIC z^2)
    const LINEAR: f64 = FRAC_2_SQRT_PI * SQRT_2;
    const CUBIC: f64 = 0.044_715 * LINEAR;
    let reach = T::TABLE.normal_zero;
    let held = within(z, -reach, reach);
    let (linear, cubic) = (T::narrow(LINEAR), T::narrow(CUBIC) * held * held);
    let (gate, slope) = (held * (linear + cubic)).sigmoid_and_slope();
    gated(z, reach, (gate, slope * (linear + cubic * T::narrow(3.0))))
}

#[inline(always)]
fn silu<T: Real>(z: T) -> (T, T) {
    gated(z, -T::TABLE.exp_zero, z.sigmoid_and_slope())
}

#[inline(always)]
fn tanh<T: Real>(z: T) -> (T, T) {
    z.tanh_and_slope()
}

#[inline(always)]
fn sigmoid<T: Real>(z: T) -> (T, T) {
    z.sigmoid_and_slope()
}

#[inline(always)]
fn softplus<T: Real>(z: T) -> (T, T) {
    let zero = T::zero();
    let positive = if z > zero { z } else { zero };
    (positive + (-z.abs()).exp_fast().ln_1p_fast(), z.sigmoid())
}

#[inline(always)]
fn softsign<T: Real>(z: T) -> (T, T) {
    let z = within(z, -T::max_value(), T::max_value());
    let sum = T::one() + z.abs();
    let d = T::one() / sum;
    (z / sum, d * d)
}

#[inline(always)]
fn mish<T: Real>(z: T) -> (T, T) {
    let (one, two) = (T::one(), T::narrow(2.0));
    // With E = e^z: tanh(log(1 + E)) = (E^2 + 2 E) / (E^2 + 2 E + 2), whose slope is 4 E (1 + E) / (...)^2.
    // For z > 0, both in e = 1 / E instead.
    let e = (-z.abs()).exp_fast();
    let positive = z > T::zero();
    let numerator = if positive { one + two * e } else { e * (e + two) };
    let d = one / (numerator + if positive { two * e * e } else { two });
    let slope = T::narrow(4.0) * e * (one + e) * if positive { e } else { one };
    gated(z, -T::TABLE.exp_zero, (numerator * d, slope * d * d))
}

#[inline(always)]
fn hard_tanh<T: Real>(z: T) -> (T, T) {
    let one = T::one();
    let outside = z <= -one || z >= one;
    (within(z, -one, one), if outside { T::zero() } else { one })
}

impl Activation {
    /// `f(z)`.
    #[inline(always)]
    pub fn value<T: Real>(self, z: T) -> T {
        self.value_and_slope(z).0
    }

    /// Passes it on if its parameter is usable.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is not finite.
    pub fn check(self) -> Result<Self> {
        match self.parameter() {
            Some((name, value)) if !value.is_finite() => {
                invalid!("{} needs a finite {name}, got {value}", self.name())
            }
            _ => Ok(self),
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parameter() {
            Some((_, value)) => write!(f, "{}({value})", self.name()),
            None => f.write_str(self.name()),
        }
    }
}

impl FromStr for Activation {
    type Err = Error;

    /// Reads `"relu"`, `"leaky_relu"` (the default slope), `"leaky_relu(0.2)"` or
    /// `"leaky_relu(negative_slope=0.2)"`.
    fn from_str(text: &str) -> Result<Self> {
        let (name, argument) = spec::parse(text);
        let Some(&found) = Self::ALL.iter().find(|a| a.name() == name) else {
            let known = Self::ALL.map(Self::name).join(", ");
            return invalid!("unknown activation {text:?}; known are {known}");
        };
        match (argument, found.parameter()) {
            (None, _) => Ok(found),
            (Some(_), None) => invalid!("{name} takes no parameter, got {text:?}"),
            (Some((Some(key), _)), Some((parameter, _))) if key != parameter => {
                invalid!("{name} takes {parameter}, got {key:?}")
            }
            (Some((_, value)), Some((parameter, _))) => {
                found.with_parameter(spec::number(name, parameter, value)?).check()
            }
        }
    }
}
