//! Matrix products of the core. The library that computes them is known here and in `haar.rs` alone.
//!
//! The output is cut into blocks of whole rows. How many rows depends on the shape alone, a block is one
//! sequential product over the whole reduction, and so the bits depend neither on the number of threads
//! nor on which thread took which block (Law 2).

use faer::linalg::matmul::matmul;
use faer::reborrow::ReborrowMut;
use faer::{MatMut, MatRef, Par};

pub(super) use faer::Accum;

use super::real::Real;
use super::{Run, check_shape, for_each};
use crate::error::{Result, invalid};

/// Work that is worth a block of its own: multiply-adds, some 10 us.
pub(super) const MIN_WORK: usize = 1 << 19;
/// The reduction is summed in pieces of this length, which keeps the rounding errors of a long one in check: they
/// grow with its running sums, here `MAX_DEPTH` and then one for each piece.
const MAX_DEPTH: usize = 512;
/// Columns that are computed together.
const MAX_COLUMNS: usize = 512;

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

/// Rows per block of a product, or of several in a row, whose right-hand sides have `weights` elements together.
///
/// Each block packs its right-hand sides anew, so more rows are faster, and fewer go round among more threads. 64
/// rows reach 98 % of the speed of very many where the packing reads from the L2 cache (`docs/benchmarks-gemm.md`). Of
/// little work, a block takes more rows.
pub fn block_rows(rows: usize, weights: usize) -> usize {
    let enough = match weights {
        0..0x4_0000 => 64,
        0x4_0000..0x20_0000 => 128,
        _ => 256,
    };
    let most = enough.max(MIN_WORK / weights.max(1));
    // As even as can be, in multiples of 4 rows, those of the micro-kernel.
    rows.div_ceil(rows.div_ceil(most).max(1)).next_multiple_of(4).max(1)
}

/// `block (+)= rows of (a b)`: rows `first..` of the product, as many as `block` holds; sequential.
pub(super) fn product_block<T: Real>(
    block: &mut [T],
    first: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    accum: Accum,
) {
    let (columns, depth) = (b.columns, b.rows);
    let count = block.len() / columns.max(1);
    let mut out = MatMut::from_row_major_slice_mut(block, count, columns);
    let (a, b) = (a.block(first, count), b.block(0, depth));
    // Pieces of the output that stay in the L2 cache while the pieces of the reduction are added up.
    for column in (0..columns).step_by(MAX_COLUMNS) {
        let width = (columns - column).min(MAX_COLUMNS);
        let mut out = out.rb_mut().subcols_mut(column, width);
        let (b, mut accum) = (b.subcols(column, width), accum);
        for begin in (0..depth.max(1)).step_by(MAX_DEPTH) {
            let depth = (depth - begin).min(MAX_DEPTH);
            let (a, b) = (a.subcols(begin, depth), b.subrows(begin, depth));
            matmul(out.rb_mut(), accum, a, b, T::one(), Par::Seq);
            accum = Accum::Add;
        }
    }
}

/// Lets the library find out now what it asks the processor once: how large its caches are.
///
/// It does so under a lock, at its first product. A fork at that moment, by another thread, would leave the lock locked in
/// the child for ever; so the Python module calls this when it is loaded.
pub fn warm_up() {
    fn multiply<T: Real>() {
        const N: usize = 48; // of tiny matrices, the library does not ask
        let (ones, mut out) = ([T::one(); N * N], [T::zero(); N * N]);
        if let Ok(a) = Matrix::new(&ones, N, N) {
            product_block(&mut out, 0, a, a, Accum::Replace);
        }
    }
    multiply::<f32>();
    multiply::<f64>();
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
    let rows = block_rows(a.rows, b.data.len());
    let size = (rows * b.columns).max(1);
    let blocks = out.chunks_mut(size).enumerate();
    for_each(run, blocks.len(), blocks, |(i, block)| {
        product_block(block, i * rows, a, b, Accum::Replace);
    })
}
