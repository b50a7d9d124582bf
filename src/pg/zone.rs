//! Time zones, as PostgreSQL's settings name them.

#![allow(unsafe_code)]

use pgrx::pg_sys;
use std::ffi::CString;

/// A time zone. PostgreSQL keeps it as long as the process lives.
#[derive(Clone, Copy)]
pub struct Zone(*const pg_sys::pg_tz);

impl Zone {
    /// The zone of a name that pg_timezone_names lists; none if there is no such zone.
    pub fn named(name: &str) -> Option<Zone> {
        let name = CString::new(name).ok()?;
        // SAFETY: takes a C string, and returns a zone that is kept, or null.
        let zone = unsafe { pg_sys::pg_tzset(name.as_ptr()) };
        (!zone.is_null()).then_some(Zone(zone))
    }

    /// What a clock in the zone shows at a time (microseconds since 1970), in seconds since its 1970; none
    /// for a time that is out of bounds.
    pub fn local_seconds(self, micros: i64) -> Option<i64> {
        let seconds: pg_sys::pg_time_t = micros.div_euclid(1_000_000);
        // SAFETY: a zone that is kept; the result is PostgreSQL's own, and read at once.
        let offset = unsafe { pg_sys::pg_localtime(&seconds, self.0).as_ref()? }.tm_gmtoff;
        seconds.checked_add(offset)
    }
}
