//! Fits whose numbers cease to be finite: what they say of it, and the parameters that they leave.

mod common;

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use common::{bits, close, network, noise, plain_fit};
use initcore::nn::Run;
use initcore::nn::activation::Activation::{self, Linear, Relu, Tanh};
use initcore::nn::loss::{Loss, Targets};
use initcore::nn::mlp::Mlp;
use initcore::nn::optimizer::{Optimizer, State, Step};
use initcore::nn::pass::{Dataset, Workspace};
use initcore::nn::real::Real;
use initcore::nn::train::{Divergence, EpochStats, FitConfig, Nonfinite, fit};
use initcore::parallel::NEVER;

/// Steps with the samples as they lie.
fn config(optimizer: Optimizer, batch_size: usize, epochs: usize) -> FitConfig {
    FitConfig { batch_size, epochs, ..plain_fit(Loss::Mse, optimizer) }
}

/// The epochs of a fit.
fn history<T: Real>(
    mlp: &mut Mlp<T>,
    data: &Dataset<'_, T>,
    config: &FitConfig,
) -> Vec<EpochStats> {
    let mut epochs = Vec::new();
    let mut see = |_: &Mlp<T>, epoch: &EpochStats| {
        epochs.push(epoch.clone());
        Ok(ControlFlow::Continue(()))
    };
    fit(mlp, data, config, None, NEVER, &mut see).unwrap();
    epochs
}

fn all_finite<T: Real>(values: &[T]) -> bool {
    values.iter().all(|v| v.is_finite())
}

/// A fit step by step, each with all samples: where it diverges, and how many steps lead to the last parameters of a
/// finite loss.
fn by_hand<T: Real>(
    mut mlp: Mlp<T>,
    data: &Dataset<'_, T>,
    config: &FitConfig,
) -> Option<(Divergence, usize)> {
    let mut state = State::new(config.optimizer, mlp.values().len()).unwrap();
    let mut workspace = Workspace::new(&mlp, data.rows).unwrap();
    let layers = mlp.layers().to_vec();
    for step in 0..config.epochs {
        let diverged = |layer, what| Divergence { epoch: step, step, layer, what };
        let run = Run::SERIAL;
        let loss = mlp.loss_and_grad(data, config.loss, &mut workspace, run).unwrap().loss;
        if !loss.is_finite() {
            let outputs = mlp.activations(data.x, data.rows, run).unwrap();
            let layer = outputs.iter().position(|y| !all_finite(y));
            let what = if layer.is_some() { Nonfinite::Output } else { Nonfinite::Loss };
            return Some((diverged(layer, what), step - 1));
        }
        let mut gradients = workspace.gradients().to_vec();
        // A layer's parameters lie side by side.
        let of =
            |i: usize| layers[i].w.start..layers.get(i + 1).map_or(gradients.len(), |l| l.w.start);
        // Without a norm: beyond 1e154, that is before the numbers themselves are infinite in f64.
        let norm =
            |range: Range<usize>| gradients[range].iter().map(|g| g.widen().powi(2)).sum::<f64>();
        let wild = |i: &usize| !norm(of(*i)).is_finite();
        if let Some(layer) = (0..layers.len()).rev().find(wild) {
            return Some((diverged(Some(layer), Nonfinite::Gradient), step));
        }
        let ranges: Vec<_> = (0..layers.len()).map(of).collect();
        state.step(mlp.values_mut(), &mut gradients, Step::default(), 1).unwrap();
        if let Some(layer) = ranges.into_iter().position(|range| !all_finite(&mlp.values()[range]))
        {
            return Some((diverged(Some(layer), Nonfinite::Parameters), step));
        }
    }
    None
}

