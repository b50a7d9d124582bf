//! How far the feed was read. A mark is a snapshot: everything that it sees was given. While a
//! backlog is read in pieces, the mark also has the snapshot that the reader is on the way to, and
//! maybe a place within a large transaction.
//!
//! As text: `10:13:11` for xmin, xmax and the transactions between that ran, then `>10:20:11,12` for
//! the snapshot on the way to, and then `@14/0/7/61636d65` for a transaction, lane, seq and tenant (in
//! hex).

use crate::log::snapshot::Snapshot;
use crate::pg::error::{Code, Fault};
use std::collections::BTreeSet;

/// A snapshot: which transactions had ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The first transaction ID that was not in use.
    pub xmax: u64,
    /// Those below it that had not ended.
    pub xip: BTreeSet<u64>,
}

impl Seen {
    /// What sees nothing.
    pub const NOTHING: Seen = Seen { xmax: 0, xip: BTreeSet::new() };

    /// Reads what pg_snapshot's output function writes.
    pub fn parse(text: &str) -> Option<Seen> {
        let snapshot = Snapshot::parse(text)?;
        let xmax = snapshot.xmax.parse().ok()?;
        let xip = snapshot.xip.iter().map(|id| id.parse().ok()).collect::<Option<BTreeSet<u64>>>()?;
        let is_sound = xip.len() == snapshot.xip.len() && xip.last().is_none_or(|last| *last < xmax);
        is_sound.then_some(Seen { xmax, xip })
    }

    /// Whether the transaction had ended.
    pub fn has(&self, xact: u64) -> bool {
        xact < self.xmax && !self.xip.contains(&xact)
    }

    /// Whether every transaction that `earlier` sees is seen here too.
    pub fn covers(&self, earlier: &Seen) -> bool {
        self.xmax >= earlier.xmax && !self.xip.iter().any(|xact| earlier.has(*xact))
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        let xmin = self.xip.first().unwrap_or(&self.xmax);
        let xip: Vec<String> = self.xip.iter().map(u64::to_string).collect();
        write!(out, "{xmin}:{}:{}", self.xmax, xip.join(","))
    }
}

/// The last event that was given of a transaction that is given in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The transaction. It is none that the mark sees.
    pub xact: u64,
    /// The tenant of the event,
    pub tenant_id: String,
    /// its lane
    pub lane: i16,
    /// and its seq.
    pub seq: i64,
}

impl Place {
    fn parse(text: &str) -> Option<Place> {
        let parts: Vec<&str> = text.split('/').collect();
        let [xact, lane, seq, tenant_id] = parts[..] else { return None };
        let tenant_id = String::from_utf8(hex::decode(tenant_id).ok()?).ok().filter(|id| !id.contains('\0'))?;
        Some(Place { xact: xact.parse().ok()?, tenant_id, lane: lane.parse().ok()?, seq: seq.parse().ok()? })
    }
}

/// How far the feed was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Everything that this sees was given.
    pub given: Seen,
    /// What the reader is on the way to, if that is not reached.
    pub target: Option<Seen>,
    /// Where it is within a transaction.
    pub place: Option<Place>,
}

impl Mark {
    /// The mark behind everything that a snapshot sees.
    pub fn at(given: Seen) -> Mark {
        Mark { given, target: None, place: None }
    }

    /// Reads a mark. Raises XX001 for what is none.
    pub fn read(text: &str) -> Mark {
        Mark::parse(text).unwrap_or_else(|| {
            Fault::new(Code::ERRCODE_DATA_CORRUPTED, "a mark of the feed of events is damaged")
                .field("mark")
                .detail("It is not a snapshot as the feed writes it.")
                .hint(
                    "Begin with a new mark; what came between is not given again. If it is that of alerts, \
                     DELETE FROM immutable.alert_feed. If it is a stream's, give immutable.update_stream() a start.",
                )
                .raise()
        })
    }

    /// Reads a mark; None for what is none.
    pub fn parse(text: &str) -> Option<Mark> {
        let (text, place) = match text.split_once('@') {
            Some((text, place)) => (text, Some(Place::parse(place)?)),
            None => (text, None),
        };
        let (given, target) = match text.split_once('>') {
            Some((given, target)) => (Seen::parse(given)?, Some(Seen::parse(target)?)),
            None => (Seen::parse(text)?, None),
        };
        let is_on_the_way = target.as_ref().is_none_or(|target| target.covers(&given));
        let is_within = place
            .as_ref()
            .is_none_or(|place| target.as_ref().is_some_and(|target| target.has(place.xact) && !given.has(place.xact)));
        (is_on_the_way && is_within).then_some(Mark { given, target, place })
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(out, "{}", self.given)?;
        if let Some(target) = &self.target {
            write!(out, ">{target}")?;
        }
        if let Some(Place { xact, tenant_id, lane, seq }) = &self.place {
            write!(out, "@{xact}/{lane}/{seq}/{}", hex::encode(tenant_id))?;
        }
        Ok(())
    }
}
