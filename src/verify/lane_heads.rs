//! heads(): the last event of every lane.

use crate::access::key_scope::Scope;
use crate::access::lent::{are_policies_as_made, with_rights_of_owner};
use crate::access::proof;
use crate::log::distributed::{self, at_tenant, on_own_shard, tenants_of_shards};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::memory::here;
use crate::pg::spi::{self, Arg};
use crate::pg::toast::readable_text;
use crate::pg::tuple::Tuple;
use crate::verify::run::refuse;
use pgrx::pg_sys;

/// The statement that selects the heads of a tenant, $1, or of all. It takes one step of each table's index for each lane,
/// however long the lanes are: the last event before a lane is the last one of the lane before it. The tables of segments
/// are asked too, because the last event that is left of a lane is in one of them if somebody has removed those behind it.
fn statement(of_tenant: bool) -> String {
    let (first, next) = match of_tenant {
        true => ("WHERE e.tenant_id = $1", "AND e.tenant_id = $1"),
        false => ("", ""),
    };
    let (columns, order) = ("e.tenant_id, e.lane, e.seq, e.event_hash", "e.tenant_id DESC, e.lane DESC, e.seq DESC");
    format!(
        "WITH RECURSIVE heads AS ( \
           (SELECT {columns} FROM immutable.events e {first} ORDER BY {order} LIMIT 1) \
           UNION ALL \
           SELECT n.* FROM heads h CROSS JOIN LATERAL ( \
             SELECT {columns} FROM immutable.events e WHERE (e.tenant_id, e.lane) < (h.tenant_id, h.lane) {next} \
             ORDER BY {order} LIMIT 1) n) \
         SELECT h.tenant_id, h.lane, h.seq, h.event_hash FROM heads h ORDER BY h.tenant_id, h.lane"
    )
}

/// Calls `each` with tenant, lane, seq and hash of every head in the tables that statements mean now.
fn each_here(tenant_id: Option<Datum>, each: impl FnMut(Tuple<'_>)) {
    let given: Vec<Arg> = tenant_id.into_iter().map(|tenant| Arg::Given(pg_sys::TEXTOID, tenant)).collect();
    spi::stream_planned_once(&statement(tenant_id.is_some()), &given, each);
}

/// How many events there are, by the last seq of each lane.
pub fn events(tenant_id: Option<Datum>) -> i64 {
    let mut total = 0_i64;
    each_here(tenant_id, |head| {
        total = total.saturating_add(head.values().at(2).map_or(0, Datum::i64).max(0));
    });
    total
}

sql_function!(immutable_heads, pg_finfo_immutable_heads, heads);

/// `immutable.heads(tenant_id)`
fn heads(call: Call) -> Datum {
    let opened = proof::require(Scope::Verify);
    let mut rows = call.rows();
    if !distributed::is() {
        each_here(call.arg(0), |head| rows.put_tuple(head));
        return call.null();
    }
    let own = opened.tenant_id.as_deref();
    let asked = call.arg(0).map(text);
    if let (Some(own), Some(asked)) = (own, asked) {
        if own != asked {
            return call.null(); // the proof shows nothing of it
        }
    }
    let mut found = Vec::new();
    // At the shards there is no proof: what it opens is what is asked for.
    match proof::is_needed() && are_policies_as_made() {
        true => with_rights_of_owner(|| of_shards(asked.or(own), &mut found)),
        false => of_shards(asked.or(own), &mut found),
    }
    found.sort_unstable();
    for Head { tenant_id, lane, seq, event_hash } in found {
        here(|memory| {
            let hash = event_hash.as_deref().map(|hash| memory.bytes(hash));
            rows.put(&[Some(memory.text(&tenant_id)), Some(Datum::from(lane)), Some(Datum::from(seq)), hash]);
        });
    }
    call.null()
}

/// A head, as a shard has it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    tenant_id: String,
    lane: i16,
    seq: i64,
    event_hash: Option<Vec<u8>>,
}

/// Asks the shard of a tenant, or one after the other, in the caller's transaction.
fn of_shards(tenant_id: Option<&str>, found: &mut Vec<Head>) {
    let addresses = tenant_id.map_or_else(tenants_of_shards, |tenant_id| vec![tenant_id.to_string()]);
    for address in addresses {
        at_tenant(&address, "shard_heads", &[Arg::maybe_text(tenant_id)], |head| {
            let head = head.values();
            found.push(Head {
                tenant_id: head.at(0).map_or(String::new(), |tenant_id| readable_text(tenant_id).to_string()),
                lane: head.at(1).map_or(-1, Datum::i16),
                seq: head.at(2).map_or(0, Datum::i64),
                event_hash: head.at(3).and_then(crate::pg::toast::read).map(<[u8]>::to_vec),
            });
        });
    }
}

sql_function!(immutable_shard_heads, pg_finfo_immutable_shard_heads, shard_heads);

/// `immutable.shard_heads(here, tenant_id, of_tenant)`: the heads of the shard that the tenant is in, or of one of its
/// tenants alone.
fn shard_heads(call: Call) -> Datum {
    proof::require(Scope::Verify);
    let address = call.arg(1).unwrap_or_else(|| refuse("tenant_id"));
    let mut rows = call.rows();
    on_own_shard(text(address), || each_here(call.arg(2), |head| rows.put_tuple(head)));
    call.null()
}
