//! The dense network core: activations, losses, layers, a multilayer perceptron, optimizers, training.
//!
//! Lowest layer first; each module imports only from those above it:
//!
//! | module | what it holds |
//! |---|---|
//! | [`elementary`] | exp, ln, tanh, erf in arithmetic that vectorises |
//! | [`real`] | what the core asks of a number: `f32` or `f64` |
//! | [`gemm`] | matrix products in blocks of rows |
//! | [`activation`] | activation functions, value and slope side by side |
//! | [`loss`] | losses from logits, with their gradients and target checks |
//! | [`dense`] | forward and backward of one fully connected layer |
//! | [`mlp`] | a stack of layers over one flat parameter buffer |
//! | [`pass`] | loss and gradients of a batch: all layers forward and backward |
//! | [`optimizer`] | SGD, Adagrad, `RMSProp`, Adam, `AdamW` over that buffer |
//! | [`schedule`] | how the learning rate changes over a fit |
//! | [`workers`] | several processes that train one network together |
//! | [`train`] | the whole training loop |
//! | [`statistics`] | moments and slopes, in one sweep |
//! | [`batch`] | units that never change, and how alike samples look to a layer |
//! | [`twins`] | units that do the same as others |
//! | [`diagnosis`] | all of that for every layer, in one pass |
//!
//! Law 2: results do not depend on the number of threads. Work is split into blocks of the *output*
//! whose size is a function of the shape alone, and each block is computed by one thread.

pub mod activation;
pub mod batch;
pub mod dense;
pub mod diagnosis;
pub mod elementary;
mod elementary_table;
pub mod gemm;
pub mod loss;
pub mod mlp;
pub mod optimizer;
pub mod pass;
pub mod real;
pub mod schedule;
mod spec;
pub mod statistics;
pub mod train;
pub mod twins;
pub mod workers;

use crate::dispatch::Isa;
use crate::dispatch::with_default_floats;
use crate::error::{Error, Result};
use crate::parallel::{NEVER, Stop};

/// How to run: on at most how many threads, and who may end the work early.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// At most this many threads; 0 counts as 1. Results do not depend on it.
    pub threads: usize,
    /// Asked between blocks of work on the calling thread; `true` gives [`Error::Interrupted`].
    pub stop: Stop<'a>,
}

impl Run<'static> {
    /// On the calling thread, to the end.
    pub const SERIAL: Self = Self { threads: 1, stop: NEVER };
}

/// Elements per item of an elementwise pass: small enough to stay in the L2 cache of one core.
const CHUNK: usize = 1 << 14;

/// Calls `body` for every item; `count` items in all, and a single item never touches the pool.
fn for_each<I>(run: Run<'_>, count: usize, items: I, body: impl Fn(I::Item) + Sync) -> Result<()>
where
    I: Iterator + Send,
    I::Item: Send,
{
    // An unusable `INITCORE_ISA` is an error here, before any work.
    Isa::current()?;
    if count <= 1 {
        with_default_floats(|| items.for_each(body));
        return Ok(());
    }
    crate::parallel::for_each(run.threads.min(count), items, run.stop, body)
}

/// `len` zeros, or [`Error::OutOfMemory`] where the allocator would have aborted.
fn zeros<T: Clone + Default>(len: usize) -> Result<Vec<T>> {
    let mut buffer = Vec::new();
    buffer
        .try_reserve_exact(len)
        .map_err(|_| Error::OutOfMemory(format!("cannot allocate an array of {len} elements")))?;
    buffer.resize(len, T::default());
    Ok(buffer)
}

/// The product of two dimensions, or [`Error::TooLarge`].
fn area(rows: usize, columns: usize) -> Result<usize> {
    rows.checked_mul(columns)
        .ok_or_else(|| Error::TooLarge(format!("an array of shape ({rows}, {columns}) overflows")))
}

/// Checks that a row-major buffer has exactly the elements of its shape.
fn check_shape(what: &str, len: usize, rows: usize, columns: usize) -> Result<()> {
    if len == area(rows, columns)? {
        return Ok(());
    }
    crate::error::invalid!("{what} must have shape ({rows}, {columns}), got {len} elements")
}
