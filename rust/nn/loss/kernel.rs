//! The arithmetic of the losses over a block of rows, compiled for each instruction set.
//!
//! Everything runs in tiles whose shape depends on the number of outputs alone. What a tile needs beside the logits
//! is laid out for it on the stack, so that one loop serves labels and values, with weights and without; a gradient
//! that nobody wants goes to the stack too.

use super::{Loss, Sums, Targets, Truth};
use crate::dispatch::Kernel;
use crate::nn::elementary::Elementary;
use crate::nn::real::Real;
use crate::simd::Simd;

/// Elements of a tile at most.
const TILE: usize = 256;

/// Rows of a softmax tile at most.
const ROWS: usize = 32;

/// Numbers that are summed side by side.
const LANES: usize = 8;

/// The arguments of [`Loss::rows`].
pub(super) struct Rows<'a, T> {
    pub loss: Loss,
    pub logits: &'a [T],
    pub targets: Targets<'a, T>,
    pub outputs: usize,
    pub scale: f64,
    pub gradient: Option<&'a mut [T]>,
}

/// The loss of one element, its derivative, and whether it is a right decision.
type Term = (f64, f64, bool);

impl<T: Real> Kernel for Rows<'_, T> {
    type Output = Sums;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Sums {
        assert!(self.gradient.as_ref().is_none_or(|g| g.len() == self.logits.len()));
        match self.loss {
            Loss::Mse => self.elementwise(|x, t| {
                let d = x.widen() - t;
                (d * d, d + d, false)
            }),
            Loss::Mae => self.elementwise(|x, t| {
                let d = x.widen() - t;
                let sign = if d < 0.0 { -1.0 } else { d };
                (d.abs(), if d > 0.0 { 1.0 } else { sign }, false)
            }),
            Loss::Huber { delta } => self.elementwise(|x, t| {
                let d = x.widen() - t;
                let inside = d.abs() <= delta;
                let tangent = delta * (d.abs() - 0.5 * delta);
                let slope = if d < 0.0 { -delta } else { delta };
                // Neither comparison holds for a NaN, which `tangent` and `d` keep.
                let slope = if d.abs() > delta { slope } else { d };
                (if inside { 0.5 * d * d } else { tangent }, slope, false)
            }),
            Loss::BinaryCrossEntropy { label_smoothing } => {
                self.elementwise(|x, t| binary(x, t, label_smoothing))
            }
            Loss::SoftmaxCrossEntropy { label_smoothing } => self.softmax(label_smoothing),
        }
    }
}

/// `max(x, 0) - x t + log(1 + exp(-|x|))`, with slope `sigmoid(x) - t`.
///
/// With `u` the target's share on the other side of zero, that is `|x| u + log(1 + exp(-|x|))` and, up to the sign
/// of x, `u - sigmoid(-|x|)`: nothing cancels where the sigmoid saturates.
#[inline(always)]
fn binary<T: Real>(x: T, t: f64, label_smoothing: f64) -> Term {
    let e = (-x.abs()).exp_fast();
    let log = e.ln_1p_fast().widen();
    let (x, e) = (x.widen(), e.widen());
    let p = (1.0 - label_smoothing) * t + 0.5 * label_smoothing;
    let u = if x > 0.0 { 1.0 - p } else { p };
    // An infinite logit costs nothing where the target agrees with it.
    let cost = if u == 0.0 { 0.0 } else { x.abs() * u };
    let slope = u - e / (1.0 + e);
    (cost + log, if x > 0.0 { slope } else { -slope }, (x > 0.0) == (t > 0.5))
}

