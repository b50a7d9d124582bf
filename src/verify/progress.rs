//! How far a verification is: counted by all its processes in shared memory, told as a NOTICE by whichever of them is
//! the next to count when one is due.

use crate::verify::run::Run;
use immutable_format::{sha256, Hash};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Microseconds between two notices.
const INTERVAL: i64 = 3_000_000;

/// Events between two looks at the clock and at the shared memory.
const STEP: u64 = 128;

struct Shared {
    /// Of the run's key. Whoever calls verify_event() by hand can name any segment of shared memory, but no key that
    /// hashes to what is in it.
    proof: Hash,
    started: i64,
    /// Events there may be, as the planner estimates.
    total: u64,
    done: AtomicU64,
    /// When the next notice is due.
    next: AtomicI64,
}

#[derive(Clone, Copy)]
struct Local {
    key: [u8; 16],
    shared: *const Shared,
    counted: u64,
}

thread_local! {
    static LOCAL: Cell<Option<Local>> = const { Cell::new(None) };
}

fn proof(run: &Run) -> Hash {
    sha256(&[b"immutable progress", &run.key])
}

fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// The shared memory of one run, given back at its end.
pub struct Progress(*mut pg_sys::dsm_segment);

impl Progress {
    /// Begins to count, and puts into `run` where.
    pub unsafe fn begin(run: &mut Run, total: u64) -> Progress {
        let segment = pg_sys::dsm_create(size_of::<Shared>(), 0);
        let started = now();
        pg_sys::dsm_segment_address(segment).cast::<Shared>().write(Shared {
            proof: proof(run),
            started,
            total,
            done: AtomicU64::new(0),
            next: AtomicI64::new(started + INTERVAL),
        });
        run.progress = pg_sys::dsm_segment_handle(segment);
        Progress(segment)
    }

    /// The last notice.
    pub fn end(&self, events: u64) {
        // SAFETY: made by begin() and still there.
        let started = unsafe { (*pg_sys::dsm_segment_address(self.0).cast::<Shared>()).started };
        let seconds = (now() - started) as f64 / 1e6;
        notice!("verified {events} events in {seconds:.1} s, {:.0} a second", rate(events, seconds));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        LOCAL.with(|local| local.set(None));
        // After an error the end of the query gives it back.
        if !std::thread::panicking() {
            // SAFETY: made by begin(), and still attached without an error.
            unsafe { pg_sys::dsm_detach(self.0) };
        }
    }
}

fn rate(events: u64, seconds: f64) -> f64 {
    events as f64 / seconds.max(1e-6)
}

unsafe fn attach(run: &Run) -> *const Shared {
    let of_run = |segment| {
        let shared = pg_sys::dsm_segment_address(segment).cast::<Shared>().cast_const();
        let is = pg_sys::dsm_segment_map_length(segment) >= size_of::<Shared>() && (*shared).proof == proof(run);
        if is {
            shared
        } else {
            std::ptr::null()
        }
    };
    let own = pg_sys::dsm_find_mapping(run.progress);
    if !own.is_null() {
        return of_run(own);
    }
    let segment = pg_sys::dsm_attach(run.progress);
    if segment.is_null() {
        return std::ptr::null();
    }
    let shared = of_run(segment);
    if shared.is_null() {
        pg_sys::dsm_detach(segment);
    } else {
        // a worker keeps it to its end, which comes soon
        pg_sys::dsm_pin_mapping(segment);
    }
    shared
}

/// Counts one event.
pub unsafe fn count(run: &Run) {
    let known = LOCAL.with(Cell::get).filter(|local| local.key == run.key);
    let mut local = known.unwrap_or_else(|| Local { key: run.key, shared: attach(run), counted: 0 });
    local.counted += 1;
    let due = local.counted.is_multiple_of(STEP) && !local.shared.is_null();
    LOCAL.with(|place| place.set(Some(local)));
    if !due {
        return;
    }
    let shared = &*local.shared;
    let done = shared.done.fetch_add(STEP, Ordering::Relaxed) + STEP;
    let (now, next) = (now(), shared.next.load(Ordering::Relaxed));
    if now < next || shared.next.compare_exchange(next, now + INTERVAL, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return;
    }
    let rate = rate(done, (now - shared.started) as f64 / 1e6);
    notice!("verified {done} of about {} events, {rate:.0} a second", shared.total.max(done));
}
