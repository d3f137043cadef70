//! Which elements of a logical array: a start, a step and a length along each axis, as runs of the C-order index.

use std::fmt::Display;

use crate::error::{Error, Result, invalid};

/// The elements `start, start + step, ...` (`len` of them) along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// The first index.
    pub start: u64,
    /// The distance of neighbours, of either sign; of no meaning when `len < 2`.
    pub step: i64,
    /// How many.
    pub len: u64,
}

impl Axis {
    /// All of an axis of this length.
    pub fn whole(len: u64) -> Self {
        Self { start: 0, step: 1, len }
    }
}

/// Equally spaced C-order indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub start: u64,
    /// The distance of neighbours.
    pub step: i64,
    /// How many.
    pub len: usize,
}

/// A rectangular, possibly strided part of a logical C-order array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The C-order index of the first element.
    offset: u64,
    /// (distance in C-order index, length) of the innermost axis, and of the others from the outermost on.
    /// Neighbours that continue each other are joined, so that a whole array is one axis.
    inner: (i64, u64),
    outer: Vec<(i64, u64)>,
    len: u64,
}

/// The number of elements of a shape.
///
/// # Errors
/// It does not fit 63 bits.
pub fn size(shape: &[u64]) -> Result<u64> {
    if shape.contains(&0) {
        return Ok(0);
    }
    shape
        .iter()
        .try_fold(1u64, |product, n| product.checked_mul(*n).filter(|p| i64::try_from(*p).is_ok()))
        .ok_or_else(|| {
            Error::TooLarge(format!(
                "array of shape {} is too big: 2^63 or more elements",
                tuple(shape)
            ))
        })
}

/// A shape as Python writes it.
pub fn tuple<N: Display>(shape: &[N]) -> String {
    match shape {
        [n] => format!("({n},)"),
        _ => format!("({})", shape.iter().map(N::to_string).collect::<Vec<_>>().join(", ")),
    }
}

impl Region {
    /// All of an array of this shape.
    ///
    /// # Errors
    /// The shape has 2^63 or more elements.
    pub fn whole(shape: &[u64]) -> Result<Self> {
        let len = size(shape)?;
        Ok(Self { offset: 0, inner: (1, len), outer: Vec::new(), len })
    }

    /// The part of an array of `shape` that `selection`, one entry per axis, names.
    ///
    /// # Errors
    /// The shape has 2^63 or more elements; the numbers of axes differ; an index is outside its axis.
    pub fn new(shape: &[u64], selection: &[Axis]) -> Result<Self> {
        size(shape)?;
        if shape.len() != selection.len() {
            return invalid!("{} selections for an array of rank {}", selection.len(), shape.len());
        }
        // Wrapping: products can overflow only where a zero elsewhere makes the array empty.
        let (mut offset, mut stride, mut len) = (0u64, 1u64, 1u64);
        let mut reversed: Vec<(i64, u64)> = Vec::with_capacity(shape.len());
        for (&n, axis) in shape.iter().zip(selection).rev() {
            len = len.wrapping_mul(axis.len);
            if axis.len > 0 {
                let last =
                    i128::from(axis.start) + i128::from(axis.step) * (i128::from(axis.len) - 1);
                if axis.start >= n || !(0..i128::from(n)).contains(&last) {
                    return invalid!("{axis:?} reaches outside an axis of length {n}");
                }
                offset = offset.wrapping_add(axis.start.wrapping_mul(stride));
            }
            if axis.len != 1 {
                // no overflow: |step| < n whenever two elements are selected
                let distance = axis.step.saturating_mul(stride as i64);
                match reversed.last_mut() {
                    Some((inner, len)) if distance == inner.saturating_mul(*len as i64) => {
                        *len *= axis.len;
                    }
                    _ => reversed.push((distance, axis.len)),
                }
            }
            stride = stride.wrapping_mul(n);
        }
        if selection.iter().any(|axis| axis.len == 0) {
            return Region::whole(&[0]);
        }
        reversed.reverse();
        let inner = reversed.pop().unwrap_or((1, 1));
        Ok(Self { offset, inner, outer: reversed, len })
    }

    /// The number of elements.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Is there no element?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The runs that make up elements `begin .. begin + len` of the region, in C order.
    pub fn runs(&self, begin: u64, len: usize) -> impl Iterator<Item = Run> + '_ {
        let (step, inner) = self.inner;
        let mut position = begin;
        let end = begin + len as u64;
        std::iter::from_fn(move || {
            if position >= end {
                return None;
            }
            let along = position % inner;
            let mut start = self.offset.wrapping_add_signed(step.wrapping_mul(along as i64));
            let mut row = position / inner;
            for &(distance, n) in self.outer.iter().rev() {
                start = start.wrapping_add_signed(distance.wrapping_mul((row % n) as i64));
                row /= n;
            }
            let len = (inner - along).min(end - position);
            position += len;
            Some(Run { start, step, len: len as usize })
        })
    }
}