impl<T: Real> Rows<'_, T> {
    /// A loss that is a sum over the elements.
    #[inline(always)]
    fn elementwise(self, term: impl Fn(T, f64) -> Term) -> Sums {
        let Self { logits, targets, outputs, scale, mut gradient, .. } = self;
        let (mut spare, mut labels) = ([T::zero(); TILE], [T::zero(); TILE]);
        let mut weights = [1.0; TILE];
        let rows = targets.weights.unwrap_or_default().iter();
        let mut each = rows.flat_map(|w| std::iter::repeat_n(w.widen(), outputs));

        let mut sums = [0.0; LANES];
        let mut correct = [0_usize; LANES];
        for (tile, x) in logits.chunks(TILE).enumerate() {
            let at = tile * TILE..tile * TILE + x.len();
            let t = match targets.truth {
                Truth::Values(values) => &values[at.clone()],
                Truth::Labels(given) => {
                    for (to, &label) in labels.iter_mut().zip(&given[at.clone()]) {
                        *to = if label == 0 { T::zero() } else { T::one() };
                    }
                    &labels[..x.len()]
                }
            };
            for (to, w) in weights[..x.len()].iter_mut().zip(&mut each) {
                *to = w;
            }
            let (w, g) = match &mut gradient {
                Some(gradient) => (&weights[..x.len()], &mut gradient[at]),
                None => (&weights[..x.len()], &mut spare[..x.len()]),
            };
            let mut add = |from: usize, count: usize| {
                let at = from..from + count;
                let (x, t, w, g) = (&x[at.clone()], &t[at.clone()], &w[at.clone()], &mut g[at]);
                for i in 0..count {
                    let (loss, slope, right) = term(x[i], t[i].widen());
                    let counts = w[i] > 0.0;
                    sums[i] += if counts { w[i] * loss } else { 0.0 };
                    g[i] = T::narrow(if counts { slope * (w[i] * scale) } else { 0.0 });
                    correct[i] += usize::from(right);
                }
            };
            let whole = x.len() - x.len() % LANES;
            for from in (0..whole).step_by(LANES) {
                add(from, LANES);
            }
            add(whole, x.len() - whole);
        }
        Sums { loss: sums.iter().sum(), correct: correct.iter().sum() }
    }

    /// `sum_j p_j (log(sum_k exp(x_k)) - x_j)`, with gradient `softmax(x) sum(p) - p`, per row.
    ///
    /// All is shifted by the largest logit, whose own exponential 1 is kept apart from the `rest` of the sum: the
    /// loss is `log(1 + rest)`, exact to the last where the network is sure.
    #[inline(always)]
    fn softmax(self, label_smoothing: f64) -> Sums {
        let Self { logits, targets, outputs, scale, mut gradient, .. } = self;
        let (kept, spread) = (1.0 - label_smoothing, label_smoothing / outputs as f64);
        let mut spare = [T::zero(); TILE];
        let (mut best, mut max) = ([0; ROWS], [T::zero(); ROWS]);
        let (mut rest, mut log, mut inverse) = ([0.0; ROWS], [0.0; ROWS], [0.0; ROWS]);

        let mut sums = Sums::default();
        // Several rows, or pieces of one.
        let tile_rows = (TILE / outputs).clamp(1, ROWS);
        for (tile, x) in logits.chunks(tile_rows * outputs).enumerate() {
            let first = tile * tile_rows;
            for (r, x) in x.chunks_exact(outputs).enumerate() {
                (best[r], max[r]) = argmax(x);
                // 0, or NaN where the largest is no number.
                rest[r] = x[best[r]].widen() - max[r].widen();
            }
            for (piece, x) in x.chunks(TILE).enumerate() {
                let start = piece * TILE;
                let e = match &mut gradient {
                    Some(gradient) => &mut gradient[first * outputs + start..][..x.len()],
                    None => &mut spare[..x.len()],
                };
                for (r, (e, x)) in e.chunks_mut(outputs).zip(x.chunks(outputs)).enumerate() {
                    for (e, &x) in e.iter_mut().zip(x) {
                        *e = x - max[r];
                    }
                    if let Some(e) = e.get_mut(best[r].wrapping_sub(start)) {
                        *e = T::neg_infinity();
                    }
                }
                for e in e.iter_mut() {
                    *e = e.exp_fast();
                }
                for (r, e) in e.chunks(outputs).enumerate() {
                    rest[r] += sum(e, T::widen);
                }
            }
            for r in 0..ROWS {
                log[r] = rest[r].ln_1p_fast();
                inverse[r] = 1.0 / (1.0 + rest[r]);
            }
            for (r, x) in x.chunks_exact(outputs).enumerate() {
                let row = first + r;
                let max = max[r].widen();
                // sum_j p_j (x_j - max), sum_j p_j, the largest p_j, p_best; before smoothing.
                let (dot, mass, wanted, own) = match targets.truth {
                    Truth::Labels(labels) => {
                        let label = labels[row] as usize;
                        let own = if label == best[r] { 1.0 } else { 0.0 };
                        (x[label].widen() - max, 1.0, label, own)
                    }
                    Truth::Values(values) => {
                        let p = &values[row * outputs..][..outputs];
                        let mut dot = [0.0; LANES];
                        for (p, x) in p.chunks(LANES).zip(x.chunks(LANES)) {
                            for (i, (p, x)) in p.iter().zip(x).enumerate() {
                                // A masked class costs nothing where nothing was expected of it.
                                let cost = p.widen() * (x.widen() - max);
                                dot[i] += if *p == T::zero() { 0.0 } else { cost };
                            }
                        }
                        let own = p[best[r]].widen();
                        (dot.iter().sum(), sum(p, T::widen), argmax(p).0, own)
                    }
                };
                sums.correct += usize::from(wanted == best[r]);
                let w = targets.weights.map_or(1.0, |weights| weights[row].widen());
                let mass = mass + label_smoothing * (1.0 - mass);
                let own = kept * own + spread;
                if w > 0.0 {
                    let mut dot = kept * dot;
                    if label_smoothing > 0.0 {
                        dot += spread * sum(x, |x| x.widen() - max);
                    }
                    sums.loss += w * (mass * log[r] - dot);
                }
                let Some(gradient) = &mut gradient else { continue };
                let g = &mut gradient[row * outputs..][..outputs];
                if w == 0.0 {
                    g.fill(T::zero());
                    continue;
                }
                let w = w * scale;
                let normalizer = T::narrow(mass * w * inverse[r]);
                let (kept, spread) = (T::narrow(kept * w), T::narrow(spread * w));
                match targets.truth {
                    Truth::Labels(labels) => {
                        for g in g.iter_mut() {
                            *g = *g * normalizer - spread;
                        }
                        g[labels[row] as usize] -= kept;
                    }
                    Truth::Values(values) => {
                        for (g, &p) in g.iter_mut().zip(&values[row * outputs..]) {
                            *g = *g * normalizer - (kept * p + spread);
                        }
                    }
                }
                // softmax_best = 1 - rest / (1 + rest)
                g[best[r]] = T::narrow(((mass - own) - mass * rest[r] * inverse[r]) * w);
            }
        }
        sums
    }
}

