//! erase() and erase_subject(). They destroy values and salts, keep the commitments, and record who
//! erased what, and why. Only immutable_eraser and API keys with the scope admin may call them. They take
//! the owner's rights after they have asked for the proof, because a SECURITY DEFINER function would not
//! know any more with whose rights it was called.
//!
//! The order is always the same: find the events, lock their lanes, read each row again (because
//! another erasure may have come first), rewrite the row and its rows of event_targets, and record
//! what was erased.
//!
//! In a log that Citus has distributed, all arguments are checked where the client is. The rest is done by
//! functions that the owner alone may call, at the shard of the tenant.

use crate::access::lent::with_rights_of_owner;
use crate::access::proof::{self, Opened, Scope};
use crate::log::columns::{self as c, Layout};
use crate::log::own_event::{reason, record_for, Cause, LogEvent};
use crate::log::rewriting::{Home, Homes};
use crate::log::row::{self, stored_address, stored_text, Stored};
use crate::log::tables::events_oid;
use crate::log::{alert_state, distributed, event, lane, segments};
use crate::pg::call::{sql_function, texts, Call};
use crate::pg::datum::{text, uuid, Datum};
use crate::pg::encoding::normalized;
use crate::pg::error::{internal, Code, Fault};
use crate::pg::jsonb::Reader;
use crate::pg::lock::lock;
use crate::pg::memory::here;
use crate::pg::relation::named;
use crate::pg::set::Rows;
use crate::pg::spi::{self, Arg};
use crate::pg::transaction::refuse_in_recovery;
use crate::pg::tuple::{Tuple, Values};
use immutable_format::event::{
    erasable_paths, is_path, target_position, EventSecret, ACTOR_ID, COLUMNS, METADATA, RESERVED,
};
use immutable_format::id::uuid_text;
use immutable_format::json::{self, Build, Value};
use immutable_format::subject::{Found, Hit, Subject, REASON};
use immutable_format::word::{mentions, Variants};
use immutable_format::{document, Hash, Id};
use pgrx::pg_sys::{self, InvalidOid, Oid};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// How many targets one record may have. It has one for each event, or several if more was erased
/// from the event than one target can list.
const RECORD_TARGETS: usize = 100;

/// How many commitments one target may list. Each takes 67 bytes of the 65,536 that a target may
/// have.
const TARGET_COMMITMENTS: usize = 900;

/// Where an event is in its tenant's chain. It never moves.
type LanePosition = (i16, i64);

sql_function!(immutable_erase, pg_finfo_immutable_erase, erase);

/// `immutable.erase(event_id, tenant_id, paths, reason)`
fn erase(call: Call) -> Datum {
    let id = call.required(0, "event_id", "Name the event by its id.");
    let opened = proof::require(Scope::Admin);
    let tenant_id = tenant(&opened, call.arg(1));
    let tenant_id = tenant_id.as_str();
    let paths = texts(call.required(2, "paths", PATHS), "paths");
    if paths.is_empty() {
        Fault::invalid("paths", "paths must name at least one value to erase").hint(PATHS).raise()
    }
    for path in &paths {
        check_path("paths", path);
    }
    let reason = reason(call, 3);
    let request = Request { tenant_id, reason, cause: Cause::of_session(false) };
    match distributed::is() {
        true => {
            let paths = paths.iter().map(ToString::to_string).collect();
            request.send(call, "shard_erase", vec![Arg::Uuid(uuid(id)), Arg::Texts(paths)]);
        }
        false => erase_one(call, &request, id, &paths),
    }
    call.null()
}

/// Erases values of one event.
fn erase_one(call: Call, request: &Request, id: Datum, paths: &[&str]) {
    let tenant_id = request.tenant_id;
    lock_events();
    with_rights_of_owner(|| {
        let mut found = None;
        let mut erasing = Erasing::begin(call, request);
        // Nothing moves from here on, and each statement sees what is committed now.
        spi::query_now_planned_once(
            "SELECT e.lane, e.seq, e.tableoid FROM immutable.events e WHERE e.id = $1 AND e.tenant_id = $2",
            &[Arg::Uuid(uuid(id)), Arg::text(tenant_id)],
            |row| found = place_in(row).filter(|_| erasing.home_at(row, 2).is_some()).or(found),
        );
        let Some(place) = found else { not_found(id, tenant_id) };
        erasing.lock(place.0);
        erasing.rewrite(place, |event| asked(event, paths));
        erasing.end();
    });
}

