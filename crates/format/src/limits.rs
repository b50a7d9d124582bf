//! The limits of the format. Some keep one row from stopping the work on all the others; they apply
//! to every row, even to one that was smuggled in. The rest are checked when an event enters.

/// Levels that `metadata` and each target may be nested; the object itself is level 1.
pub const NESTING: usize = 64;
/// Bytes that the canonical text of `metadata` and of each target may have.
pub const CANONICAL_BYTES: usize = 64 * 1024;
/// Targets that one event may have.
pub const TARGETS: usize = 1000;
/// Keys that `metadata` and a target's metadata may have.
pub const METADATA_KEYS: usize = 1000;
/// Bytes that any text column may have that a document or a commitment is made of.
pub const TEXT_BYTES: usize = 64 * 1024;

/// Bytes that a line of an export may have: more than any stored event can make. The sum is that of
/// the target types and targets, the metadata, and the texts with each byte escaped to six.
pub const LINE_BYTES: usize =
    2 * TARGETS * (CANONICAL_BYTES + 256) + METADATA_KEYS * 256 + 7 * CANONICAL_BYTES + 20 * (6 * TEXT_BYTES + 256);

/// Bytes that an escaped line of an export may have ([`ascii`](crate::export::ascii)): two bytes
/// become six.
pub const ESCAPED_LINE_BYTES: usize = 3 * LINE_BYTES;

/// Returns how many bytes a text field may have when an event enters, 0 for a field that does not
/// exist. Fields that an index may hold are short enough that an index entry of up to four of them
/// fits on a btree page, which takes about 2,700 bytes.
pub fn text_bytes(field: &str) -> usize {
    match field {
        "tenant_id" | "action" | "action_category" | "actor_type" | "resource_type" | "ip_country" | "ip_city" => 255,
        "actor_id" | "resource_id" | "session_id" | "idempotency_key" => 512,
        "actor_name" | "resource_name" => 1024,
        "user_agent" => 4096,
        "target.type" => 255,
        "target.id" => 512,
        "target.name" => 1024,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::text_bytes;

    #[test]
    fn no_index_entry_can_outgrow_a_btree_page() {
        let fixed = 64; // header, uuid, timestamp, alignment
        for columns in [
            &["tenant_id", "idempotency_key"][..],
            &["tenant_id", "actor_id"],
            &["tenant_id", "action"],
            &["tenant_id", "resource_type", "resource_id"],
            &["tenant_id", "session_id"],
            &["tenant_id", "target.type", "target.id"],
        ] {
            assert!(columns.iter().map(|c| text_bytes(c)).sum::<usize>() + fixed < 2700);
        }
    }
}
