//! Initializers as Python objects: parameters checked when made, arrays filled when called.

use half::{bf16, f16};
use numpy::PyUntypedArray;
use numpy::prelude::*;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PySlice, PyTuple, PyType};

use super::array::{Dtype, as_block, check_out, empty, empty_of};
use super::call::{detached, threads};
use super::index::{Shape, integer, region};
use super::layout::LayoutArgument;
use crate::dispatch::with_default_floats;
use crate::distribution::Distribution;
use crate::initializer::{Family, Mode, Parameter};
use crate::law::Law;
use crate::pattern::{Kind, Pattern};
use crate::region::Region;
use crate::sample::Sample;
use crate::stream::Stream;
use crate::truncation::truncated_normal;

/// The core's types, whose names the classes here have too.
mod core {
    pub use crate::initializer::{Initializer, VarianceScaling, schemes};
    pub use crate::orthogonal::Orthogonal;
    pub use crate::sparse::Sparse;
}

/// Base class of all initializers.
#[pyclass(frozen, subclass, module = "initcore", from_py_object)]
#[derive(Clone)]
pub struct Initializer {
    law: core::Initializer,
}

/// A seed: an integer in [0, 2**64), a `numpy.random.SeedSequence`, or None for fresh entropy.
fn seed_from(seed: Option<&Bound<'_, PyAny>>) -> PyResult<u64> {
    static SEED_SEQUENCE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let Some(seed) = seed else {
        return getrandom::u64().map_err(|error| {
            PyValueError::new_err(format!("no entropy for a fresh seed: {error}"))
        });
    };
    if let Some(number) = integer(seed)? {
        return u64::try_from(number)
            .map_err(|_| PyValueError::new_err(format!("seed must be in [0, 2**64), got {seed}")));
    }
    let py = seed.py();
    if seed.is_instance(SEED_SEQUENCE.import(py, "numpy.random", "SeedSequence")?)? {
        return seed.call_method1("generate_state", (1, "uint64"))?.get_item(0)?.extract();
    }
    Err(PyTypeError::new_err(format!(
        "seed must be an integer, a numpy.random.SeedSequence or None, got {} (a Generator is not taken: \
         drawing from it would make values depend on the order of calls)",
        seed.get_type().name()?
    )))
}

struct Job {
    stream: Stream,
    law: Law,
    region: Region,
    shape: Vec<u64>,
    threads: usize,
}

impl Job {
    /// Elements made at a time for an array that cannot be written in one go.
    const STAGE: u64 = 1 << 16;

    /// Fills `out`, whose shape and dtype are checked.
    fn run<T: Sample + numpy::Element>(&self, out: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
        let py = out.py();
        if let Some(mut block) = as_block::<T>(out)? {
            let out = block.as_slice_mut()?;
            return detached(py, |stop| {
                self.law.fill(&self.stream, &self.region, out, self.threads, stop)
            });
        }
        let values = detached(py, |stop| self.law.prepare(&self.stream, self.threads, stop))?;
        let fill = |begin, out: &mut [T]| {
            detached(py, |stop| values.fill(&self.region, begin, out, self.threads, stop))
        };
        // Strides, misalignment and byte order are NumPy's business.
        let flat = out.getattr("flat")?;
        // An empty fill makes all checks, for an empty array too.
        fill(0, &mut [])?;
        let stage = empty::<T>(py, &[self.region.len().min(Self::STAGE)])?;
        for begin in (0..self.region.len()).step_by(Self::STAGE as usize) {
            let end = self.region.len().min(begin + Self::STAGE);
            let len = (end - begin) as usize;
            // a stage ends long before `detached` would look
            py.check_signals()?;
            fill(begin, &mut stage.try_readwrite()?.as_slice_mut()?[..len])?;
            let part = stage.get_item(PySlice::new(py, 0, len as isize, 1))?;
            flat.set_item(PySlice::new(py, begin as isize, end as isize, 1), part)?;
        }
        Ok(())
    }
}

