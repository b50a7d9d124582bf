//! The BEFORE INSERT row trigger: it validates the event, commits to its values, takes a lane, and
//! links the row to the last one there.

use crate::access::{binding, client};
use crate::log::columns::Layout;
use crate::log::row::with_scratch;
use crate::log::tables::{is_events_itself, Events};
use crate::log::{
    captured, columns as c, lane, log_identity, own_event, own_id, seam, shard_range, subscription, tail, uncommitted,
};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{bytes, micros, timestamptz, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::Reader;
use crate::pg::relation::Relation;
use crate::pg::trigger::BEFORE_INSERT_ROW;
use crate::pg::tuple::{Tuple, Values};
use crate::pg::{random, role, transaction};
use crate::settings;
use crate::write::schemas::admission;
use crate::write::validate::{self, Admitted};
use crate::write::{restore, sealed, watch};
use immutable_format::commitment::{seal, Commitments};
use immutable_format::event::Envelope;
use immutable_format::link::{self, Link};
use immutable_format::{document, Hash, Id, Salt};
use std::borrow::Cow;
use std::ffi::CStr;
use std::rc::Rc;

sql_function!(immutable_chain, pg_finfo_immutable_chain, chain);

fn chain(call: Call) -> Datum {
    let trigger = call.trigger(BEFORE_INSERT_ROW);
    let relation = trigger.relation();
    let events = Events::of(relation);
    refuse_later_trigger(&events, trigger.name());
    subscription::refuse_local_write(relation);
    let row = trigger.row().values();
    if settings::RESTORE.get() && !captured::are_appended() {
        if let Some(tenant) = row.get(&events.layout, c::TENANT_ID) {
            shard_range::hold_to_shard(relation, tenant);
        }
        let kept = restore::keep(relation, &events.layout, row);
        sealed::is_left_out(relation, &events, &kept.values(), false);
        return trigger.go_on_with(kept);
    }
    let event = Entering::admit(call, relation, events.clone(), row);
    event.bind(call);
    event.hold_to_schemas();
    let committed = event.commit();
    let place = event.place();
    let sealed = event.seal(call, &committed, &place);
    let is_id_new = event.is_id_new;
    let tuple = event.store(&committed, &place, &sealed);
    watch::passed(tuple);
    if relation.has_children() && sealed::is_left_out(relation, &events, &tuple.values(), is_id_new) {
        return trigger.nothing();
    }
    trigger.go_on_with(tuple)
}

/// Refuses to hash a row that another trigger would see afterwards, and could change (55000).
fn refuse_later_trigger(events: &Events, chain: &CStr) {
    let Some(later) = events.before_insert.iter().skip_while(|name| name.as_c_str() != chain).nth(1) else { return };
    let (chain, later) = (chain.to_string_lossy(), later.to_string_lossy());
    Fault::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("trigger \"{later}\" would run after \"{chain}\" and could change a row that is already hashed"),
    )
    .hint(format!("Rename the trigger so that it sorts before \"{chain}\", or drop it."))
    .raise()
}

/// An event on its way into the log: its row, and what was read from it.
struct Entering<'e> {
    relation: Relation<'e>,
    events: Rc<Events>,
    row: Values<'e>,
    admitted: Admitted<'e>,
    id: Id,
    /// Whether the id was made for it, so that no other event can have it.
    is_id_new: bool,
    /// Whether it is the log itself that may write.
    by_log: bool,
    /// What says, at a shard, which roles stand behind it.
    seal: Option<String>,
}

/// The commitments to an event's values, and the salt that they are made with.
struct Committed {
    salt: Salt,
    commitments: Commitments,
}

/// Where in the log an event goes.
struct ChainPosition {
    lane: i16,
    link: Link,
    /// The log's identity, which the first event of a lane carries.
    log_id: Option<Id>,
}

