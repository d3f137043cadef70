//! One dense layer in Python, forward and backward.

use numpy::prelude::*;
use numpy::{Element, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArray};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use super::array::{Number, RealDtype, empty};
use super::call::{detached, threads};
use crate::nn::Run;
use crate::nn::activation::Activation;
use crate::nn::dense::{Gradients, Layer};

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

fn dense_forward_typed<'py, T: Number>(
    arrays: &DenseArrays<'py, T>,
    py: Python<'py>,
    activation: Activation,
    threads: usize,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let layer = arrays.layer(activation)?;
    let (x, batch) = (arrays.x.as_slice()?, arrays.x.shape()[0]);
    let shape = [batch as u64, layer.fan_out as u64];
    let (z, y) = (empty::<T>(py, &shape)?, empty::<T>(py, &shape)?);
    {
        let (mut z, mut y) = (z.readwrite(), y.readwrite());
        let (z, y) = (z.as_slice_mut()?, y.as_slice_mut()?);
        detached(py, |stop| layer.forward(x, batch, z, y, Run { threads, stop }))?;
    }
    Ok((z.into_any(), y.into_any()))
}

/// `z = x w + b` and `y = f(z)`, as `(z, y)`.
#[pyfunction]
pub fn dense_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    w: &Bound<'py, PyAny>,
    b: Option<&Bound<'py, PyAny>>,
    activation: &str,
    num_threads: Option<&Bound<'_, PyAny>>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
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
    (z, y): (&Bound<'py, PyAny>, &Bound<'py, PyAny>),
    activation: Activation,
    threads: usize,
) -> PyResult<Triple<'py>> {
    let py = dy.py();
    let layer = arrays.layer(activation)?;
    let (x, batch) = (arrays.x.as_slice()?, arrays.x.shape()[0]);
    let (dy, z, y): (PyReadonlyArray2<'py, T>, PyReadonlyArray2<'py, T>, PyReadonlyArray2<'py, T>) =
        (dy.extract()?, z.extract()?, y.extract()?);
    for (name, array) in [("dy", &dy), ("z", &z), ("y", &y)] {
        if array.shape() != [batch, layer.fan_out] {
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
        let mut dz = dy.as_slice()?.to_vec();
        let (mut dx, mut dw, mut db) = (dx.readwrite(), dw.readwrite(), db.readwrite());
        let gradients = Gradients {
            dx: Some(dx.as_slice_mut()?),
            dw: dw.as_slice_mut()?,
            db: Some(db.as_slice_mut()?),
        };
        let saved = (x, z.as_slice()?, y.as_slice()?);
        detached(py, |stop| {
            layer.backward(saved, batch, &mut dz, gradients, Run { threads, stop })
        })?;
    }
    Ok((dx.into_any(), dw.into_any(), db.into_any()))
}

/// `(dx, dw, db)` for the gradient `dy` of the output `y = f(z)`, `z = x w + b`.
#[pyfunction]
pub fn dense_backward<'py>(
    dy: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    w: &Bound<'py, PyAny>,
    z: &Bound<'py, PyAny>,
    y: &Bound<'py, PyAny>,
    activation: &str,
    num_threads: Option<&Bound<'_, PyAny>>,
) -> PyResult<Triple<'py>> {
    let (activation, threads) = (activation.parse()?, threads(num_threads)?);
    match dtype_of(w)? {
        RealDtype::Float32 => {
            let arrays = DenseArrays::<f32>::new(x, w, None)?;
            dense_backward_typed(dy, &arrays, (z, y), activation, threads)
        }
        RealDtype::Float64 => {
            let arrays = DenseArrays::<f64>::new(x, w, None)?;
            dense_backward_typed(dy, &arrays, (z, y), activation, threads)
        }
    }
}
