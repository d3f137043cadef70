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

#[test]
fn three_steps_are_the_published_ones() {
    // The pseudo-code in PyTorch's documentation, worked out in 40-digit decimals.
    let gradients = [[0.5, -0.25, 1.0], [-0.1, 0.3, 0.2], [0.7, 0.0, -0.4]];
    let known = [
        (Optimizer::sgd(0.1), [0.89, -2.005, 0.42]),
        (sgd(0.0, false, 0.01), [0.887092949, -1.999025973, 0.4187213995]),
        (sgd(0.9, false, 0.01), [0.808074749, -1.978104573, 0.2285972995]),
        (sgd(0.9, true, 0.01), [0.714593358191, -1.979403780807, 0.1749837646705]),
        (Optimizer::rms_prop(0.01), [0.838602706071740, -1.976980056138853, 0.417121089484320]),
        (rms_prop(0.9, 0.01, false), [0.857282893049041, -1.938448189258728, 0.378257966895542]),
        (rms_prop(0.0, 0.0, true), [0.924973322609077, -1.98885342108606, 0.462052602653519]),
        (rms_prop(0.9, 0.01, true), [0.852835797747512, -1.935309730591926, 0.374689699862593]),
        (Optimizer::adam(0.01), [0.977400164247115, -1.992534414516694, 0.478526052917695]),
        (ADAM, [0.954791125791508, -1.983754903687614, 0.458944068534902]),
    ];
    for (rule, want) in known {
        let mut p = [1.0_f64, -2.0, 0.5];
        let mut state = State::new(rule, 3).unwrap();
        for mut g in gradients {
            state.step(&mut p, &mut g, Step::default(), 1).unwrap();
        }
        for (p, want) in p.iter().zip(want) {
            assert!((p - want).abs() < 1e-14, "{rule:?}: {p} not {want}");
        }
    }
}

/// Steps of `rule` on several chunks and a rest; after each, the bits of all there is to see.
fn steps<T: Real>(rule: Optimizer, threads: usize, bits: impl Fn(T) -> u64) -> Vec<Vec<u64>> {
    let len = 260_003; // sixteen chunks: work for four threads
    let mut p = values::<T>(len, 1.0);
    let mut state = State::new(rule, len).unwrap();
    let seen = (0..2).map(|t| {
        let mut g = values::<T>(len, f64::from(t));
        let step = Step { lr_factor: 0.7, gradient_factor: 1.0 / 3.0 };
        state.step(&mut p, &mut g, step, threads).unwrap();
        p.iter().chain(&g).map(|v| bits(*v)).collect()
    });
    seen.collect()
}

#[test]
fn threads_do_not_reach_the_bits() {
    for rule in rules() {
        let single = |threads| steps::<f32>(rule, threads, |v| u64::from(v.to_bits()));
        let double = |threads| steps::<f64>(rule, threads, f64::to_bits);
        let alone = (single(1), double(1));
        for threads in [2, 3, 7] {
            assert!((single(threads), double(threads)) == alone, "{rule:?} on {threads} threads");
        }
    }
}

proptest! {
    /// Whatever the numbers, infinite and NaN ones too.
    #[test]
    fn gradients_hold_the_old_parameters(
        start in prop::collection::vec(any::<u32>(), 0..70), phase in 0.0..9.0_f64, which in 0..15_usize,
    ) {
        let rule = rules()[which];
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let mut p: Vec<f32> = start.iter().map(|&bits| f32::from_bits(bits)).collect();
        let mut state = State::new(rule, p.len()).unwrap();
        for t in 0..3 {
            let before = bits(&p);
            let mut g = values::<f32>(p.len(), phase + f64::from(t));
            state.step(&mut p, &mut g, Step::default(), 1).unwrap();
            prop_assert_eq!(&bits(&g), &before);
        }
    }
}

