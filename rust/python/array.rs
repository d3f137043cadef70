//! NumPy arrays: which dtypes there are, new arrays, and the checks on arrays that are written to.

use numpy::prelude::*;
use numpy::{Element, PyArrayDescr, PyArrayDyn, PyReadwriteArrayDyn, PyUntypedArray};
use pyo3::exceptions::{PyImportError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use super::index::dims;
use crate::nn::real::Real;
use crate::region::tuple;

/// The types of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    Float16,
    BFloat16,
    Float32,
    Float64,
}

impl Dtype {
    /// From a descriptor of any byte order.
    fn of(descr: &Bound<'_, PyArrayDescr>) -> PyResult<Option<Self>> {
        let py = descr.py();
        let native = match descr.is_native_byteorder() {
            Some(false) => descr.call_method1("newbyteorder", ("=",))?.cast_into()?,
            _ => descr.clone(),
        };
        // bfloat16 is there only once ml_dtypes (or another package) has registered it
        let known =
            |name| PyArrayDescr::new(py, name).is_ok_and(|known| native.is_equiv_to(&known));
        Ok([
            ("float32", Self::Float32),
            ("float64", Self::Float64),
            ("float16", Self::Float16),
            ("bfloat16", Self::BFloat16),
        ]
        .into_iter()
        .find_map(|(name, dtype)| known(name).then_some(dtype)))
    }

    /// The descriptor of anything that `numpy.dtype` takes, and "bfloat16".
    pub fn parse<'py>(object: &Bound<'py, PyAny>) -> PyResult<(Self, Bound<'py, PyArrayDescr>)> {
        let py = object.py();
        if object.extract::<&str>().is_ok_and(|name| name == "bfloat16") {
            py.import("ml_dtypes").map_err(|error| {
                let message = "dtype bfloat16 needs the package ml_dtypes: pip install ml_dtypes";
                let missing = PyImportError::new_err(message);
                missing.set_cause(py, Some(error));
                missing
            })?;
        }
        let descr = PyArrayDescr::new(py, object)?;
        match Self::of(&descr)? {
            Some(dtype) => Ok((dtype, descr)),
            None => Err(PyTypeError::new_err(format!(
                "dtype must be float32, float64, float16 or bfloat16, got {descr}"
            ))),
        }
    }

    /// The type of an array of samples, in any byte order.
    pub fn of_array(array: &Bound<'_, PyUntypedArray>, what: &str) -> PyResult<Self> {
        Self::of(&array.dtype())?.ok_or_else(|| {
            PyTypeError::new_err(format!(
                "{what} must be a float32, float64, float16 or bfloat16 array, got {}",
                array.dtype()
            ))
        })
    }
}

/// The types that networks compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RealDtype {
    Float32,
    Float64,
}

impl RealDtype {
    /// From a descriptor.
    fn of(descr: &Bound<'_, PyArrayDescr>, what: &str) -> PyResult<Self> {
        let py = descr.py();
        if descr.is_equiv_to(&numpy::dtype::<f32>(py)) {
            Ok(Self::Float32)
        } else if descr.is_equiv_to(&numpy::dtype::<f64>(py)) {
            Ok(Self::Float64)
        } else {
            Err(PyTypeError::new_err(format!(
                "{what} must be float32 or float64 in native byte order, got {descr}"
            )))
        }
    }

    /// From anything that `numpy.dtype` takes.
    pub fn parse(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::of(&PyArrayDescr::new(object.py(), object)?, "dtype")
    }

    /// The type of an array.
    pub fn of_array(array: &Bound<'_, PyUntypedArray>, what: &str) -> PyResult<Self> {
        Self::of(&array.dtype(), &format!("the dtype of {what}"))
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
    Ok(empty_of(shape, &numpy::dtype::<T>(py))?.cast_into()?)
}

/// A new array holding a copy of `values`.
pub fn array<'py, T: Number>(
    py: Python<'py>,
    shape: &[usize],
    values: &[T],
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    let shape: Vec<u64> = shape.iter().map(|n| *n as u64).collect();
    let array = empty::<T>(py, &shape)?;
    array.readwrite().as_slice_mut()?.copy_from_slice(values);
    Ok(array)
}

/// [`empty`] for any dtype.
pub fn empty_of<'py>(
    shape: &[u64],
    descr: &Bound<'py, PyArrayDescr>,
) -> PyResult<Bound<'py, PyAny>> {
    static EMPTY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = descr.py();
    let shape = PyTuple::new(py, dims(shape)?)?;
    EMPTY.import(py, "numpy", "empty")?.call1((shape, descr))
}

/// Checks that `out` can be written to and has this shape.
pub fn check_out(out: &Bound<'_, PyUntypedArray>, shape: &[u64]) -> PyResult<()> {
    if out.shape() != dims(shape)? {
        return Err(PyValueError::new_err(format!(
            "out has shape {}, expected {}",
            tuple(out.shape()),
            tuple(shape)
        )));
    }
    if !out.getattr("flags")?.getattr("writeable")?.extract::<bool>()? {
        return Err(PyValueError::new_err("out cannot be written to: it is read-only"));
    }
    if overlaps_itself(out) {
        return Err(PyValueError::new_err(format!(
            "out has elements that share memory: shape {}, strides {}",
            tuple(out.shape()),
            tuple(out.strides())
        )));
    }
    Ok(())
}

/// Does the array step along one axis by less than the others reach? (It may then still have no element twice, in
/// ways that no slice, transpose or reshape makes.)
fn overlaps_itself(array: &Bound<'_, PyUntypedArray>) -> bool {
    let mut axes: Vec<(usize, usize)> =
        array.strides().iter().map(|s| s.unsigned_abs()).zip(array.shape().to_vec()).collect();
    axes.retain(|(_, len)| *len > 1);
    axes.sort_unstable();
    let mut reach = array.dtype().itemsize();
    !array.is_empty()
        && axes.into_iter().any(|(stride, len)| {
            let overlaps = stride < reach;
            reach += stride * (len - 1);
            overlaps
        })
}

/// Borrows an array for writing if it is one block of `T`: C-contiguous, aligned, in native byte order.
pub fn as_block<'py, T: Element>(
    out: &Bound<'py, PyUntypedArray>,
) -> PyResult<Option<PyReadwriteArrayDyn<'py, T>>> {
    if !out.is_c_contiguous() || out.dtype().is_native_byteorder() == Some(false) {
        return Ok(None);
    }
    let mut array = out.cast::<PyArrayDyn<T>>()?.try_readwrite().map_err(|error| {
        PyValueError::new_err(format!("out is in use by another call: {error}"))
    })?;
    Ok(array.as_slice_mut().is_ok().then_some(array))
}
