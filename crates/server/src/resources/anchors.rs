//! `GET /api/v1/anchors`, one of them, and what it is worth; the same in part without a key under
//! `/api/v1/public/anchors`.
//!
//! An anchor of the hosted service is a Merkle root in a blockchain. Here it is a signed checkpoint of
//! the tree over all events, and what makes it worth something is that a witness cosigned it: then it
//! is `confirmed`. There is no chain, and so no transaction.

use super::parameters::Parameters;
use super::public::{of_server, Public};
use super::refusals::{is_of, not_found};
use crate::app::App;
use crate::database::call::Call;
use crate::http::answer;
use crate::http::credentials::Credentials;
use crate::http::problem::Problem;
use crate::http::segment::Segment;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::Router;
use immutable_format::tlog::checkpoint::Checkpoint;
use immutable_format::tlog::parse_hash;
use immutable_format::tlog::tree::is_consistent;
use immutable_format::Hash;
use serde::Deserialize;
use serde_json::{json, Value};

/// The anchors and what stands beside each. The anchor before is the last one that was cosigned,
/// because others are not kept. `$1` is an id, `$2` a root in hex, `$3` the most of them.
const ANCHORS: &str = "WITH kept AS ( \
        SELECT c.*, 'anc_' || left(encode(sha256(convert_to(c.origin, 'UTF8')), 'hex'), 8) || '_' || c.size AS id, \
            encode(c.root, 'hex') AS merkle_root, \
            max(c.size) FILTER (WHERE c.cosigned_at IS NOT NULL) \
                OVER (PARTITION BY c.origin ORDER BY c.size ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before \
        FROM immutable.checkpoints c) \
    SELECT coalesce(json_agg(json_build_object( \
        'id', k.id, 'merkle_root', k.merkle_root, \
        'previous_anchor_hash', encode(sha256(convert_to(p.merkle_root, 'UTF8')), 'hex'), \
        'events_count', k.size, 'new_events', k.size - coalesce(p.size, 0), \
        'period_start', to_char(p.signed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
        'period_end', to_char(k.signed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
        'chain', 'none', 'status', CASE WHEN k.cosigned_at IS NULL THEN 'pending' ELSE 'confirmed' END, \
        'tx_hash', NULL, 'block_number', NULL, 'explorer_url', NULL, \
        'created_at', to_char(k.signed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
        'cosigned_by', k.cosigned_by, \
        'cosigned_at', to_char(k.cosigned_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
        'checkpoint', k.note) ORDER BY k.signed_at DESC, k.size DESC), '[]')::text \
    FROM (SELECT * FROM kept WHERE id = coalesce($1, id) AND merkle_root = coalesce($2, merkle_root) \
          ORDER BY signed_at DESC, size DESC LIMIT $3::text::integer) k \
    LEFT JOIN kept p ON p.origin = k.origin AND p.size = k.before";

/// The hashes of the first and the last event that a tree of this size covers.
const ENDS: &str = "SELECT json_build_object( \
    'first', encode(substr(immutable.entries(0, 1), 3), 'hex'), \
    'last', encode(substr(b.bundle, length(b.bundle) - 31), 'hex'))::text \
    FROM (SELECT immutable.entries(($1::text::bigint - 1) / 256, (1 + ($1::text::bigint - 1) % 256)::integer)) b(bundle)";

/// The head of the tree, and the proof that it continues the tree of a size.
const HEAD: &str = "SELECT json_build_object('head', immutable.tree_head(), \
    'proof', immutable.consistency_proof($1::text::bigint))::text";

const BETWEEN: &str = "SELECT immutable.consistency_proof($1::text::bigint, $2::text::bigint)";

/// The most anchors of a list.
const MOST: i64 = 100;

/// The routes of this resource.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/anchors", get(list))
        .route("/api/v1/anchors/{id}", get(one))
        .route("/api/v1/anchors/{id}/verify", get(verify))
        .route("/api/v1/public/anchors/lookup", get(lookup))
        .route("/api/v1/public/anchors/{id}/verify", get(verify_publicly))
}

/// Anchors as JSON.
async fn anchors(
    app: &App,
    credentials: &Credentials,
    [id, root, limit]: [Option<String>; 3],
) -> Result<Vec<Value>, Problem> {
    let call = Call { statement: ANCHORS, arguments: vec![id, root, limit] };
    let found = app.database.call(credentials, call).await?.unwrap_or_default();
    serde_json::from_str(&found).map_err(|_| super::page::unreadable())
}

/// The anchor with this id.
async fn anchor(app: &App, credentials: &Credentials, id: String) -> Result<Value, Problem> {
    // A NUL would be an error of PostgreSQL's.
    let id = if id.contains('\0') { String::new() } else { id };
    let found = anchors(app, credentials, [Some(id), None, None]).await?;
    found.into_iter().next().ok_or_else(|| not_found("anchor"))
}

fn data(data: &Value) -> Response {
    answer::json(StatusCode::OK, json!({ "data": data }).to_string())
}

async fn list(State(app): State<App>, credentials: Credentials, parameters: Parameters) -> Result<Response, Problem> {
    let limit = parameters.only(&["limit"])?.within("limit", 1, MOST)?.unwrap_or(25);
    let found = anchors(&app, &credentials, [None, None, Some(limit.to_string())]).await?;
    Ok(data(&Value::Array(found)))
}

