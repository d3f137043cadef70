//! Crates that multiply matrices, on one thread, for the shapes of dense networks: `make bench-gemm` writes
//! docs/benchmarks-gemm.md with it.
//!
//! Every crate computes `c = a b` for row-major arrays, with `a` or `b` read transposed where the layer needs it, and
//! has its result compared with a plain sum first. The crates take turns, round after round, on the same memory.

mod crates;

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use crates::{CRATES, Element, Product};

/// Seconds that one measurement of one crate should last at least: little, so that on a busy machine some of them
/// pass undisturbed.
const MEASUREMENT: f64 = 0.002;

/// The networks of `make bench-dense`: batch, then inputs and widths.
const NETWORKS: [(usize, &[usize]); 5] = [
    (64, &[2, 2, 1]),
    (128, &[64, 128, 10]),
    (128, &[784, 256, 128, 10]),
    (256, &[784, 512, 512, 512, 512, 10]),
    (1024, &[1024, 2048, 2048, 1024]),
];

/// What a layer has to compute: `y = x w`, `dw = x^T dy`, `dx = dy w^T`; x: (batch, fan_in), w: (fan_in, fan_out).
fn layer_products() -> Vec<(String, Product)> {
    let mut found: Vec<(String, Product)> = Vec::new();
    let mut add = |name: String, product: Product| {
        if !found.iter().any(|(_, known)| *known == product) {
            found.push((name, product));
        }
    };
    for (batch, sizes) in NETWORKS {
        for (i, pair) in sizes.windows(2).enumerate() {
            let (fan_in, fan_out) = (pair[0], pair[1]);
            let layer = format!("{batch} rows, {fan_in} → {fan_out}");
            add(
                format!("{layer}: y = x w"),
                Product { m: batch, n: fan_out, k: fan_in, ta: false, tb: false },
            );
            add(
                format!("{layer}: dw = xᵀ dy"),
                Product { m: fan_in, n: fan_out, k: batch, ta: true, tb: false },
            );
            if i > 0 {
                add(
                    format!("{layer}: dx = dy wᵀ"),
                    Product { m: batch, n: fan_in, k: fan_out, ta: false, tb: true },
                );
            }
        }
    }
    found
}

/// Square matrices, as they are.
fn squares() -> Vec<(String, Product)> {
    let square = |n| (format!("{n} × {n}"), Product { m: n, n, k: n, ta: false, tb: false });
    [512, 1024, 2048].map(square).into()
}

/// The best of `rounds`, in seconds of one product, for every crate of `CRATES` in turn; None: it has no such code.
fn measure<T: Element>(product: Product, rounds: usize) -> Vec<Option<f64>> {
    let Product { m, n, k, .. } = product;
    let (a, b): (Vec<T>, Vec<T>) = (T::values(m * k, 0.7), T::values(k * n, 0.3));
    let mut c = T::values(m * n, 0.0);
    let mut repeats = vec![0; CRATES.len()];
    let mut best = vec![None; CRATES.len()];
    for (i, candidate) in CRATES.iter().enumerate() {
        let Some(run) = T::run(candidate) else { continue };
        let mut once = || {
            let begin = Instant::now();
            run(product, black_box(&a), black_box(&b), black_box(&mut c));
            begin.elapsed()
        };
        let cold = once();
        let warm = cold.min(once()).max(Duration::from_nanos(20)).as_secs_f64();
        repeats[i] = (MEASUREMENT / warm).ceil() as usize;
        T::check(product, &a, &b, &c, candidate);
    }
    for _ in 0..rounds {
        for (i, candidate) in CRATES.iter().enumerate() {
            let Some(run) = T::run(candidate) else { continue };
            let begin = Instant::now();
            for _ in 0..repeats[i] {
                run(product, black_box(&a), black_box(&b), black_box(&mut c));
            }
            let seconds = begin.elapsed().as_secs_f64() / repeats[i] as f64;
            best[i] = Some(best[i].unwrap_or(f64::INFINITY).min(seconds));
        }
    }
    best
}

