//! Sparse initialization: normal values, and in each column the same number of zeros.
//!
//! J. Martens, Deep learning via Hessian-free optimization (ICML 2010): a unit with few incoming weights may have
//! large ones without saturating.

use crate::distribution::Distribution;
use crate::error::{Result, invalid};
use crate::fill::fill;
use crate::indexing::{Select, select};
use crate::parallel::{self, NEVER, Stop};
use crate::region::{Axis, Region};
use crate::sample::Sample;
use crate::stream::Stream;

/// Elements per work item.
const CHUNK: usize = 1 << 16;

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
    /// `stop` ended the work, or `std` does not fit `T`.
    pub fn fill<T: Sample>(
        self,
        stream: &Stream,
        shape: [u64; 2],
        out: &mut [T],
        threads: usize,
        stop: Stop<'_>,
    ) -> Result<()> {
        let [rows, columns] = shape;
        fill(stream, self.distribution(), &Region::whole(&shape)?, out, threads, stop)?;
        let (zeros, keys) = (self.zeros(rows) as usize, stream.branch("sparse"));
        if zeros == 0 || out.is_empty() {
            return Ok(());
        }
        let width = (CHUNK as u64).div_ceil(rows).min(columns);
        let blocks = (0..columns).step_by(width as usize);
        let threads = threads.min(columns.div_ceil(width) as usize);
        let chosen = std::sync::Mutex::new(out);
        parallel::for_each(threads, blocks, stop, |first| {
            let positions =
                zeros_of_columns(&keys, shape, first, width.min(columns - first), zeros);
            let mut out = chosen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for at in positions {
                out[at] = T::ZERO;
            }
        })
    }
}

/// The C-order indices of the zeros of `width` columns from `first` on.
fn zeros_of_columns(
    keys: &Stream,
    [rows, columns]: [u64; 2],
    first: u64,
    width: u64,
    zeros: usize,
) -> Vec<usize> {
    let part = Axis { start: first, step: 1, len: width };
    let block = select(&[rows, columns], &[Select::Whole(1), Select::Slice(part)]);
    let unit = Distribution::Uniform { low: 0.0, high: 1.0 };
    let mut numbers = vec![0.0_f64; (rows * width) as usize];
    block
        .and_then(|(block, _)| fill(keys, unit, &block, &mut numbers, 1, NEVER))
        .expect("columns of a matrix, and numbers from 0 to 1");
    let mut order: Vec<usize> = Vec::with_capacity(rows as usize);
    let mut positions = Vec::with_capacity(zeros * width as usize);
    for column in 0..width as usize {
        let key = |row: usize| numbers[row * width as usize + column];
        order.clear();
        order.extend(0..rows as usize);
        // equal keys, one pair in 2^53, go by their rows
        order.select_nth_unstable_by(zeros - 1, |a, b| key(*a).total_cmp(&key(*b)).then(a.cmp(b)));
        let at = |row: usize| row * columns as usize + first as usize + column;
        positions.extend(order[..zeros].iter().map(|row| at(*row)));
    }
    positions
}
