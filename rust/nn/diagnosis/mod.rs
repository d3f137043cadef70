//! What an initialization does to a network: statistics of every layer, on the way of one batch forward and back.
//!
//! ```text
//! 1  the pass of `super::pass`; while a block of rows is in cache: moments of x, y and dz, and slopes
//! 2  layer by layer:   constant units, rows to look at and their cosines, copies among the units
//! ```
//! 1 adds a few operations per number to the hundreds of the products that made it, 2 reads the weights and gradients
//! once.

mod finish;

use self::finish::{Parts, Seen, finish};
use super::batch::Batch;
use super::loss::{Loss, Truth};
use super::mlp::{LayerShape, Mlp};
use super::optimizer::{Optimizer, State, Step};
use super::pass::{Block, Dataset, Observer, Rows, Workspace};
use super::real::Real;
use super::statistics::{Moments, Slopes, worth};
use super::twins::Columns;
use super::{CHUNK, Run, check_shape, for_each, zeros};
use crate::error::{Result, invalid};

/// What to do beside the pass.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Without one, the values of the targets are dL/dy, whatever L is.
    pub loss: Option<Loss>,
    /// For each layer: below this |f'(z)| counts as saturated.
    pub thresholds: &'a [f64],
    /// Its first step is compared with the weights.
    pub optimizer: Option<Optimizer>,
}

/// What a layer puts out, or what goes into the first one.
#[derive(Debug, Clone)]
pub struct Outputs<T> {
    /// How many units.
    pub width: usize,
    /// Over batch and units.
    pub moments: Moments,
    /// Share of the units that put out the same whatever goes in; `None` of a single row.
    pub dead: Option<f64>,
    /// Some rows `(at most SAMPLE, width)`, evenly spread over the batch.
    pub sample: Vec<T>,
    /// The cosines between these rows; NaN for rows that are zero or not finite.
    pub cosines: Vec<f64>,
    /// Mean square of those between different rows; `None` where fewer than two rows have a direction.
    pub cosine_square: Option<f64>,
}

/// dL/dz of a layer.
#[derive(Debug, Clone)]
pub struct Errors<T> {
    /// Over batch and units.
    pub moments: Moments,
    /// Of the samples in [`Outputs::sample`].
    pub sample: Vec<T>,
}

/// Units that are like another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    /// Equal to another.
    pub duplicates: usize,
    /// The negative of another.
    pub flipped: usize,
    /// Another times some other number.
    pub collinear: usize,
    /// Equal to another, and in the gradients too; `None` without gradients.
    pub twins: Option<usize>,
}

/// A layer under diagnosis.
#[derive(Debug, Clone)]
pub struct LayerDiagnosis<T> {
    /// Inputs, where there are weights.
    pub fan_in: Option<usize>,
    /// What it puts out.
    pub outputs: Outputs<T>,
    /// f'(z), where it is known.
    pub slopes: Option<Slopes>,
    /// dL/dz, where it is known.
    pub errors: Option<Errors<T>>,
    /// Among the columns of the weights with their bias; of the outputs, from three rows on, where there are none.
    pub copies: Option<Copies>,
    /// L2 norm of the weights, without the bias.
    pub weight_norm: Option<f64>,
    /// L2 norm of the bias.
    pub bias_norm: Option<f64>,
    /// Of dL/dW, without the bias.
    pub weight_gradient: Option<Moments>,
    /// L2 norm of an optimizer's first step over that of the weights.
    pub update_ratio: Option<f64>,
}

/// A network under diagnosis.
#[derive(Debug, Clone)]
pub struct Diagnosis<T> {
    /// The mean loss, if there is one.
    pub loss: Option<f64>,
    /// What went in, as if a layer had put it out.
    pub inputs: LayerDiagnosis<T>,
    /// First to last.
    pub layers: Vec<LayerDiagnosis<T>>,
}

/// Arrays of one layer, of a network that need not be an [`Mlp`]; what is missing is not judged.
#[derive(Debug, Clone, Copy)]
pub struct LayerArrays<'a, T> {
    /// What it puts out, row-major `(rows, width)`.
    pub y: &'a [T],
    /// The size of the batch.
    pub rows: usize,
    /// f'(z), `(rows, width)`.
    pub slope: Option<&'a [T]>,
    /// Below this |f'(z)| counts as saturated.
    pub threshold: f64,
    /// dL/dz, `(rows, width)`.
    pub dz: Option<&'a [T]>,
    /// `(fan_in, width)`.
    pub weight: Option<&'a [T]>,
    /// `(width,)`.
    pub bias: Option<&'a [T]>,
    /// dL/dW, `(fan_in, width)`.
    pub weight_gradient: Option<&'a [T]>,
    /// dL/db, `(width,)`.
    pub bias_gradient: Option<&'a [T]>,
}

