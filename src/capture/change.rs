//! A change of one row, as the fields of its event: metadata with one key for each column that changed, the resource's
//! id, the targets and the tenant.

use crate::capture::buffer::Change;
use crate::capture::mask::{self, Key};
use crate::capture::tracked::{Operation, Tracked};
use crate::capture::value::{self, VALUE_BYTES};
use crate::pg::datum::Datum;
use crate::pg::layout::Layout;
use crate::pg::memory::Memory;
use crate::pg::output::{difference, Output, Pinned, Text};
use crate::pg::tuple::{Attribute, Descriptor, Tuple, Values};
use immutable_format::{json, limits, sha256};
use pgrx::pg_sys::Oid;
use std::borrow::Cow;
use std::ops::Range;

/// Bytes of text up to which a value is never replaced, because its length and hash would hardly be shorter.
const LEAST_BYTES: usize = 128;

/// The rows of a change: an INSERT has no old one, a DELETE no new one.
#[derive(Clone, Copy)]
pub struct Rows<'r, 'm> {
    pub old: Option<&'r Values<'m>>,
    pub new: Option<&'r Values<'m>>,
}

impl<'r, 'm> Rows<'r, 'm> {
    /// The values at a place, the old one first.
    fn at(self, place: usize) -> [Option<Datum<'m>>; 2] {
        let at = |row: Option<&Values<'m>>| row.and_then(|row| row.at(place));
        [at(self.old), at(self.new)]
    }

    /// The row that the event is named after: the old one, if there is one.
    fn first(self) -> Option<&'r Values<'m>> {
        self.old.or(self.new)
    }

    fn operation(self) -> Operation {
        match (self.old, self.new) {
            (None, _) => Operation::Insert,
            (_, None) => Operation::Delete,
            _ => Operation::Update,
        }
    }
}

/// Compares the rows of one table, for one call of the trigger. What it needs for a row it uses again for the next.
pub struct Comparison<'c> {
    tracked: &'c Tracked,
    descriptor: Descriptor<'c>,
    /// Where the values of all columns are that count.
    layout: Layout,
    /// The recorded columns that rows have, each with its place in `tracked.columns`.
    columns: Vec<(usize, Attribute<'c>)>,
    texts: Texts<'c>,
    /// The key for masked values.
    key: Option<Key>,
    fields: Fields,
    pieces: Vec<Piece>,
}

/// The texts of the fields of one event.
#[derive(Default)]
struct Fields {
    metadata: String,
    resource_id: Option<String>,
    targets: String,
}

/// What the metadata has of a column: its place in `tracked.columns`, and where its key and value are.
type Piece = (usize, Range<usize>);

/// Makes texts of values. A type is looked up for its first value.
struct Texts<'c> {
    memory: Memory<'c>,
    settings: &'c Pinned,
    outputs: Vec<(Oid, Output)>,
}

impl Texts<'_> {
    fn of<'m>(&mut self, oid: Oid, value: Datum<'m>) -> Text<'m> {
        let known = self.outputs.iter().position(|(known, _)| *known == oid);
        let n = known.unwrap_or_else(|| {
            self.outputs.push((oid, Output::of(oid, self.memory)));
            self.outputs.len() - 1
        });
        self.outputs[n].1.text(value, self.settings)
    }

    /// The id of a row: the text of its one column, or a JSON array of texts. None if there is no id, or it is NULL.
    fn id(&mut self, columns: &[(usize, Oid)], row: &Values<'_>) -> Option<String> {
        let text = |texts: &mut Self, (place, oid): (usize, Oid)| {
            let text = texts.of(oid, row.at(place)?);
            value::plain(&text).map(Cow::into_owned)
        };
        match columns {
            [] => None,
            [column] => text(self, *column),
            columns => {
                let mut id = String::from("[");
                for (n, column) in columns.iter().enumerate() {
                    if n > 0 {
                        id.push(',');
                    }
                    match text(self, *column) {
                        Some(text) => json::write_string(&text, &mut id),
                        None => id.push_str("null"),
                    }
                }
                id.push(']');
                Some(id)
            }
        }
    }
}

/// A text for a field of an event, which may be too long for it.
fn bounded(text: String, field: &str) -> String {
    value::bounded(Cow::Owned(text), limits::text_bytes(field)).into_owned()
}

/// The places of the columns that the id, the tenant and the persons of a row come from.
fn others(tracked: &Tracked) -> impl Iterator<Item = usize> + '_ {
    let subjects = tracked.subjects.iter().map(|subject| subject.place);
    tracked.id.iter().chain(&tracked.tenant).map(|(place, _)| *place).chain(subjects)
}

