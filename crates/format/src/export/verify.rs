//! Verifies an export line by line: the content and the links of events, the order of lanes, saved
//! heads, erasures, and that the export is complete.

use super::read::{line, restored, Event, Line, Malformed};
use super::{ChainPosition, Header, Lanes};
use crate::hash::{parse_hex, sha256, Hash};
use crate::id::{parse_uuid, uuid_text, Id};
use crate::limits;
use crate::link::{Break, BreakType, Noted, Row, Walk};

use super::pruned::{Doubts, Holes};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// Receives what a verification finds.
pub trait Sink {
    /// A break was found.
    fn broken(&mut self, found: Break);
    /// A lane has ended with this event.
    fn head(&mut self, _head: &Head) {}
    /// An event was read. Returns whether something from outside other than a saved head confirms
    /// it, such as a checkpoint whose tree has to hold it.
    fn event(&mut self, _event: &Event<'_>) -> bool {
        false
    }
}

/// The last event of a lane, now or when it was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The tenant whose lane it is.
    pub tenant_id: String,
    /// The lane.
    pub lane: i16,
    /// The position in the lane.
    pub seq: i64,
    /// The hash of the event.
    pub event_hash: Vec<u8>,
}

/// The counts of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Exports.
    pub exports: u64,
    /// Events.
    pub events: u64,
    /// Lanes.
    pub lanes: u64,
    /// Links to the event before, which was in the file or was a saved head.
    pub links: u64,
    /// Positions where a filter may have left out events, so that there was no link to check.
    pub gaps: u64,
    /// Values that are erased.
    pub erased: u64,
    /// Events that are gone with a pruning, as the records of prunings say.
    pub pruned: u64,
    /// Records of erasures that are newer than the events. They are in no lane of the export.
    pub later_records: u64,
    /// Whether every erased value was looked up among the records of erasures.
    pub erasures_checked: bool,
    /// Saved heads that were compared with an event.
    pub heads_checked: u64,
    /// Events that something from outside confirms if no break is found: those from which links
    /// lead to a saved head of their own lane without a gap, and those of which the sink says so.
    pub events_confirmed: u64,
    /// Whether all lanes were whole.
    pub whole: bool,
    /// Whether any filter was given, even one that leaves lanes whole.
    pub filtered: bool,
    /// The identity of the log, once an export has stated it.
    pub log_id: Option<Id>,
}

struct Saved {
    seq: i64,
    event_hash: Hash,
    /// Whether an export had an event at its position.
    checked: bool,
    /// Whether its event was pruned.
    pruned: bool,
}

#[derive(Clone)]
struct ErasedValue {
    tenant_id: Rc<str>,
    lane: i16,
    seq: i64,
    id: Id,
    commitment: Hash,
}

enum ErasureMatch {
    /// Erased here, and not recorded so far.
    Value(ErasedValue),
    /// Recorded for this event, and not seen erased so far.
    Record(Rc<str>, Id, Hash),
    Both,
}

/// The export that is being read.
struct OpenExport {
    walk: Walk,
    lanes: Lanes,
    escaped: bool,
    tenant_id: Option<String>,
    lane: Option<(Rc<str>, i16)>,
    events: u64,
    erasures: HashMap<[u8; 16], ErasureMatch>,
    named: bool,
    /// Whether the events have ended, and later records follow.
    is_later: bool,
    /// The holes of the tenant that is being read, which a record may explain later.
    holes: Holes,
    /// The tenants of which events were pruned.
    pruned: HashSet<Rc<str>>,
}

/// The state of a verification. Its memory is that of one lane, plus the saved heads, plus one
/// small entry for every erased value whose record was not seen yet, or the reverse.
pub struct Verifier {
    log_id: Option<Id>,
    heads: HashMap<String, HashMap<i16, Vec<Saved>>>,
    open: Option<OpenExport>,
    /// Events since the last one that is confirmed, or since the last gap, in this lane.
    unconfirmed: u64,
    doubts: Doubts,
    summary: Summary,
}

