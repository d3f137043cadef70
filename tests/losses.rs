//! The losses against naive sums in f64, finite differences, published numbers; blocks, weights, masks, extremes.

mod common;

use common::{message, noise};
use initcore::dispatch::Isa;
use initcore::nn::loss::Loss::{BinaryCrossEntropy, Huber, Mae, Mse, SoftmaxCrossEntropy};
use initcore::nn::loss::{Loss, Sums, Targets, Truth};
use initcore::nn::real::Real;
use proptest::prelude::*;

/// Every loss with its default and with another parameter.
fn losses() -> Vec<Loss> {
    let others = [
        Huber { delta: 0.3 },
        BinaryCrossEntropy { label_smoothing: 0.2 },
        SoftmaxCrossEntropy { label_smoothing: 0.2 },
    ];
    Loss::ALL.into_iter().chain(others).collect()
}

/// Owned targets of both kinds and weights, to borrow from.
struct Data<T> {
    rows: usize,
    outputs: usize,
    logits: Vec<T>,
    labels: Vec<i64>,
    values: Vec<T>,
    weights: Vec<T>,
}

impl<T: Real> Data<T> {
    /// What `loss` takes; about every fifth weight is 0.
    fn new(loss: Loss, rows: usize, outputs: usize, seed: u64) -> Self {
        let number = |x: &f64| T::narrow(*x);
        let classes = if outputs == 1 && !loss.takes_labels() { 2 } else { outputs };
        let mut values = noise::<f64>(rows * outputs, seed + 1);
        match loss {
            Mse | Mae | Huber { .. } => {}
            BinaryCrossEntropy { .. } => values.iter_mut().for_each(|t| *t = t.abs()),
            _ => {
                for p in values.chunks_mut(outputs) {
                    for p in p.iter_mut() {
                        *p = p.max(0.0) + 1e-3;
                    }
                    let sum: f64 = p.iter().sum();
                    for p in p {
                        // Off from 1 by what the check lets through.
                        *p *= 0.9995 / sum;
                    }
                }
            }
        }
        let label = |u: &f64| ((u + 1.0) * 0.5 * classes as f64) as i64;
        let weight = |u: &f64| T::narrow(if u.abs() < 0.2 { 0.0 } else { u.abs() });
        let mut weights: Vec<T> = noise::<f64>(rows, seed + 3).iter().map(weight).collect();
        weights[rows / 2] = T::one();
        Self {
            rows,
            outputs,
            logits: noise::<f64>(rows * outputs, seed).iter().map(|x| T::narrow(4.0 * x)).collect(),
            labels: noise::<f64>(rows, seed + 2).iter().map(label).collect(),
            values: values.iter().map(number).collect(),
            weights,
        }
    }

    /// The four kinds that pass the check.
    fn targets(&self, loss: Loss) -> Vec<Targets<'_, T>> {
        let (labels, values) = (Targets::labels(&self.labels), Targets::values(&self.values));
        let kinds =
            [labels, values, labels.weighted(&self.weights), values.weighted(&self.weights)];
        let fits = |t: &Targets<'_, T>| loss.check(*t, self.rows, self.outputs).is_ok();
        let kinds: Vec<_> = kinds.into_iter().filter(fits).collect();
        assert!(kinds.len() >= 2);
        kinds
    }
}

/// For messages.
fn kind<T>(targets: &Targets<'_, T>) -> String {
    let truth = if matches!(targets.truth, Truth::Labels(_)) { "labels" } else { "values" };
    format!("{truth}, weights: {}", targets.weights.is_some())
}

/// The sum, rounded once or twice in all (Neumaier 1974).
fn exact_sum(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, lost) = values.into_iter().fold((0.0_f64, 0.0), |(sum, lost), x| {
        let total = sum + x;
        let (large, small) = if sum.abs() >= x.abs() { (sum, x) } else { (x, sum) };
        (total, lost + ((large - total) + small))
    });
    sum + lost
}

