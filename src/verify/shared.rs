//! What the processes of a run share in memory: how far they are, and which rows the tree covers.

use crate::pg::shared::{self, Contents, Segment};
use crate::verify::run::Run;
use immutable_format::sum::SumKey;
use immutable_format::{sha256, Hash};
use std::cell::Cell;

thread_local! {
    /// The proof of the run that this process worked for last.
    static PROOF: Cell<(SumKey, Hash)> = const { Cell::new(([0; 16], [0; 32])) };
}

/// A hash of the run's key. A user who calls verify_event() directly can name any segment of shared
/// memory, but cannot give a key that hashes to what is in it.
fn proof(run: &Run) -> Hash {
    let (key, known) = PROOF.get();
    if key == run.key && known != Hash::default() {
        return known;
    }
    let proof = sha256(&[b"immutable progress", &run.key]);
    PROOF.set((run.key, proof));
    proof
}

/// Creates the shared memory, and puts its handle into `run`. It is released when the segment is
/// dropped.
pub fn create(run: &mut Run, numbers: [i64; 4], table: &[u64]) -> Segment {
    let segment = Segment::create(proof(run), numbers, table);
    run.shared = segment.handle();
    segment
}

/// Runs `body` with the run's shared memory, if it is there.
pub fn with<T>(run: &Run, body: impl FnOnce(&Contents) -> T) -> Option<T> {
    shared::with(run.shared, &proof(run), body)
}