impl Verifier {
    /// Begins a verification. `log_id` is the log that every export has to be of, if it is known;
    /// `heads` were saved earlier.
    pub fn new(log_id: Option<Id>, heads: Vec<Head>) -> Self {
        let mut saved: HashMap<String, HashMap<i16, Vec<Saved>>> = HashMap::new();
        for head in heads {
            let Ok(event_hash) = head.event_hash.try_into() else { continue };
            let lane = saved.entry(head.tenant_id).or_default().entry(head.lane).or_default();
            lane.push(Saved { seq: head.seq, event_hash, checked: false, pruned: false });
        }
        for heads in saved.values_mut().flat_map(HashMap::values_mut) {
            heads.sort_by_key(|head| head.seq);
        }
        let summary = Summary { erasures_checked: true, whole: true, ..Summary::default() };
        Verifier { log_id, heads: saved, open: None, unconfirmed: 0, doubts: Doubts::default(), summary }
    }

    /// Reads the next line, which is given without its line feed. Breaks go to `sink`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the line is not one of an export, or must not stand here.
    pub fn line(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), Malformed> {
        let restored = match &self.open {
            Some(open) if open.escaped => restored(bytes)?,
            _ => Cow::Borrowed(bytes),
        };
        match (line(&restored)?, self.open.is_some()) {
            (Line::Header(header), false) => self.begin(header),
            (Line::Header(_), true) => Err(Malformed("a header where the export before has no end line".to_string())),
            (_, false) => Err(Malformed("an export begins with its header".to_string())),
            (Line::Event(_), true) if self.open.as_ref().is_some_and(|open| open.is_later) => {
                Err(Malformed("an event after the later records".to_string()))
            }
            (Line::Event(event), true) => {
                self.event(&event, sink);
                Ok(())
            }
            (Line::Later(record), true) => self.later_record(&record, sink),
            (Line::End { events, lanes }, true) => {
                self.end(events, lanes, sink);
                Ok(())
            }
        }
    }

    /// Returns how many bytes the next line may have.
    pub fn line_bytes(&self) -> usize {
        match &self.open {
            Some(open) if open.escaped => limits::ESCAPED_LINE_BYTES,
            _ => limits::LINE_BYTES,
        }
    }

    /// Takes what can only be decided by reading the events once more.
    pub fn take_doubts(&mut self) -> Doubts {
        std::mem::take(&mut self.doubts)
    }

    /// Ends the verification after the last line. Returns the counts, and an error if the export
    /// has no end line or if there was no export.
    pub fn finish(self) -> (Summary, Result<(), Malformed>) {
        let whole = match (self.open.is_some(), self.summary.exports) {
            (true, _) => Err(Malformed("the export is cut off: it has no end line".to_string())),
            (false, 0) => Err(Malformed("there is no export in the files".to_string())),
            (false, _) => Ok(()),
        };
        (self.summary, whole)
    }

    /// Returns how many saved heads lie at a position that no export held.
    pub fn heads_not_covered(&self) -> u64 {
        let heads = self.heads.values().flat_map(HashMap::values).flatten();
        heads.filter(|head| !head.checked).count() as u64
    }

