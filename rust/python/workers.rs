//! The other processes of a fit, as an object of Python connects them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use numpy::prelude::*;
use numpy::{Element, PyArray1};
use pyo3::prelude::*;

use crate::error::{Error, Result};
use crate::nn::workers::Workers;

/// An `initcore.distributed.Connection`.
pub struct PyWorkers<T: Element> {
    connection: Py<PyAny>,
    rank: usize,
    size: usize,
    /// What `sum` is given, kept from step to step.
    buffer: Option<Py<PyArray1<T>>>,
    /// What it raised.
    raised: Option<PyErr>,
    /// What came of a Ctrl-C during a sum.
    interrupt: Option<PyErr>,
    /// There is such an interrupt: this process should go, once it has told the others.
    interrupted: Arc<AtomicBool>,
}

impl<T: Element + Copy> PyWorkers<T> {
    /// Rank and size have been checked.
    pub fn new(connection: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            rank: connection.getattr("rank")?.extract()?,
            size: connection.getattr("size")?.extract()?,
            connection: connection.clone().unbind(),
            buffer: None,
            raised: None,
            interrupt: None,
            interrupted: Arc::default(),
        })
    }

    /// Whether this process should go, for the stop function.
    pub fn interrupted(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupted)
    }

    /// The exception that ended the fit, if the connection has one.
    pub fn exception(self) -> Option<PyErr> {
        self.raised.or(self.interrupt)
    }

    fn call(&mut self, py: Python<'_>, values: &mut [T]) -> PyResult<()> {
        let kept = self.buffer.as_ref().map(|buffer| buffer.bind(py).clone());
        let buffer = match kept {
            Some(buffer) if buffer.len() == values.len() => {
                buffer.try_readwrite()?.as_slice_mut()?.copy_from_slice(values);
                buffer
            }
            kept => {
                let buffer = PyArray1::from_slice(py, values);
                // The one of a step is the largest.
                if kept.is_none_or(|kept| kept.len() < buffer.len()) {
                    self.buffer = Some(buffer.clone().unbind());
                }
                buffer
            }
        };
        let connection = self.connection.clone_ref(py);
        self.sum_patiently(connection.bind(py), &buffer)?;
        values.copy_from_slice(buffer.try_readonly()?.as_slice()?);
        Ok(())
    }

    /// An exception of a signal's handler in the middle of a sum would leave the others waiting for this process, now or
    /// at the next one. So the handler waits: setting an attribute runs no handler, and so leaves no gap.
    fn sum_patiently(
        &mut self,
        connection: &Bound<'_, PyAny>,
        buffer: &Bound<'_, PyArray1<T>>,
    ) -> PyResult<()> {
        connection.setattr("busy", true)?;
        let summed = connection.call_method1("sum", (buffer,));
        connection.setattr("busy", false)?;
        summed?;
        if connection.getattr("pending")?.is_truthy()?
            && let Err(error) = connection.call_method0("deliver")
        {
            self.interrupt = Some(error);
            self.interrupted.store(true, Ordering::Relaxed);
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
