//! The triggers on tracked tables: which each relation of a tree needs, making and dropping them.

use crate::capture::operation::Operation;
use crate::log::tables::events_oid;
use crate::pg::catalog::{self, function_in_schema};
use crate::pg::lock::lock;
use crate::pg::relation::{parents, with_descendants, OpenRelation, Relation, Trigger};
use crate::pg::{spi, trigger_definition};
use pgrx::pg_sys::{self, Oid};

/// What the names of the triggers begin with; the operation follows.
pub const PREFIX: &str = "~immutable_capture_";

/// How the triggers of a tree fire.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Firing {
    /// Once after each statement, with transition tables: tables and partitions.
    Statement,
    /// After each row: trees with foreign tables or with inheritance.
    Row,
}

/// What a trigger of a relation is like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It fires always, or the relation needs none because the rows of its partitions fire.
    Fires,
    /// It does not fire always: it was disabled, or fires only in sessions that are not replicas.
    Switched,
    Missing,
}

/// The relations of the tree of a tracked table, itself first.
pub fn tree(root: Oid) -> Vec<Oid> {
    with_descendants(root)
}

/// Whether PostgreSQL can tell that a foreign table is truncated.
const FOREIGN_TRUNCATE: bool = !cfg!(feature = "pg15");

/// A relation of a tree and how its triggers are to be.
struct Member {
    kind: u8,
    firing: Firing,
}

impl Member {
    /// A relation of a tree whose firing is known.
    fn new(relation: Oid, firing: Firing) -> Member {
        Member { kind: catalog::relation_kind(relation), firing }
    }

    /// Whether the trigger fires for each row; None if the relation needs none.
    fn for_row(&self, operation: Operation) -> Option<bool> {
        let is_foreign = self.kind == pg_sys::RELKIND_FOREIGN_TABLE;
        match (operation, self.firing) {
            (Operation::Truncate, _) => (!is_foreign || FOREIGN_TRUNCATE).then_some(false),
            (_, Firing::Statement) => Some(false),
            // A trigger for each row of a partitioned table would be copied to its partitions, which have their own.
            (_, Firing::Row) => (self.kind != pg_sys::RELKIND_PARTITIONED_TABLE).then_some(true),
        }
    }
}

/// How the triggers of a tree fire. Transition tables of a parent have no columns of its children, and foreign tables
/// have none at all. A statement on a parent that is not tracked fires the triggers for each row alone.
fn firing(tree: &[Oid]) -> Firing {
    let is_inherited = |relation: Oid| match catalog::relation_kind(relation) {
        pg_sys::RELKIND_FOREIGN_TABLE => true,
        pg_sys::RELKIND_PARTITIONED_TABLE | 0 => false,
        _ if catalog::is_partition(relation) => false,
        _ => tree.len() > 1,
    };
    let is_part = tree.first().is_some_and(|root| !parents(*root).is_empty());
    match is_part || tree.iter().any(|relation| is_inherited(*relation)) {
        true => Firing::Row,
        false => Firing::Statement,
    }
}

/// The statement that creates a trigger. The table in it stands for any.
fn statement(operation: Operation, for_row: bool) -> String {
    let name = operation.name();
    let each = if for_row { "ROW" } else { "STATEMENT" };
    let [old, new] = transition_tables(operation, for_row);
    let old = if old { " OLD TABLE AS immutable_old" } else { "" };
    let new = if new { " NEW TABLE AS immutable_new" } else { "" };
    let referencing = if old.is_empty() && new.is_empty() { "" } else { " REFERENCING" };
    format!(
        "CREATE TRIGGER \"{PREFIX}{name}\" AFTER {name} ON pg_catalog.any_table{referencing}{old}{new} \
         FOR EACH {each} EXECUTE FUNCTION immutable.capture()"
    )
}

/// Whether the trigger has a transition table of old rows, and one of new rows.
fn transition_tables(operation: Operation, for_row: bool) -> [bool; 2] {
    let old = matches!(operation, Operation::Update | Operation::Delete);
    let new = matches!(operation, Operation::Update | Operation::Insert);
    [old && !for_row, new && !for_row]
}

/// The type of the trigger as pg_trigger has it.
fn kind_of_trigger(operation: Operation, for_row: bool) -> u32 {
    let of_operation = match operation {
        Operation::Insert => pg_sys::TRIGGER_TYPE_INSERT,
        Operation::Update => pg_sys::TRIGGER_TYPE_UPDATE,
        Operation::Delete => pg_sys::TRIGGER_TYPE_DELETE,
        Operation::Truncate => pg_sys::TRIGGER_TYPE_TRUNCATE,
    };
    of_operation | if for_row { pg_sys::TRIGGER_TYPE_ROW } else { 0 }
}

