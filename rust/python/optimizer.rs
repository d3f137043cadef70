//! Optimizers as Python objects describe them.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::nn::optimizer::Optimizer;

/// The optimizer that a Python object of `initcore.nn` describes.
pub fn optimizer(object: &Bound<'_, PyAny>) -> PyResult<Optimizer> {
    let wrong = |name: &str, expected: &str, value: &Bound<'_, PyAny>| {
        PyTypeError::new_err(format!("{name} must be {expected}, got {value:?}"))
    };
    let get = |name: &str| {
        let value = object.getattr(name)?;
        value.extract::<f64>().map_err(|_| wrong(name, "a number", &value))
    };
    let flag = |name: &str| {
        let value = object.getattr(name)?;
        value.extract::<bool>().map_err(|_| wrong(name, "a bool", &value))
    };
    let kind: String = object.getattr("kind")?.extract()?;
    let optimizer = match kind.as_str() {
        "sgd" => Optimizer::Sgd {
            lr: get("lr")?,
            momentum: get("momentum")?,
            nesterov: flag("nesterov")?,
            weight_decay: get("weight_decay")?,
        },
        "rmsprop" => Optimizer::RmsProp {
            lr: get("lr")?,
            alpha: get("alpha")?,
            eps: get("eps")?,
            momentum: get("momentum")?,
            weight_decay: get("weight_decay")?,
            centered: flag("centered")?,
        },
        "adam" => {
            let betas = object.getattr("betas")?;
            let (beta1, beta2) =
                betas.extract().map_err(|_| wrong("betas", "a tuple of two numbers", &betas))?;
            let (lr, eps, weight_decay) = (get("lr")?, get("eps")?, get("weight_decay")?);
            Optimizer::Adam { lr, beta1, beta2, eps, weight_decay }
        }
        _ => return Err(PyValueError::new_err(format!("unknown optimizer {kind:?}"))),
    };
    optimizer.check()?;
    Ok(optimizer)
}

/// Checks the hyperparameters of an optimizer object.
#[pyfunction]
pub fn check_optimizer(optimizer: &Bound<'_, PyAny>) -> PyResult<()> {
    self::optimizer(optimizer).map(|_| ())
}
