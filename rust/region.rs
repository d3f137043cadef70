//! Parts of a logical array that never exists: which elements, as runs of equally spaced C-order indices.
//!
//! The C-order index of an element is a sum of one term for each dimension of the part. A term depends on the
//! position along its dimension alone, and is affine piece by piece: one piece for a slice, one for each
//! equally spaced stretch of a list of indices. Nothing is as large as the part itself.

use std::fmt::Display;

use crate::error::{Error, Result};

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
    /// The distance of neighbours; of no meaning when `len < 2`.
    pub step: i64,
    /// How many.
    pub len: usize,
}

/// A part of a logical C-order array: all of it, or what an index names (see [`crate::indexing`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The part of each index that is the same for all elements.
    offset: u64,
    /// The innermost dimension, and the others from there on. Neighbours that continue each other are joined,
    /// so that a whole array is one dimension of one piece.
    inner: Dim,
    outer: Vec<Dim>,
    len: u64,
}

/// A dimension of a region, as the term of its index that it gives; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Dim {
    len: u64,
    /// In the order of their ends; the last one ends at `len`.
    pieces: Vec<Piece>,
}

/// Positions up to `end` (and not in the piece before) have the term `origin + step * position`.
///
/// Terms are added modulo 2^64: a piece may have its origin below zero, where no position of it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    end: u64,
    origin: u64,
    step: i64,
}

/// A dimension as an index gives it.
pub(crate) enum Terms {
    /// `distance * position` for `len` positions.
    Even { distance: i64, len: u64 },
    /// Any.
    List(Vec<u64>),
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

impl Piece {
    fn term(self, position: u64) -> u64 {
        self.origin.wrapping_add((self.step as u64).wrapping_mul(position))
    }
}

impl Dim {
    /// The terms `0, distance, 2 * distance, ...`.
    fn even(distance: i64, len: u64) -> Self {
        Self { len, pieces: vec![Piece { end: len, origin: 0, step: distance }] }
    }

    /// Any terms, cut into equally spaced pieces. Two neighbours alone are always equally spaced; they make
    /// a piece only at the `usual` distance, so that in 0, 4, 5, 8, 9 the pairs are 4, 5 and 8, 9.
    fn listed(terms: &[u64], usual: i64) -> Self {
        let distance = |i: usize| terms[i].wrapping_sub(terms[i - 1]) as i64;
        let mut pieces: Vec<Piece> = Vec::new();
        let mut begin = 0;
        while begin < terms.len() {
            let mut end = begin + 1;
            while end < terms.len() && distance(end) == distance(begin + 1) {
                end += 1;
            }
            if end == begin + 2 && distance(begin + 1) != usual {
                end -= 1;
            }
            let step = if end == begin + 1 { usual } else { distance(begin + 1) };
            let before = (step as u64).wrapping_mul(begin as u64);
            pieces.push(Piece { end: end as u64, origin: terms[begin].wrapping_sub(before), step });
            begin = end;
        }
        pieces.shrink_to_fit();
        Self { len: terms.len() as u64, pieces }
    }

    /// The distance at which the next index outside would continue this dimension.
    fn beyond(&self) -> Option<i64> {
        match self.pieces[..] {
            [piece] => piece.step.checked_mul(self.len as i64),
            _ => None,
        }
    }

    /// This dimension and the one inside of it as one, if each piece stays one piece; or this one.
    fn around(self, inner: &Self) -> Result<Self, Self> {
        if inner.len == 1 {
            return Ok(self);
        }
        let ([inside], Some(beyond)) = (&inner.pieces[..], inner.beyond()) else {
            return Err(self);
        };
        let mut begin = 0;
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for outside in &self.pieces {
            if outside.step != beyond && outside.end - begin > 1 {
                return Err(self);
            }
            // position * inner.len + within, whose last part counts steps of the inner piece
            let before = (inside.step as u64).wrapping_mul(begin * inner.len);
            pieces.push(Piece {
                end: outside.end * inner.len,
                origin: outside.term(begin).wrapping_add(inside.origin).wrapping_sub(before),
                step: inside.step,
            });
            begin = outside.end;
        }
        Ok(Self { len: self.len * inner.len, pieces })
    }

