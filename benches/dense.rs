//! The dense core: products, passes and whole training steps, on one thread and on all.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use initcore::dispatch::{self, Kernel};
use initcore::nn::Run;
use initcore::nn::activation::Activation;
use initcore::nn::diagnosis::Options;
use initcore::nn::gemm::{Matrix, product};
use initcore::nn::loss::{Loss, Targets};
use initcore::nn::mlp::Mlp;
use initcore::nn::optimizer::{Optimizer, State, Step};
use initcore::nn::pass::{Dataset, Workspace};
use initcore::nn::real::Real;
use initcore::nn::schedule::Schedule;
use initcore::nn::train::{FitConfig, fit};
use initcore::parallel::{NEVER, num_threads};
use initcore::simd::Simd;

/// One thread, and all of them where there are more.
fn threads() -> Vec<usize> {
    let mut counts = vec![1, num_threads().expect("a number of threads")];
    counts.dedup();
    counts
}

/// `len` numbers of no meaning in [-1, 1].
fn values(len: usize, scale: f32) -> Vec<f32> {
    (0..len).map(|i| scale * (i as f32 * 12.9898).sin()).collect()
}

fn products(c: &mut Criterion) {
    let mut group = c.benchmark_group("matmul");
    group.sample_size(20);
    for n in [512, 1024] {
        let (a, b, mut out) = (values(n * n, 1.0), values(n * n, 1.0), vec![0.0; n * n]);
        let (a, b) = (Matrix::new(&a, n, n).unwrap(), Matrix::new(&b, n, n).unwrap());
        // Elements per second here are floating-point operations per second.
        group.throughput(Throughput::Elements(2 * (n * n * n) as u64));
        for threads in threads() {
            let run = Run { threads, stop: NEVER };
            for (name, a, b) in [("nn", a, b), ("tn", a.t(), b), ("nt", a, b.t())] {
                group.bench_function(format!("{n}/{name}/threads={threads}"), |bench| {
                    bench.iter(|| product(black_box(&mut out), a, b, run).unwrap());
                });
            }
        }
    }
    group.finish();
}

fn networks(c: &mut Criterion) {
    let cases: [(&[usize], usize, Activation, Loss); 3] = [
        (&[784, 256, 128, 10], 128, Activation::Relu, Loss::softmax_cross_entropy()),
        (&[784, 256, 128, 10], 128, Activation::Tanh, Loss::softmax_cross_entropy()),
        (&[2, 2, 1], 64, Activation::Sigmoid, Loss::binary_cross_entropy()),
    ];
    for (sizes, batch, activation, loss) in cases {
        let name: Vec<_> = sizes.iter().map(usize::to_string).collect();
        let mut group = c.benchmark_group(format!("{}/{activation}/{batch}", name.join("-")));
        group.sample_size(20);
        let depth = sizes.len() - 1;
        let mut activations = vec![activation; depth];
        activations[depth - 1] = Activation::Linear;
        let mut mlp = Mlp::<f32>::new(sizes, &activations, &vec![true; depth]).unwrap();
        let count = mlp.values().len();
        mlp.values_mut().copy_from_slice(&values(count, 0.05));
        let x = values(batch * sizes[0], 1.0);
        let classes = mlp.outputs().max(2);
        let labels: Vec<i64> = (0..batch).map(|i| (i % classes) as i64).collect();
        let data = Dataset { x: &x, targets: Targets::labels(&labels), rows: batch };
        let mut y = vec![0.0; batch * mlp.outputs()];
        let mut workspace = Workspace::new(&mlp, batch).unwrap();
        let mut state = State::new(Optimizer::adam(1e-5), count).unwrap();
        for threads in threads() {
            let run = Run { threads, stop: NEVER };
            group.bench_function(format!("forward/threads={threads}"), |bench| {
                bench.iter(|| mlp.forward(black_box(&x), &mut y, batch, run).unwrap());
            });
            group.bench_function(format!("forward_backward/threads={threads}"), |bench| {
                bench.iter(|| {
                    mlp.loss_and_grad(black_box(&data), loss, &mut workspace, run).unwrap()
                });
            });
            let thresholds = vec![0.05; depth];
            let options = Options { loss: Some(loss), thresholds: &thresholds, optimizer: None };
            group.bench_function(format!("diagnose/threads={threads}"), |bench| {
                bench.iter(|| mlp.diagnose(black_box(&data), &options, run).unwrap());
            });
            group.bench_function(format!("adam/threads={threads}"), |bench| {
                // Gradients and parameters change places with every step.
                let mut gradients = workspace.gradients().to_vec();
                bench.iter(|| {
                    let step = Step::default();
                    state.step(mlp.values_mut(), black_box(&mut gradients), step, threads).unwrap();
                });
            });
            // A fit of 50 batches in one epoch; the time is that of one step.
            let x = values(50 * batch * sizes[0], 1.0);
            let labels = labels.repeat(50);
            let data = Dataset { x: &x, targets: Targets::labels(&labels), rows: 50 * batch };
            let optimizer = Optimizer::adam(1e-5);
            let config = FitConfig {
                loss,
                optimizer,
                schedule: Schedule::Constant,
                clip_norm: None,
                batch_size: batch,
                epochs: 1,
                shuffle: true,
                seed: 0,
                skip_nonfinite: false,
                threads,
            };
            group.bench_function(format!("fit_step/threads={threads}"), |bench| {
                bench.iter_custom(|steps| {
                    let begin = std::time::Instant::now();
                    for _ in 0..steps.div_ceil(50) {
                        let go = &mut |_: &Mlp<_>, _: &_| Ok(ControlFlow::Continue(()));
                        fit(&mut mlp, &data, &config, None, NEVER, go).unwrap();
                    }
                    begin.elapsed().mul_f64(steps as f64 / (steps.div_ceil(50) * 50) as f64)
                });
            });
        }
        group.finish();
    }
}

