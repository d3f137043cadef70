//! `MLP` in Python: arrays checked and borrowed, the interpreter let go, results as new arrays.

use std::ops::ControlFlow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use numpy::prelude::*;
use numpy::{Element, PyArray1, PyArrayDyn, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::array::{Number, RealDtype, empty};
use super::call::{detached, threads};
use crate::error::{Error, Result};
use crate::nn::Run;
use crate::nn::activation::Activation;
use crate::nn::loss::{Loss, Targets};
use crate::nn::mlp::{Mlp as Core, Workspace};
use crate::nn::real::Real;
use crate::nn::train::{Dataset, EpochStats, FitConfig, fit};
use crate::region::tuple;

/// The network, replaced as a whole: a call works on the parameters it found, whoever writes meanwhile.
/// Without a lock, which a fork in the middle of a fit would leave locked in the child.
struct Shared<T>(ArcSwap<Core<T>>);

impl<T: Real> Shared<T> {
    fn new(mlp: Core<T>) -> Self {
        Self(ArcSwap::from_pointee(mlp))
    }

    fn get(&self) -> Arc<Core<T>> {
        self.0.load_full()
    }

    fn set(&self, mlp: Core<T>) {
        self.0.store(Arc::new(mlp));
    }
}

enum Net {
    Float32(Shared<f32>),
    Float64(Shared<f64>),
}

/// A multilayer perceptron; `initcore.MLP` is the one to use.
#[pyclass(frozen, module = "initcore._core")]
pub struct Mlp {
    net: Net,
}

/// Runs the same code for either type.
macro_rules! with_net {
    ($self:expr, |$net:ident| $body:expr) => {
        match &$self.net {
            Net::Float32($net) => $body,
            Net::Float64($net) => $body,
        }
    };
}

/// A C-contiguous (rows, columns) array of the network's type, finite throughout.
fn inputs<'py, T: Number>(
    x: &Bound<'py, PyAny>,
    what: &str,
    columns: usize,
) -> PyResult<PyReadonlyArray2<'py, T>> {
    let array: PyReadonlyArray2<'py, T> = x.extract()?;
    let [rows, given] = *array.shape() else { unreachable!("two axes") };
    if given != columns {
        return Err(PyValueError::new_err(format!(
            "{what} has shape ({rows}, {given}), but the network has {columns} inputs: expected ({rows}, {columns})"
        )));
    }
    let values = array.as_slice()?;
    if let Some(i) = x.py().detach(|| values.iter().position(|value| !value.is_finite())) {
        return Err(PyValueError::new_err(format!(
            "{what} must be finite, got {} in row {}, column {}",
            values[i],
            i / columns,
            i % columns
        )));
    }
    Ok(array)
}

/// Targets as the Python side prepared them: int64 labels (rows,) or values (rows, outputs).
enum TargetArray<'py, T: Element> {
    Labels(PyReadonlyArray1<'py, i64>),
    Values(PyReadonlyArray2<'py, T>),
}

impl<'py, T: Number> TargetArray<'py, T> {
    fn new(t: &Bound<'py, PyAny>) -> PyResult<Self> {
        match t.cast::<PyArray1<i64>>() {
            Ok(labels) => Ok(Self::Labels(labels.try_readonly()?)),
            Err(_) => Ok(Self::Values(t.extract()?)),
        }
    }

    fn get(&self) -> PyResult<Targets<'_, T>> {
        Ok(match self {
            Self::Labels(labels) => Targets::Labels(labels.as_slice()?),
            Self::Values(values) => Targets::Values(values.as_slice()?),
        })
    }
}

/// Samples with their targets, borrowed from NumPy.
struct Samples<'py, T: Element> {
    x: PyReadonlyArray2<'py, T>,
    t: TargetArray<'py, T>,
}

impl<'py, T: Number> Samples<'py, T> {
    /// `what` names the inputs in messages.
    fn new(
        mlp: &Core<T>,
        what: &str,
        x: &Bound<'py, PyAny>,
        t: &Bound<'py, PyAny>,
    ) -> PyResult<Self> {
        Ok(Self { x: inputs(x, what, mlp.inputs())?, t: TargetArray::new(t)? })
    }

    fn dataset(&self) -> PyResult<Dataset<'_, T>> {
        Ok(Dataset { x: self.x.as_slice()?, targets: self.t.get()?, rows: self.x.shape()[0] })
    }
}

/// A new array holding a copy of `values`.
fn array<'py, T: Number>(
    py: Python<'py>,
    shape: &[usize],
    values: &[T],
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    let shape: Vec<u64> = shape.iter().map(|n| *n as u64).collect();
    let array = empty::<T>(py, &shape)?;
    array.readwrite().as_slice_mut()?.copy_from_slice(values);
    Ok(array)
}

/// The parameters, or gradients laid out like them, by name.
fn named<'py, T: Number>(
    py: Python<'py>,
    mlp: &Core<T>,
    values: &[T],
) -> PyResult<Bound<'py, PyDict>> {
    let result = PyDict::new(py);
    for parameter in mlp.parameters() {
        let values = &values[parameter.range.clone()];
        result.set_item(&parameter.name, array(py, &parameter.shape, values)?)?;
    }
    Ok(result)
}

