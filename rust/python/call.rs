//! Calling the core from Python: without the interpreter, interruptible, errors as Python exceptions.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use pyo3::exceptions::{
    PyIndexError, PyKeyboardInterrupt, PyMemoryError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;

use super::index::integer;
use crate::dispatch::with_default_floats;
use crate::error::Error;
use crate::parallel::{MAX_THREADS, Stop, check_num_threads, num_threads};

/// How often pending signals are looked at; asking costs the interpreter's lock.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(20);

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        match error {
            Error::Invalid(message) | Error::TooLarge(message) => PyValueError::new_err(message),
            Error::Index(message) => PyIndexError::new_err(message),
            Error::OutOfMemory(message) => PyMemoryError::new_err(message),
            Error::Worker(message) => PyRuntimeError::new_err(message),
            Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        }
    }
}

/// The number of threads to use, from a keyword argument.
pub fn threads(requested: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
    let Some(object) = requested else {
        return Ok(num_threads()?);
    };
    match integer(object)?.map(usize::try_from) {
        Some(Ok(n)) => Ok(check_num_threads(Some(n))?),
        Some(Err(_)) => Err(PyValueError::new_err(format!(
            "num_threads must be from 1 to {MAX_THREADS}, got {object}"
        ))),
        None => {
            Err(PyTypeError::new_err(format!("num_threads must be an integer, got {object:?}")))
        }
    }
}

/// Runs `work` detached from the interpreter. `work` is given a stop function that serves Ctrl-C: whatever
/// the signal handler raises ends the work and comes out here. A panic becomes a `RuntimeError`, since
/// `PyO3`'s own `PanicException` slips through `except Exception`.
pub fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(Stop<'_>) -> Result<T, Error> + Send,
) -> PyResult<T> {
    py.detach(|| {
        let raised = RefCell::new(None);
        let asked = Cell::new(Instant::now());
        let stop = || {
            if asked.get().elapsed() < SIGNAL_INTERVAL {
                return false;
            }
            asked.set(Instant::now());
            match Python::attach(|py| py.check_signals()) {
                Ok(()) => false,
                Err(error) => {
                    raised.replace(Some(error));
                    true
                }
            }
        };
        match catch_unwind(AssertUnwindSafe(|| with_default_floats(|| work(&stop)))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(raised.take().unwrap_or_else(|| error.into())),
            Err(panic) => {
                let message = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("unknown");
                Err(PyRuntimeError::new_err(format!("internal error, please report it: {message}")))
            }
        }
    })
}
