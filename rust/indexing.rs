//! NumPy's indexing: what stands between the brackets of `array[...]`, as a [`Region`].
//!
//! Slices keep their axis. Arrays of indices, integers among them (arrays without axes), are broadcast together;
//! the axes of the broadcast take the place of the first array, or the front if something stands between two.
//! Along each of these axes an open mesh (`numpy.ix_`, or one array of one axis) has one list of indices;
//! arrays that vary along several axes make one list of them together.

use crate::error::{Error, Result, invalid};
use crate::region::{Axis, Region, Terms, size, tuple};

/// An array of indices; negative ones count from the end of the axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indices {
    shape: Vec<u64>,
    /// In C order.
    values: Vec<i64>,
}

impl Indices {
    /// Checks that there are as many values as the shape has elements.
    ///
    /// # Errors
    /// There are more or fewer.
    pub fn new(shape: Vec<u64>, values: Vec<i64>) -> Result<Self> {
        if size(&shape)? != values.len() as u64 {
            return invalid!("{} indices for an array of shape {}", values.len(), tuple(&shape));
        }
        Ok(Self { shape, values })
    }

    /// The shape of the array.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The indices in C order, as given.
    pub fn values(&self) -> &[i64] {
        &self.values
    }

    /// Does each index lie on axis `d`, of length `n`?
    fn check(&self, d: usize, n: u64) -> Result<()> {
        let length = i128::from(n);
        match self.values.iter().find(|i| !(-length..length).contains(&i128::from(**i))) {
            Some(index) => Err(out_of_bounds(*index, d, n)),
            None => Ok(()),
        }
    }

    /// The length along axis `d` of a broadcast of this rank: 1 where the array has no such axis.
    fn along(&self, d: usize, rank: usize) -> u64 {
        (d + self.shape.len()).checked_sub(rank).map_or(1, |own| self.shape[own])
    }
}

/// One item of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// All of so many axes, which may be none: an Ellipsis.
    Whole(usize),
    /// A slice of one axis.
    Slice(Axis),
    /// Elements of one axis, in any order and shape.
    Take(Indices),
}

impl Select {
    /// One element; the axis goes.
    pub fn at(index: i64) -> Self {
        Self::Take(Indices { shape: Vec::new(), values: vec![index] })
    }
}

/// An index that is not on its axis, in NumPy's words.
pub(crate) fn out_of_bounds(index: impl Into<i128>, axis: usize, n: u64) -> Error {
    let index = index.into();
    Error::Index(format!("index {index} is out of bounds for axis {axis} with size {n}"))
}

/// The part of an array of `shape` that the items of an index name, and the shape it has in NumPy.
///
/// # Errors
/// The array or the part has 2^63 or more elements; the items have more or fewer axes than the array; an index
/// is outside its axis; the arrays of indices do not broadcast.
pub fn select(shape: &[u64], items: &[Select]) -> Result<(Region, Vec<u64>)> {
    size(shape)?;
    let axes = |item: &Select| if let Select::Whole(count) = item { *count } else { 1 };
    let named = items.iter().map(axes).fold(0, usize::saturating_add);
    if named != shape.len() {
        return invalid!("{named} selections for an array of rank {}", shape.len());
    }
    // (axis, what is selected of it)
    let mut slices: Vec<(usize, Axis)> = Vec::new();
    let mut arrays: Vec<(usize, &Indices)> = Vec::new();
    let mut d = 0;
    for item in items {
        match item {
            Select::Whole(count) => {
                slices.extend((d..d + count).map(|d| (d, Axis::whole(shape[d]))));
            }
            Select::Slice(axis) => {
                check(*axis, shape[d])?;
                slices.push((d, *axis));
            }
            Select::Take(indices) => {
                if indices.shape.is_empty() {
                    indices.check(d, shape[d])?;
                }
                arrays.push((d, indices));
            }
        }
        d += axes(item);
    }
    let broadcast = broadcast(&arrays)?;
    // NumPy does not look at arrays that an empty one among them leaves without a value.
    if !broadcast.contains(&0) {
        arrays.iter().try_for_each(|(d, indices)| indices.check(*d, shape[*d]))?;
    }
    // The axes of the broadcast stand before this slice.
    let is_array = |item: &Select| matches!(item, Select::Take(_));
    let groups = items.chunk_by(|a, b| is_array(a) == is_array(b));
    let place = match groups.filter(|group| is_array(&group[0])).count() {
        1 => arrays[0].0,
        _ => 0,
    };
    let (before, after) = slices.split_at(place);
    let lengths = |slices: &[(usize, Axis)]| slices.iter().map(|(_, a)| a.len).collect::<Vec<_>>();
    let result = [lengths(before), broadcast.clone(), lengths(after)].concat();
    if size(&result)? == 0 {
        return Ok((Region::whole(&[0])?, result));
    }

    // No length is 0 from here on, so no product and no sum passes the size of the array or of the part.
    let mut strides = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d] * shape[d];
    }
    let mut offset = slices.iter().map(|(d, axis)| axis.start * strides[*d]).sum();
    let even = |(d, axis): &(usize, Axis)| {
        let distance = if axis.len > 1 { axis.step * strides[*d] as i64 } else { 0 };
        Terms::Even { distance, len: axis.len }
    };
    let arrays: Vec<(&Indices, Vec<u64>)> = arrays
        .iter()
        .map(|(d, indices)| {
            let from_start = |i: i64| if i < 0 { i + shape[*d] as i64 } else { i } as u64;
            let terms = indices.values.iter().map(|i| from_start(*i) * strides[*d]).collect();
            (*indices, terms)
        })
        .collect();
    let mut dims: Vec<Terms> = before.iter().map(even).collect();
    dims.extend(mesh(&broadcast, &arrays, &mut offset)?);
    dims.extend(after.iter().map(even));
    Ok((Region::from_terms(offset, dims), result))
}

