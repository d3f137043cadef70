//! The types that values are made in and given as, and how a word becomes a number of each.
//!
//! Values are computed in a [`Float`], float32 or float64, and given as a [`Sample`]: one of these, or a 16-bit type that is
//! rounded to once, from float32.

use half::{bf16, f16};

use crate::philox::{Blocks, LANES};
use crate::quantile::{erfinv_quantile, table_quantile};
use crate::simd::{Simd, lanes, to_bf16};

/// A type that values are computed in.
pub trait Float: faer::traits::RealField + Copy + PartialOrd + Send + Sync + 'static {
    /// The unsigned integer a value is made from.
    type Word: Copy + Default + std::ops::Not<Output = Self::Word>;
    /// Values in one superblock.
    const PER_SUPERBLOCK: usize;
    /// 0.
    const ZERO: Self;
    /// 1/2.
    const HALF: Self;
    /// The largest number below 1/2.
    const BELOW_HALF: Self;
    /// 1.
    const ONE: Self;
    /// 2.
    const TWO: Self;

    /// Rounds to nearest even.
    fn from_f64(x: f64) -> Self;
    /// The words of a superblock as `PER_SUPERBLOCK` value-sized words.
    fn words(blocks: &Blocks, words: &mut [Self::Word]);
    /// The word of a value that lies in lane group `slot` of its superblock, from the four words of its block.
    fn word(block: [u32; 4], slot: usize) -> Self::Word;
    /// `word / 2^b`, cut to the type's precision: a multiple of 2^-24 (float32) or 2^-53, below 1.
    fn unit(word: Self::Word) -> Self;
    /// `(word + 1/2) / 2^b`, rounded once (float32: exact) or twice.
    fn share(word: Self::Word) -> f64;
    /// The word's distance from the middle: (s, 1 - |s|) with `s = (2 word + 1) / 2^b - 1`, each rounded once
    /// or twice but with full relative precision.
    fn centered(word: Self::Word) -> (Self, Self);
    /// `|z|` of `v = |v|` and `q = 1 - v > 0`, and whether a lane was left out. See [`crate::quantile`].
    fn quantile<S: Simd, const EVERYWHERE: bool>(
        simd: S,
        v: [Self; LANES],
        q: [Self; LANES],
    ) -> ([Self; LANES], bool);
    /// `self * a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// The absolute value.
    fn abs(self) -> Self;
    /// The value with the sign of another.
    fn copysign(self, sign: Self) -> Self;
}

/// A type that values are given as.
pub trait Sample: Copy + Send + Sync + 'static {
    /// What they are computed in.
    type Float: Float + Sample<Float = Self::Float>;
    /// The name of the type, for messages.
    const NAME: &'static str;
    /// 0.
    const ZERO: Self;

    /// Rounds to nearest even.
    fn round<S: Simd>(simd: S, x: [Self::Float; LANES]) -> [Self; LANES];
    /// Rounds to nearest even, first to the type of computation.
    fn from_f64(x: f64) -> Self;
    /// Exact.
    fn to_f64(self) -> f64;
    /// The next number towards minus infinity.
    fn next_down(self) -> Self;
    /// The next number towards plus infinity.
    fn next_up(self) -> Self;
}

const EXP2_M24: f32 = 1.0 / (1u32 << 24) as f32;
const EXP2_M32: f64 = 1.0 / (1u64 << 32) as f64;
const EXP2_M31: f32 = 1.0 / (1u32 << 31) as f32;
const EXP2_M53: f64 = 1.0 / (1u64 << 53) as f64;
const EXP2_M63: f64 = 1.0 / (1u64 << 63) as f64;

impl Float for f32 {
    type Word = u32;
    const PER_SUPERBLOCK: usize = 4 * LANES;
    const ZERO: Self = 0.0;
    const HALF: Self = 0.5;
    const BELOW_HALF: Self = 0.5 - EXP2_M24 / 2.0;
    const ONE: Self = 1.0;
    const TWO: Self = 2.0;

    #[inline(always)]
    fn from_f64(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn words(blocks: &Blocks, words: &mut [u32]) {
        words.copy_from_slice(blocks.as_flattened());
    }
    #[inline(always)]
    fn word(block: [u32; 4], slot: usize) -> u32 {
        block[slot]
    }
    #[inline(always)]
    fn unit(word: u32) -> f32 {
        (word >> 8).cast_signed() as f32 * EXP2_M24
    }
    #[inline(always)]
    fn share(word: u32) -> f64 {
        f64::mul_add(f64::from(word), EXP2_M32, EXP2_M32 / 2.0)
    }
    #[inline(always)]
    fn centered(word: u32) -> (f32, f32) {
        let signed = (word ^ (1 << 31)).cast_signed();
        let sign = signed >> 31; // 0 or -1
        let magnitude = signed ^ sign; // 0 ..= 2^31 - 1
        let scaled = |k: i32| f32::mul_add(k as f32, EXP2_M31, EXP2_M31 / 2.0);
        let s = f32::from_bits(scaled(magnitude).to_bits() | (sign.cast_unsigned() << 31));
        (s, scaled(i32::MAX - magnitude))
    }
    #[inline(always)]
    fn quantile<S: Simd, const EVERYWHERE: bool>(
        simd: S,
        v: [f32; LANES],
        q: [f32; LANES],
    ) -> ([f32; LANES], bool) {
        table_quantile::<S, EVERYWHERE>(simd, v, q)
    }
    #[inline(always)]
    fn mul_add(self, a: f32, b: f32) -> f32 {
        f32::mul_add(self, a, b)
    }
    #[inline(always)]
    fn abs(self) -> f32 {
        f32::abs(self)
    }
    #[inline(always)]
    fn copysign(self, sign: f32) -> f32 {
        f32::copysign(self, sign)
    }
}

impl Float for f64 {
    type Word = u64;
    const PER_SUPERBLOCK: usize = 2 * LANES;
    const ZERO: Self = 0.0;
    const HALF: Self = 0.5;
    const BELOW_HALF: Self = 0.5 - EXP2_M53 / 2.0;
    const ONE: Self = 1.0;
    const TWO: Self = 2.0;

