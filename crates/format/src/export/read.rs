//! Takes one line of an export apart and checks it by itself: the hash of the document, and each
//! disclosed value against its commitment.

use super::scan::{comes_after, decode, is_hex, Error, Scanner};
use super::{ascii, ChainPosition, Header, Lanes};
use crate::event::RESERVED;
use crate::hash::{parse_hex, sha256, Hash};
use crate::id::{parse_uuid, Id};
use crate::json::{key_order, Members, Value};
use crate::pruning::{self, Begin};
use crate::{limits, time};
use std::borrow::Cow;

/// Why a line is not one of this format. The caller knows where in the file the line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

impl From<Error> for Malformed {
    fn from(error: Error) -> Self {
        Malformed(format!("{}, at byte {}", error.what, error.at + 1))
    }
}

fn malformed<T>(what: &str) -> Result<T, Malformed> {
    Err(Malformed(what.to_string()))
}

/// What a line is.
#[derive(Debug)]
pub enum Line<'a> {
    /// The first line of an export.
    Header(Header<'a>),
    /// The line of an event.
    Event(Box<Event<'a>>),
    /// A record of erasures that is newer than the events.
    Later(Box<Event<'a>>),
    /// The last line of an export, with the numbers that it states.
    End {
        /// The number of events.
        events: u64,
        /// The number of lanes.
        lanes: u64,
    },
}

/// The line of an event.
#[derive(Debug)]
pub struct Event<'a> {
    /// The position of the event.
    pub position: ChainPosition<'a>,
    /// The log's identity, which the first event of a lane has.
    pub log_id: Option<Id>,
    /// The hash of the event before it.
    pub previous_event_hash: Option<Vec<u8>>,
    /// The hash that the row has; in a damaged row its length can be any.
    pub event_hash: Option<Vec<u8>>,
    /// The hash of the document. If the document is the one that was hashed and the line is wrong
    /// all the same, the reason.
    pub content: Result<Hash, String>,
    /// The commitments of erased values: those that nothing is disclosed for.
    pub erased: Vec<Hash>,
    /// The list of an `immutable.event_erased` event: the ids of events, each with an erased
    /// commitment.
    pub recorded: Vec<(String, Hash)>,
    /// Where lanes begin since a pruning, if this is the record of one.
    pub begins: Vec<Begin>,
}

/// Returns the line without its escapes, if it is an escaped one ([`ascii`]).
///
/// # Errors
///
/// [`Malformed`] if the line is not UTF-8, or if an escape is wrong.
pub fn restored(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Malformed> {
    match ascii::restore(text_of(bytes)?) {
        Ok(Cow::Borrowed(_)) => Ok(Cow::Borrowed(bytes)),
        Ok(Cow::Owned(line)) => Ok(Cow::Owned(line.into_bytes())),
        Err(at) => Err(Malformed(format!("half of a surrogate pair, at byte {}", at + 1))),
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|error| Malformed(format!("not UTF-8, at byte {}", error.valid_up_to() + 1)))
}

/// Reads a line, which is given without its line feed.
///
/// # Errors
///
/// [`Malformed`] if the line is not one of this format. An event whose content is wrong is not an
/// error: [`Event::content`] says so.
pub fn line(bytes: &[u8]) -> Result<Line<'_>, Malformed> {
    let text = text_of(bytes)?;
    if text.starts_with(DOCUMENT) {
        event(text).map(Box::new).map(Line::Event)
    } else if text.starts_with("{\"no_document\":") {
        no_document(text).map(Box::new).map(Line::Event)
    } else if let Some(record) = text.strip_prefix("{\"later_record\":") {
        later_record(record).map(Box::new).map(Line::Later)
    } else if text.starts_with("{\"immutable_export\":") {
        header(text).map(Line::Header)
    } else if text.starts_with("{\"immutable_export_end\":") {
        end(text)
    } else if text.is_empty() {
        malformed("an empty line")
    } else {
        malformed("not a line of an export")
    }
}

/// The action of a record of erasures.
const ERASURE: &str = "immutable.event_erased";

const DOCUMENT: &str = "{\"document\":";
/// No document of any version has a member of this name, and no string has a bare quote in it. The
/// first of these is therefore the end of the document.
const AFTER_DOCUMENT: &str = ",\"event_hash\":";

/// The members of the document that are used here. All others are only hashed.
#[derive(Default)]
struct Document<'a> {
    /// All of it.
    text: &'a str,
    version: Option<&'a str>,
    id: Option<&'a str>,
    tenant_id: Option<&'a str>,
    lane: Option<&'a str>,
    seq: Option<&'a str>,
    action: &'a str,
    log_id: Option<&'a str>,
    previous_event_hash: Option<&'a str>,
    target_types: Vec<&'a str>,
    /// Names and commitments of columns.
    columns: Vec<(&'a str, &'a str)>,
    metadata: Vec<&'a str>,
    targets: Vec<&'a str>,
}

