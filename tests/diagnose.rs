//! The diagnosis of layers and networks against plain formulas in `f64`, and against itself on other threads.

mod common;

use common::{THREADS, message, network, noise};
use initcore::Error;
use initcore::nn::Run;
use initcore::nn::activation::Activation;
use initcore::nn::batch::{Batch, SAMPLE};
use initcore::nn::diagnosis::{Diagnosis, LayerArrays, LayerDiagnosis, Options, diagnose_layer};
use initcore::nn::loss::{Loss, Targets};
use initcore::nn::mlp::Mlp;
use initcore::nn::optimizer::{Optimizer, State, Step};
use initcore::nn::pass::{Dataset, Workspace};
use initcore::nn::real::Real;
use initcore::nn::statistics::{Moments, Slopes};
use initcore::parallel::NEVER;
use proptest::prelude::*;

fn wide<T: Real>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.widen()).collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// Mean, std and skew in two passes, of the differences from the first number, which are exact where it is far off.
fn two_passes(values: &[f64]) -> [f64; 3] {
    let from = values[0];
    let middle = mean(values.iter().map(|value| value - from));
    let central = |power| mean(values.iter().map(|value| (value - from - middle).powi(power)));
    let std = central(2).sqrt();
    [from + middle, std, central(3) / std.powi(3)]
}

fn near(got: f64, want: f64, tolerance: f64, what: &str) {
    let error = (got - want).abs();
    assert!(error <= tolerance * want.abs().max(1e-300), "{what}: {got} instead of {want}");
}

fn check_moments<T: Real>(values: &[T], got: Moments, tolerance: f64) {
    let wide = wide(values);
    let [middle, std, skew] = two_passes(&wide);
    assert_eq!(got.count(), values.len());
    near(got.mean(), middle, 1e-12 + tolerance * std / middle.abs().max(1e-300), "mean");
    near(got.std(), std, tolerance, "std");
    assert!((got.skew() - skew).abs() <= tolerance * (1.0 + skew.abs()), "{got:?} skew {skew}");
    near(got.mean_square(), mean(wide.iter().map(|v| v * v)), tolerance, "mean square");
    near(got.norm(), wide.iter().map(|v| v * v).sum::<f64>().sqrt(), tolerance, "norm");
    assert_eq!(got.low(), wide.iter().copied().fold(f64::INFINITY, f64::min));
    assert_eq!(got.high(), wide.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    assert_eq!(got.nonfinite(), 0);
}

#[test]
fn moments_far_from_zero_keep_their_spread() {
    for offset in [0.0, 1.0, 1e3, 1e6] {
        let near: Vec<f64> = noise::<f64>(100_003, 1).iter().map(|v| v * v + offset).collect();
        let narrow: Vec<f32> = near.iter().map(|v| *v as f32).collect();
        check_moments(&near, Moments::of(&near), 1e-9);
        check_moments(&narrow, Moments::of(&narrow), 1e-9);
        check_moments(&narrow, Moments::over(&narrow, Run::SERIAL).unwrap(), 1e-9);
    }
}

#[test]
fn what_is_not_finite_is_counted_and_shows() {
    let mut values = noise::<f32>(1000, 1);
    values[0] = f32::INFINITY;
    values[17] = f32::NEG_INFINITY;
    let moments = Moments::of(&values);
    assert_eq!(
        (moments.nonfinite(), moments.low(), moments.high()),
        (2, -f64::INFINITY, f64::INFINITY)
    );
    assert!(!moments.mean().is_finite() && !moments.std().is_finite());
    values[999] = f32::NAN;
    let both = Moments::of(&noise::<f32>(10, 2)).and(Moments::of(&values));
    assert_eq!(both.nonfinite(), 3);
    assert!([both.mean(), both.std(), both.low(), both.high()].iter().all(|v| v.is_nan()));
    let both = Moments::of(&values).and(Moments::of(&noise::<f32>(10, 2)));
    assert!(both.low().is_nan() && both.high().is_nan());
    // Squares that overflow are not infinities among the numbers.
    assert_eq!(Moments::of(&[1e200, -1e200]).nonfinite(), 0);
    assert!(Moments::default().mean().is_nan());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn moments_of_parts_make_those_of_the_whole(
        len in 1_usize..300, cut in 0_usize..300, offset in -10.0_f64..10.0, seed in 0_u64..1000,
    ) {
        let values: Vec<f64> =
            noise::<f64>(len + 1, seed).iter().map(|v| v.powi(3) + offset).collect();
        let (a, b) = values.split_at(cut.min(len));
        check_moments(&values, Moments::of(a).and(Moments::of(b)), 1e-9);
    }

    #[test]
    fn slopes_are_counted(len in 1_usize..300, threshold in 0.0_f64..1.0, seed in 0_u64..1000) {
        let values = noise::<f32>(len, seed);
        let got = Slopes::of(&values, threshold as f32);
        let square = mean(values.iter().map(|v| v.widen().powi(2)));
        near(got.mean_square(), square, 1e-12, "slopes");
        let flat = values.iter().filter(|v| v.abs() < threshold as f32).count();
        prop_assert_eq!(got.saturated(), flat as f64 / len as f64);
    }

    #[test]
    fn batches_agree_with_plain_loops(
        rows in 1_usize..70, width in 1_usize..40, block in 1_usize..70, seed in 0_u64..1000,
    ) {
        // Every third column is constant, but for one row of every second of these.
        let mut values = noise::<f32>(rows * width, seed);
        for (i, row) in values.chunks_mut(width).enumerate() {
            row.iter_mut().step_by(3).for_each(|value| *value = 0.25);
            if i == rows - 1 {
                row.iter_mut().step_by(6).for_each(|value| *value = 0.5);
            }
        }
        let batch = Batch::new(values.chunks(block * width).collect(), width);
        prop_assert_eq!(batch.rows(), rows);
        let constant = (0..width).filter(|j| values.iter().skip(*j).step_by(width).all(|v| *v == values[*j]));
        let share = constant.count() as f64 / width as f64;
        prop_assert_eq!(batch.constant(), (rows > 1).then_some(share));
        let count = rows.min(SAMPLE);
        let want: Vec<f32> = (0..count)
            .flat_map(|i| values[i * rows / count * width..][..width].to_vec())
            .collect();
        prop_assert_eq!(batch.sample().unwrap(), want);
    }
}

/// A layer of which only the outputs are known.
fn outputs_alone<T: Real>(y: &[T], rows: usize) -> LayerArrays<'_, T> {
    let none = None;
    LayerArrays {
        y,
        rows,
        slope: none,
        threshold: 0.0,
        dz: none,
        weight: none,
        bias: none,
        weight_gradient: none,
        bias_gradient: none,
    }
}

