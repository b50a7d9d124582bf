//! Event triggers that keep DDL away from the extension's tables, functions and policies, whoever gives the command.
//!
//! PostgreSQL says what a command has done, by number and not by name, when it has done it; an error then undoes it. Only
//! what would take the triggers themselves away is looked for before, in the command's parse tree.

use crate::log::own_event::{caller, record, Own};
use crate::log::tables::{events_oid, has_keys};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, text_datum, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{cells, triggers};
use crate::pg::spi;
use crate::settings;
use pgrx::pg_sys::{self, AlterTableType as Alter, Datum, NodeTag, ObjectType, Oid};
use pgrx::prelude::*;
use std::cell::Cell;
use std::ffi::CStr;

/// The tables that nothing may inherit from, or be inherited by, and whose triggers, rules and policies stay.
const TABLES: [&CStr; 8] = [
    c"events",
    c"event_targets",
    c"log",
    c"cluster",
    c"viewer_keys",
    c"viewer_key_import",
    c"revocations",
    c"tenant_grants",
];

/// Catalogs that pgrx has no name for.
const POLICIES: Oid = Oid::from_u32(3256);

const RULES: Oid = Oid::from_u32(2618);

const CONSTRAINTS: Oid = Oid::from_u32(2606);

/// Where the names of the extension's own triggers begin. Others may only run before them.
const OWN_TRIGGERS: &str = "~immutable_";

/// What ALTER TABLE may change without maintenance: where and how rows are stored, never which.
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

/// ALTER TABLE … ENABLE, ENABLE ALWAYS, ENABLE REPLICA and DISABLE TRIGGER of one that is named.
const SWITCHES: [Alter::Type; 4] =
    [Alter::AT_EnableTrig, Alter::AT_EnableAlwaysTrig, Alter::AT_EnableReplicaTrig, Alter::AT_DisableTrig];

thread_local! {
    /// Whether the command that runs was recorded before it began.
    static RECORDED: Cell<bool> = const { Cell::new(false) };
}

sql_function!(immutable_guard_ddl, pg_finfo_immutable_guard_ddl, guard_ddl);

