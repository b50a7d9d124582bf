//! Verification of a distributed log. Each node verifies its own shards, as many at the same time as Citus may have
//! connections to it. Of one tenant the node of its shard verifies the events in the caller's transaction.

use crate::log::{distributed, log_identity};
use crate::pg::datum::text;
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::{Jsonb, Kind, Member};
use crate::pg::setting;
use crate::pg::spi::{self, Arg};
use crate::pg::transaction::now;
use crate::verify::checkpoint::Reached;
use crate::verify::heads::Compared;
use crate::verify::message::{lanes_in, request, sort, Answers, Counted, Piece};
use crate::verify::remote::{literal, run, Node};
use crate::verify::scope::{hash_of, SavedHead, Scope};
use crate::verify::survey::{log_break, survey, Shard, Survey};
use crate::verify::verdict::Verdict;
use immutable_format::id::uuid_text;
use immutable_format::link::{Break, BreakType};
use pgrx::warning;

/// How many breaks each shard may list. What is more is only counted.
const LISTED_OF_SHARD: usize = 100_000;

/// Verifies what is in scope, and calls `report` with every break that is listed.
pub fn verify(scope: &Scope, mut report: impl FnMut(&Break)) -> Verdict {
    refuse_what_nodes_cannot(scope);
    let deadline = scope.max_seconds.map(|_| scope.deadline());
    let mut found = Answers::default();
    match scope.tenant_id.map(text) {
        Some(tenant_id) => of_tenant(scope, tenant_id, &mut found),
        None => {
            of_all(scope, deadline, &mut found);
            refuse_unseen_heads(scope, &found.breaks);
        }
    }
    sort(&mut found.breaks);
    found.breaks.iter().for_each(&mut report);
    let Answers { counts, events_total, heads_checked, breaks, .. } = found;
    if counts.breaks > breaks.len() as u64 && scope.listed > LISTED_OF_SHARD {
        warning!("{} breaks were found, and the first {LISTED_OF_SHARD} of each shard are returned", counts.breaks);
    }
    let compared = Compared { heads: heads_checked, anchoring: heads_checked };
    Verdict::of(scope, counts, events_total, &compared, Reached::default())
}

/// Raises 0A000 for what only one node could do.
fn refuse_what_nodes_cannot(scope: &Scope) {
    if scope.progress {
        distributed::refuse(
            "notices of progress",
            "Leave progress out. To see progress, verify one tenant after the other.",
        );
    }
    if !scope.checkpoints.is_empty() {
        distributed::refuse("checkpoints", "Leave checkpoint out, and pass heads that were saved elsewhere.");
    }
}

/// Raises 25001 if a head is missing because the caller's own transaction has recorded its event: heads() sees the event,
/// and the nodes do not.
fn refuse_unseen_heads(scope: &Scope, breaks: &[Break]) {
    let saved = || scope.heads.iter().chain(scope.since.iter().flat_map(|since| &since.heads));
    for found in breaks.iter().filter(|found| found.seq.is_some()).take(ASKED) {
        let is_of = |head: &&SavedHead| {
            (Some(&head.tenant_id), Some(head.lane), Some(head.seq))
                == (found.tenant_id.as_ref(), found.lane, found.seq)
        };
        let Some(head) = saved().find(is_of).filter(|_| found.kind == BreakType::MissingEvent) else { continue };
        let mut is_own = false;
        spi::query_now_planned_each_time(
            "SELECT e.seq FROM immutable.events e \
             WHERE e.tenant_id = $1 AND e.lane = $2 AND e.seq = $3 AND e.event_hash = $4",
            &[
                Arg::text(head.tenant_id.as_str()),
                Arg::Int2(head.lane),
                Arg::Int8(head.seq),
                Arg::Bytes(head.event_hash.to_vec().into()),
            ],
            |_| is_own = true,
        );
        if is_own {
            Fault::new(
                Code::ERRCODE_ACTIVE_SQL_TRANSACTION,
                "this transaction has recorded events whose heads are to be compared, and the nodes do not see them yet",
            )
            .field("heads")
            .hint("End the transaction first. Or pass tenant_id, to verify one tenant with what the transaction has recorded.")
            .raise()
        }
    }
}

/// How many breaks may be heads that only this transaction sees.
const ASKED: usize = 100;

/// How many seconds are left.
fn left(deadline: Option<i64>) -> Option<f64> {
    deadline.map(|deadline| (deadline - now()) as f64 / 1e6)
}

fn of_tenant(scope: &Scope, tenant_id: &str, found: &mut Answers) {
    let own = |head: &&SavedHead| head.is_in(scope);
    let piece = Piece {
        home: None,
        max_events: scope.max_events,
        heads: scope.heads.iter().filter(own).collect(),
        since: scope.since.as_ref().map(|since| since.heads.iter().filter(own).collect()),
    };
    let asked = request(&limited(scope), scope.max_seconds, None, &[piece]);
    distributed::at_tenant(tenant_id, "shard_verify", &[Arg::Json(asked.into())], |row| {
        if let Some(answer) = row.values().at(0) {
            found.add(Jsonb::new(answer));
        }
    });
    found.counts.log_id = log_identity::known();
    if let (Some(own), Some(there)) = (found.counts.log_id, found.log_id) {
        if own != there {
            let detail =
                format!("immutable.log has the identity of another log, {}, on the tenant's node", uuid_text(&there));
            found.breaks.push(log_break(BreakType::ChainBreak, detail));
            found.counts.breaks += 1;
        }
    }
}

/// The scope with as many breaks as a shard may list.
fn limited<'c>(scope: &Scope<'c>) -> Scope<'c> {
    Scope {
        from_date: scope.from_date,
        to_date: scope.to_date,
        targets: scope.targets,
        listed: scope.listed.min(LISTED_OF_SHARD),
        ..Scope::default()
    }
}

