//! Losses with their gradients, and the checks of their targets.
//!
//! Both cross-entropies take logits, so they stay finite where a softmax or sigmoid has saturated.
//! Definitions and means are `PyTorch`'s. Sums run in `f64` and in index order.

use std::fmt;
use std::str::FromStr;

use super::activation::Activation;
use super::real::Real;
use super::{area, check_shape};
use crate::error::{Error, Result, invalid};

/// What the network should have said, one row per sample.
#[derive(Debug, Clone, Copy)]
pub enum Targets<'a, T> {
    /// One class index per row.
    Labels(&'a [i64]),
    /// One value per output, row-major `(rows, outputs)`.
    Values(&'a [T]),
}

/// A loss function, averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// Mean over all elements of `(y - t)^2`.
    Mse,
    /// Of a sigmoid's logits, mean over all elements.
    BinaryCrossEntropy,
    /// Of a softmax's logits, mean over the rows.
    SoftmaxCrossEntropy,
}

/// A loss over a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// The mean loss.
    pub loss: f64,
    /// How many of [`Loss::decisions`] were right; `None` for a loss that decides nothing.
    pub correct: Option<usize>,
}

/// Rows of probabilities may miss a sum of one by this much (`float16` inputs do).
const SUM_TOLERANCE: f64 = 1e-3;

impl Loss {
    /// Every loss: the one list that parser and tests use.
    pub const ALL: [Self; 3] = [Self::Mse, Self::BinaryCrossEntropy, Self::SoftmaxCrossEntropy];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mse => "mse",
            Self::BinaryCrossEntropy => "binary_cross_entropy",
            Self::SoftmaxCrossEntropy => "softmax_cross_entropy",
        }
    }

    /// The output activation to compute with under this loss: a sigmoid in front of the binary cross-entropy is
    /// part of the loss, which takes its argument, the logit; all others stay as they are.
    pub fn output_activation(self, activation: Activation) -> Activation {
        match (self, activation) {
            (Self::BinaryCrossEntropy, Activation::Sigmoid) => Activation::Linear,
            _ => activation,
        }
    }

    /// How many decisions `rows` rows stand for, the denominator of the accuracy: every output for the
    /// binary loss, every row for the softmax, none for a regression.
    pub const fn decisions(self, rows: usize, outputs: usize) -> usize {
        match self {
            Self::Mse => 0,
            Self::BinaryCrossEntropy => rows * outputs,
            Self::SoftmaxCrossEntropy => rows,
        }
    }

    /// Checks targets for `rows` rows of `outputs` outputs.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming both shapes, or the first bad target and its row.
    pub fn check<T: Real>(
        self,
        targets: Targets<'_, T>,
        rows: usize,
        outputs: usize,
    ) -> Result<()> {
        if area(rows, outputs)? == 0 {
            return invalid!(
                "{self} needs at least one row and one output, got ({rows}, {outputs})"
            );
        }
        match targets {
            Targets::Labels(labels) => self.check_labels(labels, rows, outputs),
            Targets::Values(values) => self.check_values(values, rows, outputs),
        }
    }

    fn check_labels(self, labels: &[i64], rows: usize, outputs: usize) -> Result<()> {
        let classes = match (self, outputs) {
            (Self::Mse, _) => {
                return invalid!("{self} needs values of shape ({rows}, {outputs}), got labels");
            }
            (Self::BinaryCrossEntropy, 1) => 2,
            (Self::BinaryCrossEntropy, _) => {
                return invalid!(
                    "{self} takes labels for one output only; for {outputs} outputs it needs \
                     values of shape ({rows}, {outputs})"
                );
            }
            (Self::SoftmaxCrossEntropy, _) => outputs,
        };
        if labels.len() != rows {
            return invalid!("labels must have shape ({rows},), got ({},)", labels.len());
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
        let (bound, expected) = match self {
            Self::Mse => (f64::INFINITY, "a finite number"),
            Self::BinaryCrossEntropy => (1.0, "a probability in [0, 1]"),
            Self::SoftmaxCrossEntropy => (f64::INFINITY, "a finite, non-negative probability"),
        };
        let fits = |t: f64| t.is_finite() && (self == Self::Mse || (0.0..=bound).contains(&t));
        if let Some(i) = values.iter().position(|t| !fits(t.widen())) {
            let (row, column) = (i / outputs, i % outputs);
            return invalid!(
                "target {} in row {row}, column {column} is not {expected}, as {self} needs",
                values[i]
            );
        }
        if self == Self::SoftmaxCrossEntropy {
            for (row, p) in values.chunks_exact(outputs).enumerate() {
                let sum: f64 = p.iter().map(|p| p.widen()).sum();
                if (sum - 1.0).abs() > SUM_TOLERANCE {
                    return invalid!("the target probabilities of row {row} sum to {sum}, not 1");
                }
            }
        }
        Ok(())
    }

    /// The loss of `logits: (rows, outputs)` and, if wanted, its gradient of the same shape.
    ///
    /// # Errors
    /// Those of [`Loss::check`], and [`Error::Invalid`] when a shape does not fit; nothing is written then.
    pub fn evaluate<T: Real>(
        self,
        logits: &[T],
        targets: Targets<'_, T>,
        rows: usize,
        outputs: usize,
        gradient: Option<&mut [T]>,
    ) -> Result<Evaluation> {
        self.check(targets, rows, outputs)?;
        check_shape("logits", logits.len(), rows, outputs)?;
        if let Some(gradient) = &gradient {
            check_shape("gradient", gradient.len(), rows, outputs)?;
        }
        Ok(self.evaluate_checked(logits, targets, outputs, gradient))
    }

    /// [`Loss::evaluate`] for targets and shapes that have passed the checks.
    pub(super) fn evaluate_checked<T: Real>(
        self,
        logits: &[T],
        targets: Targets<'_, T>,
        outputs: usize,
        gradient: Option<&mut [T]>,
    ) -> Evaluation {
        use Targets::{Labels, Values};
        match (self, targets) {
            (Self::Mse, Values(t)) => {
                let loss = elementwise(
                    logits,
                    |i| t[i],
                    gradient,
                    |x, t| ((x - t) * (x - t), (x - t) + (x - t)),
                );
                Evaluation { loss, correct: None }
            }
            (Self::BinaryCrossEntropy, Values(t)) => binary(logits, |i| t[i], gradient),
            (Self::BinaryCrossEntropy, Labels(t)) => {
                binary(logits, |i| T::narrow(t[i] as f64), gradient)
            }
            (Self::SoftmaxCrossEntropy, Values(t)) => {
                softmax(logits, outputs, |row, class| t[row * outputs + class], gradient)
            }
            (Self::SoftmaxCrossEntropy, Labels(t)) => {
                let p = |row: usize, class| {
                    if t[row] == class as i64 { T::one() } else { T::zero() }
                };
                softmax(logits, outputs, p, gradient)
            }
            (Self::Mse, Labels(_)) => unreachable!("`check` refuses labels for mse"),
        }
    }
}

