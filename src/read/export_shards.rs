//! The export of a distributed log. Each shard makes the lines of its own events, a page at a time, and the node of the
//! client brings them into the order of an export. A page has whole tenants: an event and the record of its erasure are
//! seen at the same moment. Nothing is kept but a page of each shard.

use crate::access::lent::with_rights_of_owner;
use crate::access::proof::{self, Scope};
use crate::log::columns::Layout;
use crate::log::distributed::{at_tenant_cursor, on_own_shard, tenants_of_shards};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{any_micros, text, timestamptz, Datum};
use crate::pg::error::Fault;
use crate::pg::jsonb::{Jsonb, Kind, Member};
use crate::pg::memory::{here, Memory};
use crate::pg::set::Series;
use crate::pg::spi::{self, Arg};
use crate::read::export::{line, position, Verifiable};
use crate::read::filter::{Filters, FILTERS};
use immutable_format::json::write_string;
use pgrx::pg_sys;
use std::collections::VecDeque;

/// A page ends with the first tenant after so many events,
const PAGE_EVENTS: usize = 2000;

/// or after so many bytes of lines.
const PAGE_BYTES: usize = 4 << 20;

/// How many lines of a page are fetched at once.
const FETCHED: i64 = 64;

/// The place of an event.
type Place = (String, i16, i64);

/// The place after all events of a tenant.
fn end_of(tenant_id: String) -> Place {
    (tenant_id, i16::MAX, i64::MAX)
}

/// The lines of one shard.
struct Shard {
    /// A tenant of it.
    address: String,
    /// The page that is read now.
    cursor: Option<spi::Cursor>,
    /// How many lines of it were fetched.
    fetched: usize,
    after: Option<Place>,
    lines: VecDeque<(Place, String)>,
    ended: bool,
}

impl Shard {
    fn of(address: String) -> Shard {
        Shard { address, cursor: None, fetched: 0, after: None, lines: VecDeque::new(), ended: false }
    }

    /// The place of the next line; None after the last.
    fn place(&self) -> Option<&Place> {
        self.lines.front().map(|(place, _)| place)
    }

    /// Fetches lines if there are none, unless that was the last.
    fn fill(&mut self, filters: &str) {
        while self.lines.is_empty() && !self.ended {
            self.fetch(filters);
        }
    }

    fn fetch(&mut self, filters: &str) {
        // What ended the query, such as a COMMIT, may have changed what the page has.
        let mut cursor = self.cursor.take().filter(spi::Cursor::is_open).unwrap_or_else(|| {
            self.fetched = 0;
            let (tenant_id, lane, seq) = self.after.clone().map_or((None, 0, 0), |(t, lane, seq)| (Some(t), lane, seq));
            let given = vec![
                Arg::maybe_text(tenant_id),
                Arg::Int2(lane),
                Arg::Int8(seq),
                Arg::Json(filters.to_string().into()),
            ];
            at_tenant_cursor(&self.address, "shard_export", given)
        });
        let lines = &mut self.lines;
        let fetched = cursor.fetch(FETCHED, |row| {
            let row = row.values();
            let tenant_id = row.at(0).map_or("", text).to_string();
            let place = (tenant_id, row.at(1).map_or(-1, Datum::i16), row.at(2).map_or(0, Datum::i64));
            lines.push_back((place, row.at(3).map_or("", text).to_string()));
        });
        self.fetched += fetched;
        if let Some((place, _)) = self.lines.back() {
            self.after = Some(place.clone());
        }
        if fetched > 0 {
            self.cursor = Some(cursor);
            return;
        }
        cursor.close();
        self.ended = self.fetched == 0;
        self.after = self.after.take().map(|(tenant_id, _, _)| end_of(tenant_id));
    }
}

/// An export that is under way.
pub struct ShardExport {
    shards: Vec<Shard>,
    filters: String,
    lines: Verifiable,
    is_lent: bool,
    begun: bool,
    ended: bool,
}

impl ShardExport {
    /// Begins an export of the events that pass these filters, with the caller's rights or the owner's.
    pub fn begin<'c>(
        given: impl Fn(usize) -> Option<Datum<'c>>,
        tenant_id: Option<&str>,
        lines: Verifiable,
        is_lent: bool,
    ) -> ShardExport {
        let addresses = tenant_id.map_or_else(tenants_of_shards, |tenant_id| vec![tenant_id.to_string()]);
        ShardExport {
            shards: addresses.into_iter().map(Shard::of).collect(),
            filters: json(given),
            lines,
            is_lent,
            begun: false,
            ended: false,
        }
    }

    /// The next line of all shards.
    fn event(&mut self) -> Option<String> {
        for shard in &mut self.shards {
            shard.fill(&self.filters);
        }
        let next = self.shards.iter_mut().filter(|shard| !shard.lines.is_empty());
        let next = next.min_by(|a, b| a.place().cmp(&b.place()))?;
        let ((tenant_id, lane, _), line) = next.lines.pop_front()?;
        Some(self.lines.of_another_node(&tenant_id, lane, line))
    }

    fn line(&mut self) -> Option<String> {
        if !self.begun {
            self.begun = true;
            return Some(self.lines.header());
        }
        if self.ended {
            return None;
        }
        self.event().or_else(|| {
            self.ended = true;
            Some(self.lines.end())
        })
    }
}

