//! The proof: the one way in which an API key, a viewer token or an export ticket opens anything.
//!
//! A program outside of the database sets `immutable.proof` to the digest of an API key, to a viewer
//! token or to an export ticket. Row security, the chain's trigger and the functions ask here what
//! it opens. It is read anew for each statement, so that a revocation is effective at once.
//!
//! A caller with the rights of `immutable_server` needs a proof for everything. For any other caller
//! a proof that is set restricts, and never adds.

use crate::access::api_key::{self, ApiKey};
use crate::access::ticket;
use crate::access::token::{self, PresentedIn};
use crate::log::own_event::name_callers_by;
use crate::log::tables::events_oid;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{bytes, text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::spi::{self, Arg};
use crate::pg::transaction::{on_catalog_change, statement_began};
use crate::pg::{role, setting};
use crate::settings;
use immutable_format::api_key::{digest, is_like_key, parse_digest, PREFIX};
use immutable_format::ticket::Ticket;
use immutable_format::token::Claims;
use immutable_format::{Hash, Id};
use pgrx::pg_sys::Oid;
use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::net::IpAddr;
use std::rc::Rc;

pub use crate::access::key_scope::Scope;

/// What the caller may do with its proof.
#[derive(Default)]
pub struct Opened {
    /// The one tenant that the proof opens; None for all.
    pub tenant_id: Option<String>,
    /// The one actor of it whose events the proof opens; None for all.
    pub actor_id: Option<String>,
    /// The API key, if there is one.
    pub key: Option<Id>,
    /// The export that a ticket opens.
    pub ticket: Option<Id>,
    /// The scopes of the key.
    scopes: Vec<Scope>,
    /// How many events the key may record in a month.
    quota: Option<i64>,
}

/// A proof that is accepted now.
enum Proof {
    Key(ApiKey),
    Viewer(Rc<Claims>),
    Ticket(Ticket),
}

/// What a session shows, not looked at yet.
enum Shown {
    Digest(Hash),
    Token(String),
    Malformed,
}

thread_local! {
    /// Whether a session with these roles needs a proof.
    static NEEDED: Cell<Option<([Oid; 3], bool)>> = const { Cell::new(None) };
}

/// Called once, when the library is loaded.
pub fn register_callbacks() {
    for cache in role::CACHES {
        on_catalog_change(cache, || NEEDED.set(None));
    }
    name_callers_by(acting_key);
}

/// Whether the caller has the rights of `immutable_server`, in which role ever: neither SET ROLE nor a
/// function that runs with another role's rights changes that. A superuser needs none. With another name
/// the role has the same rights, so that it is also looked for where it has them.
pub fn is_needed() -> bool {
    let roles = [role::current(), role::outer(), role::session()];
    if let Some((_, needed)) = NEEDED.get().filter(|(known, _)| *known == roles) {
        return needed;
    }
    let mut servers = servers_by_policy();
    servers.extend(role::by_name(c"immutable_server"));
    let is_server = |role: &Oid| servers.iter().any(|server| role::has_rights_of(*role, *server));
    let needed = roles.iter().any(|role| !role::is_superuser_role(*role) && is_server(role));
    NEEDED.set(Some((roles, needed)));
    needed
}

/// The roles that record by the server's policy.
fn servers_by_policy() -> Vec<Oid> {
    let mut servers = Vec::new();
    let statement = "SELECT r.r FROM pg_catalog.pg_policy p, pg_catalog.unnest(p.polroles) r(r) \
         WHERE p.polrelid OPERATOR(pg_catalog.=) $1 AND p.polname OPERATOR(pg_catalog.=) 'server_insert'";
    spi::read(statement, &[Arg::Oid(events_oid())], |row| servers.extend(row.at(0).map(Datum::oid)));
    servers
}

/// What the session shows: the setting, or else a bearer key among the headers of a request.
fn shown() -> Option<Shown> {
    if let Some(proof) = settings::proof() {
        let Ok(proof) = proof.to_str() else { return Some(Shown::Malformed) };
        return Some(match parse_digest(proof) {
            Some(digest) => Shown::Digest(digest),
            None if proof.matches('.').count() == 2 => Shown::Token(proof.to_string()),
            None => Shown::Malformed,
        });
    }
    let headers = setting::value(c"request.headers")?;
    // Most requests have no key, and need not be read.
    let headers = headers.to_str().ok().filter(|headers| headers.contains(PREFIX))?;
    let key = immutable_format::token::bearer(headers).ok()??;
    is_like_key(&key).then(|| Shown::Digest(digest(&key)))
}

/// The proof that the session shows, if it does. Raises 28000 for one that is refused, and 42501 for
/// a key that may not be used from the client's address.
fn proof() -> Option<Proof> {
    Some(match shown()? {
        Shown::Digest(digest) => Proof::Key(accepted(&digest)),
        Shown::Token(token) if immutable_format::ticket::open(&token).is_ok() => Proof::Ticket(ticket::verify(&token)),
        Shown::Token(token) => Proof::Viewer(token::verify(PresentedIn::Proof, token.as_bytes())?),
        Shown::Malformed => refuse_malformed(),
    })
}

/// The key with this digest, which must be in force and may be used from here.
fn accepted(digest: &Hash) -> ApiKey {
    let Some(key) = api_key::find(digest) else { refuse("No API key has this digest.") };
    if key.is_revoked {
        refuse("The API key has been revoked.");
    }
    if let Some(networks) = &key.allowed_ips {
        let address = client_address();
        if !networks.iter().any(|network| network.contains(address)) {
            forbid("client_address", "the API key may not be used from this address")
                .hint("An administrator can create a key with other allowed_ips.")
                .raise()
        }
    }
    key
}

/// The address of the client, as the program that takes keys sets it.
fn client_address() -> IpAddr {
    setting::bytes_of(&settings::CLIENT_ADDRESS, |given| {
        let Some(given) = given else {
            forbid("client_address", "the API key may be used from some addresses alone, and the client's is not known")
                .hint("The program that takes API keys must set immutable.client_address to the client's address.")
                .raise()
        };
        let address = std::str::from_utf8(given).ok().and_then(|given| given.parse().ok());
        address.unwrap_or_else(|| {
            Fault::invalid("client_address", "immutable.client_address must be an IP address")
                .hint("Set it to one address without port, zone or blanks, for example 203.0.113.7 or 2001:db8::1.")
                .raise()
        })
    })
}

/// What the session's proof opens with one of these scopes: all for a caller that needs no proof and
/// shows none, and nothing for a key without such a scope.
fn opened(scopes: &[Scope]) -> Result<Opened, Fault> {
    match proof() {
        Some(Proof::Key(key)) => match scopes.iter().any(|scope| key.scopes.contains(scope)) {
            true => Ok(Opened {
                tenant_id: key.tenant_id,
                key: Some(key.id),
                scopes: key.scopes,
                quota: key.quota,
                ..Opened::default()
            }),
            false => Err(forbid("proof", format!("the API key does not have the scope {}", scopes[0].word()))
                .hint("An administrator can create a key with this scope: immutable.create_api_key().")),
        },
        Some(Proof::Viewer(claims)) => match scopes.contains(&Scope::Read) {
            true => Ok(Opened {
                tenant_id: Some(claims.tenant_id.clone()),
                actor_id: claims.actor_id.clone(),
                ..Opened::default()
            }),
            false => Err(forbid("proof", "a viewer token opens events and alerts alone")),
        },
        Some(Proof::Ticket(_)) => Err(forbid("proof", "an export ticket opens its own export alone")),
        None if is_needed() => refuse_missing(),
        None => Ok(Opened { scopes: Scope::ALL.to_vec(), ..Opened::default() }),
    }
}

/// Holds the caller to its proof. A caller that needs none, because its role alone has the right, may
/// do everything here. Raises 28000 for a proof that is missing or refused, and 42501 for one that
/// does not have the scope. A ticket has no scope: see [`require_download`].
pub fn require(scope: Scope) -> Opened {
    opened(&[scope]).unwrap_or_else(|fault| fault.raise())
}

/// The same for the download of an export, which its ticket opens as well as a key with the scope
/// export does. The caller must still hold the export to `Opened.tenant_id`.
pub fn require_download(export: &Id) -> Opened {
    match proof() {
        Some(Proof::Ticket(ticket)) if ticket.export == *export => {
            Opened { tenant_id: ticket.tenant_id, key: ticket.key, ticket: Some(ticket.export), ..Opened::default() }
        }
        _ => require(Scope::Export),
    }
}

/// Holds a writer to its proof: to the scope write, and to its quota. Events are counted by
/// run_maintenance(), so that writers with one key do not wait for each other.
pub fn require_recording() -> Opened {
    let opened = require(Scope::Write);
    if let (Some(key), Some(quota)) = (opened.key, opened.quota) {
        if quota == 0 || api_key::events_of_month(&key) >= quota {
            forbid("proof", format!("the API key has recorded its quota of {quota} events in this month"))
                .detail("The month is the calendar month in UTC.")
                .raise()
        }
    }
    opened
}

/// What the proof shows of events under row security: nothing, or what [`Opened`] says. None if
/// there is no proof and none is needed.
pub fn seen() -> Option<Option<Opened>> {
    let opened = opened(&Scope::SEEING).ok();
    let is_shown = |opened: &Opened| opened.key.is_some() || opened.tenant_id.is_some();
    match opened {
        Some(opened) if !is_shown(&opened) => None,
        opened => Some(opened),
    }
}

/// The API key that acts, if the session shows one that is in force.
pub fn acting_key() -> Option<Id> {
    match shown()? {
        Shown::Digest(digest) => api_key::find(&digest).filter(|key| !key.is_revoked).map(|key| key.id),
        _ => None,
    }
}

impl Opened {
    /// Whether the proof opens this scope as well. Without a proof, the role alone decides.
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Refuses (42501) another tenant than the proof's. `field` names the argument.
    pub fn hold_to(&self, field: &str, tenant_id: &str) {
        if let Some(own) = self.tenant_id.as_deref().filter(|own| *own != tenant_id) {
            forbid(field, format!("{field} must be \"{own}\": the proof opens no other tenant"))
                .hint("Use an API key of that tenant, or one of no tenant.")
                .raise()
        }
    }

    /// The tenant that an argument names, which must be the proof's; without an argument, the
    /// proof's own.
    pub fn tenant_or_own(&self, field: &str, given: Option<String>) -> Option<String> {
        if let Some(given) = &given {
            self.hold_to(field, given);
        }
        given.or_else(|| self.tenant_id.clone())
    }

    /// Refuses (42501) what concerns the log as a whole to a proof of one tenant. `what` is a plural.
    pub fn hold_to_all(&self, what: &str) {
        if let Some(own) = &self.tenant_id {
            forbid("proof", format!("{what} concern every tenant, and the proof opens tenant \"{own}\" alone"))
                .hint("Use an API key of no tenant.")
                .raise()
        }
    }

    /// Refuses (42501) scopes that the caller's key does not have itself.
    pub fn hold_to_scopes(&self, wanted: &[Scope]) {
        if let Some(more) = wanted.iter().find(|scope| !self.scopes.contains(scope)) {
            forbid("scopes", format!("an API key cannot give the scope {}, which it does not have", more.word()))
                .hint("Ask for scopes of your own key.")
                .raise()
        }
    }
}

fn forbid(field: &str, message: impl Into<String>) -> Fault {
    Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, message).field(field)
}

