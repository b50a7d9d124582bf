//! The trigger on tracked tables: it pairs old and new rows, and keeps what changed until the commit.

use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;

sql_function!(immutable_capture, pg_finfo_immutable_capture, capture);

/// The function of all capturing triggers.
fn capture(call: Call) -> Datum {
    call.any_trigger().nothing()
}