impl<T: Real> LayerArrays<'_, T> {
    /// The width, if all shapes fit.
    fn check(&self) -> Result<usize> {
        if self.rows == 0 || self.y.is_empty() {
            return invalid!("y must have at least one row and one column");
        }
        let width = self.y.len() / self.rows;
        check_shape("y", self.y.len(), self.rows, width)?;
        for (what, array) in [("slope", self.slope), ("dz", self.dz)] {
            check_shape(what, array.map_or(self.y.len(), <[T]>::len), self.rows, width)?;
        }
        for (what, array) in [("bias", self.bias), ("bias_gradient", self.bias_gradient)] {
            check_shape(what, array.map_or(width, <[T]>::len), 1, width)?;
        }
        if let Some(weight) = self.weight {
            if weight.is_empty() || weight.len() % width != 0 {
                return invalid!(
                    "weight must have {width} columns and at least one row, got {} elements",
                    weight.len()
                );
            }
            let given = self.weight_gradient.map_or(weight.len(), <[T]>::len);
            check_shape("weight_gradient", given, weight.len() / width, width)?;
        } else if self.bias.or(self.weight_gradient).or(self.bias_gradient).is_some() {
            return invalid!("a bias or a gradient needs the weight that it belongs to");
        }
        if self.weight_gradient.is_none() && self.bias_gradient.is_some() {
            return invalid!("bias_gradient needs weight_gradient");
        }
        Ok(width)
    }
}

/// Judges one layer by its arrays.
///
/// # Errors
/// [`crate::Error::Invalid`] when a shape does not fit; [`crate::Error::OutOfMemory`] when there is not enough memory;
/// [`crate::Error::Interrupted`] when stopped.
pub fn diagnose_layer<T: Real>(
    arrays: &LayerArrays<'_, T>,
    run: Run<'_>,
) -> Result<LayerDiagnosis<T>> {
    let width = arrays.check()?;
    let &LayerArrays { y, rows, slope, dz, weight, .. } = arrays;
    let threshold = T::narrow(arrays.threshold);
    let seen = Seen {
        y: Moments::over(y, run)?,
        slopes: slope.map(|slope| Slopes::over(slope, threshold, run)).transpose()?,
        dz: Moments::over(dz.unwrap_or_default(), run)?,
    };
    let columns = |values, last| Columns { values, last, width };
    let (units, gradients) = match weight {
        Some(weight) => {
            let gradients = arrays.weight_gradient.map(|dw| columns(dw, arrays.bias_gradient));
            (Some(columns(weight, arrays.bias)), gradients)
        }
        // Two numbers of one unit are easily those of another times something.
        None if rows > 2 => (Some(columns(y, None)), dz.map(|dz| columns(dz, None))),
        None => (None, None),
    };
    let batch = |values| Batch::new(vec![values], width);
    let fan_in = weight.map(|weight| weight.len() / width);
    let parts = Parts { y: batch(y), dz: dz.map(batch), seen, units, gradients, fan_in };
    let [layer] = finish(&[parts], run)?.try_into().unwrap_or_else(|_| unreachable!("one layer"));
    Ok(layer)
}

/// A layer's weights, with its bias, in numbers laid out like [`Mlp::values`].
fn columns<'a, T>(layer: &LayerShape, values: &'a [T]) -> Columns<'a, T> {
    let last = layer.b.clone().map(|b| &values[b]);
    Columns { values: &values[layer.w.clone()], last, width: layer.fan_out }
}

/// An array of a pass, from its blocks.
fn batch<'a, T: Real>(
    workspace: &'a Workspace<T>,
    width: usize,
    part: impl Fn(&'a Block<T>) -> &'a [T],
) -> Batch<'a, T> {
    Batch::new(workspace.used().iter().map(part).collect(), width)
}

/// Takes the statistics of a block of rows.
struct Watch<'a> {
    thresholds: &'a [f64],
    /// Of the inputs, then of every layer.
    seen: &'a mut [Seen],
}

impl<T: Real> Observer<T> for Watch<'_> {
    fn inputs(&mut self, x: &[T]) {
        self.seen[0].y = Moments::of(x);
    }

    fn outputs(&mut self, layer: usize, y: &[T], slope: &[T]) {
        let seen = &mut self.seen[layer + 1];
        seen.y = Moments::of(y);
        seen.slopes = Some(Slopes::of(slope, T::narrow(self.thresholds[layer])));
    }

    fn errors(&mut self, layer: usize, dz: &[T]) {
        self.seen[layer + 1].dz = Moments::of(dz);
    }
}

