//! The quantile function of the standard normal distribution over lanes, from exactly rounded operations.
//!
//! With v in (-1, 1) twice the distance of the probability from 1/2,
//!
//! ```text
//!     z(v) = sqrt(2) erfinv(v) = v P(w),   w = -log(1 - v^2) = -log(q (2 - q)),   q = 1 - |v|
//! ```
//!
//! P is even in v and analytic in w, so one polynomial serves the centre; far out z grows like sqrt(w) and
//! polynomials in sqrt(w) take over (the form of Giles, "Approximating the erfinv function", 2010; the
//! coefficients and the logarithm are ours: `tools/quantile_coefficients.py`). Both v and q come in, each
//! with full relative precision: v alone would lose the tails, q alone the values near zero.
//!
//! The centre holds all but one word in a thousand (float32) or in three hundred (float64). It is one short
//! loop without branches, which vectorises; whoever lies outside is then done again, one by one.

/// A floating-point type with a quantile function.
pub trait Quantile:
    Copy + PartialOrd + std::ops::Mul<Output = Self> + std::ops::Sub<Output = Self> + 'static
{
    /// P around w = `CENTER`, for w up to `-log(TAIL)`.
    const CENTRAL: &'static [Self];
    /// See `CENTRAL`.
    const CENTER: Self;
    /// The `1 - v^2` below which the tail polynomials hold.
    const TAIL: Self;
    /// Tail polynomials: up to which sqrt(w), around which sqrt(w), coefficients.
    const TAILS: &'static [(Self, Self, &'static [Self])];

    /// `-log(y)` for y in (0, 1].
    fn neg_log(y: Self) -> Self;
    /// `self * a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// The square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// `1 - v^2 = q (2 - q)`.
    fn one_minus_square(q: Self) -> Self;
}

/// `out[i] = scale(z(v))` with `(v, q) = place(words[i])`; v in [-1, 1], q = 1 - |v| > 0.
#[inline(always)]
pub fn quantiles<W: Copy, T: Quantile>(
    words: &[W],
    out: &mut [T],
    place: impl Fn(W) -> (T, T),
    scale: impl Fn(T) -> T,
) {
    let mut tails = 0;
    for (x, word) in out.iter_mut().zip(words) {
        let (v, q) = place(*word);
        let y = T::one_minus_square(q);
        tails |= u32::from(y < T::TAIL);
        *x = scale(v * horner(T::CENTRAL, T::neg_log(y) - T::CENTER));
    }
    if tails != 0 {
        for (x, word) in out.iter_mut().zip(words) {
            let (v, q) = place(*word);
            let y = T::one_minus_square(q);
            if y < T::TAIL {
                *x = scale(v * tail(T::neg_log(y).sqrt()));
            }
        }
    }
}

/// P in the tail, by s = sqrt(w).
#[inline(always)]
fn tail<T: Quantile>(s: T) -> T {
    let [inner @ .., last] = T::TAILS else { unreachable!("every type has tails") };
    let (_, center, coefficients) = inner.iter().find(|piece| s < piece.0).unwrap_or(last);
    horner(coefficients, s - *center)
}

/// The polynomial with these coefficients, lowest power first.
#[inline(always)]
fn horner<T: Quantile>(coefficients: &[T], x: T) -> T {
    let (last, rest) = coefficients.split_last().expect("a polynomial has a coefficient");
    rest.iter().rev().fold(*last, |sum, c| sum.mul_add(x, *c))
}

/// The mantissa is taken from [2/3, 4/3) in float32, from [sqrt(1/2), sqrt(2)) in float64.
const TWO_THIRDS_F32: u32 = 0x3f2a_aaab;
const SQRT_HALF_F64: u64 = 0x3fe6_a09e_667f_3bcd;