#[test]
fn cosines_between_samples() {
    fn check<T: Real>(scale: f64, tolerance: f64) {
        let (rows, width) = (5, 3);
        let wide: Vec<f64> = noise::<f64>(rows * width, 3).iter().map(|v| v * scale).collect();
        let mut y: Vec<T> = wide.iter().map(|v| T::narrow(*v)).collect();
        y[3..6].fill(T::zero());
        let got = diagnose_layer(&outputs_alone(&y, rows), Run::SERIAL).unwrap().outputs;
        let unit: Vec<Vec<f64>> = y
            .chunks(width)
            .map(|row| row.iter().map(|v| v.widen() / scale).collect::<Vec<_>>())
            .collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut squares = Vec::new();
        for i in 0..rows {
            for j in 0..rows {
                let (a, b) = (&unit[i], &unit[j]);
                let want = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
                let cosine = got.cosines[i * rows + j];
                assert_eq!(cosine.is_nan(), want.is_nan(), "{i} {j}");
                assert!(want.is_nan() || (cosine - want).abs() <= tolerance, "{cosine} {want}");
                assert!(i != j || want.is_nan() || cosine == 1.0);
                if i != j && !want.is_nan() {
                    squares.push(want * want);
                }
            }
        }
        let want = mean(squares.into_iter());
        assert!((got.cosine_square.unwrap() - want).abs() <= tolerance);
    }
    check::<f32>(1.0, 1e-6);
    check::<f32>(1e-30, 1e-6);
    check::<f32>(1e30, 1e-6);
    check::<f64>(1.0, 1e-15);
    check::<f64>(1e-250, 1e-15);
    check::<f64>(1e250, 1e-15);
    let one = diagnose_layer(&outputs_alone(&[1.0, 0.0, 0.0, 0.0], 2), Run::SERIAL).unwrap();
    assert_eq!(one.outputs.cosine_square, None);
}

