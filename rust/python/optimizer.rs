//! Optimizers and schedules as Python objects describe them.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::nn::optimizer::Optimizer;
use crate::nn::schedule::Schedule;

/// The value of the argument `name`.
fn read<'py, T>(value: &Bound<'py, PyAny>, name: &str, expected: &str) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py>,
{
    value
        .extract()
        .map_err(|_| PyTypeError::new_err(format!("{name} must be {expected}, got {value:?}")))
}

/// A number, the argument `name`.
pub fn number(value: &Bound<'_, PyAny>, name: &str) -> PyResult<f64> {
    read(value, name, "a number")
}

/// The fields of a dataclass of `initcore`, read by name.
struct Fields<'a, 'py>(&'a Bound<'py, PyAny>);

impl<'py> Fields<'_, 'py> {
    fn get<T>(&self, name: &str, expected: &str) -> PyResult<T>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        read(&self.0.getattr(name)?, name, expected)
    }

    fn number(&self, name: &str) -> PyResult<f64> {
        number(&self.0.getattr(name)?, name)
    }

    fn flag(&self, name: &str) -> PyResult<bool> {
        self.get(name, "a bool")
    }

    /// Which of the kinds the object says it is.
    fn kind(&self) -> PyResult<String> {
        self.get("kind", "a name")
    }
}

/// The optimizer that a Python object describes.
pub fn optimizer(object: &Bound<'_, PyAny>) -> PyResult<Optimizer> {
    let fields = Fields(object);
    let number = |name| fields.number(name);
    let betas = || fields.get("betas", "a tuple of two numbers");
    let optimizer = match fields.kind()?.as_str() {
        "sgd" => Optimizer::Sgd {
            lr: number("lr")?,
            momentum: number("momentum")?,
            nesterov: fields.flag("nesterov")?,
            weight_decay: number("weight_decay")?,
        },
        "adagrad" => Optimizer::Adagrad {
            lr: number("lr")?,
            lr_decay: number("lr_decay")?,
            eps: number("eps")?,
            initial_accumulator_value: number("initial_accumulator_value")?,
            weight_decay: number("weight_decay")?,
        },
        "rmsprop" => Optimizer::RmsProp {
            lr: number("lr")?,
            alpha: number("alpha")?,
            eps: number("eps")?,
            momentum: number("momentum")?,
            weight_decay: number("weight_decay")?,
            centered: fields.flag("centered")?,
        },
        kind @ ("adam" | "adamw") => {
            let (beta1, beta2) = betas()?;
            let (lr, eps, weight_decay) = (number("lr")?, number("eps")?, number("weight_decay")?);
            if kind == "adam" {
                Optimizer::Adam { lr, beta1, beta2, eps, weight_decay }
            } else {
                Optimizer::AdamW { lr, beta1, beta2, eps, weight_decay }
            }
        }
        kind => return Err(PyValueError::new_err(format!("unknown optimizer {kind:?}"))),
    };
    optimizer.check()?;
    Ok(optimizer)
}

/// The schedule that a Python object describes.
pub fn schedule(object: &Bound<'_, PyAny>) -> PyResult<Schedule> {
    let fields = Fields(object);
    let number = |name| fields.number(name);
    let schedule = match fields.kind()?.as_str() {
        "constant" => Schedule::Constant,
        "step" => Schedule::Step { every: number("every")?, factor: number("factor")? },
        "cosine" => {
            Schedule::Cosine { warmup: number("warmup")?, final_factor: number("final_factor")? }
        }
        kind => return Err(PyValueError::new_err(format!("unknown schedule {kind:?}"))),
    };
    schedule.check()?;
    Ok(schedule)
}

/// Checks the hyperparameters of an optimizer object.
#[pyfunction]
pub fn check_optimizer(optimizer: &Bound<'_, PyAny>) -> PyResult<()> {
    self::optimizer(optimizer).map(|_| ())
}

/// Checks the numbers of a schedule object.
#[pyfunction]
pub fn check_schedule(schedule: &Bound<'_, PyAny>) -> PyResult<()> {
    self::schedule(schedule).map(|_| ())
}
