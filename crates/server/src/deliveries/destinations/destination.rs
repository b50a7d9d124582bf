//! A destination, as a stream names it.

use serde_json::Value;

/// Where a stream delivers to. Parse it once and keep it: it keeps its connections.
#[derive(Debug)]
pub(crate) struct Destination {}

impl Destination {
    /// The destination that this JSON object names.
    ///
    /// # Errors
    /// A sentence that names the member which is wrong.
    pub(crate) fn parse(_json: &Value) -> Result<Destination, String> {
        Ok(Destination {})
    }
}
