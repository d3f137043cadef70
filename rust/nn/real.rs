//! What the network core asks of a number; `f32` and `f64` have it.

use std::fmt::{Debug, Display};
use std::ops::{AddAssign, DivAssign, MulAssign, SubAssign};

use super::elementary::Elementary;

/// A real number type of the core: elementary functions, plus what the matrix product needs.
pub trait Real:
    Elementary
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
{
    /// The type's name as `NumPy` writes it.
    const NAME: &'static str;

    /// Exact.
    fn widen(self) -> f64;
}

impl Real for f32 {
    const NAME: &'static str = "float32";

    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    const NAME: &'static str = "float64";

    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }
}