#[test]
fn what_is_not_finite_stays_where_it_is_and_can_be_undone() {
    for rule in rules() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let start = values::<f64>(40, 1.0);
            let mut gradient = values::<f64>(40, 2.0);
            let (mut p, mut q) = (start.clone(), start.clone());
            let mut good = gradient.clone();
            State::new(rule, 40).unwrap().step(&mut q, &mut good, Step::default(), 1).unwrap();
            // In a lane, and in the rest.
            (gradient[3], gradient[39]) = (bad, bad);
            State::new(rule, 40).unwrap().step(&mut p, &mut gradient, Step::default(), 1).unwrap();
            for i in 0..40 {
                if i == 3 || i == 39 {
                    // No rule turns it into an ordinary step.
                    assert!(!p[i].is_finite(), "{rule:?} hides a gradient of {bad}: {}", p[i]);
                } else {
                    assert_eq!(p[i], q[i], "{rule:?}");
                }
            }
            assert_eq!(gradient, start, "{rule:?}");
        }
    }
}

#[test]
fn bad_numbers_and_lengths_are_refused() {
    let (adam, adam_w) = (
        |beta1, beta2, eps| Optimizer::Adam { lr: 0.1, beta1, beta2, eps, weight_decay: 0.0 },
        |beta1, beta2, eps| Optimizer::AdamW { lr: 0.1, beta1, beta2, eps, weight_decay: 0.0 },
    );
    for (bad, part) in [
        (sgd(0.0, true, 0.0), "nesterov"),
        (sgd(-0.1, false, 0.0), "momentum"),
        (sgd(f64::NAN, false, 0.0), "momentum"),
        (sgd(0.0, false, -1.0), "weight_decay"),
        (Optimizer::sgd(f64::INFINITY), "lr"),
        (Optimizer::adagrad(-1.0), "lr"),
        (adagrad(f64::NAN, 0.0, 0.0), "lr_decay"),
        (adagrad(0.0, -1.0, 0.0), "initial_accumulator_value"),
        (adagrad(0.0, 0.0, -1.0), "weight_decay"),
        (rms_prop(-0.1, 0.0, false), "momentum"),
        (adam(1.0, 0.9, 0.0), "beta1"),
        (adam(0.9, -0.1, 0.0), "beta2"),
        (adam_w(f64::NAN, 0.9, 0.0), "beta1"),
        (adam_w(0.9, 1.0, 0.0), "beta2"),
        (adam_w(0.9, 0.9, -1e-9), "eps"),
        (adam(0.9, 0.9, 1e300), "eps = 1e300 does not fit float32"),
        (Optimizer::sgd(1e39), "lr = 1e39 does not fit float32"),
    ] {
        let text = message(State::<f32>::new(bad, 1));
        assert!(text.starts_with(part), "{bad:?}: {text}");
    }
    let mut state = State::new(Optimizer::adam(0.1), 1).unwrap();
    let (mut p, mut g) = ([1.0_f32], [1.0, 2.0]);
    let text = message(state.step(&mut p, &mut g, Step::default(), 1));
    assert!(text.contains("1 and 2 gradients"), "{text}");
    assert_eq!((p, g), ([1.0], [1.0, 2.0]));
}

#[test]
fn factors_scale_rate_and_gradients() {
    let start = values::<f64>(20, 1.0);
    let after = |rule, scale: f64, step| {
        let mut p = start.clone();
        let mut g: Vec<f64> = values(20, 2.0).into_iter().map(|g: f64| g * scale).collect();
        State::new(rule, 20).unwrap().step(&mut p, &mut g, step, 1).unwrap();
        p
    };
    let once = Step::default();
    for rule in rules() {
        let half = Step { gradient_factor: 0.5, ..once };
        assert_eq!(after(rule, 1.0, half), after(rule, 0.5, once), "{rule:?}");
        // Without a rate nothing moves, not by decay either.
        assert_eq!(after(rule, 1.0, Step { lr_factor: 0.0, ..once }), start, "{rule:?}");
    }
    let half = Step { lr_factor: 0.5, ..once };
    assert_eq!(after(Optimizer::adam_w(0.2), 1.0, half), after(Optimizer::adam_w(0.1), 1.0, once));
}

