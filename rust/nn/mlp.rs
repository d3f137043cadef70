//! A multilayer perceptron: dense layers over one flat parameter buffer, and what it makes of samples.
//!
//! Optimizers act on the buffer as a whole; [`Mlp::parameters`] says what lies where. Training passes are in
//! [`super::pass`].

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::activation::Activation;
use super::dense::Layer;
use super::gemm::block_rows;
use super::loss::{Evaluation, Loss, Sums, Targets};
use super::real::Real;
use super::{Run, area, check_shape, for_each, zeros};
use crate::error::{Error, Result, invalid};

/// One named array inside the flat buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// `"layers.0.weight"` or `"layers.0.bias"`.
    pub name: String,
    /// `[fan_in, fan_out]` or `[fan_out]`.
    pub shape: Vec<usize>,
    /// Where its elements are, row-major.
    pub range: Range<usize>,
}

/// What a layer is, without its numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerShape {
    /// Inputs.
    pub fan_in: usize,
    /// Outputs.
    pub fan_out: usize,
    /// What follows the affine map.
    pub activation: Activation,
    /// Where the weights are in [`Mlp::values`], row-major `(fan_in, fan_out)`.
    pub w: Range<usize>,
    /// Where the bias is, if there is one.
    pub b: Option<Range<usize>>,
}

/// A stack of dense layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp<T> {
    layers: Vec<LayerShape>,
    values: Vec<T>,
}

