//! The measuring half of `initcore.diagnose`: statistics of networks and of single layers, as dicts.

use numpy::prelude::*;
use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyUntypedArray};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::array::{Number, RealDtype, array};
use super::call::{detached, threads};
use crate::nn::Run;
use crate::nn::diagnosis::{Diagnosis, LayerArrays, LayerDiagnosis, diagnose_layer};
use crate::region::tuple;

/// `(rows, width)` as a new array.
fn rows<'py, T: Number>(
    py: Python<'py>,
    values: &[T],
    width: usize,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(array(py, &[values.len() / width, width], values)?.into_any())
}

/// The entries of a layer, or of the inputs as one.
fn layer<'py, T: Number>(
    py: Python<'py>,
    layer: &LayerDiagnosis<T>,
) -> PyResult<Bound<'py, PyDict>> {
    let (of, errors, copies) = (&layer.outputs, layer.errors.as_ref(), layer.copies);
    let gradient = layer.weight_gradient;
    let dict = PyDict::new(py);
    macro_rules! set {
        ($key:ident = $value:expr) => {
            dict.set_item(intern!(py, stringify!($key)), $value)?
        };
    }
    set!(width = of.width);
    set!(fan_in = layer.fan_in);
    set!(mean = of.moments.mean());
    set!(std = of.moments.std());
    set!(skew = of.moments.skew());
    set!(mean_square = of.moments.mean_square());
    set!(low = of.moments.low());
    set!(high = of.moments.high());
    set!(nonfinite = of.moments.nonfinite());
    set!(dead = of.dead);
    set!(saturated = layer.slopes.map(|slopes| slopes.saturated()));
    set!(slope_square = layer.slopes.map(|slopes| slopes.mean_square()));
    set!(cosine_square = of.cosine_square);
    set!(sample = rows(py, &of.sample, of.width)?);
    set!(gradient_sample = errors.map(|errors| rows(py, &errors.sample, of.width)).transpose()?);
    set!(gradient_std = errors.map(|errors| errors.moments.std()));
    set!(gradient_norm = errors.map(|errors| errors.moments.norm()));
    set!(gradient_nonfinite = errors.map(|errors| errors.moments.nonfinite()));
    set!(duplicates = copies.map(|copies| copies.duplicates));
    set!(flipped = copies.map(|copies| copies.flipped));
    set!(collinear = copies.map(|copies| copies.collinear));
    set!(twins = copies.and_then(|copies| copies.twins));
    set!(weight_norm = layer.weight_norm);
    set!(bias_norm = layer.bias_norm);
    set!(weight_gradient_norm = gradient.map(|gradient| gradient.norm()));
    set!(weight_gradient_std = gradient.map(|gradient| gradient.std()));
    set!(update_ratio = layer.update_ratio);
    Ok(dict)
}

/// A network's diagnosis as a dict.
pub fn network<'py, T: Number>(
    py: Python<'py>,
    diagnosis: &Diagnosis<T>,
) -> PyResult<Bound<'py, PyDict>> {
    let Diagnosis { loss, inputs, layers } = diagnosis;
    let dict = PyDict::new(py);
    dict.set_item("loss", loss)?;
    dict.set_item("inputs", layer(py, inputs)?)?;
    dict.set_item(
        "cosines",
        rows(py, &inputs.outputs.cosines, inputs.outputs.cosines.len().isqrt())?,
    )?;
    let layers = layers.iter().map(|of| layer(py, of));
    dict.set_item("layers", PyList::new(py, layers.collect::<PyResult<Vec<_>>>()?)?)?;
    Ok(dict)
}

/// An array that may be left out.
type Given<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

/// A C-contiguous array of two axes, of `shape`, where that is given.
fn matrix<'py, T: Number>(
    object: Given<'_, 'py>,
    name: &str,
    shape: [Option<usize>; 2],
) -> PyResult<Option<PyReadonlyArray2<'py, T>>> {
    let Some(object) = object else { return Ok(None) };
    let matrix: PyReadonlyArray2<'py, T> = object.extract()?;
    let fits = matrix.shape().iter().zip(shape).all(|(n, m)| m.is_none_or(|m| m == *n));
    if !fits {
        let [rows, columns] = shape.map(|n| n.map_or("any".into(), |n| n.to_string()));
        return Err(PyValueError::new_err(format!(
            "{name} has shape {}, expected ({rows}, {columns})",
            tuple(matrix.shape())
        )));
    }
    Ok(Some(matrix))
}

