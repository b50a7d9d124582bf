//! Commands as an event trigger sees them: what their parse trees say.
//!
//! PostgreSQL distinguishes the nodes of a tree by their tags. Only this file casts a node to the
//! type of its tag.

#![allow(unsafe_code)]

use crate::pg::call::Call;
use crate::pg::datum::Datum;
use crate::pg::relation::cells;
use pgrx::pg_sys::{self, NodeTag, ObjectType, Oid};
use std::ffi::{c_char, c_void, CStr};
use std::marker::PhantomData;

/// The call of an event trigger's function.
#[derive(Clone, Copy)]
pub struct EventTriggerCall<'c>(&'c pg_sys::EventTriggerData);

impl<'c> Call<'c> {
    /// The call of an event trigger, if it is one.
    pub fn event_trigger(self) -> Option<EventTriggerCall<'c>> {
        // SAFETY: a call has a context, or null; that of an event trigger is EventTriggerData.
        unsafe {
            let context = (*self.raw()).context;
            let is_one = !context.is_null() && (*context).type_ == NodeTag::T_EventTriggerData;
            is_one.then(|| EventTriggerCall(&*context.cast()))
        }
    }
}

impl<'c> EventTriggerCall<'c> {
    /// `ddl_command_start`, `ddl_command_end`, `sql_drop` or another.
    pub fn event(self) -> &'c CStr {
        // SAFETY: a C string that lives as long as the call.
        unsafe { CStr::from_ptr(self.0.event) }
    }

    /// The command's name, such as `ALTER TABLE`.
    pub fn tag(self) -> String {
        // SAFETY: PostgreSQL has a name for each of its tags.
        unsafe { CStr::from_ptr(pg_sys::GetCommandTagName(self.0.tag)) }.to_string_lossy().into_owned()
    }

    /// The command's parse tree.
    pub fn command(self) -> Command<'c> {
        Command(self.0.parsetree, PhantomData)
    }
}

/// The parse tree of a command.
#[derive(Clone, Copy)]
pub struct Command<'c>(*mut pg_sys::Node, PhantomData<&'c ()>);

impl<'c> Command<'c> {
    /// What kind of command it is.
    pub fn kind(self) -> NodeTag {
        // A login is an event, too, and comes without a tree.
        if self.0.is_null() {
            return NodeTag::T_Invalid;
        }
        // SAFETY: a tree has a node at its root.
        unsafe { (*self.0).type_ }
    }

    /// The root, if it has this tag.
    ///
    /// # Safety
    /// `T` must be the node that the tag is for.
    unsafe fn cast<T>(self, tag: NodeTag) -> Option<&'c T> {
        // SAFETY: as above; the tree lives as long as the call.
        (self.kind() == tag).then(|| unsafe { &*self.0.cast() })
    }

    /// A DROP of an object in a schema, of a part of a table, or of an extension.
    pub fn drop(self) -> Option<DropCommand<'c>> {
        // SAFETY: the node of this tag.
        unsafe { self.cast(NodeTag::T_DropStmt) }.map(DropCommand)
    }

    /// A CREATE INDEX.
    pub fn create_index(self) -> Option<CreateIndex<'c>> {
        // SAFETY: the node of this tag.
        unsafe { self.cast(NodeTag::T_IndexStmt) }.map(CreateIndex)
    }

    /// The roles of a DROP OWNED, with InvalidOid for a role that does not exist; empty for another
    /// command.
    pub fn drop_owned(self) -> Vec<Oid> {
        // SAFETY: the node of this tag, which has a list of roles.
        unsafe {
            let Some(statement) = self.cast::<pg_sys::DropOwnedStmt>(NodeTag::T_DropOwnedStmt) else {
                return Vec::new();
            };
            cells(statement.roles).iter().map(|role| pg_sys::get_rolespec_oid(role.ptr_value.cast(), true)).collect()
        }
    }

    /// The extension of an ALTER EXTENSION … ADD or DROP.
    pub fn altered_extension(self) -> Option<&'c CStr> {
        // SAFETY: the node of this tag, whose name is a C string.
        unsafe {
            let statement: &pg_sys::AlterExtensionContentsStmt = self.cast(NodeTag::T_AlterExtensionContentsStmt)?;
            name(statement.extname)
        }
    }

    /// The old name of a part of a table that the command renames.
    pub fn renamed_part(self) -> Option<&'c CStr> {
        // SAFETY: the node of this tag, whose name is a C string or null.
        unsafe { name(self.cast::<pg_sys::RenameStmt>(NodeTag::T_RenameStmt)?.subname) }
    }

    /// The relation that a command names; InvalidOid if it names none, or if there is none of that
    /// name.
    pub fn relation(self) -> Oid {
        let tree = self.0;
        // SAFETY: each tag is that of the node it is cast to, and a named relation a RangeVar or
        // null.
        unsafe {
            relation_named(match self.kind() {
                NodeTag::T_AlterTableStmt => (*tree.cast::<pg_sys::AlterTableStmt>()).relation,
                NodeTag::T_RenameStmt => (*tree.cast::<pg_sys::RenameStmt>()).relation,
                NodeTag::T_AlterObjectSchemaStmt => (*tree.cast::<pg_sys::AlterObjectSchemaStmt>()).relation,
                NodeTag::T_AlterObjectDependsStmt => (*tree.cast::<pg_sys::AlterObjectDependsStmt>()).relation,
                NodeTag::T_RuleStmt => (*tree.cast::<pg_sys::RuleStmt>()).relation,
                NodeTag::T_CreateTrigStmt => (*tree.cast::<pg_sys::CreateTrigStmt>()).relation,
                NodeTag::T_CreatePolicyStmt => (*tree.cast::<pg_sys::CreatePolicyStmt>()).table,
                NodeTag::T_AlterPolicyStmt => (*tree.cast::<pg_sys::AlterPolicyStmt>()).table,
                NodeTag::T_DropStmt => DropCommand(&*tree.cast()).table_of_part(),
                _ => std::ptr::null_mut(),
            })
        }
    }
}