impl<T: Real> Mlp<T> {
    /// A network of `sizes[0]` inputs and one layer for each `activation`, the i-th of width `sizes[i + 1]`, with a
    /// bias where `bias` says so; all parameters are zero.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are fewer than two sizes, a size is zero, there are not as many activations and
    /// biases as layers, or an activation's parameter is unusable; [`Error::OutOfMemory`] when the parameters do not
    /// fit into memory.
    pub fn new(sizes: &[usize], activations: &[Activation], bias: &[bool]) -> Result<Self> {
        if sizes.len() < 2 || sizes.contains(&0) {
            return invalid!(
                "sizes must be the inputs and at least one layer, each 1 or more; got {sizes:?}"
            );
        }
        let depth = sizes.len() - 1;
        for (what, given) in [("activation", activations.len()), ("bias", bias.len())] {
            if given != depth {
                return invalid!(
                    "{what} has {given} entries, but sizes {sizes:?} make {depth} layers"
                );
            }
        }
        let too_large =
            || Error::TooLarge(format!("a network of sizes {sizes:?} has too many parameters"));
        let mut end = 0_usize;
        let mut take = |len| {
            let start = end;
            end = start.checked_add(len).ok_or_else(too_large)?;
            Ok(start..end)
        };
        let mut layers = Vec::with_capacity(depth);
        for ((fans, &activation), &bias) in sizes.windows(2).zip(activations).zip(bias) {
            let (fan_in, fan_out) = (fans[0], fans[1]);
            let w = take(area(fan_in, fan_out)?)?;
            let b = if bias { Some(take(fan_out)?) } else { None };
            let activation = activation.check()?;
            layers.push(LayerShape { fan_in, fan_out, activation, w, b });
        }
        Ok(Self { layers, values: zeros(end)? })
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[LayerShape] {
        &self.layers
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.layers[0].fan_in
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.last().fan_out
    }

    fn last(&self) -> &LayerShape {
        &self.layers[self.layers.len() - 1]
    }

    /// The width of the widest layer.
    pub(super) fn widest(&self) -> usize {
        self.layers.iter().map(|layer| layer.fan_out).max().unwrap_or(0)
    }

    /// Every parameter in one buffer.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Every parameter in one buffer, to write.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// What lies where in [`Mlp::values`]: per layer the weight, then the bias.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let (fan_in, fan_out) = (layer.fan_in, layer.fan_out);
            let name = format!("layers.{i}.weight");
            parameters.push(Parameter {
                name,
                shape: vec![fan_in, fan_out],
                range: layer.w.clone(),
            });
            if let Some(range) = layer.b.clone() {
                let name = format!("layers.{i}.bias");
                parameters.push(Parameter { name, shape: vec![fan_out], range });
            }
        }
        parameters
    }

    /// Layer `i` with its parameters, as it computes under `loss`: see [`Loss::output_activation`].
    pub(super) fn layer(&self, i: usize, loss: Option<Loss>) -> Layer<'_, T> {
        let LayerShape { fan_in, fan_out, activation, ref w, ref b } = self.layers[i];
        let activation = match loss {
            Some(loss) if i + 1 == self.layers.len() => loss.output_activation(activation),
            _ => activation,
        };
        let b = b.as_ref().map(|b| &self.values[b.clone()]);
        Layer { w: &self.values[w.clone()], b, fan_in, fan_out, activation }
    }

    /// Rows that go through the network together, as one piece of work: a function of the shapes alone.
    pub(super) fn block_rows(&self, rows: usize) -> usize {
        block_rows(rows, self.values.len())
    }

    /// The outputs of every layer for `x: (rows, inputs)`, first to last.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the shape does not fit; [`Error::OutOfMemory`] when there is not enough memory;
    /// [`Error::Interrupted`] when stopped.
    pub fn activations(&self, x: &[T], rows: usize, run: Run<'_>) -> Result<Vec<Vec<T>>> {
        check_shape("x", x.len(), rows, self.inputs())?;
        let mut outputs: Vec<Vec<T>> = Vec::with_capacity(self.layers.len());
        for i in 0..self.layers.len() {
            let layer = self.layer(i, None);
            let mut y = zeros(area(rows, layer.fan_out)?)?;
            layer.forward(outputs.last().map_or(x, Vec::as_slice), rows, &mut y, None, run)?;
            outputs.push(y);
        }
        Ok(outputs)
    }

    /// Sends blocks of rows of `x` through the network, on scratch memory for one block per thread: calls
    /// `see(block, outputs)` for each item `(block of x, item)`.
    fn for_each_block<I: Send>(
        &self,
        loss: Option<Loss>,
        blocks: impl ExactSizeIterator<Item = (usize, I)> + Send,
        x: &[T],
        rows: usize,
        run: Run<'_>,
        see: impl Fn(I, &[T]) + Sync,
    ) -> Result<()> {
        let size = self.block_rows(rows);
        let threads = run.threads.clamp(1, blocks.len().max(1));
        let scratch = || zeros(area(size, self.widest())?);
        let free =
            (0..threads).map(|_| Ok((scratch()?, scratch()?))).collect::<Result<Vec<_>>>()?;
        let free = Mutex::new(free);
        let free = || free.lock().unwrap_or_else(PoisonError::into_inner);
        for_each(Run { threads, ..run }, blocks.len(), blocks, |(block, item)| {
            let Some((mut input, mut output)) = free().pop() else {
                unreachable!("one per thread")
            };
            let x = &x[block * size * self.inputs()..];
            let rows = (x.len() / self.inputs()).min(size);
            for i in 0..self.layers.len() {
                let layer = self.layer(i, loss);
                let x = if i == 0 { x } else { input.as_slice() };
                layer.forward_block(
                    &x[..rows * layer.fan_in],
                    &mut output[..rows * layer.fan_out],
                    None,
                );
                std::mem::swap(&mut input, &mut output);
            }
            see(item, &input[..rows * self.outputs()]);
            free().push((input, output));
        })
    }

    /// The outputs `(rows, outputs)` for `x: (rows, inputs)`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a shape does not fit, before anything is written; [`Error::OutOfMemory`] when there is
    /// not enough memory; [`Error::Interrupted`] when stopped.
    pub fn forward(&self, x: &[T], y: &mut [T], rows: usize, run: Run<'_>) -> Result<()> {
        check_shape("x", x.len(), rows, self.inputs())?;
        check_shape("y", y.len(), rows, self.outputs())?;
        let blocks = y.chunks_mut(self.block_rows(rows) * self.outputs()).enumerate();
        self.for_each_block(None, blocks, x, rows, run, |y: &mut [T], outputs| {
            y.copy_from_slice(outputs);
        })
    }

    /// The loss over all `rows` rows, without gradients.
    ///
    /// # Errors
    /// As [`Mlp::forward`], and [`Error::Invalid`] for bad targets.
    pub fn evaluate(
        &self,
        x: &[T],
        targets: Targets<'_, T>,
        rows: usize,
        loss: Loss,
        run: Run<'_>,
    ) -> Result<Evaluation> {
        check_shape("x", x.len(), rows, self.inputs())?;
        loss.check(targets, rows, self.outputs())?;
        let normalizer = loss.normalizer(targets, rows, self.outputs());
        Ok(loss.mean(self.sums(x, targets, rows, loss, run)?, normalizer))
    }

    /// The sums of the loss over samples that have been checked.
    pub(super) fn sums(
        &self,
        x: &[T],
        targets: Targets<'_, T>,
        rows: usize,
        loss: Loss,
        run: Run<'_>,
    ) -> Result<Sums> {
        let size = self.block_rows(rows);
        let mut sums = vec![Sums::default(); rows.div_ceil(size)];
        let blocks = sums.iter_mut().enumerate().map(|(i, sums)| (i, (i * size, sums)));
        self.for_each_block(Some(loss), blocks, x, rows, run, |(first, sums), logits| {
            let rows = first..first + logits.len() / self.outputs();
            let targets = targets.rows(rows, self.outputs());
            *sums = loss.rows(logits, targets, self.outputs(), 0.0, None);
        })?;
        Ok(sums.into_iter().sum())
    }
}
