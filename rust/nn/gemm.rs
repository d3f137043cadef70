//! Matrix products; the only file that knows which library computes them.
//!
//! The output is cut into blocks of whole rows. How many rows depends on the shape alone, a block is one
//! sequential product over the whole reduction, and so the bits depend neither on the number of threads
//! nor on which thread took which block (Law 2).

use faer::linalg::matmul::matmul;
use faer::reborrow::ReborrowMut;
use faer::{Accum, MatMut, MatRef, Par};

use super::real::Real;
use super::{Run, check_shape, for_each};
use crate::error::{Result, invalid};

/// A block is worth at least this many multiply-adds (about 20 us): waking a thread costs some 10 us.
const MIN_BLOCK: usize = 1 << 20;
/// And at most about this many (about 5 ms), so that a stop is heard soon.
const MAX_BLOCK: usize = 1 << 28;
/// Fewer rows than this would pack the right-hand side more often than it pays.
const MIN_ROWS: usize = 32;
/// More blocks than this are cut only to stay under `MAX_BLOCK`.
const BLOCKS: usize = 64;

/// The reduction is summed in pieces of this length, which keeps rounding errors of a long one in check: they
/// grow with its running sums, here `MAX_DEPTH` and then one for each piece.
const MAX_DEPTH: usize = 1024;

/// A read-only matrix over a row-major slice, possibly seen transposed.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    /// Shape as seen, that is after transposition.
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a, T: Real> Matrix<'a, T> {
    /// The `(rows, columns)` matrix stored row by row in `data`.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] when `data` does not have `rows * columns` elements.
    pub fn new(data: &'a [T], rows: usize, columns: usize) -> Result<Self> {
        check_shape("matrix", data.len(), rows, columns)?;
        Ok(Self { data, rows, columns, transposed: false })
    }

    /// The elements as stored.
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// The transpose; no data moves.
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            transposed: !self.transposed,
        }
    }

    /// `count` rows from `first` on.
    fn block(&self, first: usize, count: usize) -> MatRef<'a, T> {
        let (rows, columns) = (self.rows, self.columns);
        if self.data.is_empty() {
            MatRef::from_row_major_slice(&[], count, columns)
        } else if self.transposed {
            // Stored (columns, rows): a block of rows is a band of stored columns.
            let end = (columns - 1) * rows + first + count;
            let band = &self.data[first..end];
            MatRef::from_column_major_slice_with_stride(band, count, columns, rows)
        } else {
            let band = &self.data[first * columns..(first + count) * columns];
            MatRef::from_row_major_slice(band, count, columns)
        }
    }
}

/// Rows per block of a `(rows, columns)` product over a reduction of `depth`.
pub fn block_rows(rows: usize, columns: usize, depth: usize) -> usize {
    let per_row = columns.saturating_mul(depth).max(1);
    let work = per_row.saturating_mul(rows);
    let blocks = (work / MIN_BLOCK).min(rows / MIN_ROWS).min(BLOCKS).max(work.div_ceil(MAX_BLOCK));
    // Multiples of 16 rows keep the micro-kernels full.
    rows.div_ceil(blocks.max(1)).next_multiple_of(16)
}

/// `block = rows of (a b)`: rows `first..` of the product, as many as `block` holds; sequential.
pub(super) fn product_block<T: Real>(
    block: &mut [T],
    first: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
) {
    let count = block.len() / b.columns.max(1);
    let mut out = MatMut::from_row_major_slice_mut(block, count, b.columns);
    let (a, b) = (a.block(first, count), b.block(0, b.rows));
    let mut accum = Accum::Replace;
    for begin in (0..b.nrows().max(1)).step_by(MAX_DEPTH) {
        let depth = (b.nrows() - begin).min(MAX_DEPTH);
        let (a, b) = (a.subcols(begin, depth), b.subrows(begin, depth));
        matmul(out.rb_mut(), accum, a, b, T::one(), Par::Seq);
        accum = Accum::Add;
    }
}

/// `out = a b`, row-major.
///
/// # Errors
/// [`crate::Error::Invalid`] when the shapes do not fit; [`crate::Error::Interrupted`] when stopped.
pub fn product<T: Real>(
    out: &mut [T],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    run: Run<'_>,
) -> Result<()> {
    if a.columns != b.rows {
        return invalid!(
            "cannot multiply matrices of shapes ({}, {}) and ({}, {})",
            a.rows,
            a.columns,
            b.rows,
            b.columns
        );
    }
    check_shape("the product", out.len(), a.rows, b.columns)?;
    let rows = block_rows(a.rows, b.columns, a.columns);
    let size = (rows * b.columns).max(1);
    let blocks = out.chunks_mut(size).enumerate();
    for_each(run, blocks.len(), blocks, |(i, block)| product_block(block, i * rows, a, b))
}
