//! Event triggers that refuse DDL on the extension's tables, functions and policies to every role.
//!
//! After a command, PostgreSQL reports the OIDs of the objects that it has changed, so names in the
//! command do not matter; an error then rolls the command back. Only commands that would remove the
//! event triggers themselves are recognised before they run, by their parse tree.

use crate::log::own_event::{caller, record_during_ddl, LogEvent};
use crate::log::subscription::others_sleep;
use crate::log::tables::{events_oid, has_keys};
use crate::log::{own_change, seam, segments, shards};
use crate::pg::call::{sql_function, Call};
use crate::pg::catalog::{self, describe, CONSTRAINTS, POLICIES, RULES};
use crate::pg::command::{Collected, Command, CreateIndex, DropCommand};
use crate::pg::datum::{text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::lock::may_have_changed;
use crate::pg::relation::{named, OpenRelation, Relation};
use crate::pg::role;
use crate::pg::spi::{self, Arg};
use crate::pg::time::statement_start;
use crate::pg::tuple::Values;
use crate::settings;
use pgrx::pg_sys::{self, AlterTableType as Alter, NodeTag, Oid};
use std::cell::Cell;
use std::ffi::{CStr, CString};

/// The tables that must have no parent and no child tables, and that must keep their triggers,
/// rules and policies.
const TABLES: [&CStr; 24] = [
    c"events",
    c"event_targets",
    c"segments",
    c"placement",
    c"log",
    c"cluster",
    c"viewer_keys",
    c"viewer_key_import",
    c"revocations",
    c"tenant_grants",
    c"tree",
    c"tree_runs",
    c"tree_tiles",
    c"tree_chunks",
    c"tree_notes",
    c"tree_cosignatures",
    c"tree_position",
    c"tree_pending",
    c"witnesses",
    c"log_keys",
    c"log_secrets",
    c"maintenance_position",
    c"stream_positions",
    c"tracking",
];

/// The prefix of the names of the extension's triggers. Other triggers may only run before them.
const OWN_TRIGGERS: &str = "~immutable_";

/// What ALTER TABLE may change without immutable.allow_ddl: where and how rows are stored.
const STORAGE: [Alter::Type; 8] = [
    Alter::AT_SetTableSpace,
    Alter::AT_SetRelOptions,
    Alter::AT_ResetRelOptions,
    Alter::AT_ReplaceRelOptions,
    Alter::AT_ClusterOn,
    Alter::AT_DropCluster,
    Alter::AT_SetStorage,
    Alter::AT_SetCompression,
];

/// ALTER TABLE … ENABLE, ENABLE ALWAYS, ENABLE REPLICA and DISABLE TRIGGER with the name of a
/// trigger.
const SWITCHES: [Alter::Type; 4] =
    [Alter::AT_EnableTrig, Alter::AT_EnableAlwaysTrig, Alter::AT_EnableReplicaTrig, Alter::AT_DisableTrig];

thread_local! {
    /// Whether the running command was recorded before it began.
    static RECORDED: Cell<bool> = const { Cell::new(false) };
    /// The client's statement in which a command on the log's tables was recorded last. Citus then does the same to the
    /// shards.
    static RECORDED_IN: Cell<i64> = const { Cell::new(0) };
}

sql_function!(immutable_guard_ddl, pg_finfo_immutable_guard_ddl, guard_ddl);

/// The function of all the event triggers.
fn guard_ddl(call: Call) -> Datum {
    let Some(trigger) = call.event_trigger() else {
        Fault::new(
            Code::ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED,
            "immutable.guard_ddl() can only be called as an event trigger",
        )
        .raise()
    };
    let Some(extension) = catalog::extension(c"immutable") else { return call.null() };
    // What others run inside of the log's own statements is nobody's script.
    let is_scripted = catalog::is_scripted(extension) && !own_change::is_running();
    if is_scripted || shards::are_changing() || own_change::is_by_log() {
        return call.null();
    }
    let event = trigger.event().to_bytes();
    let begins = event == b"ddl_command_start";
    let guard = Guard { extension, command: trigger.command(), tag: trigger.tag(), begins };
    match event {
        b"ddl_command_start" => guard.begins(),
        b"sql_drop" => guard.dropped(),
        _ => {
            guard.ended();
            RECORDED.set(false);
        }
    }
    call.null()
}

/// One command.
struct Guard<'c> {
    extension: Oid,
    command: Command<'c>,
    /// What PostgreSQL calls it, such as `ALTER TABLE`.
    tag: String,
    /// Whether it has not run yet.
    begins: bool,
}