fn refuse_malformed() -> ! {
    let is_key = settings::proof().is_some_and(|proof| is_like_key(&proof.to_string_lossy()));
    let hint = match is_key {
        true => "Set immutable.proof to SHA-256 of the API key, in 64 hex digits. The key itself would stand in logs.",
        false => HINT,
    };
    fault("The setting immutable.proof holds neither the digest of an API key nor a token.").hint(hint).raise()
}

const HINT: &str = "Set immutable.proof to SHA-256 of an API key in 64 lower-case hex digits, or to a viewer token or \
    an export ticket, in the transaction that needs it.";

fn fault(detail: &str) -> Fault {
    Fault::new(Code::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, "invalid or missing API key")
        .field("proof")
        .detail(detail)
}

fn refuse(detail: &str) -> ! {
    fault(detail).raise()
}

fn refuse_missing() -> ! {
    fault("This role needs a proof, and the session shows none.").hint(HINT).raise()
}

sql_function!(immutable_require_scope, pg_finfo_immutable_require_scope, require_scope);

/// `immutable.require_scope(scope)`
fn require_scope(call: Call) -> Datum {
    require(scope_of(call));
    Datum::from(true)
}

sql_function!(immutable_is_opened, pg_finfo_immutable_is_opened, is_opened);

/// What an answer of is_opened() depends on.
#[derive(PartialEq)]
struct Grounds {
    scope: Scope,
    statement: i64,
    roles: [Oid; 3],
    proof: Option<CString>,
    headers: Option<CString>,
    address: Option<Vec<u8>>,
}

