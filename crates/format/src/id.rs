//! Ids: UUIDs (RFC 9562) and the one way they are written.

/// The 16 bytes of a UUID (RFC 9562) in network order.
pub type Id = [u8; 16];

/// Writes a UUID as RFC 9562 §4 has it: 36 characters, lower-case hex digits with hyphens.
pub fn uuid_text(id: &Id) -> String {
    let mut digits = uuid::Uuid::encode_buffer();
    uuid::Uuid::from_bytes(*id).hyphenated().encode_lower(&mut digits).to_string()
}

/// Reads a UUID as [`uuid_text`] writes it. Returns `None` for any other text: upper case, braces
/// and missing hyphens are not accepted.
pub fn parse_uuid(text: &str) -> Option<Id> {
    let id = *uuid::Uuid::try_parse(text).ok()?.as_bytes();
    (uuid_text(&id) == text).then_some(id)
}
