//! Learning-rate schedules: what the learning rate is multiplied by at each step of a fit.

use std::f64::consts::PI;

use crate::error::{Result, invalid};

/// How the learning rate changes over a fit. Times are in epochs and may be fractions of one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Schedule {
    /// Not at all.
    #[default]
    Constant,
    /// Multiplied by `factor` after every `every` epochs; `StepLR` of `PyTorch` where that is a whole number.
    Step {
        /// Epochs from one change to the next.
        every: f64,
        /// What each change multiplies by.
        factor: f64,
    },
    /// Half a cosine from 1 down to `final_factor` at the end of the fit (Loshchilov and Hutter, 2017), after
    /// a linear warm-up.
    Cosine {
        /// Epochs over which the factor rises to 1.
        warmup: f64,
        /// Where the cosine ends, in [0, 1].
        final_factor: f64,
    },
}

impl Schedule {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] naming the first one that is out of range.
    pub fn check(self) -> Result<()> {
        match self {
            Self::Constant => {}
            Self::Step { every, factor } => {
                for (name, value) in [("every", every), ("factor", factor)] {
                    if !(value.is_finite() && value > 0.0) {
                        return invalid!("{name} must be finite and above 0, got {value}");
                    }
                }
            }
            Self::Cosine { warmup, final_factor } => {
                if !(warmup.is_finite() && warmup >= 0.0) {
                    return invalid!("warmup must be finite and at least 0, got {warmup}");
                }
                if !(0.0..=1.0).contains(&final_factor) {
                    return invalid!("final_factor must be in [0, 1], got {final_factor}");
                }
            }
        }
        Ok(())
    }

    /// [`Schedule::check`], and whether it fits into `epochs` epochs.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] saying what does not.
    pub fn check_fit(self, epochs: usize) -> Result<()> {
        self.check()?;
        match self {
            Self::Cosine { warmup, .. } if warmup > epochs as f64 => {
                invalid!("warmup must be at most the {epochs} epochs of the fit, got {warmup}")
            }
            _ => Ok(()),
        }
    }

    /// The factor of the step that begins when `epoch` epochs are done, a multiple of `1 / steps_per_epoch`,
    /// in a fit of `epochs`.
    pub fn factor(self, epoch: f64, epochs: usize, steps_per_epoch: usize) -> f64 {
        match self {
            Self::Constant => 1.0,
            // A little more than zero, so that rounding puts no change off by a step.
            Self::Step { every, factor } => factor.powf((epoch / every + 1e-9).floor()),
            Self::Cosine { warmup, .. } if epoch < warmup => {
                // Step k of n has (k + 1) / n: none is without effect.
                ((epoch + 1.0 / steps_per_epoch as f64) / warmup).min(1.0)
            }
            Self::Cosine { warmup, final_factor } => {
                let length = epochs as f64 - warmup;
                let done = if length > 0.0 { ((epoch - warmup) / length).min(1.0) } else { 1.0 };
                final_factor + (1.0 - final_factor) * 0.5 * (1.0 + (PI * done).cos())
            }
        }
    }
}
