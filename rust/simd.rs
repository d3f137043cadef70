//! The few vector operations that portable loops don't turn into the instructions they should.
//!
//! Kernels are loops over lane arrays, which the compiler vectorises (see [`crate::dispatch`]); each also gets a
//! [`Simd`] that stands for the instruction set it is compiled for. Its provided methods are the definition; an
//! instruction set overrides one where that was measured to gain at least 15 % of a whole fill (`narrow`: 4 % of Philox):
//!
//! | method | AVX-512 | AVX2 |
//! |---|---|---|
//! | [`Simd::xor3`], [`Simd::narrow`] | one instruction instead of two; five: Philox 2.1 -> 2.6 G words/s | - |
//! | [`Simd::lookup`] | the likely rows held in registers: float32 normals 0.27 -> 1.1 G/s | rows loaded and transposed: 0.33 -> 0.5 G/s |
//! | [`Simd::to_f16`] | the conversion instruction: float16 normals 0.66 -> 1.15 G/s | the same: 0.30 -> 0.55 G/s |
#![allow(unsafe_code)]

use crate::philox::LANES;

/// `[value(0), value(1), ..]`. A plain loop: `std::array::from_fn` and `map` are not always inlined into the function
/// that carries the features of an ISA, which costs nearly all of the speed.
macro_rules! lanes {
    ($zero:expr; $lane:ident => $value:expr) => {{
        let mut lanes = [$zero; $crate::philox::LANES];
        for $lane in 0..$crate::philox::LANES {
            lanes[$lane] = $value;
        }
        lanes
    }};
}
pub(crate) use lanes;

/// Stands in a loop over vectors whose lane loops are to become vector instructions: without it the compiler, having
/// unrolled the lane loops, takes one lane each of many iterations together, by gathering. Emits no instruction.
#[inline(always)]
pub(crate) fn vector_by_vector() {
    // SAFETY: no instruction at all.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    unsafe {
        std::arch::asm!("", options(nomem, nostack, preserves_flags));
    }
}

/// What one instruction set does in its own way. The value proves that this machine has it.
pub trait Simd: Copy {
    /// [`Simd::lookup`] is right from this row on; rows below must be looked up in [`Table::row`].
    const FIRST_ROW: u32 = 0;

    /// `a ^ b ^ c`.
    #[inline(always)]
    fn xor3(self, a: [u64; LANES], b: [u64; LANES], c: u64) -> [u64; LANES] {
        lanes!(0; l => a[l] ^ (b[l] ^ c))
    }

    /// The low halves.
    #[inline(always)]
    fn narrow(self, words: [u64; LANES]) -> [u32; LANES] {
        lanes!(0; l => words[l] as u32)
    }

    /// Rows of a table, transposed: `[column][lane]`.
    #[inline(always)]
    fn lookup(self, table: &Table, row: [u32; LANES]) -> [[f32; LANES]; COLUMNS] {
        let mut columns = [[0.0; LANES]; COLUMNS];
        for (lane, row) in row.into_iter().enumerate() {
            for (column, x) in columns.iter_mut().zip(table.row(row)) {
                column[lane] = *x;
            }
        }
        columns
    }

    /// The bits of the nearest float16, ties to even.
    #[inline(always)]
    fn to_f16(self, x: [f32; LANES]) -> [u16; LANES] {
        lanes!(0; l => half::f16::from_f32_const(x[l]).to_bits())
    }
}

/// The bits of the bfloat16 nearest to finite numbers, ties to even.
#[inline(always)]
pub fn to_bf16(x: [f32; LANES]) -> [u16; LANES] {
    // the upper half, after adding almost half a unit of it, or just half where that makes it even
    let round = |bits: u32| ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    lanes!(0; l => round(x[l].to_bits()))
}

/// Columns of a [`Table`].
pub const COLUMNS: usize = 8;
/// Rows of a [`Table`], as many as there are exponents and first mantissa bits of positive float32 numbers.
pub const ROWS: usize = 256;
/// The first of the 32 rows of which there is a transposed copy.
const FIRST_OF_COPY: u32 = 224;

/// Rows of numbers, to be looked up by many lanes at a time.
#[repr(align(64))]
pub struct Table {
    rows: [[f32; COLUMNS]; ROWS],
    /// `[column][row % 32]` of the last 32 rows.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "one ISA wants it"))]
    columns: [[f32; 32]; COLUMNS],
}

impl Table {
    /// From the bits of its numbers.
    pub const fn new(bits: &[[u32; COLUMNS]; ROWS]) -> Self {
        let mut table = Self { rows: [[0.0; COLUMNS]; ROWS], columns: [[0.0; 32]; COLUMNS] };
        let mut row = 0;
        while row < ROWS {
            let mut column = 0;
            while column < COLUMNS {
                let x = f32::from_bits(bits[row][column]);
                table.rows[row][column] = x;
                table.columns[column][row % 32] = x;
                column += 1;
            }
            row += 1;
        }
        table
    }

    /// Row `row % 256`.
    #[inline(always)]
    pub fn row(&self, row: u32) -> &[f32; COLUMNS] {
        &self.rows[row as usize % ROWS]
    }
}

