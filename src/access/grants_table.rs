//! The table of grants, `immutable.tenant_grants`.

use crate::log::small_table::Table;
use crate::pg::datum::{text, text_datum, Datum};
use crate::pg::error::Fault;
use crate::pg::relation::Equal;
use crate::pg::tuple::Values;
use pgrx::pg_sys;
use std::ffi::CStr;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Read,
    Write,
}

impl Mode {
    pub fn text(self) -> &'static str {
        match self {
            Mode::Read => "read",
            Mode::Write => "write",
        }
    }

    /// The role of the extension that a grant makes its role a member of.
    pub fn group(self) -> &'static CStr {
        match self {
            Mode::Read => c"immutable_viewer",
            Mode::Write => c"immutable_writer",
        }
    }

    pub fn of(given: Option<Datum>) -> Mode {
        match given.map(|given| text(given)) {
            Some("read") | None => Mode::Read,
            Some("write") => Mode::Write,
            Some(_) => {
                Fault::invalid("mode", "mode must be read or write").hint("A role may have a grant of each.").raise()
            }
        }
    }
}

/// `immutable.tenant_grants`; its columns are role, mode, tenant_id, role_oid, granted_at, granted_by.
pub fn grants(lock: u32) -> Table {
    Table::open(c"tenant_grants", 6, lock)
}

pub const ROLE: i16 = 1;

const MODE: i16 = 2;

pub const ROLE_OID: i16 = 4;

/// The rows of a mode that a role's number, or its name, leads to.
pub fn rows_of(table: &Table, role: Datum, by: i16, mode: Mode, each: impl FnMut(&Values)) {
    let (index, function) = match by {
        ROLE => (c"tenant_grants_pkey", pg_sys::F_NAMEEQ),
        _ => (c"tenant_grants_role", pg_sys::F_OIDEQ),
    };
    let keys = [
        Equal { attribute: by, function, value: Some(role) },
        Equal { attribute: MODE, function: pg_sys::F_TEXTEQ, value: Some(text_datum(mode.text())) },
    ];
    table.rows(Some(index), &keys, each);
}
