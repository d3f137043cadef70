//! The dense core against naive loops, finite differences, published numbers, and itself on other threads.

use std::cell::Cell;
use std::ops::ControlFlow;

use initcore::nn::Run;
use initcore::nn::activation::Activation;
use initcore::nn::dense::{Gradients, Layer};
use initcore::nn::gemm::{Matrix, block_rows, product};
use initcore::nn::loss::{Loss, Targets};
use initcore::nn::mlp::{Mlp, Workspace};
use initcore::nn::optimizer::{Optimizer, State, Step};
use initcore::nn::real::Real;
use initcore::nn::schedule::Schedule;
use initcore::nn::train::{Dataset, EpochStats, FitConfig, fit, permutation};
use initcore::parallel::NEVER;
use initcore::{Error, Result};
use proptest::prelude::*;

/// `len` numbers in [-1, 1) from a small generator of the tests' own (`SplitMix64`).
fn noise<T: Real>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0xD134_2543_DE82_EF95);
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) >> 11
    };
    (0..len).map(|_| T::narrow(next() as f64 / (1_u64 << 52) as f64 - 1.0)).collect()
}

fn close<T: Real>(got: &[T], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got.widen() - want).abs();
        assert!(error <= tolerance * (1.0 + want.abs()), "{what}[{i}]: {got} instead of {want}");
    }
}

fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::Invalid(text)) => text,
        other => panic!("expected an Invalid error, got {other:?}"),
    }
}

/// `a b` for `a: (m, k)` and `b: (k, n)` given as functions of row and column.
fn naive(
    (m, n, k): (usize, usize, usize),
    a: impl Fn(usize, usize) -> f64,
    b: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let dot = |i, j| (0..k).map(|l| a(i, l) * b(l, j)).sum();
    (0..m * n).map(|at| dot(at / n, at % n)).collect()
}

/// Forward and backward of one layer against naive loops in f64.
fn check_layer<T: Real>(batch: usize, fan_in: usize, fan_out: usize, activation: Activation) {
    let what = format!("{} ({batch}, {fan_in}, {fan_out}) {activation}", T::NAME);
    let tolerance = T::epsilon().widen() * 4.0 * (fan_in.max(fan_out).max(batch) as f64 + 4.0);
    let x = noise::<T>(batch * fan_in, 1);
    let w = noise::<T>(fan_in * fan_out, 2);
    let b = noise::<T>(fan_out, 3);
    let dy = noise::<T>(batch * fan_out, 4);
    let layer = Layer { w: &w, b: Some(&b), fan_in, fan_out, activation };
    // Poisoned buffers: every element has to be written.
    let nan = T::nan();
    let (mut z, mut y) = (vec![nan; batch * fan_out], vec![nan; batch * fan_out]);
    layer.forward(&x, batch, &mut z, &mut y, Run::SERIAL).unwrap();

    let shape = (batch, fan_out, fan_in);
    let mut want =
        naive(shape, |i, l| x[i * fan_in + l].widen(), |l, j| w[l * fan_out + j].widen());
    for (i, z) in want.iter_mut().enumerate() {
        *z += b[i % fan_out].widen();
    }
    close(&z, &want, tolerance, &format!("z of {what}"));
    let f: Vec<f64> = z.iter().map(|z| activation.value(z.widen())).collect();
    close(&y, &f, tolerance, &format!("y of {what}"));

    let mut dz = dy.clone();
    let (mut dw, mut db) = (vec![nan; w.len()], vec![nan; fan_out]);
    let mut dx = vec![nan; x.len()];
    let into = Gradients { dw: &mut dw, db: Some(&mut db), dx: Some(&mut dx) };
    layer.backward((&x, &z, &y), batch, &mut dz, into, Run::SERIAL).unwrap();
    let slope = |i: usize| activation.value_and_slope(z[i].widen()).1;
    let want: Vec<f64> = (0..dz.len()).map(|i| dy[i].widen() * slope(i)).collect();
    close(&dz, &want, tolerance, &format!("dz of {what}"));
    let dz = want;
    let shape = (fan_in, fan_out, batch);
    let want = naive(shape, |i, l| x[l * fan_in + i].widen(), |l, j| dz[l * fan_out + j]);
    close(&dw, &want, tolerance, &format!("dw of {what}"));
    let want = naive((1, fan_out, batch), |_, _| 1.0, |l, j| dz[l * fan_out + j]);
    close(&db, &want, tolerance, &format!("db of {what}"));
    let shape = (batch, fan_in, fan_out);
    let want = naive(shape, |i, l| dz[i * fan_out + l], |l, j| w[j * fan_out + l].widen());
    close(&dx, &want, tolerance, &format!("dx of {what}"));
}