/// A loss and its gradient by the definition, element by element.
fn naive<T: Real>(
    loss: Loss,
    logits: &[T],
    targets: Targets<'_, T>,
    outputs: usize,
) -> (f64, Vec<f64>, usize) {
    let rows = logits.len() / outputs;
    let (mut losses, mut correct, mut gradient) = (vec![], 0, vec![0.0; logits.len()]);
    let weight = |row: usize| targets.weights.map_or(1.0, |w: &[T]| w[row].widen());
    let total: f64 = (0..rows).map(weight).sum();
    let argmax = |x: &[f64]| (0..x.len()).rev().max_by(|&a, &b| x[a].total_cmp(&x[b])).unwrap();
    for row in 0..rows {
        let at = row * outputs..(row + 1) * outputs;
        let x: Vec<f64> = logits[at.clone()].iter().map(|x| x.widen()).collect();
        let t: Vec<f64> = match targets.truth {
            Truth::Labels(t) if outputs == 1 && !loss.takes_labels() => vec![t[row] as f64],
            Truth::Labels(t) => (0..outputs).map(|j| f64::from(j as i64 == t[row])).collect(),
            Truth::Values(t) => t[at.clone()].iter().map(|t| t.widen()).collect(),
        };
        let exps = exact_sum(x.iter().map(|x| x.exp()));
        let mass: f64 = t.iter().sum();
        for j in 0..outputs {
            let (x, t, d) = (x[j], t[j], x[j] - t[j]);
            let (value, slope) = match loss {
                Mse => (d * d, 2.0 * d),
                Mae => (d.abs(), f64::from(d > 0.0) - f64::from(d < 0.0)),
                Huber { delta } if d.abs() <= delta => (d * d / 2.0, d),
                Huber { delta } => (delta * (d.abs() - delta / 2.0), delta * d.signum()),
                BinaryCrossEntropy { label_smoothing: e } => {
                    correct += usize::from((x > 0.0) == (t > 0.5));
                    let (t, p) = (t * (1.0 - e) + e / 2.0, 1.0 / (1.0 + (-x).exp()));
                    (-t * p.ln() - (1.0 - t) * (1.0 - p).ln(), p - t)
                }
                SoftmaxCrossEntropy { label_smoothing: e } => {
                    let smooth = |t: f64| (1.0 - e) * t + e / outputs as f64;
                    let p = x.exp() / exps;
                    (-smooth(t) * p.ln(), p * ((1.0 - e) * mass + e) - smooth(t))
                }
                _ => unreachable!(),
            };
            let share = match loss {
                SoftmaxCrossEntropy { .. } => weight(row) / total,
                _ => weight(row) / (total * outputs as f64),
            };
            losses.push(share * value);
            gradient[row * outputs + j] = share * slope;
        }
        if loss.takes_labels() {
            correct += usize::from(argmax(&x) == argmax(&t));
        }
    }
    (exact_sum(losses), gradient, correct)
}

fn agrees_with_naive<T: Real>(loss: Loss, rows: usize, outputs: usize, seed: u64) {
    let data = Data::<T>::new(loss, rows, outputs, seed);
    // Near their ends, exponentials of logits up to 4 and their logarithms.
    let tolerance = 16.0 * T::epsilon().widen();
    for targets in data.targets(loss) {
        let what = format!("{loss} {} ({rows}, {outputs}) {}", T::NAME, kind(&targets));
        let mut gradient = vec![T::nan(); data.logits.len()];
        let found =
            loss.evaluate(&data.logits, targets, rows, outputs, Some(&mut gradient)).unwrap();
        let (want, slopes, correct) = naive(loss, &data.logits, targets, outputs);
        assert!((found.loss - want).abs() <= tolerance * want, "{what}: {found:?}, not {want}");
        assert_eq!(found.correct.unwrap_or(0), correct, "{what}");
        assert_eq!(found.correct.is_some(), loss.decisions(rows, outputs) > 0);
        let scale = 1.0 / loss.normalizer(targets, rows, outputs);
        for (i, (g, want)) in gradient.iter().zip(&slopes).enumerate() {
            let error = (g.widen() - want).abs();
            assert!(error <= tolerance * (want.abs() + scale), "{what}[{i}]: {g}, not {want}");
        }
        // The loss is the same whether a gradient is wanted or not.
        let alone = loss.evaluate(&data.logits, targets, rows, outputs, None).unwrap();
        assert_eq!(alone, found, "{what}");
    }
}

