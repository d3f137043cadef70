//! Losses with their gradients: definitions, names, means.
//!
//! Both cross-entropies take logits, so they stay finite where a softmax or sigmoid has saturated.
//! Definitions and means are `PyTorch`'s, with weights of the samples `sum_i w_i l_i / sum_i w_i`. The sums run in
//! `f64` in a fixed order.

mod kernel;
mod softmax;
mod target;

use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::str::FromStr;

pub use target::{Targets, Truth};

use super::activation::Activation;
use super::real::Real;
use super::{check_shape, spec};
use crate::dispatch::{self, Isa, with_default_floats};
use crate::error::{Error, Result, invalid};

/// A loss function, averaged.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Loss {
    /// Mean over all elements of `(y - t)^2`.
    Mse,
    /// Mean over all elements of `|y - t|`, with slope 0 at 0.
    Mae,
    /// Mean over all elements of `d^2 / 2` where `d = |y - t|` is at most `delta`, `delta (d - delta / 2)` beyond.
    Huber {
        /// Where the parabola goes over into its tangent: finite, above 0.
        delta: f64,
    },
    /// Of a sigmoid's logits, mean over all elements.
    BinaryCrossEntropy {
        /// `e` in [0, 1): the target `t` becomes `(1 - e) t + e / 2`.
        label_smoothing: f64,
    },
    /// Of a softmax's logits, mean over the rows.
    SoftmaxCrossEntropy {
        /// `e` in [0, 1): the target `p` of `k` classes becomes `(1 - e) p + e / k`.
        label_smoothing: f64,
    },
}

use Loss::{BinaryCrossEntropy, Huber, Mae, Mse, SoftmaxCrossEntropy};

/// A loss over a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// The mean loss.
    pub loss: f64,
    /// How many of [`Loss::decisions`] were right; `None` for a loss that decides nothing.
    pub correct: Option<usize>,
}

/// What a block of rows adds to the evaluation of the whole.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// Sum of the losses, each times the weight of its row; see [`Loss::normalizer`].
    pub loss: f64,
    /// How many of [`Loss::decisions`] were right, whatever the rows weigh.
    pub correct: usize,
}

impl Add for Sums {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { loss: self.loss + other.loss, correct: self.correct + other.correct }
    }
}

impl Sum for Sums {
    fn sum<I: Iterator<Item = Self>>(sums: I) -> Self {
        sums.fold(Self::default(), Add::add)
    }
}

impl Loss {
    /// Every loss, with its default parameter: the one list that parser and tests use.
    pub const ALL: [Self; 5] =
        [Mse, Mae, Self::huber(), Self::binary_cross_entropy(), Self::softmax_cross_entropy()];

    /// [`Huber`] with a `delta` of 1.
    pub const fn huber() -> Self {
        Huber { delta: 1.0 }
    }

    /// [`BinaryCrossEntropy`] without smoothing.
    pub const fn binary_cross_entropy() -> Self {
        BinaryCrossEntropy { label_smoothing: 0.0 }
    }

    /// [`SoftmaxCrossEntropy`] without smoothing.
    pub const fn softmax_cross_entropy() -> Self {
        SoftmaxCrossEntropy { label_smoothing: 0.0 }
    }

