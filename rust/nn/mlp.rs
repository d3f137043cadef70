//! A multilayer perceptron: dense layers over one flat parameter buffer.
//!
//! Optimizers and gradient averaging act on the buffer as a whole; [`Mlp::parameters`] says what lies where.

use std::ops::Range;

use super::activation::Activation;
use super::dense::{Gradients, Layer};
use super::loss::{Evaluation, Loss, Targets};
use super::real::Real;
use super::{Run, area, check_shape, zeros};
use crate::error::{Error, Result, invalid};

/// Rows that [`Mlp::predict`] and [`Mlp::evaluate`] push through at once.
const PREDICT_ROWS: usize = 1024;

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

/// A stack of dense layers; the last one has its own activation.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp<T> {
    sizes: Vec<usize>,
    activation: Activation,
    output_activation: Activation,
    bias: bool,
    values: Vec<T>,
}

/// Everything a forward and backward pass writes, allocated once for batches of up to `capacity` rows.
#[derive(Debug)]
pub struct Workspace<T> {
    sizes: Vec<usize>,
    capacity: usize,
    /// Per layer, `(capacity, fan_out)`: before and after the activation.
    z: Vec<Vec<T>>,
    y: Vec<Vec<T>>,
    /// As flat as the parameters.
    gradients: Vec<T>,
    /// `(capacity, widest)`: the error of this layer, and that of the layer below.
    dz: Vec<T>,
    dx: Vec<T>,
}

impl<T: Real> Workspace<T> {
    /// Room for batches of up to `capacity` rows through `mlp`, with gradients.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when there is not enough memory.
    pub fn new(mlp: &Mlp<T>, capacity: usize) -> Result<Self> {
        let widest = mlp.sizes[1..].iter().copied().max().unwrap_or(0);
        Ok(Self {
            gradients: zeros(mlp.values.len())?,
            dz: zeros(area(capacity, widest)?)?,
            dx: zeros(area(capacity, widest)?)?,
            ..Self::forward_only(mlp, capacity)?
        })
    }

    /// Room for the forward pass only.
    ///
    /// # Errors
    /// As [`Workspace::new`].
    pub fn forward_only(mlp: &Mlp<T>, capacity: usize) -> Result<Self> {
        let buffers = || -> Result<Vec<_>> {
            mlp.sizes[1..].iter().map(|&n| zeros(area(capacity, n)?)).collect()
        };
        Ok(Self {
            sizes: mlp.sizes.clone(),
            capacity,
            z: buffers()?,
            y: buffers()?,
            gradients: Vec::new(),
            dz: Vec::new(),
            dx: Vec::new(),
        })
    }

    /// What the last backward pass found, laid out like [`Mlp::values`].
    pub fn gradients(&self) -> &[T] {
        &self.gradients
    }

    /// Before the activation of `layer`: the first `batch` rows are those of the last forward pass.
    pub fn z(&self, layer: usize) -> &[T] {
        &self.z[layer]
    }

    /// After the activation of `layer`, as [`Workspace::z`].
    pub fn y(&self, layer: usize) -> &[T] {
        &self.y[layer]
    }
}

impl<T: Real> Mlp<T> {
    /// A network of `sizes[0]` inputs and `sizes.len() - 1` layers; all parameters are zero.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are fewer than two sizes, a size is zero or an activation's parameter
    /// unusable; [`Error::OutOfMemory`] when the parameters do not fit into memory.
    pub fn new(
        sizes: &[usize],
        activation: Activation,
        output_activation: Activation,
        bias: bool,
    ) -> Result<Self> {
        if sizes.len() < 2 || sizes.contains(&0) {
            return invalid!(
                "sizes must be the inputs and at least one layer, each 1 or more; got {sizes:?}"
            );
        }
        let mut total = 0_usize;
        for pair in sizes.windows(2) {
            let layer = area(pair[0] + usize::from(bias), pair[1])?;
            total = total.checked_add(layer).ok_or_else(|| {
                Error::TooLarge(format!("a network of sizes {sizes:?} has too many parameters"))
            })?;
        }
        Ok(Self {
            sizes: sizes.to_vec(),
            activation: activation.check()?,
            output_activation: output_activation.check()?,
            bias,
            values: zeros(total)?,
        })
    }