/// `weight` with columns made from others: pairs (column, from, factor).
fn with_copies<T: Real>(rows: usize, width: usize, copies: &[(usize, usize, f64)]) -> Vec<T> {
    let mut weight = noise::<T>(rows * width, 9);
    for row in weight.chunks_mut(width) {
        for &(to, from, factor) in copies {
            row[to] = T::narrow(row[from].widen() * factor);
        }
    }
    weight
}

fn copies_of<T: Real>(weight: &[T], width: usize, gradient: Option<&[T]>) -> [Option<usize>; 4] {
    let y = noise::<T>(2 * width, 4);
    let arrays =
        LayerArrays { weight: Some(weight), weight_gradient: gradient, ..outputs_alone(&y, 2) };
    let copies = diagnose_layer(&arrays, Run::SERIAL).unwrap().copies.unwrap();
    [Some(copies.duplicates), Some(copies.flipped), Some(copies.collinear), copies.twins]
}

#[test]
fn copies_among_the_units_are_found() {
    fn check<T: Real>() {
        for (rows, width) in [(2, 70), (5, 70), (300, 70), (33, 8)] {
            let plain = with_copies::<T>(rows, width, &[]);
            assert_eq!(copies_of(&plain, width, Some(&plain)), [0, 0, 0, 0].map(Some));
            // 1 = 0, 2 = -0, 4 = 3 * -2.5, 6 = 5 * 7
            let made = [(1, 0, 1.0), (2, 0, -1.0), (4, 3, -2.5), (6, 5, 7.0)];
            let copied = with_copies::<T>(rows, width, &made);
            assert_eq!(copies_of(&copied, width, None), [Some(2), Some(3), Some(4), None]);
            assert_eq!(copies_of(&copied, width, Some(&copied)), [2, 3, 4, 2].map(Some));
            assert_eq!(copies_of(&copied, width, Some(&plain)), [2, 3, 4, 0].map(Some));
            let other = with_copies::<T>(rows, width, &[(1, 0, 1.5)]);
            assert_eq!(copies_of(&copied, width, Some(&other)), [2, 3, 4, 0].map(Some));
            for constant in [0.0, 0.5, -1e-3] {
                let same = vec![T::narrow(constant); rows * width];
                assert_eq!(copies_of(&same, width, Some(&same)), [width, 0, 0, width].map(Some));
            }
        }
        // One input: every unit is a multiple of every other.
        let plain = with_copies::<T>(1, 9, &[]);
        assert_eq!(copies_of(&plain, 9, None), [Some(0), Some(0), Some(9), None]);
        assert_eq!(copies_of(&plain[..1], 1, None), [Some(0), Some(0), Some(0), None]);
        // What is not finite is like nothing.
        let nan = vec![T::nan(); 12];
        assert_eq!(copies_of(&nan, 4, Some(&nan)), [0, 0, 0, 0].map(Some));
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn a_bias_tells_units_apart() {
    let (weight, y) = (vec![0.5; 12], noise::<f64>(8, 1));
    let of = |bias: Option<&[f64]>, gradient: Option<&[f64]>| {
        let arrays = LayerArrays {
            weight: Some(&weight),
            bias,
            weight_gradient: Some(&weight),
            bias_gradient: gradient,
            ..outputs_alone(&y, 2)
        };
        let copies = diagnose_layer(&arrays, Run::SERIAL).unwrap().copies.unwrap();
        (copies.duplicates, copies.twins.unwrap())
    };
    assert_eq!(of(None, None), (4, 4));
    assert_eq!(of(Some(&[1.0, 2.0, 1.0, 3.0]), None), (2, 2));
    assert_eq!(of(Some(&[1.0, 2.0, 1.0, 3.0]), Some(&[1.0, 2.0, 3.0, 4.0])), (2, 0));
    assert_eq!(of(None, Some(&[1.0, 2.0, 2.0, 4.0])), (4, 2));
}

#[test]
fn small_differences_are_differences() {
    let mut weight = vec![0.5_f32; 200];
    weight[0] = 0.5001;
    assert_eq!(copies_of(&weight, 10, None)[0], Some(9));
    let mut weight = vec![0.5_f64; 200];
    weight[0] += 1e-10;
    assert_eq!(copies_of(&weight, 10, None)[0], Some(9));
}

#[test]
fn without_weights_outputs_are_compared() {
    let y = with_copies::<f32>(3, 6, &[(1, 0, 1.0), (3, 2, -1.0)]);
    let dz = with_copies::<f32>(3, 6, &[(1, 0, 1.0)]);
    let arrays = LayerArrays { dz: Some(&dz), ..outputs_alone(&y, 3) };
    let layer = diagnose_layer(&arrays, Run::SERIAL).unwrap();
    let copies = layer.copies.unwrap();
    assert_eq!((copies.duplicates, copies.flipped, copies.twins), (2, 2, Some(2)));
    assert_eq!((layer.fan_in, layer.weight_norm, layer.weight_gradient), (None, None, None));
    assert_eq!(diagnose_layer(&outputs_alone(&y[..12], 2), Run::SERIAL).unwrap().copies, None);
}

const THRESHOLDS: [f64; 3] = [0.05, 0.5, 0.1];

/// A network of odd sizes and data for it.
fn example<T: Real>(rows: usize) -> (Mlp<T>, Vec<T>, Vec<T>) {
    let activations = [Activation::Tanh, Activation::Relu, Activation::Linear];
    let mlp = network(&[7, 37, 18, 3], &activations, &[true, false, true], 5);
    (mlp, noise(rows * 7, 6), noise(rows * 3, 7))
}

fn diagnose<T: Real>(rows: usize, options: &Options<'_>, threads: usize) -> Diagnosis<T> {
    let (mlp, x, t) = example::<T>(rows);
    let data = Dataset { x: &x, targets: Targets::values(&t), rows };
    mlp.diagnose(&data, options, Run { threads, stop: NEVER }).unwrap()
}

/// A network's layer says what its arrays, computed one by one, say.
fn check_network<T: Real>(rows: usize, loss: Option<Loss>, tolerance: f64) {
    let (mlp, x, t) = example::<T>(rows);
    let optimizer = Optimizer::adam(1e-3);
    let options = Options { loss, thresholds: &THRESHOLDS, optimizer: Some(optimizer) };
    let got = diagnose::<T>(rows, &options, 1);
    let width = |i: usize| mlp.layers()[i].fan_out;

    // z, y and f'(z) of all layers, then dL/dz by plain loops in f64.
    let mut below = wide(&x);
    let (mut ys, mut slopes) = (Vec::new(), Vec::new());
    let values = wide(mlp.values());
    for layer in mlp.layers() {
        let (n, m) = (layer.fan_in, layer.fan_out);
        let w = &values[layer.w.clone()];
        let z = |i: usize, j: usize| {
            let bias = layer.b.clone().map_or(0.0, |b| values[b][j]);
            (0..n).map(|k| below[i * n + k] * w[k * m + j]).sum::<f64>() + bias
        };
        let both: Vec<_> =
            (0..rows * m).map(|at| layer.activation.value_and_slope(z(at / m, at % m))).collect();
        let (y, slope): (Vec<f64>, Vec<f64>) = both.into_iter().unzip();
        below.clone_from(&y);
        ys.push(y);
        slopes.push(slope);
    }
    let scale = 2.0 / t.len() as f64;
    let mut dy: Vec<f64> = match loss {
        Some(_) => ys[2].iter().zip(&t).map(|(y, t)| scale * (y - t.widen())).collect(),
        None => wide(&t),
    };
    let mut dzs = vec![Vec::new(); 3];
    for i in (0..3).rev() {
        let layer = &mlp.layers()[i];
        dzs[i] = dy.iter().zip(&slopes[i]).map(|(a, b)| a * b).collect();
        let (n, m, w) = (layer.fan_in, layer.fan_out, &values[layer.w.clone()]);
        dy = (0..rows * n)
            .map(|at| (0..m).map(|k| dzs[i][at / n * m + k] * w[at % n * m + k]).sum())
            .collect();
    }

    let close = |got: f64, want: f64, what: &str| {
        assert!((got - want).abs() <= tolerance * (1e-3 + want.abs()), "{what}: {got} {want}");
    };
    for (i, layer) in got.layers.iter().enumerate() {
        let [middle, std, skew] = two_passes(&ys[i]);
        let moments = &layer.outputs.moments;
        assert_eq!((moments.count(), layer.outputs.width), (rows * width(i), width(i)));
        close(moments.mean(), middle, "mean");
        close(moments.std(), std, "std");
        close(moments.skew(), skew, "skew");
        let seen = layer.slopes.unwrap();
        let flat = slopes[i].iter().filter(|slope| slope.abs() < THRESHOLDS[i]).count();
        assert_eq!(seen.saturated(), flat as f64 / slopes[i].len() as f64, "layer {i}");
        close(seen.mean_square(), mean(slopes[i].iter().map(|s| s * s)), "slopes");
        let errors = layer.errors.as_ref().unwrap();
        close(errors.moments.std(), two_passes(&dzs[i])[1], "dz");
        close(errors.moments.norm(), dzs[i].iter().map(|d| d * d).sum::<f64>().sqrt(), "|dz|");
        let count = rows.min(SAMPLE);
        for (k, row) in errors.sample.chunks(width(i)).enumerate() {
            let first = k * rows / count * width(i);
            for (got, want) in row.iter().zip(&dzs[i][first..]) {
                close(got.widen(), *want, "sample of dz");
            }
        }
        let below = if i == 0 { &wide(&x) } else { &ys[i - 1] };
        let (n, m) = (mlp.layers()[i].fan_in, width(i));
        let dw: Vec<f64> = (0..n * m)
            .map(|at| {
                (0..rows).map(|r| below[r * n + at / m] * dzs[i][r * m + at % m]).sum::<f64>()
            })
            .collect();
        let gradient = layer.weight_gradient.unwrap();
        close(gradient.std(), two_passes(&dw)[1], "std of dw");
        close(gradient.norm(), dw.iter().map(|d| d * d).sum::<f64>().sqrt(), "|dw|");
        let w = &values[mlp.layers()[i].w.clone()];
        let norm = w.iter().map(|w| w * w).sum::<f64>().sqrt();
        near(layer.weight_norm.unwrap(), norm, 1e-12, "|w|");
        assert_eq!(layer.copies.unwrap().duplicates, 0);
        assert_eq!(layer.fan_in, Some(n));
    }
    check_moments(&x, got.inputs.outputs.moments, 1e-9);
    assert!(got.inputs.errors.is_none() && got.inputs.copies.is_none());

    // Loss and step are those of the functions that training uses.
    let data = Dataset { x: &x, targets: Targets::values(&t), rows };
    if let Some(loss) = loss {
        let mut workspace = Workspace::new(&mlp, rows).unwrap();
        let want = mlp.loss_and_grad(&data, loss, &mut workspace, Run::SERIAL).unwrap();
        assert_eq!(got.loss, Some(want.loss));
        let (mut after, mut gradients) = (mlp.values().to_vec(), workspace.gradients().to_vec());
        let mut state = State::new(optimizer, after.len()).unwrap();
        state.step(&mut after, &mut gradients, Step::default(), 1).unwrap();
        for (layer, shape) in got.layers.iter().zip(mlp.layers()) {
            let range = shape.w.clone();
            let norm = |v: Vec<f64>| v.iter().map(|v| v * v).sum::<f64>().sqrt();
            let step = after[range.clone()].iter().zip(&mlp.values()[range.clone()]);
            let step = norm(step.map(|(a, b)| (*a - *b).widen()).collect());
            let want = step / norm(wide(&mlp.values()[range]));
            near(layer.update_ratio.unwrap(), want, 1e-12, "update ratio");
        }
    } else {
        assert_eq!(got.loss, None);
    }
}

#[test]
fn a_network_is_diagnosed_as_plain_loops_do() {
    for rows in [1, 2, 31, 32, 33, 300] {
        for loss in [None, Some(Loss::Mse)] {
            check_network::<f64>(rows, loss, 1e-9);
        }
    }
    check_network::<f32>(40, Some(Loss::Mse), 1e-3);
}

/// Every number of a layer, as text: NaN equals NaN, and nothing is rounded.
fn text<T: Real>(layers: &[LayerDiagnosis<T>]) -> String {
    format!("{layers:?}")
}

#[test]
fn threads_change_nothing() {
    fn check<T: Real>() {
        // Blocks of rows, bands of columns and chunks of numbers, each more than one.
        let activations = [Activation::Gelu, Activation::Tanh];
        let mut mlp = network::<T>(&[600, 500, 130], &activations, &[true; 2], 1);
        let (x, t) = (noise(300 * 600, 2), noise(300 * 130, 3));
        let data = Dataset { x: &x, targets: Targets::values(&t), rows: 300 };
        let optimizer = Some(Optimizer::adam(1e-3));
        let options = Options { loss: Some(Loss::Mse), thresholds: &[0.05; 2], optimizer };
        for constant in [false, true] {
            if constant {
                mlp.values_mut().fill(T::narrow(0.01));
            }
            let on = |threads| {
                let got = mlp.diagnose(&data, &options, Run { threads, stop: NEVER }).unwrap();
                text(&[&[got.inputs], got.layers.as_slice()].concat())
            };
            let one = on(1);
            assert!(THREADS.into_iter().all(|threads| on(threads) == one));
            if constant {
                assert!(
                    one.contains("duplicates: 500, flipped: 0, collinear: 0, twins: Some(500)")
                );
            }
        }
        let y = noise::<T>(1000 * 301, 5);
        let w = noise::<T>(900 * 301, 6);
        let arrays = LayerArrays {
            slope: Some(&y),
            dz: Some(&y),
            weight: Some(&w),
            weight_gradient: Some(&w),
            ..outputs_alone(&y, 1000)
        };
        let on = |threads| text(&[diagnose_layer(&arrays, Run { threads, stop: NEVER }).unwrap()]);
        let one = on(1);
        assert!(THREADS.into_iter().all(|threads| on(threads) == one));
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn numbers_that_are_not_finite_break_nothing() {
    let (mut mlp, x, t) = example::<f32>(50);
    mlp.values_mut()[0] = f32::NAN;
    mlp.values_mut()[300] = f32::INFINITY;
    let data = Dataset { x: &x, targets: Targets::values(&t), rows: 50 };
    let optimizer = Some(Optimizer::adam(1e-3));
    let options = Options { loss: Some(Loss::Mse), thresholds: &THRESHOLDS, optimizer };
    let got = mlp.diagnose(&data, &options, Run::SERIAL).unwrap();
    assert!(got.loss.unwrap().is_nan());
    assert_eq!(got.inputs.outputs.moments.nonfinite(), 0);
    assert_eq!(got.layers[0].outputs.moments.nonfinite(), 50);
    assert!(got.layers[0].outputs.moments.std().is_nan());
    assert!(got.layers[0].errors.as_ref().unwrap().moments.nonfinite() > 0);
    assert!(got.layers[0].weight_norm.unwrap().is_nan());
}

#[test]
fn what_does_not_fit_is_refused() {
    let (mlp, x, t) = example::<f64>(4);
    let data = Dataset { x: &x, targets: Targets::values(&t), rows: 4 };
    let options = Options { loss: None, thresholds: &THRESHOLDS, optimizer: None };
    let refused =
        |data: &Dataset<'_, f64>, options| message(mlp.diagnose(data, options, Run::SERIAL));
    let few = Options { thresholds: &[0.1], ..options };
    assert_eq!(refused(&data, &few), "3 layers need as many thresholds, got 1");
    let short = Dataset { targets: Targets::values(&t[..9]), ..data };
    assert_eq!(refused(&short, &options), "errors must have shape (4, 3), got 9 elements");
    let labels = Dataset { targets: Targets::labels(&[0; 4]), ..data };
    assert_eq!(refused(&labels, &options), "labels need a loss");
    let none = Dataset { x: &[], targets: Targets::values(&[]), rows: 0 };
    assert_eq!(refused(&none, &options), "a diagnosis needs at least one row");

    let y = [1.0; 6];
    let plain = outputs_alone(&y, 3);
    let refused = |arrays| message(diagnose_layer(&arrays, Run::SERIAL));
    assert!(refused(outputs_alone(&y, 4)).contains("y must have shape (4, 1), got 6 elements"));
    assert!(refused(outputs_alone(&[], 0)).contains("at least one row"));
    assert!(refused(LayerArrays { slope: Some(&y[1..]), ..plain }).contains("slope"));
    assert!(refused(LayerArrays { weight: Some(&y[1..]), ..plain }).contains("weight must have 2"));
    assert!(refused(LayerArrays { bias: Some(&y[..2]), ..plain }).contains("needs the weight"));
    let weight = LayerArrays { weight: Some(&y), ..plain };
    assert!(
        refused(LayerArrays { bias_gradient: Some(&y[..2]), ..weight }).contains("bias_gradient")
    );
    let stop = Run { threads: 1, stop: &|| true };
    let large = vec![1.0; 1 << 16];
    let ended = diagnose_layer(&outputs_alone(&large, 1 << 8), stop);
    assert!(matches!(ended, Err(Error::Interrupted)));
}