/// The hash of an event's document, and what the document says that is neither in the row nor the
/// event's position.
struct Sealed<'e> {
    /// Microseconds since 1970.
    occurred_at: i64,
    recorded_by: Cow<'e, str>,
    event_hash: Hash,
}

impl<'e> Entering<'e> {
    /// Fills in what the session says for columns that are left out, and refuses what must not
    /// enter.
    fn admit(call: Call, relation: Relation<'e>, events: Rc<Events>, mut row: Values<'e>) -> Entering<'e> {
        let by_log = role::is_lent_by(relation.owner()) && !captured::are_appended();
        let seal = if shard_range::is_shard(relation) { client::take(&mut row, &events.layout) } else { None };
        validate::complete(&mut row, &events.layout);
        if !own_event::is_recording() && !captured::are_appended() {
            name_tenant(call, relation, &events.layout, &mut row);
        }
        let admitted = validate::admit(&row, &events.layout, by_log);
        let given = row.get(&events.layout, c::ID).map(uuid);
        let is_id_new = given.as_ref().is_none_or(own_id::take);
        let id = given.unwrap_or_else(|| random::id(transaction::now()));
        Entering { relation, events, row, admitted, id, is_id_new, by_log, seal }
    }

    /// Refuses a tenant that the caller is not bound to, or that belongs to another shard. A function
    /// that lends its owner's rights may write the log's actions, but does not lift a binding.
    fn bind(&self, call: Call) {
        shard_range::hold_to_shard(self.relation, self.admitted.tenant);
        if !own_event::is_recording() {
            let is_at_shard = shard_range::is_shard(self.relation);
            binding::hold_to_binding(call, self.admitted.tenant_id(), is_at_shard, self.seal.as_deref());
        }
    }

    /// Refuses an event that does not fit the action schemas, if they are strict. A caller who is
    /// bound to another tenant was refused before, and learns nothing of this one's. A change of a row is no event that
    /// somebody composed, and is held to none.
    fn hold_to_schemas(&self) {
        if captured::are_appended() {
            return;
        }
        let action = self.admitted.text(c::ACTION).unwrap_or_default();
        let metadata = || self.row.get(&self.events.layout, c::METADATA).and_then(Reader::new);
        admission::admit(self.admitted.tenant_id(), action, metadata);
    }

    /// Commits to the values. This is done before a lane is taken, which may keep others waiting.
    fn commit(&self) -> Committed {
        let salt = random::salt();
        let commitments = with_scratch(|scratch| seal(&self.admitted.content, &salt, scratch));
        Committed { salt, commitments }
    }

    /// Takes a lane, to which nobody else appends from then on until the transaction ends, and
    /// finds the place after its last event. Raises 55000 if nothing can follow that.
    fn place(&self) -> ChainPosition {
        let (relation, tenant_id) = (self.relation, self.admitted.tenant_id());
        seam::notice(relation);
        let lane = lane::acquire(relation.oid(), lane::tenant_number(tenant_id), self.by_log);
        let tail = tail::read(relation, &self.events, self.admitted.tenant, tenant_id, lane);
        let link = link::next(tail.as_ref(), transaction::now()).unwrap_or_else(|| refuse_last(lane, tenant_id));
        let log_id = (link.seq == 1).then(|| log_identity::of(relation));
        ChainPosition { lane, link, log_id }
    }

    /// Writes the event's document and hashes it.
    fn seal(&self, call: Call, committed: &Committed, place: &ChainPosition) -> Sealed<'e> {
        let (row, layout, link) = (&self.row, &self.events.layout, &place.link);
        let occurred_at = row.get(layout, c::OCCURRED_AT).map_or(link.created_at, micros);
        // The proof was looked up once for the statement, and need not be for each row.
        let recorded_by = match own_event::recorder_of_recording() {
            Some(recorder) => Cow::Owned(recorder),
            None => {
                let key = binding::key_of_proof(call);
                match shard_range::is_shard(self.relation) {
                    true => own_event::recorder_at_shard(key, row.memory()),
                    false => own_event::recorder_by(key, row.memory()),
                }
            }
        };
        let envelope = Envelope {
            log_id: place.log_id,
            id: self.id,
            tenant_id: self.admitted.tenant_id(),
            lane: place.lane,
            seq: link.seq,
            previous_event_hash: link.previous_event_hash,
            created_at: link.created_at,
            occurred_at,
            recorded_by: &recorded_by,
            action: self.admitted.text(c::ACTION).unwrap_or_default(),
            action_category: self.admitted.text(c::ACTION_CATEGORY),
            actor_type: self.admitted.text(c::ACTOR_TYPE),
            resource_type: self.admitted.text(c::RESOURCE_TYPE),
            version: row.get(layout, c::VERSION).map(Datum::i32),
        };
        let document = document::write(&envelope, &self.admitted.content, &committed.commitments);
        let document = document.unwrap_or_else(|violation| {
            Fault::new(Code::ERRCODE_DATETIME_FIELD_OVERFLOW, violation.to_string()).field("created_at").raise()
        });
        Sealed { occurred_at, event_hash: document::hash(&document), recorded_by }
    }

    /// Makes the row that is stored, with every column that the caller leaves to the log.
    fn store(self, committed: &Committed, place: &ChainPosition, sealed: &Sealed) -> Tuple<'e> {
        let tenant_id = self.admitted.tenant_id();
        tail::remember(self.relation.oid(), tenant_id, place.lane, &place.link, sealed.event_hash);
        let (layout, memory, mut row) = (&self.events.layout, self.row.memory(), self.row);
        if row.get(layout, c::ID).is_none() {
            row.set(layout, c::ID, memory.uuid(&self.id));
        }
        row.set(layout, c::TENANT_ID, self.admitted.tenant);
        self.admitted.set_json(&mut row, layout);
        row.set(layout, c::OCCURRED_AT, timestamptz(sealed.occurred_at));
        row.set(layout, c::CREATED_AT, timestamptz(place.link.created_at));
        row.set(layout, c::LANE, Datum::from(place.lane));
        row.set(layout, c::SEQ, Datum::from(place.link.seq));
        if let Some(previous) = &place.link.previous_event_hash {
            row.set(layout, c::PREVIOUS_EVENT_HASH, memory.bytes(previous));
        }
        row.set(layout, c::EVENT_HASH, memory.bytes(&sealed.event_hash));
        row.set(layout, c::SALT, memory.bytes(&committed.salt));
        row.set(layout, c::RECORDED_BY, memory.text(&sealed.recorded_by));
        if let Some(log_id) = &place.log_id {
            row.set(layout, c::LOG_ID, memory.uuid(log_id));
        }
        row.set(layout, c::XACT, Datum::from(uncommitted::recorded(&row, layout)));
        row.form(self.relation.descriptor())
    }
}

/// Puts the proof's tenant into an event that names none. A shard was chosen by the tenant already.
fn name_tenant(call: Call, relation: Relation, layout: &Layout, row: &mut Values) {
    let Some(own) = binding::tenant_of_proof(call) else { return };
    let names_none = row.get(layout, c::TENANT_ID).is_none_or(|tenant| bytes(tenant).is_empty());
    if names_none && !own.is_empty() && is_events_itself(relation.oid()) {
        row.set(layout, c::TENANT_ID, row.memory().text(own));
    }
}

fn refuse_last(lane: i16, tenant_id: &str) -> ! {
    Fault::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("nothing can follow the last event of lane {lane} of tenant \"{tenant_id}\""),
    )
    .hint(
        "Its seq or created_at is the greatest possible value. immutable.verify_chain() says \
         whether the event was altered.",
    )
    .raise()
}

sql_function!(immutable_new_id, pg_finfo_immutable_new_id, new_id);

/// `immutable.new_id()`
fn new_id(call: Call) -> Datum {
    call.memory().uuid(&own_id::make())
}
