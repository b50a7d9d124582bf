//! The tables of action schemas, `immutable.action_schemas` and `immutable.action_schema_modes`, and
//! the trigger on both.

use crate::log::brought::allow_insert;
use crate::log::small_table::SmallTable;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::memory::{here, Memory};
use crate::pg::relation::Equal;
use crate::pg::tuple::Values;
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

/// The tables' names.
pub const NAMES: [&CStr; 2] = [c"action_schemas", c"action_schema_modes"];

/// Columns of action_schemas: id, tenant_id, pattern, description, metadata_schema, created_at,
/// created_by.
const SCHEMAS: [Oid; 7] = [
    pg_sys::UUIDOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::JSONBOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TEXTOID,
];

/// Columns of action_schema_modes: id, tenant_id, mode, set_at, set_by.
const MODES: [Oid; 5] = [pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID];

/// Attribute numbers, as scan keys count.
const TENANT_ID: i16 = 2;
const PATTERN: i16 = 3;

/// The places of columns in a row of action_schemas.
pub const PATTERN_PLACE: usize = 2;
/// The place of `metadata_schema`.
pub const SCHEMA_PLACE: usize = 4;

/// What becomes of an event that does not fit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Strict,
    Permissive,
}

impl Mode {
    /// The mode of this name.
    pub fn of(name: &str) -> Option<Mode> {
        match name {
            "strict" => Some(Mode::Strict),
            "permissive" => Some(Mode::Permissive),
            _ => None,
        }
    }

    /// As the column `mode` has it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Strict => "strict",
            Mode::Permissive => "permissive",
        }
    }
}

/// Opens `immutable.action_schemas`. Raises 55000 if it is missing or was altered.
pub fn schemas(lock: u32) -> SmallTable {
    SmallTable::open(NAMES[0], &SCHEMAS, lock)
}

/// Opens `immutable.action_schema_modes`. Raises 55000 if it is missing or was altered.
pub fn modes(lock: u32) -> SmallTable {
    SmallTable::open(NAMES[1], &MODES, lock)
}

/// Whether the table has a row.
pub fn has_rows(table: &SmallTable) -> bool {
    let mut found = false;
    table.relation().rows(None, crate::pg::relation::Seen::Now, &[], |_| {
        found = true;
        false
    });
    found
}

fn of_tenant<'m>(memory: Memory<'m>, tenant_id: Option<&str>) -> Equal<'m> {
    let value = tenant_id.map(|tenant_id| memory.text(tenant_id));
    Equal { attribute: TENANT_ID, function: pg_sys::F_TEXTEQ, value }
}

/// Calls `each` with the rows of a tenant, or of the whole log.
pub fn schemas_of(table: &SmallTable, tenant_id: Option<&str>, each: impl FnMut(&Values)) {
    here(|memory| table.rows(Some(c"action_schemas_pattern"), &[of_tenant(memory, tenant_id)], each));
}

/// Calls `each` with the row of a pattern.
pub fn schema_of(table: &SmallTable, tenant_id: Option<&str>, pattern: &str, each: impl FnMut(&Values)) {
    here(|memory| {
        let pattern = Equal { attribute: PATTERN, function: pg_sys::F_TEXTEQ, value: Some(memory.text(pattern)) };
        table.rows(Some(c"action_schemas_pattern"), &[of_tenant(memory, tenant_id), pattern], each);
    });
}

/// The text in the column `mode` for a tenant, or for the whole log.
pub fn mode_of(table: &SmallTable, tenant_id: Option<&str>) -> Option<String> {
    let mut mode = None;
    here(|memory| {
        table.rows(Some(c"action_schema_modes_tenant"), &[of_tenant(memory, tenant_id)], |row| {
            mode = row.at(2).map(|mode| text(mode).to_string());
        });
    });
    mode
}

sql_function!(immutable_action_schemas_changed, pg_finfo_immutable_action_schemas_changed, changed);

/// The trigger on both tables: every session forgets what it knows of them when the transaction
/// commits, and this one at its next command. An INSERT alone would tell nobody.
fn changed(call: Call) -> Datum {
    let trigger = call.any_trigger();
    let relation = trigger.relation();
    relation.invalidate();
    if !trigger.is_for_row() {
        return trigger.nothing();
    }
    match trigger.operation() {
        pg_sys::TRIGGER_EVENT_INSERT => {
            allow_insert(relation);
            trigger.go_on_with(trigger.row())
        }
        pg_sys::TRIGGER_EVENT_UPDATE => trigger.go_on_with(trigger.new_row()),
        _ => trigger.go_on_with(trigger.row()),
    }
}
