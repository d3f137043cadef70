//! Orthogonal weights, drawn from the Haar measure: all orthonormal frames alike.
//!
//! Saxe, McClelland & Ganguli, Exact solutions to the nonlinear dynamics of learning in deep linear neural networks
//! (ICLR 2014). Drawn by Stewart's method (SIAM J. Numer. Anal. 17, 1980).

use crate::error::{Result, invalid};
use crate::fans::Role;
use crate::haar::Frames;
use crate::law::zeros;
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

    /// The standard deviation of an element; 0 where there is none.
    pub fn std(self, weight: &Weight) -> f64 {
        let size = weight.size();
        if [size.batch, size.kernel, size.input, size.output].contains(&0) {
            return 0.0;
        }
        let (inputs, outputs, kernel) = (size.input as f64, size.output as f64, size.kernel as f64);
        // min(rows, columns) vectors of length gain
        match self.center {
            Some(_) => self.gain.abs() / (inputs.max(outputs) * kernel).sqrt(),
            None => self.gain.abs() / (inputs * kernel).max(outputs).sqrt(),
        }
    }

    /// All elements, in C order.
    ///
    /// The weights of a batch are independent. One that is not stored as a matrix or its transpose, such as a
    /// convolution of layout "torch" or packed blocks of layout "numpy", is made as a matrix first.
    ///
    /// # Errors
    /// The gain does not fit `T`, there is not enough memory, or `stop` ended the work. An empty `out` asks for the
    /// first alone.
    pub fn fill<T: Sample>(
        self,
        stream: &Stream,
        weight: &Weight,
        out: &mut [T],
        threads: usize,
        stop: Stop<'_>,
    ) -> Result<()> {
        if !T::from_f64(self.gain).to_f64().is_finite() {
            return invalid!("gain = {:e} does not fit {}", self.gain, T::NAME);
        }
        if out.is_empty() {
            return Ok(());
        }
        let size = weight.size();
        // the matrix: (inputs, outputs); without a center, each position of the kernel has inputs of its own
        let (inputs, center) = match self.center {
            Some(center) => (size.input, center.position(weight.kernel())),
            None => (size.input * size.kernel, 0),
        };
        let outputs = size.output;
        let frames = |transposed: bool| Frames {
            count: size.batch as usize,
            rows: inputs.max(outputs) as usize,
            columns: inputs.min(outputs) as usize,
            gain: self.gain,
            by_columns: transposed != (inputs < outputs),
        };
        if inputs == size.input * size.kernel {
            let order = weight.order();
            for (transposed, roles) in [
                (false, [Role::Batch, Role::Kernel, Role::Input, Role::Output]),
                (true, [Role::Batch, Role::Output, Role::Kernel, Role::Input]),
            ] {
                let mut roles = roles.iter();
                if order.iter().all(|role| roles.any(|other| other == role)) {
                    return frames(transposed).fill(stream, out, threads, stop);
                }
            }
        }
        let mut matrices = zeros::<T>(size.batch * inputs * outputs)?;
        frames(false).fill(stream, &mut matrices, threads, stop)?;
        let whole = Region::whole(&[weight.len()])?;
        weight.evaluate(&whole, 0, out, threads, stop, |place| {
            let input = match self.center {
                Some(_) if place.kernel != center => return T::ZERO,
                Some(_) => place.input,
                None => place.kernel * size.input + place.input,
            };
            matrices[((place.batch * inputs + input) * outputs + place.output) as usize]
        })
    }
}
