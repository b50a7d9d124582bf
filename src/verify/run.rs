//! One run of verification: what its processes share, and what it has counted.

use crate::pg::call::Call;
use crate::pg::datum::bytes;
use crate::pg::error::Fault;
use immutable_format::sum::SumKey;
use immutable_format::Id;

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
    /// Whether max_events left events out.
    pub cut: bool,
    /// The log's identity, if immutable.log has its row.
    pub log_id: Option<Id>,
}

/// What all processes of a run share. It is passed to them as an argument.
#[derive(Clone, Copy, PartialEq)]
pub struct Run {
    pub key: SumKey,
    /// Whether targets are checked.
    pub targets: bool,
    /// The handle of the shared memory that counts progress; 0 if there is none.
    pub progress: u32,
}

impl Run {
    const BYTES: usize = 16 + 1 + 4;

    /// The run as the bytes that [`Run::of`] reads.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.key);
        bytes[16] = u8::from(self.targets);
        bytes[17..].copy_from_slice(&self.progress.to_le_bytes());
        bytes
    }

    /// The run in the argument at `index`. Raises 22023 for other bytes than those of a run.
    pub fn of(call: Call, index: usize) -> Run {
        let given = call.arg(index).map(bytes).and_then(|run| run.try_into().ok());
        let Some(given): Option<[u8; Self::BYTES]> = given else { refuse("run") };
        let mut run = Run { key: SumKey::default(), targets: given[16] != 0, progress: 0 };
        run.key.copy_from_slice(&given[..16]);
        run.progress = u32::from_le_bytes([given[17], given[18], given[19], given[20]]);
        run
    }
}

/// Raises 22023 for an argument that does not come from verify_chain().
pub fn refuse(argument: &str) -> ! {
    Fault::invalid(argument, format!("{argument} is not what immutable.verify_chain() passes"))
        .hint("Call immutable.verify_chain() instead.")
        .raise()
}
