//! Several processes that train one network: here they are threads, and what connects them is a barrier.

mod common;

use std::ops::ControlFlow;
use std::sync::{Barrier, Mutex};
use std::thread;

use common::{bits, close, message, network, noise, plain_fit};
use initcore::nn::activation::Activation::{Linear, Relu, Tanh};
use initcore::nn::loss::{Loss, Targets};
use initcore::nn::mlp::Mlp;
use initcore::nn::optimizer::Optimizer;
use initcore::nn::pass::Dataset;
use initcore::nn::real::Real;
use initcore::nn::train::{EpochStats, FitConfig, Nonfinite, fit, fit_with};
use initcore::nn::workers::Workers;
use initcore::parallel::NEVER;
use initcore::{Error, Result};

/// What the threads share.
struct Room<T> {
    barrier: Barrier,
    buffers: Mutex<Vec<Vec<T>>>,
}

struct Thread<'a, T> {
    rank: usize,
    size: usize,
    room: &'a Room<T>,
    /// The lengths of what it added up.
    sums: Vec<usize>,
    /// This sum is none.
    broken: Option<usize>,
}

impl<T: Real> Workers<T> for Thread<'_, T> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum(&mut self, buffer: &mut [T]) -> Result<()> {
        self.room.buffers.lock().unwrap()[self.rank] = buffer.to_vec();
        self.room.barrier.wait();
        {
            let all = self.room.buffers.lock().unwrap();
            assert!(all.iter().all(|other| other.len() == buffer.len()));
            for (i, to) in buffer.iter_mut().enumerate() {
                *to = all.iter().fold(T::zero(), |sum, other| sum + other[i]);
            }
        }
        self.room.barrier.wait();
        if self.broken == Some(self.sums.len()) {
            buffer[0] += T::one();
        }
        self.sums.push(buffer.len());
        Ok(())
    }
}

