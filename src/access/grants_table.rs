//! The table of grants, `immutable.tenant_grants`.

use crate::log::shared_table::node;
use crate::log::small_table::SmallTable;
use crate::pg::datum::{name, text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::memory::here;
use crate::pg::relation::Equal;
use crate::pg::tuple::{Descriptor, Values};
use pgrx::pg_sys::{self, Oid};
use std::cell::Cell;
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

/// Columns of the table: role, mode, tenant_id, role_oid, granted_at, granted_by, node.
pub const COLUMNS: [Oid; 7] = [
    pg_sys::NAMEOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::OIDOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TEXTOID,
    pg_sys::INT4OID,
];

/// The columns of version 0.3, which has no `node`.
const BEFORE: &[Oid] = COLUMNS.split_at(6).0;

/// Whether a table has the columns of this version, or of 0.3.
pub fn is_of_grants(descriptor: Descriptor) -> bool {
    descriptor.is_of(&COLUMNS) || descriptor.is_of(BEFORE)
}

/// Attribute numbers, as scan keys count.
pub const ROLE: i16 = 1;
/// The attribute number of `mode`.
pub const MODE: i16 = 2;
/// The attribute number of `role_oid`.
pub const ROLE_OID: i16 = 4;
/// The attribute number of `granted_by`.
pub const GRANTED_BY: i16 = 6;
/// The attribute number of `node`.
pub const NODE: i16 = 7;

/// The place of `tenant_id` in a row.
pub const TENANT_ID: usize = 2;

/// Opens `immutable.tenant_grants` with a lock of this mode. Raises 55000 if it is missing or was
/// altered.
pub fn grants(lock: u32) -> SmallTable {
    SmallTable::open_of_versions(c"tenant_grants", &[&COLUMNS, BEFORE], lock)
}

/// Calls `each` with a role's grants of a mode. The role is given by its OID (`by` is `ROLE_OID`)
/// or its name (`ROLE`).
pub fn rows_of(table: &SmallTable, role: Datum, by: i16, mode: Mode, mut each: impl FnMut(&Values)) {
    let (index, function) = match by {
        ROLE => (c"tenant_grants_pkey", pg_sys::F_NAMEEQ),
        _ => (c"tenant_grants_role", pg_sys::F_OIDEQ),
    };
    here(|memory| {
        let keys = [
            Equal { attribute: by, function, value: Some(role) },
            Equal { attribute: MODE, function: pg_sys::F_TEXTEQ, value: Some(memory.text(mode.text())) },
        ];
        table.rows(Some(index), &keys, |row| {
            // On another node, the number belongs to another role.
            if by == ROLE || has_own_oid(table, row) {
                each(row);
            }
        });
    });
}

/// Whether the OID in a row is this node's. Rows that Citus has copied to a new node have the OIDs of another.
pub fn has_own_oid(table: &SmallTable, row: &Values) -> bool {
    !table.is_shared() || is_of_node(row.at(NODE as usize - 1))
}

/// The same, by the value of column `node`.
pub fn is_of_node(given: Option<Datum>) -> bool {
    given.map(Datum::i32) == node()
}

thread_local! {
    /// The table all of whose rows were found to have this node's OIDs. No other rows come into it: the trigger sees
    /// each one, except those that a new copy begins with.
    static KNOWN: Cell<Oid> = const { Cell::new(pg_sys::InvalidOid) };
}

/// Refuses (55000) on a node that does not know which roles the grants of a mode are about, because their OIDs are
/// another node's. `concerns` says whether a grant to a role of this name may concern the caller.
pub fn hold_to_known(table: &SmallTable, mode: Mode, mut concerns: impl FnMut(&CStr) -> bool) {
    if !table.is_shared() || KNOWN.get() == table.relation().oid() {
        return;
    }
    let (mut all_known, mut is_concerned) = (true, false);
    table.rows(None, &[], |row| {
        if !has_own_oid(table, row) {
            all_known = false;
            let of_mode = row.at(MODE as usize - 1).map(|given| text(given)) == Some(mode.text());
            is_concerned |= of_mode && row.at(ROLE as usize - 1).is_some_and(|role| concerns(name(role)));
        }
    });
    if all_known {
        KNOWN.set(table.relation().oid());
    }
    if is_concerned {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "this node does not know yet which roles are bound to a tenant",
        )
        .detail("The grants were copied from another node, where the roles have other OIDs.")
        .hint(
            "On the coordinator, call immutable.distribute(). If it was called, the role was made anew: take its grant \
             back with immutable.revoke_tenant().",
        )
        .raise()
    }
}
