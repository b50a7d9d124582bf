//! The trigger on tracked tables: it pairs old and new rows, and keeps what changed until the commit. It runs as the
//! role that changes the rows.

use crate::capture::buffer::{self, Change, Context};
use crate::capture::change::{Comparison, Rows};
use crate::capture::tracked::{self, Operation, Tracked};
use crate::capture::{condition, context, expression};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::memory::{Memory, ScratchContext};
use crate::pg::output::{self, Pinned};
use crate::pg::transition::TransitionTable;
use crate::pg::trigger::TriggerCall;
use crate::pg::tuple::{RowBuffer, Tuple};
use crate::pg::{merge, replication, trigger};
use crate::settings;
use immutable_format::json;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

sql_function!(immutable_capture, pg_finfo_immutable_capture, capture);

/// The function of all capturing triggers.
fn capture(call: Call) -> Datum {
    let trigger = call.any_trigger();
    if !trigger.is_after() {
        refuse_event()
    }
    if let Some(operation) = operation(trigger).filter(|_| !is_left_out()) {
        let tracked = tracked::of(trigger.relation());
        if let Some(tracked) = tracked.filter(|tracked| tracked.operations.contains(&operation)) {
            let collect = || output::pinned(|settings| collect(trigger, operation, &tracked, settings));
            match tracked.condition.is_some() {
                true => expression::pinned(collect),
                false => collect(),
            }
        }
    }
    trigger.nothing()
}

fn refuse_event() -> ! {
    Fault::new(
        Code::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
        "immutable.capture() can only be called by the triggers that immutable.track_table() creates",
    )
    .raise()
}

fn operation(trigger: TriggerCall) -> Option<Operation> {
    match trigger.operation() {
        trigger::INSERT => Some(Operation::Insert),
        trigger::UPDATE => Some(Operation::Update),
        trigger::DELETE => Some(Operation::Delete),
        trigger::TRUNCATE => Some(Operation::Truncate),
        _ => None,
    }
}

/// Whether changes are not recorded now: rows come from a dump or from a publisher, where they were recorded, or a
/// trigger on the log itself makes them while captured changes are appended, which would never end.
fn is_left_out() -> bool {
    settings::RESTORE.get() || replication::is_replaying() || !buffer::takes_changes()
}

fn collect(trigger: TriggerCall, operation: Operation, tracked: &Tracked, settings: &Pinned) {
    let mut collector = Collector::new(trigger, tracked, settings);
    match operation {
        Operation::Truncate => collector.truncated(),
        _ if trigger.is_for_row() => collector.row(trigger, operation),
        Operation::Insert => collector.all(new_table(trigger), Side::New),
        Operation::Delete => collector.all(old_table(trigger), Side::Old),
        Operation::Update => {
            let old = old_table(trigger);
            refuse_unseen(trigger, tracked, old.count());
            collector.updated(old, new_table(trigger));
        }
    }
}

/// Refuses a MERGE that moved rows to another partition (0A000), unless the triggers for deleted and for inserted rows see
/// them: PostgreSQL shows them to no trigger for updates. `seen` is how many updated rows the trigger sees. What the first
/// statement of a session moved is not known, so that it is to be sent again (40001).
fn refuse_unseen(trigger: TriggerCall, tracked: &Tracked, seen: i64) {
    let Some(merge) = merge::of(trigger.relation().oid()) else { return };
    let both = [Operation::Delete, Operation::Insert];
    let are_shown = merge.deletes_and_inserts && both.iter().all(|operation| tracked.operations.contains(operation));
    let name = &tracked.name;
    match merge.updated {
        None => Fault::new(
            Code::ERRCODE_T_R_SERIALIZATION_FAILURE,
            format!("whether this MERGE moved rows of {name} to another partition is not known"),
        )
        .detail("It is the first statement of the session that changes a tracked table.")
        .hint("Retry the transaction in this session.")
        .raise(),
        Some(updated) if updated > seen && !are_shown => Fault::new(
            Code::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("MERGE cannot move rows of {name} to another partition, because its row changes are recorded"),
        )
        .detail("PostgreSQL shows rows that MERGE moves to no trigger, so that their changes would be lost.")
        .hint("Nothing was changed. Move rows with UPDATE, and leave the partition key out of the MERGE.")
        .raise(),
        Some(_) => {}
    }
}

fn old_table(trigger: TriggerCall<'_>) -> TransitionTable<'_> {
    trigger.old_table().unwrap_or_else(|| refuse_event())
}

fn new_table(trigger: TriggerCall<'_>) -> TransitionTable<'_> {
    trigger.new_table().unwrap_or_else(|| refuse_event())
}

/// Which row of a change there is, where there is one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Old,
    New,
}

/// Keeps the changes of one call of the trigger.
struct Collector<'c> {
    tracked: &'c Tracked,
    comparison: Comparison<'c>,
    /// That of the call.
    memory: Memory<'c>,
    old: RowBuffer,
    new: RowBuffer,
    /// What the changes have in common, once there is one.
    context: Option<Context>,
}