fn check(axis: Axis, n: u64) -> Result<()> {
    let last = i128::from(axis.start) + i128::from(axis.step) * (i128::from(axis.len) - 1);
    if axis.len > 0 && (axis.start >= n || !(0..i128::from(n)).contains(&last)) {
        return invalid!("{axis:?} reaches outside an axis of length {n}");
    }
    Ok(())
}

impl Region {
    /// The part of an array of `shape` that `selection`, one entry per axis, names.
    ///
    /// # Errors
    /// See [`select`].
    pub fn new(shape: &[u64], selection: &[Axis]) -> Result<Self> {
        let items: Vec<Select> = selection.iter().copied().map(Select::Slice).collect();
        Ok(select(shape, &items)?.0)
    }
}

/// The shape of all arrays together.
fn broadcast(arrays: &[(usize, &Indices)]) -> Result<Vec<u64>> {
    let rank = arrays.iter().map(|(_, indices)| indices.shape.len()).max().unwrap_or(0);
    let mut shape = vec![1; rank];
    for (d, n) in shape.iter_mut().enumerate() {
        for length in arrays.iter().map(|(_, indices)| indices.along(d, rank)) {
            if length != 1 && *n != 1 && length != *n {
                let shapes = arrays.iter().filter(|(_, indices)| !indices.shape.is_empty());
                let shapes: Vec<String> =
                    shapes.map(|(_, i)| tuple(&i.shape).replace(' ', "")).collect();
                return Err(Error::Index(format!(
                    "shape mismatch: indexing arrays could not be broadcast together with shapes {}",
                    shapes.join(" ")
                )));
            }
            if length != 1 {
                *n = length;
            }
        }
    }
    Ok(shape)
}

/// The sums of the terms of all arrays, as lists over stretches of the broadcast's axes, as short as they can
/// be: no array varies along axes of two stretches. Terms that never vary go to `offset`.
fn mesh(shape: &[u64], arrays: &[(&Indices, Vec<u64>)], offset: &mut u64) -> Result<Vec<Terms>> {
    let rank = shape.len();
    // from the first to the last axis along which each array varies
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for (indices, terms) in arrays {
        let mut varying = (0..rank).filter(|d| indices.along(*d, rank) > 1);
        match varying.next() {
            None => *offset += terms[0],
            Some(first) => spans.push((first, varying.next_back().unwrap_or(first))),
        }
    }
    let mut dims = Vec::new();
    let mut begin = 0;
    while begin < rank {
        let mut end = begin + 1;
        while let Some((_, last)) = spans.iter().find(|(first, last)| *first < end && *last >= end)
        {
            end = last + 1;
        }
        let shape = &shape[begin..end];
        let len = shape.iter().product::<u64>() as usize;
        let mut list: Vec<u64> = Vec::new();
        list.try_reserve_exact(len).map_err(|_| {
            Error::OutOfMemory(format!("no memory for the {len} elements of an index"))
        })?;
        list.resize(len, 0);
        for (indices, terms) in arrays {
            let lengths: Vec<u64> = (begin..end).map(|d| indices.along(d, rank)).collect();
            if lengths.iter().any(|n| *n > 1) {
                add(&mut list, shape, terms, &lengths);
            }
        }
        dims.push(Terms::List(list));
        begin = end;
    }
    Ok(dims)
}

/// `sums += terms`, broadcast. sums: `shape`; terms: `lengths`, each that of the shape or 1
fn add(sums: &mut [u64], shape: &[u64], terms: &[u64], lengths: &[u64]) {
    if shape == lengths {
        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
        return;
    }
    let inside = sums.len() / shape[0] as usize;
    let step = terms.len() / lengths[0] as usize;
    for (i, sums) in sums.chunks_exact_mut(inside).enumerate() {
        let i = if lengths[0] == 1 { 0 } else { i };
        add(sums, &shape[1..], &terms[i * step..][..step], &lengths[1..]);
    }
}
