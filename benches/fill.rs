//! Values per second of every distribution, type and instruction set, one thread, from cache to memory.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::{bf16, f16};
use initcore::dispatch::Isa;
use initcore::distribution::Distribution;
use initcore::fill::fill;
use initcore::parallel::NEVER;
use initcore::region::{Axis, Region};
use initcore::sample::Sample;
use initcore::stream::Stream;

const DISTRIBUTIONS: [(&str, Distribution); 4] = [
    ("constant", Distribution::Constant(1.0)),
    ("uniform", Distribution::Uniform { low: -1.0, high: 1.0 }),
    ("normal", Distribution::Normal { mean: 0.0, std: 1.0 }),
    (
        "truncated_normal",
        Distribution::TruncatedNormal { mean: 0.0, std: 1.0, low: -2.0, high: 2.0 },
    ),
];

fn bench_type<T: Sample>(criterion: &mut Criterion) {
    let stream = Stream::new(0, Some("bench"));
    for size in [1 << 12, 1 << 24] {
        let region = Region::whole(&[size]).expect("small");
        let mut out = vec![T::ZERO; size as usize];
        let mut group = criterion.benchmark_group(format!("fill/{}/{size}", T::NAME));
        group.throughput(Throughput::Elements(size)).sample_size(10);
        // The baseline emulates fused multiply-adds: a second for the large array.
        let worth = |isa: &Isa| *isa != Isa::Baseline || size <= 1 << 12;
        for isa in Isa::available().filter(worth) {
            isa.force().expect("available");
            for (name, distribution) in DISTRIBUTIONS {
                group.bench_function(BenchmarkId::new(name, isa.name()), |bencher| {
                    bencher.iter(|| fill(&stream, distribution, &region, &mut out, 1, NEVER));
                });
            }
        }
        group.finish();
    }
}

/// A column shard (64 of 4096 columns), to set beside the contiguous fill of as many values.
fn bench_shard(criterion: &mut Criterion) {
    Isa::available().next().expect("the baseline").force().expect("available");
    let stream = Stream::new(0, Some("bench"));
    let columns = Axis { start: 128, step: 1, len: 64 };
    let region = Region::new(&[4096, 4096], &[Axis::whole(4096), columns]).expect("inside");
    let mut out = vec![0f32; 4096 * 64];
    let mut group = criterion.benchmark_group("shard");
    group.throughput(Throughput::Elements(out.len() as u64)).sample_size(20);
    group.bench_function("64 of 4096 columns", |bencher| {
        bencher.iter(|| fill(&stream, DISTRIBUTIONS[2].1, &region, &mut out, 1, NEVER));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    // dozens of benchmarks: a few seconds for each
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = bench_type::<f32>, bench_type::<f64>, bench_type::<f16>, bench_type::<bf16>, bench_shard
}
criterion_main!(benches);
