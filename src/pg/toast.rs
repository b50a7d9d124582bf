//! What is stored in a column, read without raising an error. PostgreSQL's own reading ends the statement where a value is
//! damaged, and names no row: one value would keep all others from being verified, exported or erased. Nor can such an error
//! be caught from outside: that takes a subtransaction, which parallel workers have not. So the chunks of a value are
//! fetched and checked here.

use crate::pg::error::Code;
use pgrx::pg_sys::{self, Datum};
use pgrx::varlena::{
    varatt_is_1b, varatt_is_1b_e, varatt_is_4b_c, varatt_is_4b_u, varsize_1b, varsize_4b, vartag_1b_e,
};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

const HEADER: usize = pg_sys::VARHDRSZ;

/// Bytes of a chunk, but for the last one of a value: TOAST_MAX_CHUNK_SIZE, four of which fit on a page.
const CHUNK: usize = {
    let fourth = (pg_sys::BLCKSZ as usize - aligned(24 + 4 * 4)) / 4 / 8 * 8;
    fourth - aligned(23) - 4 - 4 - HEADER
};

/// A palloc of more is an error.
const MOST_BYTES: usize = 0x3fff_ffff - 64;

const fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(8)
}

/// The payload of a stored value, detoasted where it has to be; nothing where PostgreSQL would raise an error. It lives as
/// long as the current memory context, or as long as the row. What is stored in the row as it is costs no call.
pub unsafe fn read<'a>(datum: Datum) -> Option<&'a [u8]> {
    let varlena = datum.cast_mut_ptr();
    match plain(varlena) {
        Some(plain) => Some(plain),
        None => plain(whole(varlena)?),
    }
}

/// The same as a datum for PostgreSQL's functions.
pub unsafe fn detoast(datum: Datum) -> Option<Datum> {
    let varlena = datum.cast_mut_ptr();
    match is_plain(varlena) {
        true => Some(datum),
        false => whole(varlena).map(Datum::from),
    }
}

/// Whether the value is in the row, as it is.
pub unsafe fn is_plain(varlena: *const pg_sys::varlena) -> bool {
    varatt_is_4b_u(varlena) || varatt_is_1b(varlena) && !varatt_is_1b_e(varlena)
}

unsafe fn plain<'a>(varlena: *const pg_sys::varlena) -> Option<&'a [u8]> {
    let (size, header) = if varatt_is_4b_u(varlena) {
        (varsize_4b(varlena), HEADER)
    } else if varatt_is_1b(varlena) && !varatt_is_1b_e(varlena) {
        (varsize_1b(varlena), 1)
    } else {
        return None;
    };
    Some(std::slice::from_raw_parts(varlena.cast::<u8>().add(header), size.checked_sub(header)?))
}

/// A compressed value, or one whose chunks are elsewhere.
unsafe fn whole(varlena: *mut pg_sys::varlena) -> Option<*mut pg_sys::varlena> {
    let mut whole = varlena;
    let mut raw = None;
    if varatt_is_1b_e(varlena) {
        // Other tags point into memory, and are never stored.
        if u32::from(vartag_1b_e(varlena)) != pg_sys::vartag_external::VARTAG_ONDISK {
            return None;
        }
        let place = varlena.cast::<u8>().add(2).cast::<pg_sys::varatt_external>().read_unaligned();
        raw = Some(usize::try_from(place.va_rawsize).ok()?.checked_sub(HEADER)?);
        whole = fetch(&place)?;
    }
    match varatt_is_4b_c(whole) {
        true => decompress(whole, raw),
        // SAFETY: as above, `whole` is a value with a header of four bytes, within the memory it came in.
        false => Some(whole).filter(|whole| raw.is_none_or(|raw| unsafe { varsize_4b(*whole) } == raw + HEADER)),
    }
}

