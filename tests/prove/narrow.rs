//! The 16-bit types: rounded once from float32, to nearest even, inside the bounds; and how many words each value has.

use half::{bf16, f16};
use initcore::distribution::Distribution;

use crate::reference::{Law, Moments};
use crate::sweep::{self, Value, WORDS};

/// A 16-bit type.
pub trait Narrow: Value {
    const INFINITY: u16;
    fn from_bits(bits: u16) -> Self;
}

impl Narrow for f16 {
    const INFINITY: u16 = 0x7c00;
    fn from_bits(bits: u16) -> Self {
        Self::from_bits(bits)
    }
}

impl Narrow for bf16 {
    const INFINITY: u16 = 0x7f80;
    fn from_bits(bits: u16) -> Self {
        Self::from_bits(bits)
    }
}

/// The number of these bits, sign and magnitude.
fn number<T: Narrow>(magnitude: u16) -> f64 {
    T::from_bits(magnitude).to_f64()
}

/// Rounds by looking for the neighbours among `magnitudes`, all numbers >= 0 of the type.
fn nearest_even(magnitudes: &[f64], x: f64) -> f64 {
    let above = magnitudes.partition_point(|m| *m <= x.abs());
    let below = above - 1; // 0 <= |x|
    let (down, up) = (x.abs() - magnitudes[below], magnitudes[above] - x.abs());
    // the place in the list is the bits of the number: even where the last of them is 0
    let up = up < down || (up == down && above.is_multiple_of(2));
    magnitudes[if up { above } else { below }].copysign(x)
}

/// All numbers of the type from `low` to `high`, in order; zero once.
fn numbers<T: Narrow>(low: f64, high: f64) -> Vec<f64> {
    let negative = (1..T::INFINITY).rev().map(|m| -number::<T>(m));
    let all = negative.chain((0..T::INFINITY).map(number::<T>));
    all.filter(|x| (low..=high).contains(x)).collect()
}

/// What was found, all of it exact.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// How many values occur.
    pub distinct: usize,
    /// Words below a rounding boundary against what the law asks for: the largest difference, and the largest share of what
    /// is allowed.
    pub worst: (f64, f64),
    /// The central moments of the values, and those of the law rounded to the type.
    pub moments: Moments,
    pub expected: Moments,
    /// How far apart the allowed differences could move these.
    pub allowance: Moments,
}

/// Checks order, bounds, symmetry and rounding, and counts the words. `allowed` is the error of the float32 map in units.
///
/// # Errors
/// What is wrong first.
pub fn check<T: Narrow>(
    distribution: Distribution,
    law: &Law,
    allowed: f64,
    center: f64,
) -> Result<Counts, String> {
    let (first, last) = bounds::<T>(law);
    let runs = runs::<T>(distribution);
    in_order(&runs, (first, last), law.is_symmetric())?;
    // Float32 values are in order, and so is rounding: what holds at both ends of a run holds inside.
    let next = runs.iter().skip(1).map(|(word, _)| u64::from(*word)).chain([WORDS]);
    let ends: Vec<(u32, T)> = runs
        .iter()
        .zip(next)
        .flat_map(|((word, x), next)| [(*word, *x), ((next - 1) as u32, *x)])
        .collect();
    let words: Vec<u32> = ends.iter().map(|(word, _)| *word).collect();
    let wide = sweep::values::<f32>(distribution, &words);
    let magnitudes: Vec<f64> = (0..T::INFINITY).map(number::<T>).collect();
    for ((word, found), wide) in ends.iter().zip(wide) {
        let rounded = nearest_even(&magnitudes, f64::from(wide)).clamp(first, last);
        let found = found.to_f64();
        if found.to_bits() != rounded.to_bits() {
            return Err(format!("word {word}: {found:e}, not {rounded:e} from {wide:e}"));
        }
    }

    let numbers = numbers::<T>(first, last);
    let mut worst = (0.0_f64, 0.0_f64);
    let [mut moments, mut expected, mut allowance] = [[0.0; 4]; 3];
    let (mut counted, mut position) = (0.0, 0.0);
    for (i, x) in numbers.iter().enumerate() {
        let powers = |x: f64| [1, 2, 3, 4].map(|k| (x - center).powi(k) / WORDS as f64);
        let (count, exact) = match numbers.get(i + 1) {
            None => (WORDS as f64, WORDS as f64),
            Some(next) => {
                let boundary = f64::midpoint(*x, *next);
                let run = runs.partition_point(|(_, value)| value.to_f64() <= *x);
                let count = runs.get(run).map_or(WORDS as f64, |(word, _)| f64::from(*word));
                let exact = law.position(boundary);
                let slope = law.words_per_unit(boundary);
                let tolerance = law.step() + allowed * law.unit(boundary) * slope;
                let difference = (count - exact).abs();
                worst = (worst.0.max(difference), worst.1.max(difference / tolerance));
                if difference > 0.0 {
                    for k in 0..4 {
                        allowance[k] += tolerance * (powers(*next)[k] - powers(*x)[k]).abs();
                    }
                }
                (count, exact)
            }
        };
        if count > counted || exact > position {
            for k in 0..4 {
                moments[k] += (count - counted) * powers(*x)[k];
                expected[k] += (exact - position) * powers(*x)[k];
            }
        }
        (counted, position) = (count, exact);
    }
    Ok(Counts { distinct: runs.len(), worst, moments, expected, allowance })
}

/// The outermost numbers of the type inside the bounds.
fn bounds<T: Narrow>(law: &Law) -> (f64, f64) {
    let (low, high) = law.bounds();
    let mut inside = numbers::<T>(low, high);
    if matches!(law, Law::Uniform { .. }) {
        inside.retain(|x| *x < high);
    }
    (inside[0], inside[inside.len() - 1])
}

/// Where the value changes: the first word of every run of equal values, and its value.
fn runs<T: Narrow>(distribution: Distribution) -> Vec<(u32, T)> {
    let visit = |word: u32, values: &[T]| {
        let mut runs = Vec::new();
        if word == 0 {
            runs.push((0, values[0]));
        }
        for i in 1..values.len() {
            if values[i].key() != values[i - 1].key() {
                runs.push((word + i as u32, values[i]));
            }
        }
        runs
    };
    let merge = |mut a: Vec<_>, b: Vec<_>| {
        a.extend(b);
        a
    };
    sweep::sweep(distribution, visit, merge)
}

/// Finite, inside the bounds, each run above the one before; and the same read backwards with the other sign.
fn in_order<T: Narrow>(
    runs: &[(u32, T)],
    (first, last): (f64, f64),
    symmetric: bool,
) -> Result<(), String> {
    for (i, (word, x)) in runs.iter().enumerate() {
        let value = x.to_f64();
        if !value.is_finite() || !(first..=last).contains(&value) {
            return Err(format!("word {word}: {value:e} is outside [{first:e}, {last:e}]"));
        }
        if i > 0 && runs[i - 1].1.key() > x.key() {
            return Err(format!("word {word}: {value:e} after {:e}", runs[i - 1].1.to_f64()));
        }
        let end = runs.get(i + 1).map_or(u32::MAX, |(next, _)| next - 1);
        let (mirrored, opposite) = runs[runs.len() - 1 - i];
        if symmetric && (mirrored, opposite.negated().key()) != (!end, x.key()) {
            return Err(format!("words {word} to {end} are not the mirror of {mirrored} and on"));
        }
    }
    Ok(())
}
