//! The training loop: seeded mini-batches, a step, statistics per epoch.
//!
//! ```text
//! for each epoch:  order = permutation(seed, epoch)
//!     for each batch:  loss -> finite?  gradients -> finite?  optimizer step      otherwise: undo, end
//! ```
//! The parameters change only inside of an optimizer step, which nothing interrupts: whether the fit ends
//! by itself, by divergence, by a stop or by an error, they are those after some whole step. A step that leads to
//! parameters with which the next loss is not finite is taken back: the optimizer leaves the parameters that it
//! replaces where the gradients were, and these are not needed again before the next loss is known.
//!
//! Several processes may share the work of each batch (see [`super::workers`]): losses and gradients are then sums over
//! all of them, every process has the same ones, and everything that follows from them is done by each alike.

use std::fmt;
use std::iter::zip;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use super::Run;
use super::loss::{Evaluation, Loss, Sums};
use super::mlp::Mlp;
use super::optimizer::{Optimizer, State, Step, clip_factor};
use super::pass::{Dataset, Rows, Workspace, all_finite};
use super::real::Real;
use super::schedule::Schedule;
use super::workers::{Alone, Team, Workers};
use crate::dispatch::{self, Kernel};
use crate::error::{Error, Result, invalid};
use crate::simd::Simd;
use crate::stream::{SUPERBLOCK, Stream};

/// The stop function is asked between steps at this interval: often enough for Ctrl-C, and too rarely to
/// weigh on steps of a microsecond.
const POLL: Duration = Duration::from_millis(10);

/// How to train.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitConfig {
    /// What to minimise.
    pub loss: Loss,
    /// How.
    pub optimizer: Optimizer,
    /// What becomes of the optimizer's learning rate.
    pub schedule: Schedule,
    /// Gradients whose L2 norm, all together, is larger are scaled down to this one.
    pub clip_norm: Option<f64>,
    /// Samples per step, at most all of them; the last batch of an epoch may be smaller.
    pub batch_size: usize,
    /// Passes over the data.
    pub epochs: usize,
    /// Visit the samples in a new order in every epoch.
    pub shuffle: bool,
    /// Decides those orders.
    pub seed: u64,
    /// Leave out the steps whose loss or gradients are not finite, instead of ending with the first.
    pub skip_nonfinite: bool,
    /// At most this many threads; the result does not depend on it.
    pub threads: usize,
}

/// What happened in one epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct EpochStats {
    /// From 0.
    pub epoch: usize,
    /// Mean over the samples seen in the epoch, each as of its own step; NaN when all steps were left out.
    pub loss: f64,
    /// Share of right decisions, likewise.
    pub accuracy: Option<f64>,
    /// On the validation data after the epoch.
    pub validation: Option<Validation>,
    /// Mean over the steps of the L2 norm of all gradients together, before it is clipped.
    pub gradient_norm: f64,
    /// Wall time, validation included.
    pub seconds: f64,
    /// Steps left out, or taken back after the last one, because a number was not finite.
    pub skipped: usize,
    /// The first number that was not finite; it ended the fit unless such steps are left out.
    pub divergence: Option<Divergence>,
}

/// Loss and accuracy on data that are not trained with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Validation {
    /// Mean.
    pub loss: f64,
    /// Share of right decisions.
    pub accuracy: Option<f64>,
}

/// Where numbers ceased to be finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Divergence {
    /// The epoch, from 0.
    pub epoch: usize,
    /// The step, counted from 0 over all epochs.
    pub step: usize,
    /// The layer where it began, unless it was in the loss.
    pub layer: Option<usize>,
    /// What ceased to be finite.
    pub what: Nonfinite,
}