/// Whether a trigger is named and made as the one for the operation, whether or not it fires.
fn is_made(trigger: &Trigger, operation: Operation, for_row: bool, capture: Oid) -> bool {
    let [old, new] = transition_tables(operation, for_row);
    trigger.tgfoid == capture
        && trigger.tgtype as u32 == kind_of_trigger(operation, for_row)
        && trigger.tgnattr == 0
        && trigger.tgqual.is_null()
        && trigger.transition_tables() == [old.then_some(c"immutable_old"), new.then_some(c"immutable_new")]
}

fn is_named(trigger: &Trigger, operation: Operation) -> bool {
    trigger.name().to_bytes().strip_prefix(PREFIX.as_bytes()) == Some(operation.name().as_bytes())
}

/// Whether a trigger fires in every session.
fn fires_always(trigger: &Trigger) -> bool {
    trigger.tgenabled as u8 == pg_sys::TRIGGER_FIRES_ALWAYS
}

/// Creates the triggers that are missing on the relations of the tree, drops those that are not needed or are of the other
/// firing, and has all of them fire always. Locks the relations. Event triggers are not told of it.
pub fn install(root: Oid, operations: &[Operation]) {
    let relations = lock_tree(root);
    let (firing, capture) = (firing(&relations), capture_function());
    for relation in relations {
        let member = Member::new(relation, firing);
        for operation in Operation::ALL {
            let for_row = member.for_row(operation).filter(|_| operations.contains(&operation));
            install_one(relation, operation, for_row, capture, fires_always);
        }
    }
}

/// Creates the triggers of the relations that have come into a tree, and puts all of its triggers right if they have to
/// fire in the other way now. Triggers that somebody has disabled stay disabled, and relations that have what they need are
/// not locked. A tree that has lost a relation is looked at as a whole.
pub fn adapt(root: Oid, operations: &[Operation], new: &[Oid], has_lost: bool) {
    let relations = tree(root);
    let (firing, capture) = (firing(&relations), capture_function());
    let for_row = |relation: Oid, operation: Operation| {
        Member::new(relation, firing).for_row(operation).filter(|_| operations.contains(&operation))
    };
    let is_wrong = |relation: Oid| {
        Operation::ALL.into_iter().any(|operation| {
            let made = for_row(relation, operation);
            let is_right = |trigger: &Trigger| made.is_some_and(|made| is_made(trigger, operation, made, capture));
            let found = each_trigger(relation, |trigger| is_named(trigger, operation).then(|| is_right(trigger)));
            found.first() == Some(&false)
        })
    };
    let examined = if has_lost { &relations[..] } else { &relations[..1] };
    let are_wrong = examined.iter().any(|relation| is_wrong(*relation));
    for relation in relations.into_iter().filter(|relation| are_wrong || new.contains(relation)) {
        lock(relation, pg_sys::ShareRowExclusiveLock);
        for operation in Operation::ALL {
            install_one(relation, operation, for_row(relation, operation), capture, |_| true);
        }
    }
}

/// Has the triggers of a relation fire always that ENABLE TRIGGER has made fire in sessions that are no replicas.
pub fn fire_always(relation: Oid, operations: &[Operation]) {
    let capture = capture_function();
    for operation in operations {
        let for_row = each_trigger(relation, |trigger| {
            let is_one = is_named(trigger, *operation) && trigger.tgfoid == capture;
            is_one.then_some(u32::from(trigger.tgtype as u16) & pg_sys::TRIGGER_TYPE_ROW != 0)
        });
        if let Some(for_row) = for_row.first() {
            let keeps = |trigger: &Trigger| trigger.tgenabled as u8 != pg_sys::TRIGGER_FIRES_ON_ORIGIN;
            install_one(relation, *operation, Some(*for_row), capture, keeps);
        }
    }
}

/// Locks the relations of a tree so that nobody changes rows or triggers, and returns them.
pub fn lock_tree(root: Oid) -> Vec<Oid> {
    lock(root, pg_sys::ShareRowExclusiveLock);
    let mut relations = tree(root);
    loop {
        for relation in &relations[1..] {
            lock(*relation, pg_sys::ShareRowExclusiveLock);
        }
        // While it waited, others may have been made.
        let again = tree(root);
        if again == relations {
            return relations;
        }
        relations = again;
    }
}

