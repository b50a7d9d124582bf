//! How far the events were evaluated: a mark of the feed, in the one row of immutable.alert_feed. The
//! lock of the alerts is held.

use crate::log::row::stored_text;
use crate::pg::spi::{self, Arg};
use crate::read::feed;

/// The mark, if there is one.
pub fn read() -> Option<String> {
    let mut mark = None;
    spi::query_now("SELECT f.mark FROM immutable.alert_feed f", &[], |row| {
        mark = row.at(0).map(|mark| stored_text(mark).unwrap_or_default().to_string());
    });
    mark
}

/// Keeps the mark.
pub fn write(mark: &str) {
    spi::execute(
        "INSERT INTO immutable.alert_feed (mark) VALUES ($1) ON CONFLICT (singleton) DO UPDATE SET mark = excluded.mark",
        &[Arg::text(mark)],
    );
}

/// Begins at what is visible now, unless there is a mark.
pub fn begin() {
    if read().is_none() {
        write(&feed::now());
    }
}

/// Forgets the mark, and what was remembered of the actors.
pub fn forget() {
    spi::execute("DELETE FROM immutable.alert_feed", &[]);
    spi::execute("DELETE FROM immutable.alert_state", &[]);
}
