//! The training loop: orders, steps, weights, threads, divergence, stopping.

mod common;

use std::cell::Cell;
use std::ops::ControlFlow;

use common::{THREADS, bits, close, message, network, noise, plain_fit, shallow};
use initcore::nn::Run;
use initcore::nn::activation::Activation;
use initcore::nn::loss::{Loss, Targets};
use initcore::nn::mlp::Mlp;
use initcore::nn::optimizer::{Optimizer, State, Step};
use initcore::nn::pass::{Dataset, Workspace};
use initcore::nn::real::Real;
use initcore::nn::schedule::Schedule;
use initcore::nn::train::{EpochStats, FitConfig, fit, permutation};
use initcore::parallel::NEVER;
use initcore::{Error, Result};
use proptest::prelude::*;

fn config(loss: Loss, optimizer: Optimizer) -> FitConfig {
    FitConfig { batch_size: 96, epochs: 3, shuffle: true, seed: 5, ..plain_fit(loss, optimizer) }
}

/// A fit to its end, epoch by epoch, without the times that it took.
fn history<T: Real>(
    mlp: &mut Mlp<T>,
    data: &Dataset<'_, T>,
    config: &FitConfig,
    validation: Option<&Dataset<'_, T>>,
) -> Vec<EpochStats> {
    let mut epochs = Vec::new();
    let mut see = |_: &Mlp<T>, epoch: &EpochStats| {
        assert!(epoch.seconds >= 0.0);
        epochs.push(EpochStats { seconds: 0.0, ..epoch.clone() });
        Ok(ControlFlow::Continue(()))
    };
    fit(mlp, data, config, validation, NEVER, &mut see).unwrap();
    epochs
}

// --- order ---------------------------------------------------------------------------------------

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn orders_are_permutations(len in 0_usize..400, seed: u64, epoch in 0_usize..5) {
        let mut order = vec![7; len];
        permutation(&mut order, seed, epoch);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        prop_assert!(sorted.into_iter().eq(0..len));
    }
}

#[test]
fn orders_depend_on_seed_and_epoch_and_are_fair() {
    let order = |seed, epoch| {
        let mut order = vec![0; 50];
        permutation(&mut order, seed, epoch);
        order
    };
    assert_eq!(order(1, 0), order(1, 0));
    assert_ne!(order(1, 0), order(2, 0));
    assert_ne!(order(1, 0), order(1, 1));
    // All 24 orders of 4 elements over 24000 seeds: 1000 each, standard deviation 31; six of them are
    // passed with probability 24 * 2e-9. An order off by a fifth would be seen.
    let mut counts = std::collections::HashMap::new();
    for seed in 0..24_000 {
        let mut order = [0; 4];
        permutation(&mut order, seed, 0);
        *counts.entry(order).or_insert(0_i32) += 1;
    }
    assert_eq!(counts.len(), 24);
    for (order, count) in counts {
        assert!((count - 1000).abs() < 186, "{order:?}: {count}");
    }
}

// --- steps ---------------------------------------------------------------------------------------

#[test]
fn a_fit_has_the_same_bits_on_any_number_of_threads() {
    fn check<T: Real>(optimizer: Optimizer) {
        const ROWS: usize = 250;
        let hidden = [Activation::Relu, Activation::Softplus, Activation::Linear];
        let start = network::<T>(&[200, 220, 30, 10], &hidden, &[true, false, true], 4);
        assert!(initcore::nn::gemm::block_rows(96, 220 * 200) < 96, "not split");
        let x = noise::<T>(ROWS * 200, 8);
        let labels: Vec<i64> = (0..ROWS as i64).map(|i| i * i % 10).collect();
        let data = Dataset { x: &x, targets: Targets::labels(&labels), rows: ROWS };
        let results = THREADS.map(|threads| {
            let mut mlp = start.clone();
            let config = FitConfig {
                threads,
                clip_norm: Some(0.5),
                schedule: Schedule::Cosine { warmup: 1.0, final_factor: 0.1 },
                ..config(Loss::softmax_cross_entropy(), optimizer)
            };
            let history = history(&mut mlp, &data, &config, Some(&data));
            (bits(mlp.values()), history)
        });
        assert!(results.iter().all(|r| *r == results[0]));
        let (first, last) = (&results[0].1[0], &results[0].1[2]);
        assert_eq!(results[0].1.len(), 3);
        assert!(last.loss < first.loss && last.divergence.is_none() && last.skipped == 0);
        assert!(last.validation.unwrap().loss < first.validation.unwrap().loss);
        assert!((0.0..=1.0).contains(&last.accuracy.unwrap()));
    }
    let sgd = Optimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 1e-3 };
    for optimizer in [Optimizer::adam(1e-3), sgd] {
        check::<f32>(optimizer);
        check::<f64>(optimizer);
    }
}