    /// Returns the counts so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    fn begin(&mut self, header: Header<'_>) -> Result<(), Malformed> {
        if let (Some(known), Some(own)) = (self.log_id, header.log_id) {
            if known != own {
                let (own, known) = (uuid_text(&own), uuid_text(&known));
                return Err(Malformed(format!("an export of log {own}, where log {known} is expected")));
            }
        }
        self.log_id = self.log_id.or(header.log_id);
        self.summary.exports += 1;
        self.summary.log_id = self.log_id;
        self.summary.whole &= header.lanes == Lanes::Whole;
        self.summary.filtered |= !header.filters.is_empty();
        self.summary.erasures_checked &= header.lanes == Lanes::Whole;
        let tenant_id = header.filters.into_iter().find(|(name, _)| name == "tenant_id");
        self.open = Some(OpenExport {
            walk: Walk::new(self.log_id),
            lanes: header.lanes,
            escaped: header.escaped,
            tenant_id: tenant_id.map(|(_, value)| value.into_owned()),
            lane: None,
            events: 0,
            erasures: HashMap::new(),
            named: header.log_id.is_some(),
            is_later: false,
            holes: Holes::default(),
            pruned: HashSet::new(),
        });
        Ok(())
    }

    fn event(&mut self, event: &Event<'_>, sink: &mut impl Sink) {
        let Some(mut open) = self.open.take() else { return };
        let ChainPosition { tenant_id, lane, seq, id } = &event.position;
        open.events += 1;
        self.summary.events += 1;
        self.summary.erased += event.erased.len() as u64;
        if open.walk.begins_lane(tenant_id, *lane) {
            self.unconfirmed = 0;
            open.end_lane(sink);
            if open.lane.as_ref().is_some_and(|(before, _)| before.as_ref() != tenant_id.as_ref()) {
                self.end_tenant(&mut open, sink);
            }
            self.begin_lane(&mut open, event, sink);
        } else {
            let (last, _) = open.walk.last();
            if open.lanes == Lanes::Gaps && *seq > last.saturating_add(1) {
                self.summary.gaps += 1;
                self.unconfirmed = 0;
                open.walk.skip_to((seq - 1, Some(event.previous_event_hash.clone().unwrap_or_default())));
            } else {
                self.summary.links += 1;
            }
        }
        let row = Row {
            tenant_id,
            lane: *lane,
            seq: *seq,
            id: *id,
            log_id: event.log_id,
            previous_event_hash: event.previous_event_hash.as_deref(),
            event_hash: event.event_hash.as_deref(),
            recomputed: match &event.content {
                Ok(hash) => Ok(*hash),
                Err(why) => Err(why),
            },
            stray: None,
        };
        let holes = &mut open.holes;
        open.walk.push_noting(&row, |noted| match noted {
            Noted::Break(found) => holes.broken(found, &mut |found| sink.broken(found)),
            // A record that comes later may say why the events before this one are not here.
            Noted::Hole(hole, _) => holes.add(&hole, &mut |found| sink.broken(found)),
        });
        holes.record(&event.begins);
        match sink.event(event) {
            true => self.summary.events_confirmed += 1,
            false => self.unconfirmed += 1,
        }
        self.check_head(event, &mut open.holes, sink);
        if open.lanes == Lanes::Whole {
            open.note_erasures(event);
        }
        self.open = Some(open);
    }

    /// Reads a record of erasures that is newer than the events of the export. It is hashed, and
    /// linked to nothing, because the events before it in its lane are not here. What it lists beside
    /// the erased values of the export is of no interest.
    fn later_record(&mut self, record: &Event<'_>, sink: &mut impl Sink) -> Result<(), Malformed> {
        let Some(open) = self.open.as_mut().filter(|open| open.lanes == Lanes::Whole) else {
            return Err(Malformed("later records where the lanes are not whole".to_string()));
        };
        open.is_later = true;
        self.summary.later_records += 1;
        let ChainPosition { tenant_id, lane, seq, id } = &record.position;
        match &record.content {
            Ok(hash) if record.event_hash.as_deref() == Some(hash) => {}
            content => sink.broken(Break {
                kind: BreakType::HashMismatch,
                tenant_id: Some(tenant_id.to_string()),
                lane: Some(*lane),
                seq: Some(*seq),
                event_id: Some(*id),
                expected: content.as_ref().ok().map(|hash| hash.to_vec()),
                actual: record.event_hash.clone(),
                detail: match content {
                    Ok(_) => "the document of a later record does not have the stored hash".to_string(),
                    Err(why) => format!("the later record is not the one that was hashed: {why}"),
                },
            }),
        }
        for (id, commitment) in &record.recorded {
            let Some(id) = parse_uuid(id) else { continue };
            if let Some(known) = open.erasures.get_mut(&erasure_key(tenant_id, &id, commitment)) {
                if matches!(known, ErasureMatch::Value(_)) {
                    *known = ErasureMatch::Both;
                }
            }
        }
        Ok(())
    }

    /// Begins the lane of `event`. The event that the first one has to follow is known if the first
    /// one has seq 1, or if a saved head stands before it.
    fn begin_lane(&mut self, open: &mut OpenExport, event: &Event<'_>, sink: &mut impl Sink) {
        let ChainPosition { tenant_id, lane, seq, id } = &event.position;
        if let Some((tenant_before, lane_before)) = &open.lane {
            if (tenant_id.as_ref(), *lane) < (tenant_before, *lane_before) {
                open.holes.broken(
                    Break {
                        kind: BreakType::ChainBreak,
                        tenant_id: Some(tenant_id.to_string()),
                        lane: Some(*lane),
                        seq: Some(*seq),
                        event_id: Some(*id),
                        expected: None,
                        actual: event.previous_event_hash.clone(),
                        detail:
                            "the lane is out of order: lanes are sorted by tenant and number, and each is there once"
                                .to_string(),
                    },
                    &mut |found| sink.broken(found),
                );
            }
        }
        open.lane = Some((Rc::from(tenant_id.as_ref()), *lane));
        self.summary.lanes += 1;
        let mut before = None;
        if open.lanes != Lanes::Whole && *seq > 1 {
            let head = self.heads.get_mut(tenant_id.as_ref()).and_then(|lanes| lanes.get_mut(lane));
            let head = head.and_then(|heads| heads.iter_mut().find(|head| head.seq == seq - 1));
            before = match head {
                Some(head) => {
                    head.checked = true;
                    self.summary.heads_checked += 1;
                    self.summary.links += 1;
                    Some((head.seq, head.event_hash.to_vec()))
                }
                None => {
                    self.summary.gaps += 1;
                    Some((seq - 1, event.previous_event_hash.clone().unwrap_or_default()))
                }
            };
        }
        open.walk.begin_lane(tenant_id, *lane, before, None);
    }

    /// Compares the event with the saved heads at its position. A head that agrees confirms the
    /// events that lead to it.
    fn check_head(&mut self, event: &Event<'_>, holes: &mut Holes, sink: &mut impl Sink) {
        if self.heads.is_empty() {
            return;
        }
        let ChainPosition { tenant_id, lane, seq, id } = &event.position;
        let heads = self.heads.get_mut(tenant_id.as_ref()).and_then(|lanes| lanes.get_mut(lane));
        let Some(heads) = heads else { return };
        for head in heads.iter_mut().filter(|head| head.seq == *seq) {
            head.checked = true;
            self.summary.heads_checked += 1;
            if event.event_hash.as_deref() == Some(&head.event_hash) {
                self.summary.events_confirmed += std::mem::take(&mut self.unconfirmed);
                continue;
            }
            let actual = (Some(*id), event.event_hash.clone());
            let why = "another event is in the place of a saved head";
            holes.broken(head_break(tenant_id, *lane, head, actual, why), &mut |found| sink.broken(found));
        }
    }

    fn end(&mut self, events: u64, lanes: u64, sink: &mut impl Sink) {
        let Some(mut open) = self.open.take() else { return };
        open.end_lane(sink);
        self.end_tenant(&mut open, sink);
        if open.lanes == Lanes::Whole {
            self.check_heads_left(&open, sink);
        }
        open.report_erasures(&mut self.doubts, sink);
        if !open.named && open.events > 0 {
            sink.broken(nowhere(
                "the export does not name its log: the table immutable.log had lost its row".to_string(),
            ));
        }
        if (events, lanes) != (open.events, open.walk.lanes) {
            sink.broken(nowhere(format!(
                "the end line counts {events} events in {lanes} lanes, but the file has {} events in {} lanes",
                open.events, open.walk.lanes
            )));
        }
    }

    /// Ends the tenant that was read last: every record of a pruning of its events is known by now.
    fn end_tenant(&mut self, open: &mut OpenExport, sink: &mut impl Sink) {
        let holes = std::mem::take(&mut open.holes);
        let Some((tenant_id, _)) = &open.lane else { return };
        let is_whole = open.lanes == Lanes::Whole;
        let (pruned, begins) = holes.end(tenant_id, is_whole, &mut |found| sink.broken(found));
        if pruned > 0 {
            self.summary.pruned = self.summary.pruned.saturating_add(pruned);
            open.pruned.insert(tenant_id.clone());
        }
        // What is known of the events that are gone is the hash of the last of each lane.
        let mut lanes = self.heads.get_mut(tenant_id.as_ref());
        for begin in begins.iter().filter(|_| is_whole) {
            let heads = lanes.as_mut().and_then(|lanes| lanes.get_mut(&begin.lane));
            for head in heads.into_iter().flatten().filter(|head| !head.checked && head.seq <= begin.seq) {
                head.pruned = true;
                if head.seq < begin.seq {
                    continue;
                }
                head.checked = true;
                self.summary.heads_checked += 1;
                if head.event_hash != begin.event_hash {
                    let why = "another event was in the place of a saved head when it was pruned";
                    sink.broken(head_break(tenant_id, begin.lane, head, (None, None), why));
                }
            }
        }
    }

    /// Reports the saved heads of the lanes that the export has to hold, if no event stands at
    /// their position.
    fn check_heads_left(&mut self, open: &OpenExport, sink: &mut impl Sink) {
        let mut gone = Vec::new();
        let in_scope = |tenant_id: &String| open.tenant_id.as_ref().is_none_or(|only| only == tenant_id);
        for (tenant_id, lanes) in self.heads.iter_mut().filter(|(tenant_id, _)| in_scope(tenant_id)) {
            for (lane, heads) in lanes {
                for head in heads.iter_mut().filter(|head| !head.checked && !head.pruned) {
                    head.checked = true;
                    self.summary.heads_checked += 1;
                    let why = "the event of a saved head is gone";
                    gone.push(head_break(tenant_id, *lane, head, (None, None), why));
                }
            }
        }
        gone.sort_by(|a, b| (&a.tenant_id, a.lane, a.seq).cmp(&(&b.tenant_id, b.lane, b.seq)));
        for broken in gone {
            sink.broken(broken);
        }
    }
}

