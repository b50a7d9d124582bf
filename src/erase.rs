//! erase() and erase_subject(): values and salts are destroyed, commitments stay, and a record says who did it and why.
//! They run with the owner's rights; only immutable_eraser may call them.
//!
//! Always in this order: find the events, take the locks of their lanes, read each row again (an erasure may have come
//! first), rewrite it and its rows of event_targets, record what is gone.

use crate::columns::{self as c, Layout, Values};
use crate::error::{internal, Code, Fault};
use crate::function::{sql_function, text, text_datum, uuid, uuid_datum, Call};
use crate::read::result_set;
use crate::record::{record, Own};
use crate::relation::events_oid;
use crate::row::{self, Stored};
use crate::{event, jsonb, lane, spi};
use immutable_format::commitment::{self, Erasure, COLUMNS, METADATA, TARGETS};
use immutable_format::document::{self, uuid_text, Secret, RESERVED};
use immutable_format::json::write_string;
use immutable_format::subject::{mentions, Subject, REASON};
use immutable_format::Hash;
use pgrx::pg_sys::{self, Datum, Oid};

/// Bytes of a reason.
const REASON_BYTES: usize = 4096;
/// Targets of one record: one for each event, or several where an event has lost more than a target can list.
const RECORD_TARGETS: usize = 100;
/// Commitments that one target lists: 67 bytes each, within the 65,536 of a target.
const TARGET_COMMITMENTS: usize = 900;

/// Where an event is in its tenant's chain. It never moves.
type Place = (i16, i64);

sql_function!(immutable_erase, pg_finfo_immutable_erase, erase);

/// `immutable.erase(event_id, tenant_id, paths, reason)`
unsafe fn erase(call: Call) -> Datum {
    let id = required(call, 0, "event_id", "Name the event by its id.");
    let tenant_id = call.arg(1).map_or("", |tenant_id| text(tenant_id));
    let paths = texts(required(call, 2, "paths", PATHS), "paths");
    if paths.is_empty() {
        Fault::invalid("paths", "paths must name something to erase").hint(PATHS).raise()
    }
    for path in &paths {
        check_path("paths", path);
    }
    let reason = reason(call, 3);
    let mut found = None;
    spi::write(
        "SELECT e.lane, e.seq FROM ONLY immutable.events e WHERE e.id = $1 AND e.tenant_id = $2",
        &[pg_sys::UUIDOID, pg_sys::TEXTOID],
        &[Some(id), Some(text_datum(tenant_id))],
        |row| found = Some((row.values[0].value() as i16, row.values[1].value() as i64)),
    );
    let Some(place) = found else { not_found(id, tenant_id) };
    let mut erasing = Erasing::begin(call, tenant_id, reason);
    erasing.lock(place.0);
    erasing.rewrite(place, |event| asked(event, &paths));
    erasing.record();
    call.null()
}

sql_function!(immutable_erase_subject, pg_finfo_immutable_erase_subject, erase_subject);

/// `immutable.erase_subject(tenant_id, subject_id, reason, metadata_keys, actor_paths, dry_run)`
unsafe fn erase_subject(call: Call) -> Datum {
    let tenant_id = call.arg(0).map_or("", |tenant_id| text(tenant_id));
    let hint = "Name the person by the id that events have as actor_id, resource_id or a target's id.";
    let id = text(required(call, 1, "subject_id", hint));
    if id.is_empty() {
        Fault::invalid("subject_id", "subject_id must not be empty").hint(hint).raise()
    }
    let reason = reason(call, 2);
    if mentions(reason, id) {
        Fault::invalid("reason", "reason has the subject's id in it, and is kept when the subject is erased")
            .hint("Name the request or ticket instead.")
            .raise()
    }
    let metadata_keys = call.arg(3).map_or(Vec::new(), |keys| texts(keys, "metadata_keys"));
    let actor_paths = call.arg(4).map(|paths| texts(paths, "actor_paths"));
    for path in actor_paths.iter().flatten() {
        check_path("actor_paths", path);
    }
    let dry_run = required(call, 5, "dry_run", "true shows what would be erased, false erases it.").value() as u8 != 0;
    let subject = Subject { id, metadata_keys, actor_paths };
    let mut erasing = Erasing::begin(call, tenant_id, reason);
    if dry_run {
        erasing.preview(&subject);
        return call.null();
    }
    for place in erasing.lock_events_of(&subject) {
        pgrx::check_for_interrupts!();
        erasing.rewrite(place, |event| paths_of(&subject, event));
    }
    erasing.record();
    call.null()
}

