//! What a new API key is asked to be, held to the caller's own proof.

use crate::access::proof::{Opened, Scope};
use crate::access::token::parse_identity;
use crate::pg::call::{elements, texts, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::network::Network;
use pgrx::pg_sys;

/// The greatest length of a name, in bytes.
const NAME_BYTES: usize = 255;

/// Most networks of a key.
const NETWORKS: usize = 100;

const SCOPES: &str = "The scopes are write, read, verify, mint, export and admin.";

/// The arguments of `immutable.create_api_key()`.
pub struct Wanted<'c> {
    pub name: &'c str,
    /// Each once, in the order in which [`Scope::ALL`] has them.
    pub scopes: Vec<Scope>,
    pub tenant_id: Option<String>,
    /// The networks as the caller gave them, and read.
    pub networks: Option<Datum<'c>>,
    pub allowed_ips: Option<Vec<Network>>,
    pub quota: Option<i64>,
}

impl<'c> Wanted<'c> {
    /// Reads the arguments. Raises 22004, 22023 or 22001 for those that mean nothing, and 42501 for
    /// more than the caller's own key opens.
    pub fn of(call: Call<'c>, opened: &Opened) -> Wanted<'c> {
        let scopes = scopes(call);
        opened.hold_to_scopes(&scopes);
        let networks = call.arg(3);
        Wanted {
            name: name(call),
            scopes,
            tenant_id: opened.tenant_or_own("tenant_id", parse_identity("tenant_id", call.arg(2))),
            networks,
            allowed_ips: networks.map(allowed_ips),
            quota: quota(call),
        }
    }
}

fn name(call: Call<'_>) -> &str {
    let hint = "Say what the key is for, for example the name of the program that has it.";
    let name = text(call.required(0, "name", hint));
    if name.trim().is_empty() {
        Fault::invalid("name", "name must not be empty").hint(hint).raise()
    }
    if name.len() > NAME_BYTES {
        let message = format!("name is too long: {} bytes, at most {NAME_BYTES}", name.len());
        Fault::new(Code::ERRCODE_STRING_DATA_RIGHT_TRUNCATION, message).field("name").hint(hint).raise()
    }
    name
}

fn scopes(call: Call) -> Vec<Scope> {
    let given = texts(call.required(1, "scopes", SCOPES), "scopes");
    if let Some(unknown) = given.iter().find(|word| Scope::of(word).is_none()) {
        let shown: String = unknown.chars().take(64).collect();
        Fault::invalid("scopes", format!("\"{shown}\" is no scope")).hint(SCOPES).raise()
    }
    if given.is_empty() {
        Fault::invalid("scopes", "scopes must not be empty").hint(SCOPES).raise()
    }
    Scope::ALL.into_iter().filter(|scope| given.contains(&scope.word())).collect()
}

fn allowed_ips(given: Datum) -> Vec<Network> {
    let given = elements(given, pg_sys::CIDROID);
    if given.is_empty() || given.len() > NETWORKS {
        Fault::invalid(
            "allowed_ips",
            format!("allowed_ips must have from 1 to {NETWORKS} networks, not {}", given.len()),
        )
        .hint("Give NULL for a key that may be used from anywhere.")
        .raise()
    }
    let read = |network: Option<Datum>| network.and_then(Network::read);
    given.into_iter().map(read).collect::<Option<Vec<Network>>>().unwrap_or_else(|| {
        Fault::new(Code::ERRCODE_NULL_VALUE_NOT_ALLOWED, "allowed_ips must not contain NULL")
            .field("allowed_ips")
            .hint("Leave the NULL out.")
            .raise()
    })
}

fn quota(call: Call) -> Option<i64> {
    let quota = call.arg(4)?.i64();
    if quota < 0 {
        Fault::invalid("quota", format!("quota must not be negative, not {quota}"))
            .hint("Give NULL for a key without a quota.")
            .raise()
    }
    Some(quota)
}
