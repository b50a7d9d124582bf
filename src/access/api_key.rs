//! The table of API keys, which holds SHA-256 of SHA-256 of each. A program that takes a key from a
//! client shows the first digest, so that neither logs of statements nor dumps contain what a client
//! could present. `immutable_format::api_key` has the formats.

use crate::access::key_scope::Scope;
use crate::log::small_table::SmallTable;
use crate::pg::call::elements;
use crate::pg::datum::{bytes, text, uuid, Datum};
use crate::pg::memory::here;
use crate::pg::network::Network;
use crate::pg::relation::Equal;
use crate::pg::tuple::Values;
use crate::pg::{time, transaction};
use immutable_format::api_key::stored;
use immutable_format::{Hash, Id};
use pgrx::pg_sys::{self, Oid};
use subtle::ConstantTimeEq;

/// Columns of the table: id, name, digest, prefix, scopes, tenant_id, allowed_ips, quota, created_at,
/// created_by, revoked_at, revoked_by.
pub const COLUMNS: [Oid; 12] = [
    pg_sys::UUIDOID,
    pg_sys::TEXTOID,
    pg_sys::BYTEAOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTARRAYOID,
    pg_sys::TEXTOID,
    pg_sys::CIDRARRAYOID,
    pg_sys::INT8OID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TEXTOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TEXTOID,
];

/// Columns of `immutable.api_key_usage`: key_id, month, events, last_event_at.
const USAGE: [Oid; 4] = [pg_sys::UUIDOID, pg_sys::DATEOID, pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID];

/// An API key, without anything that could be presented in its place.
pub struct ApiKey {
    /// The key's id, which events name.
    pub id: Id,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// The one tenant that it opens; None for all.
    pub tenant_id: Option<String>,
    /// From where it may be used; None for anywhere.
    pub allowed_ips: Option<Vec<Network>>,
    /// How many events it may record in a calendar month.
    pub quota: Option<i64>,
    /// Whether it was revoked.
    pub is_revoked: bool,
}

/// Opens `immutable.api_keys` with a lock of this mode. Raises 55000 if it is missing or was altered.
pub fn open(lock: u32) -> SmallTable {
    SmallTable::open(c"api_keys", &COLUMNS, lock)
}

/// The key of which `shown` is SHA-256, if there is one. It is looked up each time, so that a
/// revocation is effective at once.
pub fn find(shown: &Hash) -> Option<ApiKey> {
    let digest = stored(shown);
    let mut found = None;
    here(|memory| {
        let by = [Equal { attribute: 3, function: pg_sys::F_BYTEAEQ, value: Some(memory.bytes(&digest)) }];
        open(pg_sys::AccessShareLock).rows(Some(c"api_keys_digest_key"), &by, |row| {
            // Without its index, the table is read as a whole.
            let is_same = row.at(2).is_some_and(|stored| bool::from(bytes(stored).ct_eq(&digest)));
            found = found.take().or(is_same.then(|| ApiKey::read(row)).flatten());
        });
    });
    found
}

impl ApiKey {
    /// The key in a row; None if somebody has made it unreadable.
    fn read(row: &Values) -> Option<ApiKey> {
        let scopes = elements(row.at(4)?, pg_sys::TEXTOID);
        Some(ApiKey {
            id: uuid(row.at(0)?),
            // A word that is no scope opens nothing.
            scopes: scopes.into_iter().flatten().filter_map(|scope| Scope::of(text(scope))).collect(),
            tenant_id: row.at(5).map(|tenant| text(tenant).to_string()),
            allowed_ips: row.at(6).map(|networks| {
                let networks = elements(networks, pg_sys::CIDROID);
                networks.into_iter().flatten().filter_map(Network::read).collect()
            }),
            quota: row.at(7).map(Datum::i64),
            is_revoked: row.at(10).is_some(),
        })
    }
}

/// The keys with this id, of which there is one at most.
pub fn by_id(table: &SmallTable, id: &Id, mut each: impl FnMut(&Values)) {
    here(|memory| {
        let by = [Equal { attribute: 1, function: pg_sys::F_UUID_EQ, value: Some(memory.uuid(id)) }];
        table.rows(Some(c"api_keys_pkey"), &by, |row| {
            if row.at(0).map(uuid) == Some(*id) {
                each(row);
            }
        });
    });
}

/// Whether there is such a key, and it is not revoked.
pub fn is_in_force(id: &Id) -> bool {
    let mut is_in_force = false;
    by_id(&open(pg_sys::AccessShareLock), id, |row| is_in_force = row.at(10).is_none());
    is_in_force
}

/// How many events of this month are counted for a key so far.
pub fn events_of_month(id: &Id) -> i64 {
    let mut events = 0;
    here(|memory| {
        let month = Datum::from(time::first_of_month(transaction::now()));
        let by = [
            Equal { attribute: 1, function: pg_sys::F_UUID_EQ, value: Some(memory.uuid(id)) },
            Equal { attribute: 2, function: pg_sys::F_DATE_EQ, value: Some(month) },
        ];
        let usage = SmallTable::open(c"api_key_usage", &USAGE, pg_sys::AccessShareLock);
        usage.rows(Some(c"api_key_usage_pkey"), &by, |row| events = row.at(2).map_or(0, Datum::i64));
    });
    events
}