impl<'a> Document<'a> {
    fn read(text: &'a str) -> Result<Self, Error> {
        let mut document = Document { text, ..Document::default() };
        let mut scanner = Scanner::new(text, 0, limits::NESTING);
        scanner.object(|scanner, name| {
            match name {
                "v" => document.version = Some(scanner.value()?),
                "id" => document.id = Some(scanner.string()?),
                "tenant_id" => document.tenant_id = Some(scanner.string()?),
                "action" => document.action = scanner.string()?,
                "log_id" => document.log_id = Some(scanner.string()?),
                "lane" => document.lane = Some(scanner.number()?),
                "seq" => document.seq = Some(scanner.number()?),
                "previous_event_hash" if scanner.skip("null") => {}
                "previous_event_hash" => document.previous_event_hash = Some(scanner.hex(64)?),
                "target_types" => scanner.array(|scanner| {
                    document.target_types.push(scanner.string()?);
                    Ok(())
                })?,
                "commitments" => document.commitments(scanner)?,
                _ => {
                    scanner.value()?;
                }
            }
            Ok(())
        })?;
        if scanner.byte().is_some() {
            return scanner.fail("something follows the end of the document");
        }
        Ok(document)
    }

    fn commitments(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Error> {
        scanner.object(|scanner, name| {
            let list = match name {
                "metadata" => &mut self.metadata,
                "targets" => &mut self.targets,
                column => {
                    self.columns.push((column, scanner.hex(64)?));
                    return Ok(());
                }
            };
            scanner.array(|scanner| {
                list.push(scanner.hex(64)?);
                Ok(())
            })
        })
    }

    fn position(&self) -> Result<ChainPosition<'a>, Malformed> {
        let position = match (self.id, self.tenant_id, self.lane, self.seq) {
            (Some(id), Some(tenant_id), Some(lane), Some(seq)) => {
                let parsed = (parse_uuid(id), lane.parse::<i16>(), seq.parse::<i64>());
                let (Some(id), Ok(lane), Ok(seq)) = parsed else {
                    return malformed("the document's id, lane or seq is malformed");
                };
                ChainPosition { tenant_id: decode(tenant_id), lane, seq, id }
            }
            _ => return malformed("the document has no id, tenant_id, lane or seq"),
        };
        match self.version {
            Some("1") => Ok(position),
            _ => malformed("a document of another version than 1, which this program does not know"),
        }
    }

    /// Returns why no writer of the format can have written the document, if so.
    fn violation(&self) -> Option<&'static str> {
        let first = self.seq == Some("1");
        let negative = |number: Option<&str>| number.is_some_and(|number| number.starts_with('-'));
        if negative(self.lane) || negative(self.seq) || self.seq == Some("0") {
            return Some("lane is below 0, or seq is below 1");
        }
        if first != self.previous_event_hash.is_none() || first != self.log_id.is_some() {
            return Some("the first event of a lane has a log_id, every other a previous_event_hash");
        }
        if self.target_types.len() != self.targets.len() {
            return Some("there are not as many target types as targets");
        }
        if self.metadata.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Some("the metadata commitments do not ascend");
        }
        if self.columns.first().is_none_or(|(column, _)| *column != "actor_id") {
            return Some("actor_id is missing");
        }
        None
    }
}

/// The disclosures so far. They come in one order, so none can be there twice.
#[derive(Default)]
struct Disclosed<'a> {
    section: u8,
    columns: usize,
    key: Option<&'a str>,
    target: usize,
    metadata_seen: Vec<bool>,
    columns_seen: Vec<bool>,
    targets_seen: Vec<bool>,
    reason: bool,
    wrong: Option<String>,
}

const DIFFERS: &str = "the value is not the one that was committed to";
const ORDER: &str = "the disclosures are not in order, or one is there twice";

