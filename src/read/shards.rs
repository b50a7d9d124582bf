//! Reading from the shards of a distributed log: which shards are asked, with whose rights, and how their answers become
//! one. What a shard answers is [`crate::read::shard`]'s.
//!
//! A role that is bound to a tenant, or sees everything, asks with its own rights, and row security holds at the shard. A
//! viewer's token is read here, at the client's node, and goes no further: the shard is asked for the token's tenant and
//! actor with the rights of the owner.

use crate::access::lent::{are_policies_as_made, has_other_policies, with_rights_of_owner};
use crate::access::proof::Opened;
use crate::access::scope::shown_here;
use crate::log::columns::Layout;
use crate::log::distributed;
use crate::pg::call::elements;
use crate::pg::datum::{text, timestamptz, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::set::Rows as Set;
use crate::pg::spi::Arg;
use crate::pg::tuple::{CopiedTuple, RowBuffer};
use crate::read::answer::{place, rows_of, Rows, Shown};
use crate::read::filter::{TENANT, TO_DATE};
use crate::read::probe::{is_limited, Order};
use crate::read::query::Asked;
use crate::read::total::Total;
use immutable_format::cursor::PageCursor;
use pgrx::pg_sys;

/// Where the events are that a caller sees.
enum Place {
    Nowhere,
    /// In the shard of a tenant.
    At(String),
    /// In all shards.
    Everywhere,
}

/// Who asks the shards, and for what.
struct Reader {
    place: Place,
    /// The one actor whose events the caller sees.
    actor_id: Option<String>,
    /// Whether the shards are asked with the rights of the owner.
    is_owner: bool,
}

impl Reader {
    /// The reader that the caller is. Raises 28000 for a token that is refused.
    fn of(tenant_id: Option<&str>, opened: &Opened) -> Reader {
        let place = |own: Option<String>| match (own, tenant_id) {
            (Some(own), Some(asked)) if own != asked => Place::Nowhere,
            (Some(own), _) => Place::At(own),
            (None, Some(asked)) => Place::At(asked.to_string()),
            (None, None) => Place::Everywhere,
        };
        if !is_limited() {
            return Reader {
                place: place(opened.tenant_id.clone()),
                actor_id: opened.actor_id.clone(),
                is_owner: false,
            };
        }
        // Other policies may show more than the viewers' do. They decide at the shard.
        let alone = are_policies_as_made();
        match shown_here() {
            None if alone => Reader { place: Place::Nowhere, actor_id: None, is_owner: false },
            Some(shown) if !shown.by_role => {
                if has_other_policies() {
                    refuse_token()
                }
                Reader { place: place(shown.tenant_id), actor_id: shown.actor_id, is_owner: true }
            }
            shown => {
                let own = shown.filter(|_| alone).and_then(|shown| shown.tenant_id);
                Reader { place: place(own), actor_id: None, is_owner: false }
            }
        }
    }

    /// A tenant of each of the shards.
    fn shards(&self) -> Vec<String> {
        match &self.place {
            Place::Nowhere => Vec::new(),
            Place::At(tenant_id) => vec![tenant_id.clone()],
            Place::Everywhere => distributed::tenants_of_shards(),
        }
    }

    /// Calls `immutable.<function>`, which returns one value, at each of the shards, with these arguments. Gathers the
    /// values by `each`.
    fn ask<T: Default>(&self, function: &str, arguments: &[Arg], mut each: impl FnMut(&mut T, Datum<'_>)) -> T {
        self.gather(|tenant_id, found| {
            distributed::value_at_tenant(tenant_id, function, arguments, |value| each(found, value));
        })
    }

    /// Gathers by `at` what each of the shards has.
    fn gather<T: Default>(&self, mut at: impl FnMut(&str, &mut T)) -> T {
        loop {
            let mut found = T::default();
            let shards = self.shards();
            for tenant_id in &shards {
                match self.is_owner {
                    true => with_rights_of_owner(|| distributed::as_other(|| at(tenant_id, &mut found))),
                    false => at(tenant_id, &mut found),
                }
            }
            // Of a shard that was split meanwhile, only one half was asked.
            if self.shards() == shards {
                return found;
            }
        }
    }

    fn is_of_many(&self) -> bool {
        matches!(self.place, Place::Everywhere)
    }
}

fn refuse_token() -> ! {
    Fault::new(
        Code::ERRCODE_FEATURE_NOT_SUPPORTED,
        "a viewer token beside policies of other makers is not supported in a distributed log",
    )
    .hint("Use a role without other policies on immutable.events and immutable.event_targets, or bind the role to a tenant: immutable.grant_tenant().")
    .raise()
}

/// The arguments of a shard's functions: the filters and their bounds, what else narrows, and the cursor.
fn arguments<'c>(asked: &Asked<'c>, reader: &'c Reader, most: usize) -> Vec<Arg<'c>> {
    let filter = |(index, value): (usize, &Option<Datum<'c>>)| match index {
        _ if index < TO_DATE - 1 => Arg::given(pg_sys::TEXTOID, *value),
        // As a number, which every session reads alike.
        _ => {
            let value = value.filter(|_| index != TO_DATE || asked.filters.has_end());
            value.map_or(Arg::Null(pg_sys::INT8OID), |time| Arg::Int8(time.i64()))
        }
    };
    let mut arguments: Vec<Arg> = asked.values.iter().enumerate().map(filter).collect();
    if let Place::At(tenant_id) = &reader.place {
        arguments[TENANT] = Arg::text(tenant_id.as_str());
    }
    arguments.push(Arg::maybe_text(reader.actor_id.as_deref()));
    arguments.push(Arg::Given(pg_sys::BOOLOID, Datum::from(reader.is_owner)));
    match &asked.cursor {
        Some(PageCursor { created_at, id, tenant_id }) => {
            arguments.extend([Arg::Int8(*created_at), Arg::Uuid(*id), Arg::text(hex::encode(tenant_id))]);
        }
        None => arguments.extend([pg_sys::INT8OID, pg_sys::UUIDOID, pg_sys::TEXTOID].map(Arg::Null)),
    }
    arguments.push(Arg::Given(pg_sys::BOOLOID, Datum::from(asked.order_read() == Order::OldestFirst)));
    arguments.push(Arg::Int8(most as i64));
    arguments
}

/// The tenant that a call names. Raises 42501 for one that the proof does not open.
fn tenant_asked<'c>(asked: &Asked<'c>, opened: &Opened) -> Option<&'c str> {
    let tenant_id = asked.values[TENANT].map(text)?;
    if opened.key.is_some() || !is_limited() {
        opened.hold_to("tenant_id", tenant_id);
    }
    Some(tenant_id)
}

