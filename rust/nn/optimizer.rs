//! Optimizers over one flat parameter buffer, as `PyTorch` defines them.
//!
//! Hyperparameters are combined in `f64` and rounded to the parameters' type once per step. An update is
//! elementwise, so splitting it over threads changes nothing.

use super::real::Real;
use super::{CHUNK, Run, for_each, vectorized, zeros};
use crate::error::{Result, invalid};
use crate::parallel::NEVER;

/// An optimizer's rule and hyperparameters. In all of them the weight decay is the L2 kind, added to the
/// gradient.
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
}

use Optimizer::{Adam, RmsProp, Sgd};

impl Optimizer {
    /// Plain gradient descent.
    pub const fn sgd(lr: f64) -> Self {
        Sgd { lr, momentum: 0.0, nesterov: false, weight_decay: 0.0 }
    }

    /// `RMSProp` with the usual constants.
    pub const fn rms_prop(lr: f64) -> Self {
        RmsProp { lr, alpha: 0.99, eps: 1e-8, momentum: 0.0, weight_decay: 0.0, centered: false }
    }

    /// Adam with the paper's constants.
    pub const fn adam(lr: f64) -> Self {
        Adam { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }

    /// Checks the hyperparameters.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] naming the first one that is out of range.
    pub fn check(self) -> Result<()> {
        let at_least_zero = |name: &str, value: f64| {
            if value.is_finite() && value >= 0.0 {
                return Ok(());
            }
            invalid!("{name} must be finite and at least 0, got {value}")
        };
        let fraction = |name: &str, value: f64| {
            if (0.0..1.0).contains(&value) {
                return Ok(());
            }
            invalid!("{name} must be in [0, 1), got {value}")
        };
        match self {
            Sgd { lr, momentum, nesterov, weight_decay } => {
                at_least_zero("lr", lr)?;
                at_least_zero("momentum", momentum)?;
                at_least_zero("weight_decay", weight_decay)?;
                if nesterov && momentum == 0.0 {
                    return invalid!("nesterov needs a momentum above 0");
                }
                Ok(())
            }
            RmsProp { lr, alpha, eps, momentum, weight_decay, centered: _ } => {
                at_least_zero("lr", lr)?;
                fraction("alpha", alpha)?;
                at_least_zero("eps", eps)?;
                at_least_zero("momentum", momentum)?;
                at_least_zero("weight_decay", weight_decay)
            }
            Adam { lr, beta1, beta2, eps, weight_decay } => {
                at_least_zero("lr", lr)?;
                fraction("beta1", beta1)?;
                fraction("beta2", beta2)?;
                at_least_zero("eps", eps)?;
                at_least_zero("weight_decay", weight_decay)
            }
        }
    }
}

/// What an optimizer remembers between steps: up to three values per parameter.
#[derive(Debug, Clone)]
pub struct State<T> {
    optimizer: Optimizer,
    steps: i32,
    /// Mean square, mean, momentum, as the rule needs them; one that it does not need is empty.
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
        let (Sgd { lr, momentum, weight_decay, .. }
        | RmsProp { lr, momentum, weight_decay, .. }
        | Adam { lr, beta1: momentum, weight_decay, .. }) = optimizer;
        for (name, value) in [("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)] {
            if !T::narrow(value).is_finite() {
                return invalid!("{name} = {value:e} does not fit {}", T::NAME);
            }
        }
        let (square, mean, momentum) = match optimizer {
            Sgd { momentum, .. } => (false, false, momentum > 0.0),
            RmsProp { momentum, centered, .. } => (true, centered, momentum > 0.0),
            Adam { .. } => (true, true, false),
        };
        let slot = |needed: bool| zeros(if needed { len } else { 0 });
        Ok(Self {
            optimizer,
            steps: 0,
            square: slot(square)?,
            mean: slot(mean)?,
            momentum: slot(momentum)?,
            len,
        })
    }