/// What can cease to be finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonfinite {
    /// What comes out of a layer.
    Output,
    /// The loss of finite outputs.
    Loss,
    /// The gradients of a layer's parameters, or the sum of their squares in `f64`.
    Gradient,
    /// A layer's parameters, as the optimizer would have them.
    Parameters,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, step, layer, what } = self;
        let what = match what {
            Nonfinite::Output => "the output",
            Nonfinite::Loss => "the loss",
            Nonfinite::Gradient => "the gradient",
            Nonfinite::Parameters => "the updated parameters",
        };
        write!(f, "{what}")?;
        if let Some(layer) = layer {
            write!(f, " of layers.{layer}")?;
        }
        write!(f, " became infinite or NaN in step {step} (epoch {epoch})")
    }
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
        let block = dispatch::run(Superblock { stream: &stream, s });
        let word = move |j| u64::from(block.as_flattened()[j]);
        (0..SUPERBLOCK / 2).map(move |k| word(2 * k) | word(2 * k + 1) << 32)
    });
    for (i, bits) in (1..order.len()).rev().zip(draws) {
        let below = u128::from(bits) * (i as u128 + 1);
        order.swap(i, (below >> 64) as usize);
    }
}

/// The 64 words of superblock `s`.
struct Superblock<'a> {
    stream: &'a Stream,
    s: u64,
}

impl Kernel for Superblock<'_> {
    type Output = [[u32; 16]; 4];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        self.stream.superblock(simd, self.s)
    }
}

/// A network in training.
struct Trainer<'a, 'd, 't, T> {
    mlp: &'a mut Mlp<T>,
    data: &'a Dataset<'d, T>,
    config: &'a FitConfig,
    run: Run<'a>,
    team: &'a mut Team<'t, T>,
    optimizer: State<T>,
    workspace: Workspace<T>,
    /// Steps tried so far.
    steps: usize,
    /// The workspace's gradients are the parameters before the last step.
    can_undo: bool,
}

/// What a step has seen.
struct Seen {
    sums: Sums,
    normalizer: f64,
    norm: f64,
}

