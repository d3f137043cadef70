//! Stream + distribution + region -> array: the one way to sample.
//!
//! A [`Region`] names elements of a logical array by their C-order index; the array itself never exists.
//! The elements asked for are cut into fixed chunks, each chunk walks its runs, and each run takes its
//! values from superblocks of the stream. No step depends on how many chunks or threads there are.

use crate::dispatch::{self, Kernel};
use crate::distribution::{AnyMap, Distribution, Map};
use crate::error::Result;
use crate::parallel::{self, Stop};
use crate::philox::LANES;
use crate::region::{Region, Run};
use crate::sample::Sample;
use crate::stream::Stream;

/// Elements per work item: some 50 us, so that handing out costs nothing and a stop is soon noticed.
const CHUNK: usize = 1 << 16;

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
    let map = dispatch::with_default_floats(|| distribution.checked()?.map::<T>())?;
    dispatch::Isa::current()?;
    let threads = threads.min(out.len().div_ceil(CHUNK));
    let chunks = out.chunks_mut(CHUNK).enumerate();
    parallel::for_each(threads, chunks, stop, |(i, chunk)| {
        let begin = (i * CHUNK) as u64;
        match map {
            AnyMap::Constant(value) => chunk.fill(value),
            AnyMap::Uniform(map) => fill_chunk(stream, map, region, begin, chunk),
            AnyMap::Normal(map) => fill_chunk(stream, map, region, begin, chunk),
            AnyMap::TruncatedNormal(map) => fill_chunk(stream, map, region, begin, chunk),
        }
    })
}

/// Elements `begin..` of the region.
fn fill_chunk<T: Sample, M: Map<T>>(
    stream: &Stream,
    map: M,
    region: &Region,
    begin: u64,
    out: &mut [T],
) {
    dispatch::run(FillChunk { stream, map, region, begin, out });
}

struct FillChunk<'a, T, M> {
    stream: &'a Stream,
    map: M,
    region: &'a Region,
    begin: u64,
    out: &'a mut [T],
}

impl<T: Sample, M: Map<T>> Kernel for FillChunk<'_, T, M> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut source =
            Source { stream: self.stream, map: self.map, held: None, values: [T::ZERO; 64] };
        let mut rest = self.out;
        for run in self.region.runs(self.begin, rest.len()) {
            let (now, later) = rest.split_at_mut(run.len);
            source.write(run, now);
            rest = later;
        }
    }
}

/// Values of a stream by index, holding the superblock made last: short runs often share one.
struct Source<'a, T, M> {
    stream: &'a Stream,
    map: M,
    held: Option<u64>,
    /// The first `T::PER_SUPERBLOCK` are in use.
    values: [T; 4 * LANES],
}

impl<T: Sample, M: Map<T>> Source<'_, T, M> {
    #[inline(always)]
    fn write(&mut self, run: Run, out: &mut [T]) {
        if run.step == 1 {
            self.write_contiguous(run.start, out);
            return;
        }
        let mut index = run.start;
        for x in out {
            self.hold(index / T::PER_SUPERBLOCK as u64);
            *x = self.values[index as usize % T::PER_SUPERBLOCK];
            index = index.wrapping_add_signed(run.step);
        }
    }

    #[inline(always)]
    fn write_contiguous(&mut self, start: u64, out: &mut [T]) {
        let size = T::PER_SUPERBLOCK;
        let skip = start as usize % size;
        let mut superblock = start / size as u64;
        let mut rest = out;
        if skip != 0 {
            let (head, body) = rest.split_at_mut(rest.len().min(size - skip));
            self.hold(superblock);
            head.copy_from_slice(&self.values[skip..skip + head.len()]);
            superblock += 1;
            rest = body;
        }
        let mut whole = rest.chunks_exact_mut(size);
        for values in &mut whole {
            self.make(superblock, values);
            superblock += 1;
        }
        let tail = whole.into_remainder();
        if !tail.is_empty() {
            self.hold(superblock);
            tail.copy_from_slice(&self.values[..tail.len()]);
        }
    }

    /// Makes superblock `s` the held one.
    #[inline(always)]
    fn hold(&mut self, s: u64) {
        if self.held != Some(s) {
            let mut values = self.values;
            self.make(s, &mut values[..T::PER_SUPERBLOCK]);
            self.values = values;
            self.held = Some(s);
        }
    }

    #[inline(always)]
    fn make(&self, s: u64, out: &mut [T]) {
        let blocks = self.stream.superblock(s);
        self.map.map(T::words(&blocks).as_ref(), out);
    }
}
