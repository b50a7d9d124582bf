//! What a proof opens, as conditions of statements about single events and feeds.

use crate::access::proof::Opened;
use crate::pg::datum::{text, Datum};
use crate::pg::spi::Arg;
use std::fmt::Write;

/// Refuses (42501) another tenant than an API key's. With a viewer token, another tenant has no events.
pub fn hold(opened: &Opened, tenant_id: Datum) {
    if opened.key.is_some() {
        opened.hold_to("tenant_id", text(tenant_id));
    }
}

/// The conditions on `e`, each after an AND, and their arguments after those that are there.
pub fn conditions<'a>(opened: &'a Opened, arguments: &mut Vec<Arg<'a>>) -> String {
    let mut conditions = String::new();
    for (column, value) in [("tenant_id", &opened.tenant_id), ("actor_id", &opened.actor_id)] {
        if let Some(value) = value {
            arguments.push(Arg::text(value.as_str()));
            let _ = write!(conditions, " AND e.{column} = ${}", arguments.len());
        }
    }
    conditions
}