/// Rates from harmless to absurd, on networks of one to three layers: every fit that diverges says what one sees
/// who takes its steps by hand, and ends with the parameters of a shorter fit, bit for bit.
#[test]
fn a_diverging_fit_says_where_and_keeps_the_last_good_parameters() {
    const ROWS: usize = 6;
    fn check<T: Real>(exponents: &[i32]) -> HashSet<(String, usize)> {
        // Small inputs have small gradients in the first layer: then it is another one that overflows.
        let networks: [(&[usize], &[Activation], f64); 5] = [
            (&[2, 1], &[Linear], 1.0),
            (&[2, 3, 1], &[Linear; 2], 1.0),
            (&[2, 3, 1], &[Relu, Linear], 1.0),
            (&[2, 4, 3, 1], &[Linear, Tanh, Linear], 1.0),
            (&[2, 3, 1], &[Tanh, Linear], 1e-9),
        ];
        let t = noise::<T>(ROWS, 2);
        let mut seen = HashSet::new();
        for (i, (sizes, activations, scale)) in networks.into_iter().enumerate() {
            let x: Vec<_> = noise::<T>(ROWS * 2, 1).iter().map(|&x| x * T::narrow(scale)).collect();
            let data = Dataset { x: &x, targets: Targets::values(&t), rows: ROWS };
            let bias = vec![scale == 1.0; sizes.len() - 1];
            let start = network::<T>(sizes, activations, &bias, i as u64);
            for lr in exponents.iter().map(|e| 10.0_f64.powi(*e)) {
                let momentum =
                    Optimizer::Sgd { lr, momentum: 0.9, nesterov: false, weight_decay: 0.0 };
                for optimizer in [Optimizer::sgd(lr), momentum, Optimizer::adam(lr)] {
                    let config = config(optimizer, ROWS, 12);
                    let mut mlp = start.clone();
                    let epochs = history(&mut mlp, &data, &config);
                    let found = epochs.last().unwrap().divergence;
                    let what = format!("{} {sizes:?} {optimizer:?}: {found:?}", T::NAME);
                    let Some((want, steps)) = by_hand(start.clone(), &data, &config) else {
                        assert_eq!((found, epochs.len()), (None, 12), "{what}");
                        continue;
                    };
                    assert_eq!(found, Some(want), "{what}");
                    assert_eq!(epochs.len(), want.epoch + 1, "{what}");
                    assert!(epochs.iter().rev().skip(1).all(|e| e.divergence.is_none()));
                    let last = epochs.last().unwrap();
                    match want.what {
                        Nonfinite::Output | Nonfinite::Loss => assert!(!last.loss.is_finite()),
                        Nonfinite::Gradient => {
                            assert!(last.loss.is_finite() && !last.gradient_norm.is_finite());
                        }
                        Nonfinite::Parameters => {
                            assert!(last.loss.is_finite() && last.gradient_norm.is_finite());
                        }
                    }
                    let mut good = start.clone();
                    history(&mut good, &data, &FitConfig { epochs: steps, ..config });
                    assert_eq!(bits(mlp.values()), bits(good.values()), "{what}");
                    let loss =
                        good.evaluate(&x, data.targets, ROWS, Loss::Mse, Run::SERIAL).unwrap().loss;
                    assert!(all_finite(good.values()) && loss.is_finite(), "{what}");
                    seen.insert((format!("{:?} {:?}", want.what, want.layer), want.step.min(2)));
                }
            }
        }
        seen
    }
    let narrow = check::<f32>(&(-2..=38).collect::<Vec<_>>());
    for (what, step) in [
        ("Output Some(0)", 1),
        ("Output Some(1)", 1),
        ("Output Some(1)", 2),
        ("Output Some(2)", 1),
        ("Gradient Some(0)", 2),
        ("Gradient Some(1)", 2),
        ("Parameters Some(0)", 0),
        ("Parameters Some(1)", 1),
    ] {
        assert!(narrow.contains(&(what.to_owned(), step)), "{what} {step} not in {narrow:?}");
    }
    // Squares of outputs up to 1e150 are summed in f64: past that, the loss of finite outputs overflows.
    let wide = check::<f64>(&(-2..=300).step_by(4).collect::<Vec<_>>());
    for (what, step) in [("Loss None", 1), ("Loss None", 2)] {
        assert!(wide.contains(&(what.to_owned(), step)), "{what} {step} not in {wide:?}");
    }
}