    /// The name, without parameter.
    pub const fn name(self) -> &'static str {
        match self {
            Mse => "mse",
            Mae => "mae",
            Huber { .. } => "huber",
            BinaryCrossEntropy { .. } => "binary_cross_entropy",
            SoftmaxCrossEntropy { .. } => "softmax_cross_entropy",
        }
    }

    /// Its parameter, by name.
    fn parameter(&mut self) -> Option<(&'static str, &mut f64)> {
        match self {
            Mse | Mae => None,
            Huber { delta } => Some(("delta", delta)),
            BinaryCrossEntropy { label_smoothing } | SoftmaxCrossEntropy { label_smoothing } => {
                Some(("label_smoothing", label_smoothing))
            }
        }
    }

    /// Passes it on if its parameter is usable.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `delta` is not finite and positive, or the smoothing not in [0, 1).
    pub fn check_parameter(self) -> Result<Self> {
        match self {
            Huber { delta } if !(delta > 0.0 && delta.is_finite()) => {
                invalid!("huber needs a finite delta above 0, got {delta}")
            }
            BinaryCrossEntropy { label_smoothing: e }
            | SoftmaxCrossEntropy { label_smoothing: e }
                if !(0.0..1.0).contains(&e) =>
            {
                invalid!("{} needs a label_smoothing in [0, 1), got {e}", self.name())
            }
            _ => Ok(self),
        }
    }

    /// Whether one integer per row names the class of that row, whatever the number of outputs.
    pub const fn takes_labels(self) -> bool {
        matches!(self, SoftmaxCrossEntropy { .. })
    }

    /// The output activation to compute with under this loss: a sigmoid in front of the binary cross-entropy is
    /// part of the loss, which takes its argument, the logit; all others stay as they are.
    pub fn output_activation(self, activation: Activation) -> Activation {
        match (self, activation) {
            (BinaryCrossEntropy { .. }, Activation::Sigmoid) => Activation::Linear,
            _ => activation,
        }
    }

    /// How many decisions `rows` rows stand for, the denominator of the accuracy: every output for the
    /// binary loss, every row for the softmax, none for a regression.
    pub const fn decisions(self, rows: usize, outputs: usize) -> usize {
        match self {
            Mse | Mae | Huber { .. } => 0,
            BinaryCrossEntropy { .. } => rows * outputs,
            SoftmaxCrossEntropy { .. } => rows,
        }
    }

    /// The denominator of the mean: the sum of the weights (the number of rows where there are none), times
    /// `outputs` for the losses that are means over elements. It may be 0 for a part of a data set.
    pub fn normalizer<T: Real>(self, targets: Targets<'_, T>, rows: usize, outputs: usize) -> f64 {
        let weight = match targets.weights {
            Some(weights) => weights.iter().map(|w| w.widen()).sum(),
            None => rows as f64,
        };
        weight * self.terms(outputs) as f64
    }

    /// What a row counts for in the mean: once, or once for every output.
    pub const fn terms(self, outputs: usize) -> usize {
        match self {
            SoftmaxCrossEntropy { .. } => 1,
            _ => outputs,
        }
    }

    /// The mean that sums and their [`Loss::normalizer`] give; 0 where nothing has any weight.
    pub fn mean(self, sums: Sums, normalizer: f64) -> Evaluation {
        Evaluation {
            loss: if normalizer == 0.0 { 0.0 } else { sums.loss / normalizer },
            correct: (self.decisions(1, 1) > 0).then_some(sums.correct),
        }
    }

    /// The sums over a block of rows, for targets that have passed [`Loss::check`]: the losses are not divided by
    /// anything. The gradient, of the shape of `logits: (rows, outputs)`, is that of their sum times `scale`,
    /// 1 / [`Loss::normalizer`] for that of the mean (0 where the normalizer is 0).
    ///
    /// A NaN among the logits of a row that counts makes the sum NaN, and so does a row of -inf only, or a +inf, in the
    /// softmax. A logit of -inf stands for a probability of 0: at no cost where the target is 0 too, else at an
    /// infinite one. A row of weight 0 adds nothing, whatever its logits.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn rows<T: Real>(
        self,
        logits: &[T],
        targets: Targets<'_, T>,
        outputs: usize,
        scale: f64,
        gradient: Option<&mut [T]>,
    ) -> Sums {
        dispatch::run(kernel::Rows { loss: self, logits, targets, outputs, scale, gradient })
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
        Isa::current()?;
        self.check(targets, rows, outputs)?;
        check_shape("logits", logits.len(), rows, outputs)?;
        if let Some(gradient) = &gradient {
            check_shape("gradient", gradient.len(), rows, outputs)?;
        }
        let normalizer = self.normalizer(targets, rows, outputs);
        let scale = if normalizer == 0.0 { 0.0 } else { 1.0 / normalizer };
        let sums = with_default_floats(|| self.rows(logits, targets, outputs, scale, gradient));
        Ok(self.mean(sums, normalizer))
    }
}

impl fmt::Display for Loss {
    /// The name, with the parameter where it is not the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let mut copy = *self;
        match copy.parameter() {
            Some((name, value)) if !Self::ALL.contains(self) => write!(f, "({name}={value:?})"),
            _ => Ok(()),
        }
    }
}

impl FromStr for Loss {
    type Err = Error;

    /// Reads `"huber"` (the default parameter), `"huber(0.5)"` or `"huber(delta=0.5)"`.
    fn from_str(text: &str) -> Result<Self> {
        let (name, argument) = spec::parse(text);
        let Some(mut loss) = Self::ALL.into_iter().find(|loss| loss.name() == name) else {
            let known = Self::ALL.map(Self::name).join(", ");
            return invalid!("unknown loss {text:?}; known are {known}");
        };
        match (loss.parameter(), argument) {
            (_, None) => {}
            (Some((own, value)), Some((key, given))) if key.is_none_or(|key| key == own) => {
                *value = spec::number(name, own, given)?;
            }
            (Some((own, _)), _) => return invalid!("{name} takes {own}, got {text:?}"),
            (None, _) => return invalid!("{name} takes no parameter, got {text:?}"),
        }
        loss.check_parameter()
    }
}