impl<'c> Comparison<'c> {
    /// For rows of these columns. `memory` is that of the call.
    pub fn new(
        tracked: &'c Tracked,
        descriptor: Descriptor<'c>,
        memory: Memory<'c>,
        settings: &'c Pinned,
    ) -> Comparison<'c> {
        let places = tracked.columns.iter().map(|column| column.place).enumerate();
        let attributes = places.filter_map(|(n, place)| Some((n, descriptor.attribute(place)?)));
        let columns = attributes.filter(|(_, attribute)| !attribute.is_virtual).collect();
        let is_masked = tracked.is_stale || tracked.columns.iter().any(|column| column.is_masked);
        Comparison {
            tracked,
            descriptor,
            layout: Layout::new(descriptor, tracked.columns.iter().map(|column| column.place).chain(others(tracked))),
            columns,
            texts: Texts { memory, settings, outputs: Vec::new() },
            key: is_masked.then(mask::key).flatten(),
            fields: Fields::default(),
            pieces: Vec::new(),
        }
    }

    /// Passes the change between two rows to `keep`, unless nothing changed that is recorded. A row that gets another
    /// tenant is passed twice. The one that had it sees the old row alone, and the one that has it now the new row alone:
    /// neither may see the other's values.
    pub fn change(&mut self, rows: Rows<'_, '_>, mut keep: impl FnMut(&Change<'_>)) {
        let operation = rows.operation();
        self.write_metadata(rows, VALUE_BYTES);
        if operation == Operation::Update && self.pieces.is_empty() && !self.is_of_another(rows) {
            return;
        }
        let tenant_id = self.tenant(rows.first());
        if operation == Operation::Update {
            let next_tenant_id = self.tenant(rows.new);
            if next_tenant_id != tenant_id {
                let (left, entered) = (Rows { new: None, ..rows }, Rows { old: None, ..rows });
                for (tenant_id, rows) in [(tenant_id, left), (next_tenant_id, entered)] {
                    self.write_metadata(rows, VALUE_BYTES);
                    self.pass(operation, tenant_id.as_deref(), rows, &mut keep);
                }
                return;
            }
        }
        self.pass(operation, tenant_id.as_deref(), rows, &mut keep);
    }

    /// Passes a change whose metadata is written to `keep`.
    fn pass(
        &mut self,
        operation: Operation,
        tenant_id: Option<&str>,
        rows: Rows<'_, '_>,
        keep: &mut impl FnMut(&Change<'_>),
    ) {
        self.shorten(rows);
        self.write_resource(rows);
        keep(&Change {
            operation,
            tenant_id,
            resource_id: self.fields.resource_id.as_deref(),
            targets: &self.fields.targets,
            metadata: &self.fields.metadata,
        });
    }

    /// Whether two rows are the same where it counts, as far as their bytes show.
    pub fn is_same(&self, old: Tuple<'_>, new: Tuple<'_>) -> bool {
        self.layout.is_same(old, new)
    }

    /// The id of a row, for comparing ids.
    pub fn id(&mut self, row: &Values<'_>) -> Option<String> {
        self.texts.id(&self.tracked.id, row)
    }

    /// Whether the id, the tenant or a person of the row changed, which may not be among the recorded columns.
    fn is_of_another(&mut self, rows: Rows<'_, '_>) -> bool {
        let tracked = self.tracked;
        others(tracked).any(|place| self.differs(rows, place))
    }

    fn is_other_id(&mut self, rows: Rows<'_, '_>) -> bool {
        let tracked = self.tracked;
        tracked.id.iter().any(|(place, _)| self.differs(rows, *place))
    }

    /// Whether the text of a column differs.
    fn differs(&mut self, rows: Rows<'_, '_>, place: usize) -> bool {
        match (rows.at(place), self.descriptor.attribute(place)) {
            ([Some(old), Some(new)], Some(attribute)) => difference(&attribute, old, new)
                .is_some_and(|(old, new)| self.texts.of(attribute.oid, old) != self.texts.of(attribute.oid, new)),
            ([old, new], _) => old.is_some() != new.is_some(),
        }
    }

    /// Writes the metadata. `most` is how many bytes the text of a value may have.
    fn write_metadata(&mut self, rows: Rows<'_, '_>, most: usize) {
        self.pieces.clear();
        self.fields.metadata.clear();
        self.fields.metadata.push('{');
        for n in 0..self.columns.len() {
            self.write_column(n, rows, most);
        }
        self.fields.metadata.push('}');
    }

    /// Writes what the metadata has of a column, if it changed.
    fn write_column<'m>(&mut self, n: usize, rows: Rows<'_, 'm>, most: usize) {
        let (place, attribute) = &self.columns[n];
        let column = &self.tracked.columns[*place];
        let values = match rows.at(column.place) {
            [Some(old), Some(new)] => match difference(attribute, old, new) {
                Some((old, new)) => [Some(old), Some(new)],
                None => return,
            },
            [None, None] if rows.operation() == Operation::Update => return,
            values => values,
        };
        let mut text = |value: Option<Datum<'m>>| value.map(|value| self.texts.of(column.oid, value));
        let [old, new] = [text(values[0]), text(values[1])];
        if rows.operation() == Operation::Update && old == new && old != Some(Text::Unreadable) {
            return;
        }
        let json = &mut self.fields.metadata;
        if !self.pieces.is_empty() {
            json.push(',');
        }
        let start = json.len();
        json::write_string(&column.name, json);
        let is_masked = column.is_masked || self.tracked.is_stale;
        json.push_str(if is_masked { ":{\"changed\":true" } else { ":{" });
        for (is_there, name, text) in [(rows.new.is_some(), "new", &new), (rows.old.is_some(), "old", &old)] {
            if !is_there || is_masked && self.key.is_none() {
                continue;
            }
            if !json.ends_with('{') {
                json.push(',');
            }
            json.push('"');
            json.push_str(name);
            match &self.key {
                Some(key) if is_masked => {
                    json.push_str("_hmac\":");
                    value::write_hmac(&key[..], &self.tracked.resource_type, &column.name, text.as_ref(), json);
                }
                _ => {
                    json.push_str("\":");
                    value::write(text.as_ref(), most, json);
                }
            }
        }
        json.push('}');
        self.pieces.push((*place, start..json.len()));
    }

    /// Makes the metadata short enough for an event: the longest values are replaced first, and then all of it.
    fn shorten(&mut self, rows: Rows<'_, '_>) {
        let (count, length) = (self.pieces.len(), self.fields.metadata.len());
        if count <= limits::METADATA_KEYS && length <= limits::CANONICAL_BYTES {
            return;
        }
        let hash = self.hash_metadata();
        let mut most = VALUE_BYTES;
        while count <= limits::METADATA_KEYS && most > LEAST_BYTES {
            most /= 2;
            self.write_metadata(rows, most);
            if self.fields.metadata.len() <= limits::CANONICAL_BYTES {
                return;
            }
        }
        self.fields.metadata =
            format!("{{\"columns\":{{\"count\":{count},\"length\":{length},\"sha256\":\"{}\"}}}}", hex::encode(hash));
    }

    /// The hash of the canonical text of the metadata, whose keys are sorted.
    fn hash_metadata(&mut self) -> immutable_format::Hash {
        let columns = &self.tracked.columns;
        self.pieces.sort_by(|a, b| json::key_order(&columns[a.0].name, &columns[b.0].name));
        let mut parts: Vec<&[u8]> = Vec::with_capacity(2 * self.pieces.len() + 1);
        for (_, place) in &self.pieces {
            parts.push(if parts.is_empty() { b"{" } else { b"," });
            parts.push(&self.fields.metadata.as_bytes()[place.clone()]);
        }
        parts.push(b"}");
        sha256(&parts)
    }

    /// Writes the resource's id, and the targets: the id that it has from now on, and the persons in the row.
    fn write_resource(&mut self, rows: Rows<'_, '_>) {
        let id = |texts: &mut Texts, row: Option<&Values>| {
            row.and_then(|row| texts.id(&self.tracked.id, row)).map(|id| bounded(id, "resource_id"))
        };
        let resource_id = id(&mut self.texts, rows.first());
        let mut targets: Vec<(&str, String)> = Vec::new();
        if rows.operation() == Operation::Update && self.is_other_id(rows) {
            let changed = id(&mut self.texts, rows.new).filter(|new| Some(new) != resource_id.as_ref());
            targets.extend(changed.map(|id| (self.tracked.resource_type.as_str(), id)));
        }
        for subject in &self.tracked.subjects {
            for value in rows.at(subject.place).into_iter().flatten() {
                let text = self.texts.of(subject.oid, value);
                let id = value::plain(&text).map(|id| bounded(id.into_owned(), "target.id"));
                let target = id.map(|id| (subject.kind.as_str(), id));
                targets.extend(target.filter(|target| !targets.contains(target)));
            }
        }
        targets.truncate(limits::TARGETS);
        let json = &mut self.fields.targets;
        json.clear();
        json.push('[');
        for (kind, id) in &targets {
            json.push_str(if json.len() == 1 { "{\"type\":" } else { ",{\"type\":" });
            json::write_string(kind, json);
            json.push_str(",\"id\":");
            json::write_string(id, json);
            json.push('}');
        }
        json.push(']');
        self.fields.resource_id = resource_id;
    }

    /// The tenant of a row, if there is a column for it. A row without one has none, whatever the session says.
    fn tenant(&mut self, row: Option<&Values<'_>>) -> Option<String> {
        let (place, oid) = self.tracked.tenant?;
        let text = row.and_then(|row| row.at(place)).map(|value| self.texts.of(oid, value));
        let tenant = text.as_ref().and_then(value::plain).unwrap_or_default();
        Some(bounded(tenant.into_owned(), "tenant_id"))
    }
}
