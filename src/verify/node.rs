//! Verification on the node that has the shards. It runs with the caller's rights, as verify_chain() does.

use crate::access::key_scope::Scope as KeyScope;
use crate::access::proof;
use crate::log::distributed::on_own_shard;
use crate::log::row::stored_text;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::jsonb::Jsonb;
use crate::pg::relation::named_in_schema;
use crate::pg::spi;
use crate::pg::transaction::now;
use crate::verify::message::{answer, break_json, lanes_answer, Request};
use crate::verify::run::refuse;
use crate::verify::scope::{Scope, Sql};
use crate::verify::shard_names::shard_names;
use crate::verify::verdict::verify;
use pgrx::pg_sys;
use std::ffi::CString;

sql_function!(immutable_verify_shards, pg_finfo_immutable_verify_shards, verify_shards);

/// `immutable.verify_shards(request)`: an array with an answer for each piece. A shard that is not here any more has
/// the answer null.
fn verify_shards(call: Call) -> Datum {
    proof::require(KeyScope::Verify);
    let request = read(call, 0);
    let began = now();
    let mut answers = Vec::new();
    for mut piece in request.pieces {
        let Some(home) = piece.home else { refuse("request") };
        let shard = named_in_schema(&CString::new(format!("events_{}", home.shard)).unwrap_or_default());
        if shard == pg_sys::InvalidOid {
            answers.push("null".to_string());
            continue;
        }
        let (events, targets) = shard_names(shard);
        piece.max_seconds = left(request.seconds, began);
        answers.push(spi::on_shard(events, targets, || match request.lanes {
            Some(most) => count_lanes(&piece, most),
            None => verify_piece(&piece),
        }));
    }
    call.memory().jsonb(&format!("[{}]", answers.join(",")))
}

sql_function!(immutable_shard_verify, pg_finfo_immutable_shard_verify, shard_verify);

/// `immutable.shard_verify(here, tenant_id, request)`: the answer for the one piece that is the tenant.
fn shard_verify(call: Call) -> Datum {
    proof::require(KeyScope::Verify);
    let tenant_id = call.arg(1).unwrap_or_else(|| refuse("tenant_id"));
    let Request { mut pieces, seconds, .. } = read(call, 2);
    let (Some(mut piece), true) = (pieces.pop(), pieces.is_empty()) else { refuse("request") };
    (piece.tenant_id, piece.max_seconds) = (Some(tenant_id), seconds);
    let found = on_own_shard(text(tenant_id), || verify_piece(&piece));
    call.memory().jsonb(&found)
}

fn read(call: Call<'_>, index: usize) -> Request<'_> {
    Request::read(Jsonb::new(call.arg(index).unwrap_or_else(|| refuse("request"))))
}

/// How many seconds are left of those that all pieces have together.
fn left(seconds: Option<f64>, began: i64) -> Option<f64> {
    seconds.map(|seconds| seconds - (now() - began) as f64 / 1e6)
}

fn verify_piece(piece: &Scope) -> String {
    let mut listed = Vec::new();
    let verdict = verify(piece, |found| {
        if listed.len() < piece.listed {
            listed.push(break_json(found, true));
        }
    });
    answer(piece.home, &verdict, &listed)
}

/// How many events each lane has among the first ones of the shard.
fn count_lanes<'c>(piece: &Scope<'c>, most: i64) -> String {
    let mut sql = Sql::default();
    let from = piece.from(&mut sql);
    let statement = format!(
        "SELECT s.tenant_id, s.lane, pg_catalog.count(*) FROM (\
           SELECT e.tenant_id, e.lane FROM {from} ORDER BY e.tenant_id, e.lane, e.seq LIMIT {}) s \
         GROUP BY s.tenant_id, s.lane",
        most.max(0)
    );
    let mut lanes = Vec::new();
    spi::read(&statement, &sql.arguments, |row| {
        let tenant_id = row.at(0).and_then(stored_text).unwrap_or_default().to_string();
        lanes.push((tenant_id, row.at(1).map_or(-1, Datum::i16), row.at(2).map_or(0, Datum::i64)));
    });
    lanes_answer(piece.home, &lanes)
}