/// The words, for one of each kind.
#[test]
fn divergences_in_words() {
    let words = |layer, what| Divergence { epoch: 2, step: 17, layer, what }.to_string();
    let end = "became infinite or NaN in step 17 (epoch 2)";
    assert_eq!(words(Some(1), Nonfinite::Output), format!("the output of layers.1 {end}"));
    assert_eq!(words(None, Nonfinite::Loss), format!("the loss {end}"));
    assert_eq!(words(Some(0), Nonfinite::Gradient), format!("the gradient of layers.0 {end}"));
    let text = words(Some(3), Nonfinite::Parameters);
    assert_eq!(text, format!("the updated parameters of layers.3 {end}"));
}

/// Five samples with two inputs and one target; the third has inputs of this size.
fn with_an_outlier(size: f32) -> (Vec<f32>, Vec<f32>) {
    let (mut x, t) = (noise::<f32>(10, 3), noise::<f32>(5, 4));
    x[4..6].fill(size);
    (x, t)
}

/// The same without those rows.
fn without(rows: &[usize], x: &[f32], t: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let kept = || (0..t.len()).filter(|row| !rows.contains(row));
    (
        kept().flat_map(|row| [x[2 * row], x[2 * row + 1]]).collect(),
        kept().map(|row| t[row]).collect(),
    )
}

fn samples<'a>(x: &'a [f32], t: &'a [f32]) -> Dataset<'a, f32> {
    Dataset { x, targets: Targets::values(t), rows: t.len() }
}

/// A network of one layer, all weights 1: what an input of 1e30 does to it is seen at once.
fn plain() -> Mlp<f32> {
    let mut mlp = Mlp::new(&[2, 1], &[Linear], &[true]).unwrap();
    mlp.values_mut().copy_from_slice(&[1.0, 1.0, 0.0]);
    mlp
}

#[test]
fn steps_that_are_skipped_leave_no_trace() {
    // Inputs of 1e25 square in the gradient: a finite loss, and nothing to take back.
    let (x, t) = with_an_outlier(1e25);
    let (fewer_x, fewer_t) = without(&[2], &x, &t);
    let momentum = Optimizer::Sgd { lr: 0.01, momentum: 0.9, nesterov: false, weight_decay: 0.0 };
    for optimizer in [momentum, Optimizer::adam(0.01)] {
        let config = FitConfig { skip_nonfinite: true, ..config(optimizer, 1, 4) };
        let (mut mlp, mut fewer) = (plain(), plain());
        let epochs = history(&mut mlp, &samples(&x, &t), &config);
        let want = history(&mut fewer, &samples(&fewer_x, &fewer_t), &config);
        assert_eq!(mlp.values(), fewer.values());
        assert_eq!(epochs.len(), 4);
        for (i, (epoch, want)) in epochs.iter().zip(&want).enumerate() {
            let (layer, what) = (Some(0), Nonfinite::Gradient);
            let divergence = Divergence { epoch: i, step: 5 * i + 2, layer, what };
            assert_eq!((epoch.skipped, epoch.divergence), (1, Some(divergence)));
            assert_eq!(epoch.loss, want.loss);
            assert_eq!(epoch.gradient_norm, want.gradient_norm);
            assert_eq!((want.skipped, want.divergence), (0, None));
        }
        // Without leave to skip, the same fit ends there.
        let mut ended = plain();
        let epochs =
            history(&mut ended, &samples(&x, &t), &FitConfig { skip_nonfinite: false, ..config });
        assert_eq!((epochs.len(), epochs[0].skipped), (1, 0));
        assert_eq!(epochs[0].divergence.unwrap().step, 2);
        let mut two = plain();
        let config = FitConfig { epochs: 1, ..config };
        history(&mut two, &samples(&x[..4], &t[..2]), &config);
        assert_eq!(ended.values(), two.values());
    }
}

