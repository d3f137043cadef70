//! One fully connected layer, forward and backward, into the caller's buffers.
//!
//! ```text
//! forward:   z = x w + b       y = f(z)
//! backward:  dz = dy * f'(z)   dw = x^T dz   db = sum over the batch of dz   dx = dz w^T
//! ```
//! Shapes: x (batch, `fan_in`), w (`fan_in`, `fan_out`), b (`fan_out`,), z and y (batch, `fan_out`).

use super::activation::Activation;
use super::gemm::{Matrix, block_rows, product, product_block};
use super::real::Real;
use super::{CHUNK, Run, check_shape, for_each, vectorized};
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
    /// `(batch, fan_in)`, if wanted: the first layer of a network has no use for it.
    pub dx: Option<&'a mut [T]>,
}

impl<T: Real> Layer<'_, T> {
    /// `z = x w + b` and `y = f(z)`.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] when a shape does not fit, before anything is written;
    /// [`crate::Error::Interrupted`] when stopped.
    pub fn forward(
        &self,
        x: &[T],
        batch: usize,
        z: &mut [T],
        y: &mut [T],
        run: Run<'_>,
    ) -> Result<()> {
        let Self { fan_in, fan_out, .. } = *self;
        let w = Matrix::new(self.w, fan_in, fan_out)?;
        check_shape("x", x.len(), batch, fan_in)?;
        check_shape("b", self.b.map_or(fan_out, <[T]>::len), 1, fan_out)?;
        check_shape("z", z.len(), batch, fan_out)?;
        check_shape("y", y.len(), batch, fan_out)?;

        let x = Matrix::new(x, batch, fan_in)?;
        let rows = block_rows(batch, fan_out, fan_in);
        let size = (rows * fan_out).max(1);
        let blocks = z.chunks_mut(size).zip(y.chunks_mut(size)).enumerate();
        for_each(run, blocks.len(), blocks, |(i, (z, y))| {
            product_block(z, i * rows, x, w);
            // Bias and activation while the block is still in cache.
            let finish = Finish { b: self.b, activation: self.activation, z, y };
            dispatch::run(finish);
        })
    }

    /// All gradients, given `dz` that holds `dy` on entry and `dy * f'(z)` on return.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] when a shape does not fit, before anything is written;
    /// [`crate::Error::Interrupted`] when stopped.
    pub fn backward(
        &self,
        (x, z, y): (&[T], &[T], &[T]),
        batch: usize,
        dz: &mut [T],
        gradients: Gradients<'_, T>,
        run: Run<'_>,
    ) -> Result<()> {
        let Self { fan_in, fan_out, .. } = *self;
        let Gradients { dw, db, dx } = gradients;
        let w = Matrix::new(self.w, fan_in, fan_out)?;
        check_shape("x", x.len(), batch, fan_in)?;
        check_shape("z", z.len(), batch, fan_out)?;
        check_shape("y", y.len(), batch, fan_out)?;
        check_shape("dz", dz.len(), batch, fan_out)?;
        check_shape("dw", dw.len(), fan_in, fan_out)?;
        check_shape("db", db.as_ref().map_or(fan_out, |db| db.len()), 1, fan_out)?;
        if let Some(dx) = &dx {
            check_shape("dx", dx.len(), batch, fan_in)?;
        }

        if self.activation != Activation::Linear {
            let chunks = dz.chunks_mut(CHUNK).zip(z.chunks(CHUNK)).zip(y.chunks(CHUNK));
            for_each(run, chunks.len(), chunks, |((dz, z), y)| {
                vectorized(|| self.activation.backward(z, y, dz));
            })?;
        }
        let x = Matrix::new(x, batch, fan_in)?;
        let dz = Matrix::new(dz, batch, fan_out)?;
        product(dw, x.t(), dz, run)?;
        if let Some(db) = db {
            sum_rows(dz.data(), db, run)?;
        }
        if let Some(dx) = dx {
            product(dx, dz, w.t(), run)?;
        }
        Ok(())
    }
}

/// `z += b` to every row, then `y = f(z)`. A kernel by name, since a closure with this many loops would not
/// be inlined into the function of its ISA.
struct Finish<'a, T> {
    b: Option<&'a [T]>,
    activation: Activation,
    z: &'a mut [T],
    y: &'a mut [T],
}

impl<T: Real> Kernel for Finish<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        if let Some(b) = self.b {
            add_to_rows(self.z, b);
        }
        self.activation.forward(self.z, self.y);
    }
}

/// Adds `b` to every row of `z`.
#[inline(always)]
fn add_to_rows<T: Real>(z: &mut [T], b: &[T]) {
    for row in z.chunks_exact_mut(b.len().max(1)) {
        for (z, &b) in row.iter_mut().zip(b) {
            *z += b;
        }
    }
}

/// Columns that [`sum_rows`] adds up at once.
const BAND: usize = 256;

/// `db = sum over the rows of dz`, row after row in `f64`; parallel over bands of columns.
fn sum_rows<T: Real>(dz: &[T], db: &mut [T], run: Run<'_>) -> Result<()> {
    let columns = db.len().max(1);
    let bands = db.chunks_mut(BAND).enumerate();
    for_each(run, bands.len(), bands, |(i, band)| {
        let mut sums = [0.0; BAND];
        for row in dz.chunks_exact(columns) {
            for (sum, &dz) in sums.iter_mut().zip(&row[i * BAND..][..band.len()]) {
                *sum += dz.widen();
            }
        }
        for (db, &sum) in band.iter_mut().zip(&sums) {
            *db = T::narrow(sum);
        }
    })
}
