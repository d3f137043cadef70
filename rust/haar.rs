//! Matrices with orthonormal columns, from the Haar measure: every one as likely as any other.
//!
//! G. W. Stewart, The efficient generation of random orthogonal matrices (SIAM J. Numer. Anal. 17, 1980): the factor Q
//! of a Gaussian n x m matrix X = Q R with positive diagonal R is such a matrix, and X is not needed to draw it. Let the
//! reflector `H_k` take a Gaussian vector of its own, `x_k` of length n - k, to a multiple of the first unit vector:
//!
//! ```text
//! Q = H_0 H_1 ... H_(m-1) D        (the first m columns), D_k = the sign of that multiple
//! ```
//!
//! In blocks: the reflectors of a panel are one matrix, `I - V T V^T` (compact WY; Schreiber & Van Loan, SIAM J. Sci. Stat.
//! Comput. 10, 1989), and `T^-1` is the upper triangle of `V^T V` with half its diagonal (Puglisi, ibid. 13, 1992).
//! Panels are drawn independently of each other. Then each block of columns of Q goes by itself through the panels, from
//! the last that reaches it to the first. What a block is depends on the shape alone, its products are sequential, and so
//! bits do not depend on threads. The work is that of half a QR factorisation, `2 m^2 (n - m / 3)` multiply-adds.
//!
//! Memory, besides the result: the panels of one matrix, half of it if it is square, all of it if it is long; of small
//! matrices, those of as many as have [`WAVE`] elements. And per thread a block of columns,
//! and what the products keep for themselves: a buffer of twice the last-level cache, which is not asked for fallibly. Between two blocks, of `4 n BLOCK m`
//! operations or fewer each, a stop is heard.

use std::sync::{Mutex, PoisonError};

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_inverse::invert_upper_triangular;
use faer::{Accum, MatMut, MatRef, Par};

use crate::dispatch::{self, Kernel};
use crate::distribution::Distribution;
use crate::error::Result;
use crate::fill::fill;
use crate::indexing::{Select, select};
use crate::law::zeros;
use crate::parallel::{self, NEVER, Stop};
use crate::philox::LANES;
use crate::region::Axis;
use crate::sample::{Float, Sample};
use crate::simd::{Simd, lanes, vector_by_vector};
use crate::stream::Stream;

/// Reflectors in a panel: products with this depth reach the speed of deeper ones, and there is less of `V^T V`.
const PANEL: usize = 64;

/// Columns of Q in a block. Of twice as many one thread is a twentieth faster, and several share them out worse.
const BLOCK: usize = 64;

/// Elements of matrices that are worked on at once, or one matrix.
const WAVE: usize = 1 << 20;

/// Many matrices of one shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frames {
    /// How many.
    pub count: usize,
    /// Rows, no fewer than columns.
    pub rows: usize,
    /// Columns, which are orthonormal.
    pub columns: usize,
    /// What multiplies them.
    pub gain: f64,
    /// Written column by column, not row by row.
    pub by_columns: bool,
}

/// `PANEL` reflectors, or as many as are left.
#[derive(Clone, Copy)]
struct Panel {
    /// The number of the first, and of the first row it changes.
    first: usize,
    /// How many.
    count: usize,
    /// The rows from there on.
    rows: usize,
    /// Where it begins in a matrix's panels.
    begin: usize,
}

impl Panel {
    /// V: (rows, count), T: (count, count), one after the other; both row by row.
    fn len(self) -> usize {
        (self.rows + self.count) * self.count
    }
}