/// A loop over activations, compiled for each instruction set.
struct Pass<'a, T>(Activation, &'a mut [T], &'a mut [T]);

impl<T: Real> Kernel for Pass<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.0.forward_with_slope(self.1, self.2);
    }
}

fn activations(c: &mut Criterion) {
    fn one<T: Real>(c: &mut Criterion) {
        const LEN: usize = 16384;
        let mut group = c.benchmark_group(format!("activations/{}", T::NAME));
        group.sample_size(20).throughput(Throughput::Elements(LEN as u64));
        let z: Vec<T> = values(LEN, 4.0).iter().map(|&z| T::narrow(z.into())).collect();
        let (mut y, mut slope) = (z.clone(), z.clone());
        for activation in Activation::ALL {
            group.bench_function(activation.name(), |bench| {
                bench.iter(|| {
                    y.copy_from_slice(&z);
                    dispatch::run(Pass(activation, black_box(&mut y), black_box(&mut slope)));
                });
            });
        }
        group.finish();
    }
    one::<f32>(c);
    one::<f64>(c);
}

/// Steps alone: a network of the size of 784-256-128-10, in cache, and one far too large for it.
fn optimizers(c: &mut Criterion) {
    let mut group = c.benchmark_group("optimizers");
    group.sample_size(20);
    let rules = [
        ("sgd", Optimizer::sgd(1e-5), 4),
        (
            "momentum",
            Optimizer::Sgd { lr: 1e-5, momentum: 0.9, nesterov: false, weight_decay: 0.0 },
            6,
        ),
        ("adam", Optimizer::adam(1e-5), 8),
    ];
    for len in [235_146, 8_400_000] {
        for (name, rule, accesses) in rules {
            // Reads and writes of the parameters, gradients and slots.
            group.throughput(Throughput::Bytes((accesses * 4 * len) as u64));
            let (mut p, mut g) = (values(len, 0.1), values(len, 0.1));
            let mut state = State::new(rule, len).unwrap();
            for threads in threads() {
                group.bench_function(format!("{len}/{name}/threads={threads}"), |bench| {
                    bench.iter(|| state.step(&mut p, &mut g, Step::default(), threads).unwrap());
                });
            }
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    // dozens of benchmarks: a few seconds for each
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = products, activations, networks, optimizers
}
criterion_main!(benches);