impl<T: Real> Trainer<'_, '_, '_, T> {
    /// The sums of the loss over the samples `rows`. With other processes, its gradients then wait in the team's
    /// buffer: the workspace's may still be needed to take the last step back.
    fn errors(&mut self, rows: &Rows<'_>, normalizer: f64) -> Result<Sums> {
        let Self { mlp, data, run, team, workspace, .. } = self;
        let (loss, rows) = (self.config.loss, rows.part(team.share(rows.len())));
        let mut sums = workspace.errors(mlp, data, &rows, loss, normalizer, *run);
        if !team.alone() && sums.is_ok() {
            let gradients = workspace.gradients_into(mlp, team.gradients(), *run);
            sums = gradients.and(sums);
        }
        team.sums(sums, true)
    }

    /// The gradients of the samples that [`Trainer::errors`] saw; gives their L2 norm.
    fn gradients(&mut self) -> Result<f64> {
        let Self { mlp, run, team, workspace, .. } = self;
        if team.alone() {
            return workspace.gradients_of_errors(mlp, *run);
        }
        let norm = workspace.take_gradients(team.gradients(), run.threads)?;
        if norm.is_finite() {
            team.norm = norm;
        }
        Ok(norm)
    }

    /// One step with the samples `rows`, unless a number is not finite: then none, and the last one is taken back if
    /// it is to blame.
    fn step(&mut self, rows: &Rows<'_>, epoch: usize) -> Result<(Seen, Option<Divergence>)> {
        let FitConfig { loss, schedule, clip_norm, epochs, batch_size, threads, .. } = *self.config;
        let step = self.steps;
        self.steps += 1;
        let diverged = |layer, what| Divergence { epoch, step, layer, what };
        let normalizer = self.data.normalizer(rows, loss, self.mlp.outputs());
        let sums = self.errors(rows, normalizer)?;
        let mut seen = Seen { sums, normalizer, norm: 0.0 };
        if !sums.loss.is_finite() {
            let layer = self.team.first(self.workspace.first_wild_output(self.mlp))?;
            let what = if layer.is_some() { Nonfinite::Output } else { Nonfinite::Loss };
            self.undo();
            seen.norm = f64::NAN;
            return Ok((seen, Some(diverged(layer, what))));
        }
        self.can_undo = false;
        seen.norm = self.gradients()?;
        if !seen.norm.is_finite() {
            let layer = self.workspace.first_wild_gradient();
            return Ok((seen, Some(diverged(layer, Nonfinite::Gradient))));
        }
        let steps_per_epoch = self.data.rows.div_ceil(batch_size);
        let passed = step as f64 / steps_per_epoch as f64;
        let factors = Step {
            lr_factor: schedule.factor(passed, epochs, steps_per_epoch),
            gradient_factor: clip_norm.map_or(1.0, |most| clip_factor(seen.norm, most)),
        };
        let gradients = &mut self.workspace.gradients;
        self.optimizer.step(self.mlp.values_mut(), gradients, factors, threads)?;
        self.can_undo = true;
        Ok((seen, None))
    }

    /// Takes the last step back.
    fn undo(&mut self) {
        if std::mem::take(&mut self.can_undo) {
            self.mlp.values_mut().copy_from_slice(&self.workspace.gradients);
        }
    }

    /// Takes the last step back if it made parameters that are not finite of finite ones.
    fn check_parameters(&mut self, epoch: usize) -> Option<Divergence> {
        if !self.can_undo || all_finite(self.mlp.values()) {
            return None;
        }
        let spoilt = |range: &Range<usize>| {
            let mut pairs =
                zip(&self.mlp.values()[range.clone()], &self.workspace.gradients[range.clone()]);
            pairs.any(|(new, old)| old.is_finite() && !new.is_finite())
        };
        let layers = self.mlp.layers();
        let layer = layers
            .iter()
            .position(|layer| spoilt(&layer.w) || layer.b.as_ref().is_some_and(spoilt));
        layer?;
        self.undo();
        let step = self.steps.saturating_sub(1);
        Some(Divergence { epoch, step, layer, what: Nonfinite::Parameters })
    }

    /// One pass over the samples in this order, or as they lie.
    fn epoch(&mut self, epoch: usize, order: &[usize], polled: &mut Instant) -> Result<EpochStats> {
        let (rows, outputs) = (self.data.rows, self.mlp.outputs());
        let FitConfig { loss, batch_size, shuffle, skip_nonfinite, .. } = *self.config;
        let begin = Instant::now();
        let (mut sums, mut normalizer, mut norms) = (Sums::default(), 0.0, 0.0);
        let (mut seen, mut steps, mut skipped, mut divergence) = (0, 0, 0, None);
        let mut start = 0;
        while start < rows {
            if polled.elapsed() >= POLL {
                if (self.run.stop)() {
                    self.team.sums(Err(Error::Interrupted), true)?;
                }
                *polled = Instant::now();
            }
            let end = start + batch_size.min(rows - start);
            let batch =
                if shuffle { Rows::Listed(&order[start..end]) } else { Rows::Range(start..end) };
            let (step, diverged) = self.step(&batch, epoch)?;
            divergence = divergence.or(diverged);
            if diverged.is_some() && skip_nonfinite {
                skipped += 1;
            } else {
                sums = sums + step.sums;
                normalizer += step.normalizer;
                norms += step.norm;
                seen += end - start;
                steps += 1;
                if diverged.is_some() {
                    break;
                }
            }
            start = end;
        }
        // An update that itself overflowed would only show in the next loss, and this may be the last.
        if divergence.is_none() || skip_nonfinite {
            let spoilt = self.check_parameters(epoch);
            skipped += usize::from(skip_nonfinite && spoilt.is_some());
            divergence = divergence.or(spoilt);
        }
        let Evaluation { loss: mut mean, correct } = loss.mean(sums, normalizer);
        if normalizer == 0.0 {
            mean = f64::NAN; // every step was left out
        }
        let accuracy = |correct: Option<usize>, rows| {
            correct.map(|correct| correct as f64 / loss.decisions(rows, outputs) as f64)
        };
        Ok(EpochStats {
            epoch,
            loss: mean,
            accuracy: accuracy(correct, seen),
            validation: None,
            gradient_norm: norms / f64::from(steps),
            seconds: begin.elapsed().as_secs_f64(),
            skipped,
            divergence,
        })
    }
}

/// Called after every epoch with the network of that moment; `Break` ends the fit.
pub type OnEpoch<'a, T> = &'a mut dyn FnMut(&Mlp<T>, &EpochStats) -> Result<ControlFlow<()>>;

