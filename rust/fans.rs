//! Fan-in and fan-out: how many numbers are summed into one output, and how many outputs one input reaches.

use crate::error::{Error, Result, invalid};
use crate::region::tuple;

/// Which axes of a weight are its inputs and outputs; all others are kernel positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Layout {
    /// (..., in, out): NumPy, JAX, Keras; `y = x @ W`.
    #[default]
    Numpy,
    /// (out, in, ...): PyTorch; `y = W @ x`.
    Torch,
}

impl std::str::FromStr for Layout {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "numpy" => Ok(Self::Numpy),
            "torch" => Ok(Self::Torch),
            _ => invalid!(
                "unknown layout {text:?}: expected 'numpy' (..., in, out) or 'torch' (out, in, ...)"
            ),
        }
    }
}

/// (`fan_in`, `fan_out`) of a weight of this shape: channels times kernel positions.
///
/// # Errors
/// Fewer than two axes: a vector has no inputs and outputs to tell apart.
pub fn fans(shape: &[u64], layout: Layout) -> Result<(u64, u64)> {
    let (inputs, outputs, kernel) = match (shape, layout) {
        ([kernel @ .., inputs, outputs], Layout::Numpy)
        | ([outputs, inputs, kernel @ ..], Layout::Torch) => (*inputs, *outputs, kernel),
        _ => {
            return invalid!(
                "fan_in and fan_out need a shape of at least 2 dimensions, got {}",
                tuple(shape)
            );
        }
    };
    // Saturating: only an empty array's other axes can multiply beyond 64 bits.
    let times =
        |channels| kernel.iter().fold(channels, |product: u64, n| product.saturating_mul(*n));
    Ok((times(inputs), times(outputs)))
}
