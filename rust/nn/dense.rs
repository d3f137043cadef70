//! One fully connected layer, forward and backward, into the caller's buffers.
//!
//! ```text
//! forward:   z = x w + b       y = f(z)   slope = f'(z)
//! backward:  dz = dy * slope   dw = x^T dz   db = sum over the batch of dz   dx = dz w^T
//! ```
//! Shapes: x (batch, `fan_in`), w (`fan_in`, `fan_out`), b (`fan_out`,), y, slope and dz (batch, `fan_out`).
//!
//! Everything is computed in blocks of rows that are still in cache when bias, activation and slope follow the
//! product. The functions on single blocks are sequential; networks build their passes from them.

use super::activation::Activation;
use super::gemm::{Accum, Matrix, block_rows, product, product_block};
use super::real::Real;
use super::{CHUNK, Run, check_shape, for_each, zeros};
use crate::dispatch::{self, Kernel};
use crate::error::Result;
use crate::simd::Simd;

/// A layer's parameters and what it does with them.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a, T> {
    /// Weights, row-major `(fan_in, fan_out)`.
    pub w: &'a [T],
    /// Bias, `(fan_out,)`.
    pub b: Option<&'a [T]>,
    /// Inputs.
    pub fan_in: usize,
    /// Outputs.
    pub fan_out: usize,
    /// What follows the affine map.
    pub activation: Activation,
}

/// Where the gradients go; each is overwritten.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// `(fan_in, fan_out)`.
    pub dw: &'a mut [T],
    /// `(fan_out,)`, if wanted.
    pub db: Option<&'a mut [T]>,
    /// `(batch, fan_in)`, if wanted.
    pub dx: Option<&'a mut [T]>,
}

impl<'a, T: Real> Layer<'a, T> {
    fn weights(&self) -> Result<Matrix<'a, T>> {
        check_shape("b", self.b.map_or(self.fan_out, <[T]>::len), 1, self.fan_out)?;
        Matrix::new(self.w, self.fan_in, self.fan_out)
    }

    /// `y = f(x w + b)` and, if wanted, `slope = f'(x w + b)`.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] when a shape does not fit, before anything is written;
    /// [`crate::Error::Interrupted`] when stopped.
    pub fn forward(
        &self,
        x: &[T],
        batch: usize,
        y: &mut [T],
        slope: Option<&mut [T]>,
        run: Run<'_>,
    ) -> Result<()> {
        let Self { fan_in, fan_out, .. } = *self;
        self.weights()?;
        check_shape("x", x.len(), batch, fan_in)?;
        check_shape("y", y.len(), batch, fan_out)?;
        check_shape("slope", slope.as_ref().map_or(y.len(), |s| s.len()), batch, fan_out)?;

        let rows = block_rows(batch, self.w.len());
        let size = (rows * fan_out).max(1);
        let mut slopes = slope.map(|slope| slope.chunks_mut(size));
        let blocks = y.chunks_mut(size).enumerate();
        let count = blocks.len();
        let blocks = blocks.map(|(i, y)| (i, y, slopes.as_mut().and_then(Iterator::next)));
        for_each(run, count, blocks, |(i, y, slope)| {
            let first = i * rows * fan_in;
            self.forward_block(&x[first..first + y.len() / fan_out * fan_in], y, slope);
        })
    }

    /// [`Layer::forward`] for one block of rows, of checked shapes.
    pub(super) fn forward_block(&self, x: &[T], y: &mut [T], slope: Option<&mut [T]>) {
        let rows = y.len() / self.fan_out;
        let (Ok(x), Ok(w)) = (Matrix::new(x, rows, self.fan_in), self.weights()) else {
            unreachable!("checked shapes")
        };
        product_block(y, 0, x, w, Accum::Replace);
        dispatch::run(Finish { b: self.b, activation: self.activation, y, slope });
    }

    /// `dx = dz w^T` for one block of rows, of checked shapes.
    pub(super) fn backward_block(&self, dz: &[T], dx: &mut [T]) {
        let rows = dz.len() / self.fan_out;
        let (Ok(dz), Ok(w)) = (Matrix::new(dz, rows, self.fan_out), self.weights()) else {
            unreachable!("checked shapes")
        };
        product_block(dx, 0, dz, w.t(), Accum::Replace);
    }

    /// All gradients, given `dz`, for which see [`error`].
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] when a shape does not fit, before anything is written;
    /// [`crate::Error::Interrupted`] when stopped.
    pub fn backward(
        &self,
        x: &[T],
        dz: &[T],
        batch: usize,
        gradients: Gradients<'_, T>,
        run: Run<'_>,
    ) -> Result<()> {
        let Self { fan_in, fan_out, .. } = *self;
        let Gradients { dw, db, dx } = gradients;
        let w = self.weights()?;
        let (x, dz) = (Matrix::new(x, batch, fan_in)?, Matrix::new(dz, batch, fan_out)?);
        check_shape("dw", dw.len(), fan_in, fan_out)?;
        check_shape("db", db.as_ref().map_or(fan_out, |db| db.len()), 1, fan_out)?;
        check_shape("dx", dx.as_ref().map_or(x.data().len(), |dx| dx.len()), batch, fan_in)?;

        product(dw, x.t(), dz, run)?;
        if let Some(db) = db {
            let bands = db.chunks_mut(BAND).enumerate();
            for_each(run, bands.len(), bands, |(i, db)| {
                sum_rows(&[dz.data()].into_iter(), fan_out, i * BAND, db);
            })?;
        }
        if let Some(dx) = dx {
            product(dx, dz, w.t(), run)?;
        }
        Ok(())
    }
}