fn of_all(scope: &Scope, deadline: Option<i64>, found: &mut Answers) {
    let Survey { nodes, shards, log_id, breaks } = survey();
    found.counts.log_id = log_id;
    found.counts.breaks = breaks.len() as u64;
    found.breaks = breaks;
    let mut pieces = pieces(scope, &shards, found);
    if let Some(most) = scope.max_events {
        let lanes = lanes(scope, &nodes, &shards, most.saturating_add(1));
        found.counts.cut = share(most, lanes, &mut pieces);
    }
    let mut moved = false;
    let command = |pieces: &[Piece]| request(&limited(scope), left(deadline), None, pieces);
    run_pieces(&nodes, &shards, pieces, command, |answer| match answer {
        Member::Nested(answer) => found.add(answer),
        _ => moved = true,
    });
    if moved {
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "a shard was moved while the log was verified")
            .hint("Call the function again.")
            .raise()
    }
}

/// A piece for each shard, with the saved heads and marks of its tenants. Reports the heads of tenants that have no
/// shard.
fn pieces<'s>(scope: &'s Scope, shards: &[Shard], found: &mut Answers) -> Vec<Piece<'s>> {
    let since = scope.since.as_ref().map(|_| Vec::new());
    let mut pieces: Vec<Piece> =
        shards.iter().map(|shard| Piece { home: Some(shard.home), since: since.clone(), ..Piece::default() }).collect();
    let place = |head: &SavedHead| {
        let hash = hash_of(&head.tenant_id);
        shards.iter().position(|shard| (shard.home.first..=shard.home.last).contains(&hash))
    };
    let mut add = |head: &'s SavedHead, is_mark: bool| match place(head).map(|place| &mut pieces[place]) {
        Some(piece) if is_mark => piece.since.get_or_insert_with(Vec::new).push(head),
        Some(piece) => piece.heads.push(head),
        None => {
            found.heads_checked += 1;
            found.counts.breaks += 1;
            found.breaks.push(Break {
                tenant_id: Some(head.tenant_id.clone()),
                lane: Some(head.lane),
                seq: Some(head.seq),
                expected: Some(head.event_hash.to_vec()),
                ..log_break(BreakType::MissingEvent, "the event of a saved head is gone with its shard".to_string())
            });
        }
    };
    scope.heads.iter().for_each(|head| add(head, false));
    scope.since.iter().flat_map(|since| &since.heads).for_each(|mark| add(mark, true));
    pieces
}

/// The lanes of all shards, with how many events they have among the first ones.
fn lanes(scope: &Scope, nodes: &[Node], shards: &[Shard], most: i64) -> Vec<Counted> {
    let pieces = shards.iter().map(|shard| Piece { home: Some(shard.home), ..Piece::default() }).collect();
    let mut lanes = Vec::new();
    let command = |pieces: &[Piece]| request(&limited(scope), None, Some(most), pieces);
    run_pieces(nodes, shards, pieces, command, |answer| {
        if let Member::Nested(answer) = answer {
            lanes.extend(lanes_in(answer));
        }
    });
    lanes
}

/// Shares the events that are to be verified among the shards: the first ones in the order of tenant and lane. Returns
/// whether there are more.
fn share(most: i64, mut lanes: Vec<Counted>, pieces: &mut [Piece]) -> bool {
    lanes.sort_unstable();
    let mut left = most;
    for piece in pieces.iter_mut() {
        piece.max_events = Some(0);
    }
    for lane in &lanes {
        let taken = lane.events.min(left);
        left -= taken;
        let piece = pieces.iter_mut().find(|piece| piece.home.is_some_and(|home| home.shard == lane.shard));
        if let Some(piece) = piece {
            piece.max_events = piece.max_events.map(|events| events + taken);
        }
        if taken < lane.events {
            return true;
        }
    }
    false
}

/// Lets the nodes do what `command` asks for pieces. Each node gets as many connections as Citus allows, and the pieces
/// are spread over them by size, so that all connections have about the same work.
fn run_pieces<'s>(
    nodes: &[Node],
    shards: &[Shard],
    pieces: Vec<Piece<'s>>,
    command: impl Fn(&[Piece<'s>]) -> String,
    mut each: impl FnMut(Member<'_>),
) {
    let most = connections();
    let mut by_node: Vec<Vec<(i64, Piece)>> = nodes.iter().map(|_| Vec::new()).collect();
    for (shard, piece) in shards.iter().zip(pieces) {
        by_node[shard.node].push((shard.bytes, piece));
    }
    let mut commands = Vec::new();
    for (node, mut pieces) in nodes.iter().zip(by_node) {
        pieces.sort_by_key(|(bytes, _)| -bytes);
        let mut bins: Vec<(i64, Vec<Piece>)> = (0..most.min(pieces.len())).map(|_| (0, Vec::new())).collect();
        for (bytes, piece) in pieces {
            // The largest first, and each to the connection that has the least.
            if let Some((sum, bin)) = bins.iter_mut().min_by_key(|(sum, _)| *sum) {
                *sum += bytes + 1;
                bin.push(piece);
            }
        }
        commands.extend(
            bins.iter().map(|(_, bin)| (node, format!("SELECT immutable.verify_shards({})", literal(&command(bin))))),
        );
    }
    run(&commands, |_, answers| {
        if answers.kind() == Kind::Array {
            answers.each_element(&mut each);
        }
    });
}

/// How many connections to one node a query may have.
fn connections() -> usize {
    let most = setting::value(c"citus.max_adaptive_executor_pool_size");
    most.and_then(|most| most.to_str().ok()?.parse().ok()).unwrap_or(16).max(1)
}