sql_function!(immutable_shard_erase, pg_finfo_immutable_shard_erase, shard_erase);

/// `immutable.shard_erase(here, tenant_id, reason, actor_id, actor_type, recorded_by, event_id, paths)`
fn shard_erase(call: Call) -> Datum {
    let request = Request::received(call);
    let id = call.required(6, "event_id", distributed::CALLED_BY_LOG);
    let paths = texts(call.required(7, "paths", distributed::CALLED_BY_LOG), "paths");
    distributed::on_own_shard(request.tenant_id, || erase_one(call, &request, id, &paths));
    call.null()
}

/// For which tenant values are erased, why, and who erases them.
struct Request<'a> {
    tenant_id: &'a str,
    reason: &'a str,
    cause: Cause,
}

impl<'a> Request<'a> {
    /// Has it carried out at the shard, by `immutable.<function>(here, tenant_id, reason, actor_id, actor_type,
    /// recorded_by, arguments …)`, and returns the rows that come from there.
    fn send(&self, call: Call, function: &str, arguments: Vec<Arg>) {
        refuse_in_recovery(c"erasing");
        let mut answer = call.rows();
        let arguments = self.with(arguments);
        distributed::write_as_owner(self.tenant_id, function, &arguments, |row| answer.put_tuple(row));
    }

    /// What it says, in front of other arguments.
    fn with<'b>(&'b self, arguments: Vec<Arg<'b>>) -> Vec<Arg<'b>> {
        let Cause { actor_id, actor_type, recorded_by } = &self.cause;
        let texts = [self.reason, actor_id, actor_type, recorded_by].map(Arg::text);
        texts.into_iter().chain(arguments).collect()
    }

    /// What `send` has sent.
    fn received(call: Call<'a>) -> Request<'a> {
        let given = |index, name| text(call.required(index, name, distributed::CALLED_BY_LOG));
        Request { tenant_id: given(1, "tenant_id"), reason: given(2, "reason"), cause: Cause::received(call, 3) }
    }
}

sql_function!(immutable_erase_subject, pg_finfo_immutable_erase_subject, erase_subject);

/// `immutable.erase_subject(tenant_id, subject_id, reason, metadata_keys, actor_paths, dry_run)`
fn erase_subject(call: Call) -> Datum {
    let id = text(call.required(1, "subject_id", SUBJECT));
    erase_ids(call, "subject_id", vec![id])
}

sql_function!(immutable_erase_subjects, pg_finfo_immutable_erase_subjects, erase_subjects);

/// The same for a person who has several ids: `immutable.erase_subject(tenant_id, subject, …)`
fn erase_subjects(call: Call) -> Datum {
    let ids = texts(call.required(1, "subject", SUBJECT), "subject");
    if ids.is_empty() {
        Fault::invalid("subject", "subject must have at least one id").hint(SUBJECT).raise()
    }
    erase_ids(call, "subject", ids)
}

/// The tenant whose events are meant: the one given, or else the proof's. Raises 42501 for a tenant
/// that the proof does not open.
fn tenant(opened: &Opened, given: Option<Datum>) -> String {
    let given = given.map(text).filter(|given| !given.is_empty());
    opened.tenant_or_own("tenant_id", given.map(str::to_string)).unwrap_or_default()
}

const SUBJECT: &str = "Give the person's id as events hold it in actor_id, resource_id or the id \
    of a target.";

fn erase_ids<'c>(call: Call<'c>, field: &str, ids: Vec<&str>) -> Datum<'c> {
    let opened = proof::require(Scope::Admin);
    let tenant_id = tenant(&opened, call.arg(0));
    let tenant_id = tenant_id.as_str();
    if ids.iter().any(|id| id.trim().is_empty()) {
        Fault::invalid(field, format!("{field} must not be empty")).hint(SUBJECT).raise()
    }
    let reason = reason(call, 2);
    let variants = Variants::new(&ids, decomposed);
    if ids.iter().any(|id| mentions(reason, id)) || variants.are_in(reason) {
        Fault::invalid("reason", "reason must not contain the subject's id, because the reason is kept")
            .hint("Name the request or ticket instead. Other spellings of the id are recognized as well.")
            .raise()
    }
    let metadata_keys = call.arg(3).map_or(Vec::new(), |keys| texts(keys, "metadata_keys"));
    let actor_paths = call.arg(4).map(|paths| texts(paths, "actor_paths"));
    for path in actor_paths.iter().flatten() {
        check_path("actor_paths", path);
    }
    let dry_run = call.required(5, "dry_run", "true shows what would be erased, false erases it.").bool();
    let subject = Subject { ids, metadata_keys, actor_paths };
    let request = Request { tenant_id, reason, cause: Cause::of_session(false) };
    match distributed::is() {
        true => send_subject(call, &request, &subject, dry_run),
        false => erase_person(call, &request, &subject, &variants, dry_run),
    }
    call.null()
}

