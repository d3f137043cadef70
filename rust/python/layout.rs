//! Which axes of a weight are inputs and outputs, as Python gives it.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::index::{Shape, integer};
use crate::fans as core;
use crate::fans::Axes;

/// How a weight's shape is to be read: which axes count inputs, outputs, or weights that have nothing to do with each
/// other; all others are positions of a convolution's kernel.
///
/// `axes` names them: "numpy" is (..., in, out), "torch" is (out, in, ...), "embedding" is (vocabulary, features),
/// "depthwise" is (..., channels, multiplier). Or they are given by number, one or several each: `in_axis`, `out_axis`,
/// `batch_axis`. `groups` are those of a convolution; `transposed` says that it is a transposed one, where what would be inputs are
/// outputs, and the other way round, axes given by number too; `blocks` is the
/// number of equal weights packed along the outputs (3 for query, key and value).
#[pyclass(frozen, eq, hash, module = "initcore", from_py_object)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    layout: core::Layout,
}

/// The numbers of axes: an integer or several.
fn axis_numbers(name: &str, object: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<i64>> {
    let Some(object) = object else { return Ok(Vec::new()) };
    let refused =
        || PyTypeError::new_err(format!("{name} must be an integer or several, got {object:?}"));
    let number = |n: &Bound<'_, PyAny>| match integer(n)?.map(i64::try_from) {
        Some(Ok(n)) => Ok(n),
        Some(Err(_)) => Err(PyValueError::new_err(format!("{name} is out of range: {n}"))),
        None => Err(refused()),
    };
    if integer(object)?.is_some() {
        return Ok(vec![number(object)?]);
    }
    object.try_iter().map_err(|_| refused())?.map(|n| number(&n?)).collect()
}

/// A number of groups or blocks.
fn parts(name: &str, object: &Bound<'_, PyAny>) -> PyResult<u64> {
    match integer(object)?.map(u64::try_from) {
        Some(Ok(n)) => Ok(n),
        Some(Err(_)) => {
            Err(PyValueError::new_err(format!("{name} must be 1 or more, got {object}")))
        }
        None => Err(PyTypeError::new_err(format!("{name} must be an integer, got {object:?}"))),
    }
}

#[pymethods]
impl Layout {
    #[new]
    #[pyo3(signature = (axes=None, *, in_axis=None, out_axis=None, batch_axis=None, groups=None, transposed=false, blocks=None))]
    fn new(
        axes: Option<&str>,
        in_axis: Option<&Bound<'_, PyAny>>,
        out_axis: Option<&Bound<'_, PyAny>>,
        batch_axis: Option<&Bound<'_, PyAny>>,
        groups: Option<&Bound<'_, PyAny>>,
        transposed: bool,
        blocks: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let given = in_axis.is_some() || out_axis.is_some() || batch_axis.is_some();
        let axes = match axes {
            Some(_) if given => {
                return Err(PyValueError::new_err(
                    "give the axes by a name or by their numbers, not both",
                ));
            }
            Some(name) => name.parse::<core::Layout>()?.axes,
            None if given => Axes::Given {
                inputs: axis_numbers("in_axis", in_axis)?,
                outputs: axis_numbers("out_axis", out_axis)?,
                batch: axis_numbers("batch_axis", batch_axis)?,
            },
            None => Axes::default(),
        };
        let groups = groups.map_or(Ok(1), |n| parts("groups", n))?;
        let blocks = blocks.map_or(Ok(1), |n| parts("blocks", n))?;
        Ok(Self { layout: core::Layout { axes, groups, transposed, blocks }.checked()? })
    }

    /// (fan_in, fan_out) of a weight of this shape.
    fn fans(&self, shape: Shape) -> PyResult<(u64, u64)> {
        Ok(self.layout.fans(&shape.0)?)
    }

    /// The length and role ("batch", "kernel", "input" or "output") of each axis of a weight of this shape, after axes
    /// with groups or blocks were split: a shape that the weight can be given by `reshape`.
    fn dimensions(&self, shape: Shape) -> PyResult<Vec<(u64, &'static str)>> {
        let dimensions = self.layout.dimensions(&shape.0)?;
        Ok(dimensions.into_iter().map(|dim| (dim.len, dim.role.name())).collect())
    }

    /// What makes an equal one, by name.
    fn get_config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let config = PyDict::new(py);
        let core::Layout { axes, groups, transposed, blocks } = &self.layout;
        match axes {
            Axes::Given { inputs, outputs, batch } => {
                config.set_item("in_axis", PyTuple::new(py, inputs)?)?;
                config.set_item("out_axis", PyTuple::new(py, outputs)?)?;
                config.set_item("batch_axis", PyTuple::new(py, batch)?)?;
            }
            named => {
                let name =
                    Axes::NAMED.iter().find(|(_, axes)| axes == named).map(|(name, _)| *name);
                config.set_item("axes", name)?;
            }
        }
        if *groups != 1 {
            config.set_item("groups", groups)?;
        }
        if *transposed {
            config.set_item("transposed", transposed)?;
        }
        if *blocks != 1 {
            config.set_item("blocks", blocks)?;
        }
        Ok(config)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let arguments = self.get_config(py)?.iter();
        let arguments = arguments.map(|(name, value)| Ok(format!("{name}={}", value.repr()?)));
        Ok(format!("Layout({})", arguments.collect::<PyResult<Vec<_>>>()?.join(", ")))
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let make = py.import("functools")?.getattr("partial")?;
        let make = make.call((slf.get_type(),), Some(&slf.get().get_config(py)?))?;
        Ok((make, PyTuple::empty(py)))
    }
}

/// A layout as an argument: its name, or a `Layout`.
#[derive(Clone, Debug, Default)]
pub struct LayoutArgument(pub core::Layout);

impl<'py> FromPyObject<'_, 'py> for LayoutArgument {
    type Error = PyErr;
    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if object.is_none() {
            return Ok(Self::default());
        }
        if let Ok(layout) = object.cast::<Layout>() {
            return Ok(Self(layout.get().layout.clone()));
        }
        match object.extract::<&str>() {
            Ok(name) => Ok(Self(name.parse()?)),
            Err(_) => Err(PyTypeError::new_err(format!(
                "layout must be a name or a Layout, got {}",
                object.get_type().name()?
            ))),
        }
    }
}
