//! Export tickets: they open one export for a quarter of an hour, without an API key.
//! `immutable_format::ticket` has their format.

use crate::access::{api_key, keys};
use crate::pg::error::{internal, Code, Fault};
use crate::pg::transaction::now_in_seconds;
use immutable_format::ticket::{self, Ticket};
use immutable_format::token::Error;
use immutable_format::Id;

/// For how many seconds a ticket is valid.
pub const TTL: i64 = ticket::LIFETIME;

/// A ticket for an export, and when it expires, in seconds since 1970. It is refused once `key`, the
/// API key that asked for it, is revoked.
pub fn mint(export: &Id, tenant_id: Option<&str>, key: Option<&Id>) -> (String, i64) {
    let iat = now_in_seconds();
    let ticket = Ticket { export: *export, tenant_id: tenant_id.map(str::to_string), key: key.copied(), iat };
    let minted = ticket::mint(&keys::signing(), &ticket);
    (minted.unwrap_or_else(|| internal("a ticket cannot be made for this export")), iat + TTL)
}

/// What a ticket opens now. Raises 28000 for one that is refused.
pub fn verify(text: &str) -> Ticket {
    let ticket = read(text).unwrap_or_else(|error| refuse(&error.to_string()));
    if let Err(error) = ticket.check_time(now_in_seconds()) {
        refuse(&error.to_string())
    }
    if ticket.key.is_some_and(|key| !api_key::is_in_force(&key)) {
        refuse("its API key has been revoked")
    }
    ticket
}

fn read(text: &str) -> Result<Ticket, Error> {
    let sealed = ticket::open(text)?;
    let (_, authentic) = keys::find(|key| sealed.verify(key)).ok_or(Error::Signature)?;
    ticket::read(&authentic)
}

fn refuse(why: &str) -> ! {
    let message = format!("the export ticket is refused: {why}");
    Fault::new(Code::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, message)
        .field("proof")
        .hint("Get a new one from immutable.get_export().")
        .raise()
}
