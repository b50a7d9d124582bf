//! The indexes of a segment's tables. They are built in bulk, when the segment's rows have come.

use std::fmt::Write;

/// The unique keys of a segment's tables: table, name, columns. They are indexes without a constraint, because adding a
/// constraint would make readers wait.
const KEYS: [(&str, &str, &str); 3] = [
    ("events", "pkey", "(id, tenant_id)"),
    ("events", "chain", "(tenant_id, lane, seq)"),
    ("event_targets", "pkey", "(tenant_id, event_id, position)"),
];

/// The other indexes: table, name, and what follows.
const OTHERS: [(&str, &str, &str); 13] = [
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
    ("events", "erasures", "(tenant_id) WHERE action = 'immutable.event_erased'"),
    ("event_targets", "type", "(target_type, tenant_id, created_at DESC) WITH (fillfactor = 100)"),
    ("event_targets", "id", "(target_id, tenant_id, created_at DESC) WITH (fillfactor = 100)"),
];

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
