//! The training loop: seeded mini-batches, a step, statistics per epoch.
//!
//! ```text
//! for each epoch:  order = permutation(seed, epoch)
//!     for each batch:  loss, gradients -> finite? -> optimizer step     otherwise: diverged, end
//! ```
//! The parameters change only inside of an optimizer step, which nothing interrupts: whether the fit ends
//! by itself, by divergence, by a stop or by an error, they are those after some whole step.

use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use super::loss::{Loss, Targets};
use super::mlp::{Mlp, Workspace};
use super::optimizer::{Optimizer, State};
use super::real::Real;
use super::{Run, area, check_shape, vectorized, zeros};
use crate::error::{Error, Result, invalid};
use crate::simd::Portable;
use crate::stream::{SUPERBLOCK, Stream};

/// The stop function is asked between steps at this interval: often enough for Ctrl-C, and too rarely to
/// weigh on steps of a microsecond.
const POLL: Duration = Duration::from_millis(10);

/// Samples and what the network should say to them.
#[derive(Debug, Clone, Copy)]
pub struct Dataset<'a, T> {
    /// Row-major `(rows, inputs)`.
    pub x: &'a [T],
    /// One row or label per sample.
    pub targets: Targets<'a, T>,
    /// The number of samples.
    pub rows: usize,
}

impl<T: Real> Dataset<'_, T> {
    fn check(&self, mlp: &Mlp<T>, loss: Loss) -> Result<()> {
        if self.rows == 0 {
            return invalid!("a data set needs at least one row");
        }
        check_shape("x", self.x.len(), self.rows, mlp.inputs())?;
        loss.check(self.targets, self.rows, mlp.outputs())
    }
}

/// How to train.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitConfig {
    /// What to minimise.
    pub loss: Loss,
    /// How.
    pub optimizer: Optimizer,
    /// Samples per step, at most all of them; the last batch of an epoch may be smaller.
    pub batch_size: usize,
    /// Passes over the data.
    pub epochs: usize,
    /// Visit the samples in a new order in every epoch.
    pub shuffle: bool,
    /// Decides those orders.
    pub seed: u64,
    /// At most this many threads; the result does not depend on it.
    pub threads: usize,
}

/// What happened in one epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochStats {
    /// From 0.
    pub epoch: usize,
    /// Mean over the samples seen in the epoch, each as of its own step.
    pub loss: f64,
    /// Share of right decisions, likewise.
    pub accuracy: Option<f64>,
    /// Loss on the validation data after the epoch.
    pub validation_loss: Option<f64>,
    /// Accuracy on the validation data after the epoch.
    pub validation_accuracy: Option<f64>,
    /// Mean over the steps of the L2 norm of all gradients together.
    pub gradient_norm: f64,
    /// Wall time, validation included.
    pub seconds: f64,
    /// A loss, a gradient or an updated parameter was not finite, and the fit ended with this epoch. A step
    /// with such a loss or gradient was not applied.
    pub diverged: bool,
}

/// The order in which epoch `epoch` visits `order.len()` samples: Fisher-Yates, a function of
/// `(seed, epoch, len)` alone.
///
/// A draw below `n` is the high word of `n` times 64 random bits: the probability of each outcome is off from
/// `1 / n` by less than `2^-64`.
pub fn permutation(order: &mut [usize], seed: u64, epoch: usize) {
    for (i, index) in order.iter_mut().enumerate() {
        *index = i;
    }
    let stream = Stream::new(seed, Some(&format!("fit.epoch.{epoch}")));
    // Draw k of the epoch takes the words 2k (low half) and 2k + 1 of the stream.
    let draws = (0..).flat_map(|s| {
        let block = stream.superblock(Portable, s);
        let word = move |j| u64::from(block.as_flattened()[j]);
        (0..SUPERBLOCK / 2).map(move |k| word(2 * k) | word(2 * k + 1) << 32)
    });
    for (i, bits) in (1..order.len()).rev().zip(draws) {
        let below = u128::from(bits) * (i as u128 + 1);
        order.swap(i, (below >> 64) as usize);
    }
}

/// A batch copied together from the rows that a permutation names.
struct Batch<'a, T> {
    data: Dataset<'a, T>,
    /// Of the epoch; empty when the samples are visited as they lie.
    order: Vec<usize>,
    x: Vec<T>,
    labels: Vec<i64>,
    values: Vec<T>,
}

impl<'a, T: Real> Batch<'a, T> {
    fn new(data: Dataset<'a, T>, mlp: &Mlp<T>, config: &FitConfig) -> Result<Self> {
        let size = if config.shuffle { config.batch_size.min(data.rows) } else { 0 };
        let (labels, width) = match data.targets {
            Targets::Labels(_) => (size, 0),
            Targets::Values(_) => (0, mlp.outputs()),
        };
        Ok(Self {
            data,
            order: if config.shuffle { vec![0; data.rows] } else { Vec::new() },
            x: zeros(area(size, mlp.inputs())?)?,
            labels: vec![0; labels],
            values: zeros(area(size, width)?)?,
        })
    }

