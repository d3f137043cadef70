//! The arithmetic of the losses over a block of rows, compiled for each instruction set.
//!
//! Everything runs in tiles on the stack whose shape depends on the number of outputs alone. Labels, values, weights
//! and their absence all become the same numbers there, so that one loop serves them, and that loop has no ends that
//! do not fill a vector.

use super::softmax::softmax;
use super::{Loss, Sums, Targets, Truth};
use crate::dispatch::Kernel;
use crate::nn::real::Real;
use crate::simd::Simd;

/// Numbers that are worked on side by side.
pub(super) const LANES: usize = 16;

/// The arguments of [`Loss::rows`].
pub(super) struct Rows<'a, T> {
    pub loss: Loss,
    pub logits: &'a [T],
    pub targets: Targets<'a, T>,
    pub outputs: usize,
    pub scale: f64,
    pub gradient: Option<&'a mut [T]>,
}

impl<T: Real> Kernel for Rows<'_, T> {
    type Output = Sums;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Sums {
        assert!(self.gradient.as_ref().is_none_or(|g| g.len() == self.logits.len()));
        let regression = |_, _| false;
        match self.loss {
            Loss::Mse => self.elementwise(
                |x, t| {
                    let d = x.widen() - t;
                    (d * d, d + d)
                },
                regression,
            ),
            Loss::Mae => self.elementwise(
                |x, t| {
                    let d = x.widen() - t;
                    let slope = if d < 0.0 { -1.0 } else { d };
                    (d.abs(), if d > 0.0 { 1.0 } else { slope })
                },
                regression,
            ),
            Loss::Huber { delta } => self.elementwise(
                |x, t| {
                    let d = x.widen() - t;
                    // Neither comparison holds for a NaN, which the tangent and `d` keep.
                    let tangent = delta * (d.abs() - 0.5 * delta);
                    let loss = if d.abs() <= delta { 0.5 * d * d } else { tangent };
                    let slope = if d < -delta { -delta } else { d };
                    (loss, if d > delta { delta } else { slope })
                },
                regression,
            ),
            Loss::BinaryCrossEntropy { label_smoothing } => self.elementwise(
                |x, t| binary(x, (1.0 - label_smoothing) * t + 0.5 * label_smoothing),
                |x, t| (x > T::zero()) == (t > 0.5),
            ),
            Loss::SoftmaxCrossEntropy { label_smoothing } => softmax(self, label_smoothing),
        }
    }
}

/// `max(x, 0) - x t + log(1 + exp(-|x|))`, with slope `sigmoid(x) - t`.
///
/// With `u` the target's share on the other side of zero, that is `|x| u + log(1 + exp(-|x|))` and, up to the sign
/// of x, `u - sigmoid(-|x|)`: nothing cancels where the sigmoid saturates.
#[inline(always)]
fn binary<T: Real>(x: T, t: f64) -> (f64, f64) {
    let e = (-x.abs()).exp_fast();
    let log = e.ln_1p_fast().widen();
    let other = (e / (T::one() + e)).widen();
    let x = x.widen();
    let u = if x > 0.0 { 1.0 - t } else { t };
    // An infinite logit costs nothing where the target agrees with it.
    let cost = if u == 0.0 { 0.0 } else { x.abs() * u };
    (cost + log, if x > 0.0 { u - other } else { other - u })
}

impl<T: Real> Rows<'_, T> {
    /// A loss that is a sum over the elements: `term` gives it and its slope, `right` counts decisions.
    #[inline(always)]
    fn elementwise(
        self,
        term: impl Fn(T, f64) -> (f64, f64),
        right: impl Fn(T, f64) -> bool,
    ) -> Sums {
        const TILE: usize = 16 * LANES;
        let Self { logits, targets, outputs, scale, mut gradient, .. } = self;
        let (mut xs, mut gs) = ([T::zero(); TILE], [T::zero(); TILE]);
        let (mut ts, mut losses) = ([0.0; TILE], [0.0; TILE]);
        let mut ws = [1.0; TILE];
        let rows = targets.weights.unwrap_or_default().iter();
        let mut weights = rows.flat_map(|w| std::iter::repeat_n(w.widen(), outputs));

        let mut sums = [0.0; LANES];
        let mut correct = 0;
        for (tile, x) in logits.chunks(TILE).enumerate() {
            let count = x.len();
            let at = tile * TILE..tile * TILE + count;
            xs[..count].copy_from_slice(x);
            match targets.truth {
                Truth::Values(values) => {
                    for (to, t) in ts.iter_mut().zip(&values[at.clone()]) {
                        *to = t.widen();
                    }
                }
                Truth::Labels(labels) => {
                    for (to, &label) in ts.iter_mut().zip(&labels[at.clone()]) {
                        *to = if label == 0 { 0.0 } else { 1.0 };
                    }
                }
            }
            for (to, w) in ws[..count].iter_mut().zip(&mut weights) {
                *to = w;
            }
            // What lies beyond the end is computed too and then left.
            let whole = count.next_multiple_of(LANES);
            let inputs = xs[..whole].iter().zip(&ts[..whole]).zip(&ws[..whole]);
            let results = losses[..whole].iter_mut().zip(&mut gs[..whole]);
            for (((&x, &t), &w), (to, g)) in inputs.zip(results) {
                let (loss, slope) = term(x, t);
                // What weighs nothing may be infinite.
                *to = if w > 0.0 { w * loss } else { 0.0 };
                *g = T::narrow(if w > 0.0 { slope * (w * scale) } else { 0.0 });
            }
            losses[count..whole].fill(0.0);
            for losses in losses[..whole].as_chunks::<LANES>().0 {
                for (sum, loss) in sums.iter_mut().zip(losses) {
                    *sum += loss;
                }
            }
            correct += xs[..count].iter().zip(&ts).filter(|&(&x, &t)| right(x, t)).count();
            if let Some(gradient) = &mut gradient {
                gradient[at].copy_from_slice(&gs[..count]);
            }
        }
        Sums { loss: sums.iter().sum(), correct }
    }
}
