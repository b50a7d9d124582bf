//! A step of maintenance: what is done in one transaction.

/// What a step did in its transaction.
pub struct Done {
    /// The JSON that run_maintenance() answers for it; None if there was nothing to do.
    pub did: Option<String>,
    /// Whether there is more to do, in another transaction.
    pub has_more: bool,
}

impl Done {
    /// There was nothing to do.
    pub const NOTHING: Done = Done { did: None, has_more: false };
}
