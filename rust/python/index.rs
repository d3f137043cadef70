//! Shapes and NumPy's indexing, as Python gives them.

use numpy::prelude::*;
use numpy::{Element, PyArrayDyn, PyUntypedArray};
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyEllipsis, PyInt, PySlice, PyTuple};

use crate::error::Error;
use crate::indexing::{Indices, Select, out_of_bounds, select};
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
/// `index`: None (everything), or what stands between the brackets: slices with any step, integers, an
/// Ellipsis, and arrays of integers.
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
    let Some(missing) = shape.len().checked_sub(named) else {
        return Err(PyIndexError::new_err(format!(
            "too many indices: the array is {}-dimensional, but {named} were given",
            shape.len()
        )));
    };
    let mut selection = Vec::with_capacity(items.len() + 1);
    let mut axis = 0;
    for item in &items {
        if is_ellipsis(item) {
            selection.push(Select::Whole(missing));
            axis += missing;
        } else {
            selection.push(select_axis(item, shape[axis], axis)?);
            axis += 1;
        }
    }
    selection.push(Select::Whole(shape.len() - axis));
    Ok(select(shape, &selection)?)
}

/// One item of an index: what it selects of axis `axis`, of length `n`.
fn select_axis(item: &Bound<'_, PyAny>, n: u64, axis: usize) -> PyResult<Select> {
    if let Ok(slice) = item.cast::<PySlice>() {
        let part = slice.indices(n as isize)?;
        let len = part.slicelength as u64;
        // The start of an empty slice may lie at the end of the axis.
        let start = if len == 0 { 0 } else { part.start as u64 };
        return Ok(Select::Slice(Axis { start, step: part.step as i64, len }));
    }
    let not_taken = |what: &str| {
        Err(PyTypeError::new_err(format!(
            "index takes integers, slices, an Ellipsis and arrays of integers, got {what}"
        )))
    };
    if item.is_none() {
        return not_taken("NoneType (numpy.newaxis): add axes to the result");
    }
    if item.is_instance_of::<PyBool>() {
        return not_taken("bool");
    }
    if let Some(i) = integer(item)? {
        return match i64::try_from(i) {
            Ok(i) => Ok(Select::at(i)),
            Err(_) => Err(out_of_bounds(i, axis, n).into()),
        };
    }
    let given = item.cast::<PyUntypedArray>();
    let array = match &given {
        Ok(array) => (*array).clone(),
        Err(_) => as_array(item)?,
    };
    let type_name = item.get_type().name()?;
    match array.dtype().kind() {
        b'b' if array.ndim() == 0 => not_taken("bool"),
        b'b' => not_taken(&format!(
            "{type_name} of bool: give numpy.nonzero(mask), a tuple of arrays of integers"
        )),
        _ if array.ndim() == 0 => not_taken(&type_name.to_string()),
        b'i' => indices(&array, |i: i64| Ok(i)),
        b'u' => indices(&array, |i: u64| i64::try_from(i).map_err(|_| out_of_bounds(i, axis, n))),
        // an empty list has no integers to know it by
        _ if array.is_empty() && given.is_err() => {
            Ok(Select::Take(Indices::new(lengths(&array), Vec::new())?))
        }
        _ => not_taken(&format!("{type_name} of {}", array.dtype())),
    }
}

/// `numpy.asarray(object)`.
fn as_array<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    static AS_ARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let array = AS_ARRAY.import(object.py(), "numpy", "asarray")?.call1((object,))?;
    Ok(array.cast_into()?)
}

fn lengths(array: &Bound<'_, PyUntypedArray>) -> Vec<u64> {
    array.shape().iter().map(|n| *n as u64).collect()
}

/// The elements of an array of integers of any width, byte order and strides, copied as `T`, then converted.
fn indices<T: Element + Copy>(
    array: &Bound<'_, PyUntypedArray>,
    convert: impl Fn(T) -> Result<i64, Error>,
) -> PyResult<Select> {
    static REQUIRE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = array.py();
    let require = REQUIRE.import(py, "numpy", "require")?;
    let copy = require.call1((array, numpy::dtype::<T>(py), "CA"))?.cast_into::<PyArrayDyn<T>>()?;
    let values = copy.try_readonly().map_err(|error| {
        PyValueError::new_err(format!("an index array cannot be read: {error}"))
    })?;
    let values = values.as_slice()?.iter().map(|i| convert(*i)).collect::<Result<_, _>>()?;
    Ok(Select::Take(Indices::new(lengths(array), values)?))
}

/// A shape that this machine can address, for NumPy.
pub fn dims(shape: &[u64]) -> PyResult<Vec<usize>> {
    shape
        .iter()
        .map(|n| usize::try_from(*n))
        .collect::<Result<_, _>>()
        .map_err(|_| PyValueError::new_err(format!("array of shape {} is too big", tuple(shape))))
}