impl<'c> Collector<'c> {
    fn new(trigger: TriggerCall<'c>, tracked: &'c Tracked, settings: &'c Pinned) -> Collector<'c> {
        let (descriptor, memory) = (trigger.relation().descriptor(), trigger.call.memory());
        Collector {
            tracked,
            comparison: Comparison::new(tracked, descriptor, memory, settings),
            memory,
            old: RowBuffer::default(),
            new: RowBuffer::default(),
            context: None,
        }
    }

    /// TRUNCATE of the relation.
    fn truncated(&mut self) {
        let mut metadata = String::from("{\"relation\":");
        json::write_string(&self.tracked.name, &mut metadata);
        metadata.push('}');
        let operation = Operation::Truncate;
        let change = Change { operation, tenant_id: None, resource_id: None, targets: "[]", metadata: &metadata };
        put(&change, self.tracked, &mut self.context);
    }

    /// One row.
    fn row(&mut self, trigger: TriggerCall<'_>, operation: Operation) {
        match operation {
            Operation::Insert => self.keep(None, Some(trigger.row())),
            Operation::Update => self.keep(Some(trigger.row()), Some(trigger.new_row())),
            _ => self.keep(Some(trigger.row()), None),
        }
    }

    /// All rows of an INSERT or a DELETE.
    fn all(&mut self, mut rows: TransitionTable<'_>, side: Side) {
        let scratch = ScratchContext::new();
        while rows.advance() {
            scratch.once(|memory| match side {
                Side::Old => self.keep(Some(rows.row(memory)), None),
                Side::New => self.keep(None, Some(rows.row(memory))),
            });
        }
    }

    /// The rows of an UPDATE. PostgreSQL puts each into both tables at once, so that they pair by position. A row that
    /// moves to another partition may be missing from the new ones: a BEFORE trigger there may have left it out.
    fn updated(&mut self, mut old: TransitionTable<'_>, mut new: TransitionTable<'_>) {
        if old.count() != new.count() {
            return self.updated_by_id(old, new);
        }
        let scratch = ScratchContext::new();
        while old.advance() && new.advance() {
            // Most rows of some statements are the same, and need no memory.
            if !self.comparison.is_same(old.row(self.memory), new.row(self.memory)) {
                scratch.once(|memory| self.keep(Some(old.row(memory)), Some(new.row(memory))));
            }
        }
    }

    /// The rows of an UPDATE of which some have no new row. The others are in the same order in both tables. An old row
    /// whose id no new row has is a deletion. A new row that comes before the one with the old row's id has got a new
    /// id, and which row it was cannot be known: it is an insertion. Rows of a table without an id pair with none.
    ///
    /// This is the only place that needs memory for each row: some 30 bytes.
    fn updated_by_id(&mut self, mut old: TransitionTable<'_>, mut new: TransitionTable<'_>) {
        let scratch = ScratchContext::new();
        let mut left = Ids::default();
        while new.advance() {
            left.add(scratch.once(|memory| self.id(new.row(memory))).as_deref());
        }
        new.rewind();
        while old.advance() {
            let id = scratch.once(|memory| self.id(old.row(memory)));
            let mut is_deleted = true;
            while is_deleted && left.has(id.as_deref()) && new.advance() {
                let id_of_new = scratch.once(|memory| self.id(new.row(memory)));
                left.take(id_of_new.as_deref());
                is_deleted = id_of_new != id;
                scratch.once(|memory| self.keep((!is_deleted).then(|| old.row(memory)), Some(new.row(memory))));
            }
            if is_deleted {
                scratch.once(|memory| self.keep(Some(old.row(memory)), None));
            }
        }
        while new.advance() {
            scratch.once(|memory| self.keep(None, Some(new.row(memory))));
        }
    }

    /// The id of a row.
    fn id(&mut self, row: Tuple<'_>) -> Option<String> {
        let comparison = &mut self.comparison;
        self.old.take_apart(row, |row| comparison.id(row))
    }

    /// Keeps a change of one row, if it is to be recorded.
    fn keep(&mut self, old: Option<Tuple<'_>>, new: Option<Tuple<'_>>) {
        if !self.is_wanted(old, new) {
            return;
        }
        let Collector { comparison, old: old_values, new: new_values, context, tracked, .. } = self;
        let mut keep = |rows: Rows<'_, '_>| comparison.change(rows, |change| put(change, tracked, context));
        match (old, new) {
            (Some(old), Some(new)) => old_values.take_apart(old, |old| {
                new_values.take_apart(new, |new| keep(Rows { old: Some(old), new: Some(new) }));
            }),
            (Some(old), None) => old_values.take_apart(old, |old| keep(Rows { old: Some(old), new: None })),
            (None, Some(new)) => new_values.take_apart(new, |new| keep(Rows { old: None, new: Some(new) })),
            (None, None) => {}
        }
    }

    /// Whether the condition holds for the old row or the new one.
    fn is_wanted(&self, old: Option<Tuple<'_>>, new: Option<Tuple<'_>>) -> bool {
        self.tracked.condition.is_none()
            || [old, new].into_iter().flatten().any(|row| condition::holds(self.tracked, row))
    }
}

/// Keeps a change, and what all changes of the statement have in common. That is said again for each, because a
/// condition may change another tracked table.
fn put(change: &Change<'_>, tracked: &Tracked, context: &mut Option<Context>) {
    let context = context.get_or_insert_with(|| context::of_session(&tracked.resource_type));
    buffer::put_context(context);
    buffer::put(change);
}

/// How often each id occurs. Two ids that hash alike count as one, after which rows may be recorded as inserted and
/// deleted that were updated.
#[derive(Default)]
struct Ids {
    state: RandomState,
    counts: HashMap<u64, u32>,
}

impl Ids {
    fn add(&mut self, id: Option<&str>) {
        if let Some(id) = id {
            *self.counts.entry(self.state.hash_one(id)).or_default() += 1;
        }
    }

    fn has(&self, id: Option<&str>) -> bool {
        id.is_some_and(|id| self.counts.contains_key(&self.state.hash_one(id)))
    }

    /// Takes one occurrence away.
    fn take(&mut self, id: Option<&str>) {
        let Some(hash) = id.map(|id| self.state.hash_one(id)) else { return };
        let is_last = self.counts.get_mut(&hash).is_some_and(|count| {
            *count -= 1;
            *count == 0
        });
        if is_last {
            self.counts.remove(&hash);
        }
    }
}
