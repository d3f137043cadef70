//! A training pass over a batch: loss, errors of every layer, gradients.
//!
//! ```text
//! 1  for each block of rows:   gather x, t;  forward: y, f'(z) of every layer;  loss;
//!                              backward: delta = dL/dz of every layer, top down
//! 2  for each piece of the parameters:   dw = y_below^T delta,  db = sum of delta;  sum of squares
//! ```
//! The blocks of 1 need nothing of each other, so a block stays in one core's cache from its samples to its
//! errors, and a batch has two parallel regions however many layers there are. What a block and a piece are depends on
//! shapes alone, and each is the work of one thread: the bits do not depend on the number of threads (Law 2).
//!
//! Memory: for every row of a batch its inputs and targets, `y` and `delta` of every layer, one array as wide as the
//! widest layer; and the gradients. All of it is allocated once, in [`Workspace::new`].

use std::ops::Range;

use super::dense::{multiply, sum_rows, weight_gradient};
use super::gemm::MIN_WORK;
use super::loss::{Evaluation, Loss, Sums, Targets, Truth};
use super::mlp::{LayerShape, Mlp};
use super::optimizer::sum_of_squares;
use super::real::Real;
use super::{CHUNK, Run, area, check_shape, for_each, zeros};
use crate::dispatch::{self, Kernel};
use crate::error::{Result, invalid};
use crate::parallel::NEVER;
use crate::simd::Simd;

/// Samples and what the network should say to them.
#[derive(Debug, Clone, Copy)]
pub struct Dataset<'a, T> {
    /// Row-major `(rows, inputs)`.
    pub x: &'a [T],
    /// One row or label per sample.
    pub targets: Targets<'a, T>,
    /// The number of samples.
    pub rows: usize,
}

impl<T: Real> Dataset<'_, T> {
    /// Checks that a network can be trained on it with this loss.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] when there is no row, a shape does not fit, or a target is not one.
    pub fn check(&self, mlp: &Mlp<T>, loss: Loss) -> Result<()> {
        if self.rows == 0 {
            return invalid!("a data set needs at least one row");
        }
        check_shape("x", self.x.len(), self.rows, mlp.inputs())?;
        loss.check(self.targets, self.rows, mlp.outputs())
    }

    /// The denominator of the mean loss over the samples `rows`; see [`Loss::normalizer`].
    pub(super) fn normalizer(&self, rows: &Rows<'_>, loss: Loss, outputs: usize) -> f64 {
        let weight = match self.targets.weights {
            Some(weights) => rows.at(0..rows.len()).map(|row| weights[row].widen()).sum(),
            None => rows.len() as f64,
        };
        weight * loss.terms(outputs) as f64
    }
}

/// Which samples of a data set make a batch.
#[derive(Debug, Clone)]
pub enum Rows<'a> {
    /// As they lie.
    Range(Range<usize>),
    /// Those with these numbers.
    Listed(&'a [usize]),
}

impl Rows<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::Listed(rows) => rows.len(),
        }
    }

    /// Those at these positions.
    pub(super) fn part(&self, positions: Range<usize>) -> Rows<'_> {
        match self {
            Self::Range(range) => {
                Rows::Range(range.start + positions.start..range.start + positions.end)
            }
            Self::Listed(rows) => Rows::Listed(&rows[positions]),
        }
    }

    /// The sample numbers at these positions.
    fn at(&self, positions: Range<usize>) -> impl Iterator<Item = usize> {
        let (range, listed) = match self {
            Self::Range(range) => {
                (range.start + positions.start..range.start + positions.end, [].as_slice())
            }
            Self::Listed(rows) => (0..0, &rows[positions]),
        };
        range.chain(listed.iter().copied())
    }
}

/// What looks on while a block of rows is in cache; `()` does not.
pub(super) trait Observer<T>: Send {
    /// The inputs `(rows, inputs)`.
    fn inputs(&mut self, _x: &[T]) {}