fn nowhere(detail: String) -> Break {
    Break {
        kind: BreakType::MissingEvent,
        tenant_id: None,
        lane: None,
        seq: None,
        event_id: None,
        expected: None,
        actual: None,
        detail,
    }
}

fn head_break(tenant_id: &str, lane: i16, head: &Saved, actual: (Option<Id>, Option<Vec<u8>>), why: &str) -> Break {
    Break {
        kind: BreakType::MissingEvent,
        tenant_id: Some(tenant_id.to_string()),
        lane: Some(lane),
        seq: Some(head.seq),
        event_id: actual.0,
        expected: Some(head.event_hash.to_vec()),
        actual: actual.1,
        detail: why.to_string(),
    }
}

/// The key of an erased value among all of an export.
fn erasure_key(tenant_id: &str, id: &Id, commitment: &Hash) -> [u8; 16] {
    let digest = sha256(&[id, commitment, tenant_id.as_bytes()]);
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}

impl OpenExport {
    /// Ends the lane that was read last.
    fn end_lane(&mut self, sink: &mut impl Sink) {
        let Some((tenant_id, lane)) = &self.lane else { return };
        let (seq, event_hash) = self.walk.last();
        self.holes.end_lane(*lane, seq);
        let event_hash = event_hash.unwrap_or_default().to_vec();
        sink.head(&Head { tenant_id: tenant_id.to_string(), lane: *lane, seq, event_hash });
    }