/// Decompresses a value, which has `raw` bytes if its pointer says so.
unsafe fn decompress(varlena: *mut pg_sys::varlena, raw: Option<usize>) -> Option<*mut pg_sys::varlena> {
    const METHODS: u32 = 2;
    let compressed = varsize_4b(varlena).checked_sub(HEADER + 4)?;
    let info = varlena.cast::<u32>().add(1).read_unaligned();
    let (size, method) = ((info & pg_sys::VARLENA_EXTSIZE_MASK) as usize, info >> pg_sys::VARLENA_EXTSIZE_BITS);
    // Neither method makes one byte of more than 255.
    if method >= METHODS || raw.is_some_and(|raw| raw != size) || size > MOST_BYTES.min((compressed + 1) * 255) {
        return None;
    }
    // SAFETY of catching: nothing but the decompression of what is in memory runs inside, and its error leaves nothing
    // behind but memory: no lock, no pin, nothing that only the end of a (sub)transaction would give back.
    match catch_unwind(AssertUnwindSafe(|| pg_sys::detoast_attr(varlena))) {
        Ok(whole) => Some(whole),
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

/// Puts the chunks of a value together, as they were when it was stored: compressed or not.
unsafe fn fetch(place: &pg_sys::varatt_external) -> Option<*mut pg_sys::varlena> {
    const LOCK: i32 = pg_sys::AccessShareLock as i32;
    let toast = pg_sys::try_relation_open(place.va_toastrelid, LOCK);
    if toast.is_null() {
        return None;
    }
    let form = &*(*toast).rd_rel;
    // Not those of another session's temporary tables, which no other can read.
    let is_toast = form.relkind as u8 == pg_sys::RELKIND_TOASTVALUE
        && (form.relnamespace == pg_sys::Oid::from(pg_sys::PG_TOAST_NAMESPACE)
            || pg_sys::isTempToastNamespace(form.relnamespace));
    let index = is_toast.then(|| valid_index(toast, LOCK)).flatten();
    let whole = index.and_then(|index| {
        let whole = chunks(toast, index, place);
        pg_sys::index_close(index, LOCK);
        whole
    });
    pg_sys::relation_close(toast, LOCK);
    whole
}

/// One that is being built anew is not valid yet.
unsafe fn valid_index(toast: pg_sys::Relation, lock: i32) -> Option<pg_sys::Relation> {
    for oid in pgrx::PgList::<pg_sys::Oid>::from_pg(pg_sys::RelationGetIndexList(toast)).iter_oid() {
        let index = pg_sys::index_open(oid, lock);
        if (*(*index).rd_index).indisvalid {
            return Some(index);
        }
        pg_sys::index_close(index, lock);
    }
    None
}

unsafe fn chunks(
    toast: pg_sys::Relation,
    index: pg_sys::Relation,
    place: &pg_sys::varatt_external,
) -> Option<*mut pg_sys::varlena> {
    let size = (place.va_extinfo & pg_sys::VARLENA_EXTSIZE_MASK) as usize;
    let is_compressed = size < (place.va_rawsize as usize).checked_sub(HEADER)?;
    if size == 0 || size > MOST_BYTES {
        return None;
    }
    // A size that is not true takes address space, and no memory before it is filled.
    let flags = pg_sys::MCXT_ALLOC_NO_OOM | pg_sys::MCXT_ALLOC_HUGE;
    let whole = pg_sys::palloc_extended(HEADER + size, flags as i32).cast::<pg_sys::varlena>();
    if whole.is_null() {
        return None;
    }
    let data = std::slice::from_raw_parts_mut(whole.cast::<std::mem::MaybeUninit<u8>>().add(HEADER), size);
    let mut key = pg_sys::ScanKeyData::default();
    let equal = pg_sys::RegProcedure::from(pg_sys::F_OIDEQ);
    pg_sys::ScanKeyInit(&mut key, 1, pg_sys::BTEqualStrategyNumber as u16, equal, Datum::from(place.va_valueid));
    let mut snapshot = snapshot();
    let scan = pg_sys::systable_beginscan_ordered(toast, index, &mut snapshot, 1, &mut key);
    let (mut filled, mut number, mut sound) = (0, 0, true);
    while sound {
        let tuple = pg_sys::systable_getnext_ordered(scan, pg_sys::ScanDirection::ForwardScanDirection);
        if tuple.is_null() {
            break;
        }
        pgrx::check_for_interrupts!();
        let left = &mut data[filled..];
        let expected = left.len().min(CHUNK);
        match chunk(tuple, number).filter(|chunk| expected > 0 && chunk.len() == expected) {
            Some(chunk) => {
                std::ptr::copy_nonoverlapping(chunk.as_ptr(), left.as_mut_ptr().cast(), expected);
                filled += expected;
                number += 1;
            }
            None => sound = false,
        }
    }
    pg_sys::systable_endscan_ordered(scan);
    if !sound || filled < size {
        pg_sys::pfree(whole.cast());
        return None;
    }
    set_size(whole, HEADER + size, is_compressed);
    Some(whole)
}

/// The data of a chunk, if it has this number. A row of a TOAST table is the value's oid, the chunk's number and the data.
unsafe fn chunk<'a>(tuple: pg_sys::HeapTuple, number: i32) -> Option<&'a [u8]> {
    const DATA: usize = 8;
    let header = &*(*tuple).t_data;
    if u32::from(header.t_infomask) & pg_sys::HEAP_HASNULL != 0 {
        return None;
    }
    let row = std::slice::from_raw_parts((*tuple).t_data.cast::<u8>(), (*tuple).t_len as usize);
    let row = row.get(usize::from(header.t_hoff)..).filter(|row| row.len() >= DATA + HEADER)?;
    if row[4..DATA] != number.to_ne_bytes() {
        return None;
    }
    let data = plain(row[DATA..].as_ptr().cast())?;
    (data.as_ptr_range().end <= row.as_ptr_range().end).then_some(data)
}

/// What chunks are looked at with: every value that is there, whoever has deleted its row since.
unsafe fn snapshot() -> pg_sys::SnapshotData {
    #[cfg_attr(any(feature = "pg17", feature = "pg18"), allow(unused_mut))]
    let mut snapshot =
        pg_sys::SnapshotData { snapshot_type: pg_sys::SnapshotType::SNAPSHOT_TOAST, ..Default::default() };
    // Where old_snapshot_threshold may have let VACUUM take a chunk, that is another error than damage.
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    if pg_sys::ActiveSnapshotSet() {
        let active = pg_sys::GetActiveSnapshot();
        (snapshot.lsn, snapshot.whenTaken) = ((*active).lsn, (*active).whenTaken);
    }
    snapshot
}

/// SET_VARSIZE and SET_VARSIZE_COMPRESSED.
unsafe fn set_size(varlena: *mut pg_sys::varlena, size: usize, is_compressed: bool) {
    let header = match cfg!(target_endian = "big") {
        true => (size as u32) | if is_compressed { 0x4000_0000 } else { 0 },
        false => (size as u32) << 2 | if is_compressed { 2 } else { 0 },
    };
    varlena.cast::<u32>().write(header);
}
