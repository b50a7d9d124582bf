//! The part of immutable.distribute() that SQL cannot do.

use crate::log::{columns as c, session_context};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::{extension, spi};
use pgrx::pg_sys;

sql_function!(immutable_prepare_tables, pg_finfo_immutable_prepare_tables, prepare_tables);

/// `immutable.prepare_tables()`: makes the viewers' policies without a subquery, because Citus does
/// not accept one. They show the same rows, but the tenant is resolved for each scan, not for each
/// statement. It also makes column defaults from the session's settings, which are read on the
/// client's node, because the trigger on another node runs in another session; and one that brings the client's roles.
fn prepare_tables(call: Call<'_>) -> Datum<'_> {
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
        let default = "ALTER TABLE immutable.events ALTER recorded_by SET DEFAULT immutable.client_roles()";
        spi::execute(default, &[]);
    });
    call.null()
}
