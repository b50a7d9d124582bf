//! The event triggers that keep the recording of row changes in step with DDL.
//!
//! PostgreSQL reports what a command has changed after it has run. The snapshot of the command still shows what was there
//! before. What is to be known of the log's own waits for the commit, so that a command that locks a table takes no lane.

use crate::capture::dropped::dropped;
use crate::capture::eligible::shown;
use crate::capture::note::{note, note_disabled, note_enabled, root_of};
use crate::capture::operation::Operation;
use crate::capture::{tracking, triggers};
use crate::log::own_change;
use crate::pg::call::{sql_function, Call};
use crate::pg::catalog;
use crate::pg::command::{Collected, EventTriggerCall};
use crate::pg::datum::{text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::relation::with_descendants;
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Values;
use crate::settings;
use pgrx::pg_sys::{self, AlterTableType as Alter, NodeTag, Oid};
use std::ffi::CStr;

/// ALTER TABLE … DISABLE TRIGGER and ENABLE REPLICA TRIGGER.
const SWITCH_OFF: [Alter::Type; 4] =
    [Alter::AT_DisableTrig, Alter::AT_DisableTrigAll, Alter::AT_DisableTrigUser, Alter::AT_EnableReplicaTrig];

/// ALTER TABLE … ENABLE TRIGGER and ENABLE ALWAYS TRIGGER.
const SWITCH_ON: [Alter::Type; 4] =
    [Alter::AT_EnableTrig, Alter::AT_EnableAlwaysTrig, Alter::AT_EnableTrigAll, Alter::AT_EnableTrigUser];

/// Why PostgreSQL rewrites a table: a column has another value in each row, or another type.
const CHANGES_VALUES: i32 = (pg_sys::AT_REWRITE_DEFAULT_VAL | pg_sys::AT_REWRITE_COLUMN_REWRITE) as i32;

sql_function!(immutable_capture_ddl, pg_finfo_immutable_capture_ddl, capture_ddl);

/// The function of the event triggers.
fn capture_ddl(call: Call) -> Datum {
    let Some(trigger) = call.event_trigger() else {
        Fault::new(
            Code::ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED,
            "immutable.capture_ddl() can only be called as an event trigger",
        )
        .raise()
    };
    let event = trigger.event().to_bytes();
    // Most new tables are temporary tables of an application.
    let creates = matches!(trigger.command().kind(), NodeTag::T_CreateStmt | NodeTag::T_CreateForeignTableStmt);
    if event == b"ddl_command_end" && creates && !trigger.command().creates_child() {
        return call.null();
    }
    let Some(extension) = catalog::extension(c"immutable") else { return call.null() };
    if catalog::is_scripted(extension) || own_change::is_by_log() || !tracking::is_any() {
        return call.null();
    }
    match event {
        b"sql_drop" => dropped(&trigger.tag()),
        b"table_rewrite" => rewritten(trigger),
        _ => ended(trigger),
    }
    call.null()
}

/// What a command has done to one relation.
enum Step {
    /// The relation has come into a tree.
    Attached(Oid),
    /// The relation has left the tree of the other one.
    Detached(Oid, Oid),
    /// Triggers of the relation were switched, and whether any was switched off.
    Switched(Oid, bool),
    /// A trigger was created or has another name.
    Trigger(Oid),
}

/// After a command.
fn ended(trigger: EventTriggerCall) {
    tracking::refresh();
    let mut steps = Vec::new();
    spi::query_now(
        "SELECT c.classid, c.objid, c.command_tag, c.command FROM pg_catalog.pg_event_trigger_ddl_commands() c",
        &[],
        |row| collect(row, &mut steps),
    );
    let tag = trigger.tag();
    for step in steps {
        match step {
            Step::Attached(relation) => attached(&tag, relation),
            Step::Detached(relation, parent) => detached(&tag, relation, parent),
            Step::Switched(relation, is_off) => switched(&tag, relation, is_off),
            Step::Trigger(trigger) => trigger_changed(&tag, trigger),
        }
    }
}

/// What a row of pg_event_trigger_ddl_commands() says.
fn collect(row: &Values, steps: &mut Vec<Step>) {
    let (Some(class), Some(object), Some(tag), Some(command)) = (row.at(0), row.at(1), row.at(2), row.at(3)) else {
        return;
    };
    let (class, object, tag) = (class.oid(), object.oid(), text(tag));
    if class == pg_sys::TriggerRelationId {
        steps.push(Step::Trigger(object));
    } else if class == pg_sys::RelationRelationId && matches!(tag, "CREATE TABLE" | "CREATE FOREIGN TABLE") {
        steps.push(Step::Attached(object));
    } else if class == pg_sys::RelationRelationId {
        let changes = Collected::new(command).table_changes().unwrap_or_default();
        for change in &changes {
            steps.extend(match change.kind {
                Alter::AT_AttachPartition => Some(Step::Attached(change.relative)),
                Alter::AT_AddInherit => Some(Step::Attached(object)),
                Alter::AT_DetachPartition | Alter::AT_DetachPartitionFinalize => {
                    Some(Step::Detached(change.relative, object))
                }
                Alter::AT_DropInherit => Some(Step::Detached(object, change.relative)),
                _ => None,
            });
        }
        let is_of_ours = |part: &CStr| triggers::operation_of(&part.to_string_lossy()).is_some();
        let is_any = |kinds: &[Alter::Type]| {
            changes.iter().any(|change| kinds.contains(&change.kind) && change.part.is_none_or(is_of_ours))
        };
        if is_any(&SWITCH_OFF) || is_any(&SWITCH_ON) {
            steps.push(Step::Switched(object, is_any(&SWITCH_OFF)));
        }
    }
}

/// A relation has become a partition or a child. One that was tracked itself may have got a parent that is not.
fn attached(tag: &str, relation: Oid) {
    let Some(root) = root_of(relation) else { return };
    if root.relation != relation {
        note("immutable.partition_attached", shown(relation), tag, &[("tracked_table", &shown(root.relation))]);
    }
    triggers::adapt(root.relation, &root.recording.operations, &with_descendants(relation), false);
}

/// A relation is no partition or child of another any more.
fn detached(tag: &str, relation: Oid, parent: Oid) {
    let old = root_of(parent);
    let new = root_of(relation);
    if let Some(root) = &old {
        note("immutable.partition_detached", shown(relation), tag, &[("tracked_table", &shown(root.relation))]);
        triggers::adapt(root.relation, &root.recording.operations, &[], true);
    }
    match new {
        Some(root) => triggers::adapt(root.relation, &root.recording.operations, &with_descendants(relation), true),
        None => {
            for member in with_descendants(relation) {
                if root_of(member).is_none() {
                    triggers::remove(member);
                }
            }
        }
    }
}

/// Triggers of a relation were enabled or disabled.
fn switched(tag: &str, relation: Oid, is_off: bool) {
    let Some(root) = root_of(relation) else { return };
    triggers::fire_always(relation, &root.recording.operations);
    let fire = triggers::firing_now(relation);
    let fired = fired_before(relation);
    note_enabled(tag, relation, &fire, &fired);
    let mut off = Vec::new();
    triggers::each_of(root.relation, relation, &root.recording.operations, |operation, _| {
        if !fire.contains(&operation) && (is_off || fired.contains(&operation)) {
            off.push(operation);
        }
    });
    note_disabled(tag, relation, &off);
}

/// A trigger was created or has another name. A dump brings those that it has.
fn trigger_changed(tag: &str, trigger: Oid) {
    if settings::RESTORE.get() {
        return;
    }
    let mut relation = pg_sys::InvalidOid;
    spi::query_now(
        "SELECT tgrelid FROM pg_catalog.pg_trigger WHERE oid OPERATOR(pg_catalog.=) $1",
        &[Arg::Oid(trigger)],
        |row| relation = row.at(0).map_or(relation, Datum::oid),
    );
    let Some(root) = root_of(relation) else { return };
    if tag == "ALTER TRIGGER" && triggers::has_stray(relation) {
        triggers::remove(relation);
        triggers::adapt(root.relation, &root.recording.operations, &[relation], false);
        return;
    }
    let (now, before) = (triggers::firing_now(relation), fired_before(relation));
    note_enabled(tag, relation, &now, &before);
    // CREATE OR REPLACE TRIGGER may have put another in the place of ours.
    let off: Vec<Operation> = before.into_iter().filter(|operation| !now.contains(operation)).collect();
    note_disabled(tag, relation, &off);
}

/// The operations for which a relation had a trigger that fired, before the command.
fn fired_before(relation: Oid) -> Vec<Operation> {
    if !spi::has_snapshot() {
        return triggers::firing_now(relation);
    }
    let mut fired = Vec::new();
    spi::read(
        "SELECT t.tgname::pg_catalog.text FROM pg_catalog.pg_trigger t \
         WHERE t.tgrelid OPERATOR(pg_catalog.=) $1 AND t.tgenabled OPERATOR(pg_catalog.=) 'A'::pg_catalog.\"char\" \
           AND t.tgfoid OPERATOR(pg_catalog.=) $2",
        &[Arg::Oid(relation), Arg::Oid(triggers::capture_function())],
        |row| {
            let operation = row.at(0).and_then(|name| triggers::operation_of(text(name)));
            fired.extend(operation);
        },
    );
    fired
}

/// Before a table is rewritten.
fn rewritten(trigger: EventTriggerCall) {
    let mut found = None;
    spi::query_now(
        "SELECT pg_catalog.pg_event_trigger_table_rewrite_oid(), pg_catalog.pg_event_trigger_table_rewrite_reason()",
        &[],
        |row| found = row.at(0).map(Datum::oid).zip(row.at(1).map(Datum::i32)),
    );
    let Some((relation, reason)) = found else { return };
    if reason & CHANGES_VALUES == 0 || root_of(relation).is_none() {
        return;
    }
    let changes = trigger.command().table_changes().unwrap_or_default();
    let columns: Vec<String> = changes
        .iter()
        .filter(|change| change.kind == Alter::AT_AlterColumnType)
        .filter_map(|change| change.part.map(|part| part.to_string_lossy().into_owned()))
        .collect();
    let columns = columns.join(", ");
    let columns: &[(&str, &str)] = if columns.is_empty() { &[] } else { &[("columns", &columns)] };
    note("immutable.table_rewritten", shown(relation), &trigger.tag(), columns);
}
