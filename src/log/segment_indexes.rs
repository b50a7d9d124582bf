//! The indexes of a segment's tables. They are built in bulk, when the segment's rows have come.

use crate::pg::call::elements;
use crate::pg::datum::text;
use crate::pg::setting;
use crate::pg::spi::{self, Arg};
use pgrx::pg_sys;
use std::fmt::Write;

/// The unique keys of a segment's tables: table, name, columns. They are indexes without a constraint, because adding a
/// constraint would make readers wait.
const KEYS: [(&str, &str, &str); 3] = [
    ("events", "pkey", "(id, tenant_id)"),
    ("events", "chain", "(tenant_id, lane, seq)"),
    ("event_targets", "pkey", "(tenant_id, event_id, position)"),
];

/// The other indexes: table, name, and what follows.
const OTHERS: [(&str, &str, &str); 12] = [
    ("events", "key", "(tenant_id, idempotency_key) WITH (fillfactor = 100) WHERE idempotency_key IS NOT NULL"),
    ("events", "page", "(created_at) WITH (fillfactor = 100)"),
    ("events", "tenant", "(tenant_id, created_at DESC) INCLUDE (actor_id) WITH (fillfactor = 100)"),
    ("events", "actor", "(actor_id, tenant_id, created_at DESC) WITH (fillfactor = 100)"),
    ("events", "action", "(action, tenant_id, created_at DESC) WITH (fillfactor = 100)"),
    (
        "events",
        "resource_type",
        "(resource_type, tenant_id, created_at DESC) WITH (fillfactor = 100) WHERE resource_type IS NOT NULL",
    ),
    (
        "events",
        "resource_id",
        "(resource_id, tenant_id, created_at DESC) WITH (fillfactor = 100) WHERE resource_id IS NOT NULL",
    ),
    (
        "events",
        "session",
        "(session_id, tenant_id, created_at DESC) WITH (fillfactor = 100) WHERE session_id IS NOT NULL",
    ),
    ("events", "xact", "(xact, tenant_id, id) WITH (fillfactor = 100)"),
    ("events", "erased", "(tenant_id, id) WHERE erased IS NOT NULL"),
    ("event_targets", "type", "(target_type, tenant_id, created_at DESC) WITH (fillfactor = 100)"),
    ("event_targets", "id", "(target_id, tenant_id, created_at DESC) WITH (fillfactor = 100)"),
];

/// The hot table's own indexes; the statements above make the segment's. Whatever index somebody has made besides, such as
/// that of immutable.enable_search(), each segment gets too.
const OWN: [&str; 15] = [
    "events_pkey",
    "events_tenant_id_lane_seq_key",
    "events_tenant_id_idempotency_key_key",
    "events_page",
    "events_tenant",
    "events_actor",
    "events_action",
    "events_resource_type",
    "events_resource_id",
    "events_session",
    "events_xact",
    "events_erased",
    "event_targets_pkey",
    "event_targets_type",
    "event_targets_id",
];

/// The statements that copy further indexes, unique or not, and their columns' statistics targets. They must follow ANALYZE:
/// a session that has the index open does not see its new targets, and would keep texts of its expressions.
pub fn further(number: i32) -> Vec<String> {
    let mut made = Vec::new();
    // With it, PostgreSQL would print names in another way than the definitions below expect.
    setting::for_transaction(c"quote_all_identifiers", c"off");
    spi::query_now(
        "SELECT t.relname::pg_catalog.text, i.relname::pg_catalog.text, pg_catalog.pg_get_indexdef(i.oid), \
           ARRAY(SELECT pg_catalog.format('ALTER COLUMN %s SET STATISTICS %s', a.attnum, a.attstattarget) \
             FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.oid AND a.attstattarget >= 0 ORDER BY a.attnum) \
         FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid \
           JOIN pg_catalog.pg_class t ON t.oid = x.indrelid \
         WHERE x.indrelid IN ('immutable.events'::pg_catalog.regclass, 'immutable.event_targets'::pg_catalog.regclass) \
           AND x.indisvalid AND NOT i.relname::pg_catalog.text = ANY ($1) ORDER BY i.relname",
        &[Arg::Texts(OWN.map(str::to_string).to_vec())],
        |row| {
            let word = |place| row.at(place).map_or("", text);
            let (table, name, definition) = (word(0), word(1), word(2));
            // `CREATE UNIQUE INDEX name ON immutable.events USING …`: the name may have anything in it, and comes first.
            let on = format!(" ON immutable.{table} USING ");
            let written = quoted(name);
            let rest =
                definition.find(&format!("{written}{on}")).map(|at| &definition[at + written.len() + on.len()..]);
            let Some(rest) = rest.or_else(|| definition.split_once(&on).map(|(_, rest)| rest)) else { return };
            let name = name.strip_prefix(table).unwrap_or(name).trim_start_matches('_');
            let own = quoted(&short(&format!("{table}_{number}_{name}")));
            made.push(format!("CREATE INDEX {own} ON immutable.{table}_{number} USING {rest}"));
            let columns = row.at(3).map_or_else(Vec::new, |columns| elements(columns, pg_sys::TEXTOID));
            for column in columns.into_iter().flatten() {
                made.push(format!("ALTER INDEX immutable.{own} {}", text(column)));
            }
        },
    );
    made
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A name that PostgreSQL does not cut.
fn short(name: &str) -> String {
    let mut end = name.len().min(63);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_string()
}

/// The statements that make them.
pub fn statements(number: i32) -> Vec<String> {
    let mut made = Vec::new();
    for (table, name, columns) in KEYS {
        made.push(format!(
            "CREATE UNIQUE INDEX {table}_{number}_{name} ON immutable.{table}_{number} {columns} WITH (fillfactor = 100)"
        ));
    }
    for (table, name, rest) in OTHERS {
        let mut statement = String::new();
        let _ = write!(statement, "CREATE INDEX {table}_{number}_{name} ON immutable.{table}_{number} {rest}");
        made.push(statement);
    }
    made
}
