//! The parts of immutable.distribute() that SQL cannot do.

use crate::log::tables::events_oid;
use crate::log::{columns as c, distributed, seam, session_context, shards};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{uuid, Datum};
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
        for statement in [
            "ALTER POLICY viewer_select ON immutable.events \
             USING (tenant_id = immutable.visible_tenant() AND immutable.is_visible(tenant_id, actor_id))",
            "ALTER POLICY viewer_select ON immutable.event_targets \
             USING (tenant_id = immutable.visible_tenant() AND immutable.is_target_visible(tenant_id, event_id))",
        ] {
            spi::execute(statement, &[]);
        }
        for context in session_context::CONTEXT.iter().filter(|context| context.column != c::TENANT_ID) {
            let (column, oid, _) = c::ALL[context.column];
            let cast = if oid == pg_sys::INETOID { "::inet" } else { "" };
            let setting = context.name;
            let default = format!("nullif(pg_catalog.current_setting('{setting}', true), ''){cast}");
            spi::execute(&format!("ALTER TABLE immutable.events ALTER {column} SET DEFAULT {default}"), &[]);
        }
        let mut has_roles = false; // before an ALTER EXTENSION UPDATE from 0.3 there is no such function
        let statement = "SELECT pg_catalog.to_regprocedure('immutable.client_roles()') IS NOT NULL";
        spi::query_now(statement, &[], |row| has_roles = row.at(0).is_some_and(Datum::bool));
        if has_roles {
            spi::execute("ALTER TABLE immutable.events ALTER recorded_by SET DEFAULT immutable.client_roles()", &[]);
        }
    });
    call.null()
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
