//! What the tests of the dense core share: numbers, networks, comparisons.
#![allow(dead_code, reason = "no test uses all of it")]

use initcore::nn::activation::Activation;
use initcore::nn::loss::Loss;
use initcore::nn::mlp::Mlp;
use initcore::nn::optimizer::Optimizer;
use initcore::nn::real::Real;
use initcore::nn::schedule::Schedule;
use initcore::nn::train::FitConfig;
use initcore::{Error, Result};

/// Numbers of threads whose results must not differ.
pub const THREADS: [usize; 4] = [1, 2, 3, 7];

/// `len` numbers in [-1, 1) from a small generator of the tests' own (`SplitMix64`).
pub fn noise<T: Real>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0xD134_2543_DE82_EF95);
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) >> 11
    };
    (0..len).map(|_| T::narrow(next() as f64 / (1_u64 << 52) as f64 - 1.0)).collect()
}

/// Same to the last bit, with all NaN alike.
pub fn bits<T: Real>(values: &[T]) -> Vec<u64> {
    let bits = |v: &T| if v.is_nan() { u64::MAX } else { v.widen().to_bits() };
    values.iter().map(bits).collect()
}

/// Every number within `tolerance * (1 + its size)`.
pub fn close<T: Real>(got: &[T], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got.widen() - want).abs();
        assert!(error <= tolerance * (1.0 + want.abs()), "{what}[{i}]: {got} instead of {want}");
    }
}

/// The words of the refusal that this must be.
pub fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::Invalid(text)) => text,
        other => panic!("expected an Invalid error, got {other:?}"),
    }
}

/// A network with random parameters, one activation and one bias or none for each layer.
pub fn network<T: Real>(
    sizes: &[usize],
    activations: &[Activation],
    bias: &[bool],
    seed: u64,
) -> Mlp<T> {
    let mut mlp = Mlp::new(sizes, activations, bias).unwrap();
    for p in mlp.parameters() {
        let fan_in = if p.shape.len() == 2 { p.shape[0] } else { 1 };
        let scale = T::narrow((3.0 / fan_in as f64).sqrt());
        let values = noise::<T>(p.range.len(), seed + p.range.start as u64);
        for (to, from) in mlp.values_mut()[p.range].iter_mut().zip(values) {
            *to = from * scale;
        }
    }
    mlp
}

/// A network of two layers with biases and a linear output.
pub fn shallow<T: Real>(sizes: [usize; 3], hidden: Activation, seed: u64) -> Mlp<T> {
    network(&sizes, &[hidden, Activation::Linear], &[true; 2], seed)
}

/// The plainest fit: one epoch of single samples as they lie, on one thread.
pub fn plain_fit(loss: Loss, optimizer: Optimizer) -> FitConfig {
    FitConfig {
        loss,
        optimizer,
        schedule: Schedule::Constant,
        clip_norm: None,
        batch_size: 1,
        epochs: 1,
        shuffle: false,
        seed: 0,
        skip_nonfinite: false,
        threads: 1,
    }
}