/// Has a relation have the trigger for an operation, or none. One that is made as it should be is left as it is if it
/// `may_stay`.
fn install_one(
    relation: Oid,
    operation: Operation,
    for_row: Option<bool>,
    capture: Oid,
    may_stay: impl Fn(&Trigger) -> bool,
) {
    let is_right = |trigger: &Trigger| {
        for_row.is_some_and(|for_row| is_made(trigger, operation, for_row, capture)) && may_stay(trigger)
    };
    let found =
        each_trigger(relation, |trigger| is_named(trigger, operation).then(|| (trigger.tgoid, is_right(trigger))));
    match (found.first(), for_row) {
        (Some((_, true)), _) | (None, None) => return,
        (Some((trigger, false)), _) => as_owner(|| trigger_definition::drop(*trigger)),
        (None, Some(_)) => {}
    }
    if let Some(for_row) = for_row {
        as_owner(|| trigger_definition::create(relation, &statement(operation, for_row), capture));
    }
}

/// What `look` finds in the triggers of a relation that are nobody's constraint.
fn each_trigger<T>(relation: Oid, look: impl FnMut(&Trigger) -> Option<T>) -> Vec<T> {
    let Some(open) = OpenRelation::any(relation) else { return Vec::new() };
    let of =
        |open: Relation<'_>| open.triggers().iter().filter(|trigger| !trigger.tgisinternal).filter_map(look).collect();
    of(open.get())
}

/// The function of the triggers.
pub fn capture_function() -> Oid {
    function_in_schema(c"capture")
}

fn as_owner<T>(body: impl FnOnce() -> T) -> T {
    let events = OpenRelation::briefly(events_oid());
    spi::as_owner(events.get(), body)
}

/// Drops all triggers of the relation. Event triggers are not told of it.
pub fn remove(relation: Oid) {
    let capture = capture_function();
    for trigger in each_trigger(relation, |trigger| (trigger.tgfoid == capture).then_some(trigger.tgoid)) {
        as_owner(|| trigger_definition::drop(trigger));
    }
}

/// Calls `each` with the triggers that the relations of a tree need for the operations, and what they are like.
pub fn each_of_tree(root: Oid, operations: &[Operation], each: impl FnMut(Oid, Operation, Condition)) {
    let relations = tree(root);
    each_of_relations(firing(&relations), &relations, operations, each);
}

/// The same for one relation of the tree.
pub fn each_of(root: Oid, relation: Oid, operations: &[Operation], mut each: impl FnMut(Operation, Condition)) {
    each_of_relations(firing(&tree(root)), &[relation], operations, |_, operation, condition| {
        each(operation, condition);
    });
}

fn each_of_relations(
    firing: Firing,
    relations: &[Oid],
    operations: &[Operation],
    mut each: impl FnMut(Oid, Operation, Condition),
) {
    let capture = capture_function();
    for relation in relations {
        let member = Member::new(*relation, firing);
        for operation in operations {
            let Some(for_row) = member.for_row(*operation) else { continue };
            let made = |trigger: &Trigger| {
                let is_it = is_named(trigger, *operation) && is_made(trigger, *operation, for_row, capture);
                is_it.then(|| fires_always(trigger))
            };
            let condition = match each_trigger(*relation, made).first() {
                Some(true) => Condition::Fires,
                Some(false) => Condition::Switched,
                None => Condition::Missing,
            };
            each(*relation, *operation, condition);
        }
    }
}

/// The operation that a trigger of that name is for.
pub fn operation_of(trigger: &str) -> Option<Operation> {
    let name = trigger.strip_prefix(PREFIX)?;
    Operation::ALL.into_iter().find(|operation| operation.name() == name)
}

/// Whether a relation has a trigger that records changes under another name than those that are created here.
pub fn has_stray(relation: Oid) -> bool {
    let capture = capture_function();
    let is_stray = |trigger: &Trigger| {
        let is_known = Operation::ALL.into_iter().any(|operation| is_named(trigger, operation));
        (trigger.tgfoid == capture && !is_known).then_some(())
    };
    !each_trigger(relation, is_stray).is_empty()
}

/// The operations for which a relation has a trigger of ours that fires always.
pub fn firing_now(relation: Oid) -> Vec<Operation> {
    let capture = capture_function();
    each_trigger(relation, |trigger| {
        let operation = Operation::ALL.into_iter().find(|operation| is_named(trigger, *operation))?;
        (trigger.tgfoid == capture && fires_always(trigger)).then_some(operation)
    })
}
