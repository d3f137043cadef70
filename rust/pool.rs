//! Worker threads that wait for work: awake for a moment after each piece, asleep afterwards.
//!
//! A train step of a small network is three parallel regions of ten microseconds each, and waking a thread
//! takes about as long: so a worker looks out for the next region for a while before it sleeps. A worker that is
//! not up in time is not waited for: its order is taken back, the others have done the work by then.
//!
//! ```text
//! FREE -> TAKEN -> ORDERED -> WORKING -> DONE -> FREE
//!                     '--- taken back --------->'
//! ```
//! Fork: a child inherits the memory of the pool but not its threads. The pool is therefore keyed by process id,
//! and nothing here takes a lock that other threads may hold while one forks.
#![allow(unsafe_code)]

use std::any::Any;
use std::mem;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};

use arc_swap::ArcSwapOption;

/// How often to look before going to sleep: some 30 to 80 us.
const LOOKS: usize = 1 << 11;

/// Belongs to no call.
const FREE: u8 = 0;
/// Belongs to a call.
const TAKEN: u8 = 1;
/// An order is there to be executed.
const ORDERED: u8 = 2;
/// At it.
const WORKING: u8 = 3;
/// The order is executed; the call has not noticed yet.
const DONE: u8 = 4;
/// To end: the pool it was made for was never used.
const DISMISSED: u8 = 5;

/// What to do, and whom to wake when it is done.
struct Order {
    work: &'static (dyn Fn() + Sync),
    caller: Thread,
}

/// A thread's place of exchange with its callers; `FREE` at first.
#[derive(Default)]
struct Worker {
    state: AtomicU8,
    /// The number of the call that took it last.
    call: AtomicUsize,
    /// Written while the worker is `TAKEN`, read while it is `WORKING`.
    order: Mutex<Option<Order>>,
    /// What the work panicked with, until the caller asks.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// The content of a mutex that is only ever held for a move.
fn slot<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns when `ready` says so; someone will unpark this thread then.
fn wait(looks: usize, ready: impl Fn() -> bool) {
    for _ in 0..looks {
        if ready() {
            return;
        }
        std::hint::spin_loop();
    }
    while !ready() {
        thread::park();
    }
}

impl Worker {
    fn is(&self, state: u8) -> bool {
        self.state.load(Ordering::Acquire) == state
    }

    /// Goes from one state to the next, if it is in the first.
    fn advance(&self, from: u8, to: u8) -> bool {
        let done = self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
        done.is_ok()
    }

    /// The life of the thread.
    fn serve(&self, looks: usize) {
        loop {
            wait(looks, || self.is(ORDERED) || self.is(DISMISSED));
            if self.is(DISMISSED) {
                return;
            }
            if !self.advance(ORDERED, WORKING) {
                continue;
            }
            let Some(Order { work, caller }) = slot(&self.order).take() else { continue };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                *slot(&self.panic) = Some(panic);
            }
            self.state.store(DONE, Ordering::Release);
            caller.unpark();
        }
    }
}

struct Pool {
    process: u32,
    looks: usize,
    workers: Vec<(Arc<Worker>, Thread)>,
}

static POOL: ArcSwapOption<Pool> = ArcSwapOption::const_empty();

impl Pool {
    /// The pool of this process, with `wanted` workers or as many as the system gives.
    fn with(wanted: usize) -> Arc<Self> {
        loop {
            let current = POOL.load_full();
            let process = std::process::id();
            let mine = current.as_ref().filter(|pool| pool.process == process);
            let mut workers = match mine {
                Some(pool) if pool.workers.len() >= wanted => return Arc::clone(pool),
                Some(pool) => pool.workers.clone(),
                None => Vec::new(),
            };
            // On a single processor whoever looks out keeps the others from working.
            let alone = thread::available_parallelism().map_or(1, NonZeroUsize::get) == 1;
            let looks = if alone { 0 } else { LOOKS };
            let known = workers.len();
            while workers.len() < wanted {
                let worker = Arc::new(Worker::default());
                let name = format!("initcore-{}", workers.len());
                let service = Arc::clone(&worker);
                let spawned = thread::Builder::new().name(name).spawn(move || service.serve(looks));
                let Ok(handle) = spawned else { break };
                workers.push((worker, handle.thread().clone()));
            }
            let pool = Arc::new(Self { process, looks, workers });
            let found = POOL.compare_and_swap(&current, Some(Arc::clone(&pool)));
            if found.as_ref().map(Arc::as_ptr) == current.as_ref().map(Arc::as_ptr) {
                return pool;
            }
            // Another thread was first.
            for (worker, thread) in &pool.workers[known..] {
                worker.state.store(DISMISSED, Ordering::Release);
                thread.unpark();
            }
        }
    }
}

/// Numbers the calls.
static CALLS: AtomicUsize = AtomicUsize::new(1);

/// The workers that have got an order of one call; none of them has it any more when this is gone.
struct Crew {
    pool: Arc<Pool>,
    call: usize,
    /// How many of them.
    members: usize,
}

impl Crew {
    /// Takes back the orders that nobody has begun, and waits for the others.
    fn end(&mut self) -> Option<Box<dyn Any + Send>> {
        let mut panic = None;
        let members = mem::take(&mut self.members);
        let workers = self.pool.workers.iter().map(|(worker, _)| worker);
        let mine = workers.filter(|worker| worker.call.load(Ordering::Relaxed) == self.call);
        for worker in mine.take(members) {
            if !worker.advance(ORDERED, TAKEN) {
                wait(self.pool.looks, || worker.is(DONE));
                panic = slot(&worker.panic).take().or(panic);
            }
            worker.call.store(0, Ordering::Relaxed);
            worker.state.store(FREE, Ordering::Release);
        }
        panic
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs `own` on this thread and, at the same time, `work` on up to `wanted` workers that serve no other call:
/// possibly on none. Returns when all have ended; a panic of one of them comes out here.
pub fn run(wanted: usize, work: &(dyn Fn() + Sync), own: impl FnOnce()) {
    // SAFETY: only the lifetime changes. A worker calls `work` between `ORDERED` and `DONE` alone, and `Crew` sees to it,
    // when it ends or is dropped in a panic, that no worker is there any more; that is before `work` ends.
    let work = unsafe { mem::transmute::<&(dyn Fn() + Sync), &'static (dyn Fn() + Sync)>(work) };
    let pool = Pool::with(wanted);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut crew = Crew { pool: Arc::clone(&pool), call, members: 0 };
    let free = pool.workers.iter().filter(|(worker, _)| worker.advance(FREE, TAKEN));
    for (worker, thread) in free.take(wanted) {
        worker.call.store(call, Ordering::Relaxed);
        *slot(&worker.order) = Some(Order { work, caller: thread::current() });
        worker.state.store(ORDERED, Ordering::Release);
        crew.members += 1;
        thread.unpark();
    }
    own();
    if let Some(panic) = crew.end() {
        resume_unwind(panic);
    }
}
