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
}
