//! The softmax cross-entropy over a block of rows.
//!
//! ```text
//! loss = sum_j p_j (log(sum_k exp(x_k)) - x_j)        gradient = softmax(x) sum(p) - p
//! ```
//! All is shifted by the largest logit, whose own exponential 1 is kept apart from the `rest` of the sum: the loss
//! holds `log(1 + rest)`, and the largest softmax is `1 - rest / (1 + rest)`, both exact to the last where the network
//! is sure.

use super::kernel::{LANES, Rows};
use super::{Sums, Targets, Truth};
use crate::nn::elementary::Elementary;
use crate::nn::real::Real;

/// Vectors of a tile.
const DEPTH: usize = 64;

type Tile<T> = [[T; LANES]; DEPTH];

/// One number per lane.
type Lanes<T> = [T; LANES];

/// How rows lie in a tile. Short ones lie across it, one per lane, so that nothing is ever summed over lanes; a long
/// one fills it as it is, piece by piece, and its lanes are put together in the end.
#[derive(Clone, Copy)]
struct Layout {
    outputs: usize,
}

impl Layout {
    #[inline(always)]
    fn is_across(self) -> bool {
        self.outputs <= DEPTH
    }

    /// Rows at a time.
    #[inline(always)]
    fn rows(self) -> usize {
        if self.is_across() { LANES } else { 1 }
    }

    /// Elements of a full tile.
    #[inline(always)]
    fn piece(self) -> usize {
        if self.is_across() { LANES * self.outputs } else { LANES * DEPTH }
    }

    /// Whether a row comes in several pieces, and so into the tile again for each pass over it.
    #[inline(always)]
    fn several(self) -> bool {
        self.rows() * self.outputs > self.piece()
    }

    /// Vectors that a piece of `len` elements takes.
    #[inline(always)]
    fn depth(self, len: usize) -> usize {
        if self.is_across() { self.outputs } else { len.div_ceil(LANES) }
    }

    /// Copies a piece into the tile, `pad` after its end. Lanes without a row repeat the last one.
    #[inline(always)]
    fn load<T: Real>(self, from: &[T], tile: &mut Tile<T>, pad: T) {
        if self.is_across() {
            let last = from.len() / self.outputs - 1;
            let rows: Lanes<&[T]> =
                std::array::from_fn(|l| &from[l.min(last) * self.outputs..][..self.outputs]);
            for (j, to) in tile[..self.outputs].iter_mut().enumerate() {
                *to = rows.map(|row| row[j]);
            }
        } else {
            let tile = tile[..self.depth(from.len())].as_flattened_mut();
            tile[from.len()..].fill(pad);
            tile[..from.len()].copy_from_slice(from);
        }
    }

    /// Copies the tile into a piece.
    #[inline(always)]
    fn store<T: Real>(self, tile: &Tile<T>, to: &mut [T]) {
        if self.is_across() {
            for (l, row) in to.chunks_exact_mut(self.outputs).enumerate() {
                for (to, x) in row.iter_mut().zip(tile) {
                    *to = x[l];
                }
            }
        } else {
            to.copy_from_slice(&tile.as_flattened()[..to.len()]);
        }
    }

    /// The vector that each lane has its row's column in, where it has.
    #[inline(always)]
    fn place(self, columns: &Lanes<usize>) -> Lanes<u32> {
        if self.is_across() {
            return columns.map(|column| column as u32);
        }
        let mut at = [u32::MAX; LANES];
        at[columns[0] % LANES] = (columns[0] / LANES) as u32;
        at
    }

    /// Sums per row from sums per lane.
    #[inline(always)]
    fn sum(self, lanes: Lanes<f64>) -> Lanes<f64> {
        if self.is_across() { lanes } else { [lanes.iter().sum(); LANES] }
    }

    /// Numbers per lane from numbers per row.
    #[inline(always)]
    fn spread<T: Copy>(self, rows: Lanes<T>) -> Lanes<T> {
        if self.is_across() { rows } else { [rows[0]; LANES] }
    }

    /// The largest of each row and its column.
    #[inline(always)]
    fn largest<T: Real>(self, lanes: &Largest<T>) -> (Lanes<T>, Lanes<usize>) {
        let at = lanes.at.map(|at| at as usize);
        if self.is_across() {
            return (lanes.max, at);
        }
        let (mut max, mut column) = (T::neg_infinity(), 0);
        for l in 0..LANES {
            let here = at[l] * LANES + l;
            if lanes.max[l] > max || (lanes.max[l] == max && here < column) {
                (max, column) = (lanes.max[l], here);
            }
        }
        ([max; LANES], [column; LANES])
    }
}

/// The first largest number of each lane and the vector it is in; -inf and 0 where none compares as larger.
struct Largest<T> {
    max: Lanes<T>,
    at: Lanes<u32>,
}

impl<T: Real> Largest<T> {
    #[inline(always)]
    fn new() -> Self {
        Self { max: [T::neg_infinity(); LANES], at: [0; LANES] }
    }

