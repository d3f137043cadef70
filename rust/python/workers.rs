//! The other processes of a fit, as an object of Python connects them.

use numpy::prelude::*;
use numpy::{Element, PyArray1};
use pyo3::prelude::*;

use crate::error::{Error, Result};
use crate::nn::workers::Workers;

/// Anything with `rank`, `size` and `sum(buffer)`.
pub struct PyWorkers<T: Element> {
    workers: Py<PyAny>,
    rank: usize,
    size: usize,
    /// What `sum` is given, kept from step to step.
    buffer: Option<Py<PyArray1<T>>>,
    /// What it raised.
    pub raised: Option<PyErr>,
}

impl<T: Element + Copy> PyWorkers<T> {
    /// Checked by the caller.
    pub fn new(workers: &Bound<'_, PyAny>) -> PyResult<Self> {
        let rank = workers.getattr("rank")?.extract()?;
        let size = workers.getattr("size")?.extract()?;
        Ok(Self { workers: workers.clone().unbind(), rank, size, buffer: None, raised: None })
    }

    fn call(&mut self, py: Python<'_>, values: &mut [T]) -> PyResult<()> {
        let kept = self.buffer.as_ref().map(|buffer| buffer.bind(py));
        let buffer = match kept.filter(|buffer| buffer.len() == values.len()) {
            Some(buffer) => {
                buffer.try_readwrite()?.as_slice_mut()?.copy_from_slice(values);
                buffer.clone()
            }
            None => PyArray1::from_slice(py, values),
        };
        self.workers.call_method1(py, "sum", (&buffer,))?;
        values.copy_from_slice(buffer.try_readonly()?.as_slice()?);
        // The one of a step is the largest.
        if kept.is_none_or(|kept| kept.len() < buffer.len()) {
            self.buffer = Some(buffer.unbind());
        }
        Ok(())
    }
}

impl<T: Element + Copy> Workers<T> for PyWorkers<T> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum(&mut self, buffer: &mut [T]) -> Result<()> {
        Python::attach(|py| self.call(py, buffer)).map_err(|error| {
            self.raised.get_or_insert(error);
            Error::Interrupted
        })
    }
}
