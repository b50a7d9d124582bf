//! The progress of a verification. All its processes count in shared memory. When a NOTICE is due,
//! the next process that counts raises it.

use crate::pg::shared::Segment;
use crate::pg::transaction::now;
use crate::verify::run::Run;
use crate::verify::shared;
use pgrx::prelude::*;
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

/// Microseconds between two notices.
const INTERVAL: i64 = 3_000_000;

/// Events between two looks at the clock and at the shared memory.
const STEP: u64 = 128;

/// The numbers in shared memory: when the run began, how many events the planner expects, how many
/// have been verified, and when the next notice is due.
const STARTED: usize = 0;
const TOTAL: usize = 1;
const DONE: usize = 2;
const NEXT: usize = 3;

thread_local! {
    /// The key of the run that this process counts for, and how many events it has counted.
    static COUNTED: Cell<([u8; 16], u64)> = const { Cell::new(([0; 16], 0)) };
}

/// The numbers of a run that begins now.
pub fn begin(total: u64) -> [i64; 4] {
    let started = now();
    [started, total as i64, 0, started + INTERVAL]
}

/// Raises the last notice.
pub fn end(segment: &Segment, events: u64) {
    let started = segment.numbers()[STARTED].load(Ordering::Relaxed);
    let seconds = (now() - started) as f64 / 1e6;
    notice!("verified {events} events in {seconds:.1} s, {:.0} a second", rate(events, seconds));
}

fn rate(events: u64, seconds: f64) -> f64 {
    events as f64 / seconds.max(1e-6)
}

/// Counts one event.
pub fn count(run: &Run) {
    let (key, counted) = COUNTED.get();
    let counted = if key == run.key { counted + 1 } else { 1 };
    COUNTED.set((run.key, counted));
    if counted.is_multiple_of(STEP) {
        shared::with(run, |contents| add(contents.numbers));
    }
}

/// Adds what was counted since the last call, and raises a notice if one is due.
fn add(numbers: &[AtomicI64; 4]) {
    let done = numbers[DONE].fetch_add(STEP as i64, Ordering::Relaxed) as u64 + STEP;
    let (now, next) = (now(), numbers[NEXT].load(Ordering::Relaxed));
    let is_mine = || numbers[NEXT].compare_exchange(next, now + INTERVAL, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    if now < next || !is_mine() {
        return;
    }
    let started = numbers[STARTED].load(Ordering::Relaxed);
    let total = numbers[TOTAL].load(Ordering::Relaxed) as u64;
    let rate = rate(done, (now - started) as f64 / 1e6);
    notice!("verified {done} of about {} events, {rate:.0} a second", total.max(done));
}
