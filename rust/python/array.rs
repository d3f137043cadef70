//! NumPy arrays: which dtypes there are, new arrays, and the checks on arrays that are written to.

use numpy::prelude::*;
use numpy::{Element, PyArrayDescr, PyArrayDyn, PyReadwriteArrayDyn, PyUntypedArray};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use super::index::dims;
use crate::nn::real::Real;
use crate::region::tuple;

/// The floating-point types that arrays may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    Float32,
    Float64,
}

impl Dtype {
    /// From a descriptor.
    fn of(descr: &Bound<'_, PyArrayDescr>) -> Option<Self> {
        let py = descr.py();
        if descr.is_equiv_to(&numpy::dtype::<f32>(py)) {
            Some(Self::Float32)
        } else if descr.is_equiv_to(&numpy::dtype::<f64>(py)) {
            Some(Self::Float64)
        } else {
            None
        }
    }

    /// From anything that `numpy.dtype` takes.
    pub fn parse(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let descr = PyArrayDescr::new(object.py(), object)?;
        Self::of(&descr).ok_or_else(|| {
            PyTypeError::new_err(format!(
                "dtype must be float32 or float64 in native byte order, got {descr}"
            ))
        })
    }

    /// The type of an array.
    pub fn of_array(array: &Bound<'_, PyUntypedArray>, what: &str) -> PyResult<Self> {
        Self::of(&array.dtype()).ok_or_else(|| {
            PyTypeError::new_err(format!(
                "{what} must be a float32 or float64 array in native byte order, got {}",
                array.dtype()
            ))
        })
    }
}

/// A number that networks and NumPy know.
pub trait Number: Real + Element {}
impl<T: Real + Element> Number for T {}

/// `numpy.empty(shape, dtype)`, with NumPy's own errors where there is no room.
pub fn empty<'py, T: Element>(
    py: Python<'py>,
    shape: &[u64],
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    static EMPTY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let shape = PyTuple::new(py, dims(shape)?)?;
    let array = EMPTY.import(py, "numpy", "empty")?.call1((shape, numpy::dtype::<T>(py)))?;
    Ok(array.cast_into()?)
}

/// Checks that `out` can be written as one C-order block of this shape, and borrows it for that.
pub fn writable<'py, T: Element>(
    out: &Bound<'py, PyUntypedArray>,
    shape: &[u64],
) -> PyResult<PyReadwriteArrayDyn<'py, T>> {
    let dims = dims(shape)?;
    if out.shape() != dims {
        return Err(PyValueError::new_err(format!(
            "out has shape {}, expected {}",
            tuple(out.shape()),
            tuple(shape)
        )));
    }
    if !out.is_c_contiguous() {
        return Err(PyValueError::new_err(
            "out must be C-contiguous (no strides, no repeated or overlapping elements)",
        ));
    }
    let array = out.cast::<PyArrayDyn<T>>()?;
    let mut array = array.try_readwrite().map_err(|error| {
        PyValueError::new_err(format!(
            "out cannot be written to: {error} (read-only, or in use by another call)"
        ))
    })?;
    if array.as_slice_mut().is_err() {
        return Err(PyValueError::new_err("out must be aligned to its elements"));
    }
    Ok(array)
}
