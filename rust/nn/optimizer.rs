//! Optimizers over one flat parameter buffer, as `PyTorch` defines them.
//!
//! ```text
//! g = gradient_factor * gradient (+ weight_decay * p)      slots, p = rule(g, slots, p)
//! ```
//! Hyperparameters are combined in `f64` and rounded to the parameters' type once per step. An update is
//! elementwise, so splitting it over threads changes nothing.

use super::real::Real;
use super::{CHUNK, Run, for_each, zeros};
use crate::dispatch::{self, Kernel};
use crate::error::{Result, invalid};
use crate::parallel::NEVER;
use crate::simd::Simd;

/// An optimizer's rule and hyperparameters. The weight decay is the L2 kind, added to the gradient, in all of
/// them but `AdamW`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Optimizer {
    /// Gradient descent, plain or with (Nesterov) momentum.
    Sgd {
        /// Learning rate.
        lr: f64,
        /// Share of the previous step that is kept.
        momentum: f64,
        /// Look ahead along the momentum; needs `momentum > 0`.
        nesterov: bool,
        /// L2 penalty.
        weight_decay: f64,
    },
    /// Steps divided by the root of the sum of all squares so far (Duchi, Hazan and Singer, 2011).
    Adagrad {
        /// Learning rate.
        lr: f64,
        /// At step t, from 0, the learning rate is `lr / (1 + t * lr_decay)`.
        lr_decay: f64,
        /// Added to the root.
        eps: f64,
        /// What the sums begin with.
        initial_accumulator_value: f64,
        /// L2 penalty.
        weight_decay: f64,
    },
    /// Steps divided by a running root mean square (Tieleman and Hinton, 2012).
    RmsProp {
        /// Learning rate.
        lr: f64,
        /// Decay of the running mean square.
        alpha: f64,
        /// Added to the root.
        eps: f64,
        /// Share of the previous step that is kept.
        momentum: f64,
        /// L2 penalty.
        weight_decay: f64,
        /// Divide by the running standard deviation instead (Graves, 2013).
        centered: bool,
    },
    /// Adaptive moments (Kingma and Ba, 2015).
    Adam {
        /// Learning rate.
        lr: f64,
        /// Decay of the running mean.
        beta1: f64,
        /// Decay of the running mean square.
        beta2: f64,
        /// Added to the root.
        eps: f64,
        /// L2 penalty.
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
    AdamW {
        /// Learning rate.
        lr: f64,
        /// Decay of the running mean.
        beta1: f64,
        /// Decay of the running mean square.
        beta2: f64,
        /// Added to the root.
        eps: f64,
        /// Every step first multiplies the parameters by `1 - lr * weight_decay`.
        weight_decay: f64,
    },
}

use Optimizer::{Adagrad, Adam, AdamW, RmsProp, Sgd};

impl Optimizer {
    /// Plain gradient descent.
    pub const fn sgd(lr: f64) -> Self {
        Sgd { lr, momentum: 0.0, nesterov: false, weight_decay: 0.0 }
    }

    /// Adagrad with the usual constants.
    pub const fn adagrad(lr: f64) -> Self {
        let (lr_decay, initial_accumulator_value, weight_decay) = (0.0, 0.0, 0.0);
        Adagrad { lr, lr_decay, eps: 1e-10, initial_accumulator_value, weight_decay }
    }

    /// `RMSProp` with the usual constants.
    pub const fn rms_prop(lr: f64) -> Self {
        RmsProp { lr, alpha: 0.99, eps: 1e-8, momentum: 0.0, weight_decay: 0.0, centered: false }
    }