fn set_parameters<T: Number>(net: &Shared<T>, mapping: &Bound<'_, PyDict>) -> PyResult<()> {
    let mut mlp = Core::clone(&net.get());
    let parameters = mlp.parameters();
    for (name, value) in mapping {
        let name: String = name.extract()?;
        let Some(parameter) = parameters.iter().find(|parameter| parameter.name == name) else {
            let known: Vec<_> = parameters.iter().map(|p| p.name.as_str()).collect();
            return Err(PyKeyError::new_err(format!(
                "no parameter {name:?}: this network has {}",
                known.join(", ")
            )));
        };
        let value = value.cast::<PyArrayDyn<T>>()?.try_readonly()?;
        if value.shape() != parameter.shape {
            return Err(PyValueError::new_err(format!(
                "{name} has shape {}, got {}",
                tuple(&parameter.shape),
                tuple(value.shape())
            )));
        }
        mlp.values_mut()[parameter.range.clone()].copy_from_slice(value.as_slice()?);
    }
    net.set(mlp);
    Ok(())
}

/// The outputs of every layer for `x`.
fn activations<'py, T: Number>(
    py: Python<'py>,
    net: &Shared<T>,
    x: &Bound<'py, PyAny>,
    threads: usize,
) -> PyResult<Vec<Bound<'py, PyArrayDyn<T>>>> {
    let mlp = net.get();
    let x = inputs::<T>(x, "x", mlp.inputs())?;
    let (rows, values) = (x.shape()[0], x.as_slice()?);
    let workspace = detached(py, |stop| {
        let mut workspace = Workspace::forward_only(&mlp, rows)?;
        mlp.forward(values, rows, &mut workspace, Run { threads, stop })?;
        Ok(workspace)
    })?;
    (0..mlp.depth())
        .map(|layer| array(py, &[rows, mlp.sizes()[layer + 1]], workspace.y(layer)))
        .collect()
}

fn forward<'py, T: Number>(
    py: Python<'py>,
    net: &Shared<T>,
    x: &Bound<'py, PyAny>,
    threads: usize,
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    let mlp = net.get();
    let x = inputs::<T>(x, "x", mlp.inputs())?;
    let (rows, values) = (x.shape()[0], x.as_slice()?);
    let y = detached(py, |stop| mlp.predict(values, rows, Run { threads, stop }))?;
    array(py, &[rows, mlp.outputs()], &y)
}

fn loss_and_grad<'py, T: Number>(
    net: &Shared<T>,
    samples: (&Bound<'py, PyAny>, &Bound<'py, PyAny>),
    loss: Loss,
    threads: usize,
) -> PyResult<(f64, Bound<'py, PyDict>)> {
    let (mlp, py) = (net.get(), samples.0.py());
    let samples = Samples::new(&mlp, "x", samples.0, samples.1)?;
    let Dataset { x, targets, rows } = samples.dataset()?;
    let (evaluation, workspace) = detached(py, |stop| {
        let mut workspace = Workspace::new(&mlp, rows)?;
        let run = Run { threads, stop };
        let evaluation = mlp.loss_and_grad(x, targets, rows, loss, &mut workspace, run)?;
        Ok((evaluation, workspace))
    })?;
    Ok((evaluation.loss, named(py, &mlp, workspace.gradients())?))
}

fn evaluate<'py, T: Number>(
    net: &Shared<T>,
    samples: (&Bound<'py, PyAny>, &Bound<'py, PyAny>),
    loss: Loss,
    threads: usize,
) -> PyResult<(f64, Option<f64>)> {
    let (mlp, py) = (net.get(), samples.0.py());
    let samples = Samples::new(&mlp, "x", samples.0, samples.1)?;
    let Dataset { x, targets, rows } = samples.dataset()?;
    let evaluation =
        detached(py, |stop| mlp.evaluate(x, targets, rows, loss, Run { threads, stop }))?;
    let decisions = loss.decisions(rows, mlp.outputs()) as f64;
    Ok((evaluation.loss, evaluation.correct.map(|correct| correct as f64 / decisions)))
}

/// One entry of the history.
fn stats<'py>(py: Python<'py>, epoch: &EpochStats) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    row.set_item("epoch", epoch.epoch)?;
    row.set_item("loss", epoch.loss)?;
    row.set_item("accuracy", epoch.accuracy)?;
    row.set_item("val_loss", epoch.validation_loss)?;
    row.set_item("val_accuracy", epoch.validation_accuracy)?;
    row.set_item("gradient_norm", epoch.gradient_norm)?;
    row.set_item("seconds", epoch.seconds)?;
    row.set_item("diverged", epoch.diverged)?;
    Ok(row)
}