    #[inline(always)]
    fn from_f64(x: f64) -> f64 {
        x
    }
    /// Value `32 s + 16 h + l` takes words `2 h` (high half) and `2 h + 1` of block `16 s + l`.
    #[inline(always)]
    fn words(blocks: &Blocks, words: &mut [u64]) {
        for (half, words) in words.chunks_exact_mut(LANES).enumerate() {
            for (lane, word) in words.iter_mut().enumerate() {
                let [high, low] = [blocks[2 * half][lane], blocks[2 * half + 1][lane]];
                *word = u64::from(high) << 32 | u64::from(low);
            }
        }
    }
    #[inline(always)]
    fn word(block: [u32; 4], slot: usize) -> u64 {
        u64::from(block[2 * slot]) << 32 | u64::from(block[2 * slot + 1])
    }
    #[inline(always)]
    fn unit(word: u64) -> f64 {
        (word >> 11) as f64 * EXP2_M53
    }
    #[inline(always)]
    fn share(word: u64) -> f64 {
        f64::mul_add(word as f64, EXP2_M63 / 2.0, EXP2_M63 / 4.0)
    }
    #[inline(always)]
    fn centered(word: u64) -> (f64, f64) {
        let signed = (word ^ (1 << 63)).cast_signed();
        let sign = signed >> 63;
        let magnitude = (signed ^ sign).cast_unsigned();
        // unsigned: AVX2 converts these with vector instructions, signed ones it does not
        let scaled = |k: u64| f64::mul_add(k as f64, EXP2_M63, EXP2_M63 / 2.0);
        let s = f64::from_bits(scaled(magnitude).to_bits() | (sign.cast_unsigned() << 63));
        (s, scaled(i64::MAX.cast_unsigned() - magnitude))
    }
    #[inline(always)]
    fn quantile<S: Simd, const EVERYWHERE: bool>(
        _: S,
        v: [f64; LANES],
        q: [f64; LANES],
    ) -> ([f64; LANES], bool) {
        erfinv_quantile::<EVERYWHERE>(v, q)
    }
    #[inline(always)]
    fn mul_add(self, a: f64, b: f64) -> f64 {
        f64::mul_add(self, a, b)
    }
    #[inline(always)]
    fn abs(self) -> f64 {
        f64::abs(self)
    }
    #[inline(always)]
    fn copysign(self, sign: f64) -> f64 {
        f64::copysign(self, sign)
    }
}

macro_rules! sample_in_itself {
    ($type:ty, $name:literal) => {
        impl Sample for $type {
            type Float = $type;
            const NAME: &'static str = $name;
            const ZERO: Self = 0.0;

            #[inline(always)]
            fn round<S: Simd>(_: S, x: [$type; LANES]) -> [$type; LANES] {
                x
            }
            fn from_f64(x: f64) -> $type {
                x as $type
            }
            fn to_f64(self) -> f64 {
                self.into()
            }
            fn next_down(self) -> $type {
                <$type>::next_down(self)
            }
            fn next_up(self) -> $type {
                <$type>::next_up(self)
            }
        }
    };
}

sample_in_itself!(f32, "float32");
sample_in_itself!(f64, "float64");

macro_rules! sample_in_f32 {
    ($type:ident, $name:literal, |$simd:ident, $x:ident| $bits:expr) => {
        impl Sample for $type {
            type Float = f32;
            const NAME: &'static str = $name;
            const ZERO: Self = $type::ZERO;

            #[inline(always)]
            fn round<S: Simd>($simd: S, $x: [f32; LANES]) -> [$type; LANES] {
                let bits = $bits;
                lanes!($type::ZERO; l => $type::from_bits(bits[l]))
            }
            // Not `half`'s own from float64, which rounds once or twice as the machine has it.
            fn from_f64(x: f64) -> $type {
                $type::from_f32(x as f32)
            }
            fn to_f64(self) -> f64 {
                self.into()
            }
            fn next_down(self) -> $type {
                -(-self).next_up()
            }
            fn next_up(self) -> $type {
                match self.to_bits() {
                    _ if self.is_nan() || self == $type::INFINITY => self,
                    _ if self == $type::ZERO => $type::from_bits(1),
                    bits if self.is_sign_negative() => $type::from_bits(bits - 1),
                    bits => $type::from_bits(bits + 1),
                }
            }
        }
    };
}

sample_in_f32!(f16, "float16", |simd, x| simd.to_f16(x));
sample_in_f32!(bf16, "bfloat16", |_simd, x| to_bf16(x));
