//! Elementary functions in arithmetic that vectorises: no calls, no branches, and only exactly rounded operations, so
//! that every instruction set gives the same bits.
//!
//! ```text
//! exp, expm1   e^x = 2^k e^r,  x = k ln(2) + r,  e^r = 1 + r + r^2 P(r)
//! ln_1p        1 + x = 2^k (1 + f),  ln(1 + f) = 2 atanh(s) with s = f / (2 + f)
//! normal       P(Z > a) = exp(-a^2 / 2) / (a + p) * P((a - p) / (a + p)): the Mills ratio on the whole half line
//!              (Shepherd & Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x", 1981)
//! erf          near 0 a polynomial, from 1 on the normal tail
//! ```
//!
//! The code is one for both types; what differs is in a [`Table`] and in how bits are taken apart. No fused
//! multiply-add: where it is emulated it would cost most of the speed. Accuracy: `tests/activations.rs`.

use super::elementary_table::{F32, F64};

/// The numbers of one type; `tools/elementary_coefficients.py` makes them.
#[derive(Debug)]
pub struct Table<T: 'static> {
    /// ln(2), high and low part: the high one times any exponent is exact.
    pub ln2: (T, T),
    /// From here down e^x is 0.
    pub exp_zero: T,
    /// From here up e^x is infinite.
    pub exp_infinite: T,
    /// From here up the normal density is 0.
    pub normal_zero: T,
    /// `(e^r - 1 - r) / r^2`
    pub exp: &'static [T],
    /// `(2 atanh(s) / s - 2) / s^2` in s^2.
    pub ln: &'static [T],
    /// `erf(x) / x - 1` in x^2.
    pub erf: &'static [T],
    /// The p of the Mills ratio.
    pub pivot: T,
    /// `(a + p) P(Z > a) / exp(-a^2 / 2)` in `(a - p) / (a + p)`.
    pub mills: &'static [T],
}

/// A number type with these functions. A NaN stays a NaN everywhere; the sign of a zero may be lost.
pub trait Elementary: num_traits::Float + 'static {
    /// What the functions are made of.
    const TABLE: Table<Self>;

    /// Rounds once, to nearest even.
    #[must_use]
    fn narrow(value: f64) -> Self;

    /// The integer k nearest to `self`, and two powers of two whose product is 2^k: one of them alone may not be
    /// representable.
    #[must_use]
    fn nearest_power(self) -> (Self, [Self; 2]);

    /// `(k, m, 2^-k)` with `self = 2^k m` and m in [sqrt(1/2), sqrt(2)), for positive normal numbers up to 2^100.
    #[must_use]
    fn split_power(self) -> (Self, Self, Self);

    /// The number with so few digits left that its square is exact.
    #[must_use]
    fn leading_half(self) -> Self;

    /// `e^(self + tail)` and the same less 1, for a tail much smaller than 1.
    #[inline(always)]
    #[must_use]
    fn exp_and_expm1(self, tail: Self) -> (Self, Self) {
        let (one, half) = (Self::one(), Self::narrow(0.5));
        let table = Self::TABLE;
        let x = within(self, table.exp_zero, table.exp_infinite);
        let (k, [a, b]) = ((x + tail) * Self::narrow(std::f64::consts::LOG2_E)).nearest_power();
        let r = x - k * table.ln2.0 - k * table.ln2.1 + tail;
        let rest = r * r * polynomial(table.exp, r);
        let high = one + r; // its error, r - (high - 1), goes to the rest
        let exp = (high + (r - (high - one) + rest)) * a * b;
        // Half of 2^k, since 2^k itself may overflow where the result does not.
        let s = half * a * b;
        (exp, (s * (r + rest) + (s - half)) * Self::narrow(2.0))
    }

    /// `e^self`.
    #[inline(always)]
    #[must_use]
    fn exp_fast(self) -> Self {
        self.exp_and_expm1(-Self::zero()).0
    }

    /// `e^self - 1`, accurate near 0.
    #[inline(always)]
    #[must_use]
    fn expm1_fast(self) -> Self {
        self.exp_and_expm1(-Self::zero()).1
    }

    /// `ln(1 + self)`, accurate near 0.
    #[inline(always)]
    #[must_use]
    fn ln_1p_fast(self) -> Self {
        let (zero, one) = (Self::zero(), Self::one());
        let table = Self::TABLE;
        // u + rest = 1 + self without any error (Knuth's sum of two).
        let u = one + self;
        let back = u - one;
        let rest = (one - (u - back)) + (self - back);
        let (k, m, scale) = u.split_power();
        let f = (m - one) + if self > Self::narrow(1e30) { zero } else { rest * scale };
        let s = f / (Self::narrow(2.0) + f);
        let z = s * s;
        // 2 atanh(s) = 2 s + s R, and 2 s = f - s f.
        let below = s * (f - z * polynomial(table.ln, z));
        let ln = k * table.ln2.0 + (f - (below - k * table.ln2.1));
        let ln = if self == Self::infinity() { self } else { ln };
        let ln = if self < -one { Self::nan() } else { ln };
        if self == -one { Self::neg_infinity() } else { ln }
    }

    /// `1 / (1 + e^-self)` and its derivative.
    #[inline(always)]
    #[must_use]
    fn sigmoid_and_slope(self) -> (Self, Self) {
        // The exponent is never positive, so nothing overflows.
        let one = Self::one();
        let e = (-self.abs()).exp_fast();
        let sum = one + e;
        let d = one / sum;
        let y = (if self < Self::zero() { e } else { one }) / sum;
        // The second term is what the sum has lost.
        (y - y * ((e - (sum - one)) * d), e * d * d)
    }

    /// `1 / (1 + e^-self)`.
    #[inline(always)]
    #[must_use]
    fn sigmoid(self) -> Self {
        self.sigmoid_and_slope().0
    }

    /// The hyperbolic tangent and its derivative.
    #[inline(always)]
    #[must_use]
    fn tanh_and_slope(self) -> (Self, Self) {
        let (one, two) = (Self::one(), Self::narrow(2.0));
        // With E = e^2|x| - 1: tanh |x| = E / (E + 2), and 1 - tanh^2 = 4 (E + 1) / (E + 2)^2.
        let e = (self.abs() * two).expm1_fast();
        let sum = e + two;
        let d = one / sum;
        let near = e / sum;
        let near = near - near * ((e - (sum - two)) * d); // what the sum has lost
        // From E = 2 on the other form, which knows E = inf.
        let y = if e > two { one - (d + d) } else { near };
        (y.copysign(self), Self::narrow(4.0) * d * (one - d))
    }

    /// The hyperbolic tangent.
    #[inline(always)]
    #[must_use]
    fn tanh_fast(self) -> Self {
        self.tanh_and_slope().0
    }

    /// `P(Z > self)` of a standard normal variable Z and its density, for `self >= 0`.
    #[inline(always)]
    #[must_use]
    fn normal_tail_and_density(self) -> (Self, Self) {
        let minus_half = Self::narrow(-0.5);
        let table = Self::TABLE;
        let a = within(self, Self::zero(), table.normal_zero);
        // a^2 to twice the digits: the exponential turns an absolute error into a relative one.
        let high = a.leading_half();
        let tail = minus_half * (a - high) * (a + high);
        let (e, _) = (minus_half * high * high).exp_and_expm1(tail);
        let d = Self::one() / (a + table.pivot);
        let mills = polynomial(table.mills, (a - table.pivot) * d) * d;
        (e * mills, e * Self::narrow(0.398_942_280_401_432_7))
    }

    /// `P(Z < self)` of a standard normal variable Z and its density.
    #[inline(always)]
    #[must_use]
    fn normal_and_density(self) -> (Self, Self) {
        let (tail, density) = self.abs().normal_tail_and_density();
        (if self > Self::zero() { Self::one() - tail } else { tail }, density)
    }

    /// The error function.
    #[inline(always)]
    #[must_use]
    fn erf_fast(self) -> Self {
        let x = self.abs();
        let near = x + x * polynomial(Self::TABLE.erf, x * x);
        let (tail, _) = (x * Self::narrow(std::f64::consts::SQRT_2)).normal_tail_and_density();
        let y = if x > Self::one() { Self::one() - (tail + tail) } else { near };
        y.copysign(self)
    }
}

