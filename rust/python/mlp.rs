//! `MLP` in Python: arrays checked and borrowed, the interpreter let go, results as new arrays.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use numpy::prelude::*;
use numpy::{Element, PyArray1, PyArrayDyn, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::array::{Number, RealDtype, array, empty};
use super::call::{detached, threads};
use super::diagnose;
use super::optimizer::{number, optimizer, schedule};
use super::workers::PyWorkers;
use crate::error::{Error, Result};
use crate::nn::Run;
use crate::nn::activation::Activation;
use crate::nn::diagnosis::Options;
use crate::nn::loss::{Loss, Targets, Truth};
use crate::nn::mlp::Mlp as Core;
use crate::nn::pass::{Dataset, Workspace};
use crate::nn::real::Real;
use crate::nn::train::{EpochStats, FitConfig, Nonfinite, fit, fit_with};
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

/// Where the first number is that is not finite.
fn first_nonfinite<T: Number>(values: &[T]) -> Option<usize> {
    // By blocks, since a loop that may end at any number does not vectorise.
    const BLOCK: usize = 1 << 12;
    let all_finite = |block: &[T]| block.iter().fold(true, |all, value| all & value.is_finite());
    let block = values.chunks(BLOCK).position(|block| !all_finite(block))?;
    let first = block * BLOCK;
    values[first..].iter().position(|value| !value.is_finite()).map(|i| first + i)
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
    if let Some(i) = x.py().detach(|| first_nonfinite(values)) {
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

    fn get(&self) -> PyResult<Truth<'_, T>> {
        Ok(match self {
            Self::Labels(labels) => Truth::Labels(labels.as_slice()?),
            Self::Values(values) => Truth::Values(values.as_slice()?),
        })
    }
}

/// Inputs, targets and, where there are any, the weights of the samples, as Python gives them.
type SampleArrays<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);

/// Samples with their targets and weights, borrowed from NumPy.
struct Samples<'py, T: Element> {
    x: PyReadonlyArray2<'py, T>,
    t: TargetArray<'py, T>,
    weights: Option<PyReadonlyArray1<'py, T>>,
}

impl<'py, T: Number> Samples<'py, T> {
    /// `what` names the inputs in messages.
    fn new(mlp: &Core<T>, what: &str, (x, t, weights): &SampleArrays<'py>) -> PyResult<Self> {
        Ok(Self {
            x: inputs(x, what, mlp.inputs())?,
            t: TargetArray::new(t)?,
            weights: weights.as_ref().map(|weights| weights.extract()).transpose()?,
        })
    }

    fn dataset(&self) -> PyResult<Dataset<'_, T>> {
        let weights = self.weights.as_ref().map(|weights| weights.as_slice()).transpose()?;
        let targets = Targets { truth: self.t.get()?, weights };
        Ok(Dataset { x: self.x.as_slice()?, targets, rows: self.x.shape()[0] })
    }
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
    let outputs = detached(py, |stop| mlp.activations(values, rows, Run { threads, stop }))?;
    let layers = mlp.layers().iter().zip(outputs);
    layers.map(|(layer, y)| array(py, &[rows, layer.fan_out], &y)).collect()
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
    let result = empty::<T>(py, &[rows as u64, mlp.outputs() as u64])?;
    {
        let mut result = result.readwrite();
        let y = result.as_slice_mut()?;
        detached(py, |stop| mlp.forward(values, y, rows, Run { threads, stop }))?;
    }
    Ok(result)
}

fn loss_and_grad<'py, T: Number>(
    net: &Shared<T>,
    samples: &SampleArrays<'py>,
    loss: Loss,
    threads: usize,
) -> PyResult<(f64, Bound<'py, PyDict>)> {
    let (mlp, py) = (net.get(), samples.0.py());
    let samples = Samples::new(&mlp, "x", samples)?;
    let data = samples.dataset()?;
    let (evaluation, workspace) = detached(py, |stop| {
        data.check(&mlp, loss)?;
        let mut workspace = Workspace::new(&mlp, data.rows)?;
        let run = Run { threads, stop };
        let evaluation = mlp.loss_and_grad(&data, loss, &mut workspace, run)?;
        Ok((evaluation, workspace))
    })?;
    Ok((evaluation.loss, named(py, &mlp, workspace.gradients())?))
}

/// With targets for a loss, or, without one, with dL/dy in their place.
fn diagnose<'py, T: Number>(
    net: &Shared<T>,
    samples: &SampleArrays<'py>,
    options: &Options<'_>,
    threads: usize,
) -> PyResult<Bound<'py, PyDict>> {
    let (mlp, py) = (net.get(), samples.0.py());
    let samples = Samples::new(&mlp, "x", samples)?;
    let data = samples.dataset()?;
    let diagnosis = detached(py, |stop| mlp.diagnose(&data, options, Run { threads, stop }))?;
    diagnose::network(py, &diagnosis)
}

fn evaluate<T: Number>(
    net: &Shared<T>,
    samples: &SampleArrays<'_>,
    loss: Loss,
    threads: usize,
) -> PyResult<(f64, Option<f64>)> {
    let (mlp, py) = (net.get(), samples.0.py());
    let samples = Samples::new(&mlp, "x", samples)?;
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
    row.set_item("val_loss", epoch.validation.map(|validation| validation.loss))?;
    row.set_item("val_accuracy", epoch.validation.and_then(|validation| validation.accuracy))?;
    row.set_item("gradient_norm", epoch.gradient_norm)?;
    row.set_item("seconds", epoch.seconds)?;
    row.set_item("skipped", epoch.skipped)?;
    let divergence = epoch.divergence.map(|divergence| {
        let what = match divergence.what {
            Nonfinite::Output => "output",
            Nonfinite::Loss => "loss",
            Nonfinite::Gradient => "gradient",
            Nonfinite::Parameters => "parameters",
        };
        (divergence.epoch, divergence.step, divergence.layer, what, divergence.to_string())
    });
    row.set_item("divergence", divergence)?;
    Ok(row)
}