/// Erases a person, or shows what would be erased.
fn erase_person(call: Call, request: &Request, subject: &Subject, variants: &Variants, dry_run: bool) {
    if !dry_run {
        lock_events();
    }
    with_rights_of_owner(|| {
        let mut erasing = Erasing::begin(call, request);
        erasing.actors.extend(subject.ids.iter().map(|id| (*id).to_string()));
        if dry_run {
            return erasing.preview(subject, variants);
        }
        for place in erasing.lock_events_of(subject) {
            pgrx::check_for_interrupts!();
            erasing.rewrite(place, |event| hits_in(subject, event));
        }
        erasing.erased.extend(subject.ids.iter().map(ToString::to_string));
        erasing.end();
    });
}

fn send_subject(call: Call, request: &Request, subject: &Subject, dry_run: bool) {
    let owned = |texts: &[&str]| Arg::Texts(texts.iter().map(ToString::to_string).collect());
    let arguments = vec![
        owned(&subject.ids),
        owned(&subject.metadata_keys),
        subject.actor_paths.as_deref().map_or(Arg::Null(pg_sys::TEXTARRAYOID), owned),
        Arg::Given(pg_sys::BOOLOID, Datum::from(dry_run)),
    ];
    if !dry_run {
        return request.send(call, "shard_erase_subject", arguments);
    }
    let mut answer = call.rows();
    let arguments = request.with(arguments);
    distributed::as_owner(|| {
        distributed::at_tenant(request.tenant_id, "shard_erase_subject", &arguments, |row| answer.put_tuple(row));
    });
}

sql_function!(immutable_shard_erase_subject, pg_finfo_immutable_shard_erase_subject, shard_erase_subject);

/// `immutable.shard_erase_subject(here, tenant_id, reason, actor_id, actor_type, recorded_by, subject, metadata_keys,
/// actor_paths, dry_run)`
fn shard_erase_subject(call: Call) -> Datum {
    let request = Request::received(call);
    let given = |index, name| texts(call.required(index, name, distributed::CALLED_BY_LOG), name);
    let subject = Subject {
        ids: given(6, "subject"),
        metadata_keys: given(7, "metadata_keys"),
        actor_paths: call.arg(8).map(|paths| texts(paths, "actor_paths")),
    };
    let dry_run = call.required(9, "dry_run", distributed::CALLED_BY_LOG).bool();
    let variants = Variants::new(&subject.ids, decomposed);
    let tenant_id = request.tenant_id;
    distributed::on_own_shard(tenant_id, || erase_person(call, &request, &subject, &variants, dry_run));
    call.null()
}

/// Locks events for an erasure, before anything of them is read: a REINDEX that came between the reading and
/// the writing would be in a deadlock with this. Events stay in their tables from here on, until the transaction ends.
fn lock_events() {
    refuse_in_recovery(c"erasing");
    segments::keep_in_place();
    lock(events_oid(), pg_sys::RowExclusiveLock);
}