fn paths_of(subject: &Subject<'_>, event: &Stored<'_>) -> Vec<String> {
    subject.paths(&event.content, event.erasure(), event.envelope.action)
}

/// One call's work: what of the tenant's events it has erased so far, and what of that is not recorded yet.
struct Erasing<'a> {
    events: Oid,
    tenant_id: &'a str,
    reason: &'a str,
    answer: *mut pg_sys::ReturnSetInfo,
    /// The targets of the next record.
    unrecorded: Vec<String>,
}

impl<'a> Erasing<'a> {
    unsafe fn begin(call: Call, tenant_id: &'a str, reason: &'a str) -> Erasing<'a> {
        Erasing { events: events_oid(), tenant_id, reason, answer: result_set(call), unrecorded: Vec::new() }
    }

    unsafe fn lock(&self, lane: i16) {
        pg_sys::PreventCommandDuringRecovery(c"erasing".as_ptr());
        lane::acquire_existing(self.events, lane::tenant_number(self.tenant_id), lane);
    }

    /// What would be erased, in the order in which it would be. Takes no lock and no transaction id.
    unsafe fn preview(&self, subject: &Subject<'_>) {
        self.search(subject, Snapshot::Caller, None, |event, paths| self.answer(event, &paths));
    }

    /// The places of the subject's events, in their order, with the locks of their lanes held.
    unsafe fn lock_events_of(&self, subject: &Subject<'_>) -> Vec<Place> {
        // Where the lanes end, before the search: what it can not have seen comes after.
        let mut heads = Vec::new();
        spi::write(
            "SELECT h.lane, h.seq FROM immutable.heads($1) h",
            &[pg_sys::TEXTOID],
            &[Some(text_datum(self.tenant_id))],
            |row| heads.push((row.values[0].value() as i16, row.values[1].value() as i64)),
        );
        let mut places: Vec<Place> = Vec::new();
        self.search(subject, Snapshot::New, None, |event, _| places.push(place_of(event)));
        let mut lanes: Vec<i16> = places.iter().map(|(lane, _)| *lane).collect();
        lanes.dedup();
        for lane in &lanes {
            self.lock(*lane);
        }
        // Whoever held one of them meanwhile may have recorded more.
        for lane in lanes {
            let head = heads.iter().find(|(of, _)| *of == lane).map_or(0, |(_, seq)| *seq);
            self.search(subject, Snapshot::New, Some((lane, head)), |event, _| places.push(place_of(event)));
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Calls `found` for every event of the tenant, or of a lane after a seq, that has something of the subject's, with
    /// the paths. In order of lane and seq.
    unsafe fn search(
        &self,
        subject: &Subject<'_>,
        snapshot: Snapshot,
        after: Option<Place>,
        mut found: impl FnMut(&Stored<'_>, Vec<String>),
    ) {
        // In a jsonb's text the id is escaped. What has it there is looked at closely below; of the log's own events,
        // whose targets can be long, only the metadata can matter.
        let mut quoted = String::new();
        write_string(subject.id, &mut quoted);
        let escaped = &quoted[1..quoted.len() - 1];
        let range = after.map_or("", |_| " AND e.lane = $4 AND e.seq > $5");
        // What cannot be read may have it too, and must not be given to PostgreSQL's functions.
        let has = |column| {
            format!(
                "CASE WHEN immutable.is_readable(e.{column}) \
                 THEN pg_catalog.strpos(e.{column}::pg_catalog.text COLLATE pg_catalog.\"C\", $3) > 0 ELSE true END"
            )
        };
        let statement = format!(
            "SELECT e.* FROM ONLY immutable.events e WHERE e.tenant_id = $1{range} \
             AND (e.actor_id = $2 OR e.resource_id = $2 OR {} \
                  OR NOT pg_catalog.starts_with(e.action, '{RESERVED}') AND {}) \
             ORDER BY e.lane, e.seq",
            has("metadata"),
            has("targets"),
        );
        let mut types = vec![pg_sys::TEXTOID; 3];
        let mut values: Vec<Option<Datum>> =
            [self.tenant_id, subject.id, escaped].iter().map(|value| Some(text_datum(value))).collect();
        if let Some((lane, seq)) = after {
            types.extend([pg_sys::INT2OID, pg_sys::INT8OID]);
            values.extend([Some(Datum::from(lane)), Some(Datum::from(seq))]);
        }
        let each = |tuple, descriptor| {
            let look = |event: &Stored<'_>| {
                let paths = paths_of(subject, event);
                if !paths.is_empty() {
                    found(event, paths);
                }
            };
            // One damaged event keeps nobody from being erased from the others.
            if let Err(fault) = with_event(tuple, descriptor, look) {
                fault.warn();
            }
        };
        match snapshot {
            Snapshot::Caller => spi::stream(&statement, &types, &values, each),
            Snapshot::New => spi::stream_now(&statement, &types, &values, each),
        }
    }

    /// Erases from the event, whose lane is locked, the paths that `choose` finds in it now.
    unsafe fn rewrite(&mut self, place: Place, choose: impl Fn(&Stored<'_>) -> Vec<String>) {
        spi::stream_now(
            "SELECT e.* FROM ONLY immutable.events e WHERE e.tenant_id = $1 AND e.lane = $2 AND e.seq = $3",
            &[pg_sys::TEXTOID, pg_sys::INT2OID, pg_sys::INT8OID],
            &[Some(text_datum(self.tenant_id)), Some(Datum::from(place.0)), Some(Datum::from(place.1))],
            |tuple, descriptor| {
                let look = |event: &Stored<'_>| {
                    let paths = choose(event);
                    if !paths.is_empty() {
                        self.erase(event, &paths);
                    }
                };
                with_event(tuple, descriptor, look).unwrap_or_else(|fault| fault.raise());
            },
        );
    }

    unsafe fn erase(&mut self, event: &Stored<'_>, paths: &[String]) {
        let borrowed: Vec<&str> = paths.iter().map(String::as_str).collect();
        let salt = match &event.secret {
            Secret::Salt(salt) => Some(salt),
            Secret::Erased(_) => None,
        };
        let before = event.erasure();
        let Some((left, erasure)) = commitment::erase(&event.content, salt, before, &borrowed) else {
            internal("a path without a value was to be erased")
        };
        let id = Some(uuid_datum(&event.envelope.id));
        let targets: Vec<&str> = borrowed.iter().filter_map(|path| path.strip_prefix(TARGETS)).collect();
        update_event(self.tenant_id, id, &left, &erasure, &borrowed);
        if !targets.is_empty() {
            spi::execute(
                "UPDATE ONLY immutable.event_targets t \
                 SET target_id = NULL, target_name = NULL, target_metadata = NULL \
                 WHERE t.tenant_id = $1 AND t.event_id = $2 AND t.position = ANY (CAST($3 AS pg_catalog.int2[]))",
                &[pg_sys::TEXTOID, pg_sys::UUIDOID, pg_sys::TEXTOID],
                &[Some(text_datum(self.tenant_id)), id, Some(text_datum(&format!("{{{}}}", targets.join(","))))],
            );
        }
        self.answer(event, paths);
        for commitments in erasure.beyond(before).chunks(TARGET_COMMITMENTS) {
            if self.unrecorded.len() == RECORD_TARGETS {
                self.record();
            }
            self.unrecorded.push(record_target(event, commitments));
        }
    }

    /// One row of the answer for every path.
    unsafe fn answer(&self, event: &Stored<'_>, paths: &[String]) {
        let id = uuid_datum(&event.envelope.id);
        for path in paths {
            let mut values = [id, text_datum(path)];
            let mut nulls = [false; 2];
            let answer = &*self.answer;
            pg_sys::tuplestore_putvalues(answer.setResult, answer.setDesc, values.as_mut_ptr(), nulls.as_mut_ptr());
        }
    }

    /// Records what is erased and not recorded yet.
    unsafe fn record(&mut self) {
        if self.unrecorded.is_empty() {
            return;
        }
        let targets = format!("[{}]", self.unrecorded.join(","));
        self.unrecorded.clear();
        record(&Own {
            tenant_id: self.tenant_id,
            action: "immutable.event_erased",
            targets: &targets,
            metadata: &[("reason", self.reason)],
            ..Own::default()
        });
    }
}

/// What a search sees.
#[derive(Clone, Copy)]
enum Snapshot {
    /// What the calling statement does.
    Caller,
    /// What is committed now, where the isolation level allows.
    New,
}

fn place_of(event: &Stored<'_>) -> Place {
    (event.envelope.lane, event.envelope.seq)
}

/// Writes the row as the erasure leaves it. One statement for all erasures, so that one plan is kept.
unsafe fn update_event(
    tenant_id: &str,
    id: Option<Datum>,
    left: &commitment::Content<'_>,
    erasure: &Erasure,
    paths: &[&str],
) {
    let columns: Vec<String> = COLUMNS
        .iter()
        .enumerate()
        .map(|(n, column)| format!("{column} = CASE WHEN ${} THEN NULL ELSE e.{column} END", n + 6))
        .collect();
    let statement = format!(
        "UPDATE ONLY immutable.events e SET salt = NULL, erased = $3, metadata = coalesce($4, e.metadata), \
         targets = coalesce($5, e.targets), {} WHERE e.tenant_id = $1 AND e.id = $2 RETURNING e.id",
        columns.join(", ")
    );
    let touches = |prefix: &str| paths.iter().any(|path| path.starts_with(prefix));
    let metadata = touches(METADATA).then(|| jsonb::datum(left.metadata.text()));
    let targets = touches(TARGETS).then(|| {
        let targets: Vec<&str> = left.targets.iter().map(|target| target.canonical()).collect();
        jsonb::datum(&format!("[{}]", targets.join(",")))
    });
    let erased = jsonb::datum(&erasure.to_value().canonical());
    let mut types = vec![pg_sys::TEXTOID, pg_sys::UUIDOID, pg_sys::JSONBOID, pg_sys::JSONBOID, pg_sys::JSONBOID];
    let mut values = vec![Some(text_datum(tenant_id)), id, Some(erased), metadata, targets];
    for column in COLUMNS {
        types.push(pg_sys::BOOLOID);
        values.push(Some(Datum::from(paths.contains(&column))));
    }
    let mut updated = 0;
    spi::write(&statement, &types, &values, |_| updated += 1);
    if updated != 1 {
        // A record of what is still there would be worse than none.
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the erasure of an event was suppressed, by a trigger or rule that somebody added to immutable.events",
        )
        .hint("Drop the trigger or rule, and erase again.")
        .raise()
    }
}

