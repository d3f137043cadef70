//! The floating-point types that values are made in, and how a word becomes a number of each.

use crate::philox::{Blocks, LANES};
use crate::quantile::Quantile;

/// A floating-point type that values are made in.
pub trait Sample: Quantile + Send + Sync {
    /// The unsigned integer a value is made from.
    type Word: Copy;
    /// Values in one superblock.
    const PER_SUPERBLOCK: usize;
    /// The name of the type, for messages.
    const NAME: &'static str;
    /// 0.
    const ZERO: Self;
    /// 2.
    const TWO: Self;

    /// The words of a superblock as `PER_SUPERBLOCK` value-sized words.
    fn words(blocks: &Blocks) -> impl AsRef<[Self::Word]>;
    /// `word / 2^b`, cut to the type's precision: a multiple of 2^-24 (float32) or 2^-53, below 1.
    fn unit(word: Self::Word) -> Self;
    /// The word's distance from the middle: (s, 1 - |s|) with `s = (2 word + 1) / 2^b - 1`, each rounded once
    /// or twice but with full relative precision.
    fn centered(word: Self::Word) -> (Self, Self);

    /// Rounds to nearest even.
    fn from_f64(x: f64) -> Self;
    /// Exact.
    fn to_f64(self) -> f64;
    /// The next number towards minus infinity.
    fn next_down(self) -> Self;
    /// The next number towards plus infinity.
    fn next_up(self) -> Self;
}

const EXP2_M24: f32 = 1.0 / (1u32 << 24) as f32;
const EXP2_M31: f32 = 1.0 / (1u32 << 31) as f32;
const EXP2_M53: f64 = 1.0 / (1u64 << 53) as f64;
const EXP2_M63: f64 = 1.0 / (1u64 << 63) as f64;

impl Sample for f32 {
    type Word = u32;
    const PER_SUPERBLOCK: usize = 4 * LANES;
    const NAME: &'static str = "float32";
    const ZERO: Self = 0.0;
    const TWO: Self = 2.0;

    #[inline(always)]
    fn words(blocks: &Blocks) -> impl AsRef<[u32]> {
        blocks.as_flattened()
    }
    #[inline(always)]
    fn unit(word: u32) -> f32 {
        (word >> 8).cast_signed() as f32 * EXP2_M24
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
    fn from_f64(x: f64) -> f32 {
        x as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn next_down(self) -> f32 {
        f32::next_down(self)
    }
    fn next_up(self) -> f32 {
        f32::next_up(self)
    }
}

impl Sample for f64 {
    type Word = u64;
    const PER_SUPERBLOCK: usize = 2 * LANES;
    const NAME: &'static str = "float64";
    const ZERO: Self = 0.0;
    const TWO: Self = 2.0;

    /// Value `32 s + 16 h + l` takes words `2 h` (high half) and `2 h + 1` of block `16 s + l`.
    #[inline(always)]
    fn words(blocks: &Blocks) -> impl AsRef<[u64]> {
        let mut words = [0; 2 * LANES];
        for (half, words) in words.chunks_exact_mut(LANES).enumerate() {
            for (lane, word) in words.iter_mut().enumerate() {
                let [high, low] = [blocks[2 * half][lane], blocks[2 * half + 1][lane]];
                *word = u64::from(high) << 32 | u64::from(low);
            }
        }
        words
    }
    #[inline(always)]
    fn unit(word: u64) -> f64 {
        (word >> 11).cast_signed() as f64 * EXP2_M53
    }
    #[inline(always)]
    fn centered(word: u64) -> (f64, f64) {
        let signed = (word ^ (1 << 63)).cast_signed();
        let sign = signed >> 63;
        let magnitude = signed ^ sign;
        let scaled = |k: i64| f64::mul_add(k as f64, EXP2_M63, EXP2_M63 / 2.0);
        let s = f64::from_bits(scaled(magnitude).to_bits() | (sign.cast_unsigned() << 63));
        (s, scaled(i64::MAX - magnitude))
    }
    fn from_f64(x: f64) -> f64 {
        x
    }
    fn to_f64(self) -> f64 {
        self
    }
    fn next_down(self) -> f64 {
        f64::next_down(self)
    }
    fn next_up(self) -> f64 {
        f64::next_up(self)
    }
}