async fn one(State(app): State<App>, credentials: Credentials, Segment(id): Segment) -> Result<Response, Problem> {
    let mut anchor = anchor(&app, &credentials, id).await?;
    let call = Call { statement: ENDS, arguments: vec![Some(anchor["events_count"].to_string())] };
    let ends = match app.database.call(&credentials, call).await {
        Ok(ends) => serde_json::from_str(&ends.unwrap_or_default()).unwrap_or(Value::Null),
        // They are events of any tenant, which a key of one does not open; and a log may have lost them.
        Err(problem) if problem.status == StatusCode::FORBIDDEN || is_broken(&problem) => Value::Null,
        Err(problem) => return Err(problem),
    };
    anchor["first_event_hash"] = ends["first"].clone();
    anchor["last_event_hash"] = ends["last"].clone();
    Ok(data(&anchor))
}

/// Whether the tree is damaged, or does not have what a checkpoint says.
fn is_broken(problem: &Problem) -> bool {
    ["XX001", "22023", "P0002"].iter().any(|sqlstate| is_of(problem, sqlstate))
}

async fn verify(State(app): State<App>, credentials: Credentials, Segment(id): Segment) -> Result<Response, Problem> {
    verified(&app, &credentials, id).await
}

async fn verify_publicly(
    State(app): State<App>,
    Public(credentials): Public,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    verified(&app, &credentials, id).await.map_err(of_server)
}

async fn lookup(
    State(app): State<App>,
    Public(credentials): Public,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let parameters = parameters.only(&["tx_hash", "merkle_root"])?;
    let (transaction, root) = (parameters.text("tx_hash")?, parameters.text("merkle_root")?);
    match (transaction, root) {
        (None, None) => Err(Problem::invalid("tx_hash", "The tx_hash parameter is required.")),
        // No anchor has a transaction.
        (Some(_), _) => Err(not_found("anchor")),
        (None, Some(root)) => {
            let found = anchors(&app, &credentials, [None, Some(root.to_ascii_lowercase()), Some(String::from("1"))]);
            found.await.map_err(of_server)?.first().map(data).ok_or_else(|| not_found("anchor"))
        }
    }
}

/// A tree by its size and root.
#[derive(Clone, Copy)]
struct Tree {
    size: u64,
    root: Hash,
}

impl Tree {
    fn of(anchor: &Value) -> Option<Tree> {
        let mut root = [0; 32];
        hex::decode_to_slice(anchor["merkle_root"].as_str()?, &mut root).ok()?;
        Some(Tree { size: anchor["events_count"].as_u64()?, root })
    }

    /// Whether the other tree begins with this one, as the proof shows.
    fn is_continued_by(self, other: Tree, proof: &str) -> bool {
        let hashes: Option<Vec<Hash>> = proof.lines().map(|line| parse_hash(line).ok()).collect();
        hashes.is_some_and(|hashes| is_consistent((self.size, &self.root), (other.size, &other.root), &hashes))
    }
}

/// The head of the tree as it is now.
#[derive(Deserialize)]
struct Head {
    head: String,
    proof: String,
}

/// Whether the tree that the log has now begins with the anchor's, and the anchor's with the one
/// before.
async fn verified(app: &App, credentials: &Credentials, id: String) -> Result<Response, Problem> {
    let anchor = anchor(app, credentials, id).await?;
    let tree = Tree::of(&anchor).ok_or_else(super::page::unreadable)?;
    let valid = is_in_head(app, credentials, tree).await?;
    let before = before(app, credentials, &anchor).await?;
    let chain_valid = match before {
        Some(before) => continues(app, credentials, before, tree).await?,
        None => true,
    };
    Ok(data(&json!({
        "anchor_id": anchor["id"], "merkle_root": anchor["merkle_root"], "valid": valid, "chain_valid": chain_valid,
        "expected": anchor["merkle_root"], "actual": if valid { anchor["merkle_root"].clone() } else { Value::Null },
        "events_count": anchor["events_count"], "tx_hash": null, "explorer_url": null, "status": anchor["status"],
        "cosigned_by": anchor["cosigned_by"], "checkpoint": anchor["checkpoint"],
    })))
}

async fn is_in_head(app: &App, credentials: &Credentials, tree: Tree) -> Result<bool, Problem> {
    let call = Call { statement: HEAD, arguments: vec![Some(tree.size.to_string())] };
    let found = match app.database.call(credentials, call).await {
        Ok(found) => found.unwrap_or_default(),
        Err(problem) if is_broken(&problem) => return Ok(false),
        Err(problem) => return Err(problem),
    };
    let Head { head, proof } = serde_json::from_str(&found).map_err(|_| super::page::unreadable())?;
    let head = Checkpoint::parse(&head).map_err(|_| super::page::unreadable())?;
    Ok(tree.is_continued_by(Tree { size: head.size, root: head.root }, &proof))
}

async fn continues(app: &App, credentials: &Credentials, before: Tree, tree: Tree) -> Result<bool, Problem> {
    let call = Call { statement: BETWEEN, arguments: vec![Some(before.size.to_string()), Some(tree.size.to_string())] };
    match app.database.call(credentials, call).await {
        Ok(proof) => Ok(before.is_continued_by(tree, &proof.unwrap_or_default())),
        Err(problem) if is_broken(&problem) => Ok(false),
        Err(problem) => Err(problem),
    }
}

/// The tree of the anchor before this one.
async fn before(app: &App, credentials: &Credentials, anchor: &Value) -> Result<Option<Tree>, Problem> {
    let new = anchor["new_events"].as_u64().unwrap_or_default();
    let count = anchor["events_count"].as_u64().unwrap_or_default();
    let Some(size) = count.checked_sub(new).filter(|size| *size > 0) else { return Ok(None) };
    let id = anchor["id"].as_str().unwrap_or_default();
    let id = id.rsplit_once('_').map_or("", |(name, _)| name);
    let found = anchors(app, credentials, [Some(format!("{id}_{size}")), None, None]).await?;
    Ok(found.first().and_then(Tree::of))
}