/// Collects the place of each event that has something to erase.
fn note<'p>(places: &'p mut Vec<LanePosition>, subject: &'p Subject<'_>) -> impl FnMut(&Stored<'_>) + 'p {
    |event| {
        if !hits_in(subject, event).is_empty() {
            places.push(place_of(event));
        }
    }
}

fn hits_in(subject: &Subject<'_>, event: &Stored<'_>) -> Vec<Hit> {
    subject.hits(&event.content, event.erasure(), event.envelope.action)
}

/// Unicode's compatibility decomposition, as the server makes it.
fn decomposed(given: &str) -> String {
    normalized(given, "NFKD")
}

/// The work of one call: what it has erased so far, and what of that is not recorded yet.
struct Erasing<'a> {
    events: Oid,
    /// The tables that events can be in.
    homes: Homes,
    tenant_id: &'a str,
    reason: &'a str,
    cause: &'a Cause,
    answer: Rows<'a>,
    /// The targets of the next record.
    unrecorded: Vec<String>,
    /// Whether exports have filters, whose values may be a person's.
    is_in_filters: bool,
    /// The values that are erased, as far as such exports have not forgotten them.
    erased: Vec<String>,
    /// How many of these events are about the eraser.
    by_eraser: u64,
    /// The actors of events from which the actor or the country was erased.
    actors: BTreeSet<String>,
}

