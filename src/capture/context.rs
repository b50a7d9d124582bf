//! Who changes rows, as the events say: the session's role, or what a trusted session says about its actor.
//!
//! Any role can SET what a session says. It counts in the sessions of roles that a superuser has named in
//! immutable.trust_context_of, and no value of it makes a statement fail.

use crate::capture::buffer::Context;
use crate::log::columns as c;
use crate::pg::datum::utf8;
use crate::pg::setting::{self, bytes_of};
use crate::pg::transaction::now;
use crate::pg::{network, role};
use crate::settings;
use immutable_format::{limits, sha256};
use pgrx::GucSetting;
use std::cell::RefCell;
use std::ffi::CString;

type Setting = &'static GucSetting<Option<CString>>;

/// What a JSON Web Token says, as the setting request.jwt.claims has it.
#[derive(Clone, Default)]
struct Claims {
    subject: Option<String>,
    tenant_id: Option<String>,
}

/// What was made of a text, which need not be made again while the text is the same.
#[derive(Default)]
struct Known<T> {
    of: Vec<u8>,
    is: T,
}

thread_local! {
    static TRUSTED: RefCell<Known<Vec<CString>>> = RefCell::default();
    static CLAIMS: RefCell<Known<Claims>> = RefCell::default();
}

impl<T: Default> Known<T> {
    fn get(&mut self, text: &[u8], make: impl FnOnce(&[u8]) -> T) -> &T {
        if self.of != text {
            *self = Known { of: text.to_vec(), is: make(text) };
        }
        &self.is
    }
}

/// The context of a statement in this session, for a table of this resource type. Values that are too long for their field
/// are replaced by `sha256:` and the hash.
pub fn of_session(resource_type: &str) -> Context {
    let mut context = Context { resource_type: resource_type.to_string(), occurred_at: now(), ..Context::default() };
    if is_trusted() {
        take_over(&mut context);
    }
    if context.actor_id.is_empty() {
        context.actor_id = role::name(role::outer());
        context.actor_type = "role".to_string();
    }
    context
}

/// Whether what the session says counts: its role, or the one of SET ROLE, is named in immutable.trust_context_of.
fn is_trusted() -> bool {
    bytes_of(&settings::TRUST_CONTEXT_OF, |list| {
        let Some(list) = list else { return false };
        TRUSTED.with_borrow_mut(|known| {
            let names = known.get(list, role::names_in);
            let is_named = |role| role::known_name(role).is_some_and(|name| names.contains(&name));
            is_named(role::session()) || is_named(role::outer())
        })
    })
}

/// Puts what the session says into the context.
fn take_over(context: &mut Context) {
    let said = |setting, column| bytes_of(setting, |bytes| bytes.map(|bytes| fitting(bytes, column)));
    let Claims { subject, tenant_id } = claims();
    let [own_type, own_name] =
        [(&settings::ACTOR_TYPE as Setting, c::ACTOR_TYPE), (&settings::ACTOR_NAME, c::ACTOR_NAME)]
            .map(|(setting, column)| said(setting, column));
    let (actor_id, actor_type) = match said(&settings::ACTOR_ID, c::ACTOR_ID) {
        Some(own) => (Some(own), own_type),
        None => (subject, own_type.or_else(|| Some("user".to_string()))),
    };
    if let Some(actor_id) = actor_id {
        context.actor_id = actor_id;
        context.actor_type = actor_type.unwrap_or_default();
        context.actor_name = own_name;
    }
    context.tenant_id = said(&settings::TENANT_ID, c::TENANT_ID).or(tenant_id).unwrap_or_default();
    context.session_id = said(&settings::SESSION_ID, c::SESSION_ID);
    context.user_agent = said(&settings::USER_AGENT, c::USER_AGENT);
    context.ip_address = bytes_of(&settings::IP_ADDRESS, |bytes| network::address(utf8(bytes?)?));
}

/// A text for a column, which is not empty. A text that is too long, or not UTF-8, becomes its hash.
fn fitting(bytes: &[u8], column: c::Column) -> String {
    match utf8(bytes) {
        Some(text) if text.len() <= limits::text_bytes(c::ALL[column].0) => text.to_string(),
        _ => format!("sha256:{}", hex::encode(sha256(&[bytes]))),
    }
}

fn claims() -> Claims {
    let Some(claims) = setting::value(c"request.jwt.claims") else { return Claims::default() };
    CLAIMS.with_borrow_mut(|known| known.get(claims.as_bytes(), read_claims).clone())
}

/// Reads the claims `sub` and `tenant_id`, if they are texts or numbers.
fn read_claims(json: &[u8]) -> Claims {
    let Ok(serde_json::Value::Object(claims)) = serde_json::from_slice(json) else { return Claims::default() };
    let claim = |name, column| {
        let text = match claims.get(name)? {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Number(number) => number.to_string(),
            _ => return None,
        };
        (!text.is_empty()).then(|| fitting(text.as_bytes(), column))
    };
    Claims { subject: claim("sub", c::ACTOR_ID), tenant_id: claim("tenant_id", c::TENANT_ID) }
}