    /// Samples and targets of the steps `rows` in this epoch's order.
    fn gather(&mut self, rows: Range<usize>) -> (&[T], Targets<'_, T>) {
        let Dataset { x, targets, rows: total } = self.data;
        let inputs = x.len() / total;
        if self.order.is_empty() {
            let x = &x[rows.start * inputs..rows.end * inputs];
            let targets = match targets {
                Targets::Labels(t) => Targets::Labels(&t[rows]),
                Targets::Values(t) => {
                    let width = t.len() / total;
                    Targets::Values(&t[rows.start * width..rows.end * width])
                }
            };
            return (x, targets);
        }
        let order = &self.order[rows];
        let x = gather_rows(&mut self.x, x, inputs, order);
        let targets = match targets {
            Targets::Labels(t) => Targets::Labels(gather_rows(&mut self.labels, t, 1, order)),
            Targets::Values(t) => {
                Targets::Values(gather_rows(&mut self.values, t, t.len() / total, order))
            }
        };
        (x, targets)
    }
}

/// Copies the rows of `from: (_, width)` that `order` names.
fn gather_rows<'b, U: Copy>(to: &'b mut [U], from: &[U], width: usize, order: &[usize]) -> &'b [U] {
    for (to, &row) in to.chunks_exact_mut(width).zip(order) {
        to.copy_from_slice(&from[row * width..(row + 1) * width]);
    }
    &to[..order.len() * width]
}

/// The L2 norm, summed in `f64` in a fixed order: 16 interleaved sums that vectorise, then those.
#[inline(always)]
fn norm<T: Real>(values: &[T]) -> f64 {
    let mut sums = [0.0; 16];
    for lane in values.chunks(16) {
        for (sum, value) in sums.iter_mut().zip(lane) {
            let value = value.widen();
            *sum += value * value;
        }
    }
    sums.iter().sum::<f64>().sqrt()
}

/// Called after every epoch with the network of that moment; `Break` ends the fit.
pub type OnEpoch<'a, T> = &'a mut dyn FnMut(&Mlp<T>, &EpochStats) -> Result<ControlFlow<()>>;

/// Trains `mlp` in place and returns one entry per epoch; `on_epoch` sees each as it is made, with the network, and may end
/// the fit with [`ControlFlow::Break`].
///
/// # Errors
/// [`Error::Invalid`] when data or configuration do not fit, before any work; [`Error::Interrupted`] when
/// stopped; whatever `on_epoch` returns. The parameters are those after the last whole step.
pub fn fit<T: Real>(
    mlp: &mut Mlp<T>,
    data: &Dataset<'_, T>,
    config: &FitConfig,
    validation: Option<&Dataset<'_, T>>,
    stop: crate::parallel::Stop<'_>,
    on_epoch: OnEpoch<'_, T>,
) -> Result<Vec<EpochStats>> {
    let &FitConfig { loss, batch_size, .. } = config;
    data.check(mlp, loss)?;
    if let Some(validation) = validation {
        validation.check(mlp, loss).map_err(|error| match error {
            Error::Invalid(message) => Error::Invalid(format!("validation data: {message}")),
            other => other,
        })?;
    }
    if batch_size == 0 {
        return invalid!("batch_size must be at least 1, got 0");
    }
    let run = Run { threads: config.threads, stop };
    let mut optimizer = State::new(config.optimizer, mlp.values().len())?;
    let mut workspace = Workspace::new(mlp, batch_size.min(data.rows))?;
    let mut batch = Batch::new(*data, mlp, config)?;
    let mut history = Vec::new();
    let mut polled = Instant::now();

    for epoch in 0..config.epochs {
        let begin = Instant::now();
        permutation(&mut batch.order, config.seed, epoch);
        let (mut loss_sum, mut correct, mut norm_sum) = (0.0, Some(0), 0.0);
        let (mut seen, mut steps, mut diverged) = (0, 0, false);
        while seen < data.rows && !diverged {
            if polled.elapsed() >= POLL {
                if stop() {
                    return Err(Error::Interrupted);
                }
                polled = Instant::now();
            }
            let rows = seen..(seen + batch_size.min(data.rows - seen));
            let size = rows.len();
            let (x, targets) = batch.gather(rows);
            let step = mlp.loss_and_grad_checked(x, targets, size, loss, &mut workspace, run)?;
            let gradients = workspace.gradients();
            let norm = vectorized(|| norm(gradients));
            diverged = !(step.loss.is_finite() && norm.is_finite());
            if !diverged {
                optimizer.step(mlp.values_mut(), gradients, config.threads)?;
            }
            loss_sum += step.loss * size as f64;
            norm_sum += norm;
            correct = correct.zip(step.correct).map(|(a, b)| a + b);
            seen += size;
            steps += 1;
        }
        // An update that itself overflowed would only show in the next loss, and this may be the last.
        diverged |= mlp.values().iter().any(|value| !value.widen().is_finite());

        let share = |correct, rows| correct as f64 / loss.decisions(rows, mlp.outputs()) as f64;
        let validated = match validation {
            Some(v) => Some((mlp.evaluate(v.x, v.targets, v.rows, loss, run)?, v.rows)),
            None => None,
        };
        let stats = EpochStats {
            epoch,
            loss: loss_sum / seen as f64,
            accuracy: correct.map(|correct| share(correct, seen)),
            validation_loss: validated.map(|(v, _)| v.loss),
            validation_accuracy: validated
                .and_then(|(v, rows)| v.correct.map(|correct| share(correct, rows))),
            gradient_norm: norm_sum / f64::from(steps),
            seconds: begin.elapsed().as_secs_f64(),
            diverged,
        };
        history.push(stats);
        if on_epoch(mlp, &stats)?.is_break() || diverged {
            break;
        }
    }
    Ok(history)
}
