//! immutable.seal(): moves older events into segments, in transactions of its own.

use crate::jobs::seal_drop::{drop_tables, droppable, warn_standbys};
use crate::jobs::seal_due::{cut, sealed_to, Wanted, FIRST};
use crate::jobs::seal_late::gap;
use crate::jobs::seal_merge::{chosen, has_too_many};
use crate::jobs::seal_move::{fill, Moved};
use crate::jobs::seal_prepare::prepare;
use crate::jobs::seal_refused::refuse_where_seen;
use crate::jobs::seal_wait::{become_sealer, note_old_transactions, wait_for_old_transactions};
use crate::log::own_change::by_log;
use crate::log::segments::{self, Segment, State};
use crate::log::tables::events_oid;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{micros, Datum};
use crate::pg::error::Code;
use crate::pg::procedure::{in_transactions, Transactions};
use crate::pg::relation::OpenRelation;
use crate::pg::subtransaction::{attempt, Refused};
use crate::pg::{spi, transaction};
use pgrx::pg_sys;

/// Runs one transaction after the other.
pub trait Parts {
    /// Runs `body` in a transaction, and commits it.
    fn part<T>(&self, body: impl FnOnce() -> T) -> Result<T, Refused>;
}

/// A call by hand, whose errors are the caller's.
struct ByHand<'t>(&'t Transactions);

impl Parts for ByHand<'_> {
    fn part<T>(&self, body: impl FnOnce() -> T) -> Result<T, Refused> {
        let done = body();
        self.0.commit();
        Ok(done)
    }
}

/// What was done.
#[derive(Default)]
pub struct Did {
    sealed: i64,
    moved: Moved,
    merged: i64,
    dropped: i64,
}

impl Did {
    /// Whether anything was done.
    pub fn is_something(&self) -> bool {
        self.sealed + self.merged + self.dropped > 0
    }

    /// As JSON.
    pub fn json(&self) -> String {
        let Did { sealed, moved: Moved { events, targets, unreadable }, merged, dropped } = self;
        let unreadable = if *unreadable > 0 { format!(",\"unreadable\":{unreadable}") } else { String::new() };
        format!(
            "{{\"segments\":{sealed},\"events\":{events},\"targets\":{targets},\"merged\":{merged},\"dropped\":{dropped}\
             {unreadable}}}"
        )
    }
}

sql_function!(immutable_seal, pg_finfo_immutable_seal, seal);

/// `CALL immutable.seal(before, did)`
fn seal(call: Call) -> Datum {
    call.require_own_transactions("immutable.seal()");
    transaction::require_writable(c"immutable.seal()");
    segments::require();
    let wanted = call.arg(0).map_or(Wanted::AllButHot, |before| Wanted::Before(micros(before)));
    let mut did = Did::default();
    in_transactions(|transactions| {
        let sealing = Sealing { parts: &ByHand(transactions), wanted, waits: true };
        let mut merged = 0;
        while sealing.one(&mut did).is_ok_and(|goes_on| goes_on) {
            // A long log makes many, and whoever reads opens all of them.
            if merged != did.merged {
                merged = did.merged;
                let _ = sealing.drop_emptied(&mut did);
            }
        }
        let _ = sealing.drop_emptied(&mut did);
    });
    call.out(&[Some(call.memory().jsonb(&did.json()))])
}

/// Makes, fills, merges and drops segments.
pub struct Sealing<'p, P: Parts> {
    pub parts: &'p P,
    pub wanted: Wanted,
    /// Whether it waits for another session that does the same. One that does not wait leaves writers time too.
    pub waits: bool,
}

impl<P: Parts> Sealing<'_, P> {
    /// Runs a part with the rights of the log's owner, as the only one that seals; None if another session is that.
    fn part<T>(&self, body: impl FnOnce() -> T) -> Result<Option<T>, Refused> {
        self.parts.part(|| {
            let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
            spi::as_owner(events.get(), || become_sealer(self.waits).then(body))
        })
    }

    /// Makes and fills one segment. Returns whether there may be more to do.
    pub fn one(&self, did: &mut Did) -> Result<bool, Refused> {
        match self.part(|| begin(self.wanted))? {
            Some(Some(number)) => self.complete(number, did),
            _ => Ok(false),
        }
    }

    /// Fills a prepared segment.
    fn complete(&self, number: i32, did: &mut Did) -> Result<bool, Refused> {
        self.part(|| note_old_transactions(number))?;
        self.part(|| wait_for_old_transactions(number))?;
        let filled = self.part(|| {
            let known = segments::now();
            let is_it = |known: &&Segment| known.number == number && known.state == State::Prepared;
            let segment = known.iter().find(is_it)?;
            refuse_where_seen();
            Some((segment.replaces.len() as i64, fill(segment, &known, !self.waits)))
        })?;
        let Some(Some((merged, moved))) = filled else { return Ok(false) };
        let Some(moved) = moved else { return Ok(true) };
        if merged > 0 {
            did.merged += merged;
        } else {
            did.sealed += 1;
            did.moved.events += moved.events;
            did.moved.targets += moved.targets;
        }
        did.moved.unreadable += moved.unreadable;
        Ok(true)
    }

    /// Drops what no snapshot needs any more. Where somebody still reads it, a later call does that.
    pub fn drop_emptied(&self, did: &mut Did) -> Result<(), Refused> {
        loop {
            let warned = self.part(|| {
                let known = segments::now();
                let segment = droppable(&known)?;
                warn_standbys(segment);
                Some(segment.clone())
            })?;
            let Some(Some(segment)) = warned else { return Ok(()) };
            let is_dropped = self.part(|| {
                let dropping = || by_log(|| drop_tables(&segment));
                attempt(dropping, |code, _| code == Code::ERRCODE_LOCK_NOT_AVAILABLE).is_ok()
            })?;
            if is_dropped != Some(true) {
                return Ok(());
            }
            did.dropped += 1;
        }
    }
}

/// Prepares the segment that is made next, and returns its number; None if none is.
fn begin(wanted: Wanted) -> Option<i32> {
    let mut known = segments::now();
    if let Some(place) = known.iter().position(|segment| segment.state == State::Prepared) {
        refuse_where_seen();
        // A call that was ended while it copied leaves pages without rows behind.
        if is_as_made(&known[place]) {
            return Some(known[place].number);
        }
        by_log(|| drop_tables(&known.remove(place)));
    }
    let has_too_many = has_too_many(&known);
    let (from, to, replaces) = if let Some(to) = cut(wanted, &known).filter(|_| !has_too_many) {
        (sealed_to(&known).unwrap_or(FIRST), to, Vec::new())
    } else if let Some((from, to)) = gap(wanted, &known).filter(|_| !has_too_many) {
        (from, to, Vec::new())
    } else {
        let chosen = chosen(&known);
        let (first, last) = (chosen.first()?, chosen.last()?);
        (first.from, last.to, chosen.iter().map(|segment| segment.number).collect())
    };
    refuse_where_seen();
    Some(by_log(|| prepare(from, to, &replaces)).number)
}

/// Whether a prepared segment's tables are there and without pages.
fn is_as_made(segment: &Segment) -> bool {
    [segment.events_oid(), segment.targets_oid()]
        .into_iter()
        .all(|table| OpenRelation::read(table).is_some_and(|table| table.get().is_empty()))
}

/// Whether an error says that a transaction was waited for in vain.
pub fn is_wait(refused: &Refused) -> bool {
    refused.code == Code::ERRCODE_LOCK_NOT_AVAILABLE
}
