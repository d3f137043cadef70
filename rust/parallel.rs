//! The one thread pool, and the one way to use it: hand out work items until none are left.
//!
//! What an item is never depends on the number of threads, so neither do results (Laws 1 and 2). The
//! calling thread works too: it is the only one that may ask Python for pending signals, and with one
//! thread no pool is touched at all.
//!
//! Fork: a child inherits the pool's memory but not its threads. The pool is therefore keyed by process
//! id and read without a lock, since a lock held by another thread during `fork` stays locked for ever.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwapOption;

use crate::dispatch::with_default_floats;
use crate::error::{Error, Result, invalid};

/// More threads than this are refused: surely a mistake, and each costs a stack.
pub const MAX_THREADS: usize = 1024;

struct Pool {
    process: u32,
    workers: usize,
    rayon: rayon::ThreadPool,
}

static POOL: ArcSwapOption<Pool> = ArcSwapOption::const_empty();

/// Set by [`set_num_threads`]; 0 = not set.
static NUM_THREADS: AtomicUsize = AtomicUsize::new(0);

/// The pool of this process with at least `workers` threads; grown by replacement. `None` if the system gives
/// no more threads: the caller can do the work alone.
fn pool(workers: usize) -> Option<Arc<Pool>> {
    let process = std::process::id();
    let current = POOL.load_full();
    if let Some(pool) = &current
        && pool.process == process
        && pool.workers >= workers
    {
        return Some(Arc::clone(pool));
    }
    let rayon = rayon::ThreadPoolBuilder::new()
        .num_threads(workers)
        .thread_name(|i| format!("initcore-{i}"))
        .build()
        .ok()?;
    let pool = Arc::new(Pool { process, workers, rayon });
    if let Some(old) = POOL.swap(Some(Arc::clone(&pool)))
        && old.process != process
    {
        // Its threads live in the parent; terminating them here could wait on locks nobody holds.
        std::mem::forget(old);
        std::mem::forget(current);
    }
    Some(pool)
}

/// The default number of threads: [`set_num_threads`], else `INITCORE_NUM_THREADS`, else the cores.
///
/// # Errors
/// [`Error::Invalid`] when the environment variable is not an integer in `1..=MAX_THREADS`.
pub fn num_threads() -> Result<usize> {
    static ENVIRONMENT: OnceLock<Result<usize>> = OnceLock::new();
    match NUM_THREADS.load(Ordering::Relaxed) {
        0 => ENVIRONMENT
            .get_or_init(|| match std::env::var("INITCORE_NUM_THREADS") {
                Ok(text) => match text.trim().parse() {
                    Ok(n @ 1..=MAX_THREADS) => Ok(n),
                    _ => invalid!(
                        "INITCORE_NUM_THREADS={text:?}: expected an integer from 1 to {MAX_THREADS}"
                    ),
                },
                Err(_) => Ok(std::thread::available_parallelism().map_or(1, NonZeroUsize::get)),
            })
            .clone(),
        n => Ok(n),
    }
}

/// Checks a requested number of threads; `None` gives [`num_threads`].
///
/// # Errors
/// [`Error::Invalid`] when it is not in `1..=MAX_THREADS`.
pub fn check_num_threads(requested: Option<usize>) -> Result<usize> {
    match requested {
        None => num_threads(),
        Some(n @ 1..=MAX_THREADS) => Ok(n),
        Some(n) => invalid!("num_threads must be from 1 to {MAX_THREADS}, got {n}"),
    }
}

/// Sets the default number of threads of this process.
///
/// # Errors
/// [`Error::Invalid`] when it is not in `1..=MAX_THREADS`.
pub fn set_num_threads(n: usize) -> Result<()> {
    NUM_THREADS.store(check_num_threads(Some(n))?, Ordering::Relaxed);
    Ok(())
}

/// Asked between items, on the calling thread only; `true` ends the work early.
pub type Stop<'a> = &'a dyn Fn() -> bool;

/// A [`Stop`] that never stops.
pub const NEVER: Stop<'static> = &|| false;

/// Calls `body` once for every item, on at most `threads` threads, the caller's included.
///
/// Items are handed out in order and one at a time; `body` must not care who runs it. It runs in the default
/// floating-point environment: another library may have set flush-to-zero on one thread and not on another.
///
/// # Errors
/// [`Error::Interrupted`] when `stop` said so: items not yet handed out are then left undone.
pub fn for_each<I>(
    threads: usize,
    items: I,
    stop: Stop<'_>,
    body: impl Fn(I::Item) + Sync,
) -> Result<()>
where
    I: Iterator + Send,
    I::Item: Send,
{
    let stopped = AtomicBool::new(false);
    let queue = Mutex::new(items);
    let next = || {
        if stopped.load(Ordering::Relaxed) {
            return None;
        }
        // Poisoned only if the iterator itself panicked; then there is nothing left to hand out.
        queue.lock().ok()?.next()
    };
    let work = || {
        with_default_floats(|| {
            while let Some(item) = next() {
                body(item);
            }
        });
    };
    let work_and_watch = || {
        while let Some(item) = next() {
            with_default_floats(|| body(item));
            if stop() {
                stopped.store(true, Ordering::Relaxed);
            }
        }
    };
    match if threads > 1 { pool(threads - 1) } else { None } {
        None => work_and_watch(),
        Some(pool) => pool.rayon.in_place_scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|_| work());
            }
            work_and_watch();
        }),
    }
    if stopped.into_inner() { Err(Error::Interrupted) } else { Ok(()) }
}