/// The mean loss over samples that are not trained with, and how many decisions were right.
fn validate<T: Real>(
    mlp: &Mlp<T>,
    data: &Dataset<'_, T>,
    loss: Loss,
    run: Run<'_>,
    team: &mut Team<'_, T>,
) -> Result<Validation> {
    let (rows, inputs, outputs) = (team.share(data.rows), mlp.inputs(), mlp.outputs());
    let x = &data.x[rows.start * inputs..rows.end * inputs];
    let sums = mlp.sums(x, data.targets.rows(rows.clone(), outputs), rows.len(), loss, run);
    let sums = team.sums(sums, false)?;
    let normalizer = loss.normalizer(data.targets, data.rows, outputs);
    let Evaluation { loss: mean, correct } = loss.mean(sums, normalizer);
    let decisions = loss.decisions(data.rows, outputs) as f64;
    let accuracy = correct.map(|correct| correct as f64 / decisions);
    Ok(Validation { loss: mean, accuracy })
}

/// Trains `mlp` in place; `on_epoch` sees every epoch as it is made, with the network, and may end the fit with
/// [`ControlFlow::Break`].
///
/// # Errors
/// [`Error::Invalid`] when data or configuration do not fit, before any work; [`Error::OutOfMemory`] when there is
/// not enough memory; [`Error::Interrupted`] when stopped; whatever `on_epoch` returns. The parameters are those
/// after the last whole step.
pub fn fit<T: Real>(
    mlp: &mut Mlp<T>,
    data: &Dataset<'_, T>,
    config: &FitConfig,
    validation: Option<&Dataset<'_, T>>,
    stop: crate::parallel::Stop<'_>,
    on_epoch: OnEpoch<'_, T>,
) -> Result<()> {
    fit_with(&mut Alone, mlp, data, config, validation, stop, on_epoch)
}

/// [`fit`] as one of several processes, all of which call it with the same arguments (`threads`, `stop` and
/// `on_epoch` apart): the same fit, in which each does its part of every batch. An `on_epoch` that ends it in one
/// process ends it in all.
///
/// # Errors
/// As [`fit`]; [`Error::Worker`] when another process could not go on or the processes no longer agree; whatever
/// `workers` returns. Here too the parameters are those after the last whole step.
pub fn fit_with<T: Real>(
    workers: &mut dyn Workers<T>,
    mlp: &mut Mlp<T>,
    data: &Dataset<'_, T>,
    config: &FitConfig,
    validation: Option<&Dataset<'_, T>>,
    stop: crate::parallel::Stop<'_>,
    on_epoch: OnEpoch<'_, T>,
) -> Result<()> {
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
    if let Some(norm) = config.clip_norm
        && !(norm.is_finite() && norm > 0.0)
    {
        return invalid!("clip_norm must be finite and above 0, got {norm}");
    }
    config.schedule.check_fit(config.epochs)?;
    let run = Run { threads: config.threads, stop };
    let optimizer = State::new(config.optimizer, mlp.values().len())?;
    let team = &mut Team::new(workers, mlp.values().len())?;
    let workspace = Workspace::new(mlp, team.largest_share(batch_size.min(data.rows)))?;
    let mut order = vec![0; if config.shuffle { data.rows } else { 0 }];
    let mut trainer =
        Trainer { mlp, data, config, run, team, optimizer, workspace, steps: 0, can_undo: false };
    let mut polled = Instant::now();
    for epoch in 0..config.epochs {
        let begin = Instant::now();
        permutation(&mut order, config.seed, epoch);
        let mut stats = trainer.epoch(epoch, &order, &mut polled)?;
        if let Some(data) = validation {
            stats.validation = Some(validate(trainer.mlp, data, loss, run, trainer.team)?);
        }
        stats.seconds = begin.elapsed().as_secs_f64();
        let ended = on_epoch(trainer.mlp, &stats).map(|answer| answer.is_break());
        let ended = trainer.team.any(ended)?;
        if ended || (stats.divergence.is_some() && !config.skip_nonfinite) {
            break;
        }
    }
    Ok(())
}