/// XOR: two inputs, one output.
const XOR_X: [f32; 8] = [0., 0., 0., 1., 1., 0., 1., 1.];
const XOR: Dataset<'static, f32> =
    Dataset { x: &XOR_X, targets: Targets::labels(&[0, 1, 1, 0]), rows: 4 };

#[test]
fn a_small_network_learns_xor() {
    let mut mlp = shallow::<f32>([2, 8, 1], Activation::Tanh, 6);
    // The batch is clamped to the four rows there are.
    let config =
        FitConfig { epochs: 300, ..config(Loss::binary_cross_entropy(), Optimizer::adam(0.05)) };
    let history = history(&mut mlp, &XOR, &config, None);
    let last = history.last().unwrap();
    assert_eq!((history.len(), last.accuracy), (300, Some(1.0)));
    assert!(last.loss < 0.05, "{last:?}");
    let found = mlp.evaluate(XOR.x, XOR.targets, 4, config.loss, Run::SERIAL).unwrap();
    assert_eq!(found.correct, Some(4));
}

#[test]
fn an_epoch_is_its_steps() {
    // Five rows in batches of two, unshuffled: the same as three steps by hand, the last one of one row.
    let start = shallow::<f64>([3, 4, 2], Activation::Sigmoid, 9);
    let (x, t) = (noise::<f64>(15, 1), noise::<f64>(10, 2));
    let optimizer = Optimizer::adam(0.01);
    let config =
        FitConfig { batch_size: 2, epochs: 1, shuffle: false, ..config(Loss::Mse, optimizer) };
    let mut fitted = start.clone();
    let data = Dataset { x: &x, targets: Targets::values(&t), rows: 5 };
    let found = history(&mut fitted, &data, &config, None);

    let mut by_hand = start.clone();
    let mut state = State::new(optimizer, start.values().len()).unwrap();
    let mut workspace = Workspace::new(&start, 2).unwrap();
    let (mut loss, mut norm) = (0.0, 0.0);
    for (from, rows) in [(0, 2), (2, 2), (4, 1)] {
        let (x, t) = (&x[from * 3..(from + rows) * 3], &t[from * 2..(from + rows) * 2]);
        let batch = Dataset { x, targets: Targets::values(t), rows };
        let run = Run::SERIAL;
        let step = by_hand.loss_and_grad(&batch, Loss::Mse, &mut workspace, run).unwrap();
        loss += step.loss * rows as f64 / 5.0;
        let mut gradients = workspace.gradients().to_vec();
        norm += gradients.iter().map(|g| g * g).sum::<f64>().sqrt() / 3.0;
        state.step(by_hand.values_mut(), &mut gradients, Step::default(), 1).unwrap();
    }
    assert_eq!(fitted.values(), by_hand.values());
    assert!((found[0].loss - loss).abs() < 1e-14);
    assert!((found[0].gradient_norm - norm).abs() < 1e-14);

    // Shuffled, the same rows in the seed's order.
    let mut order = [0; 5];
    permutation(&mut order, config.seed, 0);
    let (x, t) = rows_of(&x, &t, &order);
    let sorted = Dataset { x: &x, targets: Targets::values(&t), rows: 5 };
    let (mut a, mut b) = (start.clone(), start);
    history(&mut a, &data, &FitConfig { shuffle: true, ..config }, None);
    history(&mut b, &sorted, &config, None);
    assert_eq!(a.values(), b.values());
}

/// These rows of `(x, t)` with 3 and 2 columns, in this order.
fn rows_of<T: Copy>(x: &[T], t: &[T], rows: &[usize]) -> (Vec<T>, Vec<T>) {
    let pick = |from: &[T], width: usize| {
        rows.iter().flat_map(|&row| from[row * width..][..width].to_vec()).collect()
    };
    (pick(x, 3), pick(t, 2))
}

