//! `make prove`: every one of the 2^32 words through every map that is computed in float32.
//!
//! A value is a function of one word, so a sweep is a proof: of order, bounds and symmetry bit by bit, of errors and
//! probabilities against another computation of the law (`reference.rs`). The sweeps take minutes and are ignored by
//! `cargo test`, which runs the quick tests at the end: the whole quantile table, and what the proof rests on.

mod accuracy;
mod narrow;
mod quick;
mod reference;
mod report;
mod sweep;

use std::fs;

use half::{bf16, f16};
use initcore::distribution::Distribution::{self, Normal, TruncatedNormal, Uniform};

use accuracy::Accuracy;
use narrow::Narrow;
use reference::{Law, upper_tail};
use report::{Failures, Table, label, scientific};
use sweep::WORDS;

const INF: f64 = f64::INFINITY;

const STANDARD: Distribution = Normal { mean: 0.0, std: 1.0 };

const fn truncated(low: f64, high: f64) -> Distribution {
    TruncatedNormal { mean: 0.0, std: 1.0, low, high }
}

/// What is proved, and the largest error in units ([`Law::unit`]) that its float32 map may have.
const MAPS: [(Distribution, f64); 15] = [
    (Uniform { low: 0.0, high: 1.0 }, 0.0),
    (Uniform { low: -0.3, high: 0.7 }, 0.5),
    (STANDARD, 2.5),
    (Normal { mean: 0.1, std: 0.02 }, 2.0),
    (truncated(-2.0, 2.0), 3.25),
    (truncated(-0.1, 0.1), 3.75),
    (truncated(-1.0, 3.0), 2.5),
    (truncated(-0.5, 0.25), 1.5),
    (truncated(-0.7, 5.0), 2.5),
    (truncated(-INF, 0.3), 3.0),
    (truncated(1.5, INF), 2.5),
    (truncated(3.0, INF), 2.5),
    (truncated(-6.0, -3.0), 2.5),
    (truncated(-10.0, -9.5), 2.5),
    (TruncatedNormal { mean: 0.1, std: 0.02, low: -2.0, high: 2.0 }, 1.5),
];

#[test]
#[ignore = "minutes: make prove"]
fn every_word_of_every_map() {
    let mut failures = Failures::default();
    let mut accuracies = Table::new(&[
        "float32",
        "values",
        "smallest",
        "largest",
        "max error",
        "mean error",
        "rounded exactly",
    ]);
    let mut narrows = Table::new(&["", "type", "values", "words off", "of what is allowed"]);
    let mut moments = Table::new(&[
        "",
        "type",
        "mean / std",
        "variance",
        "skewness",
        "kurtosis",
        "of what is allowed",
    ]);
    for (distribution, allowed) in MAPS {
        let law = Law::new(distribution);
        let name = label(distribution);
        let near = |word| f64::from(sweep::value::<f32>(distribution, word));
        let (center, expected) = law.moments(near);
        let found = Accuracy::of(distribution, &law, center);
        in_order(&mut failures, distribution, &found);
        failures.check(found.worst.0 <= allowed, || {
            format!("{name}: word {} is off by {} units", found.worst.1, found.worst.0)
        });
        accuracies.row(vec![
            name.clone(),
            found.distinct.to_string(),
            format!("{:.7}", near(0)),
            format!("{:.7}", near(u32::MAX)),
            format!("{:.3}", found.worst.0),
            format!("{:.3}", found.mean_error),
            format!("{:.1} %", 100.0 * found.correct as f64 / WORDS as f64),
        ]);
        let ours = (found.moments, expected, found.moved);
        moments.row(compare_moments(&mut failures, &name, "float32", ours));
        sixteen_bits::<f16>(
            &mut failures,
            distribution,
            allowed,
            center,
            &mut narrows,
            &mut moments,
        );
        sixteen_bits::<bf16>(
            &mut failures,
            distribution,
            allowed,
            center,
            &mut narrows,
            &mut moments,
        );
    }
    uniform_is_even(&mut failures);
    let tails = tails(&mut failures);

    let text = report::document(&accuracies, &narrows, &moments, &tails);
    println!("\n{text}");
    failures.report();
    if let Ok(path) = std::env::var("PROOF") {
        fs::write(&path, text).expect("the file can be written");
    }
}