/// One disclosure.
struct Disclosure<'a> {
    /// As it stands in the line: what its commitment is the hash of.
    text: &'a str,
    path: &'a str,
    value: &'a str,
    /// The member `type` of an object.
    kind: Option<&'a str>,
}

fn disclosure<'a>(line: &'a str, scanner: &mut Scanner<'a>) -> Result<Disclosure<'a>, Error> {
    let start = scanner.at;
    scanner.expect("[")?;
    scanner.hex(32)?;
    scanner.expect(",")?;
    let path = scanner.string()?;
    scanner.expect(",")?;
    let from = scanner.at;
    let mut kind = None;
    if path.starts_with("targets.") && scanner.byte() == Some(b'{') {
        scanner.object(|scanner, name| {
            let value = scanner.value()?;
            if name == "type" {
                kind = Some(value);
            }
            Ok(())
        })?;
    } else {
        scanner.value()?;
    }
    let value = &line[from..scanner.at];
    scanner.expect("]")?;
    Ok(Disclosure { text: &line[start..scanner.at], path, value, kind })
}

impl<'a> Disclosed<'a> {
    fn new(document: &Document<'_>) -> Self {
        Disclosed {
            columns_seen: vec![false; document.columns.len()],
            metadata_seen: vec![false; document.metadata.len()],
            targets_seen: vec![false; document.targets.len()],
            ..Disclosed::default()
        }
    }

    /// Finds the commitment of a disclosure in the place that its path names.
    fn take(&mut self, document: &Document<'_>, disclosure: &Disclosure<'a>) {
        let found = self.find(document, disclosure);
        if self.wrong.is_none() {
            let path: String = decode(disclosure.path).chars().take(100).collect();
            self.wrong = found.err().map(|why| format!("{why} (disclosure of {path})"));
        }
    }

    fn find(&mut self, document: &Document<'_>, disclosure: &Disclosure<'a>) -> Result<(), &'static str> {
        let mut digits = [0; 64];
        let hash = sha256(&[disclosure.text.as_bytes()]);
        let digits: &str = faster_hex::hex_encode(&hash, &mut digits).map_or("", |digits| digits);
        let path = disclosure.path;
        let section = match path {
            _ if path.starts_with("metadata.") => 1,
            _ if path.starts_with("targets.") => 2,
            _ => 0,
        };
        if section < self.section {
            return Err(ORDER);
        }
        self.section = section;
        match section {
            0 => self.find_column(document, disclosure, digits),
            1 => self.find_metadata(document, path, digits),
            _ => self.find_target(document, disclosure, digits),
        }
    }

    fn find_column(
        &mut self,
        document: &Document<'_>,
        disclosure: &Disclosure<'a>,
        digits: &str,
    ) -> Result<(), &'static str> {
        // If nothing is erased it is the next column. Else the binary search bounds the work,
        // however many columns a hostile line has.
        let at = match document.columns.get(self.columns) {
            Some((column, _)) if *column == disclosure.path => self.columns,
            _ => {
                let path = decode(disclosure.path);
                let place = document.columns.binary_search_by(|(column, _)| key_order(&decode(column), &path));
                place.map_err(|_| "the event has no commitment for this path")?
            }
        };
        if at < self.columns {
            return Err(ORDER);
        }
        self.columns = at + 1;
        if document.columns[at].1 != digits {
            return Err(DIFFERS);
        }
        if !disclosure.value.starts_with('"') {
            return Err("the value of a column is not a string");
        }
        self.columns_seen[at] = true;
        Ok(())
    }

    fn find_metadata(&mut self, document: &Document<'_>, path: &'a str, digits: &str) -> Result<(), &'static str> {
        if self.key.is_some_and(|before| !comes_after(path, before)) {
            return Err(ORDER);
        }
        self.key = Some(path);
        let at = document.metadata.binary_search(&digits).map_err(|_| DIFFERS)?;
        self.metadata_seen[at] = true;
        self.reason |= path == "metadata.reason";
        Ok(())
    }

    fn find_target(
        &mut self,
        document: &Document<'_>,
        disclosure: &Disclosure<'a>,
        digits: &str,
    ) -> Result<(), &'static str> {
        let digits_of_n = &disclosure.path["targets.".len()..];
        let n = Some(digits_of_n).filter(|digits| digits.len() <= 4).and_then(|digits| digits.parse().ok());
        let n: usize = n.filter(|n: &usize| n.to_string() == digits_of_n).ok_or("there is no such target")?;
        if n < self.target {
            return Err(ORDER);
        }
        self.target = n + 1;
        if *document.targets.get(n).ok_or("there is no such target")? != digits {
            return Err(DIFFERS);
        }
        // both are canonical strings, one with its quotes
        let kind = disclosure.kind.and_then(|kind| kind.strip_prefix('"')?.strip_suffix('"'));
        if kind.is_none() || kind != document.target_types.get(n).copied() {
            return Err("the target's type is not the one in the document");
        }
        self.targets_seen[n] = true;
        Ok(())
    }

    /// The commitments that nothing was disclosed for.
    fn left<'d>(&self, document: &Document<'d>) -> Vec<&'d str> {
        let all = document.columns.iter().map(|(_, hash)| *hash).chain(document.metadata.iter().copied());
        let all = all.chain(document.targets.iter().copied());
        let seen = self.columns_seen.iter().chain(&self.metadata_seen).chain(&self.targets_seen);
        all.zip(seen).filter(|(_, seen)| !**seen).map(|(hash, _)| hash).collect()
    }
}

