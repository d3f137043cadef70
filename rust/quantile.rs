//! The quantile function of the standard normal distribution over lanes, from exactly rounded operations.
//!
//! With v in [-1, 1] twice the distance of the probability from 1/2, `z(v) = sqrt(2) erfinv(v)`, which is odd.
//! Everything here takes |v| together with `q = 1 - |v|`, the two-sided tail probability, each with full relative
//! precision: v alone would lose the tails, q alone the values near zero.
//!
//! **float32** ([`table_quantile`]): half an octave of q is one row of a table, and z a polynomial in t, which runs
//! from 0 to 1/2 against q along the row. All derivatives of z with respect to v are positive (Carlitz, "The inverse of
//! the error function", 1963), and so are all coefficients: every step of Horner's rule is a sum and product
//! of numbers >= 0 that grow with t, rounding keeps order, hence **z is monotone to the last bit**. The rows of
//! q >= 1/2 take t from v. Where a vector register holds the table, this is 2.3 G values/s; a logarithm and one
//! polynomial for all, as below, took twice as long and was not monotone.
//!
//! **float64** ([`erfinv_quantile`]), where that table would fill a cache:
//!
//! ```text
//!     z(v) = v P(w),   w = -log(1 - v^2) = -log(q (2 - q))
//! ```
//!
//! P is even in v and analytic in w, so one polynomial serves the centre; far out z grows like sqrt(w) and
//! polynomials in sqrt(w) take over (the form of Giles, "Approximating the erfinv function", 2010; the
//! coefficients and the logarithm are ours: `tools/quantile_coefficients.py`).
//!
//! In both the likely range is short and without branches; a vector with a lane outside it is done again.

use std::hint::select_unpredictable;

use crate::philox::LANES;
use crate::quantile_table;
use crate::simd::{Portable, Simd, Table, lanes};

/// See the head of the file; `tools/quantile_table.py` makes the numbers.
static TABLE: Table = Table::new(&quantile_table::ROWS);

/// The row of q: its exponent and the first bit of its mantissa.
#[inline(always)]
fn row(q: f32) -> u32 {
    q.to_bits() >> 22
}

/// `|z|` of `v = |v|` and `q = 1 - v >= 2^-126`, where `q >= 1/2` must mean `v <= 1/2`; and whether a lane was left
/// out, being unlikely. `EVERYWHERE` leaves none out, and is slow.
#[inline(always)]
pub fn table_quantile<S: Simd, const EVERYWHERE: bool>(
    simd: S,
    v: [f32; LANES],
    q: [f32; LANES],
) -> ([f32; LANES], bool) {
    let rows = lanes!(0; l => row(q[l]));
    let columns =
        if EVERYWHERE { Portable.lookup(&TABLE, rows) } else { simd.lookup(&TABLE, rows) };
    let [start, inner @ .., last] = columns;
    let t = lanes!(0.0; l => along_row(start[l], v[l], q[l]));
    let mut z = last;
    for c in inner.iter().rev() {
        z = lanes!(0.0; l => z[l].mul_add(t[l], c[l]));
    }
    let mut left_out = false;
    for row in rows {
        left_out |= row < S::FIRST_ROW;
    }
    (z, left_out)
}

/// t of one lane.
#[inline(always)]
fn along_row(start: f32, v: f32, q: f32) -> f32 {
    let mantissa = f32::from_bits(q.to_bits() & 0x007f_ffff | 0x3f80_0000);
    // both are made, or a vector of them would become branches
    select_unpredictable(q >= 0.5, v.mul_add(2.0, start), start - mantissa)
}

/// P around w = `CENTER` holds while `1 - v^2 >= TAIL`.
const CENTER: f64 = 2.5;
const TAIL_BEGINS: f64 = 0.006737946999085467; // exp(-5)
/// Tail polynomials: up to which sqrt(w), around which sqrt(w), coefficients.
const TAILS: [(f64, f64, &[f64]); 3] =
    [(4.0, 3.125, &TAIL), (6.7, 5.25, &FAR_TAIL), (11.0, 8.75, &EXTREME_TAIL)];

/// As [`table_quantile`], for q > 0.
#[inline(always)]
pub fn erfinv_quantile<const EVERYWHERE: bool>(
    v: [f64; LANES],
    q: [f64; LANES],
) -> ([f64; LANES], bool) {
    let y = lanes!(0.0; l => one_minus_square(q[l]));
    let mut z = lanes!(0.0; l => v[l] * horner(&CENTRAL, neg_log(y[l]) - CENTER));
    let mut left_out = false;
    for y in y {
        left_out |= y < TAIL_BEGINS;
    }
    if EVERYWHERE {
        for l in 0..LANES {
            if y[l] < TAIL_BEGINS {
                z[l] = v[l] * tail(neg_log(y[l]).sqrt());
            }
        }
    }
    (z, left_out)
}

/// P in the tail, by s = sqrt(w).
#[inline(always)]
fn tail(s: f64) -> f64 {
    let [inner @ .., last] = &TAILS;
    let (_, center, coefficients) = inner.iter().find(|piece| s < piece.0).unwrap_or(last);
    horner(coefficients, s - center)
}

/// The polynomial with these coefficients, lowest power first.
#[inline(always)]
pub(crate) fn horner(coefficients: &[f64], x: f64) -> f64 {
    let (last, rest) = coefficients.split_last().expect("a polynomial has a coefficient");
    rest.iter().rev().fold(*last, |sum, c| sum.mul_add(x, *c))
}