impl Guard<'_> {
    /// Before the command.
    fn begins(&self) {
        RECORDED.set(false);
        match self.command.kind() {
            NodeTag::T_DropStmt => {
                self.drop_begins();
                self.drop_of_shard_begins();
            }
            NodeTag::T_DropOwnedStmt => {
                for role in self.command.drop_owned() {
                    if let Some(what) = self.owned_by(role) {
                        self.refuse(&what);
                    }
                }
            }
            NodeTag::T_AlterExtensionContentsStmt if self.command.altered_extension() == Some(c"immutable") => {
                self.refuse("extension immutable");
            }
            NodeTag::T_IndexStmt => self.create_index_begins(),
            NodeTag::T_RenameStmt | NodeTag::T_AlterObjectDependsStmt => {
                let index = self.command.relation(); // or a shard
                if index != pg_sys::InvalidOid && (self.is_needed(index) || is_guarded_shard(index)) {
                    self.refuse(&describe(pg_sys::RelationRelationId, index));
                }
            }
            // Afterwards it has no name by which it could be recognised.
            NodeTag::T_AlterObjectSchemaStmt if is_guarded_shard(self.command.relation()) => {
                self.refuse(&describe(pg_sys::RelationRelationId, self.command.relation()));
            }
            _ => {}
        }
        // The command is recorded before it takes effect, because afterwards the triggers that
        // record an event may be off.
        if settings::ALLOW_DDL.get() && !RECORDED.get() {
            let relation = self.command.relation();
            if self.is_of_log(pg_sys::RelationRelationId, relation) {
                self.refuse(&describe(pg_sys::RelationRelationId, relation));
            }
        }
    }

    /// Before a CREATE INDEX. With CONCURRENTLY, the index would already exist when the command's
    /// end is checked.
    fn create_index_begins(&self) {
        let Some(command) = self.command.create_index() else { return };
        let table = command.table();
        if self.is_of_log(pg_sys::RelationRelationId, table) && (command.is_unique() || !may_have_indexes(table)) {
            self.refuse(&describe(pg_sys::RelationRelationId, table));
        }
    }

    fn drop_begins(&self) {
        let Some(command) = self.command.drop() else { return };
        for index in command.indexes() {
            if self.is_needed(index) {
                self.refuse_to_drop_index(command, index);
            }
        }
        let goes =
            command.extensions().iter().any(|name| name == "immutable" || command.cascades() && self.depends_on(name));
        if goes {
            self.drop_of_extension_begins();
        }
    }

    /// Before a DROP TABLE: PostgreSQL does not keep anybody from dropping a shard, which is no member of the extension.
    fn drop_of_shard_begins(&self) {
        for table in self.command.drop().map(DropCommand::tables).unwrap_or_default() {
            // Citus drops a shard that is in use only in citus_drop_all_shards().
            if shards::table_of(table).is_some() && has_rows(table) {
                self.refuse_everybody(&describe(pg_sys::RelationRelationId, table), None);
            }
        }
    }

    fn refuse_to_drop_index(&self, command: DropCommand, index: Oid) {
        let what = describe(pg_sys::RelationRelationId, index);
        if command.is_concurrent() && settings::ALLOW_DDL.get() {
            Fault::new(
                Code::ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("{what} belongs to the audit log: DROP INDEX CONCURRENTLY cannot be recorded"),
            )
            .hint("Use DROP INDEX without CONCURRENTLY.")
            .raise()
        }
        self.refuse(&what);
    }

    fn drop_of_extension_begins(&self) {
        if !self.may_drop() || !has_events() {
            return;
        }
        if !settings::ALLOW_DDL.get() {
            Fault::new(
                Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "extension immutable cannot be dropped: it has recorded events",
            )
            .detail("All events would be lost, and with them the evidence of what happened.")
            .hint(
                "Keep a dump or an export. Then, as a superuser, SET immutable.allow_ddl = on. \
                 For pg_restore --clean, set PGOPTIONS='-c immutable.allow_ddl=on -c \
                 immutable.restore=on' and use --single-transaction.",
            )
            .raise()
        }
        log_line(&self.tag, "extension immutable");
    }

    /// Whether an index is a valid unique index of the extension, or the one that a checkpoint finds
    /// new events with. The others only make reading faster, and an invalid one is left over from a
    /// command that failed.
    fn is_needed(&self, index: Oid) -> bool {
        if index == named(c"events_xact") {
            return true;
        }
        let mut unique = false;
        spi::query_now(
            "SELECT indrelid FROM pg_catalog.pg_index WHERE indexrelid OPERATOR(pg_catalog.=) $1 AND indisunique AND indisvalid",
            &[Arg::Oid(index)],
            |row| unique = self.is_of_log(pg_sys::RelationRelationId, oid(row, 0)),
        );
        unique
    }

    /// Whether PostgreSQL would let the caller drop the extension. No other role may lock the log
    /// by an attempt.
    fn may_drop(&self) -> bool {
        let mut owner = pg_sys::InvalidOid;
        spi::query_now(
            "SELECT extowner FROM pg_catalog.pg_extension WHERE oid OPERATOR(pg_catalog.=) $1",
            &[Arg::Oid(self.extension)],
            |row| owner = oid(row, 0),
        );
        role::has_rights_of(role::current(), owner)
    }

    /// Whether an object of the extension depends on an object of the extension of that name, as a
    /// function depends on its language.
    fn depends_on(&self, name: &str) -> bool {
        let mut found = false;
        spi::query_now(
            "SELECT 1 FROM pg_catalog.pg_depend m, pg_catalog.pg_depend d, pg_catalog.pg_extension e
             WHERE m.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
               AND m.refobjid OPERATOR(pg_catalog.=) $1 AND m.deptype OPERATOR(pg_catalog.=) 'e'
               AND d.classid OPERATOR(pg_catalog.=) m.classid AND d.objid OPERATOR(pg_catalog.=) m.objid
               AND d.deptype OPERATOR(pg_catalog.<>) 'e' AND d.refclassid OPERATOR(pg_catalog.=) e.tableoid
               AND d.refobjid OPERATOR(pg_catalog.=) e.oid AND e.extname OPERATOR(pg_catalog.=) $2::pg_catalog.name
             UNION ALL
             SELECT 1 FROM pg_catalog.pg_depend m, pg_catalog.pg_depend d, pg_catalog.pg_depend o, pg_catalog.pg_extension e
             WHERE m.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
               AND m.refobjid OPERATOR(pg_catalog.=) $1 AND m.deptype OPERATOR(pg_catalog.=) 'e'
               AND d.classid OPERATOR(pg_catalog.=) m.classid AND d.objid OPERATOR(pg_catalog.=) m.objid
               AND o.classid OPERATOR(pg_catalog.=) d.refclassid AND o.objid OPERATOR(pg_catalog.=) d.refobjid
               AND o.deptype OPERATOR(pg_catalog.=) 'e' AND o.refobjid OPERATOR(pg_catalog.=) e.oid
               AND o.refclassid OPERATOR(pg_catalog.=) m.refclassid
               AND e.extname OPERATOR(pg_catalog.=) $2::pg_catalog.name LIMIT 1",
            &[Arg::Oid(self.extension), Arg::text(name)],
            |_| found = true,
        );
        found
    }

    /// An object of the extension that the role owns, or a policy of it that names the role: DROP
    /// OWNED would take it away.
    fn owned_by(&self, role: Oid) -> Option<String> {
        let mut found = None;
        spi::query_now(
            "SELECT s.classid, s.objid FROM pg_catalog.pg_shdepend s
             WHERE s.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass
               AND s.refobjid OPERATOR(pg_catalog.=) $1
               AND s.dbid OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d
                 WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
               AND (s.deptype OPERATOR(pg_catalog.=) 'o' OR s.deptype OPERATOR(pg_catalog.=) 'r')",
            &[Arg::Oid(role)],
            |row| {
                let (class, object) = (oid(row, 0), oid(row, 1));
                let ours = class == pg_sys::ExtensionRelationId && object == self.extension
                    || self.is_member(class, object)
                    || class == POLICIES && self.is_of_member(class, object).is_some();
                if ours && found.is_none() {
                    found = Some(describe(class, object));
                }
            },
        );
        found
    }

    /// After the command.
    fn ended(&self) {
        // Most new tables are temporary tables of an application. They are not the extension's, and
        // the locks show whether they inherit from the extension's tables.
        if !matches!(self.command.kind(), NodeTag::T_CreateStmt | NodeTag::T_CreateForeignTableStmt) {
            let mut found = None;
            spi::query_now(
                "SELECT c.classid, c.objid, c.schema_name, c.command FROM pg_catalog.pg_event_trigger_ddl_commands() c",
                &[],
                |row| {
                    if found.is_none() {
                        found = self.forbidden(row);
                    }
                },
            );
            if let Some(what) = found {
                self.refuse(&what);
            }
        }
        if let Some((table, why)) = inherits() {
            self.refuse_because(&table, Some(&why));
        }
    }

    /// A description of the object that a command has changed and must not change. The row has
    /// class, object, schema and command.
    fn forbidden(&self, row: &Values) -> Option<String> {
        // GRANT and similar commands name no single object, and stay possible.
        let (class, object) = (row.at(0)?.oid(), row.at(1)?.oid());
        let in_schema = row.at(2).map(text) == Some("immutable");
        let is_forbidden = if self.is_of_log(class, object) {
            let is_table =
                class == pg_sys::RelationRelationId && catalog::relation_kind(object) == pg_sys::RELKIND_RELATION;
            !(is_table && row.at(3).is_some_and(|command| is_harmless(Collected::new(command), object)))
        } else {
            match class {
                // Another function of the same name could be called in place of the extension's.
                pg_sys::ProcedureRelationId => in_schema,
                // A trigger of others on a segment would see the rows that the log moves there.
                pg_sys::TriggerRelationId => self.is_of_member(class, object).is_some_and(|trigger| {
                    trigger.as_str() > OWN_TRIGGERS
                        || is_segment(self.command.relation())
                        || self.command.renamed_part().is_some_and(|old| is_own_trigger(old.to_bytes()))
                }),
                POLICIES | RULES | CONSTRAINTS => self.is_of_member(class, object).is_some(),
                // A unique index would refuse events. Another index only costs time, and refuses
                // only values that are too long for it.
                pg_sys::RelationRelationId => {
                    self.command.create_index().is_some_and(CreateIndex::is_unique)
                        && self.is_of_log(class, catalog::table_of_index(object))
                }
                _ => false,
            }
        };
        is_forbidden.then(|| describe(class, object))
    }

    /// After a command dropped something. The objects are recognised by their names, because they
    /// are already gone from the catalogs.
    fn dropped(&self) {
        let mut found = None;
        // The constraint of a constraint trigger has the trigger's name, and is dropped with it.
        spi::query_now(
            "SELECT o.classid, o.object_type, o.object_identity, o.address_names[1], o.address_names[2], o.address_names[3]
             FROM pg_catalog.pg_event_trigger_dropped_objects() o
             WHERE NOT (o.object_type OPERATOR(pg_catalog.=) 'table constraint' AND EXISTS (
               SELECT FROM pg_catalog.pg_event_trigger_dropped_objects() t
               WHERE t.object_type OPERATOR(pg_catalog.=) 'trigger' AND t.address_names OPERATOR(pg_catalog.=) o.address_names))",
            &[],
            |row| {
                if found.is_none() {
                    found = dropped_part(row);
                }
            },
        );
        if let Some(what) = found {
            self.refuse(&what);
        }
    }

    fn is_member(&self, class: Oid, object: Oid) -> bool {
        catalog::is_member(self.extension, class, object)
    }

    /// Whether an object is a member of the extension, or a shard of one of its tables.
    fn is_of_log(&self, class: Oid, object: Oid) -> bool {
        self.is_member(class, object) || class == pg_sys::RelationRelationId && is_guarded_shard(object)
    }

    /// The name of a trigger, rule, policy or constraint, if it is one of a table or view of the
    /// extension.
    fn is_of_member(&self, class: Oid, object: Oid) -> Option<String> {
        let (catalog, name, relation) = match class {
            pg_sys::TriggerRelationId => ("pg_trigger", "tgname", "tgrelid"),
            POLICIES => ("pg_policy", "polname", "polrelid"),
            CONSTRAINTS => ("pg_constraint", "conname", "conrelid"),
            _ => ("pg_rewrite", "rulename", "ev_class"),
        };
        let mut found = None;
        spi::query_now(
            &format!(
                "SELECT {relation}, {name}::pg_catalog.text FROM pg_catalog.{catalog}
                 WHERE oid OPERATOR(pg_catalog.=) $1"
            ),
            &[Arg::Oid(object)],
            |row| {
                if self.is_of_log(pg_sys::RelationRelationId, oid(row, 0)) {
                    found = row.at(1).map(|name| text(name).to_string());
                }
            },
        );
        found
    }

    /// Refuses the command (42501), or records it where immutable.allow_ddl is on.
    fn refuse(&self, what: &str) {
        self.refuse_because(what, None);
    }

    fn refuse_because(&self, what: &str, why: Option<&str>) {
        if shards::is_passed_on() {
            // The guard of the node that passes the command on has let it through, and recorded it.
            log_line(&self.tag, what);
            return;
        }
        self.refuse_everybody(what, why);
    }

    fn refuse_everybody(&self, what: &str, why: Option<&str>) {
        let refused = format!("{what} belongs to the audit log: {} is refused", self.tag);
        if !settings::ALLOW_DDL.get() {
            not_allowed(refused, why)
        }
        // With that setting, every inserted event is taken as one of a dump, so the command could
        // not be recorded.
        if settings::RESTORE.get() {
            Fault::new(
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("{refused} while immutable.restore is on"),
            )
            .detail("Such a command must be recorded in the log, and nothing can be recorded while a dump is restored.")
            .hint("RESET immutable.restore first.")
            .raise()
        }
        if !RECORDED.get() {
            self.record_or_warn(what, why);
        }
    }

    fn record_or_warn(&self, what: &str, why: Option<&str>) {
        let events = OpenRelation::briefly(events_oid());
        let is_able = can_append(events.get());
        if is_able {
            self.record(what, why);
        }
        drop(events);
        if !is_able {
            // The command may be the one that enables the triggers again. Then it is recorded
            // afterwards.
            if self.begins {
                return;
            }
            Fault::new(Code::ERRCODE_WARNING, format!("immutable: {} was recorded only in the server's log", self.tag))
                .detail(
                    "No event can be recorded while a trigger or key of immutable.events is \
                     disabled or missing, or while a subscription feeds the log.",
                )
                .warn();
        }
        log_line(&self.tag, what);
        RECORDED.set(true);
        RECORDED_IN.set(statement_start());
    }

    /// Records the command. The event does not contain the statement, which may contain secrets.
    fn record(&self, what: &str, why: Option<&str>) {
        let detail = why.map(|why| ("detail", why));
        let metadata: Vec<(&str, &str)> =
            [("command", self.tag.as_str()), ("object", what)].into_iter().chain(detail).collect();
        record_during_ddl(&LogEvent { action: "immutable.ddl", metadata: &metadata, ..LogEvent::default() });
    }
}

