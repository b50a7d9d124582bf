//! Shared memory of one run: a few numbers in which all processes of a parallel plan count, and a
//! table that all of them read.

#![allow(unsafe_code)]

use pgrx::pg_sys;
use std::sync::atomic::AtomicI64;

/// What a segment begins with. Any bytes are valid.
#[repr(C)]
struct Header {
    /// Distinguishes the run's segment from any other segment of the server.
    proof: [u8; 32],
    numbers: [AtomicI64; 4],
    /// How many words the table has, which follows.
    words: usize,
}

/// The contents of a segment.
pub struct Contents<'s> {
    pub numbers: &'s [AtomicI64; 4],
    pub table: &'s [u64],
}

/// # Safety
/// The segment must be alive for as long as `'s`, and `length` bytes long.
unsafe fn contents<'s>(segment: *mut pg_sys::dsm_segment, length: usize) -> Option<(&'s [u8; 32], Contents<'s>)> {
    let room = length.checked_sub(size_of::<Header>())? / size_of::<u64>();
    // SAFETY: as large as a header, and aligned as a page is. Only `create` writes to the table,
    // before others know the handle.
    unsafe {
        let header = &*pg_sys::dsm_segment_address(segment).cast::<Header>();
        let words = (header.words <= room).then_some(header.words)?;
        let table = std::slice::from_raw_parts(std::ptr::from_ref(header).add(1).cast::<u64>(), words);
        Some((&header.proof, Contents { numbers: &header.numbers, table }))
    }
}

/// A segment that was created here. It is released when this is dropped.
pub struct Segment(*mut pg_sys::dsm_segment);

impl Segment {
    /// Creates a segment with these numbers and this table.
    pub fn create(proof: [u8; 32], numbers: [i64; 4], table: &[u64]) -> Segment {
        let header = Header { proof, numbers: numbers.map(AtomicI64::new), words: table.len() };
        // SAFETY: the segment is as large as what is written into it.
        unsafe {
            let segment = pg_sys::dsm_create(size_of::<Header>() + size_of_val(table), 0);
            let place = pg_sys::dsm_segment_address(segment).cast::<Header>();
            place.write(header);
            std::ptr::copy_nonoverlapping(table.as_ptr(), place.add(1).cast::<u64>(), table.len());
            Segment(segment)
        }
    }

    /// The handle by which other processes find it.
    pub fn handle(&self) -> u32 {
        // SAFETY: the segment is alive.
        unsafe { pg_sys::dsm_segment_handle(self.0) }
    }

    /// The numbers.
    pub fn numbers(&self) -> &[AtomicI64; 4] {
        // SAFETY: written when it was made, and alive as long as this.
        unsafe { &(*pg_sys::dsm_segment_address(self.0).cast::<Header>()).numbers }
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

/// Runs `body` with the contents of a segment, if there is one with this handle and proof. The
/// process stays attached to the segment until it ends, which a parallel worker soon does.
pub fn with<T>(handle: u32, proof: &[u8; 32], body: impl FnOnce(&Contents) -> T) -> Option<T> {
    // SAFETY: attached while `body` runs, and as large as it says.
    unsafe {
        let known = pg_sys::dsm_find_mapping(handle);
        let segment = if known.is_null() { pg_sys::dsm_attach(handle) } else { known };
        if segment.is_null() {
            return None;
        }
        let found = contents(segment, pg_sys::dsm_segment_map_length(segment)).filter(|(found, _)| *found == proof);
        if known.is_null() {
            match found {
                None => pg_sys::dsm_detach(segment),
                Some(_) => pg_sys::dsm_pin_mapping(segment),
            }
        }
        found.map(|(_, contents)| body(&contents))
    }
}