/// Reads a page of `limit` events, and counts the total if that is asked for.
pub fn page(asked: &Asked, opened: &Opened, limit: usize, is_counted: bool) -> Rows {
    let reader = Reader::of(tenant_asked(asked, opened), opened);
    let mut arguments = arguments(asked, &reader, limit);
    arguments.push(Arg::Given(pg_sys::BOOLOID, Datum::from(is_counted)));
    let (mut events, total) = reader.ask("shard_page", &arguments, |(events, total): &mut (Vec<Shown>, Sum), page| {
        let (of_shard, count) = rows_of(&elements(page, pg_sys::TEXTOID));
        events.extend(of_shard);
        if let Some(count) = count {
            total.add(&count);
        }
    });
    if reader.is_of_many() {
        put_in_order(&mut events, asked.order_read(), limit + 1, |shown: &Shown| &shown.cursor);
    }
    Rows { events, total: is_counted.then_some(total.0) }
}

/// The totals of some shards together.
struct Sum(Total);

impl Default for Sum {
    fn default() -> Sum {
        Sum(Total { events: 0, exact: true })
    }
}

impl Sum {
    fn add(&mut self, of_shard: &Total) {
        self.0.events = self.0.events.saturating_add(of_shard.events);
        self.0.exact &= of_shard.exact;
    }
}

/// Puts the first rows of several shards in order, at most so many.
fn put_in_order<T>(rows: &mut Vec<T>, order: Order, most: usize, place: impl Fn(&T) -> &PageCursor) {
    rows.sort_by(|one, other| {
        let key = |row| {
            let PageCursor { created_at, id, tenant_id } = place(row);
            (pg_order(*created_at), id, tenant_id)
        };
        match order {
            Order::OldestFirst => key(one).cmp(&key(other)),
            Order::NewestFirst => key(other).cmp(&key(one)),
        }
    });
    rows.truncate(most);
}

/// A time of a cursor, which wraps around at the latest times, as PostgreSQL orders it.
fn pg_order(created_at: i64) -> i64 {
    timestamptz(created_at).i64()
}

/// A row of find_events(), and its place.
type Found = (PageCursor, CopiedTuple);

/// Puts the next `limit` events into a set, in the order that is asked for.
pub fn find(asked: &Asked, opened: &Opened, limit: usize, set: &mut Set<'_>) {
    let reader = Reader::of(tenant_asked(asked, opened), opened);
    let arguments = arguments(asked, &reader, limit);
    let put_in_order = |rows: &mut Vec<Found>| put_in_order(rows, asked.order_read(), limit, |row| &row.0);
    let (mut layout, mut buffer) = (None, RowBuffer::default());
    let mut rows = reader.gather(|tenant_id, rows: &mut Vec<Found>| {
        distributed::at_tenant(tenant_id, "shard_found", &arguments, |tuple| {
            let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
            rows.push((buffer.take_apart(tuple, |row| place(row, layout)), CopiedTuple::of(tuple)));
            // What cannot be in the answer is not kept.
            if rows.len() >= 2 * limit {
                put_in_order(rows);
            }
        });
    });
    if reader.is_of_many() {
        put_in_order(&mut rows);
    }
    match asked.order_read() == asked.order {
        true => rows.iter().for_each(|(_, row)| set.put_copied(row)),
        false => rows.iter().rev().for_each(|(_, row)| set.put_copied(row)),
    }
}

/// The events with this id, two at most, as JSON.
pub fn events_of_id(id: Datum, tenant_id: Option<Datum>, opened: &Opened) -> Vec<String> {
    let reader = Reader::of(tenant_id.map(text), opened);
    let of_tenant = match &reader.place {
        Place::At(tenant_id) => Some(tenant_id.as_str()),
        _ => None,
    };
    let arguments =
        [Arg::Given(pg_sys::UUIDOID, id), Arg::maybe_text(of_tenant), Arg::maybe_text(reader.actor_id.as_deref())];
    let mut found = reader.ask("shard_event", &arguments, |found: &mut Vec<String>, events| {
        found.extend(elements(events, pg_sys::TEXTOID).into_iter().flatten().map(|event| text(event).to_string()));
    });
    found.truncate(2);
    found
}

/// The answer of changes() for a tenant, as JSON; None where the caller sees nothing of it. `after` is a position as JSON.
pub fn changes(tenant_id: Datum, after: Option<&str>, limit: usize, opened: &Opened) -> Option<String> {
    let reader = Reader::of(Some(text(tenant_id)), opened);
    let arguments = [Arg::maybe_text(after), Arg::Int8(limit as i64), Arg::maybe_text(reader.actor_id.as_deref())];
    reader.ask("shard_feed", &arguments, |answer, found| *answer = Some(text(found).to_string()))
}
