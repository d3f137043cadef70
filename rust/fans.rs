//! Fan-in and fan-out: how many numbers are summed into one output, and how many outputs one input reaches.
//!
//! A [`Layout`] says what each axis of a weight is for. Groups of a convolution and blocks packed along the
//! outputs (query, key and value) share an axis with their channels; that axis is seen as two, the first of which
//! counts independent weights. With every axis in its [`Role`], both fans are products:
//!
//! ```text
//! fan_in = inputs * kernel,   fan_out = outputs * kernel
//! ```

use crate::error::{Error, Result, invalid};
use crate::region::tuple;

/// What an axis of a weight counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Numbers that are summed.
    Input,
    /// Sums.
    Output,
    /// Positions of a convolution's kernel.
    Kernel,
    /// Weights that have nothing to do with each other: groups, packed blocks, experts, rows of an embedding.
    Batch,
}

impl Role {
    /// The name in Python.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Kernel => "kernel",
            Self::Batch => "batch",
        }
    }
}

/// Which axis has which role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum Axes {
    /// (..., in, out): NumPy, JAX, Keras; `y = x @ W`.
    #[default]
    Numpy,
    /// (out, in, ...): PyTorch; `y = W @ x`.
    Torch,
    /// (vocabulary, features): one row is looked up, and nothing is summed.
    Embedding,
    /// (..., channels, multiplier): Keras's depthwise convolutions, where each channel has filters of its own.
    Depthwise,
    /// Given by number, negative ones counted from the end; the others are the kernel's.
    Given {
        /// The inputs.
        inputs: Vec<i64>,
        /// The outputs.
        outputs: Vec<i64>,
        /// See [`Role::Batch`].
        batch: Vec<i64>,
    },
}

impl Axes {
    /// Those that have a name.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("numpy", Self::Numpy),
        ("torch", Self::Torch),
        ("embedding", Self::Embedding),
        ("depthwise", Self::Depthwise),
    ];

    /// The role of each axis of a shape.
    fn roles(&self, shape: &[u64]) -> Result<Vec<Role>> {
        let n = shape.len();
        let mut roles = vec![Role::Kernel; n];
        let (first, second, last, before_last) = (0, 1, n.wrapping_sub(1), n.wrapping_sub(2));
        let named: [(usize, Role); 2] = match self {
            Self::Numpy => [(last, Role::Output), (before_last, Role::Input)],
            Self::Torch => [(first, Role::Output), (second, Role::Input)],
            Self::Embedding => [(first, Role::Batch), (last, Role::Output)],
            Self::Depthwise => [(before_last, Role::Batch), (last, Role::Output)],
            Self::Given { inputs, outputs, batch } => {
                let mut taken = vec![false; n];
                let axes = [(inputs, Role::Input), (outputs, Role::Output), (batch, Role::Batch)];
                for (axis, role) in
                    axes.into_iter().flat_map(|(a, r)| a.iter().map(move |a| (*a, r)))
                {
                    let Some(at) = usize::try_from(if axis < 0 { axis + n as i64 } else { axis })
                        .ok()
                        .filter(|at| *at < n)
                    else {
                        return invalid!(
                            "axis {axis} is out of bounds for the shape {}",
                            tuple(shape)
                        );
                    };
                    if std::mem::replace(&mut taken[at], true) {
                        return invalid!(
                            "axis {axis} of the shape {} is named twice",
                            tuple(shape)
                        );
                    }
                    roles[at] = role;
                }
                return Ok(roles);
            }
        };
        if n < 2 {
            return invalid!(
                "fan_in and fan_out need a shape of at least 2 dimensions, got {}",
                tuple(shape)
            );
        }
        for (axis, role) in named {
            roles[axis] = role;
        }
        Ok(roles)
    }
}

/// How a weight's shape is to be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Which axis has which role.
    pub axes: Axes,
    /// Groups of a convolution: its inputs and outputs fall into so many that have nothing to do with each other.
    pub groups: u64,
    /// Of a transposed convolution, whose weight has inputs and outputs in each other's place.
    pub transposed: bool,
    /// Weights of equal size packed side by side along the outputs: 3 for query, key and value.
    pub blocks: u64,
}

