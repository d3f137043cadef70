//! Stream + distribution + region -> array: the one way to sample.
//!
//! A [`Region`] names elements of a logical array by their C-order index; the array itself never exists.
//! The elements asked for are cut into fixed chunks. Each chunk goes in batches through two loops that
//! meet in a small buffer: the words of its runs, then the values of the words. (One loop for both was a third
//! slower: it needs more registers than there are.) No step depends on how many chunks or threads there are.

use crate::dispatch::{self, Isa, Kernel};
use crate::distribution::{AnyMap, Distribution, Map};
use crate::error::Result;
use crate::parallel::{self, Stop};
use crate::philox::LANES;
use crate::region::{Region, Run};
use crate::sample::{Float, Sample};
use crate::simd::{Simd, lanes, vector_by_vector};
use crate::stream::{SUPERBLOCK, Stream};

/// Elements per work item: some 50 us, so that handing out costs nothing and a stop is soon noticed.
const CHUNK: usize = 1 << 16;

/// Elements per batch: what both loops touch stays in the first-level cache, and each vector has a bit in 64.
const BATCH: usize = 64 * LANES;

/// Writes the values of `region` to `out`, in C order.
///
/// # Errors
/// The distribution does not fit `T` (before the first write), or `stop` ended the work.
///
/// # Panics
/// When `out` does not have as many elements as the region.
pub fn fill<T: Sample>(
    stream: &Stream,
    distribution: Distribution,
    region: &Region,
    out: &mut [T],
    threads: usize,
    stop: Stop<'_>,
) -> Result<()> {
    assert_eq!(out.len() as u64, region.len(), "out and region differ in size");
    fill_part(stream, distribution, region, 0, out, threads, stop)
}

/// Writes elements `begin .. begin + out.len()` of `region` to `out`.
///
/// # Errors
/// As [`fill`].
///
/// # Panics
/// When the region has no such elements.
pub fn fill_part<T: Sample>(
    stream: &Stream,
    distribution: Distribution,
    region: &Region,
    begin: u64,
    out: &mut [T],
    threads: usize,
    stop: Stop<'_>,
) -> Result<()> {
    let end = begin.checked_add(out.len() as u64);
    assert!(end.is_some_and(|end| end <= region.len()), "out reaches beyond the region");
    let map = prepare::<T>(distribution)?;
    let threads = threads.min(out.len().div_ceil(CHUNK));
    let chunks = out.chunks_mut(CHUNK).enumerate();
    parallel::for_each(threads, chunks, stop, |(i, out)| {
        let begin = begin + (i * CHUNK) as u64;
        apply(map, Words { stream, region, begin }, out);
    })
}

/// Calls `body` with each run of elements `begin .. begin + out.len()` of `region`, and its part of `out`: for values
/// that are not made from words.
///
/// # Errors
/// `stop` ended the work.
pub(crate) fn by_run<T: Send>(
    region: &Region,
    begin: u64,
    out: &mut [T],
    threads: usize,
    stop: Stop<'_>,
    body: impl Fn(Run, &mut [T]) + Sync,
) -> Result<()> {
    let threads = threads.min(out.len().div_ceil(CHUNK));
    let chunks = out.chunks_mut(CHUNK).enumerate();
    parallel::for_each(threads, chunks, stop, |(i, mut out)| {
        for run in region.runs(begin + (i * CHUNK) as u64, out.len()) {
            let (now, later) = std::mem::take(&mut out).split_at_mut(run.len);
            body(run, now);
            out = later;
        }
    })
}

/// Writes the values of given words: the distribution by itself, without a stream.
///
/// # Errors
/// The distribution does not fit `T`.
///
/// # Panics
/// When the lengths differ.
pub fn fill_from_words<T: Sample>(
    distribution: Distribution,
    words: &[<T::Float as Float>::Word],
    out: &mut [T],
) -> Result<()> {
    assert_eq!(words.len(), out.len(), "words and out differ in size");
    let map = prepare::<T>(distribution)?;
    dispatch::with_default_floats(|| apply(map, words, out));
    Ok(())
}

