//! Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers:
//! As Easy as 1, 2, 3" (SC11): ten rounds of multiply, exchange and xor over a 128-bit counter.
//!
//! Written once, over `LANES` counters at a time. Words are kept in the low halves of 64-bit lanes, because the
//! round needs the full 32 x 32 -> 64 bit product. What the high halves hold does not matter: the multiplication
//! masks them, which costs nothing where it is `vpmuludq`.

use crate::simd::{Simd, lanes};

/// How many blocks are made together: 16 32-bit words fill an AVX-512 register.
pub const LANES: usize = 16;

/// Four words of one block (`[word]`) for each of `LANES` blocks (`[word][lane]`).
pub type Blocks = [[u32; LANES]; 4];

const MULTIPLIER: [u64; 2] = [0xd251_1f53, 0xcd9e_8d57];
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 10;
const LOW: u64 = 0xffff_ffff;

/// The ten round keys: the key, raised by the Weyl constants from round to round. In 64 bits, which instructions can
/// broadcast from memory.
pub type Schedule = [[u64; 2]; ROUNDS];

/// The key schedule of `key`, computed once per stream.
pub fn schedule(key: [u32; 2]) -> Schedule {
    std::array::from_fn(|round| {
        [0, 1].map(|i| key[i].wrapping_add(WEYL[i].wrapping_mul(round as u32)).into())
    })
}

/// Philox4x32-10 of `LANES` counters; `counter[word][lane]` holds 32-bit words in 64-bit lanes.
#[inline(always)]
pub fn philox4x32_10<S: Simd>(
    simd: S,
    mut counter: [[u64; LANES]; 4],
    schedule: &Schedule,
) -> Blocks {
    for key in schedule {
        let [c0, c1, c2, c3] = counter;
        let product0 = lanes!(0; l => MULTIPLIER[0] * (c0[l] & LOW));
        let product1 = lanes!(0; l => MULTIPLIER[1] * (c2[l] & LOW));
        counter = [
            simd.xor3(lanes!(0; l => product1[l] >> 32), c1, key[0]),
            product1,
            simd.xor3(lanes!(0; l => product0[l] >> 32), c3, key[1]),
            product0,
        ];
    }
    let [c0, c1, c2, c3] = counter;
    [simd.narrow(c0), simd.narrow(c1), simd.narrow(c2), simd.narrow(c3)]
}
