//! create_api_key(), revoke_api_key() and list_api_keys().

use crate::access::api_key::{by_id, open, COLUMNS};
use crate::access::api_key_arguments::Wanted;
use crate::access::decision::decide;
use crate::access::proof::{self, Scope};
use crate::log::distributed;
use crate::log::own_event::{recorder, LogEvent};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, timestamptz, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::spi::{self, Arg};
use crate::pg::{random, transaction};
use immutable_format::api_key::{digest, key, stored, SHOWN};
use immutable_format::id::uuid_text;
use immutable_format::json::write_string;
use immutable_format::Id;
use pgrx::pg_sys;
use std::fmt::Write;
use zeroize::Zeroizing;

sql_function!(immutable_create_api_key, pg_finfo_immutable_create_api_key, create_api_key);

/// `immutable.create_api_key(name, scopes, tenant_id, allowed_ips, quota)`
fn create_api_key(call: Call) -> Datum {
    let opened = proof::require(Scope::Admin);
    let wanted = Wanted::of(call, &opened);
    distributed::refuse("API keys", "Use roles that grant_tenant() binds, or viewer tokens.");
    let key = Zeroizing::new(key(&Zeroizing::new(random::bytes())));
    let id = random::id(transaction::now());
    store(call, &wanted, &id, &key);
    let words = wanted.scopes.iter().map(|scope| scope.word()).collect::<Vec<_>>().join(" ");
    let mut metadata = vec![("scopes", words.as_str())];
    metadata.extend(wanted.tenant_id.as_deref().map(|tenant_id| ("tenant_id", tenant_id)));
    // The event names neither the key's name nor addresses, which could not be erased from it.
    decide(&LogEvent {
        action: "immutable.api_key_created",
        resource_type: Some("api_key"),
        resource_id: Some(&uuid_text(&id)),
        metadata: &metadata,
        ..LogEvent::default()
    });
    call.memory().jsonb(&answer(&wanted, &id, &key))
}

/// It does not use SPI, because a log of statements may contain their parameters.
fn store(call: Call, wanted: &Wanted, id: &Id, key: &str) {
    let memory = call.memory();
    let scopes: Vec<&str> = wanted.scopes.iter().map(|scope| scope.word()).collect();
    let row: [Option<Datum>; COLUMNS.len()] = [
        Some(memory.uuid(id)),
        Some(memory.text(wanted.name)),
        Some(memory.bytes(&stored(&digest(key)))),
        Some(memory.text(&key[..SHOWN])),
        Some(memory.texts(&scopes)),
        wanted.tenant_id.as_deref().map(|tenant_id| memory.text(tenant_id)),
        wanted.networks,
        wanted.quota.map(Datum::from),
        Some(timestamptz(transaction::now())),
        Some(memory.text(&recorder())),
        None,
        None,
    ];
    open(pg_sys::RowExclusiveLock).insert(&row);
}

/// The key as JSON, the only time that it is shown.
fn answer(wanted: &Wanted, id: &Id, key: &str) -> String {
    let quoted = |text: &str| {
        let mut json = String::new();
        write_string(text, &mut json);
        json
    };
    let list = |texts: Vec<String>| format!("[{}]", texts.join(","));
    let or_null = |json: Option<String>| json.unwrap_or_else(|| "null".to_string());
    let mut json = format!("{{\"id\":\"{}\",\"key\":\"{key}\",\"name\":{}", uuid_text(id), quoted(wanted.name));
    let scopes = list(wanted.scopes.iter().map(|scope| quoted(scope.word())).collect());
    let tenant_id = or_null(wanted.tenant_id.as_deref().map(quoted));
    let networks = wanted.allowed_ips.as_ref();
    let networks = or_null(networks.map(|all| list(all.iter().map(|network| quoted(&network.to_string())).collect())));
    let quota = or_null(wanted.quota.map(|quota| quota.to_string()));
    let _ =
        write!(json, ",\"scopes\":{scopes},\"tenant_id\":{tenant_id},\"allowed_ips\":{networks},\"quota\":{quota}}}");
    json
}

sql_function!(immutable_revoke_api_key, pg_finfo_immutable_revoke_api_key, revoke_api_key);

/// `immutable.revoke_api_key(id)`
fn revoke_api_key(call: Call) -> Datum {
    let opened = proof::require(Scope::Admin);
    let id = uuid(call.required(0, "id", "immutable.list_api_keys() shows the ids."));
    let table = open(pg_sys::RowExclusiveLock);
    let (mut is_known, mut is_revoked) = (false, false);
    by_id(&table, &id, |row| {
        // A key of one tenant does not learn which keys others have.
        let tenant_id = row.at(5).map(text);
        is_known = opened.tenant_id.as_deref().is_none_or(|own| tenant_id == Some(own));
        is_revoked = row.at(10).is_some();
    });
    if !is_known {
        let message = format!("there is no API key {}", uuid_text(&id));
        Fault::new(Code::ERRCODE_UNDEFINED_OBJECT, message)
            .field("id")
            .hint("immutable.list_api_keys() shows the keys.")
            .raise()
    }
    if is_revoked {
        return call.void();
    }
    let changed = table.execute(
        "UPDATE immutable.api_keys SET revoked_at = $2, revoked_by = $3 \
         WHERE id OPERATOR(pg_catalog.=) $1 AND revoked_at IS NULL RETURNING id",
        &[Arg::Uuid(id), Arg::Time(transaction::now()), Arg::text(recorder())],
    );
    if changed > 0 {
        decide(&LogEvent {
            action: "immutable.api_key_revoked",
            resource_type: Some("api_key"),
            resource_id: Some(&uuid_text(&id)),
            ..LogEvent::default()
        });
    }
    call.void()
}

sql_function!(immutable_list_api_keys, pg_finfo_immutable_list_api_keys, list_api_keys);

/// `immutable.list_api_keys()`. It takes the owner's rights after it has asked for the proof, and leaves
/// the digests out.
fn list_api_keys(call: Call) -> Datum {
    let opened = proof::require(Scope::Admin);
    let mut listed = call.rows();
    let width = listed.width();
    let table = open(pg_sys::AccessShareLock);
    let statement = "SELECT k.id, k.name, k.prefix, k.scopes, k.tenant_id, k.allowed_ips, k.quota, k.created_at, \
           k.created_by, k.revoked_at, k.revoked_by, coalesce((SELECT u.events FROM immutable.api_key_usage u \
             WHERE u.key_id = k.id AND u.month = CAST(pg_catalog.date_trunc('month', \
               pg_catalog.timezone('UTC', pg_catalog.now())) AS pg_catalog.date)), 0), \
           (SELECT pg_catalog.max(u.last_event_at) FROM immutable.api_key_usage u WHERE u.key_id = k.id) \
         FROM immutable.api_keys k WHERE $1 IS NULL OR k.tenant_id = $1 ORDER BY k.created_at, k.id";
    spi::as_owner(table.relation(), || {
        spi::read(statement, &[Arg::maybe_text(opened.tenant_id.as_deref())], |row| {
            let row: Vec<Option<Datum>> = (0..width).map(|place| row.at(place)).collect();
            listed.put(&row);
        });
    });
    call.null()
}
