//! `immutable.day_or_time`: the type of a bound of time. A text, or a `date`, without a time of day
//! means the whole day, which a timestamptz cannot say: it would be the day's first microsecond,
//! and `to_date => '2026-11-26'` would leave that day out.

use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{c_string, fixed, Datum};
use crate::pg::memory::Memory;
use crate::pg::time::{
    a_day_after, date_of, midnight_of, printed, printed_date, time_of_date, time_of_text, time_of_timestamp,
};

/// The first and the last microsecond, as timestamptz has them. Of a time both are the same.
#[derive(Clone, Copy)]
pub struct TimeBound {
    pub first: i64,
    pub last: i64,
}

/// What timestamptz has for the infinities.
const INFINITE: [i64; 2] = [i64::MIN, i64::MAX];

impl TimeBound {
    /// The value of an `immutable.day_or_time`.
    pub fn of(datum: Datum) -> TimeBound {
        let bytes: [u8; 16] = fixed(datum);
        let [first, last] = [0, 8].map(|at| i64::from_ne_bytes(std::array::from_fn(|n| bytes[at + n])));
        TimeBound { first, last }
    }

    fn time(at: i64) -> TimeBound {
        TimeBound { first: at, last: at }
    }

    /// A day of the session's zone, which has 23 to 25 hours, given by its midnight as timestamptz
    /// has it. In a text that names another zone, the day begins at that zone's midnight.
    fn day(at: i64) -> TimeBound {
        if INFINITE.contains(&at) {
            return TimeBound::time(at);
        }
        let date = date_of(at);
        if midnight_of(date) == Some(at) {
            if let (Some(first), Some(next)) = (beginning_of(date), beginning_of(date + 1)) {
                return TimeBound { first, last: next - 1 };
            }
        }
        TimeBound { first: at, last: a_day_after(at) - 1 }
    }

    fn datum(self, memory: Memory<'_>) -> Datum<'_> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.first.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.last.to_ne_bytes());
        memory.fixed(&bytes)
    }
}

/// The first microsecond of a date. Where clocks are set forward at midnight there is no midnight,
/// and PostgreSQL takes the time that they are set to. Where they are set back to midnight there
/// are two, and PostgreSQL takes the second.
fn beginning_of(date: i32) -> Option<i64> {
    const MINUTE: i64 = 60_000_000;
    const SET_BACK_BY: [i64; 3] = [30 * MINUTE, 60 * MINUTE, 120 * MINUTE];
    /// Near where timestamptz begins. No clock was set that early.
    const LEAST: i64 = -211_813_488_000_000_000 + 24 * 60 * MINUTE;
    let at = midnight_of(date)?;
    let is_first = |earlier: &i64| *earlier > LEAST && date_of(*earlier) == date && date_of(*earlier - 1) != date;
    Some(SET_BACK_BY.map(|by| at - by).into_iter().find(|earlier| is_first(earlier)).unwrap_or(at))
}

/// Whether a text that PostgreSQL takes for a time names a day and nothing smaller. A time of day
/// or an offset from UTC has a colon, stands behind a T, or makes more digits than a date has.
/// Words such as `now` name a moment.
fn names_a_day(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let has_time = text.contains(':')
        || text.bytes().filter(is_digit).count() > 8
        || is_part_of_julian_day(&text)
        || text.as_bytes().windows(3).any(|three| is_digit(&three[0]) && three[1] == b't' && is_digit(&three[2]));
    !has_time && !["now", "epoch", "inf", "allballs"].iter().any(|word| text.contains(word))
}

/// Whether it is a Julian day (`J`, `JD` or `Julian` and a number) with a fraction.
fn is_part_of_julian_day(text: &str) -> bool {
    let text = text.trim_start();
    let number = ["julian", "jd", "j"].iter().find_map(|word| text.strip_prefix(word)).unwrap_or_default().trim_start();
    number.starts_with(|first: char| first.is_ascii_digit()) && number.contains('.')
}

sql_function!(immutable_day_or_time_in, pg_finfo_immutable_day_or_time_in, read);

/// `immutable.day_or_time_in(cstring)`. Raises 22007 and 22008 as timestamptz does.
fn read(call: Call) -> Datum {
    let Some(given) = call.arg(0) else { return call.null() };
    let text = c_string(given);
    let at = time_of_text(&text);
    if names_a_day(&text) { TimeBound::day(at) } else { TimeBound::time(at) }.datum(call.memory())
}

sql_function!(immutable_day_or_time_out, pg_finfo_immutable_day_or_time_out, write);

/// `immutable.day_or_time_out(day_or_time)`: a date, or a timestamptz.
fn write(call: Call) -> Datum {
    let Some(given) = call.arg(0) else { return call.null() };
    let TimeBound { first, last } = TimeBound::of(given);
    let text = match first == last {
        true => printed(first),
        false => printed_date(date_of(first)),
    };
    call.memory().c_string(&text)
}

sql_function!(immutable_day_or_time_date, pg_finfo_immutable_day_or_time_date, of_date);

/// `immutable.day_or_time(date)`: the whole day. Raises 22008 for one that timestamptz does not
/// have.
fn of_date(call: Call) -> Datum {
    let Some(given) = call.arg(0) else { return call.null() };
    TimeBound::day(time_of_date(given.i32())).datum(call.memory())
}

sql_function!(immutable_day_or_time_timestamptz, pg_finfo_immutable_day_or_time_timestamptz, of_timestamptz);

/// `immutable.day_or_time(timestamptz)`: the time as a bound.
fn of_timestamptz(call: Call) -> Datum {
    let Some(given) = call.arg(0) else { return call.null() };
    TimeBound::time(given.i64()).datum(call.memory())
}

sql_function!(immutable_day_or_time_timestamp, pg_finfo_immutable_day_or_time_timestamp, of_timestamp);

/// `immutable.day_or_time(timestamp)`: the time in the session's zone. Raises 22008 for one that
/// timestamptz does not have.
fn of_timestamp(call: Call) -> Datum {
    let Some(given) = call.arg(0) else { return call.null() };
    TimeBound::time(time_of_timestamp(given.i64())).datum(call.memory())
}