/// `y = f(z)` and `slope = f'(z)`, in place: `y` holds z.
///
/// # Errors
/// [`crate::Error::Invalid`] when the lengths differ; [`crate::Error::Interrupted`] when stopped.
pub fn activate<T: Real>(
    activation: Activation,
    y: &mut [T],
    slope: &mut [T],
    run: Run<'_>,
) -> Result<()> {
    check_shape("slope", slope.len(), 1, y.len())?;
    let blocks = y.chunks_mut(CHUNK).zip(slope.chunks_mut(CHUNK));
    for_each(run, blocks.len(), blocks, |(y, slope)| {
        dispatch::run(Finish { b: None, activation, y, slope: Some(slope) });
    })
}

/// `dz = dy * slope`: the gradient before the activation, of that after it.
///
/// # Errors
/// [`crate::Error::Invalid`] when the lengths differ; [`crate::Error::OutOfMemory`] when there is not enough memory;
/// [`crate::Error::Interrupted`] when stopped.
pub fn error<T: Real>(dy: &[T], slope: &[T], run: Run<'_>) -> Result<Vec<T>> {
    check_shape("slope", slope.len(), 1, dy.len())?;
    let mut dz = zeros(dy.len())?;
    let chunks = dz.chunks_mut(CHUNK).zip(dy.chunks(CHUNK)).zip(slope.chunks(CHUNK));
    for_each(run, chunks.len(), chunks, |((dz, dy), slope)| {
        dz.copy_from_slice(dy);
        multiply(dz, slope);
    })?;
    Ok(dz)
}

/// Rows `first..` of `dw = x^T dz`, as many as `dw` holds, for a batch that lies in blocks `(x, dz)` of rows.
pub(super) fn weight_gradient<'a, T: Real>(
    blocks: impl Iterator<Item = (&'a [T], &'a [T])>,
    (fan_in, fan_out): (usize, usize),
    first: usize,
    dw: &mut [T],
) {
    let mut accum = Accum::Replace;
    for (x, dz) in blocks {
        let rows = dz.len() / fan_out;
        let (Ok(x), Ok(dz)) = (Matrix::new(x, rows, fan_in), Matrix::new(dz, rows, fan_out)) else {
            unreachable!("checked shapes")
        };
        product_block(dw, first, x.t(), dz, accum);
        accum = Accum::Add;
    }
}

/// `a *= b`, elementwise.
pub(super) fn multiply<T: Real>(a: &mut [T], b: &[T]) {
    dispatch::run(Multiply(a, b));
}

struct Multiply<'a, T>(&'a mut [T], &'a [T]);

impl<T: Real> Kernel for Multiply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (a, &b) in self.0.iter_mut().zip(self.1) {
            *a *= b;
        }
    }
}

/// `y += b` to every row, then `slope = f'(y)` and `y = f(y)`.
struct Finish<'a, T> {
    b: Option<&'a [T]>,
    activation: Activation,
    y: &'a mut [T],
    slope: Option<&'a mut [T]>,
}

/// Elements that bias and activation visit together: they stay in the L1 cache.
const STRIP: usize = 1 << 11;

impl<T: Real> Kernel for Finish<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let size = match self.b {
            Some(b) => b.len() * (STRIP / b.len()).max(1),
            None => STRIP,
        };
        let mut slopes = self.slope.map(|slope| slope.chunks_mut(size));
        for y in self.y.chunks_mut(size) {
            if let Some(b) = self.b {
                add_to_rows(y, b);
            }
            match slopes.as_mut().and_then(Iterator::next) {
                Some(slope) => self.activation.forward_with_slope(y, slope),
                None => self.activation.forward(y),
            }
        }
    }
}

/// Adds `b` to every row of `z`.
#[inline(always)]
fn add_to_rows<T: Real>(z: &mut [T], b: &[T]) {
    for row in z.chunks_exact_mut(b.len()) {
        for (z, &b) in row.iter_mut().zip(b) {
            *z += b;
        }
    }
}

/// Columns of a part of [`sum_rows`]' work.
const BAND: usize = 256;

/// Columns that are summed side by side, in registers.
const COLUMNS: usize = 32;

/// `db = sum over the rows of dz`, columns `first..` of it, row after row in `f64`; `dz` lies in blocks of rows.
pub(super) fn sum_rows<'a, T: Real>(
    blocks: &(impl Iterator<Item = &'a [T]> + Clone),
    columns: usize,
    first: usize,
    db: &mut [T],
) {
    for (i, db) in db.chunks_mut(COLUMNS).enumerate() {
        let first = first + i * COLUMNS;
        dispatch::run(SumRows { blocks: blocks.clone(), columns, first, db });
    }
}

/// The arguments of [`sum_rows`], for at most [`COLUMNS`].
struct SumRows<'a, I, T> {
    blocks: I,
    columns: usize,
    first: usize,
    db: &'a mut [T],
}

impl<'a, T: Real, I: Iterator<Item = &'a [T]>> Kernel for SumRows<'_, I, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut sums = [0.0; COLUMNS];
        let width = self.db.len();
        let rows = self.blocks.flat_map(|block| block.chunks_exact(self.columns));
        let rows = rows.map(|row| &row[self.first..][..width]);
        if width == COLUMNS {
            for row in rows.filter_map(|row| row.first_chunk::<COLUMNS>()) {
                for i in 0..COLUMNS {
                    sums[i] += row[i].widen();
                }
            }
        } else {
            for row in rows {
                for (sum, dz) in sums.iter_mut().zip(row) {
                    *sum += dz.widen();
                }
            }
        }
        for (db, sum) in self.db.iter_mut().zip(sums) {
            *db = T::narrow(sum);
        }
    }
}
