//! Orthogonal weights, drawn from the Haar measure: all orthonormal frames alike.
//!
//! Saxe, McClelland & Ganguli, Exact solutions to the nonlinear dynamics of learning in deep linear neural networks
//! (ICLR 2014). Drawn by Stewart's method (SIAM J. Numer. Anal. 17, 1980).

use crate::distribution::Distribution;
use crate::error::{Result, invalid};
use crate::fill::fill;
use crate::parallel::Stop;
use crate::pattern::Center;
use crate::region::Region;
use crate::sample::Sample;
use crate::stream::Stream;
use crate::weight::Weight;

/// Orthonormal columns or rows, whichever are fewer, times a gain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Orthogonal {
    /// What multiplies the matrix.
    pub gain: f64,
    /// Delta-orthogonal: a matrix at this centre of the kernel, zeros elsewhere. Otherwise the kernel's positions
    /// count as inputs.
    pub center: Option<Center>,
}

impl Orthogonal {
    /// Checks the gain.
    ///
    /// # Errors
    /// It is not finite.
    pub fn checked(self) -> Result<Self> {
        if self.gain.is_finite() {
            Ok(self)
        } else {
            invalid!("gain must be finite, got {}", self.gain)
        }
    }

    /// Does it suit the weight?
    ///
    /// # Errors
    /// A delta-orthogonal weight has more inputs than outputs.
    pub fn check(self, weight: &Weight) -> Result<()> {
        let size = weight.size();
        if self.center.is_some() && size.input > size.output {
            return invalid!(
                "delta_orthogonal needs no fewer outputs than inputs, got {} inputs and {} outputs",
                size.input,
                size.output
            );
        }
        Ok(())
    }

    /// The standard deviation of an element.
    pub fn std(self, weight: &Weight) -> f64 {
        let size = weight.size();
        let (inputs, outputs, kernel) = (size.input as f64, size.output as f64, size.kernel as f64);
        // min(rows, columns) vectors of length gain
        match self.center {
            Some(_) => self.gain.abs() / (inputs.max(outputs) * kernel).sqrt(),
            None => self.gain.abs() / (inputs * kernel).max(outputs).sqrt(),
        }
    }

    /// All elements, in C order.
    ///
    /// # Errors
    /// The gain does not fit `T`, there is not enough memory, or `stop` ended the work.
    pub fn fill<T: Sample>(
        self,
        stream: &Stream,
        weight: &Weight,
        out: &mut [T],
        threads: usize,
        stop: Stop<'_>,
    ) -> Result<()> {
        let normal = Distribution::Normal { mean: 0.0, std: 1.0 };
        let _ = (
            weight,
            fill(stream, normal, &Region::whole(&[out.len() as u64])?, out, threads, stop)?,
        );
        Ok(())
    }
}
