//! initcore: neural-network weight initialization with addressed, reproducible sampling, and a
//! deterministic dense network core to see what an initialization does.
//!
//! The map of the crate, lowest layer first; imports point downward only:
//!
//! | module | what it holds |
//! |---|---|
//! | [`simd`], [`dispatch`] | which instruction set; one kernel, compiled once per ISA |
//! | [`philox`] | the Philox4x32-10 generator over lanes |
//! | [`stream`] | seed, name and element index -> random words |
//! | [`sample`], [`quantile`], [`gaussian`], `tail` | the types of values, and the normal distribution in them |
//! | [`distribution`] | random word -> value |
//! | [`parallel`], `pool` | work items, and the threads that share them |
//! | [`region`], [`indexing`] | parts of an array, and NumPy's way to name them |
//! | [`fill`] | stream + distribution + part of an array -> values |
//! | [`truncation`] | the ways to give a truncated normal |
//! | [`fans`], [`weight`] | which axes of a weight are inputs and outputs |
//! | [`pattern`], [`orthogonal`] with `haar`, [`sparse`] | weights that are more than independent numbers |
//! | [`law`], [`initializer`] | initializer + shape -> law of the elements -> values |
//! | [`nn`] | activations, losses, dense layers, optimizers, training |
//!
//! The feature `python` adds the bindings (`rust/python/`), which check, allocate and call, nothing else.

pub mod dispatch;
pub mod distribution;
mod error;
pub mod fans;
pub mod fill;
pub mod gaussian;
mod haar;
pub mod indexing;
pub mod initializer;
pub mod law;
mod named;
pub mod nn;
pub mod orthogonal;
pub mod parallel;
pub mod pattern;
pub mod philox;
mod pool;
#[cfg(feature = "python")]
mod python;
pub mod quantile;
mod quantile_table;
pub mod region;
pub mod sample;
pub mod simd;
pub mod sparse;
pub mod stream;
mod tail;
pub mod truncation;
pub mod weight;

pub use error::{Error, Result};
