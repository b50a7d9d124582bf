//! Recording the changes when the transaction commits, or is prepared. No lane is held before that.

/// Called once, when the library is loaded.
pub fn register_callbacks() {}
