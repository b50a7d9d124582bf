//! Ids: UUIDs (RFC 9562) and the one way they are written.

/// The bytes of a UUID (RFC 9562) in network order.
pub type Id = [u8; 16];

/// The text of a UUID (RFC 9562): lower-case hex digits with hyphens.
pub fn uuid_text(id: &Id) -> String {
    let mut digits = uuid::Uuid::encode_buffer();
    uuid::Uuid::from_bytes(*id).hyphenated().encode_lower(&mut digits).to_string()
}

/// The reverse of [`uuid_text`]; no other way of writing it is taken.
pub fn parse_uuid(text: &str) -> Option<Id> {
    let id = *uuid::Uuid::try_parse(text).ok()?.as_bytes();
    (uuid_text(&id) == text).then_some(id)
}