    /// Adam with the paper's constants.
    pub const fn adam(lr: f64) -> Self {
        Adam { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }

    /// `AdamW` with Adam's constants and a decay of 0.01.
    pub const fn adam_w(lr: f64) -> Self {
        AdamW { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }
    }

    /// Every number of the rule, by name.
    fn numbers(self) -> Vec<(&'static str, f64)> {
        macro_rules! named {
            ($($name:ident),+) => { vec![$((stringify!($name), $name)),+] };
        }
        match self {
            Sgd { lr, momentum, nesterov: _, weight_decay } => named![lr, momentum, weight_decay],
            Adagrad { lr, lr_decay, eps, initial_accumulator_value, weight_decay } => {
                named![lr, lr_decay, eps, initial_accumulator_value, weight_decay]
            }
            RmsProp { lr, alpha, eps, momentum, weight_decay, centered: _ } => {
                named![lr, alpha, eps, momentum, weight_decay]
            }
            Adam { lr, beta1, beta2, eps, weight_decay }
            | AdamW { lr, beta1, beta2, eps, weight_decay } => {
                named![lr, beta1, beta2, eps, weight_decay]
            }
        }
    }

    /// Checks the hyperparameters.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] naming the first one that is out of range.
    pub fn check(self) -> Result<()> {
        for (name, value) in self.numbers() {
            let decay = ["alpha", "beta1", "beta2"].contains(&name);
            if decay && !(0.0..1.0).contains(&value) {
                return invalid!("{name} must be in [0, 1), got {value}");
            }
            if !(value.is_finite() && value >= 0.0) {
                return invalid!("{name} must be finite and at least 0, got {value}");
            }
        }
        match self {
            Sgd { nesterov: true, momentum: 0.0, .. } => {
                invalid!("nesterov needs a momentum above 0")
            }
            _ => Ok(()),
        }
    }
}

/// What differs from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Multiplies the learning rate: see [`super::schedule::Schedule`].
    pub lr_factor: f64,
    /// Multiplies the gradients before anything else: see [`clip_factor`].
    pub gradient_factor: f64,
}

impl Default for Step {
    fn default() -> Self {
        Self { lr_factor: 1.0, gradient_factor: 1.0 }
    }
}

/// What an optimizer remembers between steps: up to three values per parameter.
#[derive(Debug, Clone)]
pub struct State<T> {
    optimizer: Optimizer,
    /// Steps taken, a whole number.
    steps: f64,
    /// `beta1^steps` and `beta2^steps`.
    powers: [f64; 2],
    /// Mean square or sum of squares, mean, momentum, as the rule needs them; others are empty.
    square: Vec<T>,
    mean: Vec<T>,
    momentum: Vec<T>,
    len: usize,
}

impl<T: Real> State<T> {
    /// The state before the first step, for `len` parameters.
    ///
    /// # Errors
    /// Those of [`Optimizer::check`]; [`crate::Error::OutOfMemory`] when there is not enough memory.
    pub fn new(optimizer: Optimizer, len: usize) -> Result<Self> {
        optimizer.check()?;
        for (name, value) in optimizer.numbers() {
            if !T::narrow(value).is_finite() {
                return invalid!("{name} = {value:e} does not fit {}", T::NAME);
            }
        }
        let (square, mean, momentum) = match optimizer {
            Sgd { momentum, .. } => (false, false, momentum > 0.0),
            Adagrad { .. } => (true, false, false),
            RmsProp { momentum, centered, .. } => (true, centered, momentum > 0.0),
            Adam { .. } | AdamW { .. } => (true, true, false),
        };
        let slot = |needed: bool| zeros(if needed { len } else { 0 });
        let mut square: Vec<T> = slot(square)?;
        if let Adagrad { initial_accumulator_value, .. } = optimizer {
            square.fill(T::narrow(initial_accumulator_value));
        }
        let (mean, momentum) = (slot(mean)?, slot(momentum)?);
        Ok(Self { optimizer, steps: 0.0, powers: [1.0; 2], square, mean, momentum, len })
    }