#[test]
fn losses_agree_with_naive_sums() {
    for (i, rows) in [1, 2, 5, 31, 32, 33, 100].into_iter().enumerate() {
        for outputs in [1, 2, 3, 10, 16, 64, 65, 257, 1024, 1025, 2500] {
            for loss in losses() {
                agrees_with_naive::<f32>(loss, rows, outputs, 10 * i as u64);
                agrees_with_naive::<f64>(loss, rows, outputs, 10 * i as u64);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn losses_agree_with_naive_sums_at_any_shape(
        rows in 1_usize..90, outputs in 1_usize..300, seed in 0_u64..1 << 32,
    ) {
        for loss in losses() {
            agrees_with_naive::<f32>(loss, rows, outputs, seed);
            agrees_with_naive::<f64>(loss, rows, outputs, seed);
        }
    }

    /// Central differences; the second order of the sums over the rows is at most 2, so they are good to 1e-10.
    #[test]
    fn gradients_are_slopes(rows in 1_usize..6, outputs in 1_usize..8, seed in 0_u64..1 << 32) {
        const STEP: f64 = 1e-5;
        for loss in losses() {
            let mut data = Data::<f64>::new(loss, rows, outputs, seed);
            let kink = match loss { Mae => Some(0.0), Huber { delta } => Some(delta), _ => None };
            for (x, t) in data.logits.iter_mut().zip(&data.values) {
                if kink.is_some_and(|kink| ((*x - t).abs() - kink).abs() < 1e-3) {
                    *x += 0.01;
                }
            }
            for targets in data.targets(loss) {
                let mut x = data.logits.clone();
                let mut gradient = vec![f64::NAN; x.len()];
                loss.evaluate(&x, targets, rows, outputs, Some(&mut gradient)).unwrap();
                for i in 0..x.len() {
                    let mut at = |step| {
                        x[i] = data.logits[i] + step;
                        loss.evaluate(&x, targets, rows, outputs, None).unwrap().loss
                    };
                    let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                    x[i] = data.logits[i];
                    let error = (slope - gradient[i]).abs();
                    prop_assert!(error <= 1e-8, "{loss} {}[{i}]: {} {slope}", kind(&targets), gradient[i]);
                }
            }
        }
    }

    /// A block gives the gradient bits of the whole, and sums that add up to the whole's.
    #[test]
    fn blocks_add_up(
        rows in 1_usize..200, outputs in 1_usize..40, size in 1_usize..70, seed in 0_u64..1 << 32,
    ) {
        for loss in losses() {
            let data = Data::<f32>::new(loss, rows, outputs, seed);
            for targets in data.targets(loss) {
                let scale = 1.0 / loss.normalizer(targets, rows, outputs);
                let mut whole = vec![f32::NAN; data.logits.len()];
                let want = loss.rows(&data.logits, targets, outputs, scale, Some(&mut whole));
                let mut parts = vec![f32::NAN; data.logits.len()];
                let mut sums = Sums::default();
                for (block, g) in parts.chunks_mut(size * outputs).enumerate() {
                    let rows = block * size..block * size + g.len() / outputs;
                    let x = &data.logits[rows.start * outputs..rows.end * outputs];
                    sums = sums + loss.rows(x, targets.rows(rows, outputs), outputs, scale, Some(g));
                }
                prop_assert_eq!(&whole, &parts);
                prop_assert_eq!(sums.correct, want.correct);
                prop_assert!((sums.loss - want.loss).abs() <= 1e-13 * want.loss);
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let before = Isa::current().unwrap();
    for loss in losses() {
        for (rows, outputs) in [(70, 1), (70, 10), (3, 900), (2, 1900)] {
            let data = Data::<f32>::new(loss, rows, outputs, 4);
            for targets in data.targets(loss) {
                let results: Vec<_> = Isa::available()
                    .map(|isa| {
                        isa.force().unwrap();
                        let mut gradient = vec![f32::NAN; data.logits.len()];
                        let found =
                            loss.rows(&data.logits, targets, outputs, 0.1, Some(&mut gradient));
                        (found, gradient)
                    })
                    .collect();
                assert!(results.iter().all(|found| *found == results[0]), "{loss}");
            }
        }
    }
    before.force().unwrap();
}

#[test]
fn weights_repeat_samples_and_leave_them_out() {
    let outputs = 3;
    for loss in losses() {
        let data = Data::<f64>::new(loss, 4, outputs, 8);
        for targets in [Targets::values(&data.values[..]), Targets::labels(&data.labels[..])] {
            if loss.check(targets, 4, outputs).is_err() {
                continue;
            }
            let mut gradient = [f64::NAN; 12];
            // Row 1 would be infinitely wrong.
            let mut x = data.logits.clone();
            x[3..6].fill(f64::NAN);
            let weighted = targets.weighted(&[2.0, 0.0, 1.0, 3.0]);
            let found = loss.evaluate(&x, weighted, 4, outputs, Some(&mut gradient)).unwrap();
            let order = [0, 0, 2, 3, 3, 3];
            let pick = |from: &[f64]| -> Vec<f64> {
                order.iter().flat_map(|&row| from[row * 3..row * 3 + 3].to_vec()).collect()
            };
            let labels = order.map(|row| data.labels[row]);
            let values = pick(&data.values);
            let repeated = match targets.truth {
                Truth::Labels(_) => Targets::labels(&labels),
                Truth::Values(_) => Targets::values(&values),
            };
            let mut slopes = [f64::NAN; 18];
            let want = loss.evaluate(&pick(&x), repeated, 6, outputs, Some(&mut slopes)).unwrap();
            assert!((found.loss - want.loss).abs() <= 1e-15 * want.loss, "{loss}");
            for (row, from) in [(0, 0), (2, 2), (3, 3)] {
                for j in 0..3 {
                    let times = [2.0, 0.0, 1.0, 3.0][row];
                    let want =
                        times * slopes[order.iter().position(|&r| r == from).unwrap() * 3 + j];
                    assert!((gradient[row * 3 + j] - want).abs() <= 1e-15, "{loss}");
                }
            }
            assert_eq!(gradient[3..6], [0.0; 3], "{loss}");
            // A block whose weights are all 0.
            let none = targets.weighted(&[0.0; 4]);
            assert_eq!(loss.normalizer(none, 4, outputs), 0.0);
            let sums = loss.rows(&x, none, outputs, 0.0, Some(&mut gradient));
            assert_eq!((sums.loss, gradient), (0.0, [0.0; 12]));
            assert_eq!(loss.mean(sums, 0.0).loss, 0.0);
        }
    }
}

#[test]
fn the_first_of_the_largest_is_the_decision() {
    let loss = Loss::softmax_cross_entropy();
    for outputs in [3, 64, 65, 1000, 3000] {
        let mut x = vec![-1.0_f32; outputs];
        let first = outputs / 3;
        for (i, x) in x.iter_mut().enumerate().skip(first) {
            *x = if i % 7 == first % 7 || i % 5 == first % 5 { 2.0 } else { 1.0 };
        }
        for label in 0..outputs {
            let mut p = vec![0.0; outputs];
            p[label] = 1.0;
            for targets in [Targets::labels(&[label as i64]), Targets::values(&p)] {
                let found = loss.evaluate(&x, targets, 1, outputs, None).unwrap();
                assert_eq!(found.correct, Some(usize::from(label == first)), "{outputs} {label}");
            }
        }
    }
}

fn cross_entropy<T: Real>(logits: &[f64], labels: &[i64]) -> f64 {
    let logits: Vec<T> = logits.iter().map(|&x| T::narrow(x)).collect();
    let (rows, loss) = (labels.len(), Loss::softmax_cross_entropy());
    let outputs = logits.len() / rows;
    loss.evaluate(&logits, Targets::labels(labels), rows, outputs, None).unwrap().loss
}

#[test]
fn cross_entropy_has_the_known_values() {
    let known: [(&[f64], i64, f64); 5] = [
        (&[10.0, 0.0, -100.0], 2, 110.000045),
        (&[50.0, 0.0, -120.0], 2, 170.0),
        (&[2.0, -5.0, 0.5, -0.1], 0, 0.29750752),
        (&[0.0, 0.0, 1.9, 1.4], 3, 1.1448325),
        (&[-100.0, 100.0, -100.0, -100.0], 1, 0.0),
    ];
    for (logits, label, want) in known {
        for got in [cross_entropy::<f32>(logits, &[label]), cross_entropy::<f64>(logits, &[label])]
        {
            assert!((got - want).abs() <= 1e-6 * want.max(0.1), "{got} instead of {want}");
        }
    }
    let rows: Vec<f64> = known[2..].iter().flat_map(|k| k.0).copied().collect();
    let mean = (0.29750752 + 1.1448325) / 3.0;
    assert!((cross_entropy::<f64>(&rows, &[0, 3, 1]) - mean).abs() < 1e-7);
    // A network that is sure: nothing is lost beside the 1.
    let sure = cross_entropy::<f64>(&[40.0, 0.0, 0.0], &[0]);
    assert!((sure / (2.0 * (-40.0_f64).exp()) - 1.0).abs() < 1e-14, "{sure}");
    for classes in [1, 2, 10, 1000] {
        let even = cross_entropy::<f32>(&vec![-3.5; classes], &[0]);
        assert!((even - (classes as f64).ln()).abs() <= 1e-15 * even, "{even}");
    }
}

#[test]
fn losses_match_their_definitions() {
    let (x, t) = ([0.5_f64, -2.0, 3.0, 0.1], [1.0, 0.25, 0.0, 0.1]);
    let values = Targets::values(&t);
    let of = |loss: Loss| {
        let mut gradient = [f64::NAN; 4];
        let found = loss.evaluate(&x, values, 2, 2, Some(&mut gradient)).unwrap();
        (found.loss, gradient.map(|g| 4.0 * g))
    };
    assert_eq!(of(Mse), ((0.25 + 5.0625 + 9.0) / 4.0, [-1.0, -4.5, 6.0, 0.0]));
    assert_eq!(of(Mae), ((0.5 + 2.25 + 3.0) / 4.0, [-1.0, -1.0, 1.0, 0.0]));
    assert_eq!(of(Loss::huber()), ((0.125 + 1.75 + 2.5) / 4.0, [-0.5, -1.0, 1.0, 0.0]));
    assert_eq!(
        of(Huber { delta: 0.5 }),
        ((0.125 + 0.5 * 2.0 + 0.5 * 2.75) / 4.0, [-0.5, -0.5, 0.5, 0.0])
    );
    // Labels are the same targets, written shorter.
    for e in [0.0, 0.1] {
        let labels = Targets::labels(&[1, 0, 0, 1]);
        let ones = Targets::values(&[1.0, 0.0, 0.0, 1.0]);
        let binary = |t| {
            let loss = BinaryCrossEntropy { label_smoothing: e };
            loss.evaluate(&x, t, 4, 1, None).unwrap()
        };
        assert_eq!(binary(labels), binary(ones));
        let softmax = |t| {
            let mut gradient = [f64::NAN; 4];
            let loss = SoftmaxCrossEntropy { label_smoothing: e };
            (loss.evaluate(&x, t, 2, 2, Some(&mut gradient)).unwrap(), gradient)
        };
        let (found, gradient) = softmax(Targets::labels(&[0, 1]));
        assert_eq!((found, gradient), softmax(Targets::values(&[1., 0., 0., 1.])));
        assert_eq!(found.correct, Some(1));
    }
}

/// Losses, gradients and all at logits that fill the range of the type.
fn stays_finite<T: Real>(huge: f64) {
    for size in [1e4, huge] {
        let x = [size, -size, size, size].map(T::narrow);
        for loss in losses() {
            for t in [[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]] {
                let mut g = [T::nan(); 4];
                let t = t.map(T::narrow);
                let found = loss.evaluate(&x, Targets::values(&t), 2, 2, Some(&mut g)).unwrap();
                // The square of the largest f64 is none.
                let finite = loss != Mse || T::NAME == "float32" || size < 1e150;
                assert_eq!(found.loss.is_finite(), finite, "{loss} {size}: {found:?}");
                assert!(g.iter().all(|g| g.is_finite()), "{loss} {size}: {g:?}");
            }
        }
    }
}

#[test]
fn losses_of_extreme_logits_are_finite() {
    stays_finite::<f32>(1e38);
    stays_finite::<f64>(4e307);
    let wrong = Targets::values(&[0.0_f32, 1.0]);
    let found = Loss::binary_cross_entropy().evaluate(&[1e4, -1e4], wrong, 1, 2, None).unwrap();
    assert_eq!((found.loss, found.correct), (1e4, Some(0)));
    let found = cross_entropy::<f32>(&[3e38, -3e38], &[1]);
    assert!((found - 6e38).abs() < 1e32, "{found}");
    // Where a sigmoid saturates, its slope is still there to the last digit.
    for (x, t) in [(50.0, 1.0), (-50.0, 0.0)] {
        let mut g = [f64::NAN];
        let t = [t];
        let loss = Loss::binary_cross_entropy();
        let found = loss.evaluate(&[x], Targets::values(&t), 1, 1, Some(&mut g)).unwrap();
        let want = (-50.0_f64).exp();
        assert!((found.loss / want - 1.0).abs() < 1e-14);
        assert!((g[0].abs() / want - 1.0).abs() < 1e-14 && g[0].signum() == -x.signum());
    }
}

#[test]
fn masked_classes_have_no_probability() {
    const MASK: f64 = f64::NEG_INFINITY;
    let ce = Loss::softmax_cross_entropy();
    let check = |loss: Loss, x: &[f64], t: Targets<'_, f64>, want: f64, slopes: &[f64]| {
        let mut g = vec![7.0; x.len()];
        let found = loss.evaluate(x, t, 1, x.len(), Some(&mut g)).unwrap();
        let same = |a: f64, b: f64| a == b || (a - b).abs() < 1e-15 || (a.is_nan() && b.is_nan());
        assert!(same(found.loss, want), "{loss} {x:?}: {found:?}, not {want}");
        for (g, want) in g.iter().zip(slopes) {
            assert!(same(*g, *want), "{loss} {x:?}: {g:?}, not {want}");
        }
    };
    let (ln2, nan) = (std::f64::consts::LN_2, f64::NAN);
    let x = [0.0, MASK, 0.0];
    check(ce, &x, Targets::labels(&[0]), ln2, &[-0.5, 0.0, 0.5]);
    check(ce, &x, Targets::values(&[0.5, 0.0, 0.5]), ln2, &[0.0, 0.0, 0.0]);
    check(ce, &x, Targets::labels(&[1]), f64::INFINITY, &[0.5, -1.0, 0.5]);
    check(ce, &x, Targets::values(&[0.5, 0.5, 0.0]), f64::INFINITY, &[0.0, -0.5, 0.5]);
    let smooth = SoftmaxCrossEntropy { label_smoothing: 0.3 };
    check(smooth, &x, Targets::labels(&[0]), f64::INFINITY, &[-0.3, -0.1, 0.4]);
    // As in PyTorch: there is no distribution.
    for x in [[MASK; 3], [f64::INFINITY, 0.0, 1.0], [0.0, nan, 1.0], [nan; 3], [nan, MASK, MASK]] {
        check(ce, &x, Targets::labels(&[0]), nan, &[nan; 3]);
        check(ce, &x, Targets::values(&[0.0, 0.0, 1.0]), nan, &[nan; 3]);
    }
    for x in [MASK, nan, f64::INFINITY] {
        check(ce, &[x], Targets::labels(&[0]), nan, &[nan]);
    }
    let bce = Loss::binary_cross_entropy();
    check(bce, &[MASK], Targets::values(&[0.0]), 0.0, &[0.0]);
    check(bce, &[f64::INFINITY], Targets::values(&[1.0]), 0.0, &[0.0]);
    check(bce, &[MASK], Targets::values(&[0.5]), f64::INFINITY, &[-0.5]);
    check(bce, &[f64::INFINITY], Targets::values(&[0.0]), f64::INFINITY, &[1.0]);
    for loss in [Mse, Mae, Loss::huber(), bce] {
        check(loss, &[nan], Targets::values(&[1.0]), nan, &[nan]);
    }
}

#[test]
fn losses_are_written_as_they_are_read() {
    let cases = [
        ("mse", Mse, "mse"),
        ("mae", Mae, "mae"),
        ("huber", Huber { delta: 1.0 }, "huber"),
        ("huber(1)", Huber { delta: 1.0 }, "huber"),
        ("huber(0.5)", Huber { delta: 0.5 }, "huber(delta=0.5)"),
        ("huber( delta = 1e300 )", Huber { delta: 1e300 }, "huber(delta=1e300)"),
        (
            "binary_cross_entropy(label_smoothing=0.25)",
            BinaryCrossEntropy { label_smoothing: 0.25 },
            "binary_cross_entropy(label_smoothing=0.25)",
        ),
        (
            "softmax_cross_entropy(0.1)",
            SoftmaxCrossEntropy { label_smoothing: 0.1 },
            "softmax_cross_entropy(label_smoothing=0.1)",
        ),
        ("softmax_cross_entropy(0)", Loss::softmax_cross_entropy(), "softmax_cross_entropy"),
    ];
    for (text, loss, display) in cases {
        assert_eq!(text.parse(), Ok(loss));
        assert_eq!(loss.to_string(), display);
        assert_eq!(display.parse(), Ok(loss));
    }
    let unknown = message("hinge".parse::<Loss>());
    assert!(Loss::ALL.iter().all(|l| unknown.contains(l.name()) && l.name().parse() == Ok(*l)));
    for (text, part) in [
        ("mse(1)", "mse takes no parameter, got \"mse(1)\""),
        ("huber(x)", "huber needs a finite delta, got \"x\""),
        ("huber()", "huber needs a finite delta, got \"\""),
        ("huber(0)", "huber needs a finite delta above 0, got 0"),
        ("huber(-1)", "got -1"),
        ("huber(inf)", "got inf"),
        ("huber(nan)", "got NaN"),
        ("huber(beta=1)", "huber takes delta, got \"huber(beta=1)\""),
        (
            "softmax_cross_entropy(1)",
            "softmax_cross_entropy needs a label_smoothing in [0, 1), got 1",
        ),
        ("binary_cross_entropy(-0.1)", "got -0.1"),
        ("binary_cross_entropy(label_smoothing=nan)", "got NaN"),
        ("huber(1", "unknown loss \"huber(1\""),
        ("", "unknown loss \"\""),
        ("(1)", "unknown loss"),
    ] {
        let text = message(text.parse::<Loss>());
        assert!(text.contains(part), "{text}");
    }
}

/// A loss, the targets it must refuse, the shape of its logits, and what the message must hold.
type BadTargets<'a> = (Loss, Targets<'a, f32>, [usize; 2], &'a [&'a str]);

#[test]
fn bad_targets_are_named_and_nothing_is_written() {
    let (ce, bce) = (Loss::softmax_cross_entropy(), Loss::binary_cross_entropy());
    let x = [0.0_f32; 6];
    let fine = Targets::labels(&[0, 1]);
    let two = Targets::values(&[0.0, 1.0, 0.0, 0.0, 1.5, 0.0]);
    let unusable = SoftmaxCrossEntropy { label_smoothing: 1.0 };
    let cases: [BadTargets; 19] = [
        (ce, Targets::labels(&[0, 3]), [2, 3], &["label 3", "row 1", "3 classes"]),
        (ce, Targets::labels(&[-1, 0]), [2, 3], &["label -1", "row 0"]),
        (ce, Targets::labels(&[0]), [2, 3], &["(2,)", "(1,)"]),
        (ce, Targets::values(&[0.5; 6]), [2, 3], &["row 0", "1.5"]),
        (ce, Targets::values(&[1.0, 0.0, 0.0, 2.0, -1.0, 0.0]), [2, 3], &["-1", "row 1, column 1"]),
        (ce, Targets::values(&[0.0; 5]), [2, 3], &["(2, 3)", "5"]),
        (bce, two, [2, 3], &["1.5", "row 1, column 1"]),
        (bce, fine, [2, 3], &["one output", "(2, 3)", "(2,)"]),
        (Mse, fine, [2, 3], &["mse", "(2, 3)", "labels of shape (2,)"]),
        (Mae, fine, [2, 3], &["mae", "(2, 3)", "labels of shape (2,)"]),
        (Loss::huber(), fine, [2, 3], &["huber", "(2, 3)", "labels of shape (2,)"]),
        (Mae, Targets::values(&[0.0, f32::NAN, 0.0, 0.0, 0.0, 0.0]), [2, 3], &["NaN", "row 0"]),
        (ce, fine.weighted(&[1.0]), [2, 3], &["weights", "(2,)", "(1,)"]),
        (ce, fine.weighted(&[1.0, -0.5]), [2, 3], &["weights", "at least 0", "-0.5 in row 1"]),
        (ce, fine.weighted(&[f32::NAN, 1.0]), [2, 3], &["weights", "finite", "NaN in row 0"]),
        (ce, fine.weighted(&[1.0, f32::INFINITY]), [2, 3], &["weights", "inf in row 1"]),
        (ce, fine.weighted(&[0.0, 0.0]), [2, 3], &["weights", "sum above 0, got 0"]),
        (unusable, fine, [2, 3], &["label_smoothing in [0, 1), got 1"]),
        (Huber { delta: f64::NAN }, two, [2, 3], &["delta", "NaN"]),
    ];
    for (loss, targets, [rows, outputs], parts) in cases {
        let mut gradient = [7.0; 6];
        let text = message(loss.evaluate(&x, targets, rows, outputs, Some(&mut gradient)));
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert_eq!(gradient, [7.0; 6]);
    }
    let text = message(ce.evaluate(&x[..5], fine, 2, 3, None));
    assert!(text.contains("logits must have shape (2, 3), got 5"), "{text}");
    let sum = message(Mse.check(Targets::values(&[0.0; 2]).weighted(&[1e308, 1e308]), 2, 1));
    assert!(sum.contains("finite sum"), "{sum}");
    let tiny = message(Mse.check(Targets::values(&[0.0; 2]).weighted(&[1e-310, 1.0]), 2, 1));
    assert!(tiny.contains("subnormal"), "{tiny}");
}