/// A line that discloses values of an event that its writer has chosen.
#[derive(Debug)]
pub struct Shown<'a> {
    /// The event. What the line does not disclose is [`erased`](Event::erased) or was left out.
    pub event: Event<'a>,
    /// The document, as it was hashed.
    pub document: &'a str,
    /// The paths and the canonical texts of the values that are disclosed.
    pub disclosed: Vec<(Cow<'a, str>, &'a str)>,
    /// The columns that have a value that is not disclosed.
    pub hidden_columns: Vec<Cow<'a, str>>,
    /// How many metadata values are not disclosed. Their keys are not known.
    pub hidden_metadata: usize,
    /// The positions of the targets that are not disclosed.
    pub hidden_targets: Vec<usize>,
}

/// Reads the line of an event as [`line()`] does. Values may be left out of it, of the log's own
/// events too.
///
/// # Errors
///
/// [`Malformed`] if it is not the line of an event that has a document. An event whose content is
/// wrong is not an error: [`Event::content`] says so.
pub fn shown(bytes: &[u8]) -> Result<Shown<'_>, Malformed> {
    let text = text_of(bytes)?;
    if !text.starts_with(DOCUMENT) {
        return malformed("not the line of an event");
    }
    let mut values = Vec::new();
    let (event, document, disclosed) = event_with(text, true, |path, value| values.push((decode(path), value)))?;
    let hidden = |seen: &[bool]| -> Vec<usize> { (0..seen.len()).filter(|at| !seen[*at]).collect() };
    let columns = hidden(&disclosed.columns_seen);
    Ok(Shown {
        event,
        document: document.text,
        disclosed: values,
        hidden_columns: columns.into_iter().map(|at| decode(document.columns[at].0)).collect(),
        hidden_metadata: hidden(&disclosed.metadata_seen).len(),
        hidden_targets: hidden(&disclosed.targets_seen),
    })
}

fn event(text: &str) -> Result<Event<'_>, Malformed> {
    event_with(text, false, |_, _| {}).map(|(event, ..)| event)
}

/// Reads the line of a later record from behind its name.
fn later_record(text: &str) -> Result<Event<'_>, Malformed> {
    let Some(text) = text.strip_suffix('}') else { return malformed("something follows the end of the event") };
    if !text.starts_with(DOCUMENT) {
        return no_document(text);
    }
    match event_with(text, false, |_, _| {})? {
        (event, document, _) if document.action == ERASURE => Ok(event),
        _ => malformed("a later record that is not one of erasures"),
    }
}