/// `1 - v^2 = q (2 - q)`.
#[inline(always)]
fn one_minus_square(q: f64) -> f64 {
    (-q).mul_add(q, q + q)
}

/// `-log(y)` for y in (0, 1].
#[inline(always)]
fn neg_log(y: f64) -> f64 {
    let (exponent, f) = split(y);
    neg_log_of_parts(exponent, f)
}

/// `-log(1 - x)` given also `y = 1 - x`, both in (0, 1] with full relative precision, which the result has too.
#[inline(always)]
pub(crate) fn neg_log_1m(x: f64, y: f64) -> f64 {
    let (exponent, f) = split(y);
    neg_log_of_parts(exponent, if exponent == 0 { -x } else { f })
}

/// `log(1 + e)` for e from 0 to 0.41.
#[inline(always)]
pub(crate) fn log_1p(e: f64) -> f64 {
    -neg_log_of_parts(0, e)
}

/// (exponent, f) with `y = 2^exponent (1 + f)`.
#[inline(always)]
fn split(y: f64) -> (i64, f64) {
    let exponent = (y.to_bits().wrapping_sub(SQRT_HALF)).cast_signed() >> 52;
    let f = f64::from_bits(y.to_bits().wrapping_sub((exponent << 52).cast_unsigned())) - 1.0;
    (exponent, f)
}

#[inline(always)]
fn neg_log_of_parts(exponent: i64, f: f64) -> f64 {
    // log(1 + f) = 2 atanh(s)
    let s = f / (2.0 + f);
    let s2 = s * s;
    let log = (s * s2).mul_add(horner(&LOG, s2), 2.0 * s);
    f64::from(exponent as i32).mul_add(-std::f64::consts::LN_2, -log)
}

/// The mantissa is taken from [sqrt(1/2), sqrt(2)).
const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;

/// `(2 atanh(s) / s - 2) / s^2` in `s^2`.
///
/// Relative error 2^-54.0
const LOG: [f64; 8] = [
    0.6666666666666666,
    0.4000000000000088,
    0.28571428570801954,
    0.22222222392089008,
    0.18181795600060793,
    0.15386241881938595,
    0.13268714792348096,
    0.1308723619665962,
];
/// Relative error 2^-53.6
const CENTRAL: [f64; 22] = [
    2.12331346701467,
    0.34880202439905444,
    -0.005907619380163793,
    -0.0017715965129182088,
    0.0003086524838202352,
    -7.065523527997019e-06,
    -4.831829754381931e-06,
    6.770196976409107e-07,
    1.8974204701303758e-08,
    -1.5360013240911848e-08,
    1.2831368726961076e-09,
    1.6915025410822527e-10,
    -4.399329856891935e-11,
    1.289008962418514e-12,
    7.596844612567403e-13,
    -1.0763051257153743e-13,
    -4.493066208251816e-15,
    2.6787264386924898e-15,
    -1.4337418990416418e-16,
    -3.768263792500738e-17,
    3.589562335389115e-18,
    2.326859306239138e-19,
];
/// Relative error 2^-51.6
const TAIL: [f64; 21] = [
    4.183696478311673,
    1.4194725867479967,
    0.009967213729703182,
    -0.007496761095933054,
    0.005366120246473359,
    -0.0035636523021026706,
    0.001782856456668315,
    -0.00046479820261238113,
    -0.00012664757586975108,
    0.00019247931470214408,
    -8.322941077538387e-05,
    3.097745316716913e-06,
    1.6121623312186137e-05,
    -8.892045616633174e-06,
    1.276765728935001e-06,
    1.0969626121713105e-06,
    -7.862899075238226e-07,
    1.51829180782403e-07,
    7.449052493057788e-08,
    -4.294154613657155e-08,
    4.436539831861091e-09,
];
/// Relative error 2^-54.9
const FAR_TAIL: [f64; 21] = [
    7.215981945390646,
    1.4286317203525387,
    -0.00038795086528011847,
    -0.00021219709099208793,
    7.799207708366762e-05,
    -1.9831704402249017e-05,
    4.4106469802656434e-06,
    -9.154895912314141e-07,
    1.8515114194370982e-07,
    -3.98144297980418e-08,
    1.1047213090313518e-08,
    -4.532874889743356e-09,
    2.3229282096273238e-09,
    -1.1714650024094302e-09,
    5.119049556816722e-10,
    -1.9568084780085545e-10,
    7.039046758513248e-11,
    -1.761856227465554e-11,
    -1.800132903812002e-12,
    2.821522399590836e-12,
    -5.739638014793266e-13,
];
/// Relative error 2^-54.1
const EXTREME_TAIL: [f64; 16] = [
    12.208287373367217,
    1.424022122557481,
    -0.0006002164246440512,
    2.925474844912302e-05,
    -1.8650826186454325e-08,
    -2.948158984562944e-07,
    6.096843799216724e-08,
    -9.502255730133184e-09,
    1.3213375422790883e-09,
    -1.7266539282380518e-10,
    2.1700475170498742e-11,
    -2.638185789077851e-12,
    3.0795660159949093e-13,
    -3.763183317896465e-14,
    5.343925130517617e-15,
    -5.138129059969268e-16,
];
