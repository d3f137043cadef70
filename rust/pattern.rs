//! Weights that are a function of the position, without any chance.

use crate::error::{Result, invalid};
use crate::named::named;
use crate::weight::{Place, Weight};

named! {
    /// Which matrix stands at the centre of the kernel.
    Kind, "pattern",
    /// Ones where input and output have the same number: the signal passes unchanged, or as much of it as there is
    /// room for (Dirac's delta, for a convolution).
    Identity = "identity",
    /// Identity where inputs are no fewer than outputs; else a Hadamard matrix, since copies of zeros would stay
    /// equal: `H[i, o] = 2^(-(m - 1) / 2) (-1)^popcount(i & o)`, `m = ceil(log2(outputs))`.
    /// Zhao, Schaefer & Anandkumar, ZerO Initialization (TMLR 2022), algorithm 1.
    Zero = "zero"
}

named! {
    /// Which of the two middle positions of a kernel of even length is its centre.
    Center, "center",
    /// `(k - 1) / 2`: JAX and Keras, and what `padding="same"` asks for.
    Lower = "lower",
    /// `k / 2`: PyTorch's `dirac_`.
    Upper = "upper"
}

impl Center {
    /// The number of the central position of a kernel, if it is one of an array that can be.
    pub fn position(self, kernel: &[u64]) -> u64 {
        kernel.iter().fold(0, |position, k| {
            let middle = match self {
                Self::Lower => k.saturating_sub(1) / 2,
                Self::Upper => k / 2,
            };
            position.saturating_mul(*k).saturating_add(middle)
        })
    }
}

/// A matrix at the centre of the kernel, times a gain; zeros elsewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pattern {
    /// The matrix.
    pub kind: Kind,
    /// What multiplies it.
    pub gain: f64,
    /// The centre of even kernels.
    pub center: Center,
}

impl Pattern {
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

    /// The value of each place of a weight.
    pub fn values(self, weight: &Weight) -> impl Fn(Place) -> f64 + Send + Sync + use<> {
        let (inputs, outputs) = (weight.size().input, weight.size().output);
        let center = self.center.position(weight.kernel());
        let hadamard = self.kind == Kind::Zero && inputs < outputs;
        let (gain, height) = (self.gain, self.gain * hadamard_height(outputs));
        move |place: Place| {
            if place.kernel != center {
                0.0
            } else if hadamard {
                let odd = (place.input & place.output).count_ones() % 2 == 1;
                if odd { -height } else { height }
            } else if place.input == place.output {
                gain
            } else {
                0.0
            }
        }
    }

    /// The standard deviation over all positions of a weight.
    pub fn std(self, weight: &Weight) -> f64 {
        let Place { input, output, kernel, .. } = weight.size();
        let elements = input as f64 * output as f64 * kernel as f64;
        // sums of the values and of their squares, over one batch, for a gain of 1: its square may be out of range
        let (sum, squares) = if self.kind == Kind::Zero && input < output {
            let height = hadamard_height(output);
            (height * hadamard_sum(input, output), height * height * input as f64 * output as f64)
        } else {
            let ones = input.min(output) as f64;
            (ones, ones)
        };
        let mean = sum / elements;
        self.gain.abs() * (squares / elements - mean * mean).max(0.0).sqrt()
    }
}

/// `2^(-(m - 1) / 2)` with `m = ceil(log2(outputs))`.
fn hadamard_height(outputs: u64) -> f64 {
    let m = u64::BITS as i32 - outputs.saturating_sub(1).leading_zeros() as i32; // ceil(log2)
    // odd powers of 2^(-1/2) by one rounding
    let even = 2f64.powi(-((m - 1).div_euclid(2)));
    if (m - 1).rem_euclid(2) == 0 { even } else { even * std::f64::consts::FRAC_1_SQRT_2 }
}

/// The sum over the first rows and columns of a Hadamard matrix, all of whose rows but the first sum to 0:
/// of [[H, H], [H, -H]], blocks as wide or high as H sum to its size.
fn hadamard_sum(mut rows: u64, mut columns: u64) -> f64 {
    let (mut sum, mut sign) = (0.0, 1.0);
    while rows > 0 && columns > 0 {
        let last = rows.max(columns) - 1;
        if last == 0 {
            return sum + sign;
        }
        let half = 1 << last.ilog2();
        let full = half as f64;
        if rows > half && columns > half {
            sum += sign * 3.0 * full;
            sign = -sign;
            (rows, columns) = (rows - half, columns - half);
        } else {
            sum += sign * full;
            if rows > half { rows -= half } else { columns -= half }
        }
    }
    sum
}