    /// Inputs, then the width of every layer.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// The number of layers.
    pub fn depth(&self) -> usize {
        self.sizes.len() - 1
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.sizes[0]
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.sizes[self.depth()]
    }

    /// The activation of `layer`.
    pub fn activation(&self, layer: usize) -> Activation {
        if layer + 1 == self.depth() { self.output_activation } else { self.activation }
    }

    /// Whether the layers have a bias.
    pub fn bias(&self) -> bool {
        self.bias
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
        for (layer, (w, b)) in self.ranges().enumerate() {
            let (fan_in, fan_out) = (self.sizes[layer], self.sizes[layer + 1]);
            let name = |kind| format!("layers.{layer}.{kind}");
            parameters.push(Parameter {
                name: name("weight"),
                shape: vec![fan_in, fan_out],
                range: w,
            });
            if self.bias {
                parameters.push(Parameter { name: name("bias"), shape: vec![fan_out], range: b });
            }
        }
        parameters
    }

    /// The ranges of weight and bias, layer by layer; without biases theirs are empty.
    fn ranges(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let mut start = 0;
        self.sizes.windows(2).map(move |pair| {
            let w = start..start + pair[0] * pair[1];
            let b = w.end..w.end + if self.bias { pair[1] } else { 0 };
            start = b.end;
            (w, b)
        })
    }