    /// What comes out of a layer and f'(z), both `(rows, fan_out)`.
    fn outputs(&mut self, _layer: usize, _y: &[T], _slope: &[T]) {}

    /// dL/dz of a layer, `(rows, fan_out)`.
    fn errors(&mut self, _layer: usize, _dz: &[T]) {}
}

impl<T> Observer<T> for () {}

/// A block of rows on its way through the network and back.
#[derive(Debug)]
pub(super) struct Block<T> {
    pub(super) rows: usize,
    /// `(rows, inputs)`.
    x: Vec<T>,
    labels: Vec<i64>,
    values: Vec<T>,
    weights: Vec<T>,
    /// Per layer `(rows, fan_out)`: what comes out.
    y: Vec<Vec<T>>,
    /// Likewise: after the forward pass f'(z), after the backward pass dL/dz.
    delta: Vec<Vec<T>>,
    /// dL/dy of the layer at hand.
    dy: Vec<T>,
    sums: Sums,
}

/// Copies together the rows of `from: (_, width)` that `order` names.
fn gather<U: Copy>(to: &mut Vec<U>, from: &[U], width: usize, order: impl Iterator<Item = usize>) {
    to.clear();
    match width {
        1 => to.extend(order.map(|row| from[row])),
        // Calls of `memcpy` would take longer than the copies.
        2 => to.extend(order.flat_map(|row| [from[2 * row], from[2 * row + 1]])),
        _ => order.for_each(|row| to.extend_from_slice(&from[row * width..][..width])),
    }
}

impl<T: Real> Block<T> {
    fn new(mlp: &Mlp<T>, capacity: usize) -> Result<Self> {
        let widths = || mlp.layers().iter().map(|layer| layer.fan_out);
        let buffers = || widths().map(|n| zeros(area(capacity, n)?)).collect::<Result<Vec<_>>>();
        // Room for either kind of target, filled by `gather`.
        Ok(Self {
            rows: 0,
            x: zeros(area(capacity, mlp.inputs())?)?,
            labels: vec![0; capacity],
            values: zeros(area(capacity, mlp.outputs())?)?,
            weights: zeros(capacity)?,
            y: buffers()?,
            delta: buffers()?,
            dy: zeros(area(capacity, mlp.widest())?)?,
            sums: Sums::default(),
        })
    }

    /// The inputs of `layer`.
    fn below(&self, layer: usize) -> &[T] {
        if layer == 0 { &self.x } else { &self.y[layer - 1] }
    }

    /// The inputs `(rows, inputs)`.
    pub(super) fn x(&self) -> &[T] {
        &self.x
    }

    /// What comes out of layer `i`.
    pub(super) fn outputs(&self, layer: &LayerShape, i: usize) -> &[T] {
        &self.y[i][..self.rows * layer.fan_out]
    }

    /// dL/dz of layer `i`.
    pub(super) fn errors(&self, layer: &LayerShape, i: usize) -> &[T] {
        &self.delta[i][..self.rows * layer.fan_out]
    }

    fn take(&mut self, data: &Dataset<'_, T>, rows: &Rows<'_>, positions: Range<usize>) {
        let order = || rows.at(positions.clone());
        self.rows = positions.len();
        gather(&mut self.x, data.x, data.x.len() / data.rows, order());
        match data.targets.truth {
            Truth::Labels(labels) => gather(&mut self.labels, labels, 1, order()),
            Truth::Values(values) => {
                gather(&mut self.values, values, values.len() / data.rows, order());
            }
        }
        if let Some(weights) = data.targets.weights {
            gather(&mut self.weights, weights, 1, order());
        }
    }

