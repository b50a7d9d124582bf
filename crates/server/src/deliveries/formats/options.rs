//! What a stream may set about its format.

use std::collections::BTreeMap;

/// What a stream may set about its format: the member `format_options` of its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// OCSF: which activity a category or the last word of an action is, from 1 (create) to 4 (delete).
    pub(crate) activities: BTreeMap<String, u8>,
    /// CloudEvents: what stands before the action in `type`.
    pub(crate) type_prefix: String,
    /// LEEF: 1 or 2.
    pub(crate) leef_version: u8,
}

impl Default for Options {
    fn default() -> Options {
        Options { activities: BTreeMap::new(), type_prefix: String::from("immutable"), leef_version: 2 }
    }
}