    /// One step: moves `parameters` against `gradients`, and leaves in `gradients` the parameters from before
    /// the step, bit for bit. Copying them back undoes what the step did to the parameters (not to this
    /// state), say when it led to a loss that is not finite.
    ///
    /// Once begun a step is finished, whatever a stop function says: there is never half of one.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] when a length does not fit; nothing is changed then.
    pub fn step(
        &mut self,
        parameters: &mut [T],
        gradients: &mut [T],
        step: Step,
        threads: usize,
    ) -> Result<()> {
        if parameters.len() != self.len || gradients.len() != self.len {
            return invalid!(
                "the optimizer was made for {} parameters, got {} and {} gradients",
                self.len,
                parameters.len(),
                gradients.len()
            );
        }
        let Step { lr_factor, gradient_factor } = step;
        let Self { steps, powers, square, mean, momentum: velocity, .. } = self;
        let real = T::narrow;
        let factor = real(gradient_factor);
        let decay = match self.optimizer {
            AdamW { .. } => 0.0, // not a part of the gradient
            Sgd { weight_decay, .. }
            | Adagrad { weight_decay, .. }
            | RmsProp { weight_decay, .. }
            | Adam { weight_decay, .. } => weight_decay,
        };
        let update = Update { parameters, gradients, threads, factor, decay: real(decay) };
        match self.optimizer {
            Sgd { lr, momentum, nesterov, weight_decay: _ } => {
                let (lr, mu) = (real(lr * lr_factor), real(momentum));
                if momentum == 0.0 {
                    return update.run([], move |p, g, []| (p - lr * g, []));
                }
                if nesterov {
                    return update.run([velocity], move |p, g, [v]| {
                        let v = mu * v + g;
                        (p - lr * (g + mu * v), [v])
                    });
                }
                update.run([velocity], move |p, g, [v]| {
                    let v = mu * v + g;
                    (p - lr * v, [v])
                })
            }
            Adagrad { lr, lr_decay, eps, .. } => {
                let (lr, eps) = (real(lr * lr_factor / (1.0 + *steps * lr_decay)), real(eps));
                *steps += 1.0;
                update.run([square], move |p, g, [s]| {
                    let s = s + g * g;
                    (p - lr * g / (s.sqrt() + eps), [s])
                })
            }
            RmsProp { lr, alpha, eps, momentum, centered, weight_decay: _ } => {
                let (lr, mu) = (real(lr * lr_factor), real(momentum));
                let (alpha, rest, eps) = (real(alpha), real(1.0 - alpha), real(eps));
                let squared = move |s: T, g: T| alpha * s + rest * g * g;
                let averaged = move |m: T, g: T| m + rest * (g - m);
                let scaled = move |variance: T, g: T| {
                    // Rounding may take a variance just below zero; a NaN stays one.
                    let zero = T::zero();
                    g / ((if variance < zero { zero } else { variance }).sqrt() + eps)
                };
                match (centered, momentum > 0.0) {
                    (false, false) => update.run([square], move |p, g, [s]| {
                        let s = squared(s, g);
                        (p - lr * scaled(s, g), [s])
                    }),
                    (false, true) => update.run([square, velocity], move |p, g, [s, v]| {
                        let s = squared(s, g);
                        let v = mu * v + scaled(s, g);
                        (p - lr * v, [s, v])
                    }),
                    (true, false) => update.run([square, mean], move |p, g, [s, m]| {
                        let (s, m) = (squared(s, g), averaged(m, g));
                        (p - lr * scaled(s - m * m, g), [s, m])
                    }),
                    (true, true) => update.run([square, mean, velocity], move |p, g, [s, m, v]| {
                        let (s, m) = (squared(s, g), averaged(m, g));
                        let v = mu * v + scaled(s - m * m, g);
                        (p - lr * v, [s, m, v])
                    }),
                }
            }
            Adam { lr, beta1, beta2, eps, weight_decay }
            | AdamW { lr, beta1, beta2, eps, weight_decay } => {
                let lr = lr * lr_factor;
                let shrink = match self.optimizer {
                    AdamW { .. } => real(1.0 - lr * weight_decay),
                    _ => T::one(),
                };
                *powers = [powers[0] * beta1, powers[1] * beta2];
                let size = real(lr / (1.0 - powers[0]));
                let root = real((1.0 - powers[1]).sqrt().recip());
                let (rest1, rest2) = (real(1.0 - beta1), real(1.0 - beta2));
                let (beta2, eps) = (real(beta2), real(eps));
                update.run([mean, square], move |p, g, [m, v]| {
                    let m = m + rest1 * (g - m);
                    let v = beta2 * v + rest2 * g * g;
                    (shrink * p - size * m / (v.sqrt() * root + eps), [m, v])
                })
            }
        }
    }
}