/// Everything that can fail.
fn prepare<T: Sample>(distribution: Distribution) -> Result<AnyMap<T>> {
    Isa::current()?;
    dispatch::with_default_floats(|| distribution.checked()?.map::<T>())
}

/// Writes the values of as many words as `out` is long.
fn apply<T: Sample, W: Source<T::Float>>(map: AnyMap<T>, words: W, out: &mut [T]) {
    match map {
        AnyMap::Constant(value) => out.fill(value),
        AnyMap::Uniform(map) => dispatch::run(Fill { words, map, out }),
        AnyMap::Normal(map) => dispatch::run(Fill { words, map, out }),
        AnyMap::TruncatedNormal(map) => dispatch::run(Fill { words, map, out }),
        AnyMap::Unlikely(map) => dispatch::run(Fill { words, map, out }),
    }
}

struct Fill<'a, T, M, W> {
    words: W,
    map: M,
    out: &'a mut [T],
}

impl<T: Sample, M: Map<T::Float>, W: Source<T::Float>> Kernel for Fill<'_, T, M, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut reader = self.words.reader(simd, self.out.len());
        let mut buffer = [<T::Float as Float>::Word::default(); BATCH];
        for out in self.out.chunks_mut(BATCH) {
            reader.read(&mut buffer[..out.len()]);
            apply_batch(simd, &self.map, buffer.as_chunks().0, out);
        }
    }
}

/// The values of one batch; `words` may be longer than `out`.
#[inline(always)]
fn apply_batch<T: Sample, S: Simd>(
    simd: S,
    map: &impl Map<T::Float>,
    words: &[[<T::Float as Float>::Word; LANES]],
    out: &mut [T],
) {
    let mut left_out = 0_u64; // one bit for each vector
    let (whole, rest) = out.as_chunks_mut::<LANES>();
    for (i, (out, words)) in whole.iter_mut().zip(words).enumerate() {
        vector_by_vector();
        let (x, some) = map.map::<S, false>(simd, words);
        *out = T::round(simd, x);
        left_out |= u64::from(some) << i;
    }
    while left_out != 0 {
        let i = left_out.trailing_zeros() as usize;
        whole[i] = T::round(simd, map.map::<S, true>(simd, &words[i]).0);
        left_out &= left_out - 1;
    }
    if !rest.is_empty() {
        let x = T::round(simd, map.map::<S, true>(simd, &words[whole.len()]).0);
        rest.copy_from_slice(&x[..rest.len()]);
    }
}

/// Where words come from.
trait Source<F: Float> {
    /// Hands out the first `len` words, in order.
    fn reader<S: Simd>(self, simd: S, len: usize) -> impl Reader<F>;
}

/// Hands out words in order.
trait Reader<F: Float> {
    /// The next words.
    fn read(&mut self, words: &mut [F::Word]);
}

/// Words given as they are.
impl<F: Float> Source<F> for &[F::Word] {
    #[inline(always)]
    fn reader<S: Simd>(self, _: S, _: usize) -> impl Reader<F> {
        self
    }
}

impl<F: Float> Reader<F> for &[F::Word] {
    #[inline(always)]
    fn read(&mut self, words: &mut [F::Word]) {
        let (now, later) = self.split_at(words.len());
        words.copy_from_slice(now);
        *self = later;
    }
}

/// The words of a stream for the elements of a region from `begin` on.
struct Words<'a> {
    stream: &'a Stream,
    region: &'a Region,
    begin: u64,
}

impl<F: Float> Source<F> for Words<'_> {
    #[inline(always)]
    fn reader<S: Simd>(self, simd: S, len: usize) -> impl Reader<F> {
        RunReader::<F, _, _> {
            simd,
            stream: self.stream,
            runs: self.region.runs(self.begin, len),
            run: Run { start: 0, step: 1, len: 0 },
            held: None,
            words: [F::Word::default(); SUPERBLOCK],
        }
    }
}

