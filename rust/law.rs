//! What an initializer comes to for one shape: a law of its elements, and from a law to values.
//!
//! Elements that are drawn one by one, and those that are a function of their position, are made where they are
//! asked for. An orthogonal or sparse matrix is made whole, and the part asked for is copied out of it.

use std::ops::Range;

use crate::dispatch::Isa;
use crate::distribution::Distribution;
use crate::error::{Error, Result, invalid};
use crate::fill::{by_run, fill_part};
use crate::orthogonal::Orthogonal;
use crate::parallel::Stop;
use crate::pattern::Pattern;
use crate::region::{Region, size};
use crate::sample::Sample;
use crate::sparse::Sparse;
use crate::stream::Stream;
use crate::weight::Weight;

/// The law of an array of a given shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Law {
    /// Each element by itself.
    Each(Distribution),
    /// The same, but for elements of these C-order indices of so many, which are zeros.
    EachBut(Distribution, Range<u64>, u64),
    /// A function of the position.
    Pattern(Pattern, Weight),
    /// All elements together.
    Orthogonal(Orthogonal, Weight),
    /// The same, for a matrix of this shape.
    Sparse(Sparse, [u64; 2]),
}

/// A law ready to give values of type `T`.
pub enum Values<'a, T> {
    /// From a stream.
    Drawn(&'a Stream, Distribution, Range<u64>),
    /// From the position: the value is this one, and `T` can hold all that occur.
    Placed(Pattern, &'a Weight),
    /// Copied from here.
    Ready(Vec<T>),
}

impl Law {
    /// The standard deviation of an element, over draws and positions.
    pub fn std(&self) -> f64 {
        match self {
            Self::Each(distribution) => distribution.std(),
            Self::EachBut(distribution, zeros, len) => {
                let share = (zeros.end - zeros.start) as f64 / (*len).max(1) as f64;
                distribution.std() * (1.0 - share).sqrt()
            }
            Self::Pattern(pattern, weight) => pattern.std(weight),
            Self::Orthogonal(orthogonal, weight) => orthogonal.std(weight),
            Self::Sparse(sparse, shape) => sparse.std(*shape),
        }
    }

    /// Does whatever is done for the array as a whole; all checks among it.
    ///
    /// # Errors
    /// The values do not fit `T`; there is no memory for a whole array; or `stop` ended the work.
    pub fn prepare<'a, T: Sample>(
        &'a self,
        stream: &'a Stream,
        threads: usize,
        stop: Stop<'_>,
    ) -> Result<Values<'a, T>> {
        Isa::current()?;
        Ok(match self {
            Self::Each(distribution) => Values::Drawn(stream, *distribution, 0..0),
            Self::EachBut(distribution, zeros, _) => {
                Values::Drawn(stream, *distribution, zeros.clone())
            }
            Self::Pattern(pattern, weight) => {
                if !T::from_f64(pattern.gain).to_f64().is_finite() {
                    return invalid!("gain = {:e} does not fit {}", pattern.gain, T::NAME);
                }
                Values::Placed(*pattern, weight)
            }
            Self::Orthogonal(orthogonal, weight) => {
                let mut values = zeros(weight.len())?;
                orthogonal.fill(stream, weight, &mut values, threads, stop)?;
                Values::Ready(values)
            }
            Self::Sparse(sparse, shape) => {
                let mut values = zeros(size(shape)?)?;
                sparse.fill(stream, *shape, &mut values, threads, stop)?;
                Values::Ready(values)
            }
        })
    }

    /// Writes the values of `region` to `out`, in C order. A whole array goes there without a copy; for an empty part
    /// nothing is made.
    ///
    /// # Errors
    /// As [`Self::prepare`] and [`Values::fill`]; only `stop` leaves something written.
    ///
    /// # Panics
    /// When `out` does not have as many elements as the region.
    pub fn fill<T: Sample>(
        &self,
        stream: &Stream,
        region: &Region,
        out: &mut [T],
        threads: usize,
        stop: Stop<'_>,
    ) -> Result<()> {
        // of nothing only the checks are made
        let direct = |len: u64| Ok(out.is_empty() || *region == Region::whole(&[len])?);
        Isa::current()?;
        match self {
            Self::Orthogonal(orthogonal, weight) if direct(weight.len())? => {
                orthogonal.fill(stream, weight, out, threads, stop)
            }
            Self::Sparse(sparse, shape) if direct(size(shape)?)? => {
                sparse.fill(stream, *shape, out, threads, stop)
            }
            _ => self.prepare(stream, threads, stop)?.fill(region, 0, out, threads, stop),
        }
    }
}

impl<T: Sample> Values<'_, T> {
    /// Writes the values of elements `begin .. begin + out.len()` of `region` to `out`.
    ///
    /// # Errors
    /// The distribution does not fit `T` (before the first write), or `stop` ended the work.
    ///
    /// # Panics
    /// When the region has no such elements.
    pub fn fill(
        &self,
        region: &Region,
        begin: u64,
        out: &mut [T],
        threads: usize,
        stop: Stop<'_>,
    ) -> Result<()> {
        match self {
            Self::Drawn(stream, distribution, zeros) => {
                fill_part(stream, *distribution, region, begin, out, threads, stop)?;
                if zeros.is_empty() {
                    return Ok(());
                }
                by_index(region, begin, out, threads, stop, |index, x| {
                    if zeros.contains(&index) {
                        *x = T::ZERO;
                    }
                })
            }
            Self::Placed(pattern, weight) => {
                let value = pattern.values(weight);
                weight
                    .evaluate(region, begin, out, threads, stop, |place| T::from_f64(value(place)))
            }
            Self::Ready(values) => {
                by_index(region, begin, out, threads, stop, |index, x| *x = values[index as usize])
            }
        }
    }
}

/// Calls `body` with the C-order index of each of the elements `begin .. begin + out.len()` of `region`.
fn by_index<T: Send>(
    region: &Region,
    begin: u64,
    out: &mut [T],
    threads: usize,
    stop: Stop<'_>,
    body: impl Fn(u64, &mut T) + Sync,
) -> Result<()> {
    by_run(region, begin, out, threads, stop, |run, out| {
        let mut index = run.start;
        for x in out {
            body(index, x);
            index = index.wrapping_add_signed(run.step);
        }
    })
}

/// An array of zeros, if there is memory for it.
pub(crate) fn zeros<T: Sample>(len: u64) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let room = usize::try_from(len)
        .map_err(|_| ())
        .and_then(|len| values.try_reserve_exact(len).map_err(|_| ()));
    if room.is_err() {
        return Err(Error::OutOfMemory(format!(
            "no room for the {len} elements of type {}",
            T::NAME
        )));
    }
    values.resize(len as usize, T::ZERO);
    Ok(values)
}
