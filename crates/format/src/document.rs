//! The document of an event: the canonical text (RFC 8785) whose SHA-256 is the hash of the event.

use crate::commitment::{seal, Commitments};
use crate::erasure::{check_erasure, reseal};
use crate::event::{Content, Envelope, EventSecret, Violation, COLUMNS};
use crate::hash::{sha256, write_hex, Hash, Scratch};
use crate::id::Id;
use crate::json::write_string;
use crate::{limits, time};

/// Returns the document of a stored event, as canonical text (RFC 8785).
///
/// # Errors
///
/// A [`Violation`] if no writer of this format can have stored the row.
pub fn of_stored(envelope: &Envelope<'_>, content: &Content<'_>, secret: &EventSecret) -> Result<String, Violation> {
    let mut scratch = Scratch::default();
    write_stored(envelope, content, secret, &mut scratch)?;
    Ok(scratch.document)
}

/// Returns the hash of a stored event's document. `scratch` is memory that is used again from event
/// to event.
///
/// # Errors
///
/// A [`Violation`] if no writer of this format can have stored the row.
pub fn hash_of_stored(
    envelope: &Envelope<'_>,
    content: &Content<'_>,
    secret: &EventSecret,
    scratch: &mut Scratch,
) -> Result<Hash, Violation> {
    write_stored(envelope, content, secret, scratch)?;
    Ok(hash(&scratch.document))
}

fn write_stored(
    envelope: &Envelope<'_>,
    content: &Content<'_>,
    secret: &EventSecret,
    scratch: &mut Scratch,
) -> Result<(), Violation> {
    let long = |text: &str| text.len() > limits::TEXT_BYTES;
    let texts = [Some(envelope.tenant_id), Some(envelope.recorded_by), Some(envelope.action), envelope.action_category];
    let texts = texts.into_iter().chain([envelope.actor_type, envelope.resource_type]).flatten();
    if texts.chain(content.columns.iter().flatten().map(AsRef::as_ref)).any(long) {
        return Err(Violation("a text is too long"));
    }
    let first = envelope.seq == 1;
    if envelope.lane < 0 || envelope.seq < 1 {
        return Err(Violation("lane is below 0, or seq is below 1"));
    }
    if first != envelope.previous_event_hash.is_none() || first != envelope.log_id.is_some() {
        return Err(Violation("the first event of a lane has a log_id, every other a previous_event_hash"));
    }
    let commitments = match secret {
        EventSecret::Salt(salt) => {
            check_erasure(content, None, envelope.action)?;
            seal(content, salt, scratch)
        }
        EventSecret::Erased(erasure) => {
            check_erasure(content, Some(erasure), envelope.action)?;
            reseal(content, erasure)?
        }
    };
    scratch.document.clear();
    write_to(envelope, content, &commitments, &mut scratch.document)
}

/// Writes the document of a new event. Only the targets' types are taken from `content`; every
/// other value of it stands in the document through `commitments`.
///
/// # Errors
///
/// A [`Violation`] if a time is outside the years 0001 to 9999.
pub fn write(envelope: &Envelope<'_>, content: &Content<'_>, commitments: &Commitments) -> Result<String, Violation> {
    let mut document = String::with_capacity(2048);
    write_to(envelope, content, commitments, &mut document)?;
    Ok(document)
}

fn write_to(
    envelope: &Envelope<'_>,
    content: &Content<'_>,
    commitments: &Commitments,
    out: &mut String,
) -> Result<(), Violation> {
    let year = Violation("a time is outside the years 0001 to 9999");
    let mut out = DocumentWriter(out);
    out.text("{\"action\":", envelope.action);
    out.optional(",\"action_category\":", envelope.action_category);
    out.optional(",\"actor_type\":", envelope.actor_type);
    out.commitments(commitments);
    let created_at = time::format(envelope.created_at).ok_or(year)?;
    out.text(",\"created_at\":", &created_at);
    out.id(",\"id\":", &envelope.id);
    out.raw(",\"lane\":", itoa::Buffer::new().format(envelope.lane));
    if let Some(log_id) = &envelope.log_id {
        out.id(",\"log_id\":", log_id);
    }
    // most events say nothing of their own
    let occurred_at = match envelope.occurred_at == envelope.created_at {
        true => created_at,
        false => time::format(envelope.occurred_at).ok_or(year)?,
    };
    out.text(",\"occurred_at\":", &occurred_at);
    match &envelope.previous_event_hash {
        Some(hash) => out.hash(",\"previous_event_hash\":", hash),
        None => out.raw(",\"previous_event_hash\":", "null"),
    }
    out.text(",\"recorded_by\":", envelope.recorded_by);
    out.optional(",\"resource_type\":", envelope.resource_type);
    out.raw(",\"seq\":", itoa::Buffer::new().format(envelope.seq));
    for (n, target) in content.targets.iter().enumerate() {
        out.text(if n == 0 { ",\"target_types\":[" } else { "," }, target.kind());
    }
    if !content.targets.is_empty() {
        out.0.push(']');
    }
    out.text(",\"tenant_id\":", envelope.tenant_id);
    out.raw(",\"v\":", "1");
    if let Some(version) = envelope.version {
        out.raw(",\"version\":", itoa::Buffer::new().format(version));
    }
    out.0.push('}');
    Ok(())
}

/// Returns the hash of an event: the SHA-256 of its document.
pub fn hash(document: &str) -> Hash {
    sha256(&[document.as_bytes()])
}

/// Writes members: each is given with what stands before its value, so that it is copied as one.
struct DocumentWriter<'a>(&'a mut String);

impl DocumentWriter<'_> {
    #[inline(always)]
    fn raw(&mut self, before: &str, value: &str) {
        self.0.push_str(before);
        self.0.push_str(value);
    }

    #[inline(always)]
    fn text(&mut self, before: &str, value: &str) {
        self.0.push_str(before);
        write_string(value, self.0);
    }

    #[inline(always)]
    fn optional(&mut self, before: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(before, value);
        }
    }

    #[inline(always)]
    fn id(&mut self, before: &str, id: &Id) {
        self.0.push_str(before);
        self.0.push('"');
        self.0.push_str(uuid::Uuid::from_bytes(*id).hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
        self.0.push('"');
    }

    #[inline(always)]
    fn hash(&mut self, before: &str, hash: &Hash) {
        self.0.push_str(before);
        self.0.push('"');
        write_hex(hash, self.0);
        self.0.push('"');
    }

    fn list(&mut self, name: &str, hashes: &[Hash]) {
        self.0.push_str(name);
        for (n, hash) in hashes.iter().enumerate() {
            self.hash(if n == 0 { "[" } else { "," }, hash);
        }
        self.0.push(']');
    }

    fn commitments(&mut self, commitments: &Commitments) {
        let Commitments { columns, metadata, targets } = commitments;
        if columns.iter().all(Option::is_none) && metadata.is_empty() && targets.is_empty() {
            return;
        }
        self.0.push_str(",\"commitments\":");
        let mut before = '{';
        let mut member = |out: &mut Self| out.0.push(std::mem::replace(&mut before, ','));
        for (name, hash) in COLUMNS.iter().zip(columns) {
            // "metadata" and "targets" sort among the columns.
            if *name == "resource_id" && !metadata.is_empty() {
                member(self);
                self.list("\"metadata\":", metadata);
            }
            if *name == "user_agent" && !targets.is_empty() {
                member(self);
                self.list("\"targets\":", targets);
            }
            if let Some(hash) = hash {
                member(self);
                self.0.push('"');
                self.0.push_str(name);
                self.hash("\":", hash);
            }
        }
        self.0.push('}');
    }
}