    /// One step: moves `parameters` against `gradients`. Once begun it is finished, whatever the stop
    /// function says: there is never half a step.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] when a length does not fit; nothing is changed then.
    pub fn step(&mut self, parameters: &mut [T], gradients: &[T], threads: usize) -> Result<()> {
        let (p, g) = (parameters, gradients);
        if p.len() != self.len || g.len() != self.len {
            return invalid!(
                "the optimizer was made for {} parameters, got {} and {} gradients",
                self.len,
                p.len(),
                g.len()
            );
        }
        self.steps = self.steps.saturating_add(1);
        let run = Run { threads, stop: NEVER };
        let Self { square, mean, momentum: velocity, .. } = self;
        let real = T::narrow;
        match self.optimizer {
            Sgd { lr, momentum, nesterov, weight_decay } => {
                let (lr, mu, decay) = (real(lr), real(momentum), real(weight_decay));
                if momentum == 0.0 {
                    return update(run, p, g, [], |p, g, []| *p -= lr * (g + decay * *p));
                }
                update(run, p, g, [velocity], |p, g, [v]| {
                    let g = g + decay * *p;
                    *v = mu * *v + g;
                    *p -= lr * if nesterov { g + mu * *v } else { *v };
                })
            }
            RmsProp { lr, alpha, eps, momentum, weight_decay, centered } => {
                let (lr, mu, decay) = (real(lr), real(momentum), real(weight_decay));
                let (alpha, rest, eps) = (real(alpha), real(1.0 - alpha), real(eps));
                // The rule without its slots: the new mean square, then the scaled gradient.
                let squared = |s: &mut T, g: T| {
                    *s = alpha * *s + rest * g * g;
                    *s
                };
                let averaged = |m: &mut T, g: T| {
                    *m += rest * (g - *m);
                    *m
                };
                // Rounding may take a variance just below zero.
                let scaled = |variance: T, g: T| g / (variance.max(T::zero()).sqrt() + eps);
                match (centered, momentum > 0.0) {
                    (false, false) => update(run, p, g, [square], |p, g, [s]| {
                        let g = g + decay * *p;
                        *p -= lr * scaled(squared(s, g), g);
                    }),
                    (false, true) => update(run, p, g, [square, velocity], |p, g, [s, v]| {
                        let g = g + decay * *p;
                        *v = mu * *v + scaled(squared(s, g), g);
                        *p -= lr * *v;
                    }),
                    (true, false) => update(run, p, g, [square, mean], |p, g, [s, m]| {
                        let g = g + decay * *p;
                        let m = averaged(m, g);
                        *p -= lr * scaled(squared(s, g) - m * m, g);
                    }),
                    (true, true) => {
                        update(run, p, g, [square, mean, velocity], |p, g, [s, m, v]| {
                            let g = g + decay * *p;
                            let m = averaged(m, g);
                            *v = mu * *v + scaled(squared(s, g) - m * m, g);
                            *p -= lr * *v;
                        })
                    }
                }
            }
            Adam { lr, beta1, beta2, eps, weight_decay } => {
                let decay = real(weight_decay);
                let (rest1, beta2_, rest2) = (real(1.0 - beta1), real(beta2), real(1.0 - beta2));
                let size = real(lr / (1.0 - beta1.powi(self.steps)));
                let root = real((1.0 - beta2.powi(self.steps)).sqrt().recip());
                let eps = real(eps);
                update(run, p, g, [mean, square], |p, g, [m, v]| {
                    let g = g + decay * *p;
                    *m += rest1 * (g - *m);
                    *v = beta2_ * *v + rest2 * g * g;
                    *p -= size * *m / (v.sqrt() * root + eps);
                })
            }
        }
    }
}

/// Calls `rule(parameter, gradient, slots)` for every element.
fn update<T: Real, const S: usize>(
    run: Run<'_>,
    parameters: &mut [T],
    gradients: &[T],
    slots: [&mut Vec<T>; S],
    rule: impl Fn(&mut T, T, [&mut T; S]) + Sync,
) -> Result<()> {
    let count = parameters.len().div_ceil(CHUNK);
    let mut slots = slots.map(|slot| slot.chunks_mut(CHUNK));
    let chunks = parameters
        .chunks_mut(CHUNK)
        .zip(gradients.chunks(CHUNK))
        .map(move |(p, g)| (p, g, slots.each_mut().map(|slot| slot.next().unwrap_or_default())));
    for_each(run, count, chunks, |(p, g, mut slots)| {
        vectorized(|| {
            // Equal lengths in plain sight, so that no bounds check keeps the loop from vectorising.
            let len = p.len();
            let g = &g[..len];
            let mut slots = slots.each_mut().map(|slot| &mut slot[..len]);
            for i in 0..len {
                rule(&mut p[i], g[i], slots.each_mut().map(|slot| &mut slot[i]));
            }
        });
    })
}
