//! The table of grants, `immutable.tenant_grants`.

use crate::log::small_table::SmallTable;
use crate::pg::datum::{text, Datum};
use crate::pg::error::Fault;
use crate::pg::memory::here;
use crate::pg::relation::Equal;
use crate::pg::tuple::Values;
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

/// What a grant is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The role sees the tenant's events.
    Read,
    /// The role records for the tenant.
    Write,
}

impl Mode {
    /// As the column `mode` has it.
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

    /// The mode that an argument names; NULL is `read`. Raises 22023 for anything else.
    pub fn of(given: Option<Datum>) -> Mode {
        match given.map(|given| text(given)) {
            Some("read") | None => Mode::Read,
            Some("write") => Mode::Write,
            Some(_) => Fault::invalid("mode", "mode must be read or write")
                .hint("A role may have one grant of each mode.")
                .raise(),
        }
    }
}

/// Columns of the table: role, mode, tenant_id, role_oid, granted_at, granted_by.
pub const COLUMNS: [Oid; 6] =
    [pg_sys::NAMEOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::OIDOID, pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID];

/// Attribute numbers, as scan keys count.
pub const ROLE: i16 = 1;
const MODE: i16 = 2;
/// The attribute number of `role_oid`.
pub const ROLE_OID: i16 = 4;

/// The place of `tenant_id` in a row.
pub const TENANT_ID: usize = 2;

/// Opens `immutable.tenant_grants` with a lock of this mode. Raises 55000 if it is missing or was
/// altered.
pub fn grants(lock: u32) -> SmallTable {
    SmallTable::open(c"tenant_grants", &COLUMNS, lock)
}

/// Calls `each` with a role's grants of a mode. The role is given by its OID (`by` is `ROLE_OID`)
/// or its name (`ROLE`).
pub fn rows_of(table: &SmallTable, role: Datum, by: i16, mode: Mode, each: impl FnMut(&Values)) {
    let (index, function) = match by {
        ROLE => (c"tenant_grants_pkey", pg_sys::F_NAMEEQ),
        _ => (c"tenant_grants_role", pg_sys::F_OIDEQ),
    };
    here(|memory| {
        let keys = [
            Equal { attribute: by, function, value: Some(role) },
            Equal { attribute: MODE, function: pg_sys::F_TEXTEQ, value: Some(memory.text(mode.text())) },
        ];
        table.rows(Some(index), &keys, each);
    });
}