/// Refuses a command (42501) that would be allowed, and recorded, with immutable.allow_ddl.
fn not_allowed(refused: String, why: Option<&str>) -> ! {
    let hint = match settings::RESTORE.get() {
        true => "Restoring a dump does not need this command. Leave out --disable-triggers.",
        false => "A superuser can SET immutable.allow_ddl = on. The command is then recorded in the log.",
    };
    let fault = Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, refused).hint(hint);
    match why {
        Some(why) => fault.detail(why).raise(),
        None => fault.raise(),
    }
}

fn log_line(tag: &str, what: &str) {
    let line = format!("immutable: DDL by role \"{}\": {tag}: {what}", caller());
    Fault::new(Code::ERRCODE_SUCCESSFUL_COMPLETION, line).log();
}

/// A description of what was dropped, if it is the extension's. The row has class, type, identity,
/// and the three parts of the name.
fn dropped_part(row: &Values) -> Option<String> {
    let (class, kind, identity) = (row.at(0)?.oid(), text(row.at(1)?), text(row.at(2)?));
    let (schema, table, name) = (text(row.at(3)?), text(row.at(4)?), text(row.at(5)?));
    let is_known = || TABLES.iter().any(|known| known.to_bytes() == table.as_bytes());
    let is_shard = || CString::new(table).is_ok_and(|table| is_guarded_shard(named(&table)));
    let is_segment = || CString::new(table).is_ok_and(|table| is_segment(named(&table)));
    let ours = schema == "immutable" && (is_known() || is_shard() || is_segment());
    let kept = class != pg_sys::TriggerRelationId || is_own_trigger(name.as_bytes());
    let is_index = class == pg_sys::RelationRelationId;
    (ours && kept && !is_index).then(|| format!("{kind} {identity}"))
}

