//! Random bytes for salts and ids, from PostgreSQL's strong source.

use crate::error::{Code, Fault};
use immutable_format::{Id, Salt};
use pgrx::pg_sys;

/// `N` random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: the buffer is as long as said.
    if !unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), N) } {
        Fault::new(Code::ERRCODE_SYSTEM_ERROR, "the system gave no random bytes").raise()
    }
    bytes
}

/// An event's salt.
pub fn salt() -> Salt {
    bytes()
}

/// A UUIDv7 (RFC 9562) at `micros` since 1970. The part of the millisecond goes into the bits after it (method 3 of
/// section 6.2), so ids made one after the other sort that way.
pub fn id(micros: i64) -> Id {
    let mut random = bytes::<10>();
    let part = (micros.rem_euclid(1000) * 4096 / 1000) as u16;
    random[0] = (part >> 8) as u8;
    random[1] = part as u8;
    let millis = micros.div_euclid(1000).max(0) as u64;
    *uuid::Builder::from_unix_timestamp_millis(millis, &random).as_uuid().as_bytes()
}
