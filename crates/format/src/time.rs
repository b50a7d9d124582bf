//! Timestamps: microseconds since 1970-01-01T00:00:00Z, written `YYYY-MM-DDTHH:MM:SS.ffffffZ`, read
//! as RFC 3339.

const DAY: i64 = 86_400_000_000;
/// The first microsecond of the year 0001, 0001-01-01T00:00:00Z, in microseconds since 1970.
pub const MIN: i64 = -62_135_596_800_000_000;
/// The last microsecond of the year 9999, 9999-12-31T23:59:59.999999Z, in microseconds since 1970.
pub const MAX: i64 = 253_402_300_799_999_999;

/// Writes `micros`, in microseconds since 1970-01-01T00:00:00Z, as a timestamp of RFC 3339 in UTC
/// with six digits of the second. Returns `None` outside the years 0001 to 9999.
pub fn format(micros: i64) -> Option<String> {
    if !(MIN..=MAX).contains(&micros) {
        return None;
    }
    let (year, month, day) = civil(micros.div_euclid(DAY));
    let of_day = micros.rem_euclid(DAY) as u64;
    let (second, micro) = (of_day / 1_000_000, of_day % 1_000_000);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    for (value, end, width) in [
        (year as u64, 4, 4),
        (month as u64, 7, 2),
        (day as u64, 10, 2),
        (second / 3600, 13, 2),
        (second / 60 % 60, 16, 2),
        (second % 60, 19, 2),
        (micro, 26, 6),
    ] {
        let mut value = value as u32;
        for digit in text[end - width..end].iter_mut().rev() {
            *digit += (value % 10) as u8;
            value /= 10;
        }
    }
    let mut out = String::with_capacity(text.len());
    out.push_str(std::str::from_utf8(&text).unwrap_or_default());
    Some(out)
}

/// Why a timestamp was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The text is not a timestamp of RFC 3339 (the offset may be missing), or there is no such day
    /// or hour.
    Form,
    /// The time is outside the years 0001 to 9999, counted in UTC.
    Range,
}

/// Reads a timestamp of RFC 3339; without an offset it is in UTC. Returns microseconds since
/// 1970-01-01T00:00:00Z. Digits beyond the microsecond are rounded, half up.
///
/// # Errors
///
/// [`Error::Form`] if the text is not a timestamp, [`Error::Range`] if the time is outside the
/// years 0001 to 9999.
pub fn parse(text: &str) -> Result<i64, Error> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Result<i64, Error> {
        let digits = bytes.get(from..to).ok_or(Error::Form)?;
        digits.iter().try_fold(0, |sum: i64, digit| match digit {
            b'0'..=b'9' => Ok(sum * 10 + i64::from(digit - b'0')),
            _ => Err(Error::Form),
        })
    };
    let sign = |at: usize, allowed: &[u8]| match bytes.get(at) {
        Some(byte) if allowed.contains(byte) => Ok(()),
        _ => Err(Error::Form),
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    sign(4, b"-")?;
    sign(7, b"-")?;
    sign(10, b"Tt ")?;
    sign(13, b":")?;
    sign(16, b":")?;
    // A leap second (:60) is legal in RFC 3339; like PostgreSQL, it is the first second of the next
    // minute.
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 60 {
        return Err(Error::Form);
    }
    let (micros, at) = fraction(bytes, 19)?;
    let offset = match bytes.get(at) {
        None => 0,
        Some(b'Z' | b'z') if bytes.len() == at + 1 => 0,
        Some(direction @ (b'+' | b'-')) if bytes.len() == at + 6 => {
            sign(at + 3, b":")?;
            let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
            if hours > 23 || minutes > 59 {
                return Err(Error::Form);
            }
            (hours * 60 + minutes) * if *direction == b'-' { -1 } else { 1 }
        }
        _ => return Err(Error::Form),
    };
    let seconds = (days(year, month, day) * 24 + hour) * 3600 + (minute - offset) * 60 + second;
    let instant = seconds * 1_000_000 + micros;
    if (MIN..=MAX).contains(&instant) {
        Ok(instant)
    } else {
        Err(Error::Range)
    }
}

/// Returns the microseconds of the fraction of a second at byte `at`, 0 if there is no fraction,
/// and where it ends.
fn fraction(bytes: &[u8], at: usize) -> Result<(i64, usize), Error> {
    if bytes.get(at) != Some(&b'.') {
        return Ok((0, at));
    }
    let start = at + 1;
    let mut end = start;
    while matches!(bytes.get(end), Some(b'0'..=b'9')) {
        end += 1;
    }
    let digits = &bytes[start..end];
    if digits.is_empty() {
        return Err(Error::Form);
    }
    let mut micros = 0;
    for place in 0..6 {
        micros = micros * 10 + digits.get(place).map_or(0, |digit| i64::from(digit - b'0'));
    }
    micros += i64::from(digits.get(6).is_some_and(|digit| *digit >= b'5'));
    Ok((micros, end))
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar. Years begin in March here,
/// so that the leap day is the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

/// The date of a day counted from 1970-01-01: the inverse of [`days`].
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        for (text, micros) in [
            ("1970-01-01T00:00:00.000000Z", 0),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("2000-02-29T12:00:00.000001Z", 951_825_600_000_001),
            ("0001-01-01T00:00:00.000000Z", MIN),
            ("9999-12-31T23:59:59.999999Z", MAX),
            ("2026-03-15T14:32:18.847312Z", 1_773_585_138_847_312),
        ] {
            assert_eq!(format(micros).as_deref(), Some(text));
            assert_eq!(parse(text), Ok(micros));
        }
        assert_eq!(format(MAX + 1), None);
        assert_eq!(format(MIN - 1), None);
    }

    #[test]
    fn offsets_fractions_and_leap_seconds() {
        let base = parse("2026-03-15T14:32:18Z").unwrap();
        assert_eq!(parse("2026-03-15T14:32:18"), Ok(base));
        assert_eq!(parse("2026-03-15 14:32:18z"), Ok(base));
        assert_eq!(parse("2026-03-15T16:32:18+02:00"), Ok(base));
        assert_eq!(parse("2026-03-15T09:02:18.5-05:30"), Ok(base + 500_000));
        assert_eq!(parse("2026-03-15T14:32:18.0000004Z"), Ok(base));
        assert_eq!(parse("2026-03-15T14:32:18.9999995Z"), Ok(base + 1_000_000));
        assert_eq!(parse("2016-12-31T23:59:60Z"), parse("2017-01-01T00:00:00Z"));
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "now",
            "infinity",
            "2026-03-15",
            "2026-3-15T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-03-15T24:00:00Z",
            "2026-03-15T14:32:18.Z",
            "2026-03-15T14:32:18+2:00",
            "2026-03-15T14:32:18+0200",
            "2026-03-15T14:32:18Z ",
            "2026-03-15T14:32:61Z",
            "+2026-03-15T14:32:18Z",
            "2026-03-15T14:32Z",
            "２０２６-03-15T14:32:18Z",
        ] {
            assert_eq!(parse(text), Err(Error::Form), "{text}");
        }
        assert_eq!(parse("0000-12-31T23:59:59Z"), Err(Error::Range));
        assert_eq!(parse("9999-12-31T23:59:59-00:01"), Err(Error::Range));
    }

    #[test]
    fn every_day_of_ten_thousand_years_round_trips() {
        for day in (MIN / DAY)..=(MAX / DAY) {
            let (y, m, d) = civil(day);
            assert_eq!(days(y, m, d), day);
        }
    }
}
