//! A batch seen as a whole: units that never change, some of the rows, and how alike these look.

use super::gemm::{Matrix, product};
use super::optimizer::sum_of_squares;
use super::real::Real;
use super::statistics::SUMS;
use super::{Run, area, zeros};
use crate::dispatch::{self, Kernel};
use crate::error::Result;
use crate::simd::Simd;

/// A batch of rows that lies in blocks, all of one size but the last.
#[derive(Debug, Clone)]
pub struct Batch<'a, T> {
    blocks: Vec<&'a [T]>,
    width: usize,
}

impl<'a, T: Real> Batch<'a, T> {
    /// Of blocks `(rows, width)`, none of them empty.
    pub fn new(blocks: Vec<&'a [T]>, width: usize) -> Self {
        Self { blocks, width }
    }

    /// How many numbers a row has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.blocks.iter().map(|block| block.len()).sum::<usize>() / self.width
    }

    /// Every row in its turn.
    fn iter(&self) -> impl Iterator<Item = &'a [T]> + Clone {
        self.blocks.iter().flat_map(|block| block.chunks_exact(self.width))
    }

    /// Row `i`.
    fn row(&self, i: usize) -> &'a [T] {
        let size = self.blocks[0].len() / self.width;
        &self.blocks[i / size][i % size * self.width..][..self.width]
    }

    /// The share of columns that are the same number throughout; `None` of a single row.
    pub fn constant(&self) -> Option<f64> {
        let mut rows = self.iter();
        let first = rows.next()?;
        rows.clone().next()?;
        let count = dispatch::run(ConstantColumns { first, rows });
        Some(count as f64 / self.width as f64)
    }

    /// Up to [`SAMPLE`] rows, evenly spread.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when there is not enough memory.
    pub fn sample(&self) -> Result<Vec<T>> {
        let rows = self.rows();
        let count = rows.min(SAMPLE);
        let mut sample = zeros(area(count, self.width)?)?;
        for (i, to) in sample.chunks_exact_mut(self.width).enumerate() {
            to.copy_from_slice(self.row(i * rows / count));
        }
        Ok(sample)
    }
}

/// At most this many rows are looked at on their own.
pub const SAMPLE: usize = 32;

/// How many columns of `rows` are `first` throughout.
struct ConstantColumns<'a, I, T> {
    first: &'a [T],
    rows: I,
}

impl<'a, T: Real, I: Iterator<Item = &'a [T]> + Clone> Kernel for ConstantColumns<'a, I, T> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        let mut count = 0;
        for (i, first) in self.first.chunks(SUMS).enumerate() {
            let mut differs = [false; SUMS];
            // Most often a few rows tell.
            for row in self.rows.clone() {
                let row = &row[i * SUMS..][..first.len()];
                for ((differs, a), b) in differs.iter_mut().zip(row).zip(first) {
                    *differs |= a != b;
                }
                if differs[..first.len()].iter().all(|differs| *differs) {
                    break;
                }
            }
            count += differs[..first.len()].iter().filter(|differs| !**differs).count();
        }
        count
    }
}

/// The cosines between the rows of `sample: (rows, width)`, `(rows, rows)`; NaN where one is zero or not finite.
///
/// # Errors
/// [`crate::Error::OutOfMemory`] when there is not enough memory.
pub fn cosines<T: Real>(sample: &[T], width: usize) -> Result<Vec<f64>> {
    let rows = sample.len() / width;
    let mut directions: Vec<T> = zeros(sample.len())?;
    let mut gram: Vec<T> = zeros(area(rows, rows)?)?;
    dispatch::run(Directions { sample, width, to: &mut directions });
    let directions = Matrix::new(&directions, rows, width)?;
    product(&mut gram, directions, directions.t(), Run::SERIAL)?;
    // Rounding may take a cosine past 1; a NaN stays one.
    let mut cosines: Vec<f64> = gram.into_iter().map(|c| c.widen().clamp(-1.0, 1.0)).collect();
    for cosine in cosines.iter_mut().step_by(rows + 1).filter(|cosine| !cosine.is_nan()) {
        *cosine = 1.0;
    }
    Ok(cosines)
}

/// Mean of the squares of [`cosines`] between different rows, without rows that are zero or not finite; `None` where fewer
/// than two are left.
pub fn mean_cosine_square(cosines: &[f64]) -> Option<f64> {
    let rows = cosines.len().isqrt();
    let left = cosines.iter().step_by(rows + 1).filter(|cosine| !cosine.is_nan()).count();
    if left < 2 {
        return None;
    }
    let square = |cosine: &f64| if cosine.is_nan() { 0.0 } else { cosine * cosine };
    let below = cosines.chunks_exact(rows).enumerate().map(|(i, row)| &row[..i]);
    let sum: f64 = below.map(|row| row.iter().map(square).sum::<f64>()).sum();
    Some(2.0 * sum / (left * (left - 1)) as f64)
}

/// `to = row / |row|` for every row.
struct Directions<'a, T> {
    sample: &'a [T],
    width: usize,
    to: &'a mut [T],
}

impl<T: Real> Kernel for Directions<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { sample, width, to } = self;
        for (row, to) in sample.chunks_exact(width).zip(to.chunks_exact_mut(width)) {
            let square = sum_of_squares(row);
            if (1e-200..1e200).contains(&square) {
                let factor = square.sqrt().recip();
                for (to, value) in to.iter_mut().zip(row) {
                    *to = T::narrow(value.widen() * factor);
                }
            } else {
                extreme_direction(row, to);
            }
        }
    }
}

/// The same for numbers of float64 whose squares leave its range, and for zeros, infinities and NaN.
#[cold]
fn extreme_direction<T: Real>(row: &[T], to: &mut [T]) {
    let most = row.iter().fold(0.0, |most, value| f64::max(most, value.widen().abs()));
    let scaled = row.iter().map(|value| value.widen() / most);
    let norm = scaled.clone().map(|value| value * value).sum::<f64>().sqrt();
    for (to, value) in to.iter_mut().zip(scaled) {
        *to = T::narrow(value / norm);
    }
}