impl Default for Layout {
    fn default() -> Self {
        Self { axes: Axes::default(), groups: 1, transposed: false, blocks: 1 }
    }
}

impl std::str::FromStr for Layout {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match Axes::NAMED.into_iter().find(|(name, _)| *name == text) {
            Some((_, axes)) => Ok(Self { axes, ..Self::default() }),
            None => invalid!(
                "unknown layout {text:?}: expected 'numpy' (..., in, out), 'torch' (out, in, ...), \
                 'embedding' (vocabulary, features), 'depthwise' (..., channels, multiplier), or a Layout"
            ),
        }
    }
}

/// One axis of a weight, after those with groups or blocks were split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimension {
    /// Its length.
    pub len: u64,
    /// Its role.
    pub role: Role,
}

impl Layout {
    /// Checks the numbers, which do not depend on a shape.
    ///
    /// # Errors
    /// There are 0 groups or blocks.
    pub fn checked(self) -> Result<Self> {
        for (name, n) in [("groups", self.groups), ("blocks", self.blocks)] {
            if n == 0 {
                return invalid!("{name} must be 1 or more, got 0");
            }
        }
        Ok(self)
    }

    /// The dimensions of a weight of this shape, in C order.
    ///
    /// # Errors
    /// The shape has too few axes, or an axis does not divide into the groups or blocks.
    pub fn dimensions(&self, shape: &[u64]) -> Result<Vec<Dimension>> {
        let mut roles = self.axes.roles(shape)?;
        if self.transposed {
            for role in &mut roles {
                *role = match *role {
                    Role::Input => Role::Output,
                    Role::Output => Role::Input,
                    other => other,
                };
            }
        }
        // the channels that are stored for all groups together
        let grouped = if self.transposed { Role::Input } else { Role::Output };
        let mut dimensions = Vec::with_capacity(shape.len() + 2);
        let mut to_split =
            [(grouped, "groups", self.groups), (Role::Output, "blocks", self.blocks)];
        for (axis, (&n, &role)) in shape.iter().zip(&roles).enumerate() {
            let mut len = n;
            for (of, what, parts) in &mut to_split {
                if *of != role || *parts == 1 {
                    continue;
                }
                if len % *parts != 0 {
                    let channels = if role == Role::Input { "inputs" } else { "outputs" };
                    return invalid!(
                        "{what} = {parts} does not divide axis {axis} ({channels}) of the shape {}",
                        tuple(shape)
                    );
                }
                dimensions.push(Dimension { len: *parts, role: Role::Batch });
                len /= *parts;
                *parts = 1; // the first such axis is the slowest to change, which is what the parts are
            }
            dimensions.push(Dimension { len, role });
        }
        match to_split.iter().find(|(_, _, parts)| *parts != 1) {
            Some((role, what, parts)) => {
                let channels = if *role == Role::Input { "an input" } else { "an output" };
                invalid!(
                    "{what} = {parts} needs {channels} axis, and the shape {} has none",
                    tuple(shape)
                )
            }
            None => Ok(dimensions),
        }
    }

    /// (`fan_in`, `fan_out`) of a weight of this shape.
    ///
    /// # Errors
    /// See [`Self::dimensions`]; or a fan is 2^64 or more.
    pub fn fans(&self, shape: &[u64]) -> Result<(u64, u64)> {
        let dimensions = self.dimensions(shape)?;
        let product = |channels: Role| {
            let lengths = dimensions
                .iter()
                .filter(|dim| dim.role == channels || dim.role == Role::Kernel)
                .map(|dim| dim.len);
            match lengths.clone().try_fold(1, u64::checked_mul) {
                Some(fan) => Ok(fan),
                None if lengths.clone().any(|len| len == 0) => Ok(0),
                // only an empty array's other axes can multiply beyond 64 bits
                None if shape.contains(&0) => Ok(u64::MAX),
                None => Err(Error::TooLarge(format!(
                    "the fans of shape {} are too big: 2^64 or more",
                    tuple(shape)
                ))),
            }
        };
        Ok((product(Role::Input)?, product(Role::Output)?))
    }
}
