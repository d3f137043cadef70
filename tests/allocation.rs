//! What a fit allocates: everything before the first step, and then nothing but a few bytes per epoch.
//!
//! One test alone, since there is one count.
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Barrier;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

use common::{network, noise};
use initcore::nn::activation::Activation::{Linear, Relu, Tanh};
use initcore::nn::gemm::block_rows;
use initcore::nn::loss::{Loss, Targets};
use initcore::nn::mlp::Mlp;
use initcore::nn::optimizer::Optimizer;
use initcore::nn::pass::{Dataset, Workspace};
use initcore::nn::real::Real;
use initcore::nn::schedule::Schedule;
use initcore::nn::train::{EpochStats, FitConfig, fit};
use initcore::parallel::{NEVER, for_each};

/// The system's allocator, with counts.
struct Counting;

static CALLS: AtomicIsize = AtomicIsize::new(0);
static BYTES: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    /// Whether what this thread does counts: the test's own and the pool's, not those of the test harness.
    static COUNTS: Cell<bool> = const { Cell::new(false) };
}

/// Takes note of a call; `more` bytes are in use now, if it is negative fewer.
fn note(calls: isize, more: isize) {
    if COUNTS.get() {
        CALLS.fetch_add(calls, Relaxed);
        let now = BYTES.fetch_add(more, Relaxed) + more;
        PEAK.fetch_max(now, Relaxed);
    }
}

// SAFETY: every method passes its arguments on to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size().cast_signed());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note(0, -layout.size().cast_signed());
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls of the allocator during `body`, and the most bytes that were taken on top of those before.
fn counted<R>(body: impl FnOnce() -> R) -> (usize, usize, R) {
    let (calls, bytes) = (CALLS.load(Relaxed), BYTES.load(Relaxed));
    PEAK.store(bytes, Relaxed);
    let result = body();
    let taken = |now: &AtomicIsize, before: isize| (now.load(Relaxed) - before).cast_unsigned();
    (taken(&CALLS, calls), taken(&PEAK, bytes), result)
}

const SIZES: [usize; 4] = [20, 100, 100, 3];
const ROWS: usize = 250;
/// Two of them make an epoch, and each is two blocks of rows.
const BATCH: usize = 128;

/// Calls and bytes of a fit, the network and the data apart.
fn calls_and_bytes<T: Real>(epochs: usize, threads: usize, shuffle: bool) -> (usize, usize) {
    let mut mlp = network::<T>(&SIZES, &[Relu, Tanh, Linear], &[true; 3], 1);
    let (x, weights) = (noise::<T>(ROWS * SIZES[0], 2), vec![T::one(); ROWS]);
    let labels: Vec<i64> = (0..ROWS as i64).map(|i| i % 3).collect();
    let targets = Targets::labels(&labels).weighted(&weights);
    let data = Dataset { x: &x, targets, rows: ROWS };
    let config = FitConfig {
        loss: Loss::softmax_cross_entropy(),
        optimizer: Optimizer::adam(1e-4),
        schedule: Schedule::Cosine { warmup: 1.0, final_factor: 0.0 },
        clip_norm: Some(1.0),
        batch_size: BATCH,
        epochs,
        shuffle,
        seed: 0,
        skip_nonfinite: false,
        threads,
    };
    let mut seen = 0;
    let mut see = |_: &Mlp<T>, _: &EpochStats| {
        seen += 1;
        Ok(ControlFlow::Continue(()))
    };
    let (calls, bytes, ()) =
        counted(|| fit(&mut mlp, &data, &config, None, NEVER, &mut see).unwrap());
    assert_eq!(seen, epochs);
    (calls, bytes)
}

/// What `pass.rs` says of the memory of a pass, in bytes.
fn documented<T: Real>(mlp: &Mlp<T>) -> usize {
    let widths = SIZES[1..].iter().sum::<usize>();
    let targets = SIZES[3] + 1; // values and a weight; a label is counted below
    let row = SIZES[0] + targets + 2 * widths + SIZES[1..].iter().max().unwrap();
    size_of::<T>() * (mlp.values().len() + BATCH * row) + size_of::<i64>() * BATCH
}

#[test]
fn memory_is_allocated_before_the_first_step() {
    /// Of the lists of blocks, of layers and of pieces.
    const LISTS: usize = 4096;
    /// The name of the epoch's stream of random words, and its digest's.
    const PER_EPOCH: usize = 2;

    fn check<T: Real>() {
        let mlp = network::<T>(&SIZES, &[Relu, Tanh, Linear], &[true; 3], 1);
        let parameters = mlp.values().len();
        assert!(block_rows(BATCH, SIZES[2] * SIZES[1]) == BATCH / 2 && ROWS - BATCH > BATCH / 2);
        let most = documented(&mlp) + LISTS;
        let (_, bytes, workspace) = counted(|| Workspace::new(&mlp, BATCH).unwrap());
        assert!((documented(&mlp)..most).contains(&bytes), "{bytes} bytes");
        drop(workspace);

        for (threads, shuffle) in [(1, false), (1, true), (2, false), (2, true)] {
            let (few, bytes) = calls_and_bytes::<T>(3, threads, shuffle);
            let (many, same) = calls_and_bytes::<T>(300, threads, shuffle);
            assert_eq!(many - few, 297 * PER_EPOCH, "{threads} threads");
            // Adam remembers two numbers for each parameter; an order is one for each sample.
            let order = if shuffle { size_of::<usize>() * ROWS } else { 0 };
            let beside = 2 * size_of::<T>() * parameters + order;
            assert_eq!(bytes, same);
            let expected = documented(&mlp) + beside..most + beside;
            assert!(expected.contains(&bytes), "{bytes} bytes, expected {expected:?}");
        }
    }
    // This thread and the pool's only worker: each sets up what it does at its first product, and counts from now on.
    let both = Barrier::new(2);
    let prepare = |_| {
        both.wait();
        calls_and_bytes::<f32>(1, 1, true);
        calls_and_bytes::<f64>(1, 1, true);
        COUNTS.set(true);
    };
    for_each(2, 0..2, NEVER, prepare).unwrap();
    check::<f32>();
    check::<f64>();
}
