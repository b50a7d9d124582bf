//! What a trigger is called with.

use crate::pg::call::Call;
use crate::pg::error::{Code, Fault};
use pgrx::pg_sys;

/// The call of a trigger function, checked to be one.
pub unsafe fn trigger_data<'a>(call: Call, allowed: u32) -> &'a pg_sys::TriggerData {
    let context = (*call.0).context;
    if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
        Fault::new(Code::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED, "this function can only be called as a trigger")
            .raise()
    }
    let data = &*context.cast::<pg_sys::TriggerData>();
    if data.tg_event & (pg_sys::TRIGGER_EVENT_OPMASK | pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_TIMINGMASK)
        != allowed
    {
        Fault::new(Code::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED, "this trigger function is not made for this event")
            .raise()
    }
    data
}

pub const BEFORE_INSERT_ROW: u32 =
    pg_sys::TRIGGER_EVENT_INSERT | pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_BEFORE;
