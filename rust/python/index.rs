//! Shapes and NumPy's basic indexing, as Python gives them.

use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyEllipsis, PyInt, PySlice, PyTuple};

use crate::region::{Axis, Region, size, tuple};

/// A shape: a non-negative integer or a sequence of them.
pub struct Shape(pub Vec<u64>);

/// An integer as Python sees it (`operator.index`); one beyond 128 bits becomes the nearest that fits. `None`
/// if the object is no integer; an error that its own `__index__` raises.
pub fn integer(object: &Bound<'_, PyAny>) -> PyResult<Option<i128>> {
    if !object.hasattr("__index__")? {
        return Ok(None);
    }
    let n = match object.cast::<PyInt>() {
        Ok(n) => n.as_any().clone(),
        // NumPy's arrays have the method, and refuse
        Err(_) => match object.call_method0("__index__") {
            Err(error) if error.is_instance_of::<PyTypeError>(object.py()) => return Ok(None),
            n => n?,
        },
    };
    Ok(Some(n.extract().unwrap_or(if n.lt(0)? { i128::MIN } else { i128::MAX })))
}

fn dimension(item: &Bound<'_, PyAny>) -> PyResult<u64> {
    let Some(n) = integer(item)? else {
        return Err(PyTypeError::new_err(format!(
            "shape must be an integer or a sequence of integers, got {item:?}"
        )));
    };
    match u64::try_from(n) {
        Ok(n) if i64::try_from(n).is_ok() => Ok(n),
        _ if n < 0 => {
            Err(PyValueError::new_err(format!("negative dimensions are not allowed, got {n}")))
        }
        _ => Err(PyValueError::new_err(format!("dimension {n} is too large: 2^63 or more"))),
    }
}

impl<'py> FromPyObject<'_, 'py> for Shape {
    type Error = PyErr;
    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(shape) = object.cast::<PyTuple>() {
            return shape.iter().map(|n| dimension(&n)).collect::<PyResult<_>>().map(Shape);
        }
        // A sequence has a length and an order: no set, no dict, no endless iterator.
        if object.hasattr("__getitem__")?
            && !object.is_instance_of::<PyDict>()
            && let Ok(items) = object.try_iter()
        {
            return items.map(|n| dimension(&n?)).collect::<PyResult<_>>().map(Shape);
        }
        Ok(Shape(vec![dimension(&object)?]))
    }
}

/// The part of an array of `shape` that `index` names, and the shape NumPy would give it.
///
/// `index`: None (everything), or what stands between the brackets of basic indexing: slices with any step,
/// integers, an Ellipsis.
pub fn region(shape: &[u64], index: Option<&Bound<'_, PyAny>>) -> PyResult<(Region, Vec<u64>)> {
    let Some(index) = index else {
        return Ok((Region::whole(shape)?, shape.to_vec()));
    };
    size(shape)?;
    let items: Vec<Bound<'_, PyAny>> = match index.cast::<PyTuple>() {
        Ok(items) => items.iter().collect(),
        Err(_) => vec![index.clone()],
    };
    let is_ellipsis = |item: &Bound<'_, PyAny>| item.is_instance_of::<PyEllipsis>();
    let named = items.iter().filter(|item| !is_ellipsis(item)).count();
    if items.len() - named > 1 {
        return Err(PyIndexError::new_err("an index can only have a single ellipsis ('...')"));
    }
    if named > shape.len() {
        return Err(PyIndexError::new_err(format!(
            "too many indices: the array is {}-dimensional, but {named} were given",
            shape.len()
        )));
    }
    let mut selection = Vec::with_capacity(shape.len());
    let mut result = Vec::with_capacity(shape.len());
    let whole = |selection: &mut Vec<Axis>, result: &mut Vec<u64>, count: usize| {
        for _ in 0..count {
            let n = shape[selection.len()];
            selection.push(Axis::whole(n));
            result.push(n);
        }
    };
    for item in &items {
        if is_ellipsis(item) {
            whole(&mut selection, &mut result, shape.len() - named);
        } else {
            let n = shape[selection.len()];
            let (axis, kept) = axis(item, n, selection.len())?;
            selection.push(axis);
            result.extend(kept.then_some(axis.len));
        }
    }
    let missing = shape.len() - selection.len();
    whole(&mut selection, &mut result, missing);
    Ok((Region::new(shape, &selection)?, result))
}

/// One item of an index: what it selects of an axis of length `n`, and whether the axis stays.
fn axis(item: &Bound<'_, PyAny>, n: u64, number: usize) -> PyResult<(Axis, bool)> {
    if let Ok(slice) = item.cast::<PySlice>() {
        let part = slice.indices(n as isize)?;
        let len = part.slicelength as u64;
        // The start of an empty slice may lie at the end of the axis.
        let start = if len == 0 { 0 } else { part.start as u64 };
        return Ok((Axis { start, step: part.step as i64, len }, true));
    }
    let i = match integer(item)? {
        Some(i) if !item.is_instance_of::<PyBool>() => i,
        _ => {
            return Err(PyTypeError::new_err(format!(
                "index takes integers, slices and an Ellipsis, got {}",
                item.get_type().name()?
            )));
        }
    };
    let length = i128::from(n);
    if !(-length..length).contains(&i) {
        return Err(PyIndexError::new_err(format!(
            "index {i} is out of bounds for axis {number} with size {n}"
        )));
    }
    Ok((Axis { start: i.rem_euclid(length) as u64, step: 1, len: 1 }, false))
}

/// A shape that this machine can address, for NumPy.
pub fn dims(shape: &[u64]) -> PyResult<Vec<usize>> {
    shape
        .iter()
        .map(|n| usize::try_from(*n))
        .collect::<Result<_, _>>()
        .map_err(|_| PyValueError::new_err(format!("array of shape {} is too big", tuple(shape))))
}