    /// Notes what is erased from this event, and what it records as erased.
    fn note_erasures(&mut self, event: &Event<'_>) {
        if event.erased.is_empty() && event.recorded.is_empty() {
            return;
        }
        let Some((tenant_id, lane)) = self.lane.clone() else { return };
        let key = |id: &Id, commitment: &Hash| erasure_key(&tenant_id, id, commitment);
        let (seq, id) = (event.position.seq, event.position.id);
        for commitment in &event.erased {
            let value = ErasedValue { tenant_id: tenant_id.clone(), lane, seq, id, commitment: *commitment };
            let known = self.erasures.entry(key(&id, commitment)).or_insert(ErasureMatch::Value(value));
            if matches!(known, ErasureMatch::Record(..)) {
                *known = ErasureMatch::Both;
            }
        }
        for (id, commitment) in &event.recorded {
            // A text that is not an id names no event.
            let Some(id) = parse_uuid(id) else { continue };
            let record = ErasureMatch::Record(tenant_id.clone(), id, *commitment);
            let known = self.erasures.entry(key(&id, commitment)).or_insert(record);
            if matches!(known, ErasureMatch::Value(_)) {
                *known = ErasureMatch::Both;
            }
        }
    }

    /// Reports, in the order of places, what is erased and not recorded or the reverse.
    fn report_erasures(&self, doubts: &mut Doubts, sink: &mut impl Sink) {
        let mut unmatched: Vec<_> = self.erasures.values().filter_map(ErasureMatch::unmatched).collect();
        unmatched.sort_unstable();
        for (tenant_id, place, id, recorded, commitment) in unmatched {
            if recorded && self.pruned.contains(tenant_id) {
                // Either its event was pruned, or the value is back.
                doubts.add(tenant_id, id, commitment);
                continue;
            }
            let hash = Some(commitment.to_vec());
            sink.broken(Break {
                kind: BreakType::ErasureMismatch,
                tenant_id: Some(tenant_id.to_string()),
                lane: place.map(|(lane, _)| lane),
                seq: place.map(|(_, seq)| seq),
                event_id: Some(*id),
                expected: if recorded { hash.clone() } else { None },
                actual: if recorded { None } else { hash },
                detail: match recorded {
                    true => "a value that was erased is back, or its event is not there".to_string(),
                    false => "a value is erased that no immutable.event_erased event lists".to_string(),
                },
            });
        }
    }
}

