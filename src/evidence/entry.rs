//! The event that a proof is about: found with the caller's rights, so that row security decides who
//! gets a proof, and compared with its leaf in the tree.

use crate::log::columns::{self as c, Layout};
use crate::log::event;
use crate::log::row::{self, Stored};
use crate::log::tree::{Damaged, View};
use crate::pg::call::Call;
use crate::pg::datum::{micros, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Values;
use immutable_format::document;
use immutable_format::export::read::shown;
use immutable_format::export::ChainPosition;
use immutable_format::id::uuid_text;
use immutable_format::pruning::ACTION;
use immutable_format::time;
use immutable_format::tlog::tree::leaf_hash;
use immutable_format::tlog::Malformed;
use immutable_format::{Hash, Id};
use pgrx::pg_sys;

/// An event as an entry of the tree.
pub struct Entry {
    /// Its id.
    pub id: Id,
    /// Its hash, computed from its row.
    pub hash: Hash,
    /// Microseconds since 1970 when it was recorded, if its row says so.
    pub created_at: Option<i64>,
    tenant_id: String,
    lane: i16,
    seq: i64,
}

/// Finds the event that the arguments `id` and `tenant_id` name, and calls `make` with its row,
/// its document and its hash. Raises P0002 if the caller sees no such event, whether there is one or not, 21000
/// if several events have this id, and XX001 if the event does not match its hash.
pub fn find<T>(call: Call<'_>, mut make: impl FnMut(&Stored<'_>, &str, &Hash) -> T) -> (Entry, T) {
    let id = call.required(0, "id", "Name the event by its id.");
    let tenant_id = call.arg(1);
    // An id and a tenant name one event of the hot table. Without a tenant, all tables have to say that it is one.
    let hot = tenant_id.and_then(|_| find_in("ONLY immutable.events", id, tenant_id, &mut make));
    let found = hot.or_else(|| find_in("immutable.events", id, tenant_id, &mut make));
    found.unwrap_or_else(|| not_found(&uuid(id), tenant_id))
}