impl Frames {
    /// Writes all matrices, one after the other.
    ///
    /// Element (i, k) of matrix g's Gaussian vectors, `i >= k`, is the normal value of C-order index (g, i, k) in an
    /// array (count, rows, columns) of the stream.
    ///
    /// # Errors
    /// There is not enough memory, or `stop` ended the work.
    pub fn fill<T: Sample>(
        self,
        stream: &Stream,
        out: &mut [T],
        threads: usize,
        stop: Stop<'_>,
    ) -> Result<()> {
        let size = self.rows * self.columns;
        if out.is_empty() {
            return Ok(());
        }
        let panels: Vec<Panel> = self.panels().collect();
        let len = panels.iter().map(|panel| panel.len()).sum::<usize>();
        let wave = (WAVE / size).clamp(1, self.count);
        let width = BLOCK.min(self.columns);
        let threads = threads.min(wave * panels.len());
        let mut reflectors = zeros::<T::Float>((wave * len) as u64)?;
        let scratch = (0..threads)
            .map(|_| zeros::<T::Float>(((self.rows + 2 * PANEL) * width) as u64))
            .collect::<Result<Vec<_>>>()?;
        let scratch = Mutex::new(scratch);
        for (i, out) in out.chunks_mut(wave * size).enumerate() {
            let items = reflectors.chunks_mut(len).enumerate().take(out.len() / size);
            let items = items.flat_map(|(g, mut rest)| {
                panels.iter().map(move |panel| {
                    let (now, later) = std::mem::take(&mut rest).split_at_mut(panel.len());
                    rest = later;
                    (i * wave + g, *panel, now)
                })
            });
            parallel::for_each(threads, items, stop, |(g, panel, data)| {
                self.draw(stream, g, panel, data);
            })?;
            let items = out.chunks_mut(size).zip(reflectors.chunks(len));
            let items = items.flat_map(|(out, reflectors)| {
                self.blocks(out, width).into_iter().map(move |(c, out)| (c, out, reflectors))
            });
            parallel::for_each(threads, items, stop, |(first, out, reflectors)| {
                let mine = || scratch.lock().unwrap_or_else(PoisonError::into_inner);
                let mut scratch = mine().pop().expect("one for each thread");
                let width = if self.by_columns { out.nrows() } else { out.ncols() };
                let q = self.accumulate((first, width), &panels, reflectors, &mut scratch);
                let gain = <T::Float as Sample>::from_f64(self.gain);
                dispatch::run(Write { q, width, gain, out, by_columns: self.by_columns });
                mine().push(scratch);
            })?;
        }
        Ok(())
    }

    /// The panels of a matrix.
    fn panels(self) -> impl Iterator<Item = Panel> {
        let mut begin = 0;
        (0..self.columns).step_by(PANEL).map(move |first| {
            let count = PANEL.min(self.columns - first);
            let panel = Panel { first, count, rows: self.rows - first, begin };
            begin += panel.len();
            panel
        })
    }

    /// A matrix cut into blocks of columns, each with the number of its first column; the last ones, which take
    /// most work, first.
    fn blocks<T>(self, out: &mut [T], width: usize) -> Vec<(usize, MatMut<'_, T>)> {
        let (rows, columns) = (self.rows, self.columns);
        let mut blocks = Vec::with_capacity(columns.div_ceil(width));
        let mut rest = if self.by_columns {
            MatMut::from_row_major_slice_mut(out, columns, rows)
        } else {
            MatMut::from_row_major_slice_mut(out, rows, columns)
        };
        for first in (0..columns).step_by(width) {
            let width = width.min(columns - first);
            let (block, later) = if self.by_columns {
                rest.split_at_row_mut(width)
            } else {
                rest.split_at_col_mut(width)
            };
            blocks.push((first, block));
            rest = later;
        }
        blocks.reverse();
        blocks
    }

