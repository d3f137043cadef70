//! What `make prove` rests on, and what no sweep can reach: quick tests, part of `cargo test`.

use std::sync::Mutex;

use initcore::dispatch::Isa;
use initcore::distribution::Distribution::{Normal, TruncatedNormal, Uniform};
use initcore::fill::fill_from_words;
use initcore::parallel::{NEVER, for_each, num_threads};
use initcore::philox::LANES;
use initcore::quantile::table_quantile;
use initcore::simd::Portable;

use crate::reference::upper_tail;
use crate::sweep;

#[path = "../../rust/quantile_table.rs"]
#[allow(dead_code)]
mod quantile_table;

/// (where t starts, the coefficients) of a row of the table.
fn row(row: usize) -> (f32, [f32; 7]) {
    let [start, c @ ..] = quantile_table::ROWS[row].map(f32::from_bits);
    (start, c)
}

/// The rows of q from 2^-126 to 1.
const ROWS: std::ops::RangeInclusive<usize> = 2..=254;

fn quantile(v: f32, q: f32) -> f32 {
    table_quantile::<Portable, true>(Portable, [v; LANES], [q; LANES]).0[0]
}

#[test]
fn every_row_of_the_table_is_monotone_and_so_is_every_seam() {
    for r in ROWS {
        let (start, coefficients) = row(r);
        // Horner's rule then only multiplies and adds numbers >= 0 that grow with t
        assert!(coefficients.iter().all(|c| *c >= 0.0), "row {r}: {coefficients:?}");
        assert!(coefficients.iter().all(|c| c.is_finite()) && start.is_finite(), "row {r}");
        if r == 254 {
            continue; // q = 1, where t = 0 as in the row before
        }
        // the next row, of larger q, ends where this one begins
        let end_of_next = coefficients_at(r + 1, 0.5);
        assert!(
            r + 1 == 254 || coefficients[0] >= end_of_next,
            "row {r} starts below {end_of_next}"
        );
    }
}

fn coefficients_at(r: usize, t: f32) -> f32 {
    let (_, c) = row(r);
    c[..6].iter().rev().fold(c[6], |sum, c| sum.mul_add(t, *c))
}

#[test]
fn the_quantile_falls_with_q_across_every_seam() {
    for r in 2..254_u32 {
        // 256 numbers on either side of where row r begins
        let middle = r << 22;
        let mut before = f32::INFINITY;
        for bits in middle - 256..middle + 256 {
            let q = f32::from_bits(bits);
            if q > 1.0 || bits < 2 << 22 {
                continue;
            }
            let z = quantile(1.0 - q, q);
            assert!(z <= before && z >= 0.0, "q = {q:e}: {z} after {before}");
            before = z;
        }
    }
}

#[test]
fn the_quantile_is_precise_in_every_row() {
    // the middle and the ends of all rows, down to q = 2^-126, z = 12.9
    for r in 2..254_u32 {
        for within in [0, 1, 1 << 10, 1 << 21, (1 << 22) - 1] {
            let q = f32::from_bits((r << 22) + within);
            if q >= 0.5 {
                continue; // v decides; the sweeps go over all of it
            }
            let z = f64::from(quantile(1.0 - q, q));
            // q is two-sided; the derivative of log P(Z > z) is about -z
            let relative = (2.0 * upper_tail(z) / f64::from(q) - 1.0).abs();
            let slope = z + 1.0 / z;
            let error = relative / slope / f64::from((z as f32).next_up() - z as f32);
            assert!(error < 2.0, "q = {q:e}: off by {error} units in the last place");
        }
    }
}

#[test]
fn error_functions_are_those_of_60_digits() {
    let mut rows = 0;
    for line in include_str!("../vectors/gaussian.txt").lines().filter(|l| !l.starts_with('#')) {
        let numbers: Vec<f64> = line
            .split_whitespace()
            .map(|word| f64::from_bits(u64::from_str_radix(word, 16).unwrap()))
            .collect();
        let [low, high, below, _, above] = numbers[..] else { panic!("{line}") };
        for (x, expected) in [(-low, below), (high, above)] {
            if expected < 1e-290 {
                continue;
            }
            let error = (upper_tail(x) / expected - 1.0).abs();
            // rounding the argument changes the tail by x^2 times as much; z only by that much
            assert!(error <= (2.0 + x * x) * f64::EPSILON, "P(Z > {x}): off by {error:e}");
            let center = 0.5 * libm::erf(x * std::f64::consts::FRAC_1_SQRT_2);
            assert!((center - (0.5 - expected)).abs() <= f64::EPSILON / 2.0, "P(0 < Z < {x})");
        }
        rows += 1;
    }
    assert_eq!(rows, 1000);
}

#[test]
fn a_value_does_not_depend_on_its_neighbours() {
    // A sweep sees consecutive words, a vector of random ones mixes rows of the table: both on every instruction set.
    let count = 1 << 20;
    let words: Vec<u32> = (0..count).map(|i: u32| i << 12 | i >> 8).collect();
    let distributions = [
        Normal { mean: 0.0, std: 1.0 },
        TruncatedNormal { mean: 0.0, std: 1.0, low: -9.0, high: 3.0 },
        TruncatedNormal { mean: 0.0, std: 1.0, low: 1.5, high: f64::INFINITY },
    ];
    let before = Isa::current().unwrap();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        isa.force().unwrap();
        for distribution in distributions {
            let sorted = sweep::values::<f32>(distribution, &words);
            // bit-reversed order
            let at = |i: u32| (i.reverse_bits() >> 12) as usize;
            let mixed: Vec<u32> = (0..count).map(|i| words[at(i)]).collect();
            let mixed = sweep::values::<f32>(distribution, &mixed);
            assert!((0..count).all(|i| mixed[i as usize].to_bits() == sorted[at(i)].to_bits()));
        }
    }
    before.force().unwrap();
}

/// Where to look at float64, and the words from one value to the next there: as many as share an s of 53 bits.
const PLACES: [(u64, u64); 7] = [
    (0, 1),
    (1 << 40, 1),
    (1 << 57, 1 << 5),
    (1 << 62, 1 << 9),
    ((1 << 63) - (1 << 25), 1),
    (3 << 62, 1 << 9),
    (u64::MAX - (1 << 26) - 1, 1),
];

#[test]
fn float64_does_not_fall_over_2_to_the_26_values_at_several_places() {
    const PART: u64 = 1 << 16;
    for distribution in [
        Normal { mean: 0.0, std: 1.0 },
        TruncatedNormal { mean: 0.0, std: 1.0, low: -2.0, high: 3.0 },
        Uniform { low: -0.3, high: 0.7 },
    ] {
        for (place, step) in PLACES {
            let falls = Mutex::new(None);
            for_each(num_threads().unwrap(), 0..1 << 10, NEVER, |part| {
                let first = place + part * PART * step;
                let words: Vec<u64> = (0..=PART).map(|i| first + i * step).collect();
                let mut values = vec![0.0_f64; words.len()];
                fill_from_words(distribution, &words, &mut values).unwrap();
                if let Some(at) = (1..values.len()).find(|i| values[*i] < values[i - 1]) {
                    *falls.lock().unwrap() = Some((words[at], values[at - 1], values[at]));
                }
            })
            .unwrap();
            let falls = falls.into_inner().unwrap();
            assert_eq!(falls, None, "{distribution:?}: word, value before, value");
        }
    }
}