/// The event, if it is in these tables. All searches of a call have the snapshot of the caller's statement.
fn find_in<T>(
    tables: &str,
    id: Datum,
    tenant_id: Option<Datum>,
    make: &mut impl FnMut(&Stored<'_>, &str, &Hash) -> T,
) -> Option<(Entry, T)> {
    let mut statement = format!("SELECT e.* FROM {tables} e WHERE e.id = $1");
    let mut arguments = vec![Arg::Given(pg_sys::UUIDOID, id)];
    if let Some(tenant_id) = tenant_id {
        statement.push_str(" AND e.tenant_id = $2");
        arguments.push(Arg::Given(pg_sys::TEXTOID, tenant_id));
    }
    statement.push_str(" LIMIT 2");
    let (mut found, mut others) = (None, false);
    spi::stream_planned_once(&statement, &arguments, |tuple| {
        if found.is_some() {
            others = true;
            return;
        }
        let layout = Layout::of_events(tuple.descriptor());
        found = Some(read(&tuple.values(), &layout, make).unwrap_or_else(|mismatch| mismatch.raise()));
    });
    if others {
        let (message, hint) = match tenant_id {
            None => ("events of several tenants have this id", "Give the tenant_id as well."),
            Some(_) => ("several events of the tenant have this id", "Ids are unique among recent events alone. immutable.receipt_of_line() takes the line of one of them in an export."),
        };
        Fault::new(Code::ERRCODE_CARDINALITY_VIOLATION, message).field("tenant_id").hint(hint).raise()
    }
    found
}

/// Raises P0002. Whoever sees that events of the tenant were pruned is told so.
fn not_found(id: &Id, tenant_id: Option<Datum>) -> ! {
    let message = format!("there is no event {} that the current role sees", uuid_text(id));
    let fault = Fault::new(Code::ERRCODE_NO_DATA_FOUND, message).field("id");
    match tenant_id.and_then(pruned) {
        None => fault.hint("Give the event's id and tenant_id.").raise(),
        Some(what) => fault
            .detail(what)
            .hint(
                "A receipt that was made before holds still. immutable.receipt_of_line() makes one of the event's line \
                 in an export.",
            )
            .raise(),
    }
}

/// What the newest record of a pruning that the caller sees says of the tenant's events.
fn pruned(tenant_id: Datum) -> Option<String> {
    let mut found = None;
    let statement = "SELECT e.id, e.created_at, e.metadata->>'before' FROM immutable.events e \
        WHERE e.action = $1 AND e.tenant_id = $2 ORDER BY e.created_at DESC LIMIT 1";
    let given = [Arg::text(ACTION), Arg::Given(pg_sys::TEXTOID, tenant_id)];
    spi::stream_planned_once(statement, &given, |tuple| {
        let row = tuple.values();
        let at = row.at(1).map(micros).and_then(time::format).unwrap_or_default();
        let before = row.at(2).and_then(row::stored_text).unwrap_or("a time");
        let record = row.at(0).map(|id| uuid_text(&uuid(id))).unwrap_or_default();
        found = Some(format!(
            "Events of this tenant from before {before} were pruned, the last of them at {at}, as event {record} records."
        ));
    });
    found
}

/// Why nothing is proved of an event.
pub struct Mismatch {
    /// The id of the event.
    pub id: Id,
    place: String,
    why: String,
}

/// Reads the event in a row and compares it with its hash. `make` gets the row, its
/// document and its hash.
pub fn read<T>(
    row: &Values,
    layout: &Layout,
    make: &mut impl FnMut(&Stored<'_>, &str, &Hash) -> T,
) -> Result<(Entry, T), Mismatch> {
    let stored_hash = row.get(layout, c::EVENT_HASH).and_then(row::hash);
    let read = row::read(|column| row.get(layout, column)).and_then(|stored| Ok((stored.document()?, stored)));
    let why = match read {
        Ok((document, stored)) => {
            let hash = document::hash(&document);
            if Some(hash) == stored_hash {
                let envelope = &stored.envelope;
                let entry = Entry {
                    id: envelope.id,
                    hash,
                    created_at: Some(envelope.created_at),
                    tenant_id: envelope.tenant_id.to_string(),
                    lane: envelope.lane,
                    seq: envelope.seq,
                };
                return Ok((entry, make(&stored, &document, &hash)));
            }
            String::new()
        }
        Err(violation) => format!(" It has no valid document: {violation}."),
    };
    Err(Mismatch { id: row.get(layout, c::ID).map(uuid).unwrap_or_default(), place: event::place(row, layout), why })
}

impl Mismatch {
    /// As a sentence.
    pub fn text(&self) -> String {
        format!("event {} does not match its hash, so nothing is proved of it", uuid_text(&self.id))
    }

    /// Where the event is, and why it does not match.
    pub fn detail(&self) -> String {
        format!("{}{}", self.place, self.why)
    }

    /// Raises XX001.
    fn raise(self) -> ! {
        Fault::new(Code::ERRCODE_DATA_CORRUPTED, self.text())
            .detail(self.detail())
            .hint("The event was altered or is damaged. immutable.verify_breaks() says how.")
            .raise()
    }
}

impl Entry {
    /// The event that a line of an export is of, or why it is of none. Values may be left out of the line.
    pub fn of_line(line: &str) -> Result<Entry, String> {
        let event = shown(line.as_bytes()).map_err(|Malformed(why)| why)?.event;
        let hash = event.content?;
        if event.event_hash.as_deref() != Some(&hash) {
            return Err("its content does not hash to its event_hash".to_string());
        }
        let ChainPosition { tenant_id, lane, seq, id } = event.position;
        Ok(Entry { id, hash, created_at: None, tenant_id: tenant_id.into_owned(), lane, seq })
    }

    /// The tenant of the event.
    pub fn tenant_id(&self) -> &str {
        &self.tenant_id
    }

    /// The leaf hash that the tree must have for the event.
    pub fn leaf(&self) -> Hash {
        leaf_hash(&self.hash)
    }

    /// The index of the event in the tree; None if no checkpoint covers it yet.
    pub fn index(&self, view: View) -> Result<Option<u64>, Damaged> {
        let index = view.index_of(&self.tenant_id, self.lane, self.seq);
        if index.is_none() && self.is_passed_over(view) {
            let id = uuid_text(&self.id);
            return Err(Damaged(format!("the tree has a later event of the lane, but not event {id}")));
        }
        Ok(index)
    }

    /// Whether the tree has a later event of the lane. Lanes enter it without gaps.
    fn is_passed_over(&self, view: View) -> bool {
        let mut later = false;
        view.read(
            "SELECT r.first_seq FROM immutable.tree_runs r \
             WHERE r.tenant_id = $1 AND r.lane = $2 AND r.first_seq > $3 ORDER BY r.first_seq LIMIT 1",
            &[Arg::text(&*self.tenant_id), Arg::Int2(self.lane), Arg::Int8(self.seq)],
            |row| later = row.at(0).map(Datum::i64).is_some(),
        );
        later
    }
}