/// Trains a copy and puts it in place after every epoch, before `on_epoch` is called, and at the end.
fn train<'py, T: Number>(
    net: &Shared<T>,
    samples: (&Bound<'py, PyAny>, &Bound<'py, PyAny>),
    config: &FitConfig,
    validation: Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    on_epoch: &Py<PyAny>,
) -> PyResult<()> {
    let py = samples.0.py();
    let mut mlp = Core::clone(&net.get());
    let samples = Samples::new(&mlp, "x", samples.0, samples.1)?;
    let validation =
        validation.map(|(x, t)| Samples::new(&mlp, "validation x", &x, &t)).transpose()?;
    let dataset = samples.dataset()?;
    let validation = validation.as_ref().map(Samples::dataset).transpose()?;
    let mut raised = None;
    let result = detached(py, |stop| {
        let mut see = |mlp: &Core<T>, epoch: &EpochStats| -> Result<ControlFlow<()>> {
            net.set(mlp.clone());
            let called =
                Python::attach(|py| on_epoch.call1(py, (stats(py, epoch)?,))?.is_truthy(py));
            match called {
                Ok(true) => Ok(ControlFlow::Break(())),
                Ok(false) => Ok(ControlFlow::Continue(())),
                Err(error) => {
                    raised = Some(error);
                    Err(Error::Interrupted)
                }
            }
        };
        fit(&mut mlp, &dataset, config, validation.as_ref(), stop, &mut see)
    });
    net.set(mlp);
    match raised {
        Some(error) => Err(error),
        None => result.map(|_| ()),
    }
}

#[pymethods]
impl Mlp {
    /// A network with all parameters zero.
    #[new]
    fn new(
        sizes: Vec<usize>,
        activation: &str,
        output_activation: &str,
        bias: bool,
        dtype: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let (activation, output) = (activation.parse()?, output_activation.parse()?);
        let net = match RealDtype::parse(dtype)? {
            RealDtype::Float32 => {
                Net::Float32(Shared::new(Core::new(&sizes, activation, output, bias)?))
            }
            RealDtype::Float64 => {
                Net::Float64(Shared::new(Core::new(&sizes, activation, output, bias)?))
            }
        };
        Ok(Self { net })
    }

    /// Names and shapes of the parameters, in the order of the layers.
    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let pairs = |parameters: Vec<crate::nn::mlp::Parameter>| {
            parameters.into_iter().map(|p| (p.name, p.shape)).collect()
        };
        with_net!(self, |net| pairs(net.get().parameters()))
    }

    /// Copies of the parameters, by name.
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        with_net!(self, |net| {
            let mlp = net.get();
            named(py, &mlp, mlp.values())
        })
    }

    /// Replaces the parameters that are named; all are checked before the first is written.
    fn set_parameters(&self, mapping: &Bound<'_, PyDict>) -> PyResult<()> {
        with_net!(self, |net| set_parameters(net, mapping))
    }

    /// Outputs for `x`.
    fn forward<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        num_threads: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let threads = threads(num_threads)?;
        with_net!(self, |net| Ok(forward(x.py(), net, x, threads)?.into_any()))
    }

    /// Outputs of every layer for `x`.
    fn activations<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        num_threads: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let threads = threads(num_threads)?;
        with_net!(self, |net| PyList::new(x.py(), activations(x.py(), net, x, threads)?))
    }

    /// Loss, and its gradients by parameter name.
    fn loss_and_grad<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        t: &Bound<'py, PyAny>,
        loss: &str,
        num_threads: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(f64, Bound<'py, PyDict>)> {
        let (loss, threads) = (loss.parse()?, threads(num_threads)?);
        with_net!(self, |net| loss_and_grad(net, (x, t), loss, threads))
    }

    /// Loss and accuracy.
    fn evaluate(
        &self,
        x: &Bound<'_, PyAny>,
        t: &Bound<'_, PyAny>,
        loss: &str,
        num_threads: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(f64, Option<f64>)> {
        let (loss, threads) = (loss.parse()?, threads(num_threads)?);
        with_net!(self, |net| evaluate(net, (x, t), loss, threads))
    }

    /// Trains; `on_epoch` is called with a dict per epoch and ends the fit by returning something true.
    #[expect(clippy::too_many_arguments, reason = "the hyperparameters of a fit")]
    fn fit<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        t: &Bound<'py, PyAny>,
        loss: &str,
        optimizer: &Bound<'py, PyAny>,
        batch_size: usize,
        epochs: usize,
        shuffle: bool,
        seed: u64,
        validation: Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
        on_epoch: Py<PyAny>,
        num_threads: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let config = FitConfig {
            loss: loss.parse()?,
            optimizer: super::optimizer::optimizer(optimizer)?,
            batch_size,
            epochs,
            shuffle,
            seed,
            threads: threads(num_threads)?,
        };
        with_net!(self, |net| train(net, (x, t), &config, validation, &on_epoch))
    }
}

/// Names of the activations and of the losses.
#[pyfunction]
pub fn nn_names() -> (Vec<&'static str>, Vec<&'static str>) {
    let activations = Activation::ALL.iter().map(|activation| activation.name()).collect();
    (activations, Loss::ALL.iter().map(|loss| loss.name()).collect())
}
