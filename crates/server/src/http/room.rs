//! The memory that bodies may take together.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a body may hold without asking. Those of most clients are smaller.
pub(crate) const SMALL: usize = 64 * 1024;

/// How many bodies of the largest size may be in memory at a time. Whoever sends one has shown nothing yet but
/// something that looks like a key.
const LARGE: u64 = 32;

/// The room for all bodies together that are not small, in pieces of the size of a small one.
pub(crate) fn room(max_body: u64) -> Arc<Semaphore> {
    let pieces = max_body.saturating_mul(LARGE).div_ceil(SMALL as u64);
    Arc::new(Semaphore::new(usize::try_from(pieces).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS)))
}

/// The room that a body takes until its request is answered.
#[derive(Default)]
pub(crate) struct Room {
    taken: Option<OwnedSemaphorePermit>,
    pieces: usize,
}

impl Room {
    /// Takes what a body of so many bytes needs; false if there is no more.
    pub(crate) fn take(&mut self, bytes: usize, from: &Arc<Semaphore>) -> bool {
        let pieces = (bytes / SMALL).saturating_sub(self.pieces);
        let Ok(more) = from.clone().try_acquire_many_owned(u32::try_from(pieces).unwrap_or(u32::MAX)) else {
            return false;
        };
        self.pieces += pieces;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        true
    }
}