impl Grounds {
    fn now(scope: Scope) -> Grounds {
        let proof = settings::proof();
        Grounds {
            scope,
            statement: statement_began(),
            roles: [role::current(), role::outer(), role::session()],
            headers: if proof.is_some() { None } else { setting::value(c"request.headers") },
            address: setting::bytes_of(&settings::CLIENT_ADDRESS, |address| address.map(<[u8]>::to_vec)),
            proof,
        }
    }
}

/// `immutable.is_opened(scope, tenant_id)`. What PL/pgSQL evaluates as an expression outlasts a statement:
/// so the answer that is kept counts for the same grounds alone.
fn is_opened(call: Call) -> Datum {
    let grounds = Grounds::now(scope_of(call));
    let kept = call.once(|| RefCell::new(None::<(Grounds, Option<Opened>)>));
    let is_same = kept.borrow().as_ref().is_some_and(|(known, _)| *known == grounds);
    if !is_same {
        let opened = opened(&[grounds.scope]).ok();
        kept.replace(Some((grounds, opened)));
    }
    let kept = kept.borrow();
    let Some((_, Some(opened))) = kept.as_ref() else { return Datum::from(false) };
    let is_own = |own: &str| call.arg(1).is_some_and(|tenant| bytes(tenant) == own.as_bytes());
    Datum::from(opened.actor_id.is_none() && opened.tenant_id.as_deref().is_none_or(is_own))
}

fn scope_of(call: Call) -> Scope {
    let hint = "The scopes are write, read, verify, mint, export and admin.";
    let word = text(call.required(0, "scope", hint));
    let scope = Scope::of(word);
    scope.unwrap_or_else(|| {
        let shown: String = word.chars().take(64).collect();
        Fault::invalid("scope", format!("\"{shown}\" is no scope")).hint(hint).raise()
    })
}
