//! track_table() and untrack_table().

use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;

sql_function!(immutable_track_table, pg_finfo_immutable_track_table, track_table);

/// `immutable.track_table(relation, resource_type, id_columns, columns, exclude, mask, tenant_column, subject_columns,
/// operations, condition)`
fn track_table(call: Call) -> Datum {
    call.void()
}

sql_function!(immutable_untrack_table, pg_finfo_immutable_untrack_table, untrack_table);

/// `immutable.untrack_table(relation)`
fn untrack_table(_: Call) -> Datum {
    Datum::from(false)
}