/// A DROP.
#[derive(Clone, Copy)]
pub struct DropCommand<'c>(&'c pg_sys::DropStmt);

impl DropCommand<'_> {
    /// What kind of object it drops, one of OBJECT_*.
    pub fn of(self) -> ObjectType::Type {
        self.0.removeType
    }

    /// Whether it says CASCADE.
    pub fn cascades(self) -> bool {
        self.0.behavior == pg_sys::DropBehavior::DROP_CASCADE
    }

    /// Whether it says CONCURRENTLY.
    pub fn is_concurrent(self) -> bool {
        self.0.concurrent
    }

    /// The indexes that it names, if they exist; empty for another kind of object.
    pub fn indexes(self) -> Vec<Oid> {
        self.relations(ObjectType::OBJECT_INDEX)
    }

    /// The tables that it names, if they exist; empty for another kind of object.
    pub fn tables(self) -> Vec<Oid> {
        self.relations(ObjectType::OBJECT_TABLE)
    }

    fn relations(self, kind: ObjectType::Type) -> Vec<Oid> {
        if self.of() != kind {
            return Vec::new();
        }
        // SAFETY: tables and indexes are named by lists of names.
        let named = |names: &pg_sys::ListCell| unsafe {
            relation_named(pg_sys::makeRangeVarFromNameList(names.ptr_value.cast()))
        };
        // SAFETY: the statement's own list.
        let relations = unsafe { cells(self.0.objects) }.iter().map(named);
        relations.filter(|relation| *relation != pg_sys::InvalidOid).collect()
    }

    /// The extensions that it names; empty for another kind of object.
    pub fn extensions(self) -> Vec<String> {
        if self.of() != ObjectType::OBJECT_EXTENSION {
            return Vec::new();
        }
        // SAFETY: extensions are named by one string each.
        unsafe { cells(self.0.objects).iter().map(|object| string(object.ptr_value)).collect() }
    }

    /// The table whose trigger, rule or policy is dropped; null for another kind of object. These
    /// are dropped one at a time, each named by a list: the table's name, and its own.
    fn table_of_part(self) -> *mut pg_sys::RangeVar {
        use ObjectType::{OBJECT_POLICY, OBJECT_RULE, OBJECT_TRIGGER};
        if !matches!(self.of(), OBJECT_TRIGGER | OBJECT_RULE | OBJECT_POLICY) {
            return std::ptr::null_mut();
        }
        // SAFETY: the first object is such a list.
        unsafe {
            let Some(names) = cells(self.0.objects).first() else { return std::ptr::null_mut() };
            let names = names.ptr_value.cast::<pg_sys::List>();
            let table = (*names).length - 1;
            if table < 1 {
                return std::ptr::null_mut();
            }
            pg_sys::makeRangeVarFromNameList(pg_sys::list_truncate(pg_sys::list_copy(names), table))
        }
    }
}

/// A CREATE INDEX.
#[derive(Clone, Copy)]
pub struct CreateIndex<'c>(&'c pg_sys::IndexStmt);

impl CreateIndex<'_> {
    /// Whether the index is to be a unique one.
    pub fn is_unique(self) -> bool {
        self.0.unique
    }

    /// The table of the index; InvalidOid if there is none of that name.
    pub fn table(self) -> Oid {
        // SAFETY: the statement's own RangeVar.
        unsafe { relation_named(self.0.relation) }
    }
}

