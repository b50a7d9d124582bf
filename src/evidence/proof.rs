//! inclusion_proof() and consistency_proof(). Both read the tree with the snapshot of the caller's
//! statement and take no transaction ID, so they work on a standby. No proof is given out that was
//! not verified.

use crate::access::proof::{self, Scope};
use crate::evidence::checkpoint::head_or_refuse;
use crate::evidence::entry::{self, Entry};
use crate::evidence::kept_note::{sizes_near, Cosigned, KeptNote};
use crate::evidence::tables::refuse_distributed;
use crate::log::tree::{Damaged, StoredTiles, View};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use immutable_format::id::uuid_text;
use immutable_format::tlog::base64;
use immutable_format::tlog::checkpoint::Checkpoint;
use immutable_format::tlog::proof::Proof;
use immutable_format::tlog::tile::TiledNodes;
use immutable_format::tlog::tree::{consistency, inclusion, is_consistent, is_included, root_of, Nodes};
use immutable_format::Hash;

/// What the caller's statement sees.
pub const VIEW: View = View::Statement;

const CHECKPOINT: &str = "CALL immutable.checkpoint(), as a member of immutable_maintainer, makes a checkpoint that \
    covers all events that are committed by then.";

/// The argument at `index`, a size of the tree. Raises 22023 if it is below zero, and for a size
/// that the tree does not have yet.
pub fn size(call: Call<'_>, index: usize, name: &str, head: &Checkpoint) -> Option<u64> {
    let given = call.arg(index)?.i64();
    let size = u64::try_from(given).ok().filter(|size| *size <= head.size);
    Some(size.unwrap_or_else(|| {
        Fault::invalid(name, format!("{name} must be from 0 to the size of the tree, {}", head.size))
            .hint("immutable.tree_head() shows the size.")
            .raise()
    }))
}

sql_function!(immutable_inclusion_proof, pg_finfo_immutable_inclusion_proof, inclusion_proof);

/// `immutable.inclusion_proof(id, tenant_id, size)`
fn inclusion_proof(call: Call<'_>) -> Datum<'_> {
    refuse_distributed();
    proof::require(Scope::Verify);
    let (entry, ()) = entry::find(call, |_, _, _| ());
    let head = head_or_refuse(VIEW);
    let index = entry.index(VIEW).unwrap_or_else(|damaged| damaged.raise());
    let kept = match (index, call.arg(2).map(Datum::i64)) {
        (None, _) => uncovered(&entry, &head.origin),
        (Some(index), None) => newest(&head.origin, index).unwrap_or_else(|| uncovered(&entry, &head.origin)),
        (Some(index), Some(size)) => of_size(&head.origin, index, size),
    };
    let proof = prove(&entry, index.unwrap_or_default(), &kept);
    call.text(&proof.unwrap_or_else(|damaged| damaged.raise()).text())
}

/// The newest cosigned checkpoint that covers the index, else the newest signed one.
fn newest(origin: &str, index: u64) -> Option<KeptNote> {
    newest_cosigned(origin, index)
        .or_else(|| KeptNote::newest(VIEW, origin).filter(|kept| kept.checkpoint.size > index))
}

/// The newest cosigned checkpoint, if it covers the index.
pub fn newest_cosigned(origin: &str, index: u64) -> Option<KeptNote> {
    let cosigned = Cosigned::newest(VIEW, origin).filter(|cosigned| cosigned.size > index)?;
    Some(cosigned.kept(VIEW, origin).unwrap_or_else(|damaged| damaged.raise()))
}

/// The kept checkpoint of the size that the caller names. Raises 22023 if there is none, and 55000
/// if it does not cover the index.
fn of_size(origin: &str, index: u64, size: i64) -> KeptNote {
    let kept = u64::try_from(size).ok().and_then(|size| KeptNote::of_size(VIEW, origin, size));
    let kept = kept.unwrap_or_else(|| {
        Fault::invalid("size", format!("no checkpoint of size {size} is kept")).hint(near(origin, size)).raise()
    });
    if kept.checkpoint.size <= index {
        let message = format!("the checkpoint of size {size} does not cover the event");
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .field("size")
            .detail(format!("The event's index is {index}."))
            .hint("Give a larger size, or NULL for the newest checkpoint.")
            .raise()
    }
    kept
}

/// A hint that names the sizes next to `size` of which a checkpoint is kept.
pub fn near(origin: &str, size: i64) -> String {
    let sizes: Vec<String> = sizes_near(VIEW, origin, size).iter().flatten().map(i64::to_string).collect();
    match sizes.as_slice() {
        [] => CHECKPOINT.to_string(),
        sizes => {
            format!("The nearest checkpoints that are kept: {}. immutable.checkpoints lists all.", sizes.join(", "))
        }
    }
}

fn uncovered(entry: &Entry, origin: &str) -> ! {
    let newest = KeptNote::newest(VIEW, origin);
    let newest = newest.map_or("No checkpoint is signed.".to_string(), |kept| {
        format!("The newest checkpoint covers {} events.", kept.checkpoint.size)
    });
    Fault::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("no checkpoint covers event {} yet", uuid_text(&entry.id)),
    )
    .detail(newest)
    .hint(CHECKPOINT)
    .raise()
}