impl<'a> Erasing<'a> {
    fn begin(call: Call<'a>, request: &'a Request<'a>) -> Erasing<'a> {
        Erasing {
            events: events_oid(),
            homes: Homes::now(),
            tenant_id: request.tenant_id,
            reason: request.reason,
            cause: &request.cause,
            answer: call.rows(),
            unrecorded: Vec::new(),
            is_in_filters: are_filters_kept(),
            erased: Vec::new(),
            by_eraser: 0,
            actors: BTreeSet::new(),
        }
    }

    /// Where an event is, if the row has its tableoid at this place. Nothing is erased from a table that is not the
    /// log's: nothing would check that.
    fn home_at(&self, row: &Values, place: usize) -> Option<Home> {
        self.homes.of(row.at(place)?.oid())
    }

    fn lock(&self, lane: i16) {
        lane::acquire_existing(self.events, lane::tenant_number(self.tenant_id), lane);
    }

    /// Shows what would be erased, in the order in which it would be erased, and then what looks
    /// like the person but would stay. Takes no lock and no transaction ID.
    fn preview(&mut self, subject: &Subject<'_>, variants: &Variants<'_>) {
        let mut previewed = Vec::new();
        let (text, number) = (|text: &str| variants.are_in(text), |number: &str| variants.are_number(number));
        let look = Look { text: &text, number: &number, ids: &subject.ids };
        self.search(&look, Snapshot::Caller, None, |event| {
            let (action, erasure) = (event.envelope.action, event.erasure());
            let hits = subject.hits(&event.content, erasure, action);
            let like = subject.variants(variants, &event.content, erasure, action);
            if !hits.is_empty() || !like.is_empty() {
                previewed.push((place_of(event), event.envelope.id, hits, like));
            }
        });
        previewed.sort_unstable_by_key(|(place, ..)| *place);
        for (_, id, hits, _) in &previewed {
            self.answer(id, hits);
        }
        for (_, id, _, like) in &previewed {
            self.answer(id, like);
        }
    }

    /// Locks the lanes of the subject's events, and returns the events' places in their order.
    fn lock_events_of(&self, subject: &Subject<'_>) -> Vec<LanePosition> {
        // The ends of the lanes before the search. Events that the search cannot have seen come
        // after them. Both are in the hot table.
        let mut heads = Vec::new();
        // (immutable.heads() would ask an API key for another scope.)
        let ends = "WITH RECURSIVE k(lane) AS ( \
                 (SELECT e.lane FROM ONLY immutable.events e WHERE e.tenant_id = $1 ORDER BY e.lane LIMIT 1) \
                 UNION ALL \
                 SELECT (SELECT e.lane FROM ONLY immutable.events e WHERE e.tenant_id = $1 AND e.lane > k.lane \
                         ORDER BY e.lane LIMIT 1) FROM k WHERE k.lane IS NOT NULL) \
             SELECT k.lane, (SELECT e.seq FROM ONLY immutable.events e WHERE e.tenant_id = $1 AND e.lane = k.lane \
                             ORDER BY e.seq DESC LIMIT 1) FROM k WHERE k.lane IS NOT NULL";
        spi::query_now(ends, &[Arg::text(self.tenant_id)], |row| {
            heads.extend(place_in(row));
        });
        let mut places: Vec<LanePosition> = Vec::new();
        let ids = &subject.ids;
        let look = Look { text: &|text| ids.iter().any(|id| text.contains(id)), number: &|_| false, ids };
        self.search(&look, Snapshot::New, None, note(&mut places, subject));
        places.sort_unstable();
        let mut lanes: Vec<i16> = places.iter().map(|(lane, _)| *lane).collect();
        lanes.dedup();
        for lane in &lanes {
            self.lock(*lane);
        }
        // A transaction that held one of the lanes meanwhile may have recorded more events.
        for lane in lanes {
            let head = heads.iter().find(|(of, _)| *of == lane).map_or(0, |(_, seq)| *seq);
            self.search(&look, Snapshot::New, Some((lane, head)), note(&mut places, subject));
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Calls `found` for every event of the tenant, or of a lane after a seq, in which `look` finds
    /// something.
    fn search(
        &self,
        look: &Look<'_>,
        snapshot: Snapshot,
        after: Option<LanePosition>,
        mut found: impl FnMut(&Stored<'_>),
    ) {
        let (only, range) = after.map_or(("", ""), |_| ("ONLY ", " AND e.lane = $2 AND e.seq > $3"));
        let statement =
            format!("SELECT e.tableoid AS home, e.* FROM {only}immutable.events e WHERE e.tenant_id = $1{range}");
        let mut arguments = vec![Arg::text(self.tenant_id)];
        if let Some((lane, seq)) = after {
            arguments.extend([Arg::Int2(lane), Arg::Int8(seq)]);
        }
        let mut layout = None;
        let each = |tuple: Tuple<'_>| {
            let row = tuple.values();
            let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
            if self.home_at(&row, 0).is_none() || !look.finds(&row, layout) {
                return;
            }
            // A damaged event must not keep the others from being erased.
            if let Err(fault) = with_event(&row, layout, &mut found) {
                fault.warn();
            }
        };
        match snapshot {
            Snapshot::Caller => spi::stream(&statement, &arguments, each),
            Snapshot::New => spi::stream_now(&statement, &arguments, each),
        }
    }

    /// Erases the paths that `choose` finds in the event now. The event's lane is locked.
    fn rewrite(&mut self, place: LanePosition, choose: impl Fn(&Stored<'_>) -> Vec<Hit>) {
        spi::stream_now_planned_once(
            "SELECT e.tableoid AS home, e.* FROM immutable.events e \
             WHERE e.tenant_id = $1 AND e.lane = $2 AND e.seq = $3",
            &[Arg::text(self.tenant_id), Arg::Int2(place.0), Arg::Int8(place.1)],
            |tuple| {
                let (row, layout) = (tuple.values(), Layout::of_events(tuple.descriptor()));
                let Some(home) = self.home_at(&row, 0) else { return };
                let look = |event: &Stored<'_>| {
                    let hits = choose(event);
                    if !hits.is_empty() {
                        self.erase(&home, event, &hits);
                    }
                };
                with_event(&row, &layout, look).unwrap_or_else(|fault| fault.raise());
            },
        );
    }

    fn erase(&mut self, home: &Home, event: &Stored<'_>, hits: &[Hit]) {
        let paths: Vec<&str> = hits.iter().map(|hit| hit.path.as_str()).collect();
        let salt = match &event.secret {
            EventSecret::Salt(salt) => Some(salt),
            EventSecret::Erased(_) => None,
        };
        let before = event.erasure();
        let Some((_, erasure)) = immutable_format::erasure::erase(&event.content, salt, before, &paths) else {
            internal("a path without a value was to be erased")
        };
        let id = Arg::Uuid(event.envelope.id);
        home.erase(self.tenant_id, id, &paths);
        if self.is_in_filters {
            self.erased.extend(paths.iter().filter_map(|path| value_of(event, path)));
        }
        self.answer(&event.envelope.id, hits);
        if hits.iter().any(|hit| ["actor_id", "ip_country"].contains(&hit.path.as_str())) {
            self.actors.extend(event.content.columns[ACTOR_ID].as_deref().map(str::to_string));
        }
        self.by_eraser += u64::from(self.is_of_eraser(event));
        for commitments in erasure.beyond(before).chunks(TARGET_COMMITMENTS) {
            if self.unrecorded.len() == RECORD_TARGETS {
                self.record();
            }
            self.unrecorded.push(record_target(event, commitments));
        }
    }

    /// Whether the event says what the eraser did. The record counts such events, because an eraser
    /// could use an erasure to hide what they did.
    fn is_of_eraser(&self, event: &Stored<'_>) -> bool {
        let actor = event.content.columns[ACTOR_ID].as_deref();
        let is_eraser = |name: &str| name == self.cause.actor_id || name == self.cause.recorded_by;
        !event.envelope.action.starts_with(RESERVED)
            && (is_eraser(event.envelope.recorded_by) || actor.is_some_and(is_eraser))
    }

    /// Adds one row to the answer for every path: the event's id, the path and, for a person, how
    /// it was found.
    fn answer(&mut self, id: &Id, hits: &[Hit]) {
        here(|memory| {
            let id = memory.uuid(id);
            for hit in hits {
                let row = [id, memory.text(&hit.path), memory.text(hit.found.name())];
                // A function that erases paths declares no column for how an event was found.
                self.answer.put(&row.map(Some)[..self.answer.width()]);
            }
        });
    }

    /// Records the rest, and has the alerts forget the actors.
    fn end(&mut self) {
        self.record();
        self.forget();
        let actors: Vec<String> = std::mem::take(&mut self.actors).into_iter().collect();
        alert_state::forget(self.tenant_id, &actors);
    }

    /// Records what was erased and is not recorded yet.
    fn record(&mut self) {
        if self.unrecorded.is_empty() {
            return;
        }
        let targets = format!("[{}]", self.unrecorded.join(","));
        self.unrecorded.clear();
        let by_eraser = std::mem::take(&mut self.by_eraser).to_string();
        let own_events: &[(&str, &str)] = if by_eraser == "0" { &[] } else { &[("own_events", &by_eraser)] };
        let event = LogEvent {
            tenant_id: self.tenant_id,
            action: "immutable.event_erased",
            targets: &targets,
            metadata: &[("reason", self.reason)],
            metadata_json: own_events,
            ..LogEvent::default()
        };
        record_for(&event, self.cause);
        self.forget();
    }

    /// Makes the exports forget what is erased by now.
    fn forget(&mut self) {
        let erased = std::mem::take(&mut self.erased);
        if self.is_in_filters && !erased.is_empty() {
            let given = [Arg::text(self.tenant_id), Arg::Texts(erased)];
            spi::execute("SELECT immutable.forget_in_exports($1, $2)", &given);
        }
    }
}

/// Whether there are exports or streams with filters. The tables are not there before ALTER EXTENSION made
/// them.
fn are_filters_kept() -> bool {
    let mut are_kept = false;
    let tables = [
        (c"exports", "SELECT FROM immutable.exports x WHERE x.filters <> '{}' LIMIT 1"),
        (c"streams", "SELECT FROM immutable.streams x WHERE x.filters <> '{}' LIMIT 1"),
    ];
    for (table, statement) in tables {
        if named(table) != InvalidOid {
            spi::query_now(statement, &[], |_| are_kept = true);
        }
    }
    are_kept
}

/// The value of a path, as a filter could have it.
fn value_of(event: &Stored<'_>, path: &str) -> Option<String> {
    if let Some(key) = path.strip_prefix(METADATA) {
        let metadata = &event.content.metadata;
        let member = metadata.members().iter().find(|member| member.key == key)?;
        return Some(metadata.value(member).trim_matches('"').to_string());
    }
    if let Some(position) = target_position(path) {
        let target = event.content.targets.get(position)?;
        return Some(target.id().unwrap_or_default().to_string());
    }
    let column = COLUMNS.iter().position(|column| *column == path)?;
    event.content.columns[column].as_deref().map(String::from)
}

/// Which events a search sees.
#[derive(Clone, Copy)]
enum Snapshot {
    /// Those that the calling statement sees.
    Caller,
    /// Those that are committed now, if the isolation level allows it.
    New,
}

/// A row of lane and seq.
fn place_in(row: &Values) -> Option<LanePosition> {
    Some((row.at(0)?.i16(), row.at(1)?.i64()))
}

fn place_of(event: &Stored<'_>) -> LanePosition {
    (event.envelope.lane, event.envelope.seq)
}

/// A target of a record.
fn record_target(event: &Stored<'_>, commitments: &[Hash]) -> String {
    let hashes: Vec<String> = commitments.iter().map(|hash| format!("\"{}\"", hex::encode(hash))).collect();
    let id = uuid_text(&event.envelope.id);
    format!("{{\"type\":\"immutable.event\",\"id\":\"{id}\",\"metadata\":{{\"commitments\":[{}]}}}}", hashes.join(","))
}

/// What a search looks for: every text or number for which `text` or `number` is true. It may find
/// too much.
struct Look<'a> {
    text: &'a dyn Fn(&str) -> bool,
    number: &'a dyn Fn(&str) -> bool,
    ids: &'a [&'a str],
}

impl Look<'_> {
    /// Whether it is anywhere in the row. In the log's own events, whose targets can be long, only
    /// the metadata is searched.
    fn finds(&self, row: &Values, layout: &Layout) -> bool {
        let in_text = |column| {
            let datum = row.get(layout, column);
            datum.is_some_and(|datum| stored_text(datum).is_none_or(|text| (self.text)(text)))
        };
        let in_jsonb = |column| row.get(layout, column).is_some_and(|datum| self.finds_in(datum));
        let action = row.get(layout, c::ACTION).and_then(stored_text);
        if action.is_some_and(|action| action.starts_with(RESERVED)) {
            return in_jsonb(c::METADATA);
        }
        c::COMMITTED.into_iter().filter(|column| *column != c::IP_ADDRESS).any(in_text)
            || self.finds_address(row.get(layout, c::IP_ADDRESS))
            || in_jsonb(c::METADATA)
            || in_jsonb(c::TARGETS)
    }