/// Waking a thread takes as long as an update of some chunks, each a few microseconds.
const CHUNKS_PER_THREAD: usize = 4;

/// What every update is made of but the rule.
struct Update<'a, T> {
    parameters: &'a mut [T],
    gradients: &'a mut [T],
    threads: usize,
    /// A rule sees `factor * gradient + decay * parameter`.
    factor: T,
    decay: T,
}

impl<T: Real> Update<'_, T> {
    /// Puts `rule(parameter, gradient, slots)` in the place of every parameter and its slots, and the old
    /// parameter in that of its gradient.
    fn run<const S: usize>(
        self,
        slots: [&mut Vec<T>; S],
        rule: impl Fn(T, T, [T; S]) -> (T, [T; S]) + Copy + Sync,
    ) -> Result<()> {
        let Self { parameters, gradients, threads, factor, decay } = self;
        let decays = decay != T::zero();
        // Zero times a parameter of -inf, which masks a class, would be a NaN.
        let pull = move |p: T| if decays { decay * p } else { T::zero() };
        let rule = move |p, g, slots| rule(p, factor * g + pull(p), slots);
        let count = parameters.len().div_ceil(CHUNK);
        let mut slots = slots.map(|slot| slot.chunks_mut(CHUNK));
        let chunks =
            parameters.chunks_mut(CHUNK).zip(gradients.chunks_mut(CHUNK)).map(move |(p, g)| {
                (p, g, slots.each_mut().map(|slot| slot.next().unwrap_or_default()))
            });
        let run = Run { threads: threads.min(count / CHUNKS_PER_THREAD), stop: NEVER };
        for_each(run, count, chunks, |(p, g, slots)| {
            dispatch::run(Chunk { p, g, slots, rule });
        })
    }
}

/// Up to [`CHUNK`] elements of an update.
struct Chunk<'a, T, F, const S: usize> {
    p: &'a mut [T],
    g: &'a mut [T],
    slots: [&'a mut [T]; S],
    rule: F,
}

impl<T: Real, F: Fn(T, T, [T; S]) -> (T, [T; S]), const S: usize> Kernel for Chunk<'_, T, F, S> {
    type Output = ();

    #[inline(always)]
    fn run<I: Simd>(self, _: I) {
        update_each(self.p, self.g, self.slots, self.rule);
    }
}

/// Arguments of their own tell the compiler that `p` and `g` overlap with nothing, and the slices of one length
/// that no bound needs a check: the loop vectorises.
#[inline(always)]
fn update_each<T: Real, const S: usize>(
    p: &mut [T],
    g: &mut [T],
    slots: [&mut [T]; S],
    rule: impl Fn(T, T, [T; S]) -> (T, [T; S]),
) {
    let len = p.len();
    let g = &mut g[..len];
    let slots = slots.map(|slot| &mut slot[..len]);
    for i in 0..len {
        let old = p[i];
        let (new, each) = rule(old, g[i], std::array::from_fn(|s| slots[s][i]));
        (p[i], g[i]) = (new, old);
        for s in 0..S {
            slots[s][i] = each[s];
        }
    }
}

/// The sum of the squares, in `f64` and a fixed order: independent sums side by side, then folded.
#[inline(always)]
pub fn sum_of_squares<T: Real>(values: &[T]) -> f64 {
    const SUMS: usize = 32;
    let mut sums = [0.0; SUMS];
    let (whole, rest) = values.as_chunks::<SUMS>();
    for values in whole {
        for lane in 0..SUMS {
            let value = values[lane].widen();
            sums[lane] += value * value;
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        let value = value.widen();
        *sum += value * value;
    }
    let mut half = SUMS / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

/// The factor that brings gradients of this L2 norm down to `clip_norm`, as `clip_grad_norm_` of `PyTorch` does.
pub fn clip_factor(norm: f64, clip_norm: f64) -> f64 {
    (clip_norm / (norm + 1e-6)).min(1.0)
}
