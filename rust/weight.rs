//! Positions in a weight: from an element's C-order index to its input, output, kernel position and batch.

use crate::error::Result;
use crate::fans::{Layout, Role};
use crate::fill::by_run;
use crate::parallel::Stop;
use crate::region::{Region, Run};

/// Where an element stands: a number for each [`Role`], counted in C order among the axes of that role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Of the weights that have nothing to do with each other.
    pub batch: u64,
    /// In the kernel.
    pub kernel: u64,
    /// The number that is multiplied.
    pub input: u64,
    /// The sum it goes into.
    pub output: u64,
}

impl Place {
    fn count(&mut self, role: Role) -> &mut u64 {
        match role {
            Role::Batch => &mut self.batch,
            Role::Kernel => &mut self.kernel,
            Role::Input => &mut self.input,
            Role::Output => &mut self.output,
        }
    }
}

/// The shape of a weight and the roles of its axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Length, role and step (by how much one step along the axis moves in its role), the last axis first.
    axes: Vec<(u64, Role, u64)>,
    /// How many there are of each role.
    size: Place,
    /// The kernel's axes, in C order.
    kernel: Vec<u64>,
}

impl Weight {
    /// Reads a shape by its layout.
    ///
    /// # Errors
    /// See [`Layout::dimensions`].
    pub fn new(shape: &[u64], layout: &Layout) -> Result<Self> {
        let dimensions = layout.dimensions(shape)?;
        let mut size = Place { batch: 1, kernel: 1, input: 1, output: 1 };
        let axes = dimensions
            .iter()
            .rev()
            .map(|dim| {
                let count = size.count(dim.role);
                let step = *count;
                *count = count.saturating_mul(dim.len);
                (dim.len, dim.role, step)
            })
            .collect();
        let kernel = dimensions.iter().filter(|dim| dim.role == Role::Kernel).map(|dim| dim.len);
        Ok(Self { axes, size, kernel: kernel.collect() })
    }

    /// How many there are of each role.
    pub fn size(&self) -> Place {
        self.size
    }

    /// The lengths of the kernel's axes.
    pub fn kernel(&self) -> &[u64] {
        &self.kernel
    }

    /// The number of elements.
    pub fn len(&self) -> u64 {
        // saturating: only an empty array's other axes can multiply beyond 64 bits
        self.axes.iter().fold(1, |product: u64, (len, ..)| product.saturating_mul(*len))
    }

    /// Is there no element?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The roles of the axes in C order; neighbours of the same role as one, and those of length 1 left out.
    pub fn order(&self) -> Vec<Role> {
        let axes = self.axes.iter().rev().filter(|(len, ..)| *len != 1);
        let mut order: Vec<Role> = axes.map(|(_, role, _)| *role).collect();
        order.dedup();
        order
    }

    /// The place of the element of this C-order index.
    fn place(&self, mut index: u64) -> Place {
        let mut place = Place::default();
        for (len, role, step) in &self.axes {
            *place.count(*role) += index % len * step;
            index /= len;
        }
        place
    }

    /// Writes `value` of the place of each of the elements `begin .. begin + out.len()` of a region.
    ///
    /// # Errors
    /// `stop` ended the work.
    pub fn evaluate<T: Copy + Send>(
        &self,
        region: &Region,
        begin: u64,
        out: &mut [T],
        threads: usize,
        stop: Stop<'_>,
        value: impl Fn(Place) -> T + Sync,
    ) -> Result<()> {
        by_run(region, begin, out, threads, stop, |run, out| self.evaluate_run(run, out, &value))
    }

    /// Divisions are slow; within a row only the last axis changes.
    #[inline]
    fn evaluate_run<T>(&self, run: Run, out: &mut [T], value: &impl Fn(Place) -> T) {
        let (row, role, step) = self.axes.first().copied().unwrap_or((1, Role::Output, 1));
        let mut index = run.start;
        let mut rest = out;
        while !rest.is_empty() {
            let left = if run.step == 1 { row - index % row } else { 1 };
            let (now, later) = rest.split_at_mut(rest.len().min(left as usize));
            let mut place = self.place(index);
            for x in &mut *now {
                *x = value(place);
                *place.count(role) += step;
            }
            index = index.wrapping_add_signed(run.step.wrapping_mul(now.len() as i64));
            rest = later;
        }
    }
}