/// Runs `body` on `size` threads that are connected.
fn together<T: Real, R: Send>(
    size: usize,
    body: impl Fn(&mut Thread<'_, T>) -> R + Sync,
) -> Vec<R> {
    let room = Room { barrier: Barrier::new(size), buffers: Mutex::new(vec![Vec::new(); size]) };
    thread::scope(|scope| {
        let handles: Vec<_> = (0..size)
            .map(|rank| {
                let (room, body) = (&room, &body);
                scope.spawn(move || {
                    body(&mut Thread { rank, size, room, sums: Vec::new(), broken: None })
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    })
}

/// Samples of 3 inputs and 2 outputs.
struct Samples<T> {
    x: Vec<T>,
    t: Vec<T>,
    labels: Vec<i64>,
    weights: Vec<T>,
    rows: usize,
}

impl<T: Real> Samples<T> {
    fn new(rows: usize) -> Self {
        let weights = noise::<T>(rows, 3).into_iter().map(|w| w * w).collect();
        let labels = (0..rows as i64).map(|i| (i * i + i / 3) % 2).collect();
        Self { x: noise(rows * 3, 1), t: noise(rows * 2, 2), labels, weights, rows }
    }

    fn data(&self, loss: Loss, weighted: bool) -> Dataset<'_, T> {
        let targets = match loss {
            Loss::SoftmaxCrossEntropy { .. } => Targets::labels(&self.labels),
            _ => Targets::values(&self.t),
        };
        let targets = if weighted { targets.weighted(&self.weights) } else { targets };
        Dataset { x: &self.x, targets, rows: self.rows }
    }
}

fn start<T: Real>() -> Mlp<T> {
    network(&[3, 8, 5, 2], &[Tanh, Relu, Linear], &[true, false, true], 7)
}

/// The epochs, without the times that they took.
#[expect(clippy::unnecessary_wraps, reason = "what a fit asks for")]
fn watch(epochs: &mut Vec<EpochStats>, epoch: &EpochStats) -> Result<ControlFlow<()>> {
    epochs.push(EpochStats { seconds: 0.0, ..epoch.clone() });
    Ok(ControlFlow::Continue(()))
}

fn alone<T: Real>(
    start: &Mlp<T>,
    data: &Dataset<'_, T>,
    config: &FitConfig,
) -> (Mlp<T>, Vec<EpochStats>) {
    let (mut mlp, mut epochs) = (start.clone(), Vec::new());
    fit(&mut mlp, data, config, Some(data), NEVER, &mut |_, epoch| watch(&mut epochs, epoch))
        .unwrap();
    (mlp, epochs)
}

fn shared<T: Real>(
    size: usize,
    start: &Mlp<T>,
    data: &Dataset<'_, T>,
    config: &FitConfig,
) -> (Mlp<T>, Vec<EpochStats>) {
    let all = together(size, |workers| {
        let (mut mlp, mut epochs) = (start.clone(), Vec::new());
        let see = &mut |_: &Mlp<T>, epoch: &EpochStats| watch(&mut epochs, epoch);
        fit_with(workers, &mut mlp, data, config, Some(data), NEVER, see).unwrap();
        (mlp, epochs)
    });
    for (mlp, epochs) in &all {
        assert_eq!(bits(mlp.values()), bits(all[0].0.values()));
        assert_eq!(format!("{epochs:?}"), format!("{:?}", all[0].1)); // where NaN equals NaN
    }
    all.into_iter().next().unwrap()
}

/// Every number of the history.
fn numbers(epochs: &[EpochStats]) -> Vec<f64> {
    let of = |epoch: &EpochStats| {
        let validation = epoch.validation.unwrap();
        let accuracy = epoch.accuracy.unwrap_or(0.0);
        [
            epoch.loss,
            epoch.gradient_norm,
            accuracy,
            validation.loss,
            validation.accuracy.unwrap_or(0.0),
        ]
    };
    epochs.iter().flat_map(of).collect()
}

fn check_parity<T: Real>(tolerance: f64) {
    let samples = Samples::<T>::new(23);
    let momentum = Optimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 1e-3 };
    for (loss, weighted, optimizer, clip_norm) in [
        (Loss::Mse, false, Optimizer::sgd(0.1), None),
        (Loss::Mse, true, Optimizer::adam(0.01), Some(0.05)),
        (Loss::softmax_cross_entropy(), false, momentum, Some(0.1)),
        (Loss::softmax_cross_entropy(), true, Optimizer::rms_prop(0.01), None),
        (Loss::huber(), true, momentum, None),
    ] {
        for (batch_size, shuffle) in [(23, false), (7, true), (2, true)] {
            let config = FitConfig {
                batch_size,
                clip_norm,
                shuffle,
                epochs: 4,
                seed: 3,
                ..plain_fit(loss, optimizer)
            };
            let data = samples.data(loss, weighted);
            let (want, history) = alone(&start::<T>(), &data, &config);
            let widened: Vec<_> = want.values().iter().map(|v| v.widen()).collect();
            // Of 23 samples in batches of 7 and 2, the last is of 2 and 1: some of 5 processes have no row of it.
            for size in [1, 2, 3, 5] {
                let (got, seen) = shared(size, &start(), &data, &config);
                let what = format!("{loss} {optimizer:?} {batch_size} {size}");
                if size == 1 {
                    assert_eq!(bits(got.values()), bits(want.values()), "{what}");
                    assert_eq!(seen, history);
                }
                close(got.values(), &widened, tolerance, &what);
                close(&numbers(&seen), &numbers(&history), tolerance, &what);
            }
        }
    }
}

#[test]
fn a_shared_fit_is_the_fit() {
    check_parity::<f64>(1e-12);
    check_parity::<f32>(2e-5);
}

/// One sum of everything per step, beside it one of the reports for the validation and one at the end of an epoch.
#[test]
fn a_step_takes_one_sum() {
    let samples = Samples::<f32>::new(23);
    let data = samples.data(Loss::Mse, false);
    let config =
        FitConfig { batch_size: 10, epochs: 2, ..plain_fit(Loss::Mse, Optimizer::sgd(0.1)) };
    let lengths = together(2, |workers| {
        let go = &mut |_: &Mlp<f32>, _: &EpochStats| Ok(ControlFlow::Continue(()));
        fit_with(workers, &mut start(), &data, &config, Some(&data), NEVER, go).unwrap();
        workers.sums.clone()
    });
    let parameters = start::<f32>().values().len();
    let epoch = [parameters + 32, parameters + 32, parameters + 32, 32, 32];
    assert_eq!(lengths, [epoch.repeat(2), epoch.repeat(2)]);
}

/// A loss of 1e60 is no float32, and yet every process hears of it.
#[test]
fn losses_are_told_exactly() {
    let x = [1e30_f32, 1.0, 1.0, 1.0];
    let data = Dataset { x: &x, targets: Targets::values(&[0.0_f32; 4]), rows: 4 };
    let mut mlp = Mlp::<f32>::new(&[1, 1], &[Linear], &[false]).unwrap();
    mlp.values_mut()[0] = 1.0;
    let config = FitConfig { batch_size: 4, ..plain_fit(Loss::Mse, Optimizer::sgd(0.0)) };
    let want = alone(&mlp, &data, &config);
    let got = shared(2, &mlp, &data, &config);
    assert!(want.1[0].loss > 1e59 && want.1[0].divergence.unwrap().what == Nonfinite::Gradient);
    assert_eq!(format!("{:?}", got.1), format!("{:?}", want.1));
}

/// Rates from harmless to absurd: a shared fit diverges where the fit does, for the same reason, and keeps as good
/// parameters; or leaves out the same steps.
#[test]
fn divergences_are_shared() {
    let samples = Samples::<f32>::new(12);
    let data = samples.data(Loss::Mse, false);
    let mut seen = Vec::new();
    for skip_nonfinite in [false, true] {
        for exponent in -1..=38 {
            let optimizer = Optimizer::sgd(10.0_f64.powi(exponent));
            let config = FitConfig {
                batch_size: 4,
                epochs: 5,
                skip_nonfinite,
                ..plain_fit(Loss::Mse, optimizer)
            };
            let (want, history) = alone(&start::<f32>(), &data, &config);
            let found = history.iter().find_map(|epoch| epoch.divergence);
            for size in [2, 3] {
                let (got, epochs) = shared(size, &start(), &data, &config);
                let what = format!("1e{exponent} {size} {skip_nonfinite}");
                assert_eq!(epochs.iter().find_map(|epoch| epoch.divergence), found, "{what}");
                let skipped =
                    |epochs: &[EpochStats]| epochs.iter().map(|e| e.skipped).collect::<Vec<_>>();
                assert_eq!(skipped(&epochs), skipped(&history), "{what}");
                if found.is_some_and(|divergence| divergence.step < 3) && !skip_nonfinite {
                    let size =
                        |mlp: &Mlp<f32>| mlp.values().iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                    assert!((size(&got) / size(&want) - 1.0).abs() < 1e-4, "{what}");
                }
            }
            seen.extend(found.map(|divergence| (divergence.what, divergence.layer)));
        }
    }
    let kinds = [
        (Nonfinite::Output, Some(2)),
        (Nonfinite::Gradient, Some(0)),
        (Nonfinite::Gradient, Some(1)),
    ];
    for what in kinds {
        assert!(seen.contains(&what), "{what:?} not in {seen:?}");
    }
}

/// What the first process says in epoch 1 goes for all: an end, or an error.
#[test]
fn one_process_ends_the_fit_of_all() {
    let samples = Samples::<f64>::new(12);
    let data = samples.data(Loss::Mse, false);
    let config =
        FitConfig { batch_size: 5, epochs: 9, ..plain_fit(Loss::Mse, Optimizer::sgd(0.1)) };
    let two = shared(3, &start(), &data, &FitConfig { epochs: 2, ..config }).0;
    let end_with = |answer: Result<ControlFlow<()>>| {
        together(3, |workers| {
            let (mut mlp, rank) = (start::<f64>(), workers.rank);
            let see = &mut |_: &Mlp<f64>, epoch: &EpochStats| {
                if (rank, epoch.epoch) == (1, 1) {
                    answer.clone()
                } else {
                    Ok(ControlFlow::Continue(()))
                }
            };
            let result = fit_with(workers, &mut mlp, &data, &config, None, NEVER, see);
            assert_eq!(bits(mlp.values()), bits(two.values()));
            result
        })
    };
    assert_eq!(end_with(Ok(ControlFlow::Break(()))), [Ok(()), Ok(()), Ok(())]);
    let results = end_with(Err(Error::Invalid("enough".into())));
    assert_eq!(results[1], Err(Error::Invalid("enough".into())));
    for result in [&results[0], &results[2]] {
        let Err(Error::Worker(text)) = result else { panic!("{result:?}") };
        assert!(text.contains("process 1 of 3 could not go on"), "{text}");
    }
}

/// A process that is stopped, before a step or within, ends all of them after the same step.
#[test]
fn a_stop_leaves_the_same_whole_steps_to_all() {
    const ROWS: usize = 512;
    let (x, t) = (noise::<f32>(ROWS * 200, 8), noise::<f32>(ROWS, 9));
    let data = Dataset { x: &x, targets: Targets::values(&t), rows: ROWS };
    let start = network::<f32>(&[200, 200, 1], &[Relu, Linear], &[true; 2], 3);
    let config = FitConfig {
        batch_size: ROWS,
        epochs: 400,
        threads: 2,
        ..plain_fit(Loss::Mse, Optimizer::sgd(1e-3))
    };
    for patience in [0, 3, 20] {
        let all = together(2, |workers| {
            let (mut mlp, rank) = (start.clone(), workers.rank);
            let asked = std::cell::Cell::new(0);
            let stop = || {
                asked.set(asked.get() + 1);
                rank == 1 && asked.get() > patience
            };
            let (mut steps, mut last) = (0, start.clone());
            let see = &mut |mlp: &Mlp<f32>, _: &EpochStats| {
                (steps, last) = (steps + 1, mlp.clone());
                Ok(ControlFlow::Continue(()))
            };
            let result = fit_with(workers, &mut mlp, &data, &config, None, &stop, see);
            assert!(result.is_err());
            assert_eq!(result == Err(Error::Interrupted), rank == 1, "{result:?}");
            assert_eq!(bits(mlp.values()), bits(last.values()));
            (steps, bits(mlp.values()))
        });
        assert_eq!(all[0], all[1]);
    }
}

/// Takes the mean instead of the sum.
struct Wrong(usize, usize);
impl Workers<f64> for Wrong {
    fn rank(&self) -> usize {
        self.0
    }
    fn size(&self) -> usize {
        self.1
    }
    fn sum(&mut self, buffer: &mut [f64]) -> Result<()> {
        for value in buffer {
            *value /= 2.0;
        }
        Ok(())
    }
}

/// Gradients that come back different in one process, reports that come back damaged, a rank that cannot be.
#[test]
fn a_bad_connection_ends_the_fit() {
    let samples = Samples::<f64>::new(12);
    let data = samples.data(Loss::Mse, false);
    let config =
        FitConfig { batch_size: 6, epochs: 3, ..plain_fit(Loss::Mse, Optimizer::sgd(0.1)) };
    let go = &|_: &Mlp<f64>, _: &EpochStats| Ok(ControlFlow::Continue(()));
    // The sum of the first epoch's second step: the next one finds out.
    for result in together(2, |workers| {
        workers.broken = (workers.rank == 1).then_some(1);
        fit_with(workers, &mut start(), &data, &config, None, NEVER, &mut go.clone())
    }) {
        let Err(Error::Worker(text)) = result else { panic!("{result:?}") };
        assert!(text.contains("no longer hold the same numbers"), "{text}");
    }

    let mut mlp = start();
    let mut fit = |mut workers: Wrong| {
        fit_with(&mut workers, &mut mlp, &data, &config, None, NEVER, &mut go.clone())
    };
    assert!(message(fit(Wrong(2, 2))).contains("2 of 2"));
    assert!(message(fit(Wrong(0, 0))).contains("0 of 0"));
    let result = fit(Wrong(0, 2));
    let Err(Error::Worker(text)) = result else { panic!("{result:?}") };
    assert!(text.contains("add up the buffers of 2 processes"), "{text}");
    assert!(mlp == start());
}