#[test]
fn norms_and_their_clipping() {
    for len in [0, 1, 31, 32, 33, 1000] {
        let x = values::<f32>(len, 0.0);
        let want: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
        assert!((sum_of_squares(&x) - want).abs() <= 1e-13 * want, "{len}");
    }
    assert_eq!(sum_of_squares(&[f32::MAX; 3]), 3.0 * f64::from(f32::MAX).powi(2));
    assert!(sum_of_squares(&[1.0, f64::NAN]).is_nan());
    assert_eq!(clip_factor(0.0, 1.0), 1.0);
    assert_eq!(clip_factor(0.9, 1.0), 1.0);
    assert_eq!(clip_factor(4.0, 1.0), 1.0 / (4.0 + 1e-6));
}

#[test]
fn schedules_have_their_values() {
    let constant = Schedule::default();
    let step = Schedule::Step { every: 3.0, factor: 0.5 };
    let cosine = Schedule::Cosine { warmup: 2.0, final_factor: 0.1 };
    for k in 0..100 {
        let epoch = f64::from(k) / 10.0;
        assert_eq!(constant.factor(epoch, 10, 10), 1.0);
        assert_eq!(step.factor(epoch, 10, 10), 0.5_f64.powi(k / 30));
        let want = if k < 20 {
            f64::from(k + 1) / 20.0
        } else {
            let done = f64::from(k - 20) / 80.0;
            0.1 + 0.9 * (std::f64::consts::PI * done / 2.0).cos().powi(2)
        };
        assert!((cosine.factor(epoch, 10, 10) - want).abs() < 1e-14, "step {k}");
    }
    assert!((cosine.factor(10.0, 10, 10) - 0.1).abs() < 1e-15);
    // Nothing but warm-up; without any, the whole rate at once.
    let warm = Schedule::Cosine { warmup: 1.0, final_factor: 0.0 };
    assert_eq!([0.0, 0.25, 0.75].map(|epoch| warm.factor(epoch, 1, 4)), [0.25, 0.5, 1.0]);
    let plain = Schedule::Cosine { warmup: 0.0, final_factor: 0.0 };
    assert_eq!(plain.factor(0.0, 1, 4), 1.0);
    // The decimals of no fraction of an epoch put a change off: it is at every third step of 7, 49, ...
    for steps in 1..200_u32 {
        for every in 1..=steps {
            let period = f64::from(every) / f64::from(steps);
            let schedule = Schedule::Step { every: period, factor: 0.5 };
            for change in 1..4 {
                let at =
                    |k: u32| schedule.factor(f64::from(k) / f64::from(steps), 9, steps as usize);
                let k = change * every;
                assert_eq!(at(k), 0.5_f64.powi(change as i32), "{every} of {steps}, step {k}");
                assert_eq!(at(k - 1), 0.5_f64.powi((k - 1) as i32 / every as i32));
            }
        }
    }
}

#[test]
fn bad_schedules_are_refused() {
    let step = |every, factor| Schedule::Step { every, factor };
    let cosine = |warmup, final_factor| Schedule::Cosine { warmup, final_factor };
    for (bad, part) in [
        (step(0.0, 0.5), "every"),
        (step(f64::NAN, 0.5), "every"),
        (step(1.0, 0.0), "factor"),
        (step(1.0, f64::INFINITY), "factor"),
        (cosine(-1.0, 0.0), "warmup"),
        (cosine(f64::INFINITY, 0.0), "warmup"),
        (cosine(0.0, -0.1), "final_factor"),
        (cosine(0.0, 1.1), "final_factor"),
        (cosine(0.0, f64::NAN), "final_factor"),
    ] {
        let text = message(bad.check());
        assert!(text.starts_with(part), "{bad:?}: {text}");
        assert_eq!(message(bad.check_fit(9)), text);
    }
    assert_eq!(cosine(3.0, 0.0).check_fit(3), Ok(()));
    assert!(message(cosine(3.5, 0.0).check_fit(3)).contains("3 epochs"));
}
