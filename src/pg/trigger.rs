//! The call of a trigger function, and its result.

#![allow(unsafe_code)]

use crate::pg::call::Call;
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::Relation;
use crate::pg::tuple::Tuple;
use pgrx::pg_sys;
use std::ffi::CStr;

/// The event of a BEFORE INSERT trigger for each row.
pub const BEFORE_INSERT_ROW: u32 =
    pg_sys::TRIGGER_EVENT_INSERT | pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_BEFORE;

/// The event of a BEFORE UPDATE trigger for each row.
pub const BEFORE_UPDATE_ROW: u32 =
    pg_sys::TRIGGER_EVENT_UPDATE | pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_BEFORE;

/// The operations that triggers fire for.
pub const INSERT: u32 = pg_sys::TRIGGER_EVENT_INSERT;
pub const UPDATE: u32 = pg_sys::TRIGGER_EVENT_UPDATE;
pub const DELETE: u32 = pg_sys::TRIGGER_EVENT_DELETE;
pub const TRUNCATE: u32 = pg_sys::TRIGGER_EVENT_TRUNCATE;

/// The call of a trigger function.
#[derive(Clone, Copy)]
pub struct TriggerCall<'c> {
    pub call: Call<'c>,
    data: &'c pg_sys::TriggerData,
}

impl<'c> Call<'c> {
    /// The call as that of a trigger. Raises 39P01 if it is not one.
    pub fn any_trigger(self) -> TriggerCall<'c> {
        // SAFETY: a call has a context, or null; that of a trigger is TriggerData.
        let data = unsafe {
            let context = (*self.raw()).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
                protocol_violated("this function can only be called as a trigger")
            }
            &*context.cast::<pg_sys::TriggerData>()
        };
        TriggerCall { call: self, data }
    }

    /// The same for a trigger of one event: TRIGGER_EVENT_* of the operation, ROW and the timing.
    /// Raises 39P01 for any other event.
    pub fn trigger(self, event: u32) -> TriggerCall<'c> {
        const ALL: u32 = pg_sys::TRIGGER_EVENT_OPMASK | pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_TIMINGMASK;
        let trigger = self.any_trigger();
        if trigger.data.tg_event & ALL != event {
            protocol_violated("this trigger function cannot be used for this event")
        }
        trigger
    }
}

/// How many triggers are running, one inside the other.
pub fn depth() -> i32 {
    // SAFETY: a function of PostgreSQL's that takes no argument.
    let depth = unsafe { pgrx::fcinfo::direct_function_call_as_datum(pg_sys::pg_trigger_depth, &[]) };
    depth.map_or(0, |depth| depth.value() as i32)
}

fn protocol_violated(message: &str) -> ! {
    Fault::new(Code::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED, message).raise()
}

impl<'c> TriggerCall<'c> {
    /// The relation on which it fires, which is open.
    pub fn relation(self) -> Relation<'c> {
        // SAFETY: open as long as the trigger runs.
        unsafe { Relation::of(self.data.tg_relation) }
    }

    pub(in crate::pg) fn data(self) -> &'c pg_sys::TriggerData {
        self.data
    }

    /// The name of the trigger.
    pub fn name(self) -> &'c CStr {
        // SAFETY: a trigger has a name, which ends with a NUL and lives as long as the trigger
        // runs.
        unsafe { CStr::from_ptr((*self.data.tg_trigger).tgname) }
    }

    /// TRIGGER_EVENT_INSERT, _UPDATE, _DELETE or _TRUNCATE.
    pub fn operation(self) -> u32 {
        self.data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK
    }

    /// Whether it fires once for each row.
    pub fn is_for_row(self) -> bool {
        self.data.tg_event & pg_sys::TRIGGER_EVENT_ROW != 0
    }

    /// Whether it is a BEFORE trigger.
    pub fn is_before(self) -> bool {
        self.data.tg_event & pg_sys::TRIGGER_EVENT_TIMINGMASK == pg_sys::TRIGGER_EVENT_BEFORE
    }

    /// Whether it is an AFTER trigger.
    pub fn is_after(self) -> bool {
        self.data.tg_event & pg_sys::TRIGGER_EVENT_TIMINGMASK == pg_sys::TRIGGER_EVENT_AFTER
    }

    /// The row that is inserted or deleted, or the old row of an update. Raises 39P01 if the call
    /// has none.
    pub fn row(self) -> Tuple<'c> {
        self.tuple(self.data.tg_trigtuple)
    }

    /// The new row of an update. Raises 39P01 if the call has none.
    pub fn new_row(self) -> Tuple<'c> {
        self.tuple(self.data.tg_newtuple)
    }

    /// A row of this call. A trigger for a statement has none, and only one for an update has two.
    fn tuple(self, tuple: pg_sys::HeapTuple) -> Tuple<'c> {
        if tuple.is_null() {
            protocol_violated("this trigger function is not made for this event")
        }
        // SAFETY: a row of the relation, which lives as long as the call.
        unsafe { Tuple::of(tuple, self.relation().descriptor(), self.call.memory()) }
    }

    /// The result that continues with a row: one of the call's rows, or one that was formed from
    /// their values.
    pub fn go_on_with(self, row: Tuple<'c>) -> Datum<'c> {
        // SAFETY: PostgreSQL takes a pointer to the row as the result.
        unsafe { Datum::new(pg_sys::Datum::from(row.raw()), self.call.memory()) }
    }

    /// The row as it is to be: the new one of an update. Raises 39P01 if the call has none.
    pub fn given(self) -> Tuple<'c> {
        match self.operation() {
            pg_sys::TRIGGER_EVENT_UPDATE => self.new_row(),
            _ => self.row(),
        }
    }

    /// The result that continues with the row unchanged; a statement has no row.
    pub fn go_on(self) -> Datum<'c> {
        match self.is_for_row() {
            true => self.go_on_with(self.given()),
            false => self.nothing(),
        }
    }

    /// The result that leaves the row out. It is also the result of an AFTER trigger and of a
    /// statement trigger.
    #[allow(clippy::unused_self)] // said of a call
    pub fn nothing(self) -> Datum<'c> {
        Datum::from(0_i64)
    }
}
