//! The bottom layer that hands the cores out: the only user of rayon.
//!
//! Where in the flow: below scheduling, evaluation and aggregation. What it never does: decide an order or add numbers;
//! results come back in item order, so nothing can depend on which thread did what.

use crate::error::{Fault, Kind};
use anyhow::Result;
use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
    mpsc,
};
use std::time::Duration;

/// How often a long queue tells of its progress.
const TOLD_EVERY: Duration = Duration::from_millis(50);

/// A fixed number of threads.
pub struct Executor {
    pool: rayon::ThreadPool,
    threads: usize,
}

impl Executor {
    /// `threads` = 0 means one per core.
    /// Errors: `Kind::Data` if the system gives no threads.
    pub fn new(threads: usize) -> Result<Self> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("agent-{i}"))
            .build()
            .map_err(|e| {
            Fault::new(Kind::Data, format!("starting {threads} threads — {e}; use fewer `--threads`"))
        })?;
        Ok(Executor { pool, threads })
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Does `work(state, item)` once for each item of `queue`, taken from the front by whichever state is free.
    /// There is one task per state, so at most `states.len()` items are worked on at once.
    ///
    /// Returns the results in queue order. `progress` hears on the calling thread how many items are finished: every
    /// `TOLD_EVERY`, and at the end.
    /// Errors: that of the failed item nearest to the front. It is the same for any number of threads: items before
    /// it in the queue were taken earlier and are always finished; items after it are dropped.
    pub fn each<S: Send, I: Sync, T: Send>(
        &self,
        states: &mut [S],
        queue: &[I],
        progress: &mut dyn FnMut(usize),
        work: impl Fn(&mut S, &I) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let results: Vec<Mutex<Option<Result<T>>>> = queue.iter().map(|_| Mutex::new(None)).collect();
        let (done, (sender, finished)) = (AtomicUsize::new(0), mpsc::channel::<()>());
        self.pool.in_place_scope(|scope| {
            for state in states.iter_mut() {
                let sender = sender.clone();
                let (next, failed, results, done, work) = (&next, &failed, &results, &done, &work);
                scope.spawn(move |_| {
                    while !failed.load(Ordering::Acquire) {
                        let index = next.fetch_add(1, Ordering::AcqRel);
                        let Some(item) = queue.get(index) else { break };
                        let result = work(state, item);
                        if result.is_err() {
                            failed.store(true, Ordering::Release);
                        }
                        if let Ok(mut slot) = results[index].lock() {
                            *slot = Some(result);
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    // Nothing is ever sent: the end of the last sender tells that all are done.
                    drop(sender);
                });
            }
            drop(sender);
            // To wake this thread for each of a thousand short items would cost more than the items.
            while let Err(mpsc::RecvTimeoutError::Timeout) = finished.recv_timeout(TOLD_EVERY) {
                progress(done.load(Ordering::Relaxed));
            }
            progress(done.load(Ordering::Relaxed));
        });
        // Every item before the first failure was taken before it, so `flatten` drops only what came after one.
        results.into_iter().filter_map(|slot| slot.into_inner().ok().flatten()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_queue_order_for_any_number_of_threads() {
        for threads in [1, 2, 8] {
            let executor = Executor::new(threads).unwrap();
            let queue: Vec<u64> = (0..100).collect();
            let mut states = vec![0u64; threads];
            let mut seen = 0;
            let squares = executor
                .each(&mut states, &queue, &mut |done| seen = done, |count, &i| {
                    *count += 1;
                    Ok(i * i)
                })
                .unwrap();
            assert_eq!(squares, queue.iter().map(|i| i * i).collect::<Vec<_>>());
            assert_eq!((seen, states.iter().sum::<u64>()), (100, 100));
        }
    }

    #[test]
    fn the_failure_nearest_to_the_front_is_reported_whatever_the_threads() {
        for threads in [1, 2, 8] {
            let executor = Executor::new(threads).unwrap();
            let queue: Vec<u64> = (0..100).collect();
            let error = executor
                .each(&mut vec![(); threads], &queue, &mut |_| {}, |_, &i| {
                    if i == 37 {
                        // The later failure comes first in time.
                        std::thread::sleep(std::time::Duration::from_millis(30));
                    }
                    if i == 37 || i == 38 { anyhow::bail!("item {i}") } else { Ok(()) }
                })
                .unwrap_err();
            assert_eq!(error.to_string(), "item 37");
        }
    }
}
