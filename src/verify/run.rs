//! One run of verification: what its processes share, and what it has counted.

use crate::pg::call::Call;
use crate::pg::datum::bytes;
use crate::pg::error::Fault;
use crate::pg::random;
use crate::verify::scope::Scope;
use immutable_format::sum::SumKey;
use immutable_format::Id;
use std::collections::HashMap;

/// What was found of a lane of which events were pruned.
#[derive(Clone, Copy)]
pub struct Left {
    /// The greatest seq of its events.
    pub last: i64,
    /// How many of the events that a record says to be pruned are still there, if that is known.
    pub still: Option<i64>,
}

/// The same of all such lanes, by tenant and lane.
pub type LeftOver = HashMap<(String, i16), Left>;

/// What a run has counted.
#[derive(Default)]
pub struct Counts {
    pub events: u64,
    /// The sum of the last seq of each lane that was added up.
    pub last_seqs: i64,
    pub chains: u64,
    pub tenants: u64,
    pub erased: u64,
    pub breaks: u64,
    /// The events that are gone with a pruning, as its record says.
    pub pruned: i64,
    /// What was found of the lanes of which events were pruned.
    pub left_over: LeftOver,
    /// Whether max_events, or the end of the time, left something out.
    pub cut: bool,
    /// Whether the end of the time left events out.
    pub passed_over: bool,
    /// The log's identity, if immutable.log has its row.
    pub log_id: Option<Id>,
}

/// What all processes of a run share. It is passed to them as an argument.
#[derive(Clone, Copy, PartialEq)]
pub struct Run {
    pub key: SumKey,
    /// Whether targets are checked.
    pub targets: bool,
    /// Whether progress is counted in shared memory.
    pub progress: bool,
    /// Whether shared memory says which rows the tree over all events covers.
    pub tree: bool,
    /// The handle of the shared memory, if there is any.
    pub shared: u32,
    /// Microseconds since 1970 after which rows are passed over.
    pub deadline: i64,
}

impl Run {
    const BYTES: usize = 16 + 1 + 4 + 8;

    /// A run with a new key.
    pub fn new(scope: &Scope) -> Run {
        Run {
            key: random::bytes(),
            targets: scope.targets,
            progress: false,
            tree: false,
            shared: 0,
            deadline: scope.deadline(),
        }
    }

    /// The run as the bytes that [`Run::of`] reads.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.key);
        bytes[16] = u8::from(self.targets) | u8::from(self.progress) << 1 | u8::from(self.tree) << 2;
        bytes[17..21].copy_from_slice(&self.shared.to_le_bytes());
        bytes[21..].copy_from_slice(&self.deadline.to_le_bytes());
        bytes
    }

    /// The run in the argument at `index`. Raises 22023 for other bytes than those of a run.
    pub fn of(call: Call, index: usize) -> Run {
        let given: Option<&[u8; Self::BYTES]> = call.arg(index).map(bytes).and_then(|run| run.try_into().ok());
        let parts = given.and_then(|given| {
            let (key, rest) = given.split_first_chunk()?;
            let (flags, rest) = rest.split_first()?;
            let (shared, rest) = rest.split_first_chunk()?;
            Some((*key, *flags, u32::from_le_bytes(*shared), i64::from_le_bytes(*rest.first_chunk()?)))
        });
        let Some((key, flags, shared, deadline)) = parts else { refuse("run") };
        Run { key, targets: flags & 1 != 0, progress: flags & 2 != 0, tree: flags & 4 != 0, shared, deadline }
    }
}

/// Raises 22023 for an argument that does not come from verify_chain().
pub fn refuse(argument: &str) -> ! {
    Fault::invalid(argument, format!("{argument} is not what immutable.verify_chain() passes"))
        .hint("Call immutable.verify_chain() instead.")
        .raise()
}