impl<T: Real> Mlp<T> {
    /// Statistics of every layer for a batch, forward and backward, by one pass over it. Numbers that are not finite are
    /// counted, and make those statistics NaN or infinite that they belong to.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] when a shape, a target or the number of thresholds does not fit;
    /// [`crate::Error::OutOfMemory`] when there is not enough memory; [`crate::Error::Interrupted`] when stopped.
    pub fn diagnose(
        &self,
        data: &Dataset<'_, T>,
        options: &Options<'_>,
        run: Run<'_>,
    ) -> Result<Diagnosis<T>> {
        let depth = self.layers().len();
        let &Options { loss, thresholds, optimizer } = options;
        if thresholds.len() != depth {
            return invalid!("{depth} layers need as many thresholds, got {}", thresholds.len());
        }
        let scale = match (loss, data.targets.truth) {
            (Some(loss), _) => {
                data.check(self, loss)?;
                let normalizer = loss.normalizer(data.targets, data.rows, self.outputs());
                if normalizer > 0.0 { normalizer.recip() } else { 0.0 }
            }
            (None, Truth::Values(errors)) => {
                if data.rows == 0 {
                    return invalid!("a diagnosis needs at least one row");
                }
                check_shape("x", data.x.len(), data.rows, self.inputs())?;
                check_shape("errors", errors.len(), data.rows, self.outputs())?;
                1.0
            }
            (None, Truth::Labels(_)) => return invalid!("labels need a loss"),
        };
        let state = optimizer.map(|rule| State::new(rule, self.values().len())).transpose()?;

        let mut workspace = Workspace::new(self, data.rows)?;
        let mut seen: Vec<Seen> = zeros(workspace.count_blocks(data.rows) * (depth + 1))?;
        let watches = seen.chunks_mut(depth + 1).map(|seen| Watch { thresholds, seen });
        let rows = Rows::Range(0..data.rows);
        let sums = workspace.observed(self, data, &rows, loss, scale, watches, run)?;
        workspace.gradients_of_errors(self, run)?;

        let seen = |i| {
            let blocks = seen.iter().skip(i).step_by(depth + 1);
            blocks.copied().reduce(Seen::and).unwrap_or_default()
        };
        let inputs = Parts {
            y: batch(&workspace, self.inputs(), Block::x),
            dz: None,
            seen: seen(0),
            units: None,
            gradients: None,
            fan_in: None,
        };
        let parts = self.layers().iter().enumerate().map(|(i, layer)| Parts {
            y: batch(&workspace, layer.fan_out, |block| block.outputs(layer, i)),
            dz: Some(batch(&workspace, layer.fan_out, |block| block.errors(layer, i))),
            seen: seen(i + 1),
            units: Some(columns(layer, self.values())),
            gradients: Some(columns(layer, workspace.gradients())),
            fan_in: Some(layer.fan_in),
        });
        let parts: Vec<_> = std::iter::once(inputs).chain(parts).collect();
        let mut layers = finish(&parts, run)?;
        let inputs = layers.remove(0);
        if let Some(state) = state {
            let steps = self.first_step(state, workspace, run)?;
            for (layer, step) in layers.iter_mut().zip(steps) {
                layer.update_ratio = layer.weight_norm.map(|norm| step / norm);
            }
        }
        let loss = loss.map(|loss| {
            let normalizer = loss.normalizer(data.targets, data.rows, self.outputs());
            loss.mean(sums, normalizer).loss
        });
        Ok(Diagnosis { loss, inputs, layers })
    }

    /// The L2 norm of what an optimizer's step does to the weights of each layer.
    fn first_step(
        &self,
        mut state: State<T>,
        mut workspace: Workspace<T>,
        run: Run<'_>,
    ) -> Result<Vec<f64>> {
        let mut values = zeros(self.values().len())?;
        values.copy_from_slice(self.values());
        let before = &mut workspace.gradients;
        state.step(&mut values, before, Step::default(), run.threads)?;
        let chunks = values.chunks_mut(CHUNK).zip(before.chunks(CHUNK));
        for_each(worth(run, before.len()), chunks.len(), chunks, |(to, before)| {
            for (to, before) in to.iter_mut().zip(before) {
                *to -= *before;
            }
        })?;
        let step = |layer: &LayerShape| Ok(Moments::over(&values[layer.w.clone()], run)?.norm());
        self.layers().iter().map(step).collect()
    }
}