/// Trains a copy and puts it in place after every epoch, before `on_epoch` is called, and at the end.
fn train<'py, T: Number>(
    net: &Shared<T>,
    samples: &SampleArrays<'py>,
    config: &FitConfig,
    validation: Option<&SampleArrays<'py>>,
    on_epoch: &Py<PyAny>,
    workers: Option<&Bound<'py, PyAny>>,
) -> PyResult<()> {
    let py = samples.0.py();
    let mut workers = workers.map(PyWorkers::new).transpose()?;
    let mut mlp = Core::clone(&net.get());
    let samples = Samples::new(&mlp, "x", samples)?;
    let validation =
        validation.map(|samples| Samples::new(&mlp, "validation x", samples)).transpose()?;
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
        let validation = validation.as_ref();
        match &mut workers {
            Some(workers) => {
                let interrupted = workers.interrupted();
                let stop = &|| stop() || interrupted.load(Ordering::Relaxed);
                fit_with(workers, &mut mlp, &dataset, config, validation, stop, &mut see)
            }
            None => fit(&mut mlp, &dataset, config, validation, stop, &mut see),
        }
    });
    net.set(mlp);
    match raised.or(workers.and_then(PyWorkers::exception)) {
        Some(error) => Err(error),
        None => Ok(result?),
    }
}

#[pymethods]
impl Mlp {
    /// A network with all parameters zero: one activation and one bias or none for each layer.
    #[new]
    fn new(
        sizes: Vec<usize>,
        activations: Vec<String>,
        bias: Vec<bool>,
        dtype: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let activations =
            activations.iter().map(|text| text.parse()).collect::<Result<Vec<Activation>>>()?;
        let net = match RealDtype::parse(dtype)? {
            RealDtype::Float32 => {
                Net::Float32(Shared::new(Core::new(&sizes, &activations, &bias)?))
            }
            RealDtype::Float64 => {
                Net::Float64(Shared::new(Core::new(&sizes, &activations, &bias)?))
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
        samples: SampleArrays<'py>,
        loss: &str,
        num_threads: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(f64, Bound<'py, PyDict>)> {
        let (loss, threads) = (loss.parse()?, threads(num_threads)?);
        with_net!(self, |net| loss_and_grad(net, &samples, loss, threads))
    }

    /// Statistics of every layer; without a loss, the targets of `samples` are dL/dy.
    fn diagnose<'py>(
        &self,
        samples: SampleArrays<'py>,
        loss: Option<&str>,
        thresholds: Vec<f64>,
        optimizer: Option<&Bound<'py, PyAny>>,
        num_threads: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let options = Options {
            loss: loss.map(str::parse).transpose()?,
            thresholds: &thresholds,
            optimizer: optimizer.map(self::optimizer).transpose()?,
        };
        let threads = threads(num_threads)?;
        with_net!(self, |net| diagnose(net, &samples, &options, threads))
    }

    /// Loss and accuracy.
    fn evaluate(
        &self,
        samples: SampleArrays<'_>,
        loss: &str,
        num_threads: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(f64, Option<f64>)> {
        let (loss, threads) = (loss.parse()?, threads(num_threads)?);
        with_net!(self, |net| evaluate(net, &samples, loss, threads))
    }

    /// Trains; `on_epoch` is called with a dict per epoch and ends the fit by returning something true.
    #[expect(clippy::too_many_arguments, reason = "the hyperparameters of a fit")]
    fn fit<'py>(
        &self,
        samples: SampleArrays<'py>,
        loss: &str,
        optimizer: &Bound<'py, PyAny>,
        schedule: &Bound<'py, PyAny>,
        clip_norm: Option<&Bound<'py, PyAny>>,
        batch_size: usize,
        epochs: usize,
        shuffle: bool,
        seed: u64,
        skip_nonfinite: bool,
        validation: Option<SampleArrays<'py>>,
        on_epoch: Py<PyAny>,
        workers: Option<&Bound<'py, PyAny>>,
        num_threads: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let config = FitConfig {
            loss: loss.parse()?,
            optimizer: self::optimizer(optimizer)?,
            schedule: self::schedule(schedule)?,
            clip_norm: clip_norm.map(|norm| number(norm, "clip_norm")).transpose()?,
            batch_size,
            epochs,
            shuffle,
            seed,
            skip_nonfinite,
            threads: threads(num_threads)?,
        };
        let validation = validation.as_ref();
        with_net!(self, |net| train(net, &samples, &config, validation, &on_epoch, workers))
    }
}

/// Names of the activations and of the losses.
#[pyfunction]
pub fn nn_names() -> (Vec<&'static str>, Vec<&'static str>) {
    let activations = Activation::ALL.iter().map(|activation| activation.name()).collect();
    (activations, Loss::ALL.iter().map(|loss| loss.name()).collect())
}

/// Checks the name of a loss; whether it takes one integer per sample as the class of that sample.
#[pyfunction]
pub fn loss_takes_labels(loss: &str) -> PyResult<bool> {
    Ok(loss.parse::<Loss>()?.takes_labels())
}

/// Whether a loss goes with decisions, and so with an accuracy.
#[pyfunction]
pub fn loss_has_accuracy(loss: &str) -> PyResult<bool> {
    Ok(loss.parse::<Loss>()?.decisions(1, 1) > 0)
}