#[pymethods]
impl Initializer {
    /// Make the array; see the functions of the package for the meaning of the arguments.
    #[pyo3(signature = (shape, *, seed=None, name=None, dtype=None, index=None, layout=LayoutArgument::default(), out=None, num_threads=None))]
    #[expect(clippy::too_many_arguments, reason = "the public keyword arguments")]
    fn __call__(
        &self,
        py: Python<'_>,
        shape: Shape,
        seed: Option<&Bound<'_, PyAny>>,
        name: Option<&str>,
        dtype: Option<&Bound<'_, PyAny>>,
        index: Option<&Bound<'_, PyAny>>,
        layout: LayoutArgument,
        out: Option<&Bound<'_, PyAny>>,
        num_threads: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let law = self.law.law(&shape.0, &layout.0)?;
        let (region, part) = region(&shape.0, index)?;
        let job = Job {
            stream: Stream::new(seed_from(seed)?, name),
            law,
            region,
            shape: part,
            threads: threads(num_threads)?,
        };
        let out = match out {
            None => None,
            Some(out) => Some(out.cast::<PyUntypedArray>().map_err(|_| {
                PyTypeError::new_err(format!(
                    "out must be a numpy.ndarray, got {}",
                    out.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string())
                ))
            })?),
        };
        let wanted = dtype.map(Dtype::parse).transpose()?;
        let (dtype, out) = match (wanted, out) {
            (wanted, None) => {
                let (dtype, descr) =
                    wanted.unwrap_or_else(|| (Dtype::Float32, numpy::dtype::<f32>(py)));
                (dtype, empty_of(&job.shape, &descr)?.cast_into()?)
            }
            (wanted, Some(out)) => {
                let given = Dtype::of_array(out, "out")?;
                if let Some((_, wanted)) = wanted
                    && !out.dtype().is_equiv_to(&wanted)
                {
                    return Err(PyTypeError::new_err(format!(
                        "out has dtype {}, but dtype={wanted} was asked for",
                        out.dtype()
                    )));
                }
                check_out(out, &job.shape)?;
                (given, out.clone())
            }
        };
        match dtype {
            Dtype::Float16 => job.run::<f16>(&out),
            Dtype::BFloat16 => job.run::<bf16>(&out),
            Dtype::Float32 => job.run::<f32>(&out),
            Dtype::Float64 => job.run::<f64>(&out),
        }?;
        Ok(out.into_any().unbind())
    }

    /// Standard deviation of the elements of an array of this shape: over draws, and over positions where they
    /// differ.
    #[pyo3(signature = (shape, *, layout=LayoutArgument::default()))]
    fn std(&self, shape: Shape, layout: LayoutArgument) -> PyResult<f64> {
        Ok(self.law.std(&shape.0, &layout.0)?)
    }

    /// Whether a part of an array costs as much as the whole, which is made and cut (orthogonal, sparse).
    #[getter]
    fn made_whole(&self) -> bool {
        self.law.made_whole()
    }

    /// The law that each element of an array of this shape follows by itself, as an initializer that does not
    /// depend on the shape; None where they do not (orthogonal, sparse, identity).
    #[pyo3(signature = (shape, *, layout=LayoutArgument::default()))]
    fn law(
        &self,
        py: Python<'_>,
        shape: Shape,
        layout: LayoutArgument,
    ) -> PyResult<Option<Py<PyAny>>> {
        match self.law.law(&shape.0, &layout.0)? {
            Law::Each(distribution) => Ok(Some(fixed_object(py, distribution)?)),
            _ => Ok(None),
        }
    }

    /// The same with values `gain` times as large.
    fn scaled(slf: &Bound<'_, Self>, gain: f64) -> PyResult<Py<PyAny>> {
        let config = config_of(slf.py(), slf.get().law.scaled(gain)?)?;
        Ok(slf.get_type().call((), Some(&config))?.unbind())
    }

    /// Parameters by name; `type(init)(**init.get_config()) == init`.
    fn get_config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        config_of(py, self.law)
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.law == other.law
    }

    /// Of the parameters as Python numbers: 0.0 and -0.0 are equal and hash alike.
    fn __hash__(slf: &Bound<'_, Self>) -> PyResult<isize> {
        slf.get().get_config(slf.py())?.values().to_tuple().hash()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let config = slf.get().get_config(slf.py())?;
        let arguments: Vec<String> = config
            .iter()
            .map(|(name, value)| Ok(format!("{name}={}", value.repr()?)))
            .collect::<PyResult<_>>()?;
        Ok(format!("{}({})", slf.get_type().name()?, arguments.join(", ")))
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyTuple>)> {
        let config = slf.get().get_config(slf.py())?;
        Ok((slf.get_type(), config.values().to_tuple()))
    }
}

