//! All 2^32 words through one map, chunk by chunk on all cores.

use half::{bf16, f16};
use initcore::distribution::Distribution;
use initcore::fill::fill_from_words;
use initcore::parallel::{NEVER, for_each, num_threads};
use initcore::sample::Sample;

/// How many words there are.
pub const WORDS: u64 = 1 << 32;
/// Words at a time.
const CHUNK: usize = 1 << 16;
/// Chunks per work item.
const PART: usize = 1 << 7;

/// A type of values that are computed in float32.
pub trait Value: Sample<Float = f32> + PartialEq {
    /// An integer of the same order: -inf < .. < -0 < +0 < .. < inf < NaN.
    fn key(self) -> i32;
    /// The value of the opposite sign.
    fn negated(self) -> Self;
}

macro_rules! value {
    ($type:ty, $unsigned:ty, $signed:ty) => {
        impl Value for $type {
            #[inline(always)]
            fn key(self) -> i32 {
                let bits = self.to_bits().cast_signed();
                // negative numbers: all bits but the sign reversed
                i32::from(bits ^ ((bits >> (<$signed>::BITS - 1)) & <$signed>::MAX))
            }
            #[inline(always)]
            fn negated(self) -> Self {
                -self
            }
        }
    };
}

value!(f32, u32, i32);
value!(f16, u16, i16);
value!(bf16, u16, i16);

/// The values of these words.
pub fn values<T: Sample<Float = f32>>(distribution: Distribution, words: &[u32]) -> Vec<T> {
    let mut out = vec![T::ZERO; words.len()];
    fill_from_words(distribution, words, &mut out).expect("the distribution fits the type");
    out
}

/// The value of one word.
pub fn value<T: Sample<Float = f32>>(distribution: Distribution, word: u32) -> T {
    values(distribution, &[word])[0]
}

/// Calls `visit(first word, values)` for every chunk, and merges what it returns. Neighbours share a word, the last of
/// one and the first of the next, so that whoever compares consecutive values misses no pair.
pub fn sweep<T: Value, R: Send>(
    distribution: Distribution,
    visit: impl Fn(u32, &[T]) -> R + Sync,
    merge: impl Fn(R, R) -> R + Sync,
) -> R {
    let visit = |chunk: usize, (words, values): &mut (Vec<u32>, Vec<T>)| {
        let first = (chunk * CHUNK) as u32;
        let len = (CHUNK + 1).min((WORDS - u64::from(first)) as usize);
        for (i, word) in words.iter_mut().enumerate() {
            *word = first.wrapping_add(i as u32);
        }
        fill_from_words(distribution, &words[..len], &mut values[..len])
            .expect("the distribution fits the type");
        visit(first, &values[..len])
    };
    let count = (WORDS / (PART * CHUNK) as u64) as usize;
    let mut parts: Vec<Option<R>> = (0..count).map(|_| None).collect();
    let threads = num_threads().expect("a number of threads");
    for_each(threads, parts.iter_mut().enumerate(), NEVER, |(i, part)| {
        let mut buffers = (vec![0; CHUNK + 1], vec![T::ZERO; CHUNK + 1]);
        let chunks = i * PART..(i + 1) * PART;
        *part = chunks.map(|chunk| visit(chunk, &mut buffers)).reduce(&merge);
    })
    .expect("nobody stops it");
    parts.into_iter().flatten().reduce(merge).expect("there are chunks")
}

/// The first word whose value is not the opposite of its complement's, bit for bit.
pub fn asymmetry<T: Value>(distribution: Distribution) -> Option<u32> {
    let visit = |word: u32, values: &[T]| {
        if word >= 1 << 31 {
            return None; // seen from the other side
        }
        let mirrored: Vec<u32> = (0..values.len() as u32).map(|i| !(word + i)).collect();
        let mirrored = self::values::<T>(distribution, &mirrored);
        let wrong = |i: &u32| values[*i as usize].key() != mirrored[*i as usize].negated().key();
        (0..values.len() as u32).find(wrong).map(|i| word + i)
    };
    sweep(distribution, visit, earlier)
}

/// The smaller of two words, if any.
pub fn earlier(a: Option<u32>, b: Option<u32>) -> Option<u32> {
    a.into_iter().chain(b).min()
}

/// The first word whose value is `>= x` (in [`Value::key`] order), of a map in order; 2^32 when there is none.
pub fn first_at<T: Value>(distribution: Distribution, x: T) -> u64 {
    let (mut low, mut high) = (0, WORDS);
    while low < high {
        let middle = u64::midpoint(low, high);
        if value::<T>(distribution, middle as u32).key() < x.key() {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
