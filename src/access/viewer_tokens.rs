//! create_viewer_token(), revoke_viewer_token() and revoke_viewer_tokens().

use crate::access::decision::decide;
use crate::access::keys;
use crate::access::proof::{self, Scope};
use crate::access::revocation::{revocations, revoke, revoked_at, Revoked};
use crate::access::token::{open, parse_identity};
use crate::log::own_event::LogEvent;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::error::Fault;
use crate::pg::random;
use crate::pg::transaction::now_in_seconds;
use immutable_format::id::uuid_text;
use immutable_format::json::write_string;
use immutable_format::token::{self, Claims};
use pgrx::pg_sys;
use std::fmt::Write;

const MIN_TTL: i32 = 60;

const DEFAULT_TTL: i32 = 3600;

sql_function!(immutable_create_viewer_token, pg_finfo_immutable_create_viewer_token, create_viewer_token);

/// `immutable.create_viewer_token(tenant_id, actor_id, ttl)`
fn create_viewer_token(call: Call) -> Datum {
    let opened = proof::require(Scope::Mint);
    let tenant_id = opened.tenant_or_own("tenant_id", parse_identity("tenant_id", call.arg(0))).unwrap_or_default();
    let actor_id = parse_identity("actor_id", call.arg(1));
    if actor_id.as_deref() == Some("") {
        Fault::invalid("actor_id", "actor_id must not be empty")
            .hint("Give NULL for all of the tenant's events.")
            .raise()
    }
    let ttl = call.arg(2).map_or(DEFAULT_TTL, Datum::i32);
    if !(MIN_TTL..=token::MAX_LIFETIME as i32).contains(&ttl) {
        Fault::invalid("ttl", format!("ttl must be from {MIN_TTL} to {} seconds, not {ttl}", token::MAX_LIFETIME))
            .hint("Issue a token for no longer than the viewer needs it, and a new one when it expires.")
            .raise()
    }
    let revoked = revoked_at(&revocations(pg_sys::AccessShareLock), &tenant_id, actor_id.as_deref());
    if revoked == Some(now_in_seconds()) {
        keys::wait_for_next_second();
    }
    let iat = now_in_seconds();
    let claims = Claims {
        tenant_id,
        actor_id,
        jti: uuid_text(&random::id(iat.saturating_mul(1_000_000))),
        iat,
        nbf: None,
        exp: iat + i64::from(ttl),
    };
    let Some(token) = token::mint(&keys::signing(), &claims) else {
        Fault::invalid("tenant_id", "tenant_id and actor_id together are too long for a token")
            .hint("A control character takes six bytes in a token.")
            .raise()
    };
    let mut json = String::from("{\"token\":");
    write_string(&token, &mut json);
    json.push_str(",\"viewer_token\":");
    write_string(&token, &mut json);
    let _ = write!(json, ",\"expires_at\":{}}}", claims.exp);
    call.memory().jsonb(&json)
}

sql_function!(immutable_revoke_viewer_token, pg_finfo_immutable_revoke_viewer_token, revoke_viewer_token);

/// `immutable.revoke_viewer_token(token)`
fn revoke_viewer_token(call: Call) -> Datum {
    let opened = proof::require(Scope::Mint);
    let given = text(call.required(0, "token", "Give the token, or its jti."));
    // A text that has the form of a token is taken as one, because to revoke it as a jti would have
    // no effect.
    let jti = if token::open(given).is_ok() || given.len() > token::MAX_JTI_BYTES {
        let (_, claims) = open(given).unwrap_or_else(|error| {
            Fault::invalid("token", format!("the token cannot be revoked: {error}"))
                .hint("A token that was not signed by a key in use is refused anyway. A jti has at most 255 bytes.")
                .raise()
        });
        opened.hold_to("token", &claims.tenant_id);
        claims.jti
    } else {
        // Whose token has this id is not known, and to refuse another tenant's would be an attack.
        opened.hold_to_all("ids of tokens");
        given.to_string()
    };
    if jti.is_empty() {
        Fault::invalid("token", "token must not be empty").hint("Give the token, or its jti.").raise()
    }
    revoke(Revoked::Token { jti: &jti });
    decide(&LogEvent {
        action: "immutable.viewer_token_revoked",
        resource_type: Some("viewer_token"),
        resource_id: Some(&jti),
        ..LogEvent::default()
    });
    call.void()
}

sql_function!(immutable_revoke_viewer_tokens, pg_finfo_immutable_revoke_viewer_tokens, revoke_viewer_tokens);

/// `immutable.revoke_viewer_tokens(tenant_id, actor_id)`
fn revoke_viewer_tokens(call: Call) -> Datum {
    let opened = proof::require(Scope::Mint);
    let tenant_id = opened.tenant_or_own("tenant_id", parse_identity("tenant_id", call.arg(0))).unwrap_or_default();
    let actor_id = parse_identity("actor_id", call.arg(1));
    // The event does not name the actor, because the name could not be erased from it.
    let whose = if actor_id.is_some() { "one actor's" } else { "all" };
    revoke(Revoked::TokensOf { tenant_id: &tenant_id, actor_id: actor_id.as_deref() });
    decide(&LogEvent {
        action: "immutable.viewer_tokens_revoked",
        metadata: &[("tenant_id", &tenant_id), ("tokens", whose)],
        ..LogEvent::default()
    });
    call.void()
}
