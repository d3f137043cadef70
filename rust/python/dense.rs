//! One dense layer in Python, forward and backward, and activation functions on their own.

use numpy::prelude::*;
use numpy::{Element, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArray};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use super::array::{Number, RealDtype, empty};
use super::call::{detached, threads};
use crate::nn::Run;
use crate::nn::activation::Activation;
use crate::nn::dense::{Gradients, Layer, activate, error};

/// Borrowed arrays of one dense layer: x (batch, fan_in), w (fan_in, fan_out), b (fan_out,).
struct DenseArrays<'py, T: Element> {
    x: PyReadonlyArray2<'py, T>,
    w: PyReadonlyArray2<'py, T>,
    b: Option<PyReadonlyArray1<'py, T>>,
}

impl<'py, T: Number> DenseArrays<'py, T> {
    fn new(
        x: &Bound<'py, PyAny>,
        w: &Bound<'py, PyAny>,
        b: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let (x, w) =
            (x.extract::<PyReadonlyArray2<'py, T>>()?, w.extract::<PyReadonlyArray2<'py, T>>()?);
        let b = b.map(|b| b.extract::<PyReadonlyArray1<'py, T>>()).transpose()?;
        let ([batch, columns], [fan_in, fan_out]) = (x.shape(), w.shape()) else {
            unreachable!("two axes each")
        };
        if columns != fan_in {
            return Err(PyValueError::new_err(format!(
                "x has shape ({batch}, {columns}) and w ({fan_in}, {fan_out}): the columns of x must match the rows of w"
            )));
        }
        if let Some(b) = &b
            && b.shape() != [*fan_out]
        {
            return Err(PyValueError::new_err(format!(
                "b has shape ({},) and w ({fan_in}, {fan_out}): expected b of shape ({fan_out},)",
                b.shape()[0]
            )));
        }
        Ok(Self { x, w, b })
    }

    fn layer(&self, activation: Activation) -> PyResult<Layer<'_, T>> {
        let [fan_in, fan_out] = *self.w.shape() else { unreachable!("two axes") };
        let b = self.b.as_ref().map(|b| b.as_slice()).transpose()?;
        Ok(Layer { w: self.w.as_slice()?, b, fan_in, fan_out, activation })
    }
}

type Pair<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);

fn dense_forward_typed<'py, T: Number>(
    arrays: &DenseArrays<'py, T>,
    py: Python<'py>,
    activation: Activation,
    threads: usize,
) -> PyResult<Pair<'py>> {
    let layer = arrays.layer(activation)?;
    let (x, batch) = (arrays.x.as_slice()?, arrays.x.shape()[0]);
    let shape = [batch as u64, layer.fan_out as u64];
    let y = empty::<T>(py, &shape)?;
    let linear = activation == Activation::Linear;
    let slope = if linear { None } else { Some(empty::<T>(py, &shape)?) };
    {
        let (mut y, mut slope) = (y.readwrite(), slope.as_ref().map(|slope| slope.readwrite()));
        let y = y.as_slice_mut()?;
        let slope = slope.as_mut().map(|slope| slope.as_slice_mut()).transpose()?;
        detached(py, |stop| layer.forward(x, batch, y, slope, Run { threads, stop }))?;
    }
    Ok((y.into_any(), slope.map(Bound::into_any)))
}

/// `y = f(z)` and `f'(z)`, for `z = x w + b`; the slope of the linear activation, 1 everywhere, is None.
#[pyfunction]
pub fn dense_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    w: &Bound<'py, PyAny>,
    b: Option<&Bound<'py, PyAny>>,
    activation: &str,
    num_threads: Option<&Bound<'_, PyAny>>,
) -> PyResult<Pair<'py>> {
    let (activation, threads) = (activation.parse()?, threads(num_threads)?);
    match dtype_of(w)? {
        RealDtype::Float32 => {
            dense_forward_typed(&DenseArrays::<f32>::new(x, w, b)?, py, activation, threads)
        }
        RealDtype::Float64 => {
            dense_forward_typed(&DenseArrays::<f64>::new(x, w, b)?, py, activation, threads)
        }
    }
}