/// What a command has done: a value of the type pg_ddl_command.
#[derive(Clone, Copy)]
pub struct Collected<'c>(&'c pg_sys::CollectedCommand);

/// One change of an ALTER TABLE.
pub struct TableChange<'c> {
    /// One of AT_*.
    pub kind: pg_sys::AlterTableType::Type,
    /// The column, trigger or other part that it names.
    pub part: Option<&'c CStr>,
    /// The partition that it attaches or detaches, or the parent that the table inherits from or no longer inherits from;
    /// InvalidOid for another change.
    pub relative: Oid,
}

impl<'c> Collected<'c> {
    /// Of a value of `pg_event_trigger_ddl_commands()`.
    pub fn new(command: Datum<'c>) -> Collected<'c> {
        // SAFETY: a pg_ddl_command is a pointer to one, which lives longer than the rows that show
        // it.
        Collected(unsafe { &*command.raw().cast_mut_ptr() })
    }

    /// What an ALTER TABLE has changed; empty for other commands, and for the command that moves
    /// all tables to another tablespace.
    pub fn table_changes(self) -> Option<Vec<TableChange<'c>>> {
        if self.0.type_ != pg_sys::CollectedCommandType::SCT_AlterTable {
            return None;
        }
        let command = Command(self.0.parsetree, PhantomData);
        if command.kind() == NodeTag::T_AlterTableMoveAllStmt {
            return Some(Vec::new());
        }
        command.table_changes()
    }
}

impl<'c> Command<'c> {
    /// What an ALTER TABLE is to change; None for another command.
    pub fn table_changes(self) -> Option<Vec<TableChange<'c>>> {
        // SAFETY: the node of this tag, with a list of changes, whose names are C strings or null.
        unsafe {
            let statement: &pg_sys::AlterTableStmt = self.cast(NodeTag::T_AlterTableStmt)?;
            let change = |change: &pg_sys::ListCell| {
                let change = &*change.ptr_value.cast::<pg_sys::AlterTableCmd>();
                TableChange { kind: change.subtype, part: name(change.name), relative: relative(change) }
            };
            Some(cells(statement.cmds).iter().map(change).collect())
        }
    }

    /// Whether it creates a table that is a partition of another or inherits from one.
    pub fn creates_child(self) -> bool {
        // SAFETY: the nodes of these tags. A foreign table's begins with a table's.
        let statement: Option<&pg_sys::CreateStmt> = unsafe {
            match self.kind() {
                NodeTag::T_CreateForeignTableStmt => self
                    .cast::<pg_sys::CreateForeignTableStmt>(NodeTag::T_CreateForeignTableStmt)
                    .map(|statement| &statement.base),
                _ => self.cast(NodeTag::T_CreateStmt),
            }
        };
        statement.is_some_and(|statement| !statement.inhRelations.is_null())
    }
}

/// The other table of a change that makes or ends a partition or an inheritance; InvalidOid for another change.
///
/// # Safety
/// The change must be one of an ALTER TABLE.
unsafe fn relative(change: &pg_sys::AlterTableCmd) -> Oid {
    use pg_sys::AlterTableType as Alter;
    // SAFETY: the definition of these changes is such a node.
    unsafe {
        relation_named(match change.subtype {
            Alter::AT_AttachPartition | Alter::AT_DetachPartition | Alter::AT_DetachPartitionFinalize => {
                (*change.def.cast::<pg_sys::PartitionCmd>()).name
            }
            Alter::AT_AddInherit | Alter::AT_DropInherit => change.def.cast(),
            _ => std::ptr::null_mut(),
        })
    }
}

/// A name in a tree, unless it is null.
///
/// # Safety
/// It must be a C string that lives as long as `'c`, or null.
unsafe fn name<'c>(name: *const c_char) -> Option<&'c CStr> {
    // SAFETY: as above.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) })
}

/// # Safety
/// It must be a string node.
unsafe fn string(node: *const c_void) -> String {
    // SAFETY: as above.
    unsafe { CStr::from_ptr((*node.cast::<pg_sys::String>()).sval) }.to_string_lossy().into_owned()
}

/// The relation of that name, without a lock; InvalidOid if there is none.
///
/// # Safety It must be a RangeVar or null.
unsafe fn relation_named(named: *const pg_sys::RangeVar) -> Oid {
    if named.is_null() {
        return pg_sys::InvalidOid;
    }
    let missing_ok = pg_sys::RVROption::RVR_MISSING_OK;
    // SAFETY: as above; without a callback that needs an argument.
    unsafe { pg_sys::RangeVarGetRelidExtended(named, pg_sys::NoLock as i32, missing_ok, None, std::ptr::null_mut()) }
}
