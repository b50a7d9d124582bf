//! Dates and times by PostgreSQL's own calendar, in the session's zone, and when things began.
//!
//! Times are timestamptz as PostgreSQL has them: microseconds since 2000, or an infinity. Dates are
//! days since 2000.

#![allow(unsafe_code)]

use crate::pg::datum::{fixed, micros, output, timestamptz, Datum, Function};
use crate::pg::error::internal;
use crate::pg::memory::{here, Memory};
use pgrx::pg_sys;

/// Microseconds since 1970 when the statement began that runs.
pub fn statement_start() -> i64 {
    // SAFETY: reads the state of the one thread there is.
    micros(Datum::from(unsafe { pg_sys::GetCurrentStatementStartTimestamp() }))
}

/// Microseconds since 1970 when the transaction began that runs: what `now()` gives.
pub fn transaction_start() -> i64 {
    // SAFETY: reads the state of the one thread there is.
    micros(Datum::from(unsafe { pg_sys::GetCurrentTransactionStartTimestamp() }))
}

/// What a function gives for values that are passed as they are.
///
/// # Safety
/// The function must take such arguments, and return such a value.
unsafe fn called(function: Function, arguments: &[pg_sys::Datum]) -> pg_sys::Datum {
    let arguments: Vec<Option<pg_sys::Datum>> = arguments.iter().copied().map(Some).collect();
    // SAFETY: the arguments are the function's.
    let given = unsafe { pgrx::fcinfo::direct_function_call_as_datum(function, &arguments) };
    given.unwrap_or_else(|| internal("a time is NULL"))
}

/// The date of a time.
pub fn date_of(time: i64) -> i32 {
    // SAFETY: takes a timestamptz, and returns a date.
    unsafe { called(pg_sys::timestamptz_date, &[pg_sys::Datum::from(time)]).value() as i32 }
}

/// The time that a date is cast to: its midnight. Raises 22008 where timestamptz has none.
pub fn time_of_date(date: i32) -> i64 {
    // SAFETY: takes a date, and returns a timestamptz.
    unsafe { called(pg_sys::date_timestamptz, &[pg_sys::Datum::from(date)]).value() as i64 }
}

/// The time that a timestamp without zone is cast to. Raises 22008 where timestamptz has none.
pub fn time_of_timestamp(timestamp: i64) -> i64 {
    // SAFETY: takes a timestamp, and returns a timestamptz.
    unsafe { called(pg_sys::timestamp_timestamptz, &[pg_sys::Datum::from(timestamp)]).value() as i64 }
}

/// The midnight of a date; nothing where timestamptz has none.
pub fn midnight_of(date: i32) -> Option<i64> {
    let mut overflow = 0;
    // SAFETY: takes any date, and says when its midnight cannot be given.
    let midnight = unsafe { pg_sys::date2timestamptz_opt_overflow(date, &mut overflow) };
    (overflow == 0).then_some(midnight)
}

/// The same time of the next day, which is 23 to 25 hours later. Raises 22008 where timestamptz has
/// none.
pub fn a_day_after(time: i64) -> i64 {
    let mut a_day = pg_sys::Interval { time: 0, day: 1, month: 0 };
    let a_day = pg_sys::Datum::from(std::ptr::addr_of_mut!(a_day));
    // SAFETY: takes a timestamptz and an interval, which lives until it has returned, and returns a
    // timestamptz.
    unsafe { called(pg_sys::timestamptz_pl_interval, &[pg_sys::Datum::from(time), a_day]).value() as i64 }
}

/// A time that is given as a text, in microseconds since 2000. Raises 22007 or 22008 if it is none.
pub fn time_of_text(text: &str) -> i64 {
    here(|memory| memory.input(pg_sys::F_TIMESTAMPTZ_IN, text).i64())
}

/// A time as the session's settings print it.
pub fn printed(time: i64) -> String {
    output(pg_sys::timestamptz_out, Datum::from(time))
}

/// A date as the session's settings print it.
pub fn printed_date(date: i32) -> String {
    output(pg_sys::date_out, Datum::from(date))
}

/// The first day of a calendar month in UTC, as a date: days since 2000. The time is given in
/// microseconds since 1970.
pub fn first_of_month(micros: i64) -> i32 {
    let day = micros.div_euclid(86_400_000_000);
    // Years are counted from March here, so that a leap day is a year's last day.
    let day_of_era = (day + 719_468).rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5;
    (day - day_of_month - 10_957) as i32
}

/// An interval, in the parts that PostgreSQL keeps of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interval {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

impl Interval {
    pub fn of(interval: Datum) -> Interval {
        let parts: [u8; 16] = fixed(interval);
        let part = |from: usize| i32::from_ne_bytes([parts[from], parts[from + 1], parts[from + 2], parts[from + 3]]);
        let mut micros = [0; 8];
        micros.copy_from_slice(&parts[..8]);
        Interval { months: part(12), days: part(8), micros: i64::from_ne_bytes(micros) }
    }

    pub fn datum(self, memory: Memory<'_>) -> Datum<'_> {
        let mut parts = [0; 16];
        parts[..8].copy_from_slice(&self.micros.to_ne_bytes());
        parts[8..12].copy_from_slice(&self.days.to_ne_bytes());
        parts[12..].copy_from_slice(&self.months.to_ne_bytes());
        memory.fixed(&parts)
    }

    /// The time that is so long before another, by the calendar in UTC, in microseconds since 1970. Raises 22008 where
    /// timestamp has none.
    pub fn before(self, micros: i64) -> i64 {
        let mut interval = pg_sys::Interval { time: self.micros, day: self.days, month: self.months };
        let interval = pg_sys::Datum::from(std::ptr::addr_of_mut!(interval));
        // SAFETY: takes a timestamp and an interval, which lives until it has returned, and returns a timestamp. One
        // without a zone is counted like one in UTC.
        let before = unsafe { called(pg_sys::timestamp_mi_interval, &[timestamptz(micros).raw(), interval]) };
        crate::pg::datum::micros(Datum::from(before.value() as i64))
    }
}
