//! Viewer tokens that were revoked.

use crate::access::keys::RUN_OUT;
use crate::log::small_table::Table;
use crate::pg::datum::{seconds, text_datum, timestamptz_of_seconds, Datum};
use crate::pg::relation::Equal;
use immutable_format::token::Claims;
use pgrx::pg_sys::{self, Oid};

/// How long a revocation is kept: until its tokens have run out, and as long again, should the clock be set back.
pub const KEPT: i64 = 2 * RUN_OUT;

/// `immutable.revocations`; its columns are jti, tenant_id, actor_id, revoked_at, forget_at, revoked_by, id.
pub fn revocations(lock: u32) -> Table {
    Table::open(c"revocations", 7, lock)
}

pub const JTI: i16 = 1;
pub const TENANT_ID: i16 = 2;
pub const ACTOR_ID: i16 = 3;
pub const REVOKED_AT: usize = 3;

pub fn is_revoked(claims: &Claims) -> bool {
    let table = revocations(pg_sys::AccessShareLock);
    let mut revoked = false;
    table.rows(Some(c"revocations_jti"), &[equal(JTI, Some(&claims.jti))], |_| revoked = true);
    revoked || revoked_at(&table, &claims.tenant_id, claims.actor_id.as_deref()).is_some_and(|at| claims.iat <= at)
}

fn equal(attribute: i16, value: Option<&str>) -> Equal {
    Equal { attribute, function: pg_sys::F_TEXTEQ, value: value.map(|value| text_datum(value)) }
}

/// The second until whose end tokens of this tenant and actor are revoked.
pub fn revoked_at(table: &Table, tenant_id: &str, actor_id: Option<&str>) -> Option<i64> {
    let mut last = None;
    let mut look = |actor_id| {
        let keys = [equal(TENANT_ID, Some(tenant_id)), equal(ACTOR_ID, actor_id)];
        table.rows(Some(c"revocations_subject"), &keys, |row| last = last.max(Some(seconds(row.values[REVOKED_AT]))));
    };
    look(None);
    if actor_id.is_some() {
        look(actor_id);
    }
    last
}

pub fn revoke(key: &str, subject: &[Option<Datum>; 3]) {
    let table = revocations(pg_sys::RowExclusiveLock);
    let now = pg_sys::GetCurrentTimestamp();
    let revoked_at = seconds(Datum::from(now));
    table.execute(
        "DELETE FROM immutable.revocations WHERE forget_at OPERATOR(pg_catalog.<) $1",
        &[pg_sys::TIMESTAMPTZOID],
        &[Some(Datum::from(now))],
    );
    let condition = if subject[0].is_some() { "jti" } else { "tenant_id" };
    let statement = format!(
        "INSERT INTO immutable.revocations AS r (jti, tenant_id, actor_id, revoked_at, forget_at, revoked_by) \
         VALUES ($1, $2, $3, $4, $5, session_user) \
         ON CONFLICT ({key}) WHERE {condition} IS NOT NULL DO UPDATE \
         SET revoked_at = greatest(r.revoked_at, excluded.revoked_at), \
             forget_at = greatest(r.forget_at, excluded.forget_at), revoked_by = excluded.revoked_by"
    );
    const TEXT: Oid = pg_sys::TEXTOID;
    const TIME: Oid = pg_sys::TIMESTAMPTZOID;
    let [jti, tenant_id, actor_id] = *subject;
    table.execute(
        &statement,
        &[TEXT, TEXT, TEXT, TIME, TIME],
        &[jti, tenant_id, actor_id, Some(Datum::from(now)), Some(timestamptz_of_seconds(revoked_at + KEPT))],
    );
}
