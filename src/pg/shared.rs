//! Shared memory of one run: a few numbers in which all processes of a parallel plan count.

#![allow(unsafe_code)]

use pgrx::pg_sys;
use std::sync::atomic::AtomicI64;

/// The contents of such a segment. Any bytes are valid.
pub struct Counters {
    /// Distinguishes the run's segment from any other segment of the server.
    pub proof: [u8; 32],
    pub numbers: [AtomicI64; 4],
}

/// A segment that was created here. It is released when this is dropped.
pub struct Segment(*mut pg_sys::dsm_segment);

impl Segment {
    /// Creates a segment that holds these counters.
    pub fn create(counters: Counters) -> Segment {
        // SAFETY: the segment is as large as what is written into it.
        unsafe {
            let segment = pg_sys::dsm_create(size_of::<Counters>(), 0);
            pg_sys::dsm_segment_address(segment).cast::<Counters>().write(counters);
            Segment(segment)
        }
    }

    /// The handle by which other processes find it.
    pub fn handle(&self) -> u32 {
        // SAFETY: the segment is alive.
        unsafe { pg_sys::dsm_segment_handle(self.0) }
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        // SAFETY: written when it was made, and alive as long as this.
        unsafe { &*pg_sys::dsm_segment_address(self.0).cast::<Counters>() }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // After an error, the end of the query releases it.
        if !std::thread::panicking() {
            // SAFETY: made by this.
            unsafe { pg_sys::dsm_detach(self.0) };
        }
    }
}

/// Runs `body` with the counters of a segment, if there is one with this handle and proof. The
/// process stays attached to the segment until it ends, which a parallel worker soon does.
pub fn with<T>(handle: u32, proof: &[u8; 32], body: impl FnOnce(&Counters) -> T) -> Option<T> {
    // SAFETY: attached while `body` runs, and as large as what is read of it; any bytes are
    // Counters.
    unsafe {
        let known = pg_sys::dsm_find_mapping(handle);
        let segment = if known.is_null() { pg_sys::dsm_attach(handle) } else { known };
        if segment.is_null() {
            return None;
        }
        let is_large = pg_sys::dsm_segment_map_length(segment) >= size_of::<Counters>();
        let counters = pg_sys::dsm_segment_address(segment).cast::<Counters>();
        if !is_large || (*counters).proof != *proof {
            if known.is_null() {
                pg_sys::dsm_detach(segment);
            }
            return None;
        }
        if known.is_null() {
            pg_sys::dsm_pin_mapping(segment);
        }
        Some(body(&*counters))
    }
}
