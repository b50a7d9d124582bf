//! Who changes rows, as the events say: the session's role, or what a trusted session says about its actor.

use crate::capture::buffer::Context;

/// The context of a statement in this session, for a table of this resource type. Values that are too long for their field
/// are replaced by `sha256:` and the hash.
pub fn of_session(resource_type: &str) -> Context {
    Context { resource_type: resource_type.to_string(), ..Context::default() }
}