impl Series for ShardExport {
    fn next<'c>(&mut self, memory: Memory<'c>) -> Option<Datum<'c>> {
        let line = match self.is_lent {
            true => with_rights_of_owner(|| self.line()),
            false => self.line(),
        };
        line.map(|line| memory.text(&line))
    }

    fn close(&mut self) {
        self.shards.iter().flat_map(|shard| &shard.cursor).for_each(spi::Cursor::close);
    }
}

/// The filters that are given, by their names.
fn json<'c>(given: impl Fn(usize) -> Option<Datum<'c>>) -> String {
    let members = FILTERS.iter().enumerate().filter_map(|(index, (name, oid))| {
        let value = given(index)?;
        let mut written = String::new();
        match *oid {
            pg_sys::TEXTOID => write_string(text(value), &mut written),
            _ => written = any_micros(value).to_string(),
        }
        Some(format!("\"{name}\":{written}"))
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// Reads what [`json`] wrote. Raises 22023 for anything else.
fn filters(call: Call<'_>, index: usize) -> Filters<'_> {
    let refuse = || -> ! {
        Fault::invalid("filters", "filters is not what immutable.export_events() passes")
            .hint("Call immutable.export_events() instead.")
            .raise()
    };
    let Some(json) = call.arg(index).map(Jsonb::new).filter(|json| json.kind() == Kind::Object) else { refuse() };
    let memory = call.memory();
    let mut values = [None; FILTERS.len()];
    json.members(|name, value| {
        let Some(index) = FILTERS.iter().position(|(known, _)| *known == name) else { refuse() };
        values[index] = match (FILTERS[index].1, value) {
            (pg_sys::TEXTOID, Member::Text(value)) => Some(memory.text(&value)),
            (pg_sys::TIMESTAMPTZOID, Member::Number(micros)) => {
                Some(timestamptz(micros.parse().unwrap_or_else(|_| refuse())))
            }
            _ => refuse(),
        };
    });
    Filters::of_values(memory, |index| values[index])
}

sql_function!(immutable_shard_export, pg_finfo_immutable_shard_export, shard_export);

/// `immutable.shard_export(here, tenant_id, after_tenant, after_lane, after_seq, filters)`: a page of lines.
fn shard_export(call: Call) -> Datum {
    proof::require(Scope::Export);
    let address = call.required(1, "tenant_id", "Call immutable.export_events() instead.");
    let mut filters = filters(call, 5);
    let clause = filters.where_clause();
    let after = match (call.arg(2), call.arg(3), call.arg(4)) {
        (Some(tenant_id), Some(lane), Some(seq)) => {
            let tenant_id = filters.argument(Arg::Given(pg_sys::TEXTOID, tenant_id));
            let lane = filters.argument(Arg::Int2(lane.i16()));
            let seq = filters.argument(Arg::Int8(seq.i64()));
            let and = if clause.is_empty() { "WHERE" } else { "AND" };
            format!(" {and} (e.tenant_id, e.lane, e.seq) > (${tenant_id}, ${lane}, ${seq})")
        }
        _ => String::new(),
    };
    let statement = format!("SELECT e.* FROM immutable.events e{clause}{after} ORDER BY e.tenant_id, e.lane, e.seq");
    let mut rows = call.rows();
    let (mut events, mut bytes, mut layout, mut last) = (0, 0, None, String::new());
    on_own_shard(text(address), || {
        spi::stream_while(&statement, &filters.arguments, |tuple| {
            let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
            let row = tuple.values();
            let place = position(&row, layout);
            if place.tenant_id != last {
                if events >= PAGE_EVENTS || bytes >= PAGE_BYTES {
                    return false;
                }
                last = place.tenant_id.to_string();
            }
            let line = line(&row, layout, &place);
            events += 1;
            bytes += line.len();
            here(|memory| {
                rows.put(&[
                    Some(memory.text(&place.tenant_id)),
                    Some(Datum::from(place.lane)),
                    Some(Datum::from(place.seq)),
                    Some(memory.text(&line)),
                ]);
            });
            true
        });
    });
    call.null()
}