/// Reads the line of an event. `each` gets the path and the value of each disclosure. If `chosen`,
/// what is not disclosed need not be erased.
fn event_with<'a>(
    text: &'a str,
    chosen: bool,
    mut each: impl FnMut(&'a str, &'a str),
) -> Result<(Event<'a>, Document<'a>, Disclosed<'a>), Malformed> {
    let Some(end) = memchr::memmem::find(text.as_bytes(), AFTER_DOCUMENT.as_bytes()) else {
        return malformed("the line ends early: it has no event_hash");
    };
    let document_text = &text[DOCUMENT.len()..end];
    let document = Document::read(document_text)
        .map_err(|error| Malformed::from(Error { at: error.at + DOCUMENT.len(), ..error }))?;
    let mut scanner = Scanner::new(text, end + AFTER_DOCUMENT.len(), limits::NESTING + 1);
    let event_hash = match scanner.skip("null") {
        true => None,
        false => Some(bytes(scanner.string()?).ok_or(Malformed("event_hash is not hex digits".to_string()))?),
    };
    scanner.expect(",\"disclosures\":")?;
    let mut disclosed = Disclosed::new(&document);
    let (lists_erasures, lists_lanes) = (document.action == ERASURE, document.action == pruning::ACTION);
    let (mut recorded, mut lanes) = (Vec::new(), Vec::new());
    scanner.array(|scanner| {
        let disclosure = disclosure(text, scanner)?;
        disclosed.take(&document, &disclosure);
        each(disclosure.path, disclosure.value);
        if lists_erasures && disclosure.path.starts_with("targets.") {
            erasures(disclosure.value, &mut recorded);
        }
        if lists_lanes && disclosure.path.starts_with("targets.") {
            lanes.push(disclosure.value);
        }
        Ok(())
    })?;
    end_of_event(&mut scanner)?;
    let erased = disclosed.left(&document);
    let hash = sha256(&[document_text.as_bytes()]);
    let mut wrong = document.violation().map(str::to_string).or_else(|| disclosed.wrong.take());
    if wrong.is_none() && !chosen && disclosed.erases_too_much(&document, erased.len()) {
        wrong = Some("more than the reason is erased from an event of the log's own".to_string());
    }
    let valid = wrong.is_none() && event_hash.as_deref() == Some(&hash);
    if !valid {
        (recorded, lanes) = Default::default(); // an event that is not valid says nothing about erasures and prunings
    }
    let log_id = document.log_id.map(|id| parse_uuid(id).ok_or(Malformed("log_id is not a UUID".to_string())));
    let event = Event {
        position: document.position()?,
        log_id: log_id.transpose()?,
        previous_event_hash: document.previous_event_hash.and_then(bytes),
        content: match wrong {
            Some(wrong) if event_hash.as_deref() == Some(&hash) => Err(wrong),
            _ => Ok(hash),
        },
        event_hash,
        erased: if valid { erased.into_iter().filter_map(parse_hex).collect() } else { Vec::new() },
        recorded,
        begins: pruning::begins(lanes).unwrap_or_default(),
    };
    Ok((event, document, disclosed))
}

fn end_of_event(scanner: &mut Scanner<'_>) -> Result<(), Malformed> {
    scanner.expect("}")?;
    match scanner.byte() {
        None => Ok(()),
        Some(_) => malformed("something follows the end of the event"),
    }
}

impl Disclosed<'_> {
    /// Whether this many erased values are too many: of an event of the log's own only the reason can be
    /// erased.
    fn erases_too_much(&self, document: &Document<'_>, erased: usize) -> bool {
        let more_than_the_reason = erased > 1 || self.reason || self.all_metadata();
        document.action.starts_with(RESERVED) && erased > 0 && more_than_the_reason
    }

    fn all_metadata(&self) -> bool {
        self.metadata_seen.iter().all(|seen| *seen)
    }
}

/// The bytes of a lower-case hex text of any length: what a damaged row has for a hash is not
/// always 32 bytes.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; text.len() / 2];
    (is_hex(text.as_bytes()) && faster_hex::hex_decode(text.as_bytes(), &mut bytes).is_ok()).then_some(bytes)
}

/// Reads the list in a target of an `immutable.event_erased` event.
fn erasures(target: &str, recorded: &mut Vec<(String, Hash)>) {
    let Ok(Value::Object(target)) = Value::parse(target, limits::NESTING, limits::CANONICAL_BYTES) else { return };
    if get(&target, "type").and_then(Value::as_str) != Some("immutable.event") {
        return;
    }
    let Some(id) = get(&target, "id").and_then(Value::as_str).filter(|id| id.len() == 36) else { return };
    let Some(Value::Object(metadata)) = get(&target, "metadata") else { return };
    let Some(Value::Array(commitments)) = get(metadata, "commitments") else { return };
    let commitments = commitments.iter().filter_map(Value::as_str).filter_map(parse_hex);
    recorded.extend(commitments.map(|commitment| (id.to_string(), commitment)));
}

fn get<'v, 'a>(members: &'v Members<'a>, name: &str) -> Option<&'v Value<'a>> {
    members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// The other kinds of lines are few and small; their order of members is not fixed.
const SMALL_LINE: usize = 4 << 20;

fn members<'a>(text: &'a str, name: &str) -> Result<Members<'a>, Malformed> {
    match Value::parse(text, 4, SMALL_LINE) {
        Ok(Value::Object(members)) if get(&members, name).is_some() => Ok(members),
        Ok(_) => malformed("not a line of an export"),
        Err(error) => Err(Malformed(error.to_string())),
    }
}

