//! The event triggers that keep the recording of row changes in step with DDL.

use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};

sql_function!(immutable_capture_ddl, pg_finfo_immutable_capture_ddl, capture_ddl);

/// The function of the event triggers.
fn capture_ddl(call: Call) -> Datum {
    if call.event_trigger().is_none() {
        Fault::new(
            Code::ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED,
            "immutable.capture_ddl() can only be called as an event trigger",
        )
        .raise()
    }
    call.null()
}
