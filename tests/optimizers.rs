//! Optimizers and schedules against naive twins and published numbers, and what a step promises besides.

use initcore::nn::optimizer::{Optimizer, State, Step, clip_factor, sum_of_squares};
use initcore::nn::real::Real;
use initcore::nn::schedule::Schedule;
use initcore::{Error, Result};
use proptest::prelude::*;

/// Numbers of no meaning in [-1, 1].
fn values<T: Real>(len: usize, phase: f64) -> Vec<T> {
    (0..len).map(|i| T::narrow((i as f64 * 12.9898 + phase).sin())).collect()
}

fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::Invalid(text)) => text,
        other => panic!("expected an Invalid error, got {other:?}"),
    }
}

fn sgd(momentum: f64, nesterov: bool, weight_decay: f64) -> Optimizer {
    Optimizer::Sgd { lr: 0.1, momentum, nesterov, weight_decay }
}

fn adagrad(lr_decay: f64, initial_accumulator_value: f64, weight_decay: f64) -> Optimizer {
    Optimizer::Adagrad { lr: 0.1, lr_decay, eps: 1e-6, initial_accumulator_value, weight_decay }
}

fn rms_prop(momentum: f64, weight_decay: f64, centered: bool) -> Optimizer {
    Optimizer::RmsProp { lr: 0.01, alpha: 0.95, eps: 1e-6, momentum, weight_decay, centered }
}

const ADAM: Optimizer =
    Optimizer::Adam { lr: 0.02, beta1: 0.8, beta2: 0.95, eps: 1e-6, weight_decay: 0.01 };
const ADAM_W: Optimizer =
    Optimizer::AdamW { lr: 0.02, beta1: 0.8, beta2: 0.95, eps: 1e-6, weight_decay: 0.1 };

/// Every rule with every option that changes it.
fn rules() -> Vec<Optimizer> {
    vec![
        Optimizer::sgd(0.1),
        sgd(0.0, false, 0.01),
        sgd(0.9, false, 0.01),
        sgd(0.9, true, 0.01),
        Optimizer::adagrad(0.1),
        adagrad(0.2, 0.0, 0.0),
        adagrad(0.1, 0.5, 0.01),
        Optimizer::rms_prop(0.01),
        rms_prop(0.9, 0.01, false),
        rms_prop(0.0, 0.0, true),
        rms_prop(0.9, 0.01, true),
        Optimizer::adam(0.01),
        ADAM,
        Optimizer::adam_w(0.01),
        ADAM_W,
    ]
}

/// One parameter's slots in the twin: square, mean, momentum.
type Slots = [f64; 3];

/// One step of one parameter, as the pseudo-code of `PyTorch`'s documentation has it; `t` counts from 1.
fn twin(rule: Optimizer, t: i32, step: Step, p: f64, g: f64, slots: &mut Slots) -> f64 {
    let g = g * step.gradient_factor;
    let [square, mean, momentum_buffer] = slots;
    match rule {
        Optimizer::Sgd { lr, momentum, nesterov, weight_decay } => {
            let mut g = g + weight_decay * p;
            if momentum != 0.0 {
                *momentum_buffer = if t == 1 { g } else { momentum * *momentum_buffer + g };
                g = if nesterov { g + momentum * *momentum_buffer } else { *momentum_buffer };
            }
            p - lr * step.lr_factor * g
        }
        Optimizer::Adagrad { lr, lr_decay, eps, initial_accumulator_value, weight_decay } => {
            let g = g + weight_decay * p;
            let lr = lr * step.lr_factor / (1.0 + f64::from(t - 1) * lr_decay);
            *square = if t == 1 { initial_accumulator_value } else { *square } + g.powi(2);
            p - lr * g / (square.sqrt() + eps)
        }
        Optimizer::RmsProp { lr, alpha, eps, momentum, weight_decay, centered } => {
            let g = g + weight_decay * p;
            *square = alpha * *square + (1.0 - alpha) * g.powi(2);
            let mut variance = *square;
            if centered {
                *mean = alpha * *mean + (1.0 - alpha) * g;
                variance -= mean.powi(2);
            }
            *momentum_buffer = momentum * *momentum_buffer + g / (variance.max(0.0).sqrt() + eps);
            p - lr * step.lr_factor * *momentum_buffer
        }
        Optimizer::Adam { lr, beta1, beta2, eps, weight_decay }
        | Optimizer::AdamW { lr, beta1, beta2, eps, weight_decay } => {
            let lr = lr * step.lr_factor;
            let (p, g) = match rule {
                Optimizer::AdamW { .. } => (p - lr * weight_decay * p, g),
                _ => (p, g + weight_decay * p),
            };
            *mean = beta1 * *mean + (1.0 - beta1) * g;
            *square = beta2 * *square + (1.0 - beta2) * g.powi(2);
            let (m, v) = (*mean / (1.0 - beta1.powi(t)), *square / (1.0 - beta2.powi(t)));
            p - lr * m / (v.sqrt() + eps)
        }
        _ => panic!("{rule:?} has no twin"),
    }
}

fn check_against_twin<T: Real>(rule: Optimizer, len: usize, tolerance: f64) {
    let mut p = values::<T>(len, 1.0);
    let mut want: Vec<f64> = p.iter().map(|p| p.widen()).collect();
    let mut slots = vec![Slots::default(); len];
    let mut state = State::new(rule, len).unwrap();
    for t in 1..=30 {
        let step = Step {
            lr_factor: 1.0 / f64::from(1 + t % 3),
            gradient_factor: 1.0 / f64::from(1 + t % 4),
        };
        let mut g = values::<T>(len, 10.0 * f64::from(t));
        for i in 0..len {
            want[i] = twin(rule, t, step, want[i], g[i].widen(), &mut slots[i]);
        }
        state.step(&mut p, &mut g, step, 1).unwrap();
    }
    for (i, (p, want)) in p.iter().zip(want).enumerate() {
        let error = (p.widen() - want).abs();
        assert!(error < tolerance, "{} {rule:?} of {len}, [{i}]: {p} not {want}", T::NAME);
    }
}

#[test]
fn every_rule_is_its_naive_twin() {
    for rule in rules() {
        // Whole lanes, a rest, both, several chunks.
        for len in [0, 1, 15, 16, 17, 100, 40_000] {
            check_against_twin::<f64>(rule, len, 1e-12);
            check_against_twin::<f32>(rule, len, 3e-4);
        }
    }
}