/// `(log(1 + f) - f) / f^2`.
///
/// Relative error 2^-21.5
const LOG_F32: [f32; 8] = [
    -0.49999985,
    0.3333332,
    -0.25004146,
    0.2000378,
    -0.16483018,
    0.1411831,
    -0.15040764,
    0.1342575,
];
/// Relative error 2^-24.4
const CENTRAL_F32: [f32; 11] = [
    2.3386207,
    0.33963495,
    -0.008532916,
    -0.0010475061,
    0.00026411767,
    -1.9639212e-05,
    -1.9515783e-06,
    6.019781e-07,
    -3.6278646e-08,
    -6.516196e-09,
    9.876416e-10,
];
/// Relative error 2^-23.3
const TAIL_F32: [f32; 9] = [
    4.717089,
    1.4246342,
    0.0046339002,
    -0.0029112566,
    0.0015405582,
    -0.0009848822,
    0.0006410854,
    -0.00029616564,
    6.3138155e-05,
];
/// Relative error 2^-23.7
const FAR_TAIL_F32: [f32; 8] = [
    9.714261,
    1.4263695,
    -0.00072434515,
    9.018805e-06,
    7.980417e-06,
    -2.2984404e-06,
    6.0492056e-07,
    -8.9389395e-08,
];
/// `(2 atanh(s) / s - 2) / s^2` in `s^2`.
///
/// Relative error 2^-54.0
const LOG_F64: [f64; 8] = [
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
const CENTRAL_F64: [f64; 22] = [
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
const TAIL_F64: [f64; 21] = [
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
const FAR_TAIL_F64: [f64; 21] = [
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
const EXTREME_TAIL_F64: [f64; 16] = [
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

impl Quantile for f32 {
    const CENTRAL: &'static [f32] = &CENTRAL_F32;
    const CENTER: f32 = 3.125;
    const TAIL: f32 = 0.0019304542; // exp(-6.25)
    const TAILS: &'static [(f32, f32, &'static [f32])] =
        &[(4.7, 3.5, &TAIL_F32), (9.5, 7.0, &FAR_TAIL_F32)];

    #[inline(always)]
    fn neg_log(y: f32) -> f32 {
        // y = 2^exponent (1 + f)
        let exponent = (y.to_bits().wrapping_sub(TWO_THIRDS_F32)).cast_signed() >> 23;
        let f = f32::from_bits(y.to_bits().wrapping_sub((exponent << 23).cast_unsigned())) - 1.0;
        let log = (f * f).mul_add(horner(&LOG_F32, f), f);
        (exponent as f32).mul_add(-std::f32::consts::LN_2, -log)
    }
    #[inline(always)]
    fn mul_add(self, a: f32, b: f32) -> f32 {
        f32::mul_add(self, a, b)
    }
    #[inline(always)]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn one_minus_square(q: f32) -> f32 {
        (-q).mul_add(q, q + q)
    }
}

impl Quantile for f64 {
    const CENTRAL: &'static [f64] = &CENTRAL_F64;
    const CENTER: f64 = 2.5;
    const TAIL: f64 = 0.006737946999085467; // exp(-5)
    const TAILS: &'static [(f64, f64, &'static [f64])] =
        &[(4.0, 3.125, &TAIL_F64), (6.7, 5.25, &FAR_TAIL_F64), (11.0, 8.75, &EXTREME_TAIL_F64)];

    #[inline(always)]
    fn neg_log(y: f64) -> f64 {
        // y = 2^exponent (1 + f), log(1 + f) = 2 atanh(s)
        let exponent = (y.to_bits().wrapping_sub(SQRT_HALF_F64)).cast_signed() >> 52;
        let f = f64::from_bits(y.to_bits().wrapping_sub((exponent << 52).cast_unsigned())) - 1.0;
        let s = f / (2.0 + f);
        let s2 = s * s;
        let log = (s * s2).mul_add(horner(&LOG_F64, s2), 2.0 * s);
        f64::from(exponent as i32).mul_add(-std::f64::consts::LN_2, -log)
    }
    #[inline(always)]
    fn mul_add(self, a: f64, b: f64) -> f64 {
        f64::mul_add(self, a, b)
    }
    #[inline(always)]
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn one_minus_square(q: f64) -> f64 {
        (-q).mul_add(q, q + q)
    }
}
