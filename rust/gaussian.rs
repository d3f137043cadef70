//! Tail probabilities of the standard normal distribution, correctly rounded.
//!
//! The bounds of a truncated normal enter every value through these numbers, so they are part of the
//! stream: they must not depend on a platform's libm. Computed in double-double arithmetic (about 30
//! digits) with exactly rounded operations, then rounded once.

use std::ops::{Add, Mul, Neg, Sub};

/// An unevaluated sum `high + low` with `|low| <= ulp(high) / 2` (Dekker 1971).
#[derive(Clone, Copy, Debug)]
struct Double {
    high: f64,
    low: f64,
}

const fn double(high: f64, low: f64) -> Double {
    Double { high, low }
}

/// `log(2)` and `1 / sqrt(2 pi)`.
const LN_2: Double = double(std::f64::consts::LN_2, 2.319_046_813_846_299_6e-17);
const INV_SQRT_2PI: Double = double(0.398_942_280_401_432_7, -2.492_327_202_277_73e-17);

/// `a + b`, exactly (Knuth).
fn two_sum(a: f64, b: f64) -> Double {
    let high = a + b;
    let b_part = high - a;
    double(high, (a - (high - b_part)) + (b - b_part))
}

impl Add for Double {
    type Output = Double;
    fn add(self, other: Double) -> Double {
        let (s, t) = (two_sum(self.high, other.high), two_sum(self.low, other.low));
        let u = two_sum(s.high, s.low + t.high);
        two_sum(u.high, u.low + t.low)
    }
}

impl Neg for Double {
    type Output = Double;
    fn neg(self) -> Double {
        double(-self.high, -self.low)
    }
}

impl Sub for Double {
    type Output = Double;
    fn sub(self, other: Double) -> Double {
        self + -other
    }
}

impl Mul for Double {
    type Output = Double;
    fn mul(self, other: Double) -> Double {
        let high = self.high * other.high;
        let error = self.high.mul_add(other.high, -high);
        two_sum(high, self.high.mul_add(other.low, self.low * other.high) + error)
    }
}

impl Double {
    fn of(x: f64) -> Double {
        double(x, 0.0)
    }

    /// `1 / self`: two Newton steps on the rounded reciprocal.
    fn reciprocal(self) -> Double {
        let mut r = Double::of(1.0 / self.high);
        for _ in 0..2 {
            r = r + r * (Double::of(1.0) - self * r);
        }
        r
    }

    /// `exp(self)` for `self` in [-700, 0]: `2^n exp(r / 256)^256`.
    fn exp(self) -> Double {
        let n = (self.high / LN_2.high).round();
        let r = (self - LN_2 * Double::of(n)) * Double::of(1.0 / 256.0);
        let (mut term, mut sum) = (Double::of(1.0), Double::of(1.0));
        for i in 1..=13 {
            term = term * r * Double::of(f64::from(i)).reciprocal();
            sum = sum + term;
        }
        for _ in 0..8 {
            sum = sum * sum;
        }
        // 2^n from its bits; n >= -1010, so the factor is a normal number
        let power = f64::from_bits(((1023 + n as i64) as u64) << 52);
        double(sum.high * power, sum.low * power)
    }
}

/// `P(Z > x)` for `x >= 0`, to about 23 digits or better.
fn upper_tail(x: f64) -> Double {
    if x > 37.0 {
        return Double::of(0.0); // below 6e-300
    }
    let x2 = Double::of(x) * Double::of(x);
    let density = INV_SQRT_2PI * (x2 * Double::of(-0.5)).exp();
    if x < 5.5 {
        // 1/2 - density * sum x^(2n+1) / (2n+1)!! : all terms positive (Abramowitz & Stegun 26.2.11)
        let (mut term, mut sum) = (Double::of(x), Double::of(x));
        let mut odd = 1.0;
        while term.high > sum.high * 1e-33 {
            odd += 2.0;
            term = term * x2 * Double::of(odd).reciprocal();
            sum = sum + term;
        }
        Double::of(0.5) - density * sum
    } else {
        // density / (x + 1 / (x + 2 / (x + ...))) from the far end (Laplace; A&S 26.2.14)
        let mut fraction = Double::of(x);
        for n in (1..=120).rev() {
            fraction = Double::of(x) + Double::of(f64::from(n)) * fraction.reciprocal();
        }
        density * fraction.reciprocal()
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
pub fn interval(low: f64, high: f64) -> Interval {
    let one = Double::of(1.0);
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
    Interval { below: below.high, mass: mass.high, above: above.high }
}

/// The standard deviation of a standard normal variable given that it lies in `low < high`:
/// `1 + (low phi(low) - high phi(high)) / mass - ((phi(low) - phi(high)) / mass)^2`, rooted
/// (Johnson, Kotz & Balakrishnan 1994, 10.1). Accurate where the interval is not tiny or far out.
pub fn truncated_std(low: f64, high: f64) -> f64 {
    let density = |x: f64| (-0.5 * x * x).exp() * INV_SQRT_2PI.high;
    let moment = |x: f64| if x.is_finite() { x * density(x) } else { 0.0 };
    let mass = interval(low, high).mass;
    let shift = (density(low) - density(high)) / mass;
    (1.0 + (moment(low) - moment(high)) / mass - shift * shift).max(0.0).sqrt()
}
