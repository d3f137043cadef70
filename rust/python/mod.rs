//! The Python extension module `initcore._core`: check the arguments, allocate through NumPy, let go of the
//! interpreter, call the core. No mathematics here.

// PyO3 hands arguments over by value.
#![allow(clippy::needless_pass_by_value)]

mod array;
mod call;
mod config;
mod dense;
mod diagnose;
mod index;
mod initializer;
mod layout;
mod mlp;
mod optimizer;
mod workers;

use pyo3::prelude::*;

/// Compiled core of initcore; use the `initcore` package instead.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::config::{
        available_isas, get_isa, get_num_threads, set_isa, set_num_threads, stream_version, version,
    };
    #[pymodule_export]
    use super::dense::{activation, dense_backward, dense_forward};
    #[pymodule_export]
    use super::diagnose::diagnose_arrays;
    #[pymodule_export]
    use super::initializer::{
        Constant, DeltaOrthogonal, Embedding, Identity, Initializer, Normal, Orthogonal, Sparse,
        TruncatedNormal, Uniform, VarianceScaling, ZerO, schemes,
    };
    #[pymodule_export]
    use super::layout::Layout;
    #[pymodule_export]
    use super::mlp::{Mlp, loss_has_accuracy, loss_takes_labels, nn_names};
    #[pymodule_export]
    use super::optimizer::{check_optimizer, check_schedule};

    #[pymodule_init]
    #[expect(clippy::unnecessary_wraps, reason = "what PyO3 asks for")]
    fn init(_module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        crate::nn::gemm::warm_up();
        Ok(())
    }
}