fn is_own_trigger(name: &[u8]) -> bool {
    name.starts_with(OWN_TRIGGERS.as_bytes())
}

/// Whether the events table's own triggers would fire for an INSERT now, and find the keys that
/// they need.
pub fn can_append(events: Relation) -> bool {
    if seam::is_copy(events) {
        return false;
    }
    let firing = if others_sleep() { pg_sys::TRIGGER_FIRES_ON_REPLICA } else { pg_sys::TRIGGER_FIRES_ON_ORIGIN };
    let chaining = events.triggers().iter().filter(|trigger| {
        let (name, enabled) = (trigger.name(), trigger.tgenabled as u8);
        (name == c"~immutable_chain" || name == c"~immutable_targets")
            && (enabled == pg_sys::TRIGGER_FIRES_ALWAYS || enabled == firing)
    });
    chaining.count() == 2 && has_keys(events)
}

/// Whether a relation is a shard that this node answers for, and the client's statement was not recorded yet.
fn is_guarded_shard(relation: Oid) -> bool {
    // Where the client's node has shards itself, Citus changes them in the client's session.
    shards::table_of(relation).is_some() && RECORDED_IN.get() != statement_start()
}

/// Whether a shard has rows. The table is locked as the DROP locks it.
fn has_rows(table: Oid) -> bool {
    let may_drop =
        OpenRelation::read(table).is_some_and(|table| role::has_rights_of(role::current(), table.get().owner()));
    // PostgreSQL refuses the others. They may not lock the log by an attempt.
    let Some(table) = may_drop.then(|| OpenRelation::open(table, pg_sys::AccessExclusiveLock)).flatten() else {
        return false;
    };
    table.get().any_row(|_| ()).is_some()
}

