//! Verification: reads the rows back, in the order of their lanes, and reports every break. It trusts rows and nothing
//! that was computed before; it reads child tables too, which inheritance could smuggle rows in through.

use crate::columns as c;
use crate::columns::{Layout, Values};
use crate::error::{Code, Fault};
use crate::function::{bytes, bytes_datum, sql_function, text, text_datum, uuid, uuid_datum, Call};
use crate::jsonb::{self, Jsonb, Kind, Member};
use crate::read::result_set;
use crate::row;
use crate::spi;
use immutable_format::document::{self, uuid_text};
use immutable_format::json::write_string;
use immutable_format::link::{Break, BreakType, Row, Walk};
use immutable_format::{parse_hex, Hash, Id};
use pgrx::pg_sys::{self, Datum, Oid};

/// Most breaks that one jsonb lists; their number is always exact.
const MAX_LISTED: usize = 1000;

/// What to verify: the arguments of verify_chain().
struct Scope {
    tenant_id: Option<Datum>,
    from_date: Option<Datum>,
    to_date: Option<Datum>,
    max_events: Option<i64>,
    heads: Vec<Head>,
}

/// A saved head: the last event of a lane as it was once.
struct Head {
    tenant_id: String,
    lane: i16,
    seq: i64,
    event_hash: Hash,
}

/// What a run has counted.
#[derive(Default)]
struct Counts {
    events: u64,
    chains: u64,
    tenants: u64,
    erased: u64,
    breaks: u64,
    /// Whether max_events left some out.
    cut: bool,
    /// Whether the row of immutable.log is there.
    log_id: Option<Id>,
}

impl Scope {
    /// The conditions on the events, for the alias `e`, and their arguments.
    fn conditions(&self) -> (String, Vec<Oid>, Vec<Option<Datum>>) {
        self.conditions_on("e")
    }

