//! What an API key may be made for.

/// What an API key may be made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 6] = [Scope::Write, Scope::Read, Scope::Verify, Scope::Mint, Scope::Export, Scope::Admin];

    /// The scopes with which a key sees rows of events: each shows whole events by its functions.
    pub const SEEING: [Scope; 3] = [Scope::Read, Scope::Verify, Scope::Export];

    /// As a key has it.
    pub fn word(self) -> &'static str {
        match self {
            Scope::Write => "write",
            Scope::Read => "read",
            Scope::Verify => "verify",
            Scope::Mint => "mint",
            Scope::Export => "export",
            Scope::Admin => "admin",
        }
    }

    /// The scope of that name.
    pub fn of(word: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.word() == word)
    }
}