/// Any machine.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Simd for Portable {}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
#[allow(clippy::wildcard_imports, reason = "an instruction set is what this module is about")]
mod x86 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use super::{COLUMNS, FIRST_OF_COPY, LANES, Simd, Table};

    /// A machine with AVX2, FMA and F16C.
    #[derive(Clone, Copy, Debug)]
    pub struct Avx2(());

    impl Avx2 {
        /// # Safety
        /// The machine has these instructions.
        pub unsafe fn new_unchecked() -> Self {
            Self(())
        }
    }

    impl Simd for Avx2 {
        #[inline(always)]
        fn lookup(self, table: &Table, row: [u32; LANES]) -> [[f32; LANES]; COLUMNS] {
            let mut columns = [[0.0; LANES]; COLUMNS];
            for (half, row) in row.as_chunks::<8>().0.iter().enumerate() {
                // SAFETY: `self` proves AVX2; arrays of eight f32 and __m256 are the same bytes.
                let part: [[f32; 8]; COLUMNS] = unsafe {
                    let mut rows = [_mm256_setzero_ps(); 8];
                    for (to, row) in rows.iter_mut().zip(row) {
                        *to = transmute::<[f32; COLUMNS], __m256>(*table.row(*row));
                    }
                    transmute(transpose(rows))
                };
                for (column, part) in columns.iter_mut().zip(&part) {
                    column[8 * half..][..8].copy_from_slice(part);
                }
            }
            columns
        }

        #[inline(always)]
        fn to_f16(self, x: [f32; LANES]) -> [u16; LANES] {
            // SAFETY: `self` proves F16C; an array of lanes and its vectors are the same bytes.
            unsafe {
                let [low, high]: [__m256; 2] = transmute(x);
                transmute([
                    _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(low),
                    _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(high),
                ])
            }
        }
    }

    /// Both low halves, and both high halves.
    const LOW: i32 = 0x20;
    const HIGH: i32 = 0x31;

    /// The transpose of an 8 x 8 matrix: pairs, quadruples, halves.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn transpose([a, b, c, d, e, f, g, h]: [__m256; 8]) -> [__m256; 8] {
        let (s, t, u, v) = quadruples(a, b, c, d);
        let (w, x, y, z) = quadruples(e, f, g, h);
        [
            _mm256_permute2f128_ps::<LOW>(s, w),
            _mm256_permute2f128_ps::<LOW>(t, x),
            _mm256_permute2f128_ps::<LOW>(u, y),
            _mm256_permute2f128_ps::<LOW>(v, z),
            _mm256_permute2f128_ps::<HIGH>(s, w),
            _mm256_permute2f128_ps::<HIGH>(t, x),
            _mm256_permute2f128_ps::<HIGH>(u, y),
            _mm256_permute2f128_ps::<HIGH>(v, z),
        ]
    }

    /// Columns 0 and 4, 1 and 5, 2 and 6, 3 and 7 of four rows.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn quadruples(a: __m256, b: __m256, c: __m256, d: __m256) -> (__m256, __m256, __m256, __m256) {
        let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
        (
            _mm256_shuffle_ps::<0x44>(ab, cd),
            _mm256_shuffle_ps::<0xee>(ab, cd),
            _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
            _mm256_shuffle_ps::<0xee>(ab_high, cd_high),
        )
    }

    /// A machine with AVX-512 F, BW, DQ and VL.
    #[derive(Clone, Copy, Debug)]
    pub struct Avx512(());

    impl Avx512 {
        /// # Safety
        /// The machine has these instructions.
        pub unsafe fn new_unchecked() -> Self {
            Self(())
        }
    }

    impl Simd for Avx512 {
        const FIRST_ROW: u32 = FIRST_OF_COPY;

        #[inline(always)]
        fn xor3(self, a: [u64; LANES], b: [u64; LANES], c: u64) -> [u64; LANES] {
            const XOR: i32 = 0b1001_0110;
            // SAFETY: `self` proves AVX-512 F; an array of lanes and its vectors are the same bytes.
            unsafe {
                let a: [__m512i; 2] = transmute(a);
                let b: [__m512i; 2] = transmute(b);
                let c = _mm512_set1_epi64(c.cast_signed());
                transmute([
                    _mm512_ternarylogic_epi64::<XOR>(a[0], b[0], c),
                    _mm512_ternarylogic_epi64::<XOR>(a[1], b[1], c),
                ])
            }
        }

        #[inline(always)]
        fn narrow(self, words: [u64; LANES]) -> [u32; LANES] {
            const EVEN: [u32; LANES] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
            // SAFETY: as in `xor3`.
            unsafe {
                let [low, high]: [__m512i; 2] = transmute(words);
                transmute(_mm512_permutex2var_epi32(
                    low,
                    transmute::<[u32; LANES], __m512i>(EVEN),
                    high,
                ))
            }
        }

        #[inline(always)]
        fn lookup(self, table: &Table, row: [u32; LANES]) -> [[f32; LANES]; COLUMNS] {
            // SAFETY: as in `xor3`; the permutation reads the low five bits of an index.
            unsafe {
                let row: __m512i = transmute(row);
                let mut columns = [[0.0; LANES]; COLUMNS];
                for (to, column) in columns.iter_mut().zip(&table.columns) {
                    let [low, high]: [__m512; 2] = transmute(*column);
                    *to = transmute::<__m512, [f32; LANES]>(_mm512_permutex2var_ps(low, row, high));
                }
                columns
            }
        }

        #[inline(always)]
        fn to_f16(self, x: [f32; LANES]) -> [u16; LANES] {
            // SAFETY: as in `xor3`.
            unsafe {
                let x: __m512 = transmute(x);
                transmute(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x))
            }
        }
    }
}