    /// Draws the vectors of a panel, and makes reflectors of them.
    fn draw<F: Sample<Float = F> + Float>(
        self,
        stream: &Stream,
        g: usize,
        panel: Panel,
        data: &mut [F],
    ) {
        let Panel { first, count, rows, .. } = panel;
        let (v, t) = data.split_at_mut(rows * count);
        let part = |start: usize, len: usize| {
            Select::Slice(Axis { start: start as u64, step: 1, len: len as u64 })
        };
        let shape = [self.count, self.rows, self.columns].map(|n| n as u64);
        let items = [part(g, 1), part(first, rows), part(first, count)];
        let normal = Distribution::Normal { mean: 0.0, std: 1.0 };
        select(&shape, &items)
            .and_then(|(region, _)| fill(stream, normal, &region, v, 1, NEVER))
            .expect("normal values of a part of an array");
        let halves = dispatch::run(Reflect { v, count });
        let v = MatRef::from_row_major_slice(v, rows, count);
        let mut inverse = [<F as Sample>::ZERO; PANEL * PANEL];
        let mut inverse =
            MatMut::from_row_major_slice_mut(&mut inverse[..count * count], count, count);
        triangular::matmul(
            inverse.as_mut(),
            BlockStructure::TriangularUpper,
            Accum::Replace,
            v.transpose(),
            BlockStructure::Rectangular,
            v,
            BlockStructure::Rectangular,
            F::one(),
            Par::Seq,
        );
        for (k, half) in halves.into_iter().take(count).enumerate() {
            inverse[(k, k)] = <F as Sample>::from_f64(half);
        }
        let t = MatMut::from_row_major_slice_mut(t, count, count);
        invert_upper_triangular(t, inverse.as_ref(), Par::Seq);
    }

    /// Computes `width` columns of Q from `first` on, the first elements of `scratch`: (rows, width).
    fn accumulate<'a, F: Float>(
        self,
        (first, width): (usize, usize),
        panels: &[Panel],
        reflectors: &[F],
        scratch: &'a mut [F],
    ) -> &'a mut [F] {
        let (c, products) = scratch.split_at_mut(self.rows * width);
        let (w, y) = products.split_at_mut(PANEL * width);
        c.fill(F::ZERO);
        let end = first + width;
        for k in first..end {
            let panel = panels[k / PANEL];
            let head = reflectors[panel.begin + (k - panel.first) * (panel.count + 1)];
            // a vector goes to the side away from its first element, whose sign the reflector's has
            c[k * width + k - first] = -F::ONE.copysign(head);
        }
        // so far only the rows from here to there differ from zeros, and none above does before its panel
        let (mut top, mut bottom) = (end, end);
        for panel in panels.iter().rev().filter(|panel| panel.first < end) {
            let (v, t) =
                reflectors[panel.begin..][..panel.len()].split_at(panel.rows * panel.count);
            let v = MatRef::from_row_major_slice(v, panel.rows, panel.count);
            let t = MatRef::from_row_major_slice(t, panel.count, panel.count);
            // the columns to the left are still those of D, which these reflectors leave as they are
            let left = panel.first.saturating_sub(first);
            let size = panel.count * (width - left);
            let mut w = MatMut::from_row_major_slice_mut(&mut w[..size], panel.count, width - left);
            let mut y = MatMut::from_row_major_slice_mut(&mut y[..size], panel.count, width - left);
            let mut c = MatMut::from_row_major_slice_mut(c, self.rows, width);
            let mut c = c.as_mut().subcols_mut(left, width - left);
            top = panel.first.max(first.min(top));
            let v_seen = v.subrows(top - panel.first, bottom - top);
            let c_seen = c.as_ref().subrows(top, bottom - top);
            // w = V^T C, y = T w, C -= V y
            matmul(w.as_mut(), Accum::Replace, v_seen.transpose(), c_seen, F::ONE, Par::Seq);
            matmul(y.as_mut(), Accum::Replace, t, w.as_ref(), F::ONE, Par::Seq);
            let changed = c.as_mut().subrows_mut(panel.first, panel.rows);
            matmul(changed, Accum::Add, v, y.as_ref(), -F::ONE, Par::Seq);
            (top, bottom) = (panel.first, self.rows);
        }
        c
    }
}

/// From Gaussian vectors, the columns of v: (rows, count), to reflectors `I - v v^T / half`; returns the halves.
struct Reflect<'a, F> {
    v: &'a mut [F],
    count: usize,
}