/// Likewise of one axis.
fn vector<'py, T: Number>(
    object: Given<'_, 'py>,
    name: &str,
    width: usize,
) -> PyResult<Option<PyReadonlyArray1<'py, T>>> {
    let Some(object) = object else { return Ok(None) };
    let vector: PyReadonlyArray1<'py, T> = object.extract()?;
    if vector.shape() != [width] {
        return Err(PyValueError::new_err(format!(
            "{name} has shape {}, expected ({width},)",
            tuple(vector.shape())
        )));
    }
    Ok(Some(vector))
}

/// What a layer may be given beside its outputs: slope, dz, weight, bias, weight gradient, bias gradient.
type Others<'a, 'py> = [Given<'a, 'py>; 6];

fn diagnose_typed<'py, T: Number>(
    y: &Bound<'py, PyAny>,
    [slope, dz, weight, bias, weight_gradient, bias_gradient]: Others<'_, 'py>,
    threshold: f64,
    threads: usize,
) -> PyResult<Bound<'py, PyDict>> {
    let py = y.py();
    let y: PyReadonlyArray2<'py, T> = y.extract()?;
    let [rows, width] = *y.shape() else { unreachable!("two axes") };
    let like_y = [Some(rows), Some(width)];
    let (slope, dz) = (matrix::<T>(slope, "slope", like_y)?, matrix::<T>(dz, "dz", like_y)?);
    let weight = matrix::<T>(weight, "weight", [None, Some(width)])?;
    let fan_in = weight.as_ref().map(|weight| weight.shape()[0]);
    let weight_gradient = matrix::<T>(weight_gradient, "weight_gradient", [fan_in, Some(width)])?;
    let bias = vector::<T>(bias, "bias", width)?;
    let bias_gradient = vector::<T>(bias_gradient, "bias_gradient", width)?;
    let arrays = LayerArrays {
        y: y.as_slice()?,
        rows,
        slope: slope.as_ref().map(|array| array.as_slice()).transpose()?,
        threshold,
        dz: dz.as_ref().map(|array| array.as_slice()).transpose()?,
        weight: weight.as_ref().map(|array| array.as_slice()).transpose()?,
        bias: bias.as_ref().map(|array| array.as_slice()).transpose()?,
        weight_gradient: weight_gradient.as_ref().map(|array| array.as_slice()).transpose()?,
        bias_gradient: bias_gradient.as_ref().map(|array| array.as_slice()).transpose()?,
    };
    let diagnosis = detached(py, |stop| diagnose_layer(&arrays, Run { threads, stop }))?;
    layer(py, &diagnosis)
}

/// Statistics of one layer, given as arrays of one dtype.
#[pyfunction]
#[pyo3(name = "diagnose_layer")]
#[expect(clippy::too_many_arguments, reason = "what there is of a layer")]
pub fn diagnose_arrays<'py>(
    y: &Bound<'py, PyAny>,
    slope: Option<&Bound<'py, PyAny>>,
    dz: Option<&Bound<'py, PyAny>>,
    weight: Option<&Bound<'py, PyAny>>,
    bias: Option<&Bound<'py, PyAny>>,
    weight_gradient: Option<&Bound<'py, PyAny>>,
    bias_gradient: Option<&Bound<'py, PyAny>>,
    threshold: f64,
    num_threads: Option<&Bound<'_, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let threads = threads(num_threads)?;
    let array =
        y.cast::<PyUntypedArray>().map_err(|_| PyTypeError::new_err("expected a numpy.ndarray"))?;
    let others = [slope, dz, weight, bias, weight_gradient, bias_gradient];
    match RealDtype::of_array(array, "y")? {
        RealDtype::Float32 => diagnose_typed::<f32>(y, others, threshold, threads),
        RealDtype::Float64 => diagnose_typed::<f64>(y, others, threshold, threads),
    }
}
