//! Viewer tokens that were revoked.

use crate::access::keys::RUN_OUT;
use crate::log::own_event;
use crate::log::small_table::SmallTable;
use crate::pg::datum::seconds;
use crate::pg::memory::{here, Memory};
use crate::pg::relation::Equal;
use crate::pg::spi::Arg;
use crate::pg::transaction;
use immutable_format::token::Claims;
use pgrx::pg_sys::{self, Oid};

/// How many seconds a revocation is kept: until its tokens have expired, and for the same time
/// again, in case the clock is set back.
const KEPT: i64 = 2 * RUN_OUT;

/// Columns of the table: jti, tenant_id, actor_id, revoked_at, forget_at, revoked_by, id.
const COLUMNS: [Oid; 7] = [
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TEXTOID,
    pg_sys::UUIDOID,
];

/// Attribute numbers, as scan keys count.
const JTI: i16 = 1;
const TENANT_ID: i16 = 2;
const ACTOR_ID: i16 = 3;

/// The place of `revoked_at` in a row.
const REVOKED_AT: usize = 3;

/// Opens `immutable.revocations` with a lock of this mode. Raises 55000 if it is missing or was
/// altered.
pub fn revocations(lock: u32) -> SmallTable {
    SmallTable::open(c"revocations", &COLUMNS, lock)
}

/// Whether the token with these claims was revoked, by itself or with all tokens of its tenant or
/// actor.
pub fn is_revoked(claims: &Claims) -> bool {
    let table = revocations(pg_sys::AccessShareLock);
    let mut revoked = false;
    here(|memory| {
        table.rows(Some(c"revocations_jti"), &[equal(memory, JTI, Some(&claims.jti))], |_| revoked = true);
    });
    revoked || revoked_at(&table, &claims.tenant_id, claims.actor_id.as_deref()).is_some_and(|at| claims.iat <= at)
}

fn equal<'m>(memory: Memory<'m>, attribute: i16, value: Option<&str>) -> Equal<'m> {
    Equal { attribute, function: pg_sys::F_TEXTEQ, value: value.map(|value| memory.text(value)) }
}

/// The second (since 1970) until the end of which tokens of this tenant and actor are revoked; None
/// if they are not.
pub fn revoked_at(table: &SmallTable, tenant_id: &str, actor_id: Option<&str>) -> Option<i64> {
    let mut last = None;
    let mut look = |actor_id| {
        here(|memory| {
            let keys = [equal(memory, TENANT_ID, Some(tenant_id)), equal(memory, ACTOR_ID, actor_id)];
            table.rows(Some(c"revocations_subject"), &keys, |row| last = last.max(row.at(REVOKED_AT).map(seconds)));
        });
    };
    look(None);
    if actor_id.is_some() {
        look(actor_id);
    }
    last
}

/// What is revoked: a token by its jti, or all tokens of a tenant, or of an actor of it.
#[derive(Clone, Copy)]
pub enum Revoked<'a> {
    Token { jti: &'a str },
    TokensOf { tenant_id: &'a str, actor_id: Option<&'a str> },
}

/// Deletes revocations whose tokens expired long ago, and returns how many there were.
pub fn forget() -> usize {
    forget_in(&revocations(pg_sys::RowExclusiveLock))
}

fn forget_in(table: &SmallTable) -> usize {
    let old = "DELETE FROM immutable.revocations WHERE forget_at OPERATOR(pg_catalog.<) $1 RETURNING true";
    table.execute(old, &[Arg::Time(transaction::now())])
}

/// Revokes the tokens that have been issued until now, and deletes revocations whose tokens expired
/// long ago.
pub fn revoke(revoked: Revoked<'_>) {
    let table = revocations(pg_sys::RowExclusiveLock);
    let now = transaction::now();
    let forget_at = now.div_euclid(1_000_000) + KEPT;
    forget_in(&table);
    let (key, condition, jti, tenant_id, actor_id) = match revoked {
        Revoked::Token { jti } => ("jti", "jti", Some(jti), None, None),
        Revoked::TokensOf { tenant_id, actor_id } => {
            ("tenant_id, actor_id", "tenant_id", None, Some(tenant_id), actor_id)
        }
    };
    let statement = format!(
        "INSERT INTO immutable.revocations AS r (jti, tenant_id, actor_id, revoked_at, forget_at, revoked_by) \
         VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT ({key}) WHERE {condition} IS NOT NULL DO UPDATE \
         SET revoked_at = greatest(r.revoked_at, excluded.revoked_at), \
             forget_at = greatest(r.forget_at, excluded.forget_at), revoked_by = excluded.revoked_by"
    );
    table.execute(
        &statement,
        &[
            Arg::maybe_text(jti),
            Arg::maybe_text(tenant_id),
            Arg::maybe_text(actor_id),
            Arg::Time(now),
            Arg::seconds(forget_at),
            Arg::text(own_event::login()), // on another node, session_user is the owner
        ],
    );
}
