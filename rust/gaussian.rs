//! Tail probabilities of the standard normal distribution, correctly rounded.
//!
//! The bounds of a truncated normal enter every value through these numbers, so they are part of the
//! stream: they must not depend on a platform's libm. Computed in double-double arithmetic (about 30
//! digits), then rounded once.

use std::cell::Cell;

use qd::Quad;

use crate::dispatch::with_default_floats;

/// `1 / sqrt(2 pi)` to 32 digits.
const INV_SQRT_2PI: Quad = Quad(0.398_942_280_401_432_7, -2.492_327_202_277_73e-17);

/// `P(Z > x)` for `x >= 0`, to about 23 digits or better.
fn upper_tail(x: f64) -> Quad {
    if x > 37.0 {
        return Quad::from(0.0); // below 6e-300
    }
    let real = Quad::from;
    let x2 = real(x) * real(x);
    let density = INV_SQRT_2PI * (x2 * real(-0.5)).exp();
    if x < 5.5 {
        // 1/2 - density * sum x^(2n+1) / (2n+1)!! : all terms positive (Abramowitz & Stegun 26.2.11)
        let (mut term, mut sum, mut odd) = (real(x), real(x), 1.0);
        while term.0 > sum.0 * 1e-33 {
            odd += 2.0;
            term = term * x2 / real(odd);
            sum += term;
        }
        real(0.5) - density * sum
    } else {
        // density / (x + 1 / (x + 2 / (x + ...))) from the far end (Laplace; A&S 26.2.14)
        density / (1..=120).rev().fold(real(x), |rest, n| real(x) + real(f64::from(n)) / rest)
    }
}

/// The probability of an interval of the standard normal distribution and of what lies on either side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// `P(Z < low)`.
    pub below: f64,
    /// `P(low < Z < high)`.
    pub mass: f64,
    /// `P(Z > high)`.
    pub above: f64,
}

/// The probabilities of `low < high` (infinite bounds allowed), each correctly rounded to float64 unless
/// the exact value lies within 1e-7 ulp of a rounding boundary.
///
/// Takes some 10 us, as long as 4096 values do; so each thread remembers the interval it was asked for last.
pub fn interval(low: f64, high: f64) -> Interval {
    thread_local!(static LAST: Cell<Option<([u64; 2], Interval)>> = const { Cell::new(None) });
    let bounds = [low.to_bits(), high.to_bits()];
    match LAST.get() {
        Some((known, interval)) if known == bounds => interval,
        _ => {
            let interval = with_default_floats(|| compute_interval(low, high));
            LAST.set(Some((bounds, interval)));
            interval
        }
    }
}

fn compute_interval(low: f64, high: f64) -> Interval {
    let one = Quad::from(1.0);
    // both tails of one bound; the smaller one is computed, the other is its complement
    let tails = |x: f64| {
        let small = upper_tail(x.abs());
        let large = one - small;
        if x < 0.0 { (small, large) } else { (large, small) }
    };
    let ((below, above_low), (below_high, above)) = (tails(low), tails(high));
    let mass = if low > 0.0 {
        above_low - above
    } else if high < 0.0 {
        below_high - below
    } else {
        one - below - above
    };
    Interval { below: below.0, mass: mass.0, above: above.0 }
}

/// The standard deviation of a standard normal variable given that it lies in `low < high`.
pub fn truncated_std(low: f64, high: f64) -> f64 {
    if high - low <= 1.0 {
        return std_of_narrow(low, high);
    }
    // 1 + (low phi(low) - high phi(high)) / mass - ((phi(low) - phi(high)) / mass)^2
    // (Johnson, Kotz & Balakrishnan 1994, 10.1)
    let density = |x: f64| (-0.5 * x * x).exp() * INV_SQRT_2PI.0;
    let moment = |x: f64| if x.is_finite() { x * density(x) } else { 0.0 };
    let mass = interval(low, high).mass;
    let shift = (density(low) - density(high)) / mass;
    (1.0 + (moment(low) - moment(high)) / mass - shift * shift).max(0.0).sqrt()
}

/// The same by Simpson's rule around the middle of the interval, where the closed form would cancel.
fn std_of_narrow(low: f64, high: f64) -> f64 {
    const PANELS: u32 = 1024;
    let (middle, width) = (f64::midpoint(low, high), high - low);
    let mut moments = [0.0; 3];
    for i in 0..=PANELS {
        let t = width * (f64::from(i) / f64::from(PANELS) - 0.5);
        let rule = if i == 0 || i == PANELS { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
        let weight = rule * (-t * (middle + 0.5 * t)).exp();
        for (moment, power) in moments.iter_mut().zip([1.0, t, t * t]) {
            *moment += weight * power;
        }
    }
    let [mass, first, second] = moments;
    (second / mass - (first / mass) * (first / mass)).max(0.0).sqrt()
}