/// Finite, inside the bounds, in order and, where it should be, symmetric.
fn in_order(failures: &mut Failures, distribution: Distribution, found: &Accuracy) {
    let (law, name) = (Law::new(distribution), label(distribution));
    failures.check(found.disorder.is_none(), || {
        let word = found.disorder.unwrap_or_default();
        let [x, y] = [word - 1, word].map(|word| sweep::value::<f32>(distribution, word));
        format!("{name}, float32: {y:e} for word {word}, after {x:e}")
    });
    // in order, all are between the ends, and a NaN would be out of order
    let (low, high) = law.bounds();
    let [first, last] = [0, u32::MAX].map(|w| f64::from(sweep::value::<f32>(distribution, w)));
    let below = if matches!(law, Law::Uniform { .. }) { last < high } else { last <= high };
    failures.check(first.is_finite() && last.is_finite() && first >= low && below, || {
        format!("{name}, float32: {first:e} or {last:e} is outside")
    });
    if law.is_symmetric() {
        let fault = sweep::asymmetry::<f32>(distribution);
        failures
            .check(fault.is_none(), || format!("{name}, float32: word {fault:?} not symmetric"));
    }
}

/// A 16-bit type against float32 and the law.
fn sixteen_bits<T: Narrow>(
    failures: &mut Failures,
    distribution: Distribution,
    allowed: f64,
    center: f64,
    narrows: &mut Table,
    moments: &mut Table,
) {
    let name = label(distribution);
    match narrow::check::<T>(distribution, &Law::new(distribution), allowed, center) {
        Err(what) => failures.check(false, || format!("{name}, {}: {what}", T::NAME)),
        Ok(found) => {
            failures.check(found.worst.1 <= 1.0, || {
                format!("{name}, {}: {} words in the wrong place", T::NAME, found.worst.0)
            });
            narrows.row(vec![
                name.clone(),
                T::NAME.to_owned(),
                found.distinct.to_string(),
                format!("{:.1}", found.worst.0),
                format!("{:.0} %", 100.0 * found.worst.1),
            ]);
            let ours = (found.moments, found.expected, found.allowance);
            moments.row(compare_moments(failures, &name, T::NAME, ours));
        }
    }
}

/// A row of the table of moments: (found, expected, allowed difference), all central around about the mean.
fn compare_moments(
    failures: &mut Failures,
    name: &str,
    type_name: &str,
    (found, expected, allowed): (reference::Moments, reference::Moments, reference::Moments),
) -> Vec<String> {
    // variance, skewness, kurtosis
    let shape = |m: reference::Moments| {
        let [m1, m2, m3, m4] = m;
        let variance = m2 - m1 * m1;
        let third = m3 - 3.0 * m1 * m2 + 2.0 * m1.powi(3);
        let fourth = m4 - 4.0 * m1 * m3 + 6.0 * m1 * m1 * m2 - 3.0 * m1.powi(4);
        [variance, third / variance.powf(1.5), fourth / (variance * variance)]
    };
    let ([v, s, k], [v0, s0, k0]) = (shape(found), shape(expected));
    let mut share = 0.0_f64;
    for i in 0..4 {
        // sums of float64 numbers: 2^-40 is far more than they lose
        let scale = expected[1].powf((i + 1) as f64 / 2.0);
        share = share.max((found[i] - expected[i]).abs() / (allowed[i] + scale * 2f64.powi(-40)));
    }
    failures.check(share <= 1.0, || {
        format!("{name}, {type_name}: moments {found:?}, not {expected:?}")
    });
    vec![
        name.to_owned(),
        type_name.to_owned(),
        scientific((found[0] - expected[0]) / v0.sqrt()),
        scientific(v / v0 - 1.0),
        scientific(s - s0),
        scientific(k - k0),
        format!("{:.1} %", 100.0 * share),
    ]
}

/// Every multiple of 2^-24 below 1 is the float32 value of exactly 256 words.
fn uniform_is_even(failures: &mut Failures) {
    let distribution = Uniform { low: 0.0, high: 1.0 };
    let visit = |first: u32, values: &[f32]| {
        values.iter().enumerate().all(|(i, x)| {
            let word = first + i as u32;
            *x == (word / 256) as f32 / 16_777_216.0
        })
    };
    let even = sweep::sweep(distribution, visit, |a, b| a & b);
    failures.check(even, || "uniform float32: not word / 2^8 / 2^24".to_owned());
}

/// Words beyond k standard deviations, against the law.
fn tails(failures: &mut Failures) -> Table {
    let mut table = Table::new(&["abs(z) >", "float32", "exact"]);
    let law = Law::new(STANDARD);
    for k in 1..=6 {
        let k = k as f32;
        let below = sweep::first_at(STANDARD, -k);
        let above = WORDS - sweep::first_at(STANDARD, k.next_up());
        let expected = upper_tail(f64::from(k)) * WORDS as f64;
        let moved = law.unit(f64::from(k)) * law.words_per_unit(f64::from(k));
        for count in [below, above] {
            failures.check((count as f64 - expected).abs() <= 1.0 + 2.5 * moved, || {
                format!("{count} words beyond {k}, not {expected}")
            });
        }
        table.row(vec![
            k.to_string(),
            (below + above).to_string(),
            format!("{:.1}", 2.0 * expected),
        ]);
    }
    table
}