/// Tenant, lane and seq where they are known, event, whether this is a record, and the commitment.
type Unmatched<'a> = (&'a str, Option<(i16, i64)>, &'a Id, bool, &'a Hash);

impl ErasureMatch {
    fn unmatched(&self) -> Option<Unmatched<'_>> {
        match self {
            ErasureMatch::Both => None,
            ErasureMatch::Value(value) => {
                Some((&value.tenant_id, Some((value.lane, value.seq)), &value.id, false, &value.commitment))
            }
            ErasureMatch::Record(tenant_id, id, commitment) => Some((tenant_id, None, id, true, commitment)),
        }
    }
}

/// Reads saved heads: a JSON array of `{"tenant_id", "lane", "seq", "event_hash"}`, as `jsonb_agg`
/// of `immutable.heads()` returns it. The hashes are hex digits, with `\x` before them or not.
/// Returns `None` for any other text.
pub fn heads(text: &str) -> Option<Vec<Head>> {
    let heads: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
    let head = |head: &serde_json::Value| {
        let hash = head.get("event_hash")?.as_str()?;
        let hash = parse_hex::<32>(hash.strip_prefix("\\x").unwrap_or(hash))?;
        Some(Head {
            tenant_id: head.get("tenant_id")?.as_str()?.to_string(),
            lane: i16::try_from(head.get("lane")?.as_i64()?).ok()?,
            seq: head.get("seq")?.as_i64()?,
            event_hash: hash.to_vec(),
        })
    };
    heads.iter().map(head).collect()
}