    /// Goes on with the tile of piece `i`.
    #[inline(always)]
    fn see(&mut self, tile: &[Lanes<T>], i: usize) {
        for (j, x) in tile.iter().enumerate() {
            let at = (i * DEPTH + j) as u32;
            for l in 0..LANES {
                let larger = x[l] > self.max[l];
                self.max[l] = if larger { x[l] } else { self.max[l] };
                self.at[l] = if larger { at } else { self.at[l] };
            }
        }
    }
}

/// The rows that are in the tile together, with their targets.
struct Group<'a, T> {
    layout: Layout,
    x: &'a [T],
    targets: Targets<'a, T>,
    label_smoothing: f64,
    scale: f64,
}

/// What is known of each row: its largest logit, the column of that and of the largest target.
struct Found<T> {
    max: Lanes<T>,
    best: Lanes<usize>,
    wanted: Lanes<usize>,
    /// The sum of the other exponentials, `sum_j p_j (x_j - max)` and `sum_j p_j`.
    rest: Lanes<f64>,
    dot: Lanes<f64>,
    mass: Lanes<f64>,
}

/// What makes gradients of exponentials, `factor e - (share p + floor)`, and that of the largest logit.
struct Slopes<T> {
    factor: Lanes<T>,
    share: Lanes<T>,
    floor: Lanes<T>,
    own: Lanes<T>,
}

/// The sums over `rows`, and their gradient.
#[inline(always)]
pub(super) fn softmax<T: Real>(rows: Rows<'_, T>, label_smoothing: f64) -> Sums {
    let Rows { logits, targets, outputs, scale, mut gradient, .. } = rows;
    let (mut xs, mut ps) = ([[T::zero(); LANES]; DEPTH], [[T::zero(); LANES]; DEPTH]);
    let layout = Layout { outputs };
    let size = layout.rows() * outputs;
    let (mut losses, mut correct) = ([0.0; LANES], 0);
    for (i, x) in logits.chunks(size).enumerate() {
        let first = i * layout.rows();
        let targets = targets.rows(first..first + x.len() / outputs, outputs);
        let group = Group { layout, x, targets, label_smoothing, scale };
        let mut g = gradient.as_deref_mut().map(|g| &mut g[i * size..i * size + x.len()]);
        let found = group.exponentials(&mut xs, &mut ps, g.as_deref_mut());
        let count = x.len() / outputs;
        let right = found.wanted[..count].iter().zip(&found.best).filter(|(a, b)| a == b);
        correct += right.count();
        let slopes = group.losses(&found, &mut losses);
        if let Some(g) = g {
            group.gradient(&found, &slopes, &mut xs, &mut ps, g);
        }
    }
    Sums { loss: losses.iter().sum(), correct }
}

