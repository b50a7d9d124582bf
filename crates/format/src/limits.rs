//! Bounds of the format. Some keep one row from stopping the work on all the others (they hold for every row, also one
//! smuggled in), the rest are checked when an event enters.

/// Nesting of `metadata` and of each target; the object itself is level 1.
pub const NESTING: usize = 64;
/// Bytes of canonical text of `metadata` and of each target.
pub const CANONICAL_BYTES: usize = 64 * 1024;
/// Targets of one event.
pub const TARGETS: usize = 1000;
/// Keys of `metadata`, and of a target's metadata.
pub const METADATA_KEYS: usize = 1000;
/// Bytes of any text column that a document or commitment is made of.
pub const TEXT_BYTES: usize = 64 * 1024;

/// Bytes of a line of an export: more than any stored event can make. Its target types and targets, its metadata, and
/// its texts with each byte escaped to six.
pub const LINE_BYTES: usize =
    2 * TARGETS * (CANONICAL_BYTES + 256) + METADATA_KEYS * 256 + 7 * CANONICAL_BYTES + 20 * (6 * TEXT_BYTES + 256);

/// The same of a line whose characters are escaped: two bytes become six.
pub const ESCAPED_LINE_BYTES: usize = 3 * LINE_BYTES;

/// Bytes a text field may have when an event enters. Fields that an index may hold are short enough that no index
/// entry, of up to four such fields, outgrows what a btree page takes (about 2,700 bytes).
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