#[test]
fn layers_agree_with_naive_loops() {
    let sizes = [0, 1, 2, 3, 7, 13, 17, 64, 101];
    for (i, batch) in sizes.into_iter().enumerate() {
        for (j, fan_in) in sizes.into_iter().enumerate() {
            for (k, fan_out) in sizes.into_iter().enumerate() {
                let activation = Activation::ALL[(i + j + k) % Activation::ALL.len()];
                check_layer::<f32>(batch, fan_in, fan_out, activation);
                check_layer::<f64>(batch, fan_in, fan_out, activation);
            }
        }
    }
    // Cut into several blocks, the last one short.
    check_layer::<f32>(311, 157, 97, Activation::Tanh);
    assert!(block_rows(311, 97, 157) < 311);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn layers_agree_with_naive_loops_at_any_shape(
        batch in 0_usize..150, fan_in in 0_usize..150, fan_out in 0_usize..150,
        which in 0..Activation::ALL.len(),
    ) {
        check_layer::<f32>(batch, fan_in, fan_out, Activation::ALL[which]);
        check_layer::<f64>(batch, fan_in, fan_out, Activation::ALL[which]);
    }

    /// The same inputs at other addresses: alignment must not reach the bits (Law 2).
    #[test]
    fn products_ignore_where_the_data_lie(
        m in 1_usize..70, n in 1_usize..70, k in 1_usize..300, shift in 1_usize..16,
        thin in 0..4,
    ) {
        let (m, n, k) = match thin { 0 => (m, 1, k), 1 => (1, n, k), 2 => (m, n, 1), _ => (m, n, k) };
        let bits = |shift: usize, a_t: bool, b_t: bool| {
            let a = [vec![0.0; shift], noise::<f32>(m * k, 5)].concat();
            let b = [vec![0.0; shift], noise::<f32>(k * n, 6)].concat();
            let mut out = vec![0.0; shift + m * n];
            let a = if a_t { Matrix::new(&a[shift..], k, m).unwrap().t() }
                else { Matrix::new(&a[shift..], m, k).unwrap() };
            let b = if b_t { Matrix::new(&b[shift..], n, k).unwrap().t() }
                else { Matrix::new(&b[shift..], k, n).unwrap() };
            product(&mut out[shift..], a, b, Run::SERIAL).unwrap();
            out[shift..].iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        for (a_t, b_t) in [(false, false), (true, false), (false, true), (true, true)] {
            prop_assert_eq!(bits(0, a_t, b_t), bits(shift, a_t, b_t), "{} {} {}", m, n, k);
        }
    }

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


/// A network with random parameters.
fn network<T: Real>(sizes: &[usize], hidden: Activation, output: Activation, seed: u64) -> Mlp<T> {
    let mut mlp = Mlp::new(sizes, hidden, output, true).unwrap();
    for p in mlp.parameters() {
        let fan_in = if p.shape.len() == 2 { p.shape[0] } else { 1 };
        let scale = T::narrow((3.0 / fan_in as f64).sqrt());
        let values = noise::<T>(p.range.len(), seed + p.range.start as u64);
        for (to, from) in mlp.values_mut()[p.range].iter_mut().zip(values) {
            *to = from * scale;
        }
    }
    mlp
}

#[test]
fn gradients_agree_with_finite_differences() {
    const BATCH: usize = 3;
    const STEP: f64 = 1e-6;
    let sizes = [4, 5, 3, 2];
    let labels = Targets::labels(&[1, 0, 1]);
    let values = Targets::values(&[0.25, 0.75, 1.0, 0.0, 0.5, 0.5]);
    for hidden in Activation::ALL {
        for output in Activation::ALL {
            // The first seed whose pre-activations all keep clear of a kink.
            let (mut mlp, x, mut workspace) = (0..)
                .find_map(|seed| {
                    let mlp = network::<f64>(&sizes, hidden, output, 10 * seed);
                    let x = noise::<f64>(BATCH * sizes[0], 77 + seed);
                    let mut workspace = Workspace::new(&mlp, BATCH).unwrap();
                    mlp.forward(&x, BATCH, &mut workspace, Run::SERIAL).unwrap();
                    let z = (0..mlp.depth()).flat_map(|layer| workspace.z(layer));
                    let clear =
                        |z: f64| [-1.0, 0.0, 1.0].iter().all(|kink| (z - kink).abs() > 1e-3);
                    z.into_iter().all(|&z| clear(z)).then_some((mlp, x, workspace))
                })
                .unwrap();
            for loss in Loss::ALL {
                for targets in [labels, values] {
                    if loss.check(targets, BATCH, 2).is_err() {
                        continue;
                    }
                    let mut at = |mlp: &Mlp<f64>| {
                        let run = Run::SERIAL;
                        let found =
                            mlp.loss_and_grad(&x, targets, BATCH, loss, &mut workspace, run);
                        (found.unwrap().loss, workspace.gradients().to_vec())
                    };
                    let (_, gradients) = at(&mlp);
                    assert!(gradients.iter().any(|g| g.abs() > 1e-6), "{hidden} {output} {loss}");
                    for (i, gradient) in gradients.into_iter().enumerate() {
                        let value = mlp.values()[i];
                        mlp.values_mut()[i] = value + STEP;
                        let (above, _) = at(&mlp);
                        mlp.values_mut()[i] = value - STEP;
                        let (below, _) = at(&mlp);
                        mlp.values_mut()[i] = value;
                        let slope = (above - below) / (2.0 * STEP);
                        let error = (slope - gradient).abs();
                        assert!(
                            error < 1e-8 + 1e-7 * slope.abs(),
                            "{hidden} {output} {loss} parameter {i}: {gradient}, not {slope}"
                        );
                    }
                }
            }
        }
    }
}

const THREADS: [usize; 4] = [1, 2, 3, 7];

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn a_large_layer_has_the_same_bits_on_any_number_of_threads() {
    let (batch, fan_in, fan_out) = (200, 300, 260);
    assert!(block_rows(batch, fan_out, fan_in) < batch, "not split");
    assert!(block_rows(fan_in, fan_out, batch) < fan_in, "not split");
    let mlp = network::<f32>(&[fan_in, fan_out, 90], Activation::Tanh, Activation::Linear, 1);
    let x = noise::<f32>(batch * fan_in, 2);
    let t = noise::<f32>(batch * 90, 3);
    let results = THREADS.map(|threads| {
        let run = Run { threads, stop: NEVER };
        let mut workspace = Workspace::new(&mlp, batch).unwrap();
        let targets = Targets::values(&t);
        mlp.loss_and_grad(&x, targets, batch, Loss::Mse, &mut workspace, run).unwrap();
        [bits(workspace.y(1)), bits(workspace.gradients())]
    });
    assert!(results.iter().all(|r| *r == results[0]));
}

#[expect(clippy::unnecessary_wraps, reason = "what `fit` calls may fail")]
fn go<T>(_: &Mlp<T>, _: &EpochStats) -> Result<ControlFlow<()>> {
    Ok(ControlFlow::Continue(()))
}

fn config(loss: Loss, optimizer: Optimizer) -> FitConfig {
    FitConfig {
        loss,
        optimizer,
        schedule: Schedule::Constant,
        clip_norm: None,
        batch_size: 96,
        epochs: 3,
        shuffle: true,
        seed: 5,
        threads: 1,
    }
}

#[test]
fn a_fit_has_the_same_bits_on_any_number_of_threads() {
    let rows = 250;
    let start = network::<f32>(&[200, 220, 10], Activation::Relu, Activation::Linear, 4);
    assert!(block_rows(96, 220, 200) < 96, "not split");
    let x = noise::<f32>(rows * 200, 8);
    let labels: Vec<i64> = (0..rows as i64).map(|i| i * i % 10).collect();
    let data = Dataset { x: &x, targets: Targets::labels(&labels), rows };
    let optimizers = [
        Optimizer::adam(1e-3),
        Optimizer::Sgd { lr: 0.01, momentum: 0.9, nesterov: true, weight_decay: 1e-3 },
    ];
    for optimizer in optimizers {
        let results = THREADS.map(|threads| {
            let mut mlp = start.clone();
            let config = FitConfig { threads, ..config(Loss::softmax_cross_entropy(), optimizer) };
            let history = fit(&mut mlp, &data, &config, Some(&data), NEVER, &mut go).unwrap();
            let history = history.into_iter().map(|e| EpochStats { seconds: 0.0, ..e });
            (bits(mlp.values()), history.collect::<Vec<_>>())
        });
        assert!(results.iter().all(|r| *r == results[0]));
        let history = &results[0].1;
        assert_eq!(history.len(), 3);
        assert!(history[2].loss < history[0].loss && !history[2].diverged);
        assert!(history[2].validation_loss.unwrap() < history[0].validation_loss.unwrap());
        assert!((0.0..=1.0).contains(&history[2].accuracy.unwrap()));
    }
}

/// XOR: two inputs, one output.
const XOR_X: [f32; 8] = [0., 0., 0., 1., 1., 0., 1., 1.];
const XOR: Dataset<'static, f32> =
    Dataset { x: &XOR_X, targets: Targets::labels(&[0, 1, 1, 0]), rows: 4 };

#[test]
fn a_small_network_learns_xor() {
    let mut mlp = network::<f32>(&[2, 8, 1], Activation::Tanh, Activation::Linear, 6);
    // The batch is clamped to the four rows there are.
    let config =
        FitConfig { epochs: 300, ..config(Loss::binary_cross_entropy(), Optimizer::adam(0.05)) };
    let history = fit(&mut mlp, &XOR, &config, None, NEVER, &mut go).unwrap();
    let last = history.last().unwrap();
    assert_eq!((history.len(), last.accuracy), (300, Some(1.0)));
    assert!(last.loss < 0.05, "{last:?}");
    let found = mlp.evaluate(XOR.x, XOR.targets, 4, config.loss, Run::SERIAL).unwrap();
    assert_eq!(found.correct, Some(4));
}

#[test]
fn an_epoch_is_its_steps() {
    // Five rows in batches of two, unshuffled: the same as three steps by hand, the last one of one row.
    let start = network::<f64>(&[3, 4, 2], Activation::Sigmoid, Activation::Linear, 9);
    let (x, t) = (noise::<f64>(15, 1), noise::<f64>(10, 2));
    let optimizer = Optimizer::adam(0.01);
    let config =
        FitConfig { batch_size: 2, epochs: 1, shuffle: false, ..config(Loss::Mse, optimizer) };
    let mut fitted = start.clone();
    let data = Dataset { x: &x, targets: Targets::values(&t), rows: 5 };
    let history = fit(&mut fitted, &data, &config, None, NEVER, &mut go).unwrap();

    let mut by_hand = start.clone();
    let mut state = State::new(optimizer, start.values().len()).unwrap();
    let mut workspace = Workspace::new(&start, 2).unwrap();
    let (mut loss, mut norm) = (0.0, 0.0);
    for (from, rows) in [(0, 2), (2, 2), (4, 1)] {
        let (x, t) = (&x[from * 3..(from + rows) * 3], &t[from * 2..(from + rows) * 2]);
        let targets = Targets::values(t);
        let run = Run::SERIAL;
        let step = by_hand.loss_and_grad(x, targets, rows, Loss::Mse, &mut workspace, run).unwrap();
        loss += step.loss * rows as f64 / 5.0;
        norm += workspace.gradients().iter().map(|g| g * g).sum::<f64>().sqrt() / 3.0;
        let gradients = workspace.gradients_mut();
        state.step(by_hand.values_mut(), gradients, Step::default(), 1).unwrap();
    }
    assert_eq!(fitted.values(), by_hand.values());
    assert!((history[0].loss - loss).abs() < 1e-14);
    assert!((history[0].gradient_norm - norm).abs() < 1e-14);

    // Shuffled, the same rows in the seed's order.
    let mut order = [0; 5];
    permutation(&mut order, config.seed, 0);
    let sorted: Vec<f64> = order.iter().flat_map(|&i| x[i * 3..i * 3 + 3].to_vec()).collect();
    let wanted: Vec<f64> = order.iter().flat_map(|&i| t[i * 2..i * 2 + 2].to_vec()).collect();
    let sorted = Dataset { x: &sorted, targets: Targets::values(&wanted), rows: 5 };
    let (mut a, mut b) = (start.clone(), start);
    fit(&mut a, &data, &FitConfig { shuffle: true, ..config }, None, NEVER, &mut go).unwrap();
    fit(&mut b, &sorted, &config, None, NEVER, &mut go).unwrap();
    assert_eq!(a.values(), b.values());
}

#[test]
fn a_diverging_fit_keeps_the_last_good_parameters() {
    let start = network::<f32>(&[2, 3, 1], Activation::Linear, Activation::Linear, 3);
    let optimizer = Optimizer::sgd(1e15);
    let data = Dataset { targets: Targets::values(&[0.0, 1.0, 1.0, 0.0]), ..XOR };
    let once = FitConfig { epochs: 1, ..config(Loss::Mse, optimizer) };
    let mut good = start.clone();
    let history = fit(&mut good, &data, &once, None, NEVER, &mut go).unwrap();
    assert!(!history[0].diverged && good.values().iter().all(|v| v.is_finite()));

    let mut mlp = start;
    let more = FitConfig { epochs: 10, ..once };
    let history = fit(&mut mlp, &data, &more, None, NEVER, &mut go).unwrap();
    assert_eq!(history.iter().map(|e| e.diverged).collect::<Vec<_>>(), [false, true]);
    assert_eq!(mlp.values(), good.values());
}

#[test]
fn a_bad_fit_is_refused_and_leaves_the_network_alone() {
    let mut mlp = network::<f32>(&[2, 3, 1], Activation::Relu, Activation::Linear, 3);
    let before = mlp.clone();
    let good = config(Loss::binary_cross_entropy(), Optimizer::sgd(0.1));
    let bad_label = Dataset { targets: Targets::labels(&[0, 1, 2, 0]), ..XOR };
    let mut refused =
        |data: &Dataset<'_, f32>, config: &FitConfig, validation: Option<&Dataset<'_, f32>>| {
            let text = message(fit(&mut mlp, data, config, validation, NEVER, &mut go));
            assert_eq!(mlp, before);
            text
        };
    assert!(refused(&bad_label, &good, None).contains("label 2 in row 2"));
    assert!(refused(&XOR, &good, Some(&bad_label)).contains("label 2 in row 2"));
    let short = Dataset { x: &XOR_X[1..], ..XOR };
    assert!(refused(&short, &good, None).contains("(4, 2)"));
    let empty = Dataset { x: &[], targets: Targets::labels(&[]), rows: 0 };
    assert!(refused(&empty, &good, None).contains("at least one row"));
    assert!(refused(&XOR, &FitConfig { batch_size: 0, ..good }, None).contains("batch_size"));
    assert!(
        refused(&XOR, &FitConfig { optimizer: Optimizer::sgd(-1.0), ..good }, None).contains("lr")
    );
    let none = FitConfig { epochs: 0, ..good };
    assert_eq!(fit(&mut mlp, &XOR, &none, None, NEVER, &mut go), Ok(vec![]));
    assert_eq!(mlp, before);

    message(Mlp::<f32>::new(&[3], Activation::Relu, Activation::Linear, true));
    message(Mlp::<f32>::new(&[3, 0, 1], Activation::Relu, Activation::Linear, true));
    let endless = [usize::MAX / 2, 3, 1];
    let endless = Mlp::<f32>::new(&endless, Activation::Relu, Activation::Linear, true);
    assert!(matches!(endless, Err(Error::TooLarge(_))));
    let mut small = Workspace::new(&before, 2).unwrap();
    let text = message(before.forward(&XOR_X, 4, &mut small, Run::SERIAL));
    assert!(text.contains("up to 2 rows") && text.contains("4 rows"), "{text}");
    let text = message(before.predict(&XOR_X, 3, Run::SERIAL));
    assert!(text.contains("(3, 2)"), "{text}");
}

#[test]
fn stopping_leaves_whole_steps() {
    let rows = 256;
    let start = network::<f32>(&[300, 300, 1], Activation::Relu, Activation::Linear, 3);
    let x = noise::<f32>(rows * 300, 8);
    let t = noise::<f32>(rows, 9);
    let data = Dataset { x: &x, targets: Targets::values(&t), rows };
    let config =
        FitConfig { batch_size: rows, threads: 2, ..config(Loss::Mse, Optimizer::sgd(0.01)) };
    let asked = Cell::new(0);
    for patience in [0, 1, 5, 12] {
        asked.set(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > patience
        };
        let mut mlp = start.clone();
        let result =
            fit(&mut mlp, &data, &FitConfig { epochs: 50, ..config }, None, &stop, &mut go);
        assert_eq!(result, Err(Error::Interrupted));
        // As many whole steps as some shorter fit takes.
        let whole = (0..50).any(|epochs| {
            let mut other = start.clone();
            fit(&mut other, &data, &FitConfig { epochs, ..config }, None, NEVER, &mut go).unwrap();
            other == mlp
        });
        assert!(whole, "patience {patience}");
    }
    // A callback's wish, and its error.
    let mut mlp = start.clone();
    let mut once = |_: &Mlp<_>, _: &EpochStats| Ok(ControlFlow::Break(()));
    assert_eq!(fit(&mut mlp, &data, &config, None, NEVER, &mut once).unwrap().len(), 1);
    let mut fail = |_: &Mlp<_>, _: &EpochStats| Err(Error::Invalid("enough".into()));
    assert_eq!(message(fit(&mut mlp, &data, &config, None, NEVER, &mut fail)), "enough");
}

#[test]
fn parameters_are_laid_out_as_named() {
    let mlp = Mlp::<f32>::new(&[3, 4, 2], Activation::Relu, Activation::Linear, true).unwrap();
    let found: Vec<_> = mlp.parameters().into_iter().map(|p| (p.name, p.shape, p.range)).collect();
    let named = |name: &str, shape: &[usize], range| (name.to_owned(), shape.to_vec(), range);
    assert_eq!(
        found,
        [
            named("layers.0.weight", &[3, 4], 0..12),
            named("layers.0.bias", &[4], 12..16),
            named("layers.1.weight", &[4, 2], 16..24),
            named("layers.1.bias", &[2], 24..26),
        ]
    );
    let plain = Mlp::<f32>::new(&[3, 4, 2], Activation::Relu, Activation::Linear, false).unwrap();
    assert_eq!(plain.parameters().len(), 2);
    assert_eq!(plain.values().len(), 20);

    // Many rows at once are the rows in pieces.
    let mlp = network::<f64>(&[3, 4, 2], Activation::Tanh, Activation::Linear, 2);
    let x = noise::<f64>(3 * 2500, 3);
    let all = mlp.predict(&x, 2500, Run::SERIAL).unwrap();
    let mut workspace = Workspace::new(&mlp, 1).unwrap();
    for row in [0, 1023, 1024, 2499] {
        let one = mlp.forward(&x[row * 3..][..3], 1, &mut workspace, Run::SERIAL).unwrap();
        close(one, &all[row * 2..][..2], 1e-14, "predict");
    }
}
