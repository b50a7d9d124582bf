//! The first transaction of sealing: it makes the tables of a segment. They are empty, so that whoever does not know of
//! them yet misses nothing.

use crate::jobs::seal_wait::{lock_parents, timeouts};
use crate::log::segment_triggers;
use crate::log::segments::{Segment, State};
use crate::pg::datum::{text, timestamptz, Datum};
use crate::pg::extension::as_own_script;
use crate::pg::spi::{self, Arg};
use crate::pg::{setting, time, transaction};

/// How the tables are stored. No row of them changes again but by an erasure, and VACUUM freezes them once.
const OPTIONS: &str = "autovacuum_freeze_min_age = 0, autovacuum_vacuum_insert_threshold = 1000, \
    autovacuum_vacuum_insert_scale_factor = 0, toast.autovacuum_freeze_min_age = 0, \
    toast.autovacuum_vacuum_insert_threshold = 1000, toast.autovacuum_vacuum_insert_scale_factor = 0";

/// Makes a segment for the events from one time to another, and notes it.
pub fn prepare(from: i64, to: i64, replaces: &[i32]) -> Segment {
    let mut number = 1;
    spi::query_now("SELECT pg_catalog.nextval('immutable.segment_number')::pg_catalog.int4", &[], |row| {
        number = row.at(0).map_or(1, Datum::i32);
    });
    let segment = Segment {
        number,
        state: State::Prepared,
        from,
        to,
        events: 0,
        held: 0,
        unreadable: 0,
        xacts: None,
        replaces: replaces.to_vec(),
        emptied_by: None,
    };
    for (name, value) in [(c"datestyle", c"ISO"), (c"timezone", c"UTC"), (c"default_tablespace", c"")] {
        setting::for_transaction(name, value);
    }
    setting::for_transaction(c"default_table_access_method", c"heap");
    let _restored = timeouts().set();
    lock_parents();
    as_own_script(|| make_tables(&segment));
    let replaces: Vec<String> = replaces.iter().map(i32::to_string).collect();
    spi::execute(
        "INSERT INTO immutable.segments (segment, state, created_from, created_to, prepared_at, replaces) \
         VALUES ($1, 'prepared', $2, $3, $4, $5::pg_catalog.text[]::pg_catalog.int4[])",
        &[
            Arg::Int8(i64::from(number)),
            Arg::Time(from),
            Arg::Time(to),
            Arg::Time(transaction::now()),
            Arg::Texts(replaces),
        ],
    );
    segment
}

fn make_tables(segment: &Segment) {
    let bound = |micros: i64| time::printed(timestamptz(micros).i64());
    let (from, to) = (bound(segment.from), bound(segment.to));
    for (table, own) in [("events", segment.events_table()), ("event_targets", segment.targets_table())] {
        spi::execute(
            &format!(
                "CREATE TABLE immutable.{own} (CONSTRAINT {own}_created_check \
                   CHECK (created_at >= '{from}'::pg_catalog.timestamptz AND created_at < '{to}'::pg_catalog.timestamptz)) \
                 INHERITS (immutable.{table}) WITH ({OPTIONS}){}",
                tablespace(table)
            ),
            &[],
        );
        copy_statistics_targets(table, &own);
        spi::execute(&format!("ALTER TABLE immutable.{own} ENABLE ROW LEVEL SECURITY"), &[]);
    }
    for statement in segment_triggers::statements(segment.number) {
        spi::execute(&statement, &[]);
    }
}

/// The clause that puts a table where the hot table is.
fn tablespace(table: &str) -> String {
    let mut clause = String::new();
    spi::query_now(
        &format!(
            "SELECT pg_catalog.format(' TABLESPACE %I', t.spcname) FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_tablespace t ON t.oid = c.reltablespace \
             WHERE c.oid = 'immutable.{table}'::pg_catalog.regclass"
        ),
        &[],
        |row| clause = row.at(0).map_or("", text).to_string(),
    );
    clause
}

/// Statistics targets are not inherited.
fn copy_statistics_targets(table: &str, own: &str) {
    let mut columns = Vec::new();
    spi::query_now(
        &format!(
            "SELECT pg_catalog.format('ALTER COLUMN %I SET STATISTICS %s', a.attname, a.attstattarget) \
             FROM pg_catalog.pg_attribute a WHERE a.attrelid = 'immutable.{table}'::pg_catalog.regclass \
               AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget >= 0"
        ),
        &[],
        |row| columns.extend(row.at(0).map(|column| text(column).to_string())),
    );
    if !columns.is_empty() {
        spi::execute(&format!("ALTER TABLE immutable.{own} {}", columns.join(", ")), &[]);
    }
}