// --- weights -------------------------------------------------------------------------------------

/// A weight of k counts as k samples alike, in a batch of all rows; statistics included.
#[test]
fn whole_weights_are_repeated_samples() {
    const COUNTS: [usize; 6] = [1, 3, 0, 2, 5, 1];
    let start = shallow::<f64>([3, 4, 2], Activation::Tanh, 9);
    let (x, t) = (noise::<f64>(18, 1), noise::<f64>(12, 2));
    let weights = COUNTS.map(|count| count as f64);
    let data = Dataset { x: &x, targets: Targets::values(&t).weighted(&weights), rows: 6 };
    let rows: Vec<_> = (0..6).flat_map(|row| [row].repeat(COUNTS[row])).collect();
    let (xs, ts) = rows_of(&x, &t, &rows);
    let repeated = Dataset { x: &xs, targets: Targets::values(&ts), rows: rows.len() };
    for loss in [Loss::Mse, Loss::huber()] {
        for optimizer in [Optimizer::sgd(0.1), Optimizer::adam(0.01)] {
            let config = FitConfig { epochs: 30, ..config(loss, optimizer) };
            let (mut a, mut b) = (start.clone(), start.clone());
            let found = history(&mut a, &data, &config, Some(&data));
            let want = history(&mut b, &repeated, &config, Some(&repeated));
            close(a.values(), b.values(), 1e-11, "parameters");
            assert!(a != start);
            for (found, want) in found.iter().zip(&want) {
                let numbers =
                    |e: &EpochStats| [e.loss, e.gradient_norm, e.validation.unwrap().loss];
                close(&numbers(found), &numbers(want), 1e-12, "statistics");
            }
        }
    }
}

/// Each batch has its own mean, so a common factor does nothing, and a batch without weight neither.
#[test]
fn weights_are_relative_within_a_batch() {
    let start = shallow::<f64>([3, 4, 2], Activation::Tanh, 9);
    let (x, t) = (noise::<f64>(18, 1), noise::<f64>(12, 2));
    let targets = Targets::values(&t);
    let config = FitConfig {
        batch_size: 2,
        shuffle: false,
        ..config(
            Loss::Mse,
            Optimizer::Sgd { lr: 0.1, momentum: 0.5, nesterov: false, weight_decay: 0.0 },
        )
    };
    let after = |targets| {
        let mut mlp = start.clone();
        let history = history(&mut mlp, &Dataset { x: &x, targets, rows: 6 }, &config, None);
        (bits(mlp.values()), history)
    };
    let plain = after(targets);
    assert_eq!(after(targets.weighted(&[1.0; 6])), plain);
    let (parameters, _) = after(targets.weighted(&[4.0, 4.0, 0.5, 0.5, 1.0, 1.0]));
    assert_eq!(parameters, plain.0);
    // Within a batch they matter.
    assert_ne!(after(targets.weighted(&[1.0, 3.0, 1.0, 1.0, 1.0, 1.0])).0, plain.0);
    let idle = after(targets.weighted(&[1.0, 1.0, 0.0, 0.0, 1.0, 1.0]));
    assert_ne!(idle.0, plain.0);
    assert!(idle.1.iter().all(|e| e.loss > 0.0 && e.divergence.is_none() && e.skipped == 0));

    // The loss of an epoch is the mean of all its samples, not that of its batches.
    let uneven = targets.weighted(&[1.0, 3.0, 1.0, 1.0, 0.0, 5.0]);
    let still = FitConfig { optimizer: Optimizer::sgd(0.0), ..config };
    let data = Dataset { x: &x, targets: uneven, rows: 6 };
    let found = history(&mut start.clone(), &data, &still, None)[0].loss;
    let want = start.evaluate(&x, uneven, 6, Loss::Mse, Run::SERIAL).unwrap().loss;
    assert!((found - want).abs() < 1e-14 * want, "{found} instead of {want}");
}

// --- ends ----------------------------------------------------------------------------------------

