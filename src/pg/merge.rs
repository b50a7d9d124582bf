//! Rows that MERGE moves to another partition. PostgreSQL puts them into the transition tables of deleted and of inserted
//! rows, and calls the triggers for those only if the MERGE itself deletes and inserts. So a trigger for updates learns
//! here that there are more.

#![allow(unsafe_code)]

use crate::pg::relation::cells;
use crate::pg::statement::running;
use pgrx::pg_sys::{self, Oid};

/// What a MERGE does to a relation.
pub struct Merge {
    /// How many rows it has updated, with those that it moved to another partition; None if it began before the library was
    /// loaded, and may have moved rows.
    pub updated: Option<i64>,
    /// Whether it may delete and insert as well, so that the triggers for both see the rows that it moved.
    pub deletes_and_inserts: bool,
}

/// The MERGE whose triggers run, if it changes this relation.
pub fn of(relation: Oid) -> Option<Merge> {
    let Some(query) = running() else {
        return may_move(relation).then_some(Merge { updated: None, deletes_and_inserts: false });
    };
    // SAFETY: the statement is ending, so that its state is there. A node of it says what it is.
    unsafe {
        let aux = cells((*(*query).estate).es_auxmodifytables).iter().map(|cell| cell.ptr_value.cast());
        let states = aux.chain([(*query).planstate]);
        states.filter(|state| !state.is_null() && (**state).type_ == pg_sys::NodeTag::T_ModifyTableState).find_map(
            |state| {
                let state = &*state.cast::<pg_sys::ModifyTableState>();
                let target = (*(*state.rootResultRelInfo).ri_RelationDesc).rd_id;
                let does = |what: u32| state.mt_merge_subcommands as u32 & what != 0;
                (state.operation == pg_sys::CmdType::CMD_MERGE && target == relation).then(|| Merge {
                    updated: Some(state.mt_merge_updated as i64),
                    deletes_and_inserts: does(pg_sys::MERGE_DELETE) && does(pg_sys::MERGE_INSERT),
                })
            },
        )
    }
}

/// Whether the client's statement is a MERGE that sets columns of the partition key of this relation.
fn may_move(relation: Oid) -> bool {
    // SAFETY: the portal runs, so that its plans are there. Relations are named by their place in the statement's list.
    unsafe {
        if pg_sys::ActivePortal.is_null() {
            return false;
        }
        cells((*pg_sys::ActivePortal).stmts).iter().any(|cell| {
            let statement = &*cell.ptr_value.cast::<pg_sys::PlannedStmt>();
            let plan = statement.planTree;
            if plan.is_null() || (*plan).type_ != pg_sys::NodeTag::T_ModifyTable {
                return false;
            }
            let change = &*plan.cast::<pg_sys::ModifyTable>();
            let target = (change.rootRelation as usize).checked_sub(1).and_then(|n| cells(statement.rtable).get(n));
            change.operation == pg_sys::CmdType::CMD_MERGE
                && change.partColsUpdated
                && target.is_some_and(|cell| (*cell.ptr_value.cast::<pg_sys::RangeTblEntry>()).relid == relation)
        })
    }
}