/// `x` held between the bounds.
#[inline(always)]
pub(super) fn within<T: PartialOrd>(x: T, low: T, high: T) -> T {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// The polynomial with these coefficients, lowest power first, by Horner's rule.
#[inline(always)]
fn polynomial<T: num_traits::Float>(coefficients: &[T], x: T) -> T {
    let (last, rest) = coefficients.split_last().expect("a polynomial has a coefficient");
    let mut sum = *last;
    for c in rest.iter().rev() {
        sum = sum * x + *c;
    }
    sum
}

macro_rules! elementary {
    ($T:ident, $Bits:ident, $table:ident) => {
        const _: () = {
            /// Bits of the fraction, and what a stored exponent is above the true one.
            const FRACTION: u32 = $T::MANTISSA_DIGITS - 1;
            const BIAS: $Bits = $T::MAX_EXP as $Bits - 1;

            impl Elementary for $T {
                const TABLE: Table<Self> = $table;

                #[inline(always)]
                fn narrow(value: f64) -> Self {
                    value as Self
                }

                #[inline(always)]
                fn nearest_power(self) -> (Self, [Self; 2]) {
                    // Added to a number, it leaves the nearest integer in the low bits of the sum. Twice the bias on
                    // top makes that positive, and its half the exponent of a power as it is stored.
                    const ROUND: $T = ((3 << (FRACTION - 1)) + 2 * BIAS) as $T;
                    let sum = self + ROUND;
                    let n = sum.to_bits();
                    let power = |n: $Bits| $T::from_bits((n >> 1) << FRACTION);
                    (sum - ROUND, [power(n), power(n.wrapping_add(1))])
                }

                #[inline(always)]
                fn split_power(self) -> (Self, Self, Self) {
                    // With it, exponents are positive.
                    const SHIFT: $Bits = BIAS + 1;
                    const LOWEST: $T = std::f64::consts::FRAC_1_SQRT_2 as $T;
                    const INTEGER: $T = ((1 as $Bits) << FRACTION) as $T;
                    let bits = self.to_bits().wrapping_add(SHIFT << FRACTION);
                    let n = bits.wrapping_sub(LOWEST.to_bits()) >> FRACTION;
                    let power = n << FRACTION;
                    (
                        $T::from_bits(INTEGER.to_bits() | n) - (INTEGER + SHIFT as $T),
                        $T::from_bits(bits.wrapping_sub(power)),
                        $T::from_bits(((BIAS + SHIFT) << FRACTION).wrapping_sub(power)),
                    )
                }

                #[inline(always)]
                fn leading_half(self) -> Self {
                    const DROPPED: u32 = $T::MANTISSA_DIGITS.div_ceil(2);
                    $T::from_bits(self.to_bits() >> DROPPED << DROPPED)
                }
            }
        };
    };
}

elementary!(f32, u32, F32);
elementary!(f64, u64, F64);
