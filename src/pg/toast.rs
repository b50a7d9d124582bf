//! Reads a stored value without raising an error. PostgreSQL's own functions end the statement if a
//! value is damaged, and do not name the row, so that one value would keep all others from being
//! verified, exported or erased. Their errors cannot be caught either, because that takes a
//! subtransaction, which a parallel worker cannot have. So the chunks of a value are fetched and
//! checked here.

#![allow(unsafe_code)]

use crate::pg::datum::{is_plain, text, utf8, Datum};
use crate::pg::error::Code;
use crate::pg::memory::Memory;
use crate::pg::relation::Relation;
use crate::pg::tuple::Tuple;
use pgrx::pg_sys;
use pgrx::varlena::{
    varatt_is_1b, varatt_is_1b_e, varatt_is_4b_c, varatt_is_4b_u, varsize_1b, varsize_4b, vartag_1b_e,
};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

const HEADER: usize = pg_sys::VARHDRSZ;

const LOCK: i32 = pg_sys::AccessShareLock as i32;

/// The size in bytes of every chunk of a value except the last: TOAST_MAX_CHUNK_SIZE, four of which
/// fit on a page.
const CHUNK: usize = {
    let fourth = (pg_sys::BLCKSZ as usize - aligned(24 + 4 * 4)) / 4 / 8 * 8;
    fourth - aligned(23) - 4 - 4 - HEADER
};

/// PostgreSQL refuses to allocate more at once.
const MOST_BYTES: usize = 0x3fff_ffff - 64;

const fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(8)
}

/// The payload of a stored value, detoasted if necessary; None if PostgreSQL would raise an error.
/// It lives as long as the value's memory. A value that is stored in the row, uncompressed, costs
/// no call.
pub fn read(datum: Datum<'_>) -> Option<&[u8]> {
    payload(datum).or_else(|| payload(whole(datum)?))
}

