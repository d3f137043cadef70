//! Several processes that train one network together: who takes which samples, and what they tell each other.
//!
//! ```text
//! each:      its part of the batch  ->  gradients of the whole batch's mean loss, as far as its part goes
//! together:  [ gradients | report of process 0 | report of process 1 | ... ]  summed over the processes
//! ```
//! One sum per step, over one flat buffer. Where the report of another process belongs, a process has zeros: the sum
//! of these is the report, to the last bit, in whatever order it is taken. So a report may hold any 64 bits, in
//! numbers below 2^16, and every process reads the same ones and decides alike.
//!
//! Whoever cannot go on says so in its next report instead of leaving the others to wait: all end after the same
//! step. Each report also has the norm of the gradients that its process saw last, so that processes that no longer
//! hold the same numbers end instead of drifting apart.

use std::ops::Range;

use super::loss::Sums;
use super::real::Real;
use super::zeros;
use crate::error::{Error, Result, invalid};

/// What connects this process with the others. All of them call `fit` alike, so each sum here meets one there.
pub trait Workers<T> {
    /// Which of the processes this is, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Puts the sum over all processes in the place of every number: the same bits in every process.
    ///
    /// # Errors
    /// The connection's own; they end the fit.
    fn sum(&mut self, buffer: &mut [T]) -> Result<()>;
}

/// A single process, which has nobody to tell anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl<T> Workers<T> for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum(&mut self, _: &mut [T]) -> Result<()> {
        Ok(())
    }
}

/// Bits of a word that one number carries: few enough for a whole number in `f32`.
const BITS: usize = 16;
const DIGITS: usize = 64 / BITS;

/// What a process says: whether it failed, the norm that it saw last, and two words that depend on the occasion.
type Report = [u64; 4];
const REPORT: usize = 4 * DIGITS;

fn write<T: Real>(report: Report, to: &mut [T]) {
    for (word, digits) in report.into_iter().zip(to.chunks_mut(DIGITS)) {
        for (i, digit) in digits.iter_mut().enumerate() {
            *digit = T::narrow(f64::from((word >> (i * BITS)) as u16));
        }
    }
}

/// `None` where numbers are not what [`write()`] writes.
fn read<T: Real>(from: &[T]) -> Option<Report> {
    let mut report = Report::default();
    for (word, digits) in report.iter_mut().zip(from.chunks(DIGITS)) {
        for (i, digit) in digits.iter().enumerate() {
            let (digit, whole) = (digit.widen(), digit.widen() as u16);
            if digit != f64::from(whole) {
                return None;
            }
            *word |= u64::from(whole) << (i * BITS);
        }
    }
    Some(report)
}

/// This process among the others.
pub(super) struct Team<'a, T> {
    workers: &'a mut dyn Workers<T>,
    rank: usize,
    size: usize,
    /// Gradients, then a report of every process; empty where there is only one.
    flat: Vec<T>,
    parameters: usize,
    /// Of the last gradients that every process saw.
    pub(super) norm: f64,
    /// What the processes said last.
    said: Vec<[u64; 2]>,
}

impl<'a, T: Real> Team<'a, T> {
    /// For a network of so many parameters.
    pub(super) fn new(workers: &'a mut dyn Workers<T>, parameters: usize) -> Result<Self> {
        let (rank, size) = (workers.rank(), workers.size());
        if rank >= size {
            return invalid!(
                "a worker's rank must be below the number of workers, got {rank} of {size}"
            );
        }
        let (flat, said) = match size {
            1 => (Vec::new(), Vec::new()),
            _ => (zeros(parameters + size * REPORT)?, zeros(size)?),
        };
        Ok(Self { workers, rank, size, flat, parameters, norm: 0.0, said })
    }

    pub(super) fn alone(&self) -> bool {
        self.size == 1
    }

    /// The most rows that a process has of a batch.
    pub(super) fn largest_share(&self, rows: usize) -> usize {
        rows.div_ceil(self.size)
    }

    /// Which of the rows of a batch are this process's: as many as another's, or one more or less.
    pub(super) fn share(&self, rows: usize) -> Range<usize> {
        let (each, more) = (rows / self.size, rows % self.size);
        let start = |rank: usize| rank * each + rank.min(more);
        start(self.rank)..start(self.rank + 1)
    }

    /// Where this process puts its part of the gradients, and finds the whole of them after [`Team::sums`].
    pub(super) fn gradients(&mut self) -> &mut [T] {
        &mut self.flat[..self.parameters]
    }

    /// Everybody's sums together, and, if these take part, the sums of [`Team::gradients`].
    pub(super) fn sums(&mut self, own: Result<Sums>, gradients: bool) -> Result<Sums> {
        if self.alone() {
            return own;
        }
        self.meet(own.map(|sums| [sums.loss.to_bits(), sums.correct as u64]), gradients)?;
        let sums = |&[loss, correct]: &[u64; 2]| Sums {
            loss: f64::from_bits(loss),
            correct: correct as usize,
        };
        Ok(self.said.iter().map(sums).sum())
    }

    /// Whether it is true in any process.
    pub(super) fn any(&mut self, own: Result<bool>) -> Result<bool> {
        if self.alone() {
            return own;
        }
        self.meet(own.map(|own| [u64::from(own), 0]), false)?;
        Ok(self.said.iter().any(|said| said[0] != 0))
    }

    /// The first of everybody's layers.
    pub(super) fn first(&mut self, own: Option<usize>) -> Result<Option<usize>> {
        if self.alone() {
            return Ok(own);
        }
        self.meet(Ok([own.map_or(u64::MAX, |layer| layer as u64), 0]), false)?;
        let first = self.said.iter().map(|said| said[0]).min();
        Ok(first.filter(|layer| *layer != u64::MAX).map(|layer| layer as usize))
    }

    /// Says what this process has to say, with its gradients if they take part, and hears the others.
    fn meet(&mut self, own: Result<[u64; 2]>, gradients: bool) -> Result<()> {
        let Self { workers, rank, size, flat, parameters, norm, said } = self;
        let [a, b] = *own.as_ref().unwrap_or(&[0; 2]);
        let report = [u64::from(own.is_err()), norm.to_bits(), a, b];
        let reports = &mut flat[*parameters..];
        reports.fill(T::zero());
        write(report, &mut reports[*rank * REPORT..][..REPORT]);
        let summed = workers.sum(&mut flat[if gradients { 0 } else { *parameters }..]);
        own?;
        summed?;
        let reports = flat[*parameters..].chunks(REPORT).map(read).collect::<Option<Vec<_>>>();
        let Some(reports) = reports.filter(|reports| reports[*rank] == report) else {
            return Err(Error::Worker(format!(
                "workers.sum must add up the buffers of {size} processes in place: what came back is something else"
            )));
        };
        if let Some(gone) = reports.iter().position(|report| report[0] != 0) {
            return Err(Error::Worker(format!(
                "the fit has ended because process {gone} of {size} could not go on: see the error there"
            )));
        }
        if let Some(other) = reports.iter().position(|other| other[1] != report[1]) {
            return Err(Error::Worker(format!(
                "the processes no longer hold the same numbers: the last gradients had L2 norm {norm:e} in process \
                 {rank} and {:e} in process {other}; workers.sum must give every process the same bits",
                f64::from_bits(reports[other][1])
            )));
        }
        for (said, [_, _, a, b]) in said.iter_mut().zip(reports) {
            *said = [a, b];
        }
        Ok(())
    }
}