/// The sum of `f(x)` in `f64`: one per lane, then those.
#[inline(always)]
fn sum<T: Real>(x: &[T], f: impl Fn(T) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let chunks = x.chunks_exact(LANES);
    let mut tail = 0.0;
    for &x in chunks.remainder() {
        tail += f(x);
    }
    for x in chunks {
        for (lane, &x) in lanes.iter_mut().zip(x) {
            *lane += f(x);
        }
    }
    lanes.iter().sum::<f64>() + tail
}

/// The first largest value and where it is; position 0 and -inf if none compares as larger.
#[inline(always)]
fn argmax<T: Real>(x: &[T]) -> (usize, T) {
    let larger = |a, b| if b > a { b } else { a };
    let mut max = T::neg_infinity();
    let chunks = x.chunks_exact(LANES);
    for &x in chunks.remainder() {
        max = larger(max, x);
    }
    let mut lanes = [max; LANES];
    for x in chunks {
        for (lane, &x) in lanes.iter_mut().zip(x) {
            *lane = larger(*lane, x);
        }
    }
    for lane in lanes {
        max = larger(max, lane);
    }
    let places = x.iter().enumerate().map(|(i, &x)| if x == max { i } else { usize::MAX });
    let first = places.fold(usize::MAX, usize::min);
    (if first == usize::MAX { 0 } else { first }, max)
}