#[test]
fn a_skipped_loss_takes_the_step_before_it_back() {
    // Two inputs of 3e38 have an infinite sum: it cannot be told whether the samples or the last step are to blame.
    let (x, t) = with_an_outlier(3e38);
    let (fewer_x, fewer_t) = without(&[1, 2], &x, &t);
    let config = FitConfig { skip_nonfinite: true, ..config(Optimizer::sgd(0.01), 1, 4) };
    let (mut mlp, mut fewer) = (plain(), plain());
    let epochs = history(&mut mlp, &samples(&x, &t), &config);
    history(&mut fewer, &samples(&fewer_x, &fewer_t), &config);
    assert_eq!(mlp.values(), fewer.values());
    assert!(epochs.iter().all(|e| e.skipped == 1 && e.loss.is_finite()));
    assert_eq!(epochs[1].divergence.unwrap().what, Nonfinite::Output);

    // Where there are no other samples nothing happens, and there are no figures.
    let (mut mlp, bad) = (plain(), [3e38; 4]);
    let epochs = history(&mut mlp, &samples(&bad, &[0.0; 2]), &config);
    assert_eq!(mlp, plain());
    assert_eq!(epochs.len(), 4);
    for epoch in epochs {
        assert_eq!(epoch.skipped, 2);
        assert!(epoch.loss.is_nan() && epoch.gradient_norm.is_nan(), "{epoch:?}");
    }
}

/// An update that overflows, noticed by the next loss or, the last of an epoch, by itself: either way taken back.
#[test]
fn a_skipped_update_is_taken_back_and_counted() {
    let (x, t) = ([1.0, 1.0, 0.0, 0.0], [-1e38, 0.0]);
    for rows in [1, 2] {
        let data = samples(&x[..2 * rows], &t[..rows]);
        let config = FitConfig { skip_nonfinite: true, ..config(Optimizer::sgd(1e3), 1, 3) };
        let mut mlp = plain();
        let epochs = history(&mut mlp, &data, &config);
        assert_eq!(mlp, plain(), "{rows} rows");
        assert!(epochs.iter().all(|e| e.skipped == 1), "{rows} rows: {epochs:?}");
        let what = [Nonfinite::Parameters, Nonfinite::Output][rows - 1];
        assert!(epochs.iter().all(|e| e.divergence.unwrap().what == what), "{epochs:?}");
    }
}

/// A bias of -inf keeps a class out of a softmax; a fit leaves it there, and is that of the other classes.
#[test]
fn parameters_of_minus_infinity_are_the_users() {
    const ROWS: usize = 20;
    let x = noise::<f64>(ROWS * 3, 5);
    let labels: Vec<i64> = (0..ROWS as i64).map(|i| i % 3).collect();
    let data = Dataset { x: &x, targets: Targets::labels(&labels), rows: ROWS };
    let start = network::<f64>(&[3, 5, 3], &[Tanh, Linear], &[true; 2], 6);
    let mut masked = Mlp::new(&[3, 5, 4], &[Tanh, Linear], &[true; 2]).unwrap();
    let hidden = start.layers()[1].w.start;
    // As many columns as there are classes, weights and then biases: one more in each row.
    let widened = |values: &[f64]| {
        let (first, last) = values.split_at(hidden);
        let rows = last.chunks(3).enumerate().flat_map(|(i, row)| {
            let other = if i < 5 { 0.0 } else { f64::NEG_INFINITY };
            [row, &[other]].concat()
        });
        first.iter().copied().chain(rows).collect::<Vec<_>>()
    };
    masked.values_mut().copy_from_slice(&widened(start.values()));
    let momentum = Optimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.0 };
    for optimizer in [
        Optimizer::sgd(0.1),
        momentum,
        Optimizer::adagrad(0.1),
        Optimizer::rms_prop(0.01),
        Optimizer::adam(0.01),
        Optimizer::adam_w(0.01),
    ] {
        let config = FitConfig {
            loss: Loss::softmax_cross_entropy(),
            clip_norm: Some(0.1),
            ..config(optimizer, 6, 5)
        };
        let (mut mlp, mut other) = (masked.clone(), start.clone());
        let epochs = history(&mut mlp, &data, &config);
        assert!(
            epochs.iter().all(|e| e.divergence.is_none() && e.skipped == 0),
            "{optimizer:?} {epochs:?}"
        );
        assert_eq!(epochs.len(), 5);
        let want = history(&mut other, &data, &config);
        assert!((epochs[4].loss - want[4].loss).abs() < 1e-12);
        let (last, finite) = mlp.values().split_last().unwrap();
        assert_eq!(*last, f64::NEG_INFINITY);
        let want = widened(other.values());
        close(finite, &want[..finite.len()], 1e-12, &format!("{optimizer:?}"));
    }
}
