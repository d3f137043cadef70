//! The one way to use several threads: hand out work items until none are left.
//!
//! What an item is never depends on the number of threads, so neither do results (Laws 1 and 2). The
//! calling thread works too: it is the only one that may ask Python for pending signals, and with one
//! thread no pool is touched at all.
//!
//! Several calls at once share the pool's workers, each of which serves one call at a time: a call gets those
//! that are free, possibly none, and never queues behind another, where it could not hear Ctrl-C.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::dispatch::{environment, with_default_floats};
use crate::error::{Error, Result, invalid};
use crate::pool;

/// More threads than this are refused: surely a mistake, and each costs a stack.
pub const MAX_THREADS: usize = 1024;

/// The default number of threads; 0 = not known yet.
static NUM_THREADS: AtomicUsize = AtomicUsize::new(0);

/// The default number of threads: [`set_num_threads`], else `INITCORE_NUM_THREADS`, else the cores.
///
/// # Errors
/// [`Error::Invalid`] when the environment variable is not an integer in `1..=MAX_THREADS`.
pub fn num_threads() -> Result<usize> {
    let known = NUM_THREADS.load(Ordering::Relaxed);
    if known != 0 {
        return Ok(known);
    }
    let n = match environment("INITCORE_NUM_THREADS") {
        Some(text) => match text.trim().parse() {
            Ok(n @ 1..=MAX_THREADS) => n,
            _ => {
                return invalid!(
                    "INITCORE_NUM_THREADS={text:?}: expected an integer from 1 to {MAX_THREADS}"
                );
            }
        },
        None => std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_THREADS),
    };
    // What `set_num_threads` has set meanwhile stays.
    let set = NUM_THREADS.compare_exchange(0, n, Ordering::Relaxed, Ordering::Relaxed);
    Ok(set.err().unwrap_or(n))
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

/// Calls `body` once for every item, on at most `threads` threads, the caller's included; on fewer while other
/// calls keep the pool busy.
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
    match threads.saturating_sub(1) {
        0 => work_and_watch(),
        others => pool::run(others, &work, work_and_watch),
    }
    if stopped.into_inner() { Err(Error::Interrupted) } else { Ok(()) }
}