impl<T: Real> Group<'_, T> {
    /// Leaves the exponentials in the tile; those of several pieces in `keep`, if there is any.
    #[inline(always)]
    fn exponentials(
        &self,
        xs: &mut Tile<T>,
        ps: &mut Tile<T>,
        mut keep: Option<&mut [T]>,
    ) -> Found<T> {
        let &Self { layout, x, targets, .. } = self;
        let piece = layout.piece();
        let mut best = Largest::new();
        for (i, x) in x.chunks(piece).enumerate() {
            layout.load(x, xs, T::neg_infinity());
            best.see(&xs[..layout.depth(x.len())], i);
        }
        let (max, best) = layout.largest(&best);
        let at = layout.place(&best);

        let (mut rest, mut dot, mut mass) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        let mut wanted = Largest::new();
        for (i, x) in x.chunks(piece).enumerate() {
            let depth = layout.depth(x.len());
            if layout.several() {
                layout.load(x, xs, T::neg_infinity());
            }
            if let Truth::Values(values) = targets.truth {
                layout.load(&values[i * piece..][..x.len()], ps, T::zero());
                wanted.see(&ps[..depth], i);
                for (p, x) in ps[..depth].iter().zip(xs.iter()) {
                    for l in 0..LANES {
                        let cost = p[l].widen() * (x[l].widen() - max[l].widen());
                        // A masked class costs nothing where nothing was expected of it.
                        dot[l] += if p[l] == T::zero() { 0.0 } else { cost };
                        mass[l] += p[l].widen();
                    }
                }
            }
            for x in &mut xs[..depth] {
                for (x, max) in x.iter_mut().zip(max) {
                    *x -= max;
                }
            }
            for x in xs[..depth].as_flattened_mut() {
                *x = x.exp_fast();
            }
            for (j, x) in xs[..depth].iter().enumerate() {
                let j = (i * DEPTH + j) as u32;
                for l in 0..LANES {
                    rest[l] += if at[l] == j { 0.0 } else { x[l].widen() };
                }
            }
            if let (true, Some(keep)) = (layout.several(), &mut keep) {
                layout.store(xs, &mut keep[i * piece..][..x.len()]);
            }
        }
        let (mut rest, mut dot, mut mass) = (layout.sum(rest), layout.sum(dot), layout.sum(mass));
        let (_, mut wanted) = layout.largest(&wanted);
        for l in 0..LANES {
            // Adds 0, or NaN where the largest logit is no number.
            rest[l] += max[l].widen() - max[l].widen();
        }
        if let Truth::Labels(labels) = targets.truth {
            mass = [1.0; LANES];
            for (l, (x, &label)) in x.chunks_exact(layout.outputs).zip(labels).enumerate() {
                wanted[l] = label as usize;
                dot[l] = x[wanted[l]].widen() - max[l].widen();
            }
        }
        Found { max, best, wanted, rest, dot, mass }
    }

    /// Adds the losses to those of earlier groups, lane by lane.
    #[inline(always)]
    fn losses(&self, found: &Found<T>, losses: &mut Lanes<f64>) -> Slopes<T> {
        let &Self { layout, x, targets, label_smoothing, scale } = self;
        let outputs = layout.outputs;
        let (kept, spread) = (1.0 - label_smoothing, label_smoothing / outputs as f64);
        // Per row: its weight, 0 where there is no row; the target of the largest logit; and what smoothing needs.
        let (mut w, mut p, mut all) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for (l, x) in x.chunks_exact(outputs).enumerate() {
            p[l] = match targets.truth {
                Truth::Labels(_) if found.wanted[l] == found.best[l] => 1.0,
                Truth::Labels(_) => 0.0,
                Truth::Values(values) => values[l * outputs + found.best[l]].widen(),
            };
            w[l] = targets.weights.map_or(1.0, |weights| weights[l].widen());
            if label_smoothing > 0.0 {
                all[l] = sum(x, found.max[l].widen());
            }
        }
        let zero = [T::zero(); LANES];
        let mut slopes = Slopes { factor: zero, share: zero, floor: zero, own: zero };
        for l in 0..LANES {
            let (rest, mass) = (found.rest[l], found.mass[l]);
            let (log, inverse) = (rest.ln_1p_fast(), 1.0 / (1.0 + rest));
            let mass = mass + label_smoothing * (1.0 - mass);
            let loss = mass * log - (kept * found.dot[l] + spread * all[l]);
            // What weighs nothing may be infinite.
            losses[l] += if w[l] > 0.0 { w[l] * loss } else { 0.0 };
            let p = kept * p[l] + spread;
            let w = w[l] * scale;
            slopes.own[l] = T::narrow(((mass - p) - mass * rest * inverse) * w);
            slopes.factor[l] = T::narrow(mass * w * inverse);
            slopes.share[l] = T::narrow(kept * w);
            slopes.floor[l] = T::narrow(spread * w);
        }
        slopes
    }

    /// Makes the gradient of the exponentials in the tile, or of those of several pieces in `g` itself.
    #[inline(always)]
    fn gradient(
        &self,
        found: &Found<T>,
        slopes: &Slopes<T>,
        xs: &mut Tile<T>,
        ps: &mut Tile<T>,
        g: &mut [T],
    ) {
        let &Self { layout, targets, .. } = self;
        let piece = layout.piece();
        let (best, label) = (layout.place(&found.best), layout.place(&found.wanted));
        let (factor, share) = (layout.spread(slopes.factor), layout.spread(slopes.share));
        let (floor, own) = (layout.spread(slopes.floor), layout.spread(slopes.own));
        for (i, g) in g.chunks_mut(piece).enumerate() {
            let depth = layout.depth(g.len());
            if layout.several() {
                layout.load(g, xs, T::zero());
            }
            match targets.truth {
                Truth::Values(values) if layout.several() => {
                    layout.load(&values[i * piece..][..g.len()], ps, T::zero());
                }
                Truth::Values(_) => {}
                Truth::Labels(_) => {
                    for (j, p) in ps[..depth].iter_mut().enumerate() {
                        let j = (i * DEPTH + j) as u32;
                        for l in 0..LANES {
                            p[l] = if label[l] == j { T::one() } else { T::zero() };
                        }
                    }
                }
            }
            for (j, (x, p)) in xs[..depth].iter_mut().zip(ps.iter()).enumerate() {
                let j = (i * DEPTH + j) as u32;
                for l in 0..LANES {
                    let slope = x[l] * factor[l] - (share[l] * p[l] + floor[l]);
                    x[l] = if best[l] == j { own[l] } else { slope };
                }
            }
            layout.store(xs, g);
        }
        if let Some(weights) = targets.weights {
            // Infinities and NaNs too.
            for (g, _) in
                g.chunks_exact_mut(layout.outputs).zip(weights).filter(|(_, w)| w.is_zero())
            {
                g.fill(T::zero());
            }
        }
    }
}

/// `sum_j (x_j - max)`
#[inline(always)]
fn sum<T: Real>(x: &[T], max: f64) -> f64 {
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for x in whole {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane += x.widen() - max;
        }
    }
    let rest: f64 = rest.iter().map(|x| x.widen() - max).sum();
    lanes.iter().sum::<f64>() + rest
}