fn version(members: &Members<'_>, name: &str) -> Result<(), Malformed> {
    match get(members, name) {
        Some(Value::Number(one)) if one == "1" => Ok(()),
        _ => malformed("an export of another version than 1, which this program does not know"),
    }
}

fn header(text: &str) -> Result<Header<'_>, Malformed> {
    let members = members(text, "immutable_export")?;
    version(&members, "immutable_export")?;
    let created_at = get(&members, "created_at").and_then(Value::as_str);
    let created_at = created_at.and_then(|text| {
        let micros = time::parse(text).ok()?;
        (time::format(micros)? == text).then_some(micros)
    });
    let log_id = match get(&members, "log_id") {
        Some(Value::Null) => Some(None),
        Some(Value::String(id)) => parse_uuid(id).map(Some),
        _ => None,
    };
    let lanes = get(&members, "lanes").and_then(Value::as_str).and_then(Lanes::named);
    let escaped = match get(&members, "escaped") {
        None => false,
        Some(Value::Bool(escaped)) => *escaped,
        Some(_) => return malformed("a header whose escaped is neither true nor false"),
    };
    let filters = members.into_iter().find(|(name, _)| name == "filters").map(|(_, value)| value);
    let (Some(created_at), Some(log_id), Some(lanes), Some(Value::Object(given))) =
        (created_at, log_id, lanes, filters)
    else {
        return malformed("a header without created_at, log_id, lanes or filters, or with malformed ones");
    };
    let mut filters: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    for (name, value) in given {
        match value {
            Value::String(value) => filters.push((name, value)),
            _ => return malformed("a header with a filter that is not a string"),
        }
    }
    if Lanes::left_by(filters.iter().map(|(name, _)| name.as_ref())) != lanes {
        return malformed("a header whose lanes are not what its filters leave of them");
    }
    Ok(Header { created_at, log_id, lanes, escaped, filters })
}

fn end(text: &str) -> Result<Line<'_>, Malformed> {
    let members = members(text, "immutable_export_end")?;
    version(&members, "immutable_export_end")?;
    let number = |name| match get(&members, name) {
        Some(Value::Number(number)) => number.parse::<u64>().ok(),
        _ => None,
    };
    match (number("events"), number("lanes")) {
        (Some(events), Some(lanes)) => Ok(Line::End { events, lanes }),
        _ => malformed("an end line without the numbers of events and lanes"),
    }
}

fn no_document(text: &str) -> Result<Event<'_>, Malformed> {
    let members = members(text, "no_document")?;
    let Some(Value::Object(row)) = get(&members, "no_document") else {
        return malformed("no_document is not an object");
    };
    let text_of = |name| get(row, name).and_then(Value::as_str);
    let number = |name| match get(row, name) {
        Some(Value::Number(number)) => number.parse::<i64>().ok(),
        _ => None,
    };
    let hash = |name| match get(row, name) {
        Some(Value::Null) => Some(None),
        Some(Value::String(text)) => bytes(text).map(Some),
        _ => None,
    };
    let log_id = match get(row, "log_id") {
        Some(Value::Null) => Some(None),
        Some(Value::String(id)) => parse_uuid(id).map(Some),
        _ => None,
    };
    let lane = number("lane").and_then(|lane| i16::try_from(lane).ok());
    let (Some(tenant_id), Some(id)) = (text_of("tenant_id"), text_of("id").and_then(parse_uuid)) else {
        return malformed("no_document has no tenant_id or id");
    };
    let (Some(lane), Some(seq), Some(log_id), Some(previous_event_hash), Some(event_hash)) =
        (lane, number("seq"), log_id, hash("previous_event_hash"), hash("event_hash"))
    else {
        return malformed("no_document has no lane, seq, log_id, previous_event_hash or event_hash");
    };
    Ok(Event {
        position: ChainPosition { tenant_id: Cow::Owned(tenant_id.to_string()), lane, seq, id },
        log_id,
        previous_event_hash,
        event_hash,
        content: Err(text_of("why").unwrap_or("its columns do not make a document").to_string()),
        erased: Vec::new(),
        recorded: Vec::new(),
        begins: Vec::new(),
    })
}