/// The same as a value for PostgreSQL's functions.
pub fn detoast(datum: Datum<'_>) -> Option<Datum<'_>> {
    match is_plain(datum) {
        true => Some(datum),
        false => whole(datum),
    }
}

/// Whether two values are stored in the same bytes: as they are in the row, compressed, or as the same TOAST pointer.
pub(in crate::pg) fn is_stored_as(one: Datum<'_>, other: Datum<'_>) -> bool {
    // SAFETY: a varlena is as long as its header says.
    let stored = |datum: Datum| unsafe {
        let varlena = varlena(datum);
        std::slice::from_raw_parts(varlena.cast::<u8>(), pgrx::varlena::varsize_any(varlena))
    };
    stored(one) == stored(other)
}

/// The size of the payload once it is detoasted, as the header or the TOAST pointer says; None if it says nothing.
pub(in crate::pg) fn raw_size(datum: Datum<'_>) -> Option<usize> {
    if let Some((header, size)) = sizes(datum) {
        return Some(size - header);
    }
    // SAFETY: a varlena begins with its header, and what is compressed has the size after it.
    unsafe {
        if varatt_is_4b_c(varlena(datum)) {
            let info = varlena(datum).cast::<u32>().add(1).read_unaligned();
            return Some((info & pg_sys::VARLENA_EXTSIZE_MASK) as usize);
        }
    }
    usize::try_from(place(datum)?.va_rawsize).ok()?.checked_sub(HEADER)
}

fn varlena(datum: Datum) -> *mut pg_sys::varlena {
    datum.raw().cast_mut_ptr()
}

/// The size of the header, and of the header and the payload, of a value that is stored in the row,
/// uncompressed.
fn sizes(datum: Datum) -> Option<(usize, usize)> {
    let varlena = varlena(datum);
    // SAFETY: a varlena begins with its header.
    let (header, size) = unsafe {
        if varatt_is_4b_u(varlena) {
            (HEADER, varsize_4b(varlena))
        } else if varatt_is_1b(varlena) && !varatt_is_1b_e(varlena) {
            (1, varsize_1b(varlena))
        } else {
            return None;
        }
    };
    (header <= size).then_some((header, size))
}

fn payload(datum: Datum<'_>) -> Option<&[u8]> {
    let (header, size) = sizes(datum)?;
    // SAFETY: a value is as long as its header says, and lives as long as its memory.
    Some(unsafe { std::slice::from_raw_parts(varlena(datum).cast::<u8>().add(header), size - header) })
}

/// Detoasts a value that is compressed or stored in chunks, in its memory.
fn whole(datum: Datum<'_>) -> Option<Datum<'_>> {
    let mut whole = datum;
    let mut raw = None;
    // SAFETY: a varlena begins with its header.
    if unsafe { varatt_is_1b_e(varlena(datum)) } {
        let place = place(datum)?;
        raw = Some(usize::try_from(place.va_rawsize).ok()?.checked_sub(HEADER)?);
        whole = fetch(&place, datum.memory())?;
    }
    // SAFETY: as above.
    let (is_compressed, size) = unsafe { (varatt_is_4b_c(varlena(whole)), varsize_4b(varlena(whole))) };
    match is_compressed {
        true => decompress(whole, raw),
        false => Some(whole).filter(|_| raw.is_none_or(|raw| size == raw + HEADER)),
    }
}

/// Where the chunks of a value are.
fn place(datum: Datum) -> Option<pg_sys::varatt_external> {
    // SAFETY: such a value has a tag. Other tags point into memory, and are never stored.
    if u32::from(unsafe { vartag_1b_e(varlena(datum)) }) != pg_sys::vartag_external::VARTAG_ONDISK {
        return None;
    }
    // SAFETY: with this tag the place follows the header and the tag, aligned to nothing.
    Some(unsafe { varlena(datum).cast::<u8>().add(2).cast::<pg_sys::varatt_external>().read_unaligned() })
}

/// Decompresses a value, which has `raw` bytes if its pointer says so.
fn decompress(datum: Datum<'_>, raw: Option<usize>) -> Option<Datum<'_>> {
    const METHODS: u32 = 2;
    let (varlena, memory) = (varlena(datum), datum.memory());
    // SAFETY: a compressed varlena has a header of four bytes and, if it is as long as that, four
    // of the compression.
    let compressed = unsafe { varsize_4b(varlena) }.checked_sub(HEADER + 4)?;
    // SAFETY: as above.
    let info = unsafe { varlena.cast::<u32>().add(1).read_unaligned() };
    let (size, method) = ((info & pg_sys::VARLENA_EXTSIZE_MASK) as usize, info >> pg_sys::VARLENA_EXTSIZE_BITS);
    // Neither method compresses more than 255 bytes into one.
    if method >= METHODS || raw.is_some_and(|raw| raw != size) || size > MOST_BYTES.min((compressed + 1) * 255) {
        return None;
    }
    // Only an error of decompressing bytes in memory is caught here. Such an error leaves nothing
    // behind but memory: no lock, no pin, nothing that only the end of a transaction or
    // subtransaction would release.
    // SAFETY: a compressed varlena, whose sizes are possible.
    let decompressed = || catch_unwind(AssertUnwindSafe(|| unsafe { pg_sys::detoast_attr(varlena) }));
    match memory.within(decompressed) {
        // SAFETY: just made in this memory.
        Ok(whole) => Some(unsafe { Datum::new(pg_sys::Datum::from(whole), memory) }),
        Err(payload) => match payload.downcast_ref::<pg_sys::panic::CaughtError>() {
            Some(pg_sys::panic::CaughtError::PostgresError(error))
                if matches!(
                    error.sql_error_code(),
                    Code::ERRCODE_DATA_CORRUPTED | Code::ERRCODE_FEATURE_NOT_SUPPORTED
                ) =>
            {
                None
            }
            _ => resume_unwind(payload),
        },
    }
}

/// Fetches a value that is stored in chunks, which may be compressed.
fn fetch<'m>(place: &pg_sys::varatt_external, memory: Memory<'m>) -> Option<Datum<'m>> {
    // SAFETY: gives null where there is none.
    let opened = unsafe { pg_sys::try_relation_open(place.va_toastrelid, LOCK) };
    if opened.is_null() {
        return None;
    }
    // SAFETY: open until it is closed below.
    let toast = unsafe { Relation::of(opened) };
    let index = is_toast(toast).then(|| valid_index(toast)).flatten();
    let whole = index.and_then(|index| {
        let whole = chunks(toast, index, place, memory);
        // SAFETY: opened by valid_index().
        unsafe { pg_sys::index_close(index, LOCK) };
        whole
    });
    // SAFETY: opened above.
    unsafe { pg_sys::relation_close(opened, LOCK) };
    whole
}

/// Whether it is a TOAST table, but not that of another session's temporary table, which cannot be
/// read.
fn is_toast(relation: Relation) -> bool {
    let schema = relation.namespace();
    relation.kind() == pg_sys::RELKIND_TOASTVALUE
        && (schema == pg_sys::Oid::from(pg_sys::PG_TOAST_NAMESPACE)
            // SAFETY: compares with a variable of the one thread there is.
            || unsafe { pg_sys::isTempToastNamespace(schema) })
}

/// Opens the valid index of a TOAST table. One that is being rebuilt is not valid yet.
fn valid_index(toast: Relation) -> Option<pg_sys::Relation> {
    toast.indexes().into_iter().find_map(|oid| {
        // SAFETY: an index of an open table, which is closed here or by the caller.
        unsafe {
            let index = pg_sys::index_open(oid, LOCK);
            if (*(*index).rd_index).indisvalid {
                return Some(index);
            }
            pg_sys::index_close(index, LOCK);
            None
        }
    })
}

/// A value that is being assembled.
struct Assembled {
    varlena: *mut pg_sys::varlena,
    size: usize,
    filled: usize,
}

impl Assembled {
    /// Begins a payload of this size. A false size takes address space, but no memory until it is
    /// filled.
    fn new(size: usize, memory: Memory) -> Option<Assembled> {
        let flags = pg_sys::MCXT_ALLOC_NO_OOM | pg_sys::MCXT_ALLOC_HUGE;
        // SAFETY: gives null where there is no memory.
        let varlena = memory.within(|| unsafe { pg_sys::palloc_extended(HEADER + size, flags as i32) });
        (!varlena.is_null()).then_some(Assembled { varlena: varlena.cast(), size, filled: 0 })
    }

    /// Adds a chunk; false if it does not have the expected length, or if no chunk is expected.
    fn add(&mut self, chunk: &[u8]) -> bool {
        let expected = (self.size - self.filled).min(CHUNK);
        if expected == 0 || chunk.len() != expected {
            return false;
        }
        // SAFETY: what is filled and what is expected are within the size.
        unsafe {
            let left = self.varlena.cast::<u8>().add(HEADER + self.filled);
            std::ptr::copy_nonoverlapping(chunk.as_ptr(), left, expected);
        }
        self.filled += expected;
        true
    }

    /// The value, if it is complete.
    fn finish(self, is_sound: bool, is_compressed: bool) -> Option<*mut pg_sys::varlena> {
        if !is_sound || self.filled < self.size {
            // SAFETY: allocated by new().
            unsafe { pg_sys::pfree(self.varlena.cast()) };
            return None;
        }
        // SET_VARSIZE and SET_VARSIZE_COMPRESSED.
        let size = (HEADER + self.size) as u32;
        let header = match cfg!(target_endian = "big") {
            true => size | if is_compressed { 0x4000_0000 } else { 0 },
            false => size << 2 | if is_compressed { 2 } else { 0 },
        };
        // SAFETY: the header's place, which is aligned as palloc does.
        unsafe { self.varlena.cast::<u32>().write(header) };
        Some(self.varlena)
    }
}

/// Assembles the chunks of a value.
fn chunks<'m>(
    toast: Relation,
    index: pg_sys::Relation,
    place: &pg_sys::varatt_external,
    memory: Memory<'m>,
) -> Option<Datum<'m>> {
    let size = (place.va_extinfo & pg_sys::VARLENA_EXTSIZE_MASK) as usize;
    let is_compressed = size < (place.va_rawsize as usize).checked_sub(HEADER)?;
    if size == 0 || size > MOST_BYTES {
        return None;
    }
    let mut assembled = Assembled::new(size, memory)?;
    let (mut number, mut is_sound) = (0, true);
    let mut key = pg_sys::ScanKeyData::default();
    let mut snapshot = snapshot();
    // SAFETY: the table and its index are open. The key and the snapshot live until the scan ends,
    // and a row until the next is asked for.
    unsafe {
        let (equal, value) = (pg_sys::RegProcedure::from(pg_sys::F_OIDEQ), pg_sys::Datum::from(place.va_valueid));
        pg_sys::ScanKeyInit(&mut key, 1, pg_sys::BTEqualStrategyNumber as u16, equal, value);
        let scan = pg_sys::systable_beginscan_ordered(toast.raw(), index, &mut snapshot, 1, &mut key);
        while is_sound {
            let tuple = pg_sys::systable_getnext_ordered(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            pgrx::check_for_interrupts!();
            let row = Tuple::of(tuple, toast.descriptor(), memory);
            is_sound = chunk(row, number).is_some_and(|chunk| assembled.add(chunk));
            number += 1;
        }
        pg_sys::systable_endscan_ordered(scan);
    }
    let whole = assembled.finish(is_sound, is_compressed)?;
    // SAFETY: just made in this memory.
    Some(unsafe { Datum::new(pg_sys::Datum::from(whole), memory) })
}

