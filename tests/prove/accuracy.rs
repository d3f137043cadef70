//! The errors of a float32 map over all words, from its runs of words with one value.
//!
//! The exact value grows smoothly along a run, in effect by equal steps (a run spans some 2^-24 of its value), so the
//! exact errors of its first and last word give the errors of all words between.

use initcore::distribution::Distribution;

use crate::reference::{Law, Moments};
use crate::sweep::{self, Value, WORDS};

/// Errors are in units of [`Law::unit`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Accuracy {
    /// The first word whose value is below that of the word before, or not a number.
    pub disorder: Option<u32>,
    /// How many values occur.
    pub distinct: u64,
    /// Words whose value is the exact one, rounded.
    pub correct: u64,
    /// The largest error, and the word that has it.
    pub worst: (f64, u32),
    /// The mean absolute error.
    pub mean_error: f64,
    /// The central moments of the values.
    pub moments: Moments,
    /// How far rounding may have moved them: the mean of `k |x - center|^(k-1) |error|`.
    pub moved: Moments,
}

impl Accuracy {
    /// Measures the map. Moments are taken around `center`.
    pub fn of(distribution: Distribution, law: &Law, center: f64) -> Self {
        let visit = |word: u32, values: &[f32]| Self::of_chunk(law, center, word, values);
        let mut total = sweep::sweep(distribution, visit, Self::merge);
        total.distinct += 1;
        total.mean_error /= WORDS as f64;
        for sum in total.moments.iter_mut().chain(&mut total.moved) {
            *sum /= WORDS as f64;
        }
        total
    }

    /// Sums over the words of a chunk; the one that it shares with the next counts there.
    fn of_chunk(law: &Law, center: f64, first: u32, values: &[f32]) -> Self {
        let mut sums = Self::default();
        let last_chunk = u64::from(first) + values.len() as u64 == WORDS;
        let own = values.len() - usize::from(!last_chunk);
        let mut start = 0;
        for i in 1..=own {
            let change = i < values.len() && values[i].key() != values[i - 1].key();
            if change {
                sums.distinct += 1;
                if values[i].key() < values[i - 1].key() || values[i].is_nan() {
                    sums.disorder = sweep::earlier(sums.disorder, Some(first + i as u32));
                }
            }
            if change || i == own {
                sums.add_run(law, center, values[start], first + start as u32, (i - start) as u32);
                start = i;
            }
        }
        sums
    }

    fn add_run(&mut self, law: &Law, center: f64, value: f32, first: u32, len: u32) {
        let x = f64::from(value);
        let [from, to] = law.beyond(x, [first, first + (len - 1)]);
        let (unit, n) = (law.unit(x), f64::from(len));
        for (error, word) in [(from.abs() / unit, first), (to.abs() / unit, first + (len - 1))] {
            if error > self.worst.0 {
                self.worst = (error, word);
            }
        }
        self.correct += within(from, to, len, unit / 2.0);
        // the mean of |error| along a straight line
        let mean = if from * to >= 0.0 {
            f64::midpoint(from.abs(), to.abs())
        } else {
            (from * from + to * to) / (2.0 * (to - from).abs())
        };
        self.mean_error += n * mean / unit;
        let (d, error) = (x - center, from.abs().max(to.abs()));
        let mut power = n; // n |d|^(k-1)
        for k in 0..4 {
            self.moved[k] += (k + 1) as f64 * power.abs() * error;
            power *= d;
            self.moments[k] += power;
        }
    }

    fn merge(mut self, other: Self) -> Self {
        self.disorder = sweep::earlier(self.disorder, other.disorder);
        self.distinct += other.distinct;
        self.correct += other.correct;
        self.mean_error += other.mean_error;
        if other.worst.0 > self.worst.0 {
            self.worst = other.worst;
        }
        for k in 0..4 {
            self.moments[k] += other.moments[k];
            self.moved[k] += other.moved[k];
        }
        self
    }
}

/// How many of `len` equally spaced numbers between `from` and `to` lie within `half` of zero.
fn within(from: f64, to: f64, len: u32, half: f64) -> u64 {
    if len <= 2 {
        let second = if len == 2 { u64::from(to.abs() <= half) } else { 0 };
        return u64::from(from.abs() <= half) + second;
    }
    let step = (to - from) / f64::from(len - 1);
    if step == 0.0 {
        return u64::from(from.abs() <= half) * u64::from(len);
    }
    let [a, b] = [(-half - from) / step, (half - from) / step];
    let low = a.min(b).ceil().max(0.0);
    let high = a.max(b).floor().min(f64::from(len - 1));
    if high >= low { (high - low) as u64 + 1 } else { 0 }
}
