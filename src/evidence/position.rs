//! How far the tree has got, and where the log may sign. A server that was restored, promoted or
//! copied has no such row of its own, and signs nothing until somebody says how it goes on.

use crate::evidence::tables::{read_now, POSITION};
use crate::log::place::Place;
use crate::log::row::stored_text;
use crate::log::snapshot::Snapshot;
use crate::pg::datum::{micros, timestamptz, Datum};
use crate::pg::memory::here;
use crate::pg::transaction;

/// The row of immutable.tree_position.
pub struct Position {
    snapshot: Option<String>,
    /// Microseconds since 1970.
    compared_at: Option<i64>,
    place: Place,
}

impl Position {
    /// Whether the row was written by this server, on its timeline, in this database.
    pub fn is_here(&self) -> bool {
        self.place.is_here()
    }

    /// The snapshot, if it is this server's and all lanes were compared after that time, in microseconds
    /// since 1970.
    pub fn compared_since(&self, since: i64) -> Option<Snapshot> {
        let is_recent = self.compared_at.is_some_and(|compared_at| compared_at > since);
        Snapshot::parse(self.snapshot.as_deref()?).filter(|_| is_recent && self.is_here())
    }
}

/// The row, if there is one.
pub fn read() -> Option<Position> {
    let mut found = None;
    read_now(
        "SELECT p.snapshot, p.compared_at, p.system_identifier, p.timeline, p.database FROM immutable.tree_position p",
        &[],
        |row| {
            found = Some(Position {
                snapshot: row.at(0).and_then(stored_text).map(str::to_string),
                compared_at: row.at(1).map(micros),
                place: Place::of(row, 2),
            });
        },
    );
    found
}

/// Notes that the tree has everything that the snapshot sees. It writes nothing where the log may not
/// sign, so that all lanes are compared there each time.
pub fn advance(snapshot: &str, compared_all: bool) {
    let Some(position) = read().filter(Position::is_here) else { return };
    let compared_at = if compared_all { Some(transaction::now()) } else { position.compared_at };
    write(Some(snapshot), compared_at);
}

/// Notes that the log signs on this server from now on. All lanes are compared next.
pub fn settle() {
    write(None, None);
}

/// Ends signing on this server.
pub fn forget() {
    POSITION.delete(|_| true);
}

fn write(snapshot: Option<&str>, compared_at: Option<i64>) {
    forget();
    let [system_identifier, timeline, database] = Place::here().columns().map(Some);
    here(|memory| {
        POSITION.insert(&[
            snapshot.map(|snapshot| memory.text(snapshot)),
            compared_at.map(timestamptz),
            system_identifier,
            timeline,
            database,
            Some(Datum::from(true)),
        ]);
    });
}