/// The data of a chunk, if it has this number. A row of a TOAST table is the value's oid, the
/// chunk's number and the data.
fn chunk(row: Tuple<'_>, number: i32) -> Option<&[u8]> {
    const DATA: usize = 8;
    let tuple = row.raw();
    // SAFETY: a row of a table has a header, and is as long as it says.
    let (header, bytes) = unsafe {
        let data = (*tuple).t_data;
        (&*data, std::slice::from_raw_parts(data.cast::<u8>(), (*tuple).t_len as usize))
    };
    if u32::from(header.t_infomask) & pg_sys::HEAP_HASNULL != 0 {
        return None;
    }
    let columns = bytes.get(usize::from(header.t_hoff)..).filter(|columns| columns.len() >= DATA + HEADER)?;
    let (before, data) = columns.split_at(DATA);
    if before[4..] != number.to_ne_bytes() {
        return None;
    }
    // SAFETY: the data is as long as a header at least, and that is all that is read through the
    // pointer.
    let (header, size) = sizes(unsafe { Datum::new(pg_sys::Datum::from(data.as_ptr().cast_mut()), Memory::none()) })?;
    data.get(header..size)
}

/// The snapshot for chunks: it sees every chunk that is stored, even if its row has been deleted
/// since.
fn snapshot() -> pg_sys::SnapshotData {
    #[cfg_attr(any(feature = "pg17", feature = "pg18"), allow(unused_mut))]
    let mut snapshot =
        pg_sys::SnapshotData { snapshot_type: pg_sys::SnapshotType::SNAPSHOT_TOAST, ..Default::default() };
    // If old_snapshot_threshold may have let VACUUM remove a chunk, the error is another one than
    // damage.
    // SAFETY: the active snapshot is there until it is popped.
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    unsafe {
        if pg_sys::ActiveSnapshotSet() {
            let active = pg_sys::GetActiveSnapshot();
            (snapshot.lsn, snapshot.whenTaken) = ((*active).lsn, (*active).whenTaken);
        }
    }
    snapshot
}

/// The text for display, with replacement characters for what is not UTF-8.
pub fn readable_text(datum: Datum<'_>) -> &str {
    let bytes = read(datum).unwrap_or_default();
    utf8(bytes).unwrap_or_else(|| {
        let readable = String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
        text(datum.memory().text(&readable))
    })
}
