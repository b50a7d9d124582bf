//! What runs at the shard of a distributed log, for [`crate::read::shards`]: the same reading as on one machine, with the
//! rights of the role that asks. The arguments can only narrow what the role sees. So it does no harm if somebody calls
//! these functions who is not the log.

use crate::access::proof::{self, Opened, Scope};
use crate::log::distributed::on_own_shard;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{bytes, text, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::Jsonb;
use crate::read::answer::{texts_of, Rows};
use crate::read::changes::of_tenant;
use crate::read::events::{events_of_id, put_events};
use crate::read::filter::{Filters, FILTERS, TO_DATE};
use crate::read::probe::{bind, is_limited, Order};
use crate::read::query::{Asked, Query};
use immutable_format::cursor::{PageCursor, Way};

/// The second argument of these functions is the tenant whose shard is read; the first one is of no interest.
const SHARD: usize = 1;

const FIRST_FILTER: usize = 2;

const ACTOR: usize = FIRST_FILTER + FILTERS.len();

const LIMITED: usize = ACTOR + 1;

const CURSOR: usize = LIMITED + 1;

const OLDEST_FIRST: usize = CURSOR + 3;

const MOST: usize = OLDEST_FIRST + 1;

const COUNTED: usize = MOST + 1;

/// Runs `body` on the shard of the tenant that the call names.
fn on_shard<T>(call: Call, body: impl FnOnce() -> T) -> T {
    on_own_shard(text(call.required(SHARD, "tenant_id", HINT)), body)
}

const HINT: &str = "Call immutable.get_events(), which calls this function.";

/// A number of rows.
fn count_of(call: Call, index: usize) -> usize {
    let given = call.arg(index).map_or(0, Datum::i64);
    usize::try_from(given).ok().filter(|given| (1..=10_000).contains(given)).unwrap_or_else(|| {
        Fault::new(Code::ERRCODE_INVALID_PARAMETER_VALUE, "the number of rows must be from 1 to 10000")
            .hint(HINT)
            .raise()
    })
}

fn is(call: Call, index: usize) -> bool {
    call.arg(index).is_some_and(Datum::bool)
}

/// What the call asks for.
fn asked(call: Call<'_>) -> Asked<'_> {
    let values = std::array::from_fn(|index| {
        let given = call.arg(FIRST_FILTER + index)?;
        Some(if index < TO_DATE - 1 { given } else { Datum::from(given.i64()) })
    });
    let cursor = call.arg(CURSOR).map(|created_at| PageCursor {
        created_at: created_at.i64(),
        id: call.arg(CURSOR + 1).map(uuid).unwrap_or_default(),
        tenant_id: call.arg(CURSOR + 2).and_then(|tenant_id| hex::decode(bytes(tenant_id)).ok()).unwrap_or_default(),
    });
    Asked {
        values,
        filters: Filters::of_values(call.memory(), |index| values[index]),
        cursor,
        way: Way::Next,
        order: if is(call, OLDEST_FIRST) { Order::OldestFirst } else { Order::NewestFirst },
    }
}

/// The query of the call. Who asks with the owner's rights for somebody whom row security limits says so: what that one
/// is not to learn from a count or from the time that it takes is not used.
fn query<'c>(call: Call<'c>, opened: &Opened) -> Query<'c> {
    let mut asked = asked(call);
    let is_limited = is_limited();
    bind(&mut asked.filters, is_limited, opened);
    if let Some(actor_id) = call.arg(ACTOR) {
        asked.filters.bind_actor(text(actor_id));
    }
    Query::bound(asked, is_limited, is(call, LIMITED))
}

sql_function!(immutable_shard_page, pg_finfo_immutable_shard_page, shard_page);

/// `immutable.shard_page(here, tenant_id, …)`: the rows of a page, one more than it has, and the total.
fn shard_page(call: Call<'_>) -> Datum<'_> {
    let opened = proof::require(Scope::Read);
    let rows = on_shard(call, || Rows::read(&query(call, &opened), count_of(call, MOST), is(call, COUNTED)));
    call.memory().texts(&texts_of(rows))
}

sql_function!(immutable_shard_found, pg_finfo_immutable_shard_found, shard_found);

/// `immutable.shard_found(here, tenant_id, …)`: the rows of a page as they are.
fn shard_found(call: Call<'_>) -> Datum<'_> {
    let opened = proof::require(Scope::Read);
    let mut set = call.rows();
    on_shard(call, || put_events(&query(call, &opened), count_of(call, MOST), &mut set));
    call.null()
}

sql_function!(immutable_shard_event, pg_finfo_immutable_shard_event, shard_event);

/// `immutable.shard_event(here, tenant_id, id, of_tenant, actor_id)`
fn shard_event(call: Call<'_>) -> Datum<'_> {
    let opened = narrowed(proof::require(Scope::Read), call.arg(4));
    let Some(id) = call.arg(2) else { return call.null() };
    call.memory().texts(&on_shard(call, || events_of_id(id, call.arg(3), &opened)))
}

sql_function!(immutable_shard_feed, pg_finfo_immutable_shard_feed, shard_feed);

/// `immutable.shard_feed(here, tenant_id, after, most, actor_id)`
fn shard_feed(call: Call<'_>) -> Datum<'_> {
    let opened = narrowed(proof::require(Scope::Read), call.arg(4));
    let tenant_id = call.required(SHARD, "tenant_id", HINT);
    let after = call.arg(2).map(|after| Jsonb::new(call.memory().jsonb(text(after))));
    on_shard(call, || call.text(&of_tenant(call.memory(), tenant_id, after, count_of(call, 3), &opened)))
}

/// What a proof opens, and of that one actor's events alone if there is one. Raises 42501 if the proof opens another's.
fn narrowed(mut opened: Opened, actor_id: Option<Datum>) -> Opened {
    let Some(actor_id) = actor_id.map(|actor_id| text(actor_id).to_string()) else { return opened };
    if opened.actor_id.as_ref().is_some_and(|own| *own != actor_id) {
        let message = "the proof opens events of another actor alone";
        Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, message).field("actor_id").hint(HINT).raise()
    }
    opened.actor_id = Some(actor_id);
    opened
}