    /// Printing an address takes longer than reading a text, so it is done only if an id could be
    /// an address.
    fn finds_address(&self, address: Option<Datum>) -> bool {
        let is_address = |id: &&str| {
            id.contains(['.', ':']) && id.bytes().all(|byte| byte.is_ascii_hexdigit() || b".:/".contains(&byte))
        };
        let address = address.filter(|_| self.ids.iter().any(is_address));
        address.is_some_and(|address| stored_address(address).is_none_or(|printed| (self.text)(&printed)))
    }

    /// A value that cannot be read counts as found. The event is then read as a whole, which shows
    /// what is wrong with it.
    fn finds_in(&self, datum: Datum) -> bool {
        let mut texts = Texts { look: self, found: false };
        let read = Reader::new(datum).map(|jsonb| jsonb.read(&mut texts));
        texts.found || !matches!(read, Some(Ok(())))
    }
}

/// Goes through the strings, names of members and numbers of a jsonb, up to the first that the look
/// finds.
struct Texts<'a> {
    look: &'a Look<'a>,
    found: bool,
}

impl Texts<'_> {
    fn see(&mut self, found: bool) -> Result<(), json::Error> {
        self.found = found;
        // Any error ends the reading.
        if found {
            Err(json::Error::Syntax(0))
        } else {
            Ok(())
        }
    }
}