    fn conditions_on(&self, alias: &str) -> (String, Vec<Oid>, Vec<Option<Datum>>) {
        let (mut clauses, mut types, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (argument, oid, condition) in [
            (self.tenant_id, pg_sys::TEXTOID, "tenant_id ="),
            (self.from_date, pg_sys::TIMESTAMPTZOID, "created_at >="),
            (self.to_date, pg_sys::TIMESTAMPTZOID, "created_at <="),
        ] {
            if argument.is_some() {
                types.push(oid);
                values.push(argument);
                clauses.push(format!("{alias}.{condition} ${}", values.len()));
            }
        }
        let clauses = if clauses.is_empty() { String::new() } else { format!(" WHERE {}", clauses.join(" AND ")) };
        (clauses, types, values)
    }

    /// The events in scope as a subquery, in the order of their lanes, for the queries beside the walk.
    fn events(&self, columns: &str) -> (String, Vec<Oid>, Vec<Option<Datum>>) {
        let (conditions, types, values) = self.conditions();
        let limit =
            self.max_events.map_or(String::new(), |most| format!(" ORDER BY e.tenant_id, e.lane, e.seq LIMIT {most}"));
        (format!("(SELECT {columns} FROM immutable.events e{conditions}{limit})"), types, values)
    }
}

/// Verifies what is in scope and calls `report` with every break.
unsafe fn verify(scope: &Scope, mut report: impl FnMut(&Break)) -> Counts {
    let mut counts = Counts::default();
    let mut breaks = 0;
    let mut report = |found: Break| {
        breaks += 1;
        report(&found);
    };
    walk(scope, &mut counts, &mut report);
    check_targets(scope, counts.cut, &mut report);
    check_erasures(scope, &mut report);
    check_heads(scope, &mut report);
    counts.breaks = breaks;
    counts
}

/// Content and links, lane by lane.
unsafe fn walk(scope: &Scope, counts: &mut Counts, report: &mut impl FnMut(Break)) {
    spi::read("SELECT log_id FROM immutable.log LIMIT 1", &[], &[], |row| counts.log_id = Some(uuid(row.values[0])));
    let mut walk = Walk::new(counts.log_id);
    let (conditions, types, values) = scope.conditions();
    // One more than is checked tells whether something was left out.
    let limit = scope.max_events.map_or(String::new(), |most| format!(" LIMIT {}", most.saturating_add(1)));
    let statement = format!(
        "SELECT e.*, \
         CASE WHEN e.tableoid <> 'immutable.events'::pg_catalog.regclass THEN e.tableoid::pg_catalog.regclass::text END \
         FROM immutable.events e{conditions} \
         ORDER BY e.tenant_id, e.lane, e.seq, e.tableoid <> 'immutable.events'::pg_catalog.regclass{limit}"
    );
    let mut layout = None;
    spi::stream(&statement, &types, &values, |tuple, descriptor| {
        if scope.max_events.is_some_and(|most| walk.events >= most as u64) {
            counts.cut = true;
            return;
        }
        let layout = layout.get_or_insert_with(|| {
            Layout::of(descriptor).unwrap_or_else(|column| {
                Fault::new(
                    Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                    format!("immutable.events has no column {column} of its type"),
                )
                .raise()
            })
        });
        let values = Values::of(tuple, descriptor);
        let get = |column| values.get(layout, column);
        let stray_place = layout.width - 1;
        let stray = (!values.nulls[stray_place]).then(|| text(values.values[stray_place]));
        let stored = row::read(&values, layout);
        let document = stored.and_then(|stored| stored.document());
        let recomputed = document.as_ref().map(|document| document::hash(document)).map_err(|violation| violation.0);
        counts.erased += u64::from(get(c::ERASED).is_some());
        let row = Row {
            tenant_id: get(c::TENANT_ID).map_or("", |datum| text(datum)),
            lane: get(c::LANE).map_or(-1, |lane| lane.value() as i16),
            seq: get(c::SEQ).map_or(0, |seq| seq.value() as i64),
            id: get(c::ID).map(|id| uuid(id)).unwrap_or_default(),
            log_id: get(c::LOG_ID).map(|id| uuid(id)),
            previous_event_hash: get(c::PREVIOUS_EVENT_HASH).map(|hash| bytes(hash)),
            event_hash: get(c::EVENT_HASH).map(|hash| bytes(hash)),
            recomputed,
            stray,
        };
        if walk.begins_lane(row.tenant_id, row.lane) {
            let before = if scope.from_date.is_some() && row.seq > 1 { predecessor(&row) } else { None };
            walk.begin_lane(row.tenant_id, row.lane, before);
        }
        walk.push(&row, &mut *report);
    });
    counts.events = walk.events;
    counts.chains = walk.lanes;
    counts.tenants = walk.tenants;
    if counts.log_id.is_none() && counts.events > 0 {
        report(Break {
            kind: BreakType::MissingEvent,
            tenant_id: None,
            lane: None,
            seq: None,
            event_id: None,
            expected: None,
            actual: None,
            detail: "immutable.log has lost the log's identity".to_string(),
        });
    }
}

/// The stored event that the first of a range must follow. One that is missing leaves the place empty.
unsafe fn predecessor(row: &Row) -> Option<(i64, Vec<u8>)> {
    let mut found = None;
    spi::read(
        "SELECT e.event_hash FROM ONLY immutable.events e WHERE e.tenant_id = $1 AND e.lane = $2 AND e.seq = $3",
        &[pg_sys::TEXTOID, pg_sys::INT2OID, pg_sys::INT8OID],
        &[Some(text_datum(row.tenant_id)), Some(Datum::from(row.lane)), Some(Datum::from(row.seq - 1))],
        |before| found = Some(if before.nulls[0] { Vec::new() } else { bytes(before.values[0]).to_vec() }),
    );
    Some(found.map_or((row.seq - 2, Vec::new()), |hash| (row.seq - 1, hash)))
}

/// event_targets against the targets of the events themselves.
unsafe fn check_targets(scope: &Scope, cut: bool, report: &mut impl FnMut(Break)) {
    let (events, types, values) = scope.events("e.*");
    // Where only some events are looked at, the rows of all others would look like strays.
    let derived = match cut {
        true => format!(
            "(SELECT d.*, d.tableoid <> 'immutable.event_targets'::pg_catalog.regclass AS stray \
              FROM immutable.event_targets d \
              WHERE (d.tenant_id, d.event_id) IN (SELECT s.tenant_id, s.id FROM {events} s))"
        ),
        false => {
            let (conditions, _, _) = scope.conditions_on("d");
            format!(
                "(SELECT d.*, d.tableoid <> 'immutable.event_targets'::pg_catalog.regclass AS stray \
              FROM immutable.event_targets d{conditions})"
            )
        }
    };
    let statement = format!(
        "SELECT coalesce(x.tenant_id, d.tenant_id), \
                coalesce(x.lane, (SELECT e.lane FROM immutable.events e WHERE e.tenant_id = d.tenant_id AND e.id = d.event_id LIMIT 1)), \
                coalesce(x.seq, (SELECT e.seq FROM immutable.events e WHERE e.tenant_id = d.tenant_id AND e.id = d.event_id LIMIT 1)), \
                coalesce(x.id, d.event_id), \
                coalesce(x.position, d.position), \
                CASE WHEN d.stray THEN 'is in a child table of event_targets' \
                     WHEN d.event_id IS NULL THEN 'is missing from event_targets' \
                     WHEN x.id IS NULL THEN 'is in event_targets but not in the event' \
                     ELSE 'differs in event_targets' END \
         FROM (SELECT e.tenant_id, e.lane, e.seq, e.id, e.created_at, (t.n - 1)::pg_catalog.int2 AS position, t.target \
               FROM {events} e, LATERAL pg_catalog.jsonb_array_elements( \
                   CASE WHEN pg_catalog.jsonb_typeof(e.targets) = 'array' \
                        AND pg_catalog.jsonb_array_length( \
                            CASE WHEN pg_catalog.jsonb_typeof(e.targets) = 'array' THEN e.targets ELSE '[]' END) <= {} \
                        THEN e.targets ELSE '[]' END) WITH ORDINALITY t(target, n)) x \
         FULL JOIN {derived} d ON d.tenant_id = x.tenant_id AND d.event_id = x.id AND d.position = x.position \
         WHERE x.id IS NULL OR d.event_id IS NULL OR d.stray \
            OR d.created_at IS DISTINCT FROM x.created_at \
            OR d.target_type IS DISTINCT FROM x.target ->> 'type' OR d.target_id IS DISTINCT FROM x.target ->> 'id' \
            OR d.target_name IS DISTINCT FROM x.target ->> 'name' \
            OR d.target_metadata::text IS DISTINCT FROM (x.target -> 'metadata')::text",
        immutable_format::limits::TARGETS,
    );
    spi::stream(&statement, &types, &values, |tuple, descriptor| {
        let row = Values::of(tuple, descriptor);
        let get = |column: usize| (!row.nulls[column]).then(|| row.values[column]);
        report(Break {
            kind: BreakType::TargetMismatch,
            tenant_id: get(0).map(|datum| text(datum).to_string()),
            lane: get(1).map(|lane| lane.value() as i16),
            seq: get(2).map(|seq| seq.value() as i64),
            event_id: get(3).map(|id| uuid(id)),
            expected: None,
            actual: None,
            detail: format!(
                "target {} {}",
                get(4).map_or(-1, |position| position.value() as i16),
                get(5).map_or("", |what| text(what))
            ),
        });
    });
}

/// What is erased against what the event_erased records list. A record may be later than the range, so all are read.
unsafe fn check_erasures(scope: &Scope, report: &mut impl FnMut(Break)) {
    let (events, types, values) = scope.events("e.tenant_id, e.lane, e.seq, e.id, e.erased");
    let erased = "SELECT e.tenant_id, e.id, c #>> '{}' AS commitment FROM scope e, LATERAL ( \
             SELECT pg_catalog.jsonb_path_query(e.erased, 'lax $.commitments.* ? (@.type() == \"string\")') \
             UNION ALL \
             SELECT pg_catalog.jsonb_path_query(e.erased, 'lax $.commitments.metadata[*] ? (@.type() == \"string\")') \
             UNION ALL \
             SELECT pg_catalog.jsonb_path_query(e.erased, 'lax $.commitments.targets.* ? (@.type() == \"string\")') \
         ) x(c) WHERE e.erased IS NOT NULL";
    // An id is a text of 36 bytes and a commitment one of 64: anything longer, each repeated once a commitment, would
    // fill a disk, and an object can be small as jsonb and huge as text.
    let recorded = "SELECT r.tenant_id, u.t ->> 'id' AS id, c.c #>> '{}' AS commitment FROM immutable.events r, \
         LATERAL pg_catalog.jsonb_path_query(r.targets, 'lax $[*] ? (@.type == \"immutable.event\" && @.id.type() == \"string\")') t(t), \
         LATERAL (SELECT t.t WHERE pg_catalog.octet_length(t.t ->> 'id') = 36 OFFSET 0) u(t), \
         LATERAL pg_catalog.jsonb_path_query(u.t, 'lax $.metadata.commitments[*] ? (@.type() == \"string\")') c(c) \
         WHERE r.action = 'immutable.event_erased' AND pg_catalog.octet_length(c.c #>> '{}') = 64";
    let statement = format!(
        "WITH scope AS MATERIALIZED (SELECT * FROM {events} e), \
              erased AS (SELECT DISTINCT e.tenant_id, e.id::text AS id, e.commitment FROM ({erased}) e), \
              recorded AS (SELECT DISTINCT r.tenant_id, r.id, r.commitment FROM ({recorded}) r) \
         SELECT e.tenant_id, e.lane, e.seq, e.id, x.recorded, x.erased \
         FROM (SELECT coalesce(d.tenant_id, r.tenant_id) AS tenant_id, coalesce(d.id, r.id) AS id, \
                      r.commitment AS recorded, d.commitment AS erased \
               FROM erased d FULL JOIN recorded r \
                 ON r.tenant_id = d.tenant_id AND r.id = d.id AND r.commitment = d.commitment \
               WHERE d.commitment IS NULL OR r.commitment IS NULL) x \
         JOIN scope e ON e.tenant_id = x.tenant_id AND e.id::text = x.id"
    );
    spi::stream(&statement, &types, &values, |tuple, descriptor| {
        let row = Values::of(tuple, descriptor);
        let get = |column: usize| (!row.nulls[column]).then(|| row.values[column]);
        let commitment = |column: usize| get(column).map(|hex| text(hex).to_string());
        let (recorded, erased) = (commitment(4), commitment(5));
        let as_bytes = |hex: &Option<String>| hex.as_deref().and_then(parse_hex::<32>).map(|hash| hash.to_vec());
        report(Break {
            kind: BreakType::ErasureMismatch,
            tenant_id: get(0).map(|datum| text(datum).to_string()),
            lane: get(1).map(|lane| lane.value() as i16),
            seq: get(2).map(|seq| seq.value() as i64),
            event_id: get(3).map(|id| uuid(id)),
            expected: as_bytes(&recorded),
            actual: as_bytes(&erased),
            detail: match recorded {
                Some(_) => "a value that was erased is back: erase it again".to_string(),
                None => "a value is erased that no immutable.event_erased event lists".to_string(),
            },
        });
    });
}

/// Saved heads against the rows in their places.
unsafe fn check_heads(scope: &Scope, report: &mut impl FnMut(Break)) {
    let only = scope.tenant_id.map(|tenant| text(tenant));
    for head in scope.heads.iter().filter(|head| only.is_none_or(|tenant| tenant == head.tenant_id)) {
        let mut found = None;
        spi::read(
            "SELECT e.id, e.event_hash FROM ONLY immutable.events e \
             WHERE e.tenant_id = $1 AND e.lane = $2 AND e.seq = $3",
            &[pg_sys::TEXTOID, pg_sys::INT2OID, pg_sys::INT8OID],
            &[Some(text_datum(&head.tenant_id)), Some(Datum::from(head.lane)), Some(Datum::from(head.seq))],
            |row| {
                let hash = (!row.nulls[1]).then(|| bytes(row.values[1]).to_vec());
                found = Some((uuid(row.values[0]), hash));
            },
        );
        let (event_id, actual) = found.map_or((None, None), |(id, hash)| (Some(id), hash));
        if actual.as_deref() == Some(&head.event_hash) {
            continue;
        }
        report(Break {
            kind: BreakType::MissingEvent,
            tenant_id: Some(head.tenant_id.clone()),
            lane: Some(head.lane),
            seq: Some(head.seq),
            event_id,
            expected: Some(head.event_hash.to_vec()),
            actual,
            detail: match event_id {
                None => "the event of a saved head is gone".to_string(),
                Some(_) => "another event is in the place of a saved head".to_string(),
            },
        });
    }
}

fn refuse_heads() -> ! {
    Fault::invalid("heads", "heads must be a JSON array of {tenant_id, lane, seq, event_hash}")
        .hint("Save them with: SELECT jsonb_agg(h) FROM immutable.heads() h")
        .raise()
}

unsafe fn read_heads(heads: Jsonb) -> Vec<Head> {
    if heads.kind() != Kind::Array {
        refuse_heads()
    }
    let mut read = Vec::with_capacity(heads.len());
    heads.each_element(|element| {
        let Member::Nested(object) = element else { refuse_heads() };
        if object.kind() != Kind::Object {
            refuse_heads()
        }
        let (mut tenant_id, mut lane, mut seq, mut event_hash) = (None, None, None, None);
        object.members(|key, value| match (key, value) {
            ("tenant_id", Member::Text(text)) => tenant_id = Some(text),
            ("lane", Member::Number(number)) => lane = number.parse().ok(),
            ("seq", Member::Number(number)) => seq = number.parse().ok(),
            // as jsonb shows a bytea, or plain
            ("event_hash", Member::Text(text)) => event_hash = parse_hex(text.strip_prefix("\\x").unwrap_or(&text)),
            _ => {}
        });
        match (tenant_id, lane, seq, event_hash) {
            (Some(tenant_id), Some(lane), Some(seq), Some(event_hash)) => {
                read.push(Head { tenant_id, lane, seq, event_hash })
            }
            _ => refuse_heads(),
        }
    });
    read
}

/// Reads the arguments of verify_chain() and verify_breaks().
unsafe fn scope(call: Call) -> Scope {
    let max_events = call.arg(3).map(|most| most.value() as i64);
    if max_events.is_some_and(|most| most < 1) {
        Fault::invalid("max_events", "max_events must be at least 1").raise()
    }
    Scope {
        tenant_id: call.arg(0),
        from_date: call.arg(1),
        to_date: call.arg(2),
        max_events,
        heads: call.arg(4).map_or(Vec::new(), |heads| read_heads(Jsonb::new(heads))),
    }
}

/// One break as JSON: in full, or as the service shows it.
fn break_json(found: &Break, in_full: bool) -> String {
    let mut json = String::from("{");
    let mut member = |name: &str, value: Option<String>, quoted: bool| {
        if json.len() > 1 {
            json.push(',');
        }
        write_string(name, &mut json);
        json.push(':');
        match value {
            None => json.push_str("null"),
            Some(value) if quoted => write_string(&value, &mut json),
            Some(value) => json.push_str(&value),
        }
    };
    if in_full {
        member("tenant_id", found.tenant_id.clone(), true);
        member("lane", found.lane.map(|lane| lane.to_string()), false);
        member("seq", found.seq.map(|seq| seq.to_string()), false);
    }
    member("event_id", found.event_id.map(|id| uuid_text(&id)), true);
    member("type", Some(found.kind.name().to_string()), true);
    member("expected_hash", found.expected.as_ref().map(hex::encode), true);
    member("actual_hash", found.actual.as_ref().map(hex::encode), true);
    if in_full {
        member("detail", Some(found.detail.clone()), true);
    }
    json.push('}');
    json
}

sql_function!(immutable_verify_chain, pg_finfo_immutable_verify_chain, verify_chain);

/// `immutable.verify_chain(…)`: one row.
unsafe fn verify_chain(call: Call) -> Datum {
    let scope = scope(call);
    let mut listed = Vec::new();
    let counts = verify(&scope, |found| {
        if listed.len() < MAX_LISTED {
            listed.push(break_json(found, true));
        }
    });
    let log_id = counts.log_id.map(|id| uuid_datum(&id));
    let columns: [Option<Datum>; 9] = [
        Some(Datum::from(counts.breaks == 0)),
        Some(Datum::from(counts.events as i64)),
        Some(Datum::from(counts.chains as i64)),
        Some(Datum::from(counts.erased as i64)),
        Some(jsonb::datum(&format!("[{}]", listed.join(",")))),
        Some(Datum::from(counts.breaks as i64)),
        Some(Datum::from(counts.tenants as i64)),
        Some(Datum::from(!counts.cut && scope.from_date.is_none() && scope.to_date.is_none())),
        log_id,
    ];
    let mut values = columns.map(|column| column.unwrap_or(Datum::from(0usize)));
    let mut nulls = columns.map(|column| column.is_none());
    let set = result_set(call);
    pg_sys::tuplestore_putvalues((*set).setResult, (*set).setDesc, values.as_mut_ptr(), nulls.as_mut_ptr());
    call.null()
}

sql_function!(immutable_verify_breaks, pg_finfo_immutable_verify_breaks, verify_breaks);

/// `immutable.verify_breaks(…)`: one row a break.
unsafe fn verify_breaks(call: Call) -> Datum {
    let scope = scope(call);
    let set = result_set(call);
    verify(&scope, |found| {
        let columns: [Option<Datum>; 8] = [
            found.tenant_id.as_ref().map(|tenant_id| text_datum(tenant_id)),
            found.lane.map(Datum::from),
            found.seq.map(Datum::from),
            found.event_id.map(|id| uuid_datum(&id)),
            Some(text_datum(found.kind.name())),
            found.expected.as_ref().map(|hash| bytes_datum(hash)),
            found.actual.as_ref().map(|hash| bytes_datum(hash)),
            Some(text_datum(&found.detail)),
        ];
        let mut values = columns.map(|column| column.unwrap_or(Datum::from(0usize)));
        let mut nulls = columns.map(|column| column.is_none());
        pg_sys::tuplestore_putvalues((*set).setResult, (*set).setDesc, values.as_mut_ptr(), nulls.as_mut_ptr());
    });
    call.null()
}

sql_function!(immutable_verify, pg_finfo_immutable_verify, verify_as_service);

/// `immutable.verify(from_date, to_date, limit)`: the service's answer.
unsafe fn verify_as_service(call: Call) -> Datum {
    let limit = call.arg(2).map_or(10_000, |limit| limit.value() as i32);
    if limit < 1 {
        Fault::invalid("limit", "limit must be at least 1").raise()
    }
    let scope = Scope {
        tenant_id: None,
        from_date: call.arg(0),
        to_date: call.arg(1),
        max_events: Some(i64::from(limit)),
        heads: Vec::new(),
    };
    let mut listed = Vec::new();
    let counts = verify(&scope, |found| {
        if listed.len() < MAX_LISTED {
            listed.push(break_json(found, false));
        }
    });
    jsonb::datum(&format!(
        "{{\"data\":{{\"valid\":{},\"events_checked\":{},\"breaks\":[{}]}}}}",
        counts.breaks == 0,
        counts.events,
        listed.join(",")
    ))
}