    /// The place of a position.
    fn place(&self, position: u64) -> Place {
        let piece = self.pieces.partition_point(|piece| piece.end <= position);
        Place { position, piece }
    }
}

impl Region {
    /// All of an array of this shape.
    ///
    /// # Errors
    /// The shape has 2^63 or more elements.
    pub fn whole(shape: &[u64]) -> Result<Self> {
        let len = size(shape)?;
        Ok(Self { offset: 0, inner: Dim::even(1, len), outer: Vec::new(), len })
    }

    /// The elements whose index is `offset` and a term of each dimension, the last dimension changing fastest.
    /// No dimension is empty, every sum lies in the array, and there are less than 2^63 of them.
    pub(crate) fn from_terms(mut offset: u64, dims: Vec<Terms>) -> Self {
        let (mut inner, mut outer) = (Dim::even(1, 1), Vec::new());
        for terms in dims.into_iter().rev() {
            let last = outer.last_mut().unwrap_or(&mut inner);
            let dim = match terms {
                Terms::Even { len: 1, .. } => continue,
                Terms::Even { distance, len } => Dim::even(distance, len),
                Terms::List(terms) => match terms[..] {
                    [term] => {
                        offset += term;
                        continue;
                    }
                    _ => Dim::listed(&terms, last.beyond().unwrap_or(1)),
                },
            };
            match dim.around(last) {
                Ok(dim) => *last = dim,
                Err(dim) => outer.push(dim),
            }
        }
        let len = outer.iter().map(|dim| dim.len).product::<u64>() * inner.len;
        Self { offset, inner, outer, len }
    }

    /// The number of elements.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Is there no element?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The runs that make up elements `begin .. begin + len` of the region, in C order; as long as they can be
    /// within a row of the innermost dimension.
    pub fn runs(&self, begin: u64, len: usize) -> impl Iterator<Item = Run> + '_ {
        let Self { inner, outer, .. } = self;
        let mut row = begin / inner.len.max(1);
        let mut start = self.offset;
        let places = outer
            .iter()
            .map(|dim| {
                let place = dim.place(row % dim.len);
                start = start.wrapping_add(place.term(dim));
                row /= dim.len;
                place
            })
            .collect();
        Runs {
            inner,
            outer,
            place: inner.place(begin % inner.len.max(1)),
            places,
            start,
            left: len,
        }
    }
}

/// A position along a dimension, and the piece it lies in.
#[derive(Clone, Copy)]
struct Place {
    position: u64,
    piece: usize,
}

impl Place {
    fn term(self, dim: &Dim) -> u64 {
        dim.pieces[self.piece].term(self.position)
    }
}

/// Walks over the pieces of the innermost dimension, and counts the others like an odometer.
struct Runs<'a> {
    inner: &'a Dim,
    outer: &'a [Dim],
    place: Place,
    places: Vec<Place>,
    /// The offset and the terms of the outer dimensions.
    start: u64,
    /// Elements still to come.
    left: usize,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    #[inline]
    fn next(&mut self) -> Option<Run> {
        if self.left == 0 {
            return None;
        }
        let Place { position, piece } = self.place;
        let Piece { end, step, .. } = self.inner.pieces[piece];
        let start = self.start.wrapping_add(self.place.term(self.inner));
        let len = (end - position).min(self.left as u64) as usize;
        self.left -= len;
        self.place = Place { position: end, piece: piece + 1 };
        if end == self.inner.len {
            self.place = Place { position: 0, piece: 0 };
            self.next_row();
        }
        Some(Run { start, step, len })
    }
}

impl Runs<'_> {
    /// One step of the outer dimensions, the innermost of them first.
    #[inline]
    fn next_row(&mut self) {
        for (dim, place) in self.outer.iter().zip(&mut self.places) {
            self.start = self.start.wrapping_sub(place.term(dim));
            place.position += 1;
            if place.position == dim.len {
                *place = Place { position: 0, piece: 0 };
            } else if place.position == dim.pieces[place.piece].end {
                place.piece += 1;
            }
            self.start = self.start.wrapping_add(place.term(dim));
            if place.position > 0 {
                return;
            }
        }
    }
}
