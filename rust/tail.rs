//! The quantile function far in a tail, or in an interval so narrow that next to no probability is left.
//!
//! [`crate::quantile`] works with the probability of both tails, which ends where floating-point numbers do. Here
//! everything is relative to the near end `a >= 0` of the interval, and the result is the distance y from it:
//!
//! ```text
//!     t = -log(P(Z > a + y) / P(Z > a)) = -log(1 - share p)        p: how much of the interval lies below
//!       = a y + y^2 / 2 + log(M(a) / M(a + y))                     M: the Mills ratio P(Z > x) / density(x)
//! ```
//!
//! To second order, t is `(y + excess y^2 / 2) / M(a)`, where excess is the hazard rate `1 / M(a)` less a: a square root
//! gives y within 3e-4 of itself, and exactly where t is small, as it is in a narrow interval. In a tail two of
//! Newton's steps follow, and are quadratic: below 1e-8 after the first. There, with `u = 1 / x^2`,
//!
//! ```text
//!     M(x) = exp(-u P(u)) / x,   log(M(a) / M(a + y)) = log(1 + y / a) + (u - u_a) D(u)
//! ```
//!
//! with the divided difference D of `u P(u)`, so that nothing cancels. Relative error of y: 2e-14 from P, and some
//! rounding. Coefficients: `tools/quantile_coefficients.py`.

use crate::gaussian::tail_interval;
use crate::quantile::{horner, log_1p, neg_log_1m};

/// A part of the upper tail of the standard normal distribution, from its near end on.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    share: f64,
    rest: f64,
    mills: f64,
    excess: f64,
    /// The near end, where it is far enough out for [`MILLS`].
    far: Option<Far>,
}

#[derive(Clone, Copy, Debug)]
struct Far {
    a: f64,
    inverse: f64,
    /// `inverse^2`.
    u: f64,
    /// D, lowest power first.
    difference: [f64; MILLS.len()],
}

/// Where [`MILLS`] begins. What begins below and holds less than 2^-90 is so narrow (less than 1e-4 of the tail) that
/// y is exact to second order.
const FAR: f64 = 10.0;

impl Tail {
    /// The interval from `a >= 0` to `b`, which may be infinite.
    pub fn new(a: f64, b: f64) -> Self {
        let part = tail_interval(a, b);
        let far = (a >= FAR).then(|| {
            let inverse = 1.0 / a;
            let u = inverse * inverse;
            let mut difference = MILLS;
            for k in (0..MILLS.len() - 1).rev() {
                difference[k] = difference[k + 1].mul_add(u, difference[k]);
            }
            Far { a, inverse, u, difference }
        });
        Self { share: part.share, rest: part.rest, mills: part.mills, excess: part.excess, far }
    }

    /// The distance from the near end below which lies `p` of the interval; `q = 1 - p`.
    #[inline(always)]
    pub fn distance(&self, p: f64, q: f64) -> f64 {
        let t = neg_log_1m(p * self.share, q.mul_add(self.share, self.rest));
        let linear = t * self.mills;
        let y = 2.0 * linear / (1.0 + (2.0 * self.excess).mul_add(linear, 1.0).sqrt());
        match &self.far {
            Some(far) => far.newton(far.newton(y, t), t),
            None => y,
        }
    }
}

impl Far {
    #[inline(always)]
    fn newton(&self, y: f64, t: f64) -> f64 {
        let e = y * self.inverse;
        let r = 1.0 / (1.0 + e);
        let q = r * r; // u = q u_a, u_a - u = u_a e (2 + e) q
        let u = q * self.u;
        let change = self.u * e * (2.0 + e) * q * horner(&self.difference, u);
        let residual = y.mul_add(0.5, self.a).mul_add(y, -t) + (log_1p(e) - change);
        // the hazard rate, x + 1/x - 2/x^3
        let rate = (self.a + y) * u.mul_add((-2.0_f64).mul_add(u, 1.0), 1.0);
        y - residual / rate
    }
}

/// P of the Mills ratio `exp(-u P(u)) / x`, `u = 1 / x^2 <= 1 / 100`.
///
/// Error 2^-39.5
const MILLS: [f64; 7] = [
    0.9999999999986877,
    -2.4999999871182514,
    12.333312547598151,
    -88.2373163969769,
    812.4661782515004,
    -8622.510929228185,
    74899.78923677816,
];
