//! The event that a proof is about: found with the caller's rights, so that row security decides who
//! gets a proof, and compared with its leaf in the tree.

use crate::log::columns::{self as c, Layout};
use crate::log::event;
use crate::log::row::{self, Stored};
use crate::log::tree::{Damaged, View};
use crate::pg::call::Call;
use crate::pg::datum::{uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Values;
use immutable_format::document;
use immutable_format::id::uuid_text;
use immutable_format::tlog::tree::leaf_hash;
use immutable_format::{Hash, Id};
use pgrx::pg_sys;

/// An event as an entry of the tree.
pub struct Entry {
    /// Its id.
    pub id: Id,
    /// Its hash, computed from its row.
    pub hash: Hash,
    /// Microseconds since 1970 when it was recorded.
    pub created_at: i64,
    tenant_id: String,
    lane: i16,
    seq: i64,
}

/// Finds the event that the arguments `id` and `tenant_id` name, and calls `make` with its row,
/// its document and its hash. Raises P0002 if the caller sees no such event, whether there is one or not, 21000
/// if events of several tenants have this id and `tenant_id` is NULL, and XX001 if the event does
/// not match its hash.
pub fn find<T>(call: Call<'_>, mut make: impl FnMut(&Stored<'_>, &str, &Hash) -> T) -> (Entry, T) {
    let id = call.required(0, "id", "Name the event by its id.");
    let mut statement = "SELECT e.* FROM ONLY immutable.events e WHERE e.id = $1".to_string();
    let mut arguments = vec![Arg::Given(pg_sys::UUIDOID, id)];
    if let Some(tenant_id) = call.arg(1) {
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
        found = Some(read(&tuple.values(), &layout, &mut make).unwrap_or_else(|mismatch| mismatch.raise()));
    });
    match found {
        Some(_) if others => Fault::new(Code::ERRCODE_CARDINALITY_VIOLATION, "events of several tenants have this id")
            .field("tenant_id")
            .hint("Give the tenant_id as well.")
            .raise(),
        Some(found) => found,
        None => {
            let message = format!("there is no event {} that the current role sees", uuid_text(&uuid(id)));
            Fault::new(Code::ERRCODE_NO_DATA_FOUND, message)
                .field("id")
                .hint("Give the event's id and tenant_id.")
                .raise()
        }
    }
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
                    created_at: envelope.created_at,
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