    /// Forward, loss, backward to the errors of every layer, for samples that [`Block::take`] took. Without a loss, the
    /// values of the targets are dL/dy.
    fn pass(
        &mut self,
        mlp: &Mlp<T>,
        like: Targets<'_, T>,
        loss: Option<Loss>,
        scale: f64,
        mut observer: impl Observer<T>,
    ) {
        let Self { rows, x, labels, values, weights, y, delta, dy, sums } = self;
        let depth = mlp.layers().len();
        observer.inputs(x);
        for i in 0..depth {
            let layer = mlp.layer(i, loss);
            let (below, above) = y.split_at_mut(i);
            let x = below.last().unwrap_or(x);
            let size = *rows * layer.fan_out;
            let x = &x[..*rows * layer.fan_in];
            let (y, slope) = (&mut above[0][..size], &mut delta[i][..size]);
            layer.forward_block(x, y, Some(slope));
            observer.outputs(i, y, slope);
        }
        let truth = match like.truth {
            Truth::Labels(_) => Truth::Labels(labels),
            Truth::Values(_) => Truth::Values(values),
        };
        let targets = Targets { truth, weights: like.weights.map(|_| weights.as_slice()) };
        let outputs = mlp.outputs();
        let size = *rows * outputs;
        let (y, dy_top) = (&y[depth - 1][..size], &mut dy[..size]);
        *sums = if let Some(loss) = loss {
            loss.rows(y, targets, outputs, scale, Some(dy_top))
        } else {
            dy_top.copy_from_slice(values);
            Sums::default()
        };
        for i in (0..depth).rev() {
            let layer = mlp.layer(i, loss);
            let delta = &mut delta[i][..*rows * layer.fan_out];
            multiply(delta, dy);
            observer.errors(i, delta);
            if i > 0 {
                layer.backward_block(delta, &mut dy[..*rows * layer.fan_in]);
            }
        }
    }
}

/// A part of the gradients that one thread computes.
#[derive(Debug)]
struct Piece {
    layer: usize,
    /// Rows `first..` of `dw`, as many as fit into `len`; the bias otherwise.
    first: Option<usize>,
    len: usize,
    /// Of its elements.
    sum_of_squares: f64,
}

/// At most this many pieces of one layer's weights: more rows each make better products.
const PIECES: usize = 8;

/// The pieces of all gradients, in the order of the parameters.
fn pieces<T: Real>(mlp: &Mlp<T>, batch: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (i, &LayerShape { fan_in, fan_out, ref b, .. }) in mlp.layers().iter().enumerate() {
        let work = batch.saturating_mul(fan_in).saturating_mul(fan_out);
        let rows = fan_in.div_ceil((work / MIN_WORK).clamp(1, PIECES)).next_multiple_of(16);
        for first in (0..fan_in).step_by(rows) {
            let len = rows.min(fan_in - first) * fan_out;
            pieces.push(Piece { layer: i, first: Some(first), len, sum_of_squares: 0.0 });
        }
        if b.is_some() {
            pieces.push(Piece { layer: i, first: None, len: fan_out, sum_of_squares: 0.0 });
        }
    }
    pieces
}

/// Everything a pass writes, allocated once for batches of up to a number of rows.
#[derive(Debug)]
pub struct Workspace<T> {
    /// Those of the network it was made for.
    layers: Vec<LayerShape>,
    capacity: usize,
    block_rows: usize,
    blocks: Vec<Block<T>>,
    /// Blocks that the last pass used.
    used: usize,
    pieces: Vec<Piece>,
    /// As flat as the parameters.
    pub(super) gradients: Vec<T>,
}

impl<T: Real> Workspace<T> {
    /// Room for batches of up to `capacity` rows through `mlp`.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when there is not enough memory.
    pub fn new(mlp: &Mlp<T>, capacity: usize) -> Result<Self> {
        let block_rows = mlp.block_rows(capacity);
        let blocks = (0..capacity.div_ceil(block_rows))
            .map(|_| Block::new(mlp, block_rows.min(capacity)))
            .collect::<Result<_>>()?;
        let gradients = zeros(mlp.values().len())?;
        let pieces = pieces(mlp, capacity);
        let layers = mlp.layers().to_vec();
        Ok(Self { layers, capacity, block_rows, blocks, used: 0, pieces, gradients })
    }