#[test]
fn a_bad_fit_is_refused_and_leaves_the_network_alone() {
    let mut mlp = shallow::<f32>([2, 3, 1], Activation::Relu, 3);
    let before = mlp.clone();
    let good = config(Loss::binary_cross_entropy(), Optimizer::sgd(0.1));
    let bad_label = Dataset { targets: Targets::labels(&[0, 1, 2, 0]), ..XOR };
    let mut refused =
        |data: &Dataset<'_, f32>, config: &FitConfig, validation: Option<&Dataset<'_, f32>>| {
            let mut never = |_: &Mlp<f32>, _: &EpochStats| panic!("it began");
            let text = message(fit(&mut mlp, data, config, validation, NEVER, &mut never));
            assert_eq!(mlp, before);
            text
        };
    assert!(refused(&bad_label, &good, None).contains("label 2 in row 2"));
    let text = refused(&XOR, &good, Some(&bad_label));
    assert!(text.contains("validation data: label 2 in row 2"), "{text}");
    let short = Dataset { x: &XOR_X[1..], ..XOR };
    assert!(refused(&short, &good, None).contains("(4, 2)"));
    let empty = Dataset { x: &[], targets: Targets::labels(&[]), rows: 0 };
    assert!(refused(&empty, &good, None).contains("at least one row"));
    assert!(refused(&XOR, &good, Some(&empty)).contains("at least one row"));
    let zeros = [0.0; 4];
    let weightless = Dataset { targets: XOR.targets.weighted(&zeros), ..XOR };
    assert!(refused(&weightless, &good, None).contains("weight"));
    assert!(refused(&XOR, &FitConfig { batch_size: 0, ..good }, None).contains("batch_size"));
    let optimizer = Optimizer::sgd(-1.0);
    assert!(refused(&XOR, &FitConfig { optimizer, ..good }, None).contains("lr"));
    for clip_norm in [0.0, -1.0, f64::NAN, f64::INFINITY].map(Some) {
        assert!(refused(&XOR, &FitConfig { clip_norm, ..good }, None).contains("clip_norm"));
    }
    let schedule = Schedule::Cosine { warmup: 4.0, final_factor: 0.0 };
    assert!(refused(&XOR, &FitConfig { schedule, ..good }, None).contains("warmup"));
    assert_eq!(history(&mut mlp, &XOR, &FitConfig { epochs: 0, ..good }, None), []);
    assert_eq!(mlp, before);
}

#[test]
fn stopping_leaves_whole_steps() {
    const ROWS: usize = 256;
    let start = shallow::<f32>([300, 300, 1], Activation::Relu, 3);
    let (x, t) = (noise::<f32>(ROWS * 300, 8), noise::<f32>(ROWS, 9));
    let data = Dataset { x: &x, targets: Targets::values(&t), rows: ROWS };
    let config =
        FitConfig { batch_size: ROWS, threads: 2, ..config(Loss::Mse, Optimizer::sgd(0.01)) };
    // As many whole steps as some shorter fit takes.
    let mut steps = vec![start.clone()];
    let mut see = |mlp: &Mlp<f32>, _: &EpochStats| {
        steps.push(mlp.clone());
        Ok(ControlFlow::Continue(()))
    };
    let long = FitConfig { epochs: 50, ..config };
    fit(&mut start.clone(), &data, &long, None, NEVER, &mut see).unwrap();
    let asked = Cell::new(0);
    for patience in [0, 1, 5, 12, 40] {
        asked.set(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > patience
        };
        let mut go = |_: &Mlp<f32>, _: &EpochStats| Ok(ControlFlow::Continue(()));
        let mut mlp = start.clone();
        let result = fit(&mut mlp, &data, &long, None, &stop, &mut go);
        assert_eq!(result, Err(Error::Interrupted));
        assert!(steps.contains(&mlp), "patience {patience}");
    }
    // A callback's wish, and its error.
    let calls = Cell::new(0);
    let end_with = |result: Result<ControlFlow<()>>| {
        calls.set(0);
        let mut mlp = start.clone();
        let mut second = |_: &Mlp<f32>, epoch: &EpochStats| {
            calls.set(calls.get() + 1);
            if epoch.epoch == 1 { result.clone() } else { Ok(ControlFlow::Continue(())) }
        };
        let result = fit(&mut mlp, &data, &long, None, NEVER, &mut second);
        assert_eq!(calls.get(), 2);
        assert!(mlp == steps[2]);
        result
    };
    assert_eq!(end_with(Ok(ControlFlow::Break(()))), Ok(()));
    assert_eq!(message(end_with(Err(Error::Invalid("enough".into())))), "enough");
}