fn dtype_of(array: &Bound<'_, PyAny>) -> PyResult<RealDtype> {
    let array = array
        .cast::<PyUntypedArray>()
        .map_err(|_| PyTypeError::new_err("expected a numpy.ndarray"))?;
    RealDtype::of_array(array, "w")
}

type Triple<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>);

fn dense_backward_typed<'py, T: Number>(
    dy: &Bound<'py, PyAny>,
    arrays: &DenseArrays<'py, T>,
    slope: Option<&Bound<'py, PyAny>>,
    threads: usize,
) -> PyResult<Triple<'py>> {
    let py = dy.py();
    let layer = arrays.layer(Activation::Linear)?;
    let (x, batch) = (arrays.x.as_slice()?, arrays.x.shape()[0]);
    let dy: PyReadonlyArray2<'py, T> = dy.extract()?;
    let slope: Option<PyReadonlyArray2<'py, T>> = slope.map(|slope| slope.extract()).transpose()?;
    for (name, array) in [("dy", Some(&dy)), ("slope", slope.as_ref())] {
        if let Some(array) = array
            && array.shape() != [batch, layer.fan_out]
        {
            return Err(PyValueError::new_err(format!(
                "{name} has shape ({}, {}), expected ({batch}, {}), that of the output",
                array.shape()[0],
                array.shape()[1],
                layer.fan_out
            )));
        }
    }
    let (fan_in, fan_out) = (layer.fan_in as u64, layer.fan_out as u64);
    let (dx, dw) = (empty::<T>(py, &[batch as u64, fan_in])?, empty::<T>(py, &[fan_in, fan_out])?);
    let db = empty::<T>(py, &[fan_out])?;
    {
        let (mut dx, mut dw, mut db) = (dx.readwrite(), dw.readwrite(), db.readwrite());
        let gradients = Gradients {
            dx: Some(dx.as_slice_mut()?),
            dw: dw.as_slice_mut()?,
            db: Some(db.as_slice_mut()?),
        };
        let (dy, slope) = (dy.as_slice()?, slope.as_ref().map(|s| s.as_slice()).transpose()?);
        detached(py, |stop| {
            let run = Run { threads, stop };
            let dz = slope.map(|slope| error(dy, slope, run)).transpose()?;
            layer.backward(x, dz.as_deref().unwrap_or(dy), batch, gradients, run)
        })?;
    }
    Ok((dx.into_any(), dw.into_any(), db.into_any()))
}

/// `(dx, dw, db)` for the gradient `dy` of the output `y = f(z)`, `z = x w + b`, with `slope = f'(z)`, None for 1.
#[pyfunction]
pub fn dense_backward<'py>(
    dy: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    w: &Bound<'py, PyAny>,
    slope: Option<&Bound<'py, PyAny>>,
    num_threads: Option<&Bound<'_, PyAny>>,
) -> PyResult<Triple<'py>> {
    let threads = threads(num_threads)?;
    match dtype_of(w)? {
        RealDtype::Float32 => {
            dense_backward_typed(dy, &DenseArrays::<f32>::new(x, w, None)?, slope, threads)
        }
        RealDtype::Float64 => {
            dense_backward_typed(dy, &DenseArrays::<f64>::new(x, w, None)?, slope, threads)
        }
    }
}

/// `f(z)` and `f'(z)` of the activation with this name, for every element of `z`.
#[pyfunction]
pub fn activation<'py>(
    name: &str,
    z: PyReadonlyArray1<'py, f64>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let (py, activation) = (z.py(), name.parse()?);
    let z = z.as_slice()?;
    let shape = [z.len() as u64];
    let (value, slope) = (empty::<f64>(py, &shape)?, empty::<f64>(py, &shape)?);
    {
        let (mut value, mut slope) = (value.readwrite(), slope.readwrite());
        let (value, slope) = (value.as_slice_mut()?, slope.as_slice_mut()?);
        value.copy_from_slice(z);
        detached(py, |stop| activate(activation, value, slope, Run { threads: 1, stop }))?;
    }
    Ok((value.into_any(), slope.into_any()))
}