impl<F: Sample<Float = F>> Kernel for Reflect<'_, F> {
    type Output = [f64; PANEL];

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> [f64; PANEL] {
        let count = self.count;
        let rows = self.v.len() / count;
        // of what lies below the diagonal, in float64: the halves decide how orthogonal the reflectors are
        let mut squares = [0.0; PANEL];
        let (top, below) = self.v.split_at_mut(count * count);
        for below in below.chunks(PANEL * count) {
            let mut sums = [0.0; PANEL];
            for row in below.chunks_exact(count) {
                for (sum, x) in sums.iter_mut().zip(row) {
                    let x = x.to_f64();
                    *sum += x * x;
                }
            }
            for (square, sum) in squares.iter_mut().zip(sums) {
                *square += sum;
            }
        }
        for (i, row) in top.chunks_exact_mut(count).enumerate() {
            for (square, x) in squares.iter_mut().zip(&row[..i]) {
                let x = x.to_f64();
                *square += x * x;
            }
            row[i + 1..].fill(F::ZERO);
        }
        for (k, square) in squares.iter_mut().take(count).enumerate() {
            let head = &mut top[k * count + k];
            let x = head.to_f64();
            if k + 1 == rows {
                // a single number is reflected already; without a reflector its sign is exact
                *head = F::from_f64(0.0_f64.copysign(-x));
                *square = 1.0;
            } else {
                *head = F::from_f64(x + (x * x + *square).sqrt().copysign(x));
                *square = 0.5 * (head.to_f64() * head.to_f64() + *square);
            }
        }
        squares
    }
}

/// Writes columns of Q, times the gain, to their place.
struct Write<'a, T: Sample> {
    /// (rows, width)
    q: &'a [T::Float],
    width: usize,
    gain: T::Float,
    /// The same shape, or by columns the transpose.
    out: MatMut<'a, T>,
    by_columns: bool,
}

impl<T: Sample> Kernel for Write<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { q, width, gain, mut out, by_columns } = self;
        if by_columns {
            // a vector of rows at a time, whose columns stay in the first-level cache
            for (i, q) in q.chunks(LANES * width).enumerate() {
                let len = q.len() / width;
                for k in 0..width {
                    let Some(line) = line(&mut out, k) else { return };
                    let out = &mut line[i * LANES..][..len];
                    let mut x = [<T::Float as Float>::ZERO; LANES];
                    for (l, q) in q[k..].iter().step_by(width).enumerate().take(LANES) {
                        x[l] = *q;
                    }
                    put(simd, x, gain, out);
                }
            }
        } else {
            for (i, q) in q.chunks_exact(width).enumerate() {
                let Some(line) = line(&mut out, i) else { return };
                let (whole, rest) = q.as_chunks();
                let (out, last) = line.split_at_mut(whole.len() * LANES);
                for (q, out) in whole.iter().zip(out.chunks_exact_mut(LANES)) {
                    vector_by_vector();
                    put(simd, *q, gain, out);
                }
                let mut x = [<T::Float as Float>::ZERO; LANES];
                x[..rest.len()].copy_from_slice(rest);
                put(simd, x, gain, last);
            }
        }
    }
}

/// A row of a matrix that is stored row by row.
#[inline(always)]
fn line<'a, T>(matrix: &'a mut MatMut<'_, T>, row: usize) -> Option<&'a mut [T]> {
    matrix.as_mut().row_mut(row).try_as_row_major_mut().map(|row| row.as_slice_mut())
}

/// Writes the first of `gain * x`, where rounding has taken no x beyond 1, to `out`.
#[inline(always)]
fn put<T: Sample, S: Simd>(simd: S, x: [T::Float; LANES], gain: T::Float, out: &mut [T]) {
    let one = <T::Float as Float>::ONE;
    let x = lanes!(one; l => {
        let size = Float::abs(x[l]);
        let size = if size > one { one } else { size };
        size.copysign(x[l]) * gain
    });
    let x = T::round(simd, x);
    match <&mut [T; LANES]>::try_from(&mut *out) {
        Ok(out) => *out = x,
        Err(_) => out.copy_from_slice(&x[..out.len()]),
    }
}