    /// What the last pass found, laid out like [`Mlp::values`].
    pub fn gradients(&self) -> &[T] {
        &self.gradients
    }

    /// The blocks of the last pass, in the order of their rows.
    pub(super) fn used(&self) -> &[Block<T>] {
        &self.blocks[..self.used]
    }

    /// The first layer whose outputs in the last pass were not all finite.
    pub(super) fn first_wild_output(&self, mlp: &Mlp<T>) -> Option<usize> {
        let wild = |(i, layer): &(usize, &LayerShape)| {
            self.used().iter().any(|block| !all_finite(block.outputs(layer, *i)))
        };
        mlp.layers().iter().enumerate().find(wild).map(|(i, _)| i)
    }

    /// The first layer, from the top as the backward pass goes, whose gradients are not all finite.
    pub(super) fn first_wild_gradient(&self) -> Option<usize> {
        self.pieces
            .iter()
            .rev()
            .find(|piece| !piece.sum_of_squares.is_finite())
            .map(|piece| piece.layer)
    }

    /// How many blocks a batch of `rows` samples makes.
    pub(super) fn count_blocks(&self, rows: usize) -> usize {
        rows.div_ceil(self.block_rows)
    }

    /// Pass 1 over the samples `rows`: the sum of the losses, and how many decisions were right. The errors are those
    /// of that sum divided by `normalizer`. The gradients stay as they are. Data and targets have been checked.
    pub(super) fn errors(
        &mut self,
        mlp: &Mlp<T>,
        data: &Dataset<'_, T>,
        rows: &Rows<'_>,
        loss: Loss,
        normalizer: f64,
        run: Run<'_>,
    ) -> Result<Sums> {
        let scale = if normalizer > 0.0 { normalizer.recip() } else { 0.0 };
        self.observed(mlp, data, rows, Some(loss), scale, std::iter::repeat(()), run)
    }

    /// The same with an observer for each block, and for a loss that is multiplied by `scale`; without a loss, for
    /// targets that are dL/dy.
    #[expect(clippy::too_many_arguments, reason = "what a pass is made of")]
    pub(super) fn observed<O: Observer<T>>(
        &mut self,
        mlp: &Mlp<T>,
        data: &Dataset<'_, T>,
        rows: &Rows<'_>,
        loss: Option<Loss>,
        scale: f64,
        observers: impl Iterator<Item = O> + Send,
        run: Run<'_>,
    ) -> Result<Sums> {
        let (batch, size) = (rows.len(), self.block_rows);
        self.used = self.count_blocks(batch);
        let blocks = self.blocks[..self.used].iter_mut();
        let count = blocks.len();
        let items = blocks.zip(observers).enumerate();
        for_each(run, count, items, |(i, (block, observer))| {
            block.take(data, rows, i * size..((i + 1) * size).min(batch));
            block.pass(mlp, data.targets, loss, scale, observer);
        })?;
        Ok(self.used().iter().map(|block| block.sums).sum())
    }

    /// Pass 2: the gradients of the samples that [`Workspace::errors`] saw; gives their L2 norm.
    pub(super) fn gradients_of_errors(&mut self, mlp: &Mlp<T>, run: Run<'_>) -> Result<f64> {
        let mut gradients = std::mem::take(&mut self.gradients);
        let norm = self.gradients_into(mlp, &mut gradients, run);
        self.gradients = gradients;
        norm
    }

