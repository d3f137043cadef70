//! Versions and process-wide settings.

use pyo3::prelude::*;

use super::call::threads;
use crate::dispatch::Isa;
use crate::error::Result;
use crate::{parallel, stream};

/// Version of the package.
#[pyfunction]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Version of the mapping from (seed, name, index) to values.
#[pyfunction]
pub fn stream_version() -> u32 {
    stream::VERSION
}

/// Instruction set that kernels run on.
#[pyfunction]
pub fn get_isa() -> Result<&'static str> {
    Ok(Isa::current()?.name())
}

/// Forces an instruction set; ValueError where this machine lacks it.
#[pyfunction]
pub fn set_isa(name: &str) -> Result<()> {
    Isa::parse(name)?.force()
}

/// Names of the instruction sets that this machine has, best first.
#[pyfunction]
pub fn available_isas() -> Vec<&'static str> {
    Isa::available().map(Isa::name).collect()
}

/// Default number of threads.
#[pyfunction]
pub fn get_num_threads() -> Result<usize> {
    parallel::num_threads()
}

/// Sets the default number of threads of this process.
#[pyfunction]
pub fn set_num_threads(n: &Bound<'_, PyAny>) -> PyResult<()> {
    Ok(parallel::set_num_threads(threads(Some(n))?)?)
}