fn has_events() -> bool {
    // The table is locked as the DROP locks it, so that no event can be appended between this check
    // and the DROP.
    let Some(events) = OpenRelation::open(events_oid(), pg_sys::AccessExclusiveLock) else { return false };
    let mut any = false;
    let found = "SELECT 1 FROM immutable.events LIMIT 1";
    spi::as_owner(events.get(), || spi::query_now_planned_each_time(found, &[], |_| any = true));
    any
}

/// A table of the extension that this transaction has made a parent or a child, with a sentence
/// that names both. The transaction then holds a lock on the table.
fn inherits() -> Option<(String, String)> {
    let changed = |table: &Oid| *table != pg_sys::InvalidOid && may_have_changed(*table);
    TABLES.into_iter().map(named).find_map(|table| changed(&table).then(|| heir_of(table)).flatten()).or_else(|| {
        let tables = [c"events", c"event_targets"].map(named);
        let parents =
            tables.into_iter().filter(|table| OpenRelation::read(*table).is_some_and(|it| it.get().is_parent()));
        let segments = parents.flat_map(heirs_and_parents).map(|(child, _)| child);
        segments.filter(changed).find_map(heir_of)
    })
}

/// The same for one table. A segment inherits from the table of its kind, and from nothing else.
fn heir_of(table: Oid) -> Option<(String, String)> {
    let heirs = heirs_and_parents(table);
    let segments = if heirs.is_empty() { Vec::new() } else { segments::now() };
    let is_right = |(child, parent): &(Oid, Oid)| {
        segments.iter().any(|segment| {
            *child == segment.events_oid() && *parent == named(c"events")
                || *child == segment.targets_oid() && *parent == named(c"event_targets")
        })
    };
    let (child, parent) = heirs.into_iter().find(|heir| !is_right(heir))?;
    let [table, child, parent] = [table, child, parent].map(|relation| describe(pg_sys::RelationRelationId, relation));
    Some((table, format!("{child} would inherit from {parent}.")))
}

