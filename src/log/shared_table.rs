//! The small tables that every node of a distributed log needs: who is bound to which tenant, which tokens are revoked, and
//! the keys of tokens. Citus keeps them as reference tables. `immutable.<table>` is then an empty shell, and its rows
//! are in `<table>_<number>` on each node. Statements go to the shell, and Citus writes all copies in the caller's
//! transaction. What reads a table directly opens this node's copy.

use crate::log::distributed;
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::named;
use crate::pg::setting;
use crate::pg::spi::{self, Arg};
use crate::pg::transaction::on_relation_change;
use pgrx::pg_sys::{self, Oid};
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};

/// The tables that are the same on all nodes.
pub const SHARED: [&CStr; 3] = [c"viewer_keys", c"revocations", c"tenant_grants"];

/// This node's copy of a table.
#[derive(Clone, Copy)]
pub struct NodeCopy {
    /// The table that statements name.
    shell: Oid,
    /// The table that has the rows.
    pub oid: Oid,
    /// The number at the end of its name, and of the names of its indexes.
    number: i64,
}

thread_local! {
    /// The copies that were found.
    static COPIES: RefCell<Vec<NodeCopy>> = const { RefCell::new(Vec::new()) };
    /// The number of this node.
    static NODE: Cell<Option<i32>> = const { Cell::new(None) };
}

/// Called once, when the library is loaded. Citus invalidates a table when its copies change.
pub fn register_callbacks() {
    on_relation_change(|changed| {
        let concerns = |copy: &NodeCopy| [copy.shell, copy.oid].contains(&changed);
        if changed == pg_sys::InvalidOid || COPIES.with_borrow(|copies| copies.iter().any(concerns)) {
            COPIES.with_borrow_mut(Vec::clear);
            NODE.set(None);
        }
    });
}

/// This node's copy of a table; None where the table itself has the rows. A node that has no copy does not know
/// who is bound and what is revoked, so that it raises 55000.
pub fn copy_of(name: &CStr) -> Option<NodeCopy> {
    if !distributed::has_shards() || !SHARED.contains(&name) {
        return None;
    }
    let shell = named(name);
    if let Some(known) = COPIES.with_borrow(|copies| copies.iter().find(|copy| copy.shell == shell).copied()) {
        return Some(known);
    }
    let found = find(name, shell).unwrap_or_else(|| refuse_without_copy(name));
    COPIES.with_borrow_mut(|copies| copies.push(found));
    Some(found)
}

fn find(name: &CStr, shell: Oid) -> Option<NodeCopy> {
    let mut number = None;
    // A reference table has no distribution column, and its copies are written in two phases.
    let statement = "SELECT s.shardid FROM pg_catalog.pg_dist_partition p, pg_catalog.pg_dist_shard s \
         WHERE p.logicalrelid OPERATOR(pg_catalog.=) $1 AND s.logicalrelid OPERATOR(pg_catalog.=) $1 \
         AND p.partmethod OPERATOR(pg_catalog.=) 'n' AND p.repmodel OPERATOR(pg_catalog.=) 't'";
    spi::read(statement, &[Arg::Oid(shell)], |row| number = row.at(0).map(Datum::i64));
    let number = number?;
    let oid = named(&numbered(name, number));
    (oid != pg_sys::InvalidOid).then_some(NodeCopy { shell, oid, number })
}

fn numbered(name: &CStr, number: i64) -> CString {
    CString::new(format!("{}_{number}", name.to_string_lossy())).unwrap_or_default()
}

impl NodeCopy {
    /// The name that an index of the table has on the copy.
    pub fn index(&self, name: &CStr) -> CString {
        numbered(name, self.number)
    }
}

/// Raises 55000.
pub fn refuse_without_copy(name: &CStr) -> ! {
    let name = name.to_string_lossy();
    Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, format!("this node has no copy of immutable.{name}"))
        .detail("Without it the node does not know who is bound to a tenant and which tokens are refused.")
        .hint("On the coordinator, call immutable.distribute(), which copies the table to every node.")
        .raise()
}

/// The number of this node of a distributed log, which no other node has or gets. None without Citus.
pub fn node() -> Option<i32> {
    if !distributed::has_shards() {
        return None;
    }
    if let Some(known) = NODE.get() {
        return Some(known);
    }
    let mut found = None;
    spi::read("SELECT groupid FROM pg_catalog.pg_dist_local_group", &[], |row| found = row.at(0).map(Datum::i32));
    NODE.set(found);
    found
}

/// Whether Citus has opened this session, to run a statement of a session on another node. A client can pretend it, so
/// that it may only take rights away.
pub fn is_session_of_citus() -> bool {
    setting::at_start(c"application_name").is_some_and(|name| {
        let name = name.to_string_lossy();
        name.starts_with("citus_") && name.contains(" gpid=")
    })
}
