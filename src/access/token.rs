//! Viewer tokens in the server: they are minted, revoked, and opened here.
//! `immutable_format::token` has their format.

use crate::access::decision::decide;
use crate::access::keys;
use crate::access::revocation::{is_revoked, revocations, revoke, revoked_at, Revoked};
use crate::log::own_event::LogEvent;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::random;
use crate::pg::transaction::now_in_seconds;
use immutable_format::id::uuid_text;
use immutable_format::json::write_string;
use immutable_format::limits::text_bytes;
use immutable_format::token::{self, Claims, Error};
use immutable_format::Id;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;
use subtle::ConstantTimeEq;

const MIN_TTL: i32 = 60;

const DEFAULT_TTL: i32 = 3600;

const GET_ANOTHER: &str = "Get a new token from immutable.create_viewer_token().";

/// Where a token was presented.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PresentedIn {
    /// Setting immutable.viewer_token: the token.
    Setting,
    /// Setting request.headers: a JSON object that may contain the token.
    Headers,
}

/// A token whose signature was found valid, so that it need not be computed again in the same
/// statement. The time, revocations, and whether the key is still accepted are checked every time.
struct Verified {
    source: PresentedIn,
    presented: Vec<u8>,
    key: Id,
    claims: Rc<Claims>,
}

thread_local! {
    static VERIFIED: RefCell<Option<Verified>> = const { RefCell::new(None) };
}

/// What the presented token shows; None if the headers contain no token. Raises 28000 for a token
/// that is refused.
pub fn verify(source: PresentedIn, presented: &[u8]) -> Option<Rc<Claims>> {
    let known = VERIFIED.with(|verified| {
        let verified = verified.borrow();
        let verified = verified.as_ref()?;
        let same = verified.source == source && bool::from(verified.presented.ct_eq(presented));
        same.then(|| (verified.key, verified.claims.clone()))
    });
    if let Some((key, claims)) = known {
        if keys::is_accepted(key) {
            hold_to_now(&claims);
            return Some(claims);
        }
    }
    let Ok(as_text) = std::str::from_utf8(presented) else { refuse(Error::Form) };
    let bearer;
    let token = match source {
        PresentedIn::Setting => as_text,
        PresentedIn::Headers => {
            bearer = token::bearer(as_text).unwrap_or_else(|error| refuse(error))?;
            &bearer
        }
    };
    let (key, claims) = open(token).unwrap_or_else(|error| refuse(error));
    let claims = Rc::new(claims);
    hold_to_now(&claims);
    let known = Verified { source, presented: presented.to_vec(), key, claims: claims.clone() };
    VERIFIED.with(|verified| *verified.borrow_mut() = Some(known));
    Some(claims)
}

/// The key that signed a token, and the token's claims. The time and revocations are not checked.
pub fn open(token: &str) -> Result<(Id, Claims), Error> {
    let sealed = token::open(token)?;
    let (key, authentic) = keys::find(|key| sealed.verify(key)).ok_or(Error::Signature)?;
    Ok((key, authentic.claims()?))
}

fn hold_to_now(claims: &Claims) {
    if let Err(error) = claims.check_time(now_in_seconds()) {
        refuse(error)
    }
    if is_revoked(claims) {
        Fault::new(
            Code::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            "the viewer token is refused: it has been revoked",
        )
        .field("viewer_token")
        .hint(GET_ANOTHER)
        .raise()
    }
}

fn refuse(error: Error) -> ! {
    let hint = match error {
        Error::Expired => GET_ANOTHER,
        Error::NotYetValid => "Wait, or correct the clock of the machine that issues tokens.",
        Error::Headers => {
            "The gateway must set request.headers to the request's headers as a JSON object, or leave it empty."
        }
        Error::Claim(_) => "docs/security-model.md lists the claims that a token must have.",
        _ => {
            "Set immutable.viewer_token to the text that immutable.create_viewer_token() \
             returned, or to an empty text."
        }
    };
    Fault::new(Code::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, format!("the viewer token is refused: {error}"))
        .field("viewer_token")
        .hint(hint)
        .raise()
}

/// The tenant or actor that an argument names, unless it is NULL. `field` is `tenant_id` or
/// `actor_id`. Raises 22023 for one that is longer than an event can have.
pub fn parse_identity(field: &str, given: Option<Datum>) -> Option<String> {
    let given = text(given?);
    let most = text_bytes(field);
    if given.len() > most {
        Fault::invalid(field, format!("{field} is too long: {} bytes, at most {most}", given.len()))
            .hint(format!("No event has a longer {field}."))
            .raise()
    }
    Some(given.to_string())
}

sql_function!(immutable_create_viewer_token, pg_finfo_immutable_create_viewer_token, create_viewer_token);

/// `immutable.create_viewer_token(tenant_id, actor_id, ttl)`
fn create_viewer_token(call: Call) -> Datum {
    let tenant_id = parse_identity("tenant_id", call.arg(0)).unwrap_or_default();
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
    let given = text(call.required(0, "token", "Give the token, or its jti."));
    // A text that has the form of a token is taken as one, because to revoke it as a jti would have
    // no effect.
    let jti = if token::open(given).is_ok() || given.len() > token::MAX_JTI_BYTES {
        let (_, claims) = open(given).unwrap_or_else(|error| {
            Fault::invalid("token", format!("the token cannot be revoked: {error}"))
                .hint("A token that was not signed by a key in use is refused anyway. A jti has at most 255 bytes.")
                .raise()
        });
        claims.jti
    } else {
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
    let tenant_id = parse_identity("tenant_id", call.arg(0)).unwrap_or_default();
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
