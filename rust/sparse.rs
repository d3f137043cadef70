//! Sparse initialization: normal values, and in each column the same number of zeros.
//!
//! J. Martens, Deep learning via Hessian-free optimization (ICML 2010): a unit with few incoming weights may have
//! large ones without saturating.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::distribution::Distribution;
use crate::error::{Result, invalid};
use crate::fill::{fill, fill_part};
use crate::indexing::{Select, select};
use crate::law;
use crate::parallel::{self, NEVER, Stop};
use crate::region::{Axis, Region};
use crate::sample::Sample;
use crate::stream::Stream;

/// Elements per work item.
const CHUNK: usize = 1 << 16;

/// In place of a key, which is 0 or more: this element is zero.
const CHOSEN: f64 = -1.0;

/// Normal values with mean 0; in each column of a matrix, `ceil(sparsity * rows)` of them are zeros.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sparse {
    /// The share of zeros.
    pub sparsity: f64,
    /// The standard deviation of the others.
    pub std: f64,
}

impl Sparse {
    /// Checks the parameters.
    ///
    /// # Errors
    /// `sparsity` is not in [0, 1], or `std` is negative or not finite.
    pub fn checked(self) -> Result<Self> {
        if !(0.0..=1.0).contains(&self.sparsity) {
            return invalid!("sparsity must be from 0 to 1, got {}", self.sparsity);
        }
        self.distribution().checked()?;
        Ok(self)
    }

    fn distribution(self) -> Distribution {
        Distribution::Normal { mean: 0.0, std: self.std }
    }

    /// Zeros in a column.
    fn zeros(self, rows: u64) -> u64 {
        ((self.sparsity * rows as f64).ceil() as u64).min(rows)
    }

    /// The standard deviation over all elements of a matrix.
    pub fn std(self, [rows, _]: [u64; 2]) -> f64 {
        self.std * (1.0 - self.zeros(rows) as f64 / rows.max(1) as f64).sqrt()
    }

    /// The matrix, row by row. Its values are those of a normal distribution under the same name, where they are not
    /// zero; a column's zeros are the rows with the least numbers in that column of a second stream.
    ///
    /// # Errors
    /// `std` does not fit `T`, there is not enough memory, or `stop` ended the work. An empty `out` asks for the
    /// first alone.
    pub fn fill<T: Sample>(
        self,
        stream: &Stream,
        shape: [u64; 2],
        out: &mut [T],
        threads: usize,
        stop: Stop<'_>,
    ) -> Result<()> {
        let [rows, columns] = shape;
        let region = Region::whole(&shape)?;
        let (zeros, keys) = (self.zeros(rows) as usize, stream.branch("sparse"));
        if zeros == 0 || out.is_empty() {
            return fill_part(stream, self.distribution(), &region, 0, out, threads, stop);
        }
        let width = (CHUNK as u64).div_ceil(rows).min(columns);
        let blocks = (0..columns).step_by(width as usize);
        // all memory before the first write: the keys of a block, and of one of its columns again
        let scratch = (0..threads.min(columns.div_ceil(width) as usize))
            .map(|_| law::zeros::<f64>((width + 1).saturating_mul(rows)))
            .collect::<Result<Vec<_>>>()?;
        let workers = scratch.len();
        fill(stream, self.distribution(), &region, out, threads, stop)?;
        let (scratch, out) = (Mutex::new(scratch), Mutex::new(out));
        parallel::for_each(workers, blocks, stop, |first| {
            let block = Axis { start: first, step: 1, len: width.min(columns - first) };
            let Some(mut mine) = slot(&scratch).pop() else { unreachable!("one for each thread") };
            let (column, numbers) = mine.split_at_mut(rows as usize);
            let numbers = &mut numbers[..(rows * block.len) as usize];
            draw_keys(&keys, shape, block, numbers);
            let width = block.len as usize;
            choose(zeros, width, numbers, column);
            let mut out = slot(&out);
            let lines = out[first as usize..].chunks_mut(columns as usize);
            for (line, keys) in lines.zip(numbers.chunks_exact(width)) {
                for (x, _) in line.iter_mut().zip(keys).filter(|(_, key)| **key == CHOSEN) {
                    *x = T::ZERO;
                }
            }
            drop(out);
            slot(&scratch).push(mine);
        })
    }
}

/// The keys of some columns, row by row.
fn draw_keys(keys: &Stream, [rows, columns]: [u64; 2], part: Axis, numbers: &mut [f64]) {
    let block = select(&[rows, columns], &[Select::Whole(1), Select::Slice(part)]);
    let unit = Distribution::Uniform { low: 0.0, high: 1.0 };
    block
        .and_then(|(block, _)| fill(keys, unit, &block, numbers, 1, NEVER))
        .expect("columns of a matrix, and numbers from 0 to 1");
}

/// Marks the least keys of each column; `column` has room for one.
fn choose(zeros: usize, width: usize, keys: &mut [f64], column: &mut [f64]) {
    for i in 0..width {
        let of_column = keys[i..].iter().step_by(width);
        column.iter_mut().zip(of_column.clone()).for_each(|(x, key)| *x = *key);
        let last = *column.select_nth_unstable_by(zeros - 1, f64::total_cmp).1;
        // equal keys, one pair in 2^53, go by their rows
        let mut equal = zeros - of_column.filter(|key| **key < last).count();
        for key in keys[i..].iter_mut().step_by(width) {
            if *key < last || *key == last && equal > 0 {
                equal -= usize::from(*key == last);
                *key = CHOSEN;
            }
        }
    }
}

fn slot<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