/// Reads the words of runs. Neighbours share superblocks, and the one used last is held; values far apart are
/// gathered, a vector of them at a time.
struct RunReader<'a, F: Float, S, R> {
    simd: S,
    stream: &'a Stream,
    runs: R,
    /// What is left of the current run.
    run: Run,
    held: Option<u64>,
    /// The first `F::PER_SUPERBLOCK` are in use.
    words: [F::Word; SUPERBLOCK],
}

impl<F: Float, S: Simd, R: Iterator<Item = Run>> Reader<F> for RunReader<'_, F, S, R> {
    #[inline(always)]
    fn read(&mut self, mut words: &mut [F::Word]) {
        // the first `waiting` of `words` are still to be gathered, for these elements
        let mut scattered = [0; LANES];
        let mut waiting = 0;
        while waiting < words.len() {
            if self.run.len == 0 {
                let Some(run) = self.runs.next() else { return };
                self.run = run;
            }
            let Run { start, step, len } = self.run;
            // with a vector of values or more to a superblock, superblocks are the faster way
            let dense = step.unsigned_abs() <= 4 && len >= LANES;
            if waiting == LANES || (dense && waiting > 0) {
                let (now, later) = words.split_at_mut(waiting);
                self.gather(&scattered, now);
                (words, waiting) = (later, 0);
            }
            let count = if dense {
                let (now, later) = words.split_at_mut(len.min(words.len()));
                self.read_dense(start, step, now);
                let count = now.len();
                words = later;
                count
            } else {
                scattered[waiting] = start;
                waiting += 1;
                1
            };
            let start = start.wrapping_add_signed(step.wrapping_mul(count as i64));
            self.run = Run { start, step, len: len - count };
        }
        if waiting > 0 {
            self.gather(&scattered, words);
        }
    }
}

impl<F: Float, S: Simd, R> RunReader<'_, F, S, R> {
    #[inline(always)]
    fn read_dense(&mut self, start: u64, step: i64, words: &mut [F::Word]) {
        if step == 1 {
            return self.read_contiguous(start, words);
        }
        let mut index = start;
        for word in words {
            self.hold(index / F::PER_SUPERBLOCK as u64);
            *word = self.words[index as usize % F::PER_SUPERBLOCK];
            index = index.wrapping_add_signed(step);
        }
    }

    #[inline(always)]
    fn read_contiguous(&mut self, start: u64, words: &mut [F::Word]) {
        let size = F::PER_SUPERBLOCK;
        let skip = start as usize % size;
        let mut superblock = start / size as u64;
        let mut rest = words;
        if skip != 0 {
            let (head, body) = rest.split_at_mut(rest.len().min(size - skip));
            self.hold(superblock);
            head.copy_from_slice(&self.words[skip..skip + head.len()]);
            superblock += 1;
            rest = body;
        }
        let mut whole = rest.chunks_exact_mut(size);
        for words in &mut whole {
            F::words(&self.stream.superblock(self.simd, superblock), words);
            superblock += 1;
        }
        let tail = whole.into_remainder();
        if !tail.is_empty() {
            self.hold(superblock);
            tail.copy_from_slice(&self.words[..tail.len()]);
        }
    }

    /// The words of these elements, as many as there is room for.
    #[inline(always)]
    fn gather(&self, elements: &[u64; LANES], words: &mut [F::Word]) {
        let numbers = lanes!(0; l => {
            let superblock = elements[l] / F::PER_SUPERBLOCK as u64;
            superblock.wrapping_mul(LANES as u64) + elements[l] % LANES as u64
        });
        let blocks = self.stream.blocks(self.simd, numbers);
        for (l, word) in words.iter_mut().enumerate() {
            let slot = elements[l] as usize % F::PER_SUPERBLOCK / LANES;
            *word = F::word(blocks.map(|words| words[l]), slot);
        }
    }

    /// Makes superblock `s` the held one.
    #[inline(always)]
    fn hold(&mut self, s: u64) {
        if self.held != Some(s) {
            F::words(&self.stream.superblock(self.simd, s), &mut self.words[..F::PER_SUPERBLOCK]);
            self.held = Some(s);
        }
    }
}
