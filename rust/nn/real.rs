//! What the network core asks of a number; `f32` and `f64` have it.

use std::fmt::{Debug, Display};
use std::ops::{AddAssign, DivAssign, MulAssign, SubAssign};

/// A real number type of the core: elementary functions, plus what the matrix product needs.
pub trait Real:
    num_traits::Float
    + faer::traits::RealField
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Debug
    + Display
    + Default
    + Send
    + Sync
    + 'static
{
    /// The type's name as `NumPy` writes it.
    const NAME: &'static str;

    /// Rounds once, to nearest even.
    fn narrow(value: f64) -> Self;

    /// Exact.
    fn widen(self) -> f64;

    /// The hyperbolic tangent, within two ulps; for `f32` in arithmetic that vectorises.
    #[must_use]
    fn tanh_fast(self) -> Self;

    /// `1 / (1 + exp(-self))`, likewise.
    #[must_use]
    fn sigmoid(self) -> Self;
}

impl Real for f32 {
    const NAME: &'static str = "float32";

    #[inline(always)]
    fn narrow(value: f64) -> Self {
        value as Self
    }

    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn tanh_fast(self) -> Self {
        let x = f64::from(self);
        // Near zero `1 - 2 / (e^2x + 1)` cancels; there the series is exact enough.
        let small = x - x * x * x * (1.0 / 3.0 - x * x * (2.0 / 15.0));
        let large = 1.0 - 2.0 / (exp(2.0 * x) + 1.0);
        (if x.abs() < 1e-2 { small } else { large }) as Self
    }

    #[inline(always)]
    fn sigmoid(self) -> Self {
        (1.0 / (1.0 + exp(-f64::from(self)))) as Self
    }
}

impl Real for f64 {
    const NAME: &'static str = "float64";

    #[inline(always)]
    fn narrow(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }

    #[inline(always)]
    fn tanh_fast(self) -> Self {
        self.tanh()
    }

    #[inline(always)]
    fn sigmoid(self) -> Self {
        // The exponent is never positive, so nothing overflows.
        let e = (-self.abs()).exp();
        (if self < 0.0 { e } else { 1.0 }) / (1.0 + e)
    }
}

/// `e^x` within 1e-11 relative, enough for results in `f32`; x is held in +-700, a NaN stays one.
///
/// `e^x = 2^k e^r` with `|r| <= ln(2) / 2` and nine terms of the series: no calls, no branches.
#[inline(always)]
fn exp(x: f64) -> f64 {
    /// Adding it leaves the nearest integer in the low bits of the sum.
    const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52
    let t = x.clamp(-700.0, 700.0) * std::f64::consts::LOG2_E;
    let rounded = t + ROUND;
    let r = (t - (rounded - ROUND)) * std::f64::consts::LN_2;
    let mut sum = 1.0;
    let mut n = 9.0;
    while n > 0.0 {
        sum = 1.0 + sum * r * (1.0 / n);
        n -= 1.0;
    }
    sum * f64::from_bits((rounded.to_bits() << 52).wrapping_add(1023 << 52))
}