fn config_of(py: Python<'_>, law: core::Initializer) -> PyResult<Bound<'_, PyDict>> {
    let config = PyDict::new(py);
    for (name, value) in law.parameters() {
        match value {
            Parameter::Number(number) => config.set_item(name, number)?,
            Parameter::Name(text) => config.set_item(name, text)?,
            Parameter::Index(index) => config.set_item(name, index)?,
        }
    }
    Ok(config)
}

/// The object of the class that stands for a distribution.
fn fixed_object(py: Python<'_>, distribution: Distribution) -> PyResult<Py<PyAny>> {
    let base = Initializer { law: core::Initializer::Fixed(distribution) };
    let base = PyClassInitializer::from(base);
    Ok(match distribution {
        Distribution::Constant(_) => Py::new(py, base.add_subclass(Constant))?.into_any(),
        Distribution::Uniform { .. } => Py::new(py, base.add_subclass(Uniform))?.into_any(),
        Distribution::Normal { .. } => Py::new(py, base.add_subclass(Normal))?.into_any(),
        Distribution::TruncatedNormal { .. } => {
            Py::new(py, base.add_subclass(TruncatedNormal))?.into_any()
        }
    })
}

/// A subclass of `Initializer` whose constructor gives a law.
macro_rules! subclass {
    ($(#[$doc:meta])* $name:ident, $signature:tt, ($($argument:ident: $type:ty),*), $law:expr $(; $($methods:tt)*)?) => {
        $(#[$doc])*
        #[pyclass(extends = Initializer, frozen, module = "initcore")]
        pub struct $name;

        #[pymethods]
        impl $name {
            #[new]
            #[pyo3(signature = $signature)]
            fn new($($argument: $type),*) -> PyResult<PyClassInitializer<Self>> {
                Ok(PyClassInitializer::from(Initializer { law: $law }).add_subclass(Self))
            }

            $($($methods)*)?
        }
    };
}

fn fixed(distribution: Distribution) -> PyResult<core::Initializer> {
    Ok(core::Initializer::Fixed(with_default_floats(|| distribution.checked())?))
}

subclass! {
    /// The same value everywhere.
    Constant, (value), (value: f64), fixed(Distribution::Constant(value))?
}
subclass! {
    /// Uniform on [low, high).
    Uniform, (low=0.0, high=1.0), (low: f64, high: f64), fixed(Distribution::Uniform { low, high })?
}
subclass! {
    /// Normal, not truncated.
    Normal, (mean=0.0, std=1.0), (mean: f64, std: f64), fixed(Distribution::Normal { mean, std })?
}
subclass! {
    /// Normal, cut at `low` and `high`: standard deviations from the mean, or with `bounds="absolute"` values.
    ///
    /// `std` is that before the cut, or with `std_of="result"` that of the values. However it is given, the law is
    /// kept, compared and shown with bounds in standard deviations and `std` before the cut.
    TruncatedNormal, (mean=0.0, std=1.0, low=-2.0, high=2.0, *, bounds="sigma", std_of="parent"),
    (mean: f64, std: f64, low: f64, high: f64, bounds: &str, std_of: &str),
    {
        let (bounds, std_of) = (bounds.parse()?, std_of.parse()?);
        core::Initializer::Fixed(with_default_floats(|| {
            truncated_normal(mean, std, low, high, bounds, std_of)
        })?)
    }
}
subclass! {
    /// Mean 0 and variance `scale / fan`: the root of the xavier, he and lecun schemes.
    ///
    /// `mode` is "fan_in", "fan_out", "fan_avg", "fan_geo_avg" (the geometric mean) or "fan_in_squared";
    /// `distribution` is "normal", "truncated_normal" (cut at two standard deviations of the parent; the
    /// variance is that after the cut) or "uniform". `activation`, a name or a function, multiplies the scale by the
    /// square of its exact gain (see `gain`).
    VarianceScaling, (scale=1.0, mode="fan_in", distribution="truncated_normal", *, activation=None),
    (scale: f64, mode: &str, distribution: &str, activation: Option<&Bound<'_, PyAny>>),
    {
        let (mode, family) = (mode.parse::<Mode>()?, distribution.parse::<Family>()?);
        let root = core::Initializer::VarianceScaling(core::VarianceScaling::new(scale, mode, family)?);
        match activation {
            None => root,
            Some(activation) => {
                let gains = activation.py().import("initcore.gains")?;
                root.scaled(gains.call_method1("gain", (activation,))?.extract()?)?
            }
        }
    };
    /// The same scheme for a leaky relu of this slope where it was made for a relu: the variance is divided by
    /// `1 + negative_slope**2`.
    fn for_slope(slf: PyRef<'_, Self>, py: Python<'_>, negative_slope: f64) -> PyResult<Py<Self>> {
        let law = match slf.as_super().law {
            core::Initializer::VarianceScaling(root) => {
                core::Initializer::VarianceScaling(root.for_slope(negative_slope)?)
            }
            other => other,
        };
        Py::new(py, PyClassInitializer::from(Initializer { law }).add_subclass(Self))
    }
}
subclass! {
    /// Rows of a table (rows, features), one for each word: normal with mean 0; the row `padding_idx` is zeros.
    Embedding, (std=1.0, padding_idx=None), (std: f64, padding_idx: Option<&Bound<'_, PyAny>>),
    match fixed(Distribution::Normal { mean: 0.0, std })? {
        core::Initializer::Fixed(distribution) => {
            core::Initializer::Embedding { distribution, padding: padding_idx.map(row).transpose()? }
        }
        other => other,
    }
}

/// The number of a row.
fn row(object: &Bound<'_, PyAny>) -> PyResult<i64> {
    match integer(object)?.map(i64::try_from) {
        Some(Ok(row)) => Ok(row),
        Some(Err(_)) => Err(PyValueError::new_err(format!(
            "padding_idx must be the number of a row, got {object}"
        ))),
        None => Err(PyTypeError::new_err(format!(
            "padding_idx must be an integer or None, got {object:?}"
        ))),
    }
}

/// A pattern whose parameters are checked.
fn pattern(kind: Kind, gain: f64, center: &str) -> PyResult<core::Initializer> {
    Ok(core::Initializer::Pattern(Pattern { kind, gain, center: center.parse()? }.checked()?))
}

subclass! {
    /// Ones where input and output have the same number, at the centre of the kernel.
    Identity, (gain=1.0, center="lower"), (gain: f64, center: &str),
    pattern(Kind::Identity, gain, center)?
}
subclass! {
    /// The identity, or a Hadamard matrix where outputs are more than inputs.
    ZerO, (gain=1.0, center="lower"), (gain: f64, center: &str), pattern(Kind::Zero, gain, center)?
}
subclass! {
    /// Orthonormal columns or rows, whichever are fewer, drawn from the Haar measure.
    Orthogonal, (gain=1.0), (gain: f64),
    core::Initializer::Orthogonal(core::Orthogonal { gain, center: None }.checked()?)
}
subclass! {
    /// An orthogonal matrix at the centre of the kernel, zeros elsewhere.
    DeltaOrthogonal, (gain=1.0, center="lower"), (gain: f64, center: &str),
    core::Initializer::Orthogonal(core::Orthogonal { gain, center: Some(center.parse()?) }.checked()?)
}
subclass! {
    /// Normal values with mean 0; in each column of a matrix, `ceil(sparsity * rows)` of them are zeros.
    Sparse, (sparsity, std=0.01), (sparsity: f64, std: f64),
    core::Initializer::Sparse(core::Sparse { sparsity, std }.checked()?)
}

/// The named variance-scaling schemes: name -> (scale, mode, distribution).
#[pyfunction]
pub fn schemes() -> Vec<(String, (f64, &'static str, &'static str))> {
    core::schemes()
        .map(|(name, root)| (name, (root.scale(), root.mode().name(), root.family().name())))
        .collect()
}
