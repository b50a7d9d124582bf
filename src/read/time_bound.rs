//! `immutable.day_or_time`: the type of a bound of time. A text, or a `date`, without a time of day means the whole day, which
//! a timestamptz cannot say: it would be the day's first microsecond, and `to_date => '2026-11-26'` would leave that day out.

use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{input, output, Datum};
use crate::pg::error::internal;
use pgrx::fcinfo::direct_function_call_as_datum;
use pgrx::pg_sys;
use std::ffi::CStr;

/// The first and the last microsecond, as timestamptz has them: the same of a time.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DayOrTime {
    pub first: i64,
    pub last: i64,
}

/// What timestamptz has for the infinities.
const INFINITE: [i64; 2] = [i64::MIN, i64::MAX];

impl DayOrTime {
    pub fn of(datum: Datum) -> DayOrTime {
        *datum.cast_mut_ptr::<DayOrTime>()
    }

    fn time(at: Datum) -> DayOrTime {
        let at = at.i64();
        DayOrTime { first: at, last: at }
    }

    /// A day of the session's zone, of 23 to 25 hours, given by what timestamptz has for its midnight. A text that names
    /// another zone has the day from that zone's midnight on.
    fn day(midnight: Datum) -> DayOrTime {
        let at = midnight.i64();
        if INFINITE.contains(&at) {
            return DayOrTime::time(midnight);
        }
        let date = date_of(at);
        if midnight_of(date) == Some(at) {
            if let (Some(first), Some(next)) = (beginning_of(date), beginning_of(date + 1)) {
                return DayOrTime { first, last: next - 1 };
            }
        }
        let mut a_day = pg_sys::Interval { time: 0, day: 1, month: 0 };
        let next = called(
            pg_sys::timestamptz_pl_interval,
            &[Some(midnight), Some(Datum::from(std::ptr::addr_of_mut!(a_day)))],
        );
        DayOrTime { first: at, last: next.i64() - 1 }
    }

    fn datum(self) -> Datum {
        let place = pg_sys::palloc(std::mem::size_of::<DayOrTime>()).cast::<DayOrTime>();
        *place = self;
        Datum::from(place)
    }
}

fn called(function: fn(pg_sys::FunctionCallInfo) -> Datum, arguments: &[Option<Datum>]) -> Datum {
    direct_function_call_as_datum(function, arguments).unwrap_or_else(|| internal("a time is NULL"))
}

/// The date of a time in the session's zone, in days as PostgreSQL counts them.
fn date_of(at: i64) -> i32 {
    called(pg_sys::timestamptz_date, &[Some(Datum::from(at))]).value() as i32
}

/// What timestamptz has for a date; nothing where it has none.
fn midnight_of(date: i32) -> Option<i64> {
    let mut overflow = 0;
    let at = pg_sys::date2timestamptz_opt_overflow(date, &mut overflow);
    (overflow == 0).then_some(at)
}

/// The first microsecond of a date. Where clocks are set forward at midnight there is none, and PostgreSQL takes the time
/// that they are set to; where they are set back to it there are two, of which it takes the second.
fn beginning_of(date: i32) -> Option<i64> {
    const MINUTE: i64 = 60_000_000;
    const SET_BACK_BY: [i64; 3] = [30 * MINUTE, 60 * MINUTE, 120 * MINUTE];
    /// Where timestamptz begins, and no clock was set.
    const LEAST: i64 = -211_813_488_000_000_000 + 24 * 60 * MINUTE;
    let at = midnight_of(date)?;
    let is_first = |earlier: &i64| *earlier > LEAST && date_of(*earlier) == date && date_of(*earlier - 1) != date;
    Some(SET_BACK_BY.map(|by| at - by).into_iter().find(|earlier| is_first(earlier)).unwrap_or(at))
}

/// Whether a text that PostgreSQL takes for a time names a day and nothing smaller. A time of day or an offset from UTC has a
/// colon, stands behind a T, or makes for more digits than a date has. The words for moments have no day of their own.
fn names_a_day(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let has_time = text.contains(':')
        || text.bytes().filter(is_digit).count() > 8
        || is_part_of_julian_day(&text)
        || text.as_bytes().windows(3).any(|three| is_digit(&three[0]) && three[1] == b't' && is_digit(&three[2]));
    !has_time && !["now", "epoch", "inf", "allballs"].iter().any(|word| text.contains(word))
}

/// Whether it is a Julian day (`J`, `JD` or `Julian` and a number) and a part of one.
fn is_part_of_julian_day(text: &str) -> bool {
    let text = text.trim_start();
    let number = ["julian", "jd", "j"].iter().find_map(|word| text.strip_prefix(word)).unwrap_or_default().trim_start();
    number.starts_with(|first: char| first.is_ascii_digit()) && number.contains('.')
}

sql_function!(immutable_day_or_time_in, pg_finfo_immutable_day_or_time_in, read);

/// `immutable.day_or_time_in(cstring)`
fn read(call: Call) -> Datum {
    let Some(given) = call.arg(0) else { return call.null() };
    let text = CStr::from_ptr(given.cast_mut_ptr()).to_string_lossy();
    let at = input(pg_sys::F_TIMESTAMPTZ_IN, &text);
    if names_a_day(&text) { DayOrTime::day(at) } else { DayOrTime::time(at) }.datum()
}

sql_function!(immutable_day_or_time_out, pg_finfo_immutable_day_or_time_out, write);

/// `immutable.day_or_time_out(day_or_time)`
fn write(call: Call) -> Datum {
    let Some(given) = call.arg(0) else { return call.null() };
    let DayOrTime { first, last } = DayOrTime::of(given);
    let first = Datum::from(first);
    let text = match first.i64() == last {
        true => output(pg_sys::timestamptz_out, first),
        false => output(pg_sys::date_out, called(pg_sys::timestamptz_date, &[Some(first)])),
    };
    let place = pg_sys::palloc0(text.len() + 1).cast::<u8>();
    std::ptr::copy_nonoverlapping(text.as_ptr(), place, text.len());
    Datum::from(place)
}

sql_function!(immutable_day_or_time_date, pg_finfo_immutable_day_or_time_date, of_date);

/// `immutable.day_or_time(date)`
fn of_date(call: Call) -> Datum {
    let Some(given) = call.arg(0) else { return call.null() };
    DayOrTime::day(called(pg_sys::date_timestamptz, &[Some(given)])).datum()
}

sql_function!(immutable_day_or_time_timestamptz, pg_finfo_immutable_day_or_time_timestamptz, of_timestamptz);

/// `immutable.day_or_time(timestamptz)`
fn of_timestamptz(call: Call) -> Datum {
    let Some(given) = call.arg(0) else { return call.null() };
    DayOrTime::time(given).datum()
}

sql_function!(immutable_day_or_time_timestamp, pg_finfo_immutable_day_or_time_timestamp, of_timestamp);

/// `immutable.day_or_time(timestamp)`
fn of_timestamp(call: Call) -> Datum {
    let Some(given) = call.arg(0) else { return call.null() };
    DayOrTime::time(called(pg_sys::timestamp_timestamptz, &[Some(given)])).datum()
}