/// A target of a record.
fn record_target(event: &Stored<'_>, commitments: &[Hash]) -> String {
    let hashes: Vec<String> = commitments.iter().map(|hash| format!("\"{}\"", hex::encode(hash))).collect();
    let id = uuid_text(&event.envelope.id);
    format!("{{\"type\":\"immutable.event\",\"id\":\"{id}\",\"metadata\":{{\"commitments\":[{}]}}}}", hashes.join(","))
}

/// Reads a row of events and calls `look` with it, if it matches its hash: an erasure would hide what was done to it. What
/// is wrong with it otherwise.
unsafe fn with_event(
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
    look: impl FnOnce(&Stored<'_>),
) -> Result<(), Fault> {
    let layout = Layout::of_events(descriptor);
    let values = Values::of(tuple, descriptor);
    let stored_hash = values.get(&layout, c::EVENT_HASH).and_then(|datum| row::hash(datum));
    let event = row::read(|column| values.get(&layout, column)).and_then(|event| {
        let document = event.document()?;
        Ok((document::hash(&document), event))
    });
    match event {
        Ok((hash, event)) if Some(hash) == stored_hash => {
            look(&event);
            Ok(())
        }
        _ => {
            let id = values.get(&layout, c::ID).map(|id| uuid_text(&uuid(id))).unwrap_or_default();
            let place = event::place(&values, &layout);
            let detail = match event {
                Ok(_) => place,
                Err(violation) => format!("{place} {violation}."),
            };
            Err(Fault::new(
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("event {id} does not match its hash, so nothing can be erased from it"),
            )
            .detail(detail)
            .hint("It was tampered with or is damaged: immutable.verify_breaks() tells how."))
        }
    }
}

const PATHS: &str = "Paths are actor_id, actor_name, resource_id, resource_name, session_id, idempotency_key, \
    ip_address, ip_country, ip_city, user_agent, metadata.<key> and targets.<n>, from 0.";

/// Which of the paths that are asked for are to be erased from the event: not those without a value or erased before.
fn asked(event: &Stored<'_>, paths: &[&str]) -> Vec<String> {
    let own = event.envelope.action.starts_with(RESERVED);
    let erasure = event.erasure();
    let there = commitment::paths(&event.content, erasure);
    for path in paths.iter().filter(|path| !there.iter().any(|known| known == *path)) {
        // The keys of erased metadata are not kept: any key may have been one of them.
        let metadata_erased = erasure.is_some_and(|erasure| !erasure.metadata.is_empty());
        let targets = event.content.targets.len();
        if path.starts_with(METADATA) && !metadata_erased && !own {
            refuse_path("paths", path, "is not in the event", "Keys are taken as they are, in upper and lower case.")
        }
        if commitment::target_position(path).is_some_and(|position| position >= targets) && !own {
            let hint = match targets {
                0 => "It has no targets.".to_string(),
                _ => format!("It has targets.0 to targets.{}, in the stored order.", targets - 1),
            };
            refuse_path("paths", path, "is not in the event", &hint)
        }
    }
    if let (true, Some(path)) = (own, paths.iter().find(|path| **path != REASON)) {
        let hint = format!("Of it {REASON} alone can be erased.");
        refuse_path("paths", path, "can not be erased from an event of the log's own", &hint)
    }
    there.into_iter().filter(|path| paths.contains(&path.as_str())).collect()
}

fn check_path(field: &str, path: &str) {
    if !commitment::is_path(path) {
        refuse_path(field, path, "is nothing that can be erased", PATHS)
    }
}

fn refuse_path(field: &str, path: &str, why: &str, hint: &str) -> ! {
    let shown: String = path.chars().take(64).collect();
    Fault::invalid(field, format!("{field}: \"{shown}\" {why}")).hint(hint).raise()
}

unsafe fn not_found(id: Datum, tenant_id: &str) -> ! {
    let id = uuid_text(&uuid(id));
    let message = match tenant_id {
        "" => format!("there is no event {id} without tenant"),
        _ => format!("tenant \"{tenant_id}\" has no event {id}"),
    };
    Fault::new(Code::ERRCODE_NO_DATA_FOUND, message)
        .field("event_id")
        .hint("Name the event's own tenant_id; NULL is for events without tenant.")
        .raise()
}

/// An argument that must not be NULL.
unsafe fn required(call: Call, index: usize, name: &str, hint: &str) -> Datum {
    call.arg(index).unwrap_or_else(|| {
        Fault::new(Code::ERRCODE_NULL_VALUE_NOT_ALLOWED, format!("{name} must not be NULL"))
            .field(name)
            .hint(hint)
            .raise()
    })
}

/// The argument that says why; it is kept in a record.
pub unsafe fn reason<'a>(call: Call, index: usize) -> &'a str {
    let hint = "Say why, without naming the person: the record is kept. For example a ticket's number.";
    let reason = text(required(call, index, "reason", hint));
    if reason.trim().is_empty() {
        Fault::invalid("reason", "reason must not be empty").hint(hint).raise()
    }
    if reason.len() > REASON_BYTES {
        Fault::new(
            Code::ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
            format!("reason is too long: {} bytes, at most {REASON_BYTES}", reason.len()),
        )
        .field("reason")
        .hint("Bytes of UTF-8 are counted. Refer to what explains it at length.")
        .raise()
    }
    reason
}

/// The elements of a text array.
unsafe fn texts<'a>(array: Datum, name: &str) -> Vec<&'a str> {
    let array = pg_sys::pg_detoast_datum(array.cast_mut_ptr()).cast();
    let (mut elements, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    let align = pg_sys::TYPALIGN_INT as std::ffi::c_char;
    pg_sys::deconstruct_array(array, pg_sys::TEXTOID, -1, false, align, &mut elements, &mut nulls, &mut count);
    (0..count as usize)
        .map(|n| {
            if *nulls.add(n) {
                Fault::new(Code::ERRCODE_NULL_VALUE_NOT_ALLOWED, format!("{name} must not have a NULL in it"))
                    .field(name)
                    .hint("Leave it out.")
                    .raise()
            }
            text(*elements.add(n))
        })
        .collect()
}