    /// Layer `layer`; `output` replaces the activation of the last one.
    fn layer(
        &self,
        layer: usize,
        (w, b): (Range<usize>, Range<usize>),
        output: Activation,
    ) -> Layer<'_, T> {
        let last = layer + 1 == self.depth();
        Layer {
            w: &self.values[w],
            b: self.bias.then(|| &self.values[b]),
            fan_in: self.sizes[layer],
            fan_out: self.sizes[layer + 1],
            activation: if last { output } else { self.activation },
        }
    }

    fn check_batch(&self, x: &[T], batch: usize, workspace: &Workspace<T>) -> Result<()> {
        check_shape("x", x.len(), batch, self.inputs())?;
        if workspace.sizes != self.sizes || workspace.capacity < batch {
            return invalid!(
                "the workspace is for up to {} rows through sizes {:?}, got {batch} rows through {:?}",
                workspace.capacity,
                workspace.sizes,
                self.sizes
            );
        }
        Ok(())
    }

    /// Runs `x: (batch, inputs)` through the network; gives the outputs `(batch, outputs)`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a shape does not fit; [`Error::Interrupted`] when stopped.
    pub fn forward<'w>(
        &self,
        x: &[T],
        batch: usize,
        workspace: &'w mut Workspace<T>,
        run: Run<'_>,
    ) -> Result<&'w [T]> {
        self.forward_with(self.output_activation, x, batch, workspace, run)
    }

    /// [`Mlp::forward`] with another output activation.
    fn forward_with<'w>(
        &self,
        output: Activation,
        x: &[T],
        batch: usize,
        workspace: &'w mut Workspace<T>,
        run: Run<'_>,
    ) -> Result<&'w [T]> {
        self.check_batch(x, batch, workspace)?;
        let Workspace { z, y, .. } = workspace;
        for (i, ranges) in self.ranges().enumerate() {
            let layer = self.layer(i, ranges, output);
            let size = batch * layer.fan_out;
            let (below, above) = y.split_at_mut(i);
            let x = below.last().map_or(x, |y| &y[..batch * layer.fan_in]);
            layer.forward(x, batch, &mut z[i][..size], &mut above[0][..size], run)?;
        }
        Ok(&workspace.y[self.depth() - 1][..batch * self.outputs()])
    }

    /// The loss over a batch; its gradients are then in [`Workspace::gradients`].
    ///
    /// # Errors
    /// [`Error::Invalid`] when a shape or a target does not fit; [`Error::Interrupted`] when stopped.
    pub fn loss_and_grad(
        &self,
        x: &[T],
        targets: Targets<'_, T>,
        batch: usize,
        loss: Loss,
        workspace: &mut Workspace<T>,
        run: Run<'_>,
    ) -> Result<Evaluation> {
        loss.check(targets, batch, self.outputs())?;
        self.loss_and_grad_checked(x, targets, batch, loss, workspace, run)
    }

    /// [`Mlp::loss_and_grad`] for targets that have passed [`Loss::check`].
    pub(super) fn loss_and_grad_checked(
        &self,
        x: &[T],
        targets: Targets<'_, T>,
        batch: usize,
        loss: Loss,
        workspace: &mut Workspace<T>,
        run: Run<'_>,
    ) -> Result<Evaluation> {
        let outputs = self.outputs();
        let output = loss.output_activation(self.output_activation);
        self.forward_with(output, x, batch, workspace, run)?;
        let Workspace { z, y, gradients, dz, dx, .. } = workspace;
        if gradients.len() != self.values.len() {
            return invalid!("this workspace has no room for gradients");
        }
        let size = batch * outputs;
        let logits = &y[self.depth() - 1][..size];
        let evaluation = loss.evaluate_checked(logits, targets, outputs, Some(&mut dz[..size]));

        let mut end = self.values.len();
        for i in (0..self.depth()).rev() {
            let (fan_in, fan_out) = (self.sizes[i], self.sizes[i + 1]);
            let b = end - if self.bias { fan_out } else { 0 }..end;
            let w = b.start - fan_in * fan_out..b.start;
            end = w.start;
            let layer = self.layer(i, (w.clone(), b.clone()), output);
            let (dw, db) = gradients[w.start..b.end].split_at_mut(w.len());
            let size = batch * fan_out;
            let below = if i == 0 { x } else { &y[i - 1][..batch * fan_in] };
            let wanted = Gradients {
                dw,
                db: self.bias.then_some(db),
                dx: (i > 0).then(|| &mut dx[..batch * fan_in]),
            };
            let saved = (below, &z[i][..size], &y[i][..size]);
            layer.backward(saved, batch, &mut dz[..size], wanted, run)?;
            std::mem::swap(dz, dx);
        }
        Ok(evaluation)
    }

    /// The outputs `(rows, outputs)` for `x: (rows, inputs)`, in memory for few rows at a time.
    ///
    /// # Errors
    /// As [`Mlp::forward`], and [`Error::OutOfMemory`] when there is not enough memory.
    pub fn predict(&self, x: &[T], rows: usize, run: Run<'_>) -> Result<Vec<T>> {
        self.predict_with(self.output_activation, x, rows, run)
    }

    /// [`Mlp::predict`] with another output activation.
    fn predict_with(
        &self,
        output: Activation,
        x: &[T],
        rows: usize,
        run: Run<'_>,
    ) -> Result<Vec<T>> {
        check_shape("x", x.len(), rows, self.inputs())?;
        let mut outputs = zeros(area(rows, self.outputs())?)?;
        let mut workspace = Workspace::forward_only(self, rows.min(PREDICT_ROWS))?;
        let chunks = x.chunks(PREDICT_ROWS * self.inputs());
        for (x, out) in chunks.zip(outputs.chunks_mut(PREDICT_ROWS * self.outputs())) {
            if (run.stop)() {
                return Err(Error::Interrupted);
            }
            let batch = x.len() / self.inputs();
            out.copy_from_slice(self.forward_with(output, x, batch, &mut workspace, run)?);
        }
        Ok(outputs)
    }

    /// The loss over all `rows` rows, without gradients.
    ///
    /// # Errors
    /// As [`Mlp::loss_and_grad`].
    pub fn evaluate(
        &self,
        x: &[T],
        targets: Targets<'_, T>,
        rows: usize,
        loss: Loss,
        run: Run<'_>,
    ) -> Result<Evaluation> {
        loss.check(targets, rows, self.outputs())?;
        let output = loss.output_activation(self.output_activation);
        let logits = self.predict_with(output, x, rows, run)?;
        Ok(loss.evaluate_checked(&logits, targets, self.outputs(), None))
    }
}