/// The function of all the event triggers.
unsafe fn guard_ddl(call: Call) -> Datum {
    let context = (*call.0).context;
    if context.is_null() || (*context).type_ != NodeTag::T_EventTriggerData {
        Fault::new(Code::ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED, "immutable.guard_ddl() is an event trigger's")
            .raise()
    }
    let data = &*context.cast::<pg_sys::EventTriggerData>();
    let extension = pg_sys::get_extension_oid(c"immutable".as_ptr(), true);
    let in_own_script = pg_sys::creating_extension && pg_sys::CurrentExtensionObject == extension;
    if extension == pg_sys::InvalidOid || in_own_script || pg_sys::IsBinaryUpgrade {
        return call.null();
    }
    let event = CStr::from_ptr(data.event).to_bytes();
    let begins = event == b"ddl_command_start";
    let guard = Guard { extension, tree: data.parsetree, tag: tag_name(data.tag), begins };
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

unsafe fn tag_name(tag: pg_sys::CommandTag::Type) -> String {
    CStr::from_ptr(pg_sys::GetCommandTagName(tag)).to_string_lossy().into_owned()
}

/// One command.
struct Guard {
    extension: Oid,
    tree: *mut pg_sys::Node,
    tag: String,
    /// Whether it has not run yet.
    begins: bool,
}

impl Guard {
    /// Before the command.
    unsafe fn begins(&self) {
        RECORDED.set(false);
        match (*self.tree).type_ {
            NodeTag::T_DropStmt => self.drop_begins(&*self.tree.cast()),
            NodeTag::T_DropOwnedStmt => {
                for role in cells((*self.tree.cast::<pg_sys::DropOwnedStmt>()).roles) {
                    let role = pg_sys::get_rolespec_oid(role.ptr_value.cast(), true);
                    if let Some(what) = self.owned_by(role) {
                        self.refuse(&what)
                    }
                }
            }
            NodeTag::T_AlterExtensionContentsStmt => {
                let statement = &*self.tree.cast::<pg_sys::AlterExtensionContentsStmt>();
                if CStr::from_ptr(statement.extname) == c"immutable" {
                    self.refuse("extension immutable")
                }
            }
            // Built CONCURRENTLY it would be there before the command's end is looked at.
            NodeTag::T_IndexStmt => {
                let statement = &*self.tree.cast::<pg_sys::IndexStmt>();
                let table = relation_named(statement.relation);
                if self.is_member(pg_sys::RelationRelationId, table) && (statement.unique || !may_have_indexes(table)) {
                    self.refuse(&describe(pg_sys::RelationRelationId, table))
                }
            }
            NodeTag::T_RenameStmt | NodeTag::T_AlterObjectDependsStmt => {
                let index = relation_of(self.tree);
                if index != pg_sys::InvalidOid && self.is_needed(index) {
                    self.refuse(&describe(pg_sys::RelationRelationId, index))
                }
            }
            _ => {}
        }
        // Recorded before it takes effect: afterwards the triggers that chain the record may be off.
        if settings::ALLOW_DDL.get() && !RECORDED.get() {
            let relation = relation_of(self.tree);
            if relation != pg_sys::InvalidOid && self.is_member(pg_sys::RelationRelationId, relation) {
                self.refuse(&describe(pg_sys::RelationRelationId, relation))
            }
        }
    }

    unsafe fn drop_begins(&self, statement: &pg_sys::DropStmt) {
        if statement.removeType == ObjectType::OBJECT_INDEX {
            for index in cells(statement.objects) {
                let named = pg_sys::makeRangeVarFromNameList(index.ptr_value.cast());
                let index = relation_named(named);
                if index != pg_sys::InvalidOid && self.is_needed(index) {
                    let what = describe(pg_sys::RelationRelationId, index);
                    if statement.concurrent && settings::ALLOW_DDL.get() {
                        Fault::new(
                            Code::ERRCODE_FEATURE_NOT_SUPPORTED,
                            format!(
                                "{what} belongs to the audit log: DROP INDEX CONCURRENTLY of it cannot be recorded"
                            ),
                        )
                        .hint("DROP INDEX without CONCURRENTLY.")
                        .raise()
                    }
                    self.refuse(&what)
                }
            }
        }
        if statement.removeType != ObjectType::OBJECT_EXTENSION {
            return;
        }
        let cascades = statement.behavior == pg_sys::DropBehavior::DROP_CASCADE;
        let goes = cells(statement.objects).iter().any(|object| {
            let name = string(object.ptr_value);
            name == "immutable" || cascades && self.depends_on(&name)
        });
        if !goes || !self.may_drop() || !has_events() {
            return;
        }
        if !settings::ALLOW_DDL.get() {
            Fault::new(
                Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "extension immutable has recorded events: it is not dropped",
            )
            .detail("They would all be lost, and with them the proof of what happened.")
            .hint(
                "Keep a dump or an export; then, as superuser: SET immutable.allow_ddl = on. pg_restore --clean takes it as \
                 PGOPTIONS='-c immutable.allow_ddl=on -c immutable.restore=on', with --single-transaction.",
            )
            .raise()
        }
        log_line(&self.tag, "extension immutable");
    }

    /// Whether an index is a unique one of ours; the others only make reading faster, and an invalid one is a remnant.
    unsafe fn is_needed(&self, index: Oid) -> bool {
        let mut unique = false;
        spi::query_now(
            "SELECT indrelid FROM pg_catalog.pg_index WHERE indexrelid OPERATOR(pg_catalog.=) $1 AND indisunique AND indisvalid",
            &[pg_sys::OIDOID],
            &[Some(Datum::from(index))],
            |row| unique = self.is_member(pg_sys::RelationRelationId, oid(row.values[0])),
        );
        unique
    }

    /// Whether PostgreSQL would let the caller drop the extension: nobody else shall lock the log by trying.
    unsafe fn may_drop(&self) -> bool {
        let mut owner = pg_sys::InvalidOid;
        spi::query_now(
            "SELECT extowner FROM pg_catalog.pg_extension WHERE oid OPERATOR(pg_catalog.=) $1",
            &[pg_sys::OIDOID],
            &[Some(Datum::from(self.extension))],
            |row| owner = oid(row.values[0]),
        );
        pg_sys::has_privs_of_role(pg_sys::GetUserId(), owner)
    }

    /// Whether a member of the extension needs a member of the extension of that name, as functions do their language's.
    unsafe fn depends_on(&self, name: &str) -> bool {
        let mut found = false;
        spi::query_now(
            "SELECT 1 FROM pg_catalog.pg_depend m, pg_catalog.pg_depend d, pg_catalog.pg_depend o, pg_catalog.pg_extension e
             WHERE m.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
               AND m.refobjid OPERATOR(pg_catalog.=) $1 AND m.deptype OPERATOR(pg_catalog.=) 'e'
               AND d.classid OPERATOR(pg_catalog.=) m.classid AND d.objid OPERATOR(pg_catalog.=) m.objid
               AND o.classid OPERATOR(pg_catalog.=) d.refclassid AND o.objid OPERATOR(pg_catalog.=) d.refobjid
               AND o.deptype OPERATOR(pg_catalog.=) 'e' AND o.refobjid OPERATOR(pg_catalog.=) e.oid
               AND o.refclassid OPERATOR(pg_catalog.=) m.refclassid
               AND e.extname OPERATOR(pg_catalog.=) $2::pg_catalog.name LIMIT 1",
            &[pg_sys::OIDOID, pg_sys::TEXTOID],
            &[Some(Datum::from(self.extension)), Some(text_datum(name))],
            |_| found = true,
        );
        found
    }

    /// What of the extension a role owns, or is named in a policy of: DROP OWNED would take it away.
    unsafe fn owned_by(&self, role: Oid) -> Option<String> {
        let mut found = None;
        spi::query_now(
            "SELECT s.classid, s.objid FROM pg_catalog.pg_shdepend s
             WHERE s.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass
               AND s.refobjid OPERATOR(pg_catalog.=) $1
               AND s.dbid OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d
                 WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
               AND (s.deptype OPERATOR(pg_catalog.=) 'o' OR s.deptype OPERATOR(pg_catalog.=) 'r')",
            &[pg_sys::OIDOID],
            &[Some(Datum::from(role))],
            |row| {
                let (class, object) = (oid(row.values[0]), oid(row.values[1]));
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
    unsafe fn ended(&self) {
        // Most tables that are made are somebody's temporary ones: the locks alone say that they are not ours.
        if !matches!((*self.tree).type_, NodeTag::T_CreateStmt | NodeTag::T_CreateForeignTableStmt) {
            let mut found = None;
            spi::query_now(
                "SELECT c.classid, c.objid, c.schema_name, c.command FROM pg_catalog.pg_event_trigger_ddl_commands() c",
                &[],
                &[],
                |row| {
                    // GRANT and the like are about no single object, and stay possible.
                    if row.nulls[0] || row.nulls[1] || found.is_some() {
                        return;
                    }
                    let (class, object) = (oid(row.values[0]), oid(row.values[1]));
                    let in_schema = !row.nulls[2] && text(row.values[2]) == "immutable";
                    let command = row.values[3].cast_mut_ptr::<pg_sys::CollectedCommand>();
                    found = self.forbidden(class, object, in_schema, command);
                },
            );
            if let Some(what) = found {
                self.refuse(&what)
            }
        }
        if let Some((table, why)) = inherits() {
            self.refuse_because(&table, Some(&why))
        }
    }

    /// What a command has changed that it may not.
    unsafe fn forbidden(
        &self,
        class: Oid,
        object: Oid,
        in_schema: bool,
        command: *const pg_sys::CollectedCommand,
    ) -> Option<String> {
        let name = || Some(describe(class, object));
        if self.is_member(class, object) {
            let harmless = class == pg_sys::RelationRelationId && is_table(object) && is_harmless(command, object);
            return if harmless { None } else { name() };
        }
        match class {
            // Another function of a name that callers use could be taken for ours.
            pg_sys::ProcedureRelationId if in_schema => name(),
            pg_sys::TriggerRelationId => {
                let trigger = self.is_of_member(class, object)?;
                let own =
                    trigger.as_str() > OWN_TRIGGERS || self.renames().is_some_and(|old| old.starts_with(OWN_TRIGGERS));
                if own {
                    name()
                } else {
                    None
                }
            }
            POLICIES | RULES | CONSTRAINTS => self.is_of_member(class, object).and_then(|_| name()),
            // A unique index would refuse events; another one costs, and refuses only what is too long for it.
            pg_sys::RelationRelationId if (*self.tree).type_ == NodeTag::T_IndexStmt => {
                let table = pg_sys::IndexGetRelation(object, true);
                let unique = (*self.tree.cast::<pg_sys::IndexStmt>()).unique;
                if unique && self.is_member(class, table) {
                    name()
                } else {
                    None
                }
            }
            _ => None,
        }
    }

    /// After something was dropped, by its name: its number is gone.
    unsafe fn dropped(&self) {
        let mut found = None;
        // The constraint of a constraint trigger goes with the trigger, which has its name.
        spi::query_now(
            "SELECT o.classid, o.object_type, o.object_identity, o.address_names[1], o.address_names[2], o.address_names[3]
             FROM pg_catalog.pg_event_trigger_dropped_objects() o
             WHERE NOT (o.object_type OPERATOR(pg_catalog.=) 'table constraint' AND EXISTS (
               SELECT FROM pg_catalog.pg_event_trigger_dropped_objects() t
               WHERE t.object_type OPERATOR(pg_catalog.=) 'trigger' AND t.address_names OPERATOR(pg_catalog.=) o.address_names))",
            &[],
            &[],
            |row| {
                if row.nulls.iter().any(|null| *null) || found.is_some() || text(row.values[3]) != "immutable" {
                    return;
                }
                let (class, table, name) = (oid(row.values[0]), text(row.values[4]), text(row.values[5]));
                let ours = TABLES.iter().any(|known| known.to_bytes() == table.as_bytes());
                let kept = class != pg_sys::TriggerRelationId || name.starts_with(OWN_TRIGGERS);
                let index = class == pg_sys::RelationRelationId;
                if ours && kept && !index {
                    found = Some(format!("{} {}", text(row.values[1]), text(row.values[2])));
                }
            },
        );
        if let Some(what) = found {
            self.refuse(&what)
        }
    }

    unsafe fn is_member(&self, class: Oid, object: Oid) -> bool {
        object != pg_sys::InvalidOid && pg_sys::getExtensionOfObject(class, object) == self.extension
    }

    /// The name that a part of a table had, where the command gave it another.
    unsafe fn renames(&self) -> Option<String> {
        let statement = self.tree.cast::<pg_sys::RenameStmt>();
        let renames = (*self.tree).type_ == NodeTag::T_RenameStmt && !(*statement).subname.is_null();
        renames.then(|| CStr::from_ptr((*statement).subname).to_string_lossy().into_owned())
    }

    /// The name of a trigger, rule, policy or constraint, if it is one of a table or view of the extension.
    unsafe fn is_of_member(&self, class: Oid, object: Oid) -> Option<String> {
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
            &[pg_sys::OIDOID],
            &[Some(Datum::from(object))],
            |row| {
                if self.is_member(pg_sys::RelationRelationId, oid(row.values[0])) {
                    found = Some(text(row.values[1]).to_string());
                }
            },
        );
        found
    }

    /// Refuses the command, or records it where maintenance is on.
    unsafe fn refuse(&self, what: &str) {
        self.refuse_because(what, None)
    }

    unsafe fn refuse_because(&self, what: &str, why: Option<&str>) {
        let refused = format!("{what} belongs to the audit log: {} is refused", self.tag);
        if !settings::ALLOW_DDL.get() {
            let hint = match settings::RESTORE.get() {
                true => "A dump is restored without it: leave out --disable-triggers.",
                false => {
                    "A superuser can SET immutable.allow_ddl = on; what is done then is recorded in the log itself."
                }
            };
            let fault = Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, refused).hint(hint);
            match why {
                Some(why) => fault.detail(why).raise(),
                None => fault.raise(),
            }
        }
        // It would go unrecorded: with that setting, an event of one's own is taken as one of a dump.
        if settings::RESTORE.get() {
            Fault::new(
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("{refused} while immutable.restore is on"),
            )
            .detail("Such a command is recorded in the log, and nothing is recorded while a dump is restored.")
            .hint("RESET immutable.restore first.")
            .raise()
        }
        if RECORDED.get() {
            return;
        }
        let relation = pg_sys::table_open(events_oid(), pg_sys::AccessShareLock as i32);
        let able = can_append(relation);
        if able {
            self.record(what, why);
        }
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        if !able {
            // The command may be the one that switches the triggers on again: then there is a record afterwards.
            if self.begins {
                return;
            }
            ereport!(
                PgLogLevel::WARNING,
                Code::ERRCODE_WARNING,
                "immutable: this command is in the server's log alone",
                "No event can be appended while triggers or keys of immutable.events are off, or while a subscription feeds the log."
            );
        }
        log_line(&self.tag, what);
        RECORDED.set(true);
    }

    /// Appends an event that says so; not the statement, which may hold secrets.
    unsafe fn record(&self, what: &str, why: Option<&str>) {
        let detail = why.map(|why| ("detail", why));
        let metadata: Vec<(&str, &str)> =
            [("command", self.tag.as_str()), ("object", what)].into_iter().chain(detail).collect();
        record(&Own { action: "immutable.ddl", metadata: &metadata, ..Own::default() });
    }
}

unsafe fn log_line(tag: &str, what: &str) {
    let caller = caller();
    ereport!(
        PgLogLevel::LOG_SERVER_ONLY,
        Code::ERRCODE_SUCCESSFUL_COMPLETION,
        format!("immutable: DDL by role \"{caller}\": {tag}: {what}")
    );
}

/// Whether the events table's own triggers run for a row that is inserted now.
unsafe fn can_append(events: pg_sys::Relation) -> bool {
    if crate::log::seam::is_copy(events) {
        return false;
    }
    let replica = pg_sys::SessionReplicationRole == pg_sys::SESSION_REPLICATION_ROLE_REPLICA as i32;
    let own = triggers(events).iter().filter(|trigger| {
        let enabled = trigger.tgenabled as u8;
        let name = CStr::from_ptr(trigger.tgname);
        (name == c"~immutable_chain" || name == c"~immutable_targets")
            && (enabled == b'A' || enabled == if replica { b'R' } else { b'O' })
    });
    let has_keys = has_keys(events);
    own.count() == 2 && has_keys
}

unsafe fn has_events() -> bool {
    let events = events_oid();
    // As the drop will take it: nobody shall append while it is looked whether there is something.
    let relation = pg_sys::try_relation_open(events, pg_sys::AccessExclusiveLock as i32);
    if relation.is_null() {
        return false;
    }
    let mut any = false;
    spi::as_owner(relation, || spi::query_now("SELECT 1 FROM immutable.events LIMIT 1", &[], &[], |_| any = true));
    pg_sys::relation_close(relation, pg_sys::NoLock as i32);
    any
}

/// A table of ours that has become a parent or a child, by a command of this transaction: which then holds a lock on it.
unsafe fn inherits() -> Option<(String, String)> {
    let schema = pg_sys::get_namespace_oid(c"immutable".as_ptr(), true);
    for table in TABLES {
        let table = pg_sys::get_relname_relid(table.as_ptr(), schema);
        if table == pg_sys::InvalidOid || !is_locked(table) {
            continue;
        }
        let mut found = None;
        spi::query_now(
            "SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits
             WHERE inhparent OPERATOR(pg_catalog.=) $1 OR inhrelid OPERATOR(pg_catalog.=) $1",
            &[pg_sys::OIDOID],
            &[Some(Datum::from(table))],
            |row| {
                let [child, parent] =
                    [0, 1].map(|column| describe(pg_sys::RelationRelationId, oid(row.values[column])));
                let own = describe(pg_sys::RelationRelationId, table);
                found = Some((own, format!("{child} would inherit from {parent}.")));
            },
        );
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Whether this transaction holds a lock on the table that a change of its definition takes.
unsafe fn is_locked(table: Oid) -> bool {
    let tag = pg_sys::LOCKTAG {
        locktag_field1: pg_sys::MyDatabaseId.to_u32(),
        locktag_field2: table.to_u32(),
        locktag_field3: 0,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    (pg_sys::ShareUpdateExclusiveLock..=pg_sys::AccessExclusiveLock).any(|mode| {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        return pg_sys::LockHeldByMe(&tag, mode as i32);
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        return pg_sys::LockHeldByMe(&tag, mode as i32, false);
    })
}

/// Whether ALTER TABLE changed nothing that the log relies on.
unsafe fn is_harmless(command: *const pg_sys::CollectedCommand, table: Oid) -> bool {
    let command = &*command;
    if command.type_ != pg_sys::CollectedCommandType::SCT_AlterTable {
        return false;
    }
    match (*command.parsetree).type_ {
        NodeTag::T_AlterTableMoveAllStmt => true,
        NodeTag::T_AlterTableStmt => {
            let statement = &*command.parsetree.cast::<pg_sys::AlterTableStmt>();
            cells(statement.cmds).iter().all(|change| {
                let change = &*change.ptr_value.cast::<pg_sys::AlterTableCmd>();
                STORAGE.contains(&change.subtype)
                    || SWITCHES.contains(&change.subtype) && is_others_trigger(table, CStr::from_ptr(change.name))
            })
        }
        _ => false,
    }
}

/// Whether the table has a trigger of that name that is neither ours nor a foreign key's: such a one may be made and dropped,
/// so that it may be switched on and off as well, as pg_repack does.
unsafe fn is_others_trigger(table: Oid, name: &CStr) -> bool {
    let relation = pg_sys::relation_open(table, pg_sys::AccessShareLock as i32);
    let found = triggers(relation).iter().any(|trigger| {
        !trigger.tgisinternal && CStr::from_ptr(trigger.tgname) == name && name.to_bytes() < OWN_TRIGGERS.as_bytes()
    });
    pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
    found
}

/// The relation that a command says it is about, by the name it gives.
unsafe fn relation_of(tree: *mut pg_sys::Node) -> Oid {
    let named = match (*tree).type_ {
        NodeTag::T_AlterTableStmt => (*tree.cast::<pg_sys::AlterTableStmt>()).relation,
        NodeTag::T_RenameStmt => (*tree.cast::<pg_sys::RenameStmt>()).relation,
        NodeTag::T_AlterObjectSchemaStmt => (*tree.cast::<pg_sys::AlterObjectSchemaStmt>()).relation,
        NodeTag::T_AlterObjectDependsStmt => (*tree.cast::<pg_sys::AlterObjectDependsStmt>()).relation,
        NodeTag::T_RuleStmt => (*tree.cast::<pg_sys::RuleStmt>()).relation,
        NodeTag::T_CreateTrigStmt => (*tree.cast::<pg_sys::CreateTrigStmt>()).relation,
        NodeTag::T_CreatePolicyStmt => (*tree.cast::<pg_sys::CreatePolicyStmt>()).table,
        NodeTag::T_AlterPolicyStmt => (*tree.cast::<pg_sys::AlterPolicyStmt>()).table,
        NodeTag::T_DropStmt => {
            use ObjectType::{OBJECT_POLICY, OBJECT_RULE, OBJECT_TRIGGER};
            let statement = &*tree.cast::<pg_sys::DropStmt>();
            // One at a time, each a list: the table's name, and its own.
            match cells(statement.objects).first() {
                Some(names) if matches!(statement.removeType, OBJECT_TRIGGER | OBJECT_RULE | OBJECT_POLICY) => {
                    let names = names.ptr_value.cast::<pg_sys::List>();
                    let table = (*names).length - 1;
                    if table < 1 {
                        return pg_sys::InvalidOid;
                    }
                    pg_sys::makeRangeVarFromNameList(pg_sys::list_truncate(pg_sys::list_copy(names), table))
                }
                _ => std::ptr::null_mut(),
            }
        }
        _ => std::ptr::null_mut(),
    };
    if named.is_null() {
        return pg_sys::InvalidOid;
    }
    relation_named(named)
}

unsafe fn relation_named(named: *mut pg_sys::RangeVar) -> Oid {
    let missing_ok = pg_sys::RVROption::RVR_MISSING_OK;
    pg_sys::RangeVarGetRelidExtended(named, pg_sys::NoLock as i32, missing_ok, None, std::ptr::null_mut())
}

/// Whether indexes of others may be on the table: on events and their targets, which reports read. The others are small, and
/// written below SPI.
unsafe fn may_have_indexes(table: Oid) -> bool {
    let schema = pg_sys::get_namespace_oid(c"immutable".as_ptr(), true);
    [c"events", c"event_targets"].iter().any(|name| pg_sys::get_relname_relid(name.as_ptr(), schema) == table)
}

unsafe fn is_table(relation: Oid) -> bool {
    pg_sys::get_rel_relkind(relation) as u8 == pg_sys::RELKIND_RELATION
}

unsafe fn describe(class: Oid, object: Oid) -> String {
    let address = pg_sys::ObjectAddress { classId: class, objectId: object, objectSubId: 0 };
    let text = pg_sys::getObjectDescription(&address, true);
    if text.is_null() {
        return "an object".to_string();
    }
    CStr::from_ptr(text).to_string_lossy().into_owned()
}

unsafe fn string(node: *mut std::ffi::c_void) -> String {
    CStr::from_ptr((*node.cast::<pg_sys::String>()).sval).to_string_lossy().into_owned()
}

fn oid(datum: Datum) -> Oid {
    Oid::from(datum.value() as u32)
}
