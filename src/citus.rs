//! The parts of immutable.distribute() that SQL cannot do.

use crate::log::tables::events_oid;
use crate::log::{columns as c, distributed, seam, session_context, shards};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, uuid, Datum};
use crate::pg::relation::OpenRelation;
use crate::pg::spi::{self, Arg};
use crate::pg::{extension, transaction};
use pgrx::pg_sys;

sql_function!(immutable_prepare_tables, pg_finfo_immutable_prepare_tables, prepare_tables);

/// `immutable.prepare_tables()`: makes the viewers' policies without a subquery, because Citus does
/// not accept one. They show the same rows, but the tenant is resolved for each scan, not for each
/// statement. It also makes column defaults from the session's settings, which are read on the
/// client's node, because the trigger on another node runs in another session; and one that brings the client's roles.
fn prepare_tables(call: Call<'_>) -> Datum<'_> {
    if distributed::is() {
        // Every node changes its own tables; what Citus passed on would meet the shards as well.
        spi::execute("SELECT pg_catalog.set_config('citus.enable_ddl_propagation', 'off', true)", &[]);
    }
    extension::as_own_script(|| {
        // A change locks out every reader, also those whose statements wait for another node. So nothing is changed anew.
        for (table, policy) in [
            ("events", "((tenant_id = immutable.visible_tenant()) AND immutable.is_visible(tenant_id, actor_id))"),
            (
                "event_targets",
                "((tenant_id = immutable.visible_tenant()) AND immutable.is_target_visible(tenant_id, event_id))",
            ),
        ] {
            let statement = "SELECT pg_catalog.pg_get_expr(p.polqual, p.polrelid) FROM pg_catalog.pg_policy p \
                 WHERE p.polrelid = pg_catalog.to_regclass($1) AND p.polname = 'viewer_select'";
            if !is_as_given(statement, &[Arg::text(format!("immutable.{table}"))], policy) {
                spi::execute(&format!("ALTER POLICY viewer_select ON immutable.{table} USING {policy}"), &[]);
            }
        }
        for context in session_context::CONTEXT.iter().filter(|context| context.column != c::TENANT_ID) {
            let (column, oid, _) = c::ALL[context.column];
            let value = format!("NULLIF(current_setting('{}'::text, true), ''::text)", context.name);
            set_default(column, &if oid == pg_sys::INETOID { format!("({value})::inet") } else { value });
        }
        let mut has_roles = false; // before an ALTER EXTENSION UPDATE from 0.3 there is no such function
        let statement = "SELECT pg_catalog.to_regprocedure('immutable.client_roles()') IS NOT NULL";
        spi::query_now(statement, &[], |row| has_roles = row.at(0).is_some_and(Datum::bool));
        if has_roles {
            set_default("recorded_by", "immutable.client_roles()");
        }
    });
    call.null()
}

/// Gives a column this default, as PostgreSQL prints it, unless it has it.
fn set_default(column: &str, default: &str) {
    let statement = "SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum \
         WHERE d.adrelid = 'immutable.events'::pg_catalog.regclass AND a.attname = $1";
    if !is_as_given(statement, &[Arg::text(column)], default) {
        spi::execute(&format!("ALTER TABLE immutable.events ALTER {column} SET DEFAULT {default}"), &[]);
    }
}

/// Whether a statement returns this text.
fn is_as_given(statement: &str, arguments: &[Arg], expected: &str) -> bool {
    let mut is_so = false;
    spi::query_now(statement, arguments, |row| is_so = row.at(0).is_some_and(|found| text(found) == expected));
    is_so
}

sql_function!(immutable_distribute, pg_finfo_immutable_distribute, distribute);

/// `immutable.distribute(log_id)`
fn distribute(call: Call<'_>) -> Datum<'_> {
    transaction::require_writable(c"immutable.distribute()");
    let log_id = Arg::given(pg_sys::UUIDOID, call.arg(0));
    shards::changing(|| spi::execute("SELECT immutable.distribute_log($1)", &[log_id]));
    // After a restore, nothing else on this node records that the log goes on here: the events are other nodes'.
    seam::notice(OpenRelation::table(events_oid(), pg_sys::RowExclusiveLock).get());
    call.null()
}

sql_function!(immutable_prepare_node, pg_finfo_immutable_prepare_node, prepare_node);

/// `immutable.prepare_node(log_id)`
fn prepare_node(call: Call<'_>) -> Datum<'_> {
    let log_id = uuid(call.required(0, "log_id", "Call immutable.distribute() on the coordinator."));
    shards::changing(|| {
        spi::execute("SELECT immutable.prepare_tables()", &[]);
        spi::execute("SELECT immutable.share_identity($1)", &[Arg::Uuid(log_id)]);
        spi::execute("SELECT immutable.mend_shards()", &[]);
    });
    call.null()
}