/// The children of a table with the table, and the table with its parents.
fn heirs_and_parents(table: Oid) -> Vec<(Oid, Oid)> {
    let mut found = Vec::new();
    spi::query_now(
        "SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits
         WHERE inhparent OPERATOR(pg_catalog.=) $1 OR inhrelid OPERATOR(pg_catalog.=) $1",
        &[Arg::Oid(table)],
        |row| found.push((oid(row, 0), oid(row, 1))),
    );
    found
}

/// Whether ALTER TABLE changed nothing that the log relies on.
fn is_harmless(command: Collected, table: Oid) -> bool {
    command.table_changes().is_some_and(|changes| {
        changes.iter().all(|change| {
            STORAGE.contains(&change.kind)
                || SWITCHES.contains(&change.kind) && change.part.is_some_and(|name| is_others_trigger(table, name))
        })
    })
}

/// Whether the table has a trigger of that name that is neither the extension's nor a foreign
/// key's. Such a trigger may be created and dropped, so it may also be enabled and disabled, as
/// pg_repack does.
fn is_others_trigger(table: Oid, name: &CStr) -> bool {
    OpenRelation::briefly(table)
        .get()
        .triggers()
        .iter()
        .any(|trigger| !trigger.tgisinternal && trigger.name() == name && name.to_bytes() < OWN_TRIGGERS.as_bytes())
}

/// Whether the table may have indexes that are not the extension's. Events and their targets may,
/// because reports read them. The other tables are small, and are written without SPI.
fn may_have_indexes(table: Oid) -> bool {
    let known = shards::table_of(table).unwrap_or(table);
    [c"events", c"event_targets"].into_iter().any(|name| named(name) == known) || is_segment(table)
}

/// Whether a table is one of a segment's.
fn is_segment(table: Oid) -> bool {
    let is_named_like_one = |name: String| name.starts_with("events_") || name.starts_with("event_targets_");
    catalog::name_in_schema(table).is_some_and(is_named_like_one) && segments::has_table(&segments::now(), table)
}

/// The oid at a place of a row; InvalidOid for NULL.
fn oid(row: &Values, place: usize) -> Oid {
    row.at(place).map_or(pg_sys::InvalidOid, Datum::oid)
}
