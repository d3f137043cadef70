//! The thread pool: what holds when several calls want it at once. What Python does to it is in `test_threads.py`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use initcore::Error;
use initcore::parallel::{MAX_THREADS, NEVER, check_num_threads, for_each, set_num_threads};

/// The pool of this process never gets larger than for this many.
const THREADS: usize = 4;

/// Longer than any machine takes: reached only by what would last for ever.
const FOREVER: Duration = Duration::from_secs(60);

/// The pool for one test alone.
fn the_pool() -> MutexGuard<'static, ()> {
    static POOL: Mutex<()> = Mutex::new(());
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs them all at once; fails if one of them does, or lasts for ever.
fn in_time(callers: Vec<impl FnOnce() + Send + 'static>) {
    let (ended, all_ended) = channel();
    let count = callers.len();
    for caller in callers {
        let ended = ended.clone();
        thread::spawn(move || {
            caller();
            ended.send(()).unwrap();
        });
    }
    drop(ended);
    for _ in 0..count {
        all_ended.recv_timeout(FOREVER).expect("a caller failed, or waits for ever");
    }
}

/// A region whose threads wait for each other.
fn all_come(threads: usize) {
    let all = Barrier::new(threads);
    for_each(threads, 0..threads, NEVER, |_| _ = all.wait()).unwrap();
}

/// With all helpers busy elsewhere, a call works alone; were it to wait for them, it could not hear a stop.
#[test]
fn a_call_does_not_queue_behind_another() {
    let _alone = the_pool();
    in_time(vec![|| {
        let (released, done) = (Barrier::new(THREADS + 1), channel());
        let (running, wait_until_running) = channel();
        thread::scope(|scope| {
            // one item for each thread, which lasts until the test lets go
            let long = scope.spawn(|| {
                for_each(THREADS, 0..THREADS, NEVER, |_| {
                    running.send(()).unwrap();
                    released.wait();
                })
            });
            for _ in 0..THREADS {
                wait_until_running.recv_timeout(FOREVER).expect("fewer threads than asked for");
            }
            scope.spawn(move || {
                let caller = thread::current().id();
                let same = |_| assert_eq!(thread::current().id(), caller);
                done.0.send(for_each(THREADS, 0..100, NEVER, same)).unwrap();
            });
            let result = done.1.recv_timeout(FOREVER);
            released.wait();
            assert_eq!(result, Ok(Ok(())), "it waited for the other call");
            assert_eq!(long.join().unwrap(), Ok(()));
        });
        // the helpers are given back
        all_come(THREADS);
    }]);
}

#[test]
fn a_panic_comes_out_and_leaves_the_pool_whole() {
    let _alone = the_pool();
    in_time(vec![|| {
        for threads in [1, THREADS] {
            let panicked = thread::spawn(move || {
                let _ = for_each(threads, 0..50, NEVER, |i| assert_ne!(i, 25));
            });
            assert!(panicked.join().is_err());
            all_come(THREADS);
        }
    }]);
}

/// Regions so short that most workers come too late, one after another and from several callers at once: every item
/// is done once, by someone, before the region ends.
#[test]
fn many_tiny_regions_from_several_threads() {
    const REGIONS: usize = 20_000;
    let _alone = the_pool();
    let calls = |caller| {
        move || {
            for region in 0..REGIONS {
                // on this stack: who came after the end of the region would write to something else
                let (sum, calls) = (AtomicUsize::new(0), AtomicUsize::new(0));
                let items = [region, caller, 7];
                for_each(1 + (caller + region) % THREADS, items.iter(), NEVER, |item| {
                    sum.fetch_add(*item, Ordering::Relaxed);
                    calls.fetch_add(1, Ordering::Relaxed);
                })
                .unwrap();
                assert_eq!(calls.into_inner(), 3, "caller {caller}, region {region}");
                let want = region + caller + 7;
                assert_eq!(sum.into_inner(), want, "caller {caller}, region {region}");
            }
        }
    };
    in_time((0..4).map(calls).collect());
}

/// The same from one caller that has the pool for itself, with workers awake, going to sleep and asleep.
#[test]
fn regions_wait_for_their_workers() {
    let _alone = the_pool();
    let regions = || {
        for pause in [0, 1, 20, 50, 100, 200, 2000] {
            for _ in 0..200_000 / (pause + 100) {
                let all = Barrier::new(THREADS);
                let done = AtomicUsize::new(0);
                // nobody gets past the barrier before every worker has come, and all then still have something to do
                for_each(THREADS, 0..THREADS, NEVER, |_| {
                    all.wait();
                    thread::yield_now();
                    done.fetch_add(1, Ordering::Relaxed);
                })
                .unwrap();
                assert_eq!(done.into_inner(), THREADS);
                thread::sleep(Duration::from_micros(pause));
            }
        }
    };
    in_time(vec![regions]);
}

#[test]
fn bad_numbers_of_threads_are_refused() {
    for n in [0, MAX_THREADS + 1, usize::MAX] {
        let message = format!("num_threads must be from 1 to {MAX_THREADS}, got {n}");
        assert_eq!(check_num_threads(Some(n)), Err(Error::Invalid(message.clone())));
        assert_eq!(set_num_threads(n), Err(Error::Invalid(message)));
    }
    assert_eq!(check_num_threads(Some(MAX_THREADS)), Ok(MAX_THREADS));
}