/// Mean over the elements of a loss `(x, t) -> (value, derivative)`, gradient divided by their number.
fn elementwise<T: Real>(
    x: &[T],
    target: impl Fn(usize) -> T,
    mut gradient: Option<&mut [T]>,
    loss: impl Fn(T, T) -> (T, T),
) -> f64 {
    let n = x.len() as f64;
    let scale = T::narrow(1.0 / n);
    let mut sum = 0.0;
    for (i, &x) in x.iter().enumerate() {
        let (value, derivative) = loss(x, target(i));
        sum += value.widen();
        if let Some(gradient) = &mut gradient {
            gradient[i] = derivative * scale;
        }
    }
    sum / n
}

/// `max(x, 0) - x t + log(1 + exp(-|x|))`, with gradient `sigmoid(x) - t`.
fn binary<T: Real>(x: &[T], target: impl Fn(usize) -> T, gradient: Option<&mut [T]>) -> Evaluation {
    let zero = T::zero();
    let half = T::narrow(0.5);
    let correct = x.iter().enumerate().filter(|&(i, &x)| (x > zero) == (target(i) > half)).count();
    let loss = elementwise(x, &target, gradient, |x, t| {
        let e = (-x.abs()).exp();
        // `max` alone would drop a NaN; the product keeps it.
        (x.max(zero) - x * t + e.ln_1p(), x.sigmoid() - t)
    });
    Evaluation { loss, correct: Some(correct) }
}

/// `sum_j p_j (log(sum_k exp(x_k)) - x_j)`, with gradient `softmax(x) sum(p) - p`, per row.
fn softmax<T: Real>(
    logits: &[T],
    classes: usize,
    p: impl Fn(usize, usize) -> T,
    mut gradient: Option<&mut [T]>,
) -> Evaluation {
    let rows = logits.len() / classes;
    let scale = T::narrow(1.0 / rows as f64);
    let (mut sum, mut correct) = (0.0, 0);
    for (row, x) in logits.chunks_exact(classes).enumerate() {
        let (best, max) = argmax(x.iter().copied());
        let (wanted, _) = argmax((0..classes).map(|class| p(row, class)));
        correct += usize::from(best == wanted);

        // Shifted by the maximum, so the largest exponential is 1 and the sum at least 1.
        let exp_sum: f64 = x.iter().map(|&x| (x - max).exp().widen()).sum();
        let log_sum = exp_sum.ln();
        let mut mass = 0.0;
        for (class, &x) in x.iter().enumerate() {
            let p = p(row, class).widen();
            mass += p;
            sum += p * (log_sum - (x.widen() - max.widen()));
        }
        if let Some(gradient) = &mut gradient {
            let normalizer = T::narrow(mass / exp_sum);
            let gradient = &mut gradient[row * classes..][..classes];
            for (class, (g, &x)) in gradient.iter_mut().zip(x).enumerate() {
                *g = ((x - max).exp() * normalizer - p(row, class)) * scale;
            }
        }
    }
    Evaluation { loss: sum / rows as f64, correct: Some(correct) }
}

/// The first largest value and where it is; position 0 if none compares as larger.
fn argmax<T: Real>(values: impl Iterator<Item = T>) -> (usize, T) {
    values.enumerate().fold(
        (0, T::neg_infinity()),
        |(at, max), (i, x)| {
            if x > max { (i, x) } else { (at, max) }
        },
    )
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Loss {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|loss| loss.name() == text).map_or_else(
            || {
                let known = Self::ALL.map(Self::name).join(", ");
                invalid!("unknown loss {text:?}; known are {known}")
            },
            Ok,
        )
    }
}