    /// The same, where the workspace's own gradients stay as they are.
    pub(super) fn gradients_into(
        &mut self,
        mlp: &Mlp<T>,
        gradients: &mut [T],
        run: Run<'_>,
    ) -> Result<f64> {
        let Self { blocks, used, pieces, .. } = self;
        let blocks = &blocks[..*used];
        if blocks.is_empty() {
            gradients.fill(T::zero()); // a product over no rows would leave them as they are
            return Ok(0.0);
        }
        let rows: usize = blocks.iter().map(|block| block.rows).sum();
        let work = rows.saturating_mul(gradients.len());
        let run = Run { threads: run.threads.min(work / MIN_WORK + 1), ..run };
        let (count, jobs) = (pieces.len(), split(pieces, gradients));
        for_each(run, count, jobs, |(piece, gradient): (&mut Piece, &mut [T])| {
            let i = piece.layer;
            let LayerShape { fan_in, fan_out, .. } = mlp.layers()[i];
            let deltas = blocks.iter().map(|block| &block.delta[i][..block.rows * fan_out]);
            match piece.first {
                Some(first) => {
                    let inputs = blocks.iter().map(|block| &block.below(i)[..block.rows * fan_in]);
                    weight_gradient(inputs.zip(deltas), (fan_in, fan_out), first, gradient);
                }
                None => sum_rows(&deltas, fan_out, 0, gradient),
            }
            piece.sum_of_squares = dispatch::run(SumOfSquares(gradient));
        })?;
        Ok(norm(&self.pieces))
    }

    /// Takes gradients from elsewhere for its own; gives their L2 norm.
    pub(super) fn take_gradients(&mut self, from: &[T], threads: usize) -> Result<f64> {
        let Self { pieces, gradients, .. } = self;
        let run = Run { threads: threads.min(from.len() / (4 * CHUNK)), stop: NEVER };
        let (count, mut rest) = (pieces.len(), from);
        let jobs = split(pieces, gradients).map(|(piece, gradient)| {
            let (from, others) = rest.split_at(piece.len);
            rest = others;
            (piece, gradient, from)
        });
        for_each(run, count, jobs, |(piece, gradient, from): (&mut Piece, &mut [T], &[T])| {
            gradient.copy_from_slice(from);
            piece.sum_of_squares = dispatch::run(SumOfSquares(gradient));
        })?;
        Ok(norm(&self.pieces))
    }
}

/// Every piece with its part of the gradients.
fn split<'a, T>(
    pieces: &'a mut [Piece],
    gradients: &'a mut [T],
) -> impl Iterator<Item = (&'a mut Piece, &'a mut [T])> {
    let mut rest = gradients;
    pieces.iter_mut().map(move |piece| {
        let (gradient, others) = std::mem::take(&mut rest).split_at_mut(piece.len);
        rest = others;
        (piece, gradient)
    })
}

/// The L2 norm of all of them.
fn norm(pieces: &[Piece]) -> f64 {
    pieces.iter().map(|piece| piece.sum_of_squares).sum::<f64>().sqrt()
}

struct SumOfSquares<'a, T>(&'a [T]);

impl<T: Real> Kernel for SumOfSquares<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        sum_of_squares(self.0)
    }
}

/// No NaN, no infinity.
pub(super) fn all_finite<T: Real>(values: &[T]) -> bool {
    values.iter().all(|value| value.is_finite())
}

impl<T: Real> Mlp<T> {
    /// The loss over a data set; its gradients are then in [`Workspace::gradients`].
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] when a shape or a target does not fit; [`crate::Error::Interrupted`] when stopped.
    pub fn loss_and_grad(
        &self,
        data: &Dataset<'_, T>,
        loss: Loss,
        workspace: &mut Workspace<T>,
        run: Run<'_>,
    ) -> Result<Evaluation> {
        data.check(self, loss)?;
        if workspace.layers != self.layers() || workspace.capacity < data.rows {
            return invalid!(
                "the workspace is for up to {} rows through {} layers, got {} rows through {}, or other layers",
                workspace.capacity,
                workspace.layers.len(),
                data.rows,
                self.layers().len()
            );
        }
        let rows = Rows::Range(0..data.rows);
        let normalizer = data.normalizer(&rows, loss, self.outputs());
        let sums = workspace.errors(self, data, &rows, loss, normalizer, run)?;
        workspace.gradients_of_errors(self, run)?;
        Ok(loss.mean(sums, normalizer))
    }
}
