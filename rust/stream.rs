//! Law 1 in code: seed, name and element index -> random words. Nothing else enters.
//!
//! - Key: the 64-bit seed, low word first.
//! - Counter: words 0-1 are the block number, words 2-3 the id of the parameter's name, low words first.
//! - Order: 16 blocks make a superblock of 64 words; word `64 s + 16 w + l` of the stream is word `w` of
//!   block `16 s + l`, so that the words of one superblock leave the lanes without a shuffle.

use std::hint::black_box;

use sha2::{Digest, Sha256};

use crate::philox::{Blocks, LANES, Schedule, philox4x32_10, schedule};
use crate::simd::{Portable, Simd, lanes};

/// The version of the mapping from (seed, name, index) to values; part of every name's hash.
pub const VERSION: u32 = 1;

/// Words in a superblock.
pub const SUPERBLOCK: usize = 4 * LANES;

const LOW: u64 = 0xffff_ffff;

/// The random words of one parameter: a pure function of a seed and a name.
#[derive(Clone, Debug)]
pub struct Stream {
    schedule: Schedule,
    name_id: u64,
}

impl Stream {
    /// The stream of the parameter `name` under `seed`. All parameters without a name share one stream.
    pub fn new(seed: u64, name: Option<&str>) -> Self {
        Self {
            schedule: schedule([seed as u32, (seed >> 32) as u32]),
            name_id: name.map_or(0, |name| hash("name", name.as_bytes())),
        }
    }

    /// Another stream of the same parameter, for numbers that are not its values.
    pub fn branch(&self, purpose: &str) -> Self {
        let name_id = hash("branch", &[&self.name_id.to_le_bytes(), purpose.as_bytes()].concat());
        Self { schedule: self.schedule, name_id }
    }

    /// Superblock `s`: words `64 s ..` of the stream, as `[w][l]`.
    #[inline(always)]
    pub fn superblock<S: Simd>(&self, simd: S, s: u64) -> Blocks {
        // Opaque: knowing it for a multiple of 16, the compiler builds the sixteen numbers in a longer way.
        let first = black_box(s.wrapping_mul(LANES as u64));
        let counter = [
            // 16 divides 2^32: within a superblock only the low word of the block number changes
            lanes!(0; l => (first & LOW) + l as u64),
            [first >> 32; LANES],
            [self.name_id & LOW; LANES],
            [self.name_id >> 32; LANES],
        ];
        philox4x32_10(simd, counter, &self.schedule)
    }

    /// The blocks of these numbers, as `[word][lane]`.
    #[inline(always)]
    pub fn blocks<S: Simd>(&self, simd: S, numbers: [u64; LANES]) -> Blocks {
        let counter = [
            lanes!(0; l => numbers[l] & LOW),
            lanes!(0; l => numbers[l] >> 32),
            [self.name_id & LOW; LANES],
            [self.name_id >> 32; LANES],
        ];
        philox4x32_10(simd, counter, &self.schedule)
    }

    /// Word `index` of the stream; for occasional use, [`crate::fill`] is the fast way.
    pub fn word(&self, index: u64) -> u32 {
        let within = index as usize % SUPERBLOCK;
        self.superblock(Portable, index / SUPERBLOCK as u64)[within / LANES][within % LANES]
    }
}

/// The first eight bytes, little end first, of SHA-256 over a tag, the length of the data in bytes as a
/// 64-bit little-endian number, and the data (a name in UTF-8).
fn hash(tag: &str, data: &[u8]) -> u64 {
    let digest = Sha256::new()
        .chain_update(format!("initcore stream v{VERSION} {tag}"))
        .chain_update((data.len() as u64).to_le_bytes())
        .chain_update(data)
        .finalize();
    u64::from_le_bytes(std::array::from_fn(|i| digest[i]))
}
