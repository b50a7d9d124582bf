//! Random bytes for salts and ids, from PostgreSQL's strong source.

#![allow(unsafe_code)]

use crate::pg::error::{Code, Fault};
use immutable_format::{Id, Salt};
use pgrx::pg_sys;
use std::cell::RefCell;

/// How many random bytes are fetched at once, because a call of the source costs more than the
/// bytes.
const FETCHED: usize = 512;

thread_local! {
    static POOL: RefCell<([u8; FETCHED], usize)> = const { RefCell::new(([0; FETCHED], FETCHED)) };
}

/// Returns `N` random bytes, which are wiped here. (A backend never forks, so no other process has
/// them.)
pub fn bytes<const N: usize>() -> [u8; N] {
    POOL.with(|pool| {
        let (bytes, used) = &mut *pool.borrow_mut();
        if *used + N > FETCHED {
            // SAFETY: the buffer is as long as said.
            if !unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), FETCHED) } {
                Fault::new(Code::ERRCODE_SYSTEM_ERROR, "could not generate random bytes").raise()
            }
            *used = 0;
        }
        let mut given = [0; N];
        given.copy_from_slice(&bytes[*used..*used + N]);
        bytes[*used..*used + N].fill(0);
        *used += N;
        given
    })
}

/// An event's salt.
pub fn salt() -> Salt {
    bytes()
}

/// A UUIDv7 (RFC 9562) at `micros` since 1970. The fraction of the millisecond goes into the
/// following bits (method 3 of section 6.2), so that ids sort in the order in which they are made.
pub fn id(micros: i64) -> Id {
    let mut random = bytes::<10>();
    let part = (micros.rem_euclid(1000) * 4096 / 1000) as u16;
    random[0] = (part >> 8) as u8;
    random[1] = part as u8;
    let millis = micros.div_euclid(1000).max(0) as u64;
    *uuid::Builder::from_unix_timestamp_millis(millis, &random).as_uuid().as_bytes()
}