impl<'a> Build<'a> for Texts<'_> {
    fn begin_object(&mut self) -> Result<(), json::Error> {
        Ok(())
    }

    fn begin_array(&mut self) -> Result<(), json::Error> {
        Ok(())
    }

    fn key(&mut self, key: Cow<'a, str>) -> Result<(), json::Error> {
        self.see((self.look.text)(&key))
    }

    fn scalar(&mut self, value: Value<'a>) -> Result<(), json::Error> {
        match value {
            Value::String(text) => self.see((self.look.text)(&text)),
            Value::Number(number) => self.see((self.look.number)(&number)),
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), json::Error> {
        Ok(())
    }
}

/// Reads a row of events and calls `look` with it. If the row does not match its hash, it returns
/// the error (55000) instead, because an erasure would hide that the row was altered.
fn with_event(values: &Values, layout: &Layout, look: impl FnOnce(&Stored<'_>)) -> Result<(), Fault> {
    let stored_hash = values.get(layout, c::EVENT_HASH).and_then(row::hash);
    let event = row::read(|column| values.get(layout, column)).and_then(|event| {
        let document = event.document()?;
        Ok((document::hash(&document), event))
    });
    match event {
        Ok((hash, event)) if Some(hash) == stored_hash => {
            look(&event);
            Ok(())
        }
        _ => {
            let id = values.get(layout, c::ID).map(|id| uuid_text(&uuid(id))).unwrap_or_default();
            let place = event::place(values, layout);
            let detail = match event {
                Ok(_) => place,
                Err(violation) => format!("{place} It has no valid document: {violation}."),
            };
            Err(Fault::new(
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("event {id} does not match its hash, so nothing can be erased from it"),
            )
            .detail(detail)
            .hint("The event was altered or is damaged. immutable.verify_breaks() says how."))
        }
    }
}

const PATHS: &str = "The paths are actor_id, actor_name, resource_id, resource_name, session_id, \
    idempotency_key, ip_address, ip_country, ip_city, user_agent, metadata.<key>, and targets.<n> \
    with n from 0.";

/// Which of the given paths are to be erased from the event: those that have a value that is not
/// yet erased. Raises 22023 for a path that the event cannot have.
fn asked(event: &Stored<'_>, paths: &[&str]) -> Vec<Hit> {
    let by_log = event.envelope.action.starts_with(RESERVED);
    let erasure = event.erasure();
    let there = erasable_paths(&event.content, erasure);
    for path in paths.iter().filter(|path| !there.iter().any(|known| known == *path)) {
        // The keys of erased metadata are not kept, so any key may have been one of them.
        let metadata_erased = erasure.is_some_and(|erasure| !erasure.metadata.is_empty());
        let targets = event.content.targets.len();
        if path.starts_with(METADATA) && !metadata_erased && !by_log {
            refuse_path("paths", path, "is not in the event", "Keys are case-sensitive.")
        }
        if target_position(path).is_some_and(|position| position >= targets) && !by_log {
            let hint = match targets {
                0 => "The event has no targets.".to_string(),
                _ => format!("The event has targets.0 to targets.{}, in the stored order.", targets - 1),
            };
            refuse_path("paths", path, "is not in the event", &hint)
        }
    }
    if let (true, Some(path)) = (by_log, paths.iter().find(|path| **path != REASON)) {
        let hint = format!("Only {REASON} can be erased from such an event.");
        refuse_path("paths", path, "cannot be erased from one of the log's own events", &hint)
    }
    let asked = there.into_iter().filter(|path| paths.contains(&path.as_str()));
    asked.map(|path| Hit { path, found: Found::Exact }).collect()
}

fn check_path(field: &str, path: &str) {
    if !is_path(path) {
        refuse_path(field, path, "is not a path of a value that can be erased", PATHS)
    }
}

fn refuse_path(field: &str, path: &str, why: &str, hint: &str) -> ! {
    let shown: String = path.chars().take(64).collect();
    Fault::invalid(field, format!("{field}: \"{shown}\" {why}")).hint(hint).raise()
}

fn not_found(id: Datum, tenant_id: &str) -> ! {
    let id = uuid_text(&uuid(id));
    let message = match tenant_id {
        "" => format!("there is no event {id} without a tenant"),
        _ => format!("tenant \"{tenant_id}\" has no event {id}"),
    };
    Fault::new(Code::ERRCODE_NO_DATA_FOUND, message)
        .field("event_id")
        .hint("Give the event's tenant_id, or NULL for an event without a tenant.")
        .raise()
}
