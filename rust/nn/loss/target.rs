//! Targets and weights of samples, and their checks.

use std::ops::Range;

use super::Loss;
use crate::error::{Result, invalid};
use crate::nn::real::Real;
use crate::nn::{area, check_shape};

/// What the network should have said, one row per sample.
#[derive(Debug, Clone, Copy)]
pub enum Truth<'a, T> {
    /// One class index per row.
    Labels(&'a [i64]),
    /// One value per output, row-major `(rows, outputs)`.
    Values(&'a [T]),
}

/// The truth, and how much each row of it counts.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a, T> {
    /// One label or row of values per sample.
    pub truth: Truth<'a, T>,
    /// One weight per sample; without, each counts 1.
    pub weights: Option<&'a [T]>,
}

impl<'a, T> Targets<'a, T> {
    /// One class index per row, all of the same weight.
    pub const fn labels(labels: &'a [i64]) -> Self {
        Self { truth: Truth::Labels(labels), weights: None }
    }

    /// One value per output, row-major `(rows, outputs)`, all rows of the same weight.
    pub const fn values(values: &'a [T]) -> Self {
        Self { truth: Truth::Values(values), weights: None }
    }

    /// The same truth under these weights, one per row.
    pub const fn weighted(self, weights: &'a [T]) -> Self {
        Self { weights: Some(weights), ..self }
    }

    /// Those of a block of rows.
    ///
    /// # Panics
    /// When there are no such rows.
    pub fn rows(self, rows: Range<usize>, outputs: usize) -> Self {
        let truth = match self.truth {
            Truth::Labels(labels) => Truth::Labels(&labels[rows.clone()]),
            Truth::Values(values) => {
                Truth::Values(&values[rows.start * outputs..rows.end * outputs])
            }
        };
        Self { truth, weights: self.weights.map(|weights| &weights[rows]) }
    }
}

/// Rows of probabilities may miss a sum of one by this much (`float16` inputs do).
const SUM_TOLERANCE: f64 = 1e-3;

impl Loss {
    /// Checks targets and weights for `rows` rows of `outputs` outputs, and the loss's own parameter.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) naming both shapes, or the first bad number and its row.
    pub fn check<T: Real>(
        self,
        targets: Targets<'_, T>,
        rows: usize,
        outputs: usize,
    ) -> Result<()> {
        self.check_parameter()?;
        if area(rows, outputs)? == 0 {
            return invalid!(
                "{self} needs at least one row and one output, got ({rows}, {outputs})"
            );
        }
        match targets.truth {
            Truth::Labels(labels) => self.check_labels(labels, rows, outputs)?,
            Truth::Values(values) => self.check_values(values, rows, outputs)?,
        }
        targets.weights.map_or(Ok(()), |weights| check_weights(weights, rows))
    }

    fn check_labels(self, labels: &[i64], rows: usize, outputs: usize) -> Result<()> {
        let given = labels.len();
        let classes = match (self, outputs) {
            (Self::Mse | Self::Mae | Self::Huber { .. }, _) => {
                return invalid!(
                    "{self} needs values of shape ({rows}, {outputs}), got labels of shape ({given},)"
                );
            }
            (Self::BinaryCrossEntropy { .. }, 1) => 2,
            (Self::BinaryCrossEntropy { .. }, _) => {
                return invalid!(
                    "{self} takes labels for one output only; for {outputs} outputs it needs \
                     values of shape ({rows}, {outputs}), got labels of shape ({given},)"
                );
            }
            (Self::SoftmaxCrossEntropy { .. }, _) => outputs,
        };
        if given != rows {
            return invalid!("labels must have shape ({rows},), got ({given},)");
        }
        let known = 0..classes as i64;
        match labels.iter().position(|label| !known.contains(label)) {
            None => Ok(()),
            Some(row) => invalid!(
                "label {} in row {row} is outside of the {classes} classes 0..={}",
                labels[row],
                classes - 1
            ),
        }
    }

    fn check_values<T: Real>(self, values: &[T], rows: usize, outputs: usize) -> Result<()> {
        check_shape("targets", values.len(), rows, outputs)?;
        let (known, expected) = match self {
            Self::Mse | Self::Mae | Self::Huber { .. } => (f64::MIN..=f64::MAX, "a finite number"),
            Self::BinaryCrossEntropy { .. } => (0.0..=1.0, "a probability in [0, 1]"),
            Self::SoftmaxCrossEntropy { .. } => {
                (0.0..=f64::MAX, "a finite, non-negative probability")
            }
        };
        if let Some(i) = values.iter().position(|t| !known.contains(&t.widen())) {
            let (row, column) = (i / outputs, i % outputs);
            return invalid!(
                "target {} in row {row}, column {column} is not {expected}, as {self} needs",
                values[i]
            );
        }
        if matches!(self, Self::SoftmaxCrossEntropy { .. }) {
            for (row, p) in values.chunks_exact(outputs).enumerate() {
                let sum: f64 = p.iter().map(|p| p.widen()).sum();
                if (sum - 1.0).abs() > SUM_TOLERANCE {
                    return invalid!("the target probabilities of row {row} sum to {sum}, not 1");
                }
            }
        }
        Ok(())
    }
}

fn check_weights<T: Real>(weights: &[T], rows: usize) -> Result<()> {
    if weights.len() != rows {
        return invalid!("sample weights must have shape ({rows},), got ({},)", weights.len());
    }
    // Any sum of normal numbers has a finite reciprocal; that of a subnormal number may not.
    let fits = |w: f64| w == 0.0 || (w > 0.0 && w.is_normal());
    if let Some(row) = weights.iter().position(|w| !fits(w.widen())) {
        return invalid!(
            "sample weights must be finite, at least 0 and not subnormal, got {} in row {row}",
            weights[row]
        );
    }
    let sum: f64 = weights.iter().map(|w| w.widen()).sum();
    if sum == 0.0 || sum == f64::INFINITY {
        return invalid!("the sample weights must have a finite sum above 0, got {sum}");
    }
    Ok(())
}
