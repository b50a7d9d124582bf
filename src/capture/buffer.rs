//! The row changes that the transaction has made so far. They are kept in memory, and on disk beyond a bound, until the
//! commit; what a savepoint takes back is dropped.
//!
//! While they are recorded, nothing more is kept: a trigger on the log that changes a tracked table must not have its own
//! changes recorded, because these would fire it again.

use crate::capture::record::{self, Fields};
pub use crate::capture::record::{Change, Context, Notice, Record};
use crate::log::own_event::Cause;
use crate::pg::error::{Code, Fault};
use crate::pg::spool::{Reading, Spool};
use crate::pg::transaction::{on_end, on_subtransaction_abort, on_subtransaction_commit, subtransaction, TOP};
use crate::settings;
use std::cell::{Cell, RefCell};

/// How far a transaction is with its changes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// They are kept.
    #[default]
    Collecting,
    /// They are being recorded. Changes that are made now are not.
    Recording,
    /// Nothing can be recorded any longer.
    Over,
}

/// What a subtransaction has kept: everything from an offset on, up to the next mark.
#[derive(Clone, Copy)]
struct Mark {
    subtransaction: u32,
    begins: u64,
}

#[derive(Default)]
struct Buffer {
    spool: Spool,
    /// In the order of their numbers and offsets. The top transaction has none.
    marks: Vec<Mark>,
    /// What the changes that follow have in common.
    context: Context,
    /// Where it was put, unless it is still to be.
    placed: Option<u64>,
    phase: Phase,
    /// Memory for one record.
    record: Vec<u8>,
}

thread_local! {
    static BUFFER: RefCell<Buffer> = RefCell::default();
    /// What is called before something is kept, once for each statement.
    static BEFORE: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// Has `called` called when something is to be kept, at least once for each statement.
pub fn before_keeping(called: fn()) {
    BEFORE.set(Some(called));
}

/// Called once, when the library is loaded.
pub fn register_callbacks() {
    on_end(|| drop(BUFFER.take()));
    on_subtransaction_abort(|aborted| BUFFER.with_borrow_mut(|buffer| buffer.forget_since(aborted)));
    on_subtransaction_commit(|own, parent| BUFFER.with_borrow_mut(|buffer| buffer.join(own, parent)));
}

impl Buffer {
    /// Keeps a record. Raises 54000 if there are too many bytes.
    fn put(&mut self, write: impl FnOnce(&mut Fields<'_>)) {
        self.record.clear();
        record::write(&mut self.record, write);
        let begins = self.spool.len();
        let most = settings::MAX_CAPTURE_SIZE.get();
        if begins + self.record.len() as u64 > (most as u64) << 20 {
            refuse_size(most)
        }
        self.spool.append(&self.record);
        let subtransaction = subtransaction();
        if subtransaction != TOP && self.marks.last().is_none_or(|last| last.subtransaction < subtransaction) {
            self.marks.push(Mark { subtransaction, begins });
        }
    }

    /// Drops what a subtransaction has kept that is rolled back, and what its children have, which began later.
    fn forget_since(&mut self, aborted: u32) {
        let first = self.marks.partition_point(|mark| mark.subtransaction < aborted);
        let Some(mark) = self.marks.get(first).copied() else { return };
        self.marks.truncate(first);
        self.spool.truncate(mark.begins);
        if self.placed.is_some_and(|placed| placed >= mark.begins) {
            self.placed = None;
        }
    }

    /// Makes what a subtransaction has kept its parent's.
    fn join(&mut self, own: u32, parent: u32) {
        let Some(mark) = self.marks.pop_if(|last| last.subtransaction == own) else { return };
        let is_marked = self.marks.last().is_some_and(|last| last.subtransaction == parent);
        if parent != TOP && !is_marked {
            self.marks.push(Mark { subtransaction: parent, ..mark });
        }
    }

    /// Whether a change that is made now is kept. Raises 55000 if it would have to be, and cannot.
    fn takes_changes(&self) -> bool {
        match self.phase {
            Phase::Collecting => true,
            Phase::Recording => false,
            Phase::Over => refuse_late(),
        }
    }
}

fn refuse_size(most: i32) -> ! {
    Fault::new(
        Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        format!("the row changes of this transaction exceed immutable.max_capture_size, which is {most} MB"),
    )
    .hint(
        "Change fewer rows in one transaction. A superuser can raise immutable.max_capture_size: the changes wait on the \
         disk until the transaction commits.",
    )
    .raise()
}

fn refuse_late() -> ! {
    Fault::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "a tracked table cannot be changed now: the row changes of this transaction have been recorded already",
    )
    .detail("An extension changes the table while the transaction commits.")
    .hint("Name immutable after that extension in shared_preload_libraries, or untrack the table.")
    .raise()
}

/// Whether a change that is made now is kept. Raises 55000 if it would have to be, and cannot.
pub fn takes_changes() -> bool {
    BUFFER.with_borrow(Buffer::takes_changes)
}

/// Says what the changes that follow have in common. It is kept with the first of them.
pub fn put_context(context: &Context) {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.context != *context {
            buffer.context = context.clone();
            buffer.placed = None;
        }
    });
}

