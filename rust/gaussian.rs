//! Probabilities and moments of intervals of the standard normal distribution.
//!
//! The bounds of a truncated normal enter every value through these numbers, so they are part of the
//! stream: they must not depend on a platform's libm. Computed in double-double arithmetic (about 30
//! digits) from exactly rounded operations, then rounded once.

use std::cell::Cell;

use qd::Quad;

use crate::dispatch::with_default_floats;

/// `1 / sqrt(2 pi)` to 32 digits.
const INV_SQRT_2PI: Quad = Quad(0.398_942_280_401_432_7, -2.492_327_202_277_73e-17);

/// The series `sum x^(2n+1) / (2n+1)!!`, which is `(1/2 - P(Z > x)) / density(x)`, for `0 <= x < 5.5`: all terms are
/// positive (Abramowitz & Stegun 26.2.11).
fn central_series(x: f64) -> Quad {
    let real = Quad::from;
    let x2 = real(x) * real(x);
    let (mut term, mut sum, mut odd) = (real(x), real(x), 1.0);
    while term.0 > sum.0 * 1e-33 {
        odd += 2.0;
        term = term * x2 / real(odd);
        sum += term;
    }
    sum
}

/// `1 / (x + 2 / (x + 3 / (x + ...)))` from the far end, for `x >= 5.5` (Laplace; A&S 26.2.14).
fn excess_fraction(x: f64) -> Quad {
    let rest =
        (2..=120).rev().fold(Quad::from(x), |rest, n| x_plus(x, Quad::from(f64::from(n)) / rest));
    Quad::from(1.0) / rest
}

fn x_plus(x: f64, y: Quad) -> Quad {
    Quad::from(x) + y
}

fn density(x: f64) -> Quad {
    INV_SQRT_2PI * (Quad::from(x) * Quad::from(x) * Quad::from(-0.5)).exp()
}

/// `P(Z > x)` for `x >= 0`, to about 23 digits or better.
fn upper_tail(x: f64) -> Quad {
    if x > 37.0 {
        Quad::from(0.0) // below 6e-300
    } else if x < 5.5 {
        Quad::from(0.5) - density(x) * central_series(x)
    } else {
        density(x) / x_plus(x, excess_fraction(x))
    }
}

/// The hazard rate `density(x) / P(Z > x)` and by how much it exceeds `x`, for `x >= 0`, to about 20 digits.
fn hazard(x: f64) -> (Quad, Quad) {
    if x < 5.5 {
        let rate = Quad::from(1.0) / (Quad::from(0.5) / density(x) - central_series(x));
        (rate, rate - Quad::from(x))
    } else {
        let excess = excess_fraction(x);
        (x_plus(x, excess), excess)
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

/// A part of the upper tail of the standard normal distribution, from `a >= 0` to `b`, as seen from its near end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TailInterval {
    /// `P(a < Z < b) / P(Z > a)`.
    pub share: f64,
    /// `P(Z > b) / P(Z > a)`, or 0 below e^-100.
    pub rest: f64,
    /// The Mills ratio `P(Z > a) / density(a)`.
    pub mills: f64,
    /// The hazard rate at a, less a.
    pub excess: f64,
}

/// The numbers of `0 <= a < b` (b may be infinite), each correctly rounded as those of [`interval`]; however small the
/// probabilities are.
pub fn tail_interval(a: f64, b: f64) -> TailInterval {
    let real = Quad::from;
    let (rate, excess) = hazard(a);
    let width = real(b) - real(a); // exact
    let share = if width.0 * (a + 1.0) <= 1.0 {
        // hazard(a) times the integral of exp(-a y - y^2 / 2) = sum of (-y)^k He_k(a) / k! over 0 <= y <= width
        let (mut term, mut before) = (real(1.0), real(0.0));
        let (linear, square) = (width * real(a), width * width);
        let mut sum = term;
        for k in 1..=40 {
            (term, before) = ((term * linear + before * square) / real(-f64::from(k)), term);
            sum += term / real(f64::from(k + 1));
        }
        rate * width * sum
    } else if b.is_finite() && width.0 * (a * 0.5 + b * 0.5) <= 100.0 {
        let exponent = width * (real(a) + real(b)) * real(-0.5);
        real(1.0) - exponent.exp() * rate / hazard(b).0
    } else {
        real(1.0)
    };
    TailInterval {
        share: share.0,
        rest: (real(1.0) - share).0,
        mills: (real(1.0) / rate).0,
        excess: excess.0,
    }
}

/// The mean of a standard normal variable given that it lies in `low < high`.
pub fn truncated_mean(low: f64, high: f64) -> f64 {
    if low + high < 0.0 {
        return -truncated_mean(-high, -low);
    }
    if low == -high {
        return 0.0;
    }
    with_default_floats(|| {
        let Moments { from, width, mean, .. } = moments(low, high);
        (Quad::from(from) + Quad::from(width) * mean).0
    })
}

/// The standard deviation of a standard normal variable given that it lies in `low < high`.
pub fn truncated_std(low: f64, high: f64) -> f64 {
    if low + high < 0.0 {
        return truncated_std(-high, -low);
    }
    with_default_floats(|| {
        let Moments { width, variance, .. } = moments(low, high);
        (Quad::from(width) * variance.sqrt()).0
    })
}

/// Mean and variance in an interval, measured on `from + width t` with t from 0 to 1.
struct Moments {
    from: f64,
    width: f64,
    mean: Quad,
    variance: Quad,
}

/// Of [`moments`].
const PANELS: u32 = 100;

/// Integrated numerically, for `low + high >= 0`: closed forms cancel where an interval is narrow or far out. Five Gauss
/// points in each of [`PANELS`] panels are right to 1e-14, also over 45 e-folds, where the density is cut off. Of
/// exactly rounded operations only, since a standard deviation that is asked for decides the parameters of a law.
fn moments(low: f64, high: f64) -> Moments {
    const FOLDS: f64 = 45.0;
    let real = Quad::from;
    let from = low.max(-(2.0 * FOLDS).sqrt());
    // from `start` to `end` the exponent falls by FOLDS
    let start = from.max(0.0);
    let end = if start < 1e100 { (start * start + 2.0 * FOLDS).sqrt() } else { start };
    let width = (high - from).min(start - from + FOLDS / (0.5 * start + 0.5 * end));

    // nodes and weights on [-1, 1] (A&S 25.4.30)
    let spread = real(2.0) * (real(10.0) / real(7.0)).sqrt();
    let far = (real(5.0) + spread).sqrt() / real(3.0);
    let near = (real(5.0) - spread).sqrt() / real(3.0);
    let tilt = real(13.0) * real(70.0).sqrt();
    let weight = |sign: f64| (real(322.0) + real(sign) * tilt) / real(900.0);
    let rule = [
        (-far, weight(-1.0)),
        (-near, weight(1.0)),
        (real(0.0), real(128.0) / real(225.0)),
        (near, weight(1.0)),
        (far, weight(-1.0)),
    ];

    let [mut mass, mut first, mut second] = [real(0.0); 3];
    for panel in 0..PANELS {
        for (node, weight) in rule {
            let t = (real(f64::from(2 * panel + 1)) + node) / real(f64::from(2 * PANELS));
            let y = real(width) * t;
            let part = weight * (-y * (real(from) + y * real(0.5))).exp();
            mass += part;
            first += part * t;
            second += part * t * t;
        }
    }
    let mean = first / mass;
    Moments { from, width, mean, variance: second / mass - mean * mean }
}
