//! The part of immutable.distribute() that SQL can not do.

use crate::function::{sql_function, Call};
use crate::spi;
use pgrx::pg_sys::{self, Datum, Oid};

/// Runs as the extension's own script for as long as it lives: what changes its tables then is the extension itself, which
/// no guard against DDL has to stop.
struct OwnScript(bool, Oid);

impl OwnScript {
    unsafe fn begin() -> OwnScript {
        let before = OwnScript(pg_sys::creating_extension, pg_sys::CurrentExtensionObject);
        pg_sys::CurrentExtensionObject = pg_sys::get_extension_oid(c"immutable".as_ptr(), false);
        pg_sys::creating_extension = true;
        before
    }
}

impl Drop for OwnScript {
    fn drop(&mut self) {
        // SAFETY: restores what was there, after an error too.
        unsafe {
            pg_sys::creating_extension = self.0;
            pg_sys::CurrentExtensionObject = self.1;
        }
    }
}

sql_function!(immutable_simplify_policies, pg_finfo_immutable_simplify_policies, simplify_policies);

/// `immutable.simplify_policies()`: the viewers' policies without a subquery, of which Citus takes none. They show the same
/// rows; the tenant is resolved for each scan, not for each statement.
unsafe fn simplify_policies(call: Call) -> Datum {
    let _own_script = OwnScript::begin();
    for statement in [
        "ALTER POLICY viewer_select ON immutable.events \
         USING (tenant_id = immutable.visible_tenant() AND immutable.is_visible(tenant_id, actor_id))",
        "ALTER POLICY viewer_select ON immutable.event_targets \
         USING (tenant_id = immutable.visible_tenant() AND immutable.is_target_visible(tenant_id, event_id))",
    ] {
        spi::execute(statement, &[], &[]);
    }
    call.null()
}