/// Keeps a change, which belongs to the last context. Raises 54000 if the changes of the transaction exceed
/// immutable.max_capture_size, and PostgreSQL's errors if they cannot be written to the disk.
pub fn put(change: &Change<'_>) {
    BUFFER.with_borrow_mut(|buffer| {
        if !buffer.takes_changes() {
            return;
        }
        if buffer.placed.is_none() {
            if let Some(called) = BEFORE.get() {
                called();
            }
            let (place, context) = (buffer.spool.len(), std::mem::take(&mut buffer.context));
            buffer.put(|fields| record::write_context(&context, fields));
            buffer.context = context;
            buffer.placed = Some(place);
        }
        buffer.put(|fields| record::write_change(change, fields));
    });
}

/// Keeps an event of the log's own, with the session's caller as its actor. Raises what [`put`] does.
pub fn put_notice(notice: &Notice) {
    // Nothing but a dump's events is recorded meanwhile.
    if settings::RESTORE.get() {
        return;
    }
    let cause = Cause::of_session(false);
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.phase == Phase::Over {
            refuse_late()
        }
        if let Some(called) = BEFORE.get() {
            called();
        }
        let cause = [&*cause.actor_id, &*cause.actor_type, &*cause.recorded_by];
        buffer.put(|fields| record::write_notice(notice, cause, fields));
    });
}

/// Whether nothing is kept.
pub fn is_empty() -> bool {
    BUFFER.with_borrow(|buffer| buffer.spool.len() == 0)
}

/// Everything that was kept.
pub struct Kept(Spool);

/// Takes out everything that is kept, and runs `body` with it. `is_last` says that nothing can be recorded afterwards.
pub fn take<T>(is_last: bool, body: impl FnOnce(&Kept) -> T) -> T {
    let kept = BUFFER.with_borrow_mut(|buffer| {
        buffer.phase = Phase::Recording;
        buffer.marks.clear();
        buffer.placed = None;
        Kept(std::mem::take(&mut buffer.spool))
    });
    let done = body(&kept);
    // After an error the transaction ends, and with it this.
    drop(kept);
    BUFFER.with_borrow_mut(|buffer| buffer.phase = if is_last { Phase::Over } else { Phase::Collecting });
    done
}

/// Says that nothing can be recorded any longer in this transaction.
pub fn close() {
    BUFFER.with_borrow_mut(|buffer| buffer.phase = Phase::Over);
}

impl Kept {
    /// Reads everything, in the order in which it was put.
    pub fn read(&self) -> Reader<'_> {
        Reader(self.0.read())
    }
}

/// A place in what was kept.
pub struct Reader<'k>(Reading<'k>);

impl Reader<'_> {
    /// The next record.
    pub fn next(&mut self) -> Option<Record<'_>> {
        record::next(&mut self.0).map(record::read)
    }
}