/// The proof that the event is at `index` in the tree of the checkpoint, with the lines of its
/// witnesses. It was verified from the event's hash to the root that was signed.
pub fn prove(entry: &Entry, index: u64, kept: &KeptNote) -> Result<Proof, Damaged> {
    let hashes = prove_in(&mut VIEW.nodes(kept.checkpoint.size), entry, index, &kept.checkpoint)?;
    Ok(Proof { extra: None, index, hashes, note: kept.cosigned(VIEW)? })
}

/// The hashes of that proof, from the nodes of the checkpoint's tree.
pub fn prove_in(
    nodes: &mut TiledNodes<StoredTiles>,
    entry: &Entry,
    index: u64,
    checkpoint: &Checkpoint,
) -> Result<Vec<Hash>, Damaged> {
    let Checkpoint { size, root, .. } = *checkpoint;
    let leaf = entry.leaf();
    if nodes.node(0, index)? != leaf {
        let id = uuid_text(&entry.id);
        return Err(Damaged(format!("the leaf at index {index} of the tree is not that of event {id}")));
    }
    let hashes = inclusion(index, size, nodes)?.unwrap_or_default();
    match is_included(&leaf, index, size, &root, &hashes) {
        true => Ok(hashes),
        false => Err(differs(size)),
    }
}

fn differs(size: u64) -> Damaged {
    Damaged(format!("the tiles of the tree do not lead to the root of size {size}"))
}

/// The proof that the tree of size `old` is the beginning of the tree of `new`, whose root is trusted.
/// It was verified.
pub fn prove_consistency(old: u64, new: u64, new_root: &Hash) -> Result<Vec<Hash>, Damaged> {
    let mut nodes = VIEW.nodes(new);
    let old_root = root_of(old, &mut nodes)?;
    verified((old, &old_root), (new, new_root), &mut nodes)
}

fn verified(
    (old, old_root): (u64, &Hash),
    (new, new_root): (u64, &Hash),
    nodes: &mut TiledNodes<StoredTiles>,
) -> Result<Vec<Hash>, Damaged> {
    let proof = consistency(old, new, nodes)?.unwrap_or_default();
    // An empty proof shows nothing of the tiles.
    let fits = !proof.is_empty() || root_of(new, nodes)? == *new_root;
    match fits && is_consistent((old, old_root), (new, new_root), &proof) {
        true => Ok(proof),
        false => Err(differs(new)),
    }
}

sql_function!(immutable_consistency_proof, pg_finfo_immutable_consistency_proof, consistency_proof);

/// `immutable.consistency_proof(old_size, new_size)`
fn consistency_proof(call: Call<'_>) -> Datum<'_> {
    refuse_distributed();
    proof::require(Scope::Verify);
    call.required(0, "old_size", "Give the size of the smaller tree.");
    let head = head_or_refuse(VIEW);
    let old = size(call, 0, "old_size", &head).unwrap_or_default();
    let new = size(call, 1, "new_size", &head).unwrap_or(head.size);
    if old > new {
        Fault::invalid("old_size", format!("old_size must not be above new_size, {new}")).raise()
    }
    let proof = between(old, new, &head).unwrap_or_else(|damaged| damaged.raise());
    let lines: Vec<String> = proof.iter().map(|hash| base64(hash) + "\n").collect();
    call.text(&lines.concat())
}

/// The proof from one size to another, neither of them above the head's. The nodes of the head's tree
/// are those of every smaller tree.
fn between(old: u64, new: u64, head: &Checkpoint) -> Result<Vec<Hash>, Damaged> {
    let mut nodes = VIEW.nodes(head.size);
    let (old_root, new_root) = (root_of(old, &mut nodes)?, root_of(new, &mut nodes)?);
    verified((new, &new_root), (head.size, &head.root), &mut nodes)?;
    verified((old, &old_root), (new, &new_root), &mut nodes)
}