/// A table of GFLOP/s; to `shares` goes the rate of every crate as a share of the fastest.
fn section<T: Element>(
    text: &mut String,
    shares: &mut [Vec<f64>],
    products: &[(String, Product)],
    rounds: usize,
) {
    writeln!(text, "| product | m × n, k | {} |", CRATES.join(" | ")).unwrap();
    writeln!(text, "|---|---|{}", "---:|".repeat(CRATES.len())).unwrap();
    let before: Vec<_> = shares.iter().map(Vec::len).collect();
    for (name, product) in products {
        let Product { m, n, k, .. } = *product;
        let times = measure::<T>(*product, rounds);
        let fastest = times.iter().flatten().copied().fold(f64::INFINITY, f64::min);
        write!(text, "| {name} | {m} × {n}, {k} |").unwrap();
        for (share, time) in shares.iter_mut().zip(times) {
            let Some(time) = time else {
                text.push_str(" |");
                continue;
            };
            let rate = significant(2.0 * (m * n * k) as f64 / time / 1e9);
            let mark = if time == fastest { "**" } else { "" };
            write!(text, " {mark}{rate}{mark} |").unwrap();
            share.push(fastest / time);
        }
        text.push('\n');
        eprint!("."); // it takes minutes
    }
    text.push_str("| mean share of the fastest | |");
    for (share, before) in shares.iter().zip(before) {
        match mean(&share[before..]) {
            Some(mean) => write!(text, " {:.0}% |", 100.0 * mean).unwrap(),
            None => text.push_str(" |"),
        }
    }
    text.push('\n');
}

/// The geometric mean of shares, if there are any.
fn mean(shares: &[f64]) -> Option<f64> {
    let sum: f64 = shares.iter().map(|share| share.ln()).sum();
    (!shares.is_empty()).then(|| (sum / shares.len() as f64).exp())
}

/// Three significant digits.
fn significant(x: f64) -> String {
    let decimals = (2 - x.log10().floor() as i32).clamp(0, 2) as usize;
    format!("{x:.decimals$}")
}

/// What the system says of its first processor.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info
            .lines()
            .find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let named =
        [("vendor_id", ""), ("model name", ""), ("cpu family", "family "), ("model", "model ")];
    let found: Vec<_> =
        named.iter().filter_map(|(name, words)| Some(format!("{words}{}", field(name)?))).collect();
    if found.is_empty() { std::env::consts::ARCH.into() } else { found.join(", ") }
}

/// The version of a crate in Cargo.lock.
fn version(name: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let entry =
        lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{name}\"\n")));
    entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next()).unwrap_or("?")
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("the file to write, then perhaps the number of rounds");
    let rounds = arguments.next().map_or(20, |rounds| rounds.parse().expect("a number of rounds"));
    let versions: Vec<_> = CRATES.iter().map(|name| format!("{name} {}", version(name))).collect();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_string();
    let (mut tables, mut shares) = (String::new(), vec![Vec::new(); CRATES.len()]);
    for (heading, products) in
        [("The layers of the networks", layer_products()), ("Squares", squares())]
    {
        writeln!(tables, "\n## {heading}, float32\n").unwrap();
        section::<f32>(&mut tables, &mut shares, &products, rounds);
        writeln!(tables, "\n## {heading}, float64\n").unwrap();
        section::<f64>(&mut tables, &mut shares, &products, rounds);
    }
    eprintln!();
    let mut means: Vec<_> =
        CRATES.iter().zip(&shares).filter_map(|(name, s)| Some((mean(s)?, name))).collect();
    means.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let means: Vec<_> =
        means.iter().map(|(mean, name)| format!("{name} {:.0}%", 100.0 * mean)).collect();
    let page = format!(
        include_str!("page.md"),
        cpu = cpu(),
        load = load,
        crates = versions.join(", "),
        rounds = rounds,
        means = means.join(", "),
    );
    std::fs::write(path, page + &tables).expect("the file can be written");
}
