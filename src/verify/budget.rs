//! The time that a run may take. When it is up, every process of the run passes over the rows that
//! are left: they are read, but not looked at. A process cannot end the plan that it is in.

use crate::pg::transaction::now;
use crate::verify::run::Run;
use immutable_format::sum::SumKey;
use std::cell::Cell;

/// Rows between two looks at the clock.
const STEP: u32 = 32;

thread_local! {
    /// The run that this process works for, the rows until it looks at the clock again, and whether
    /// the time was up.
    static LOOKED: Cell<(SumKey, u32, bool)> = const { Cell::new(([0; 16], 0, false)) };
}

/// Whether the run's time is up. It looks at the clock for a few of many calls.
pub fn is_over(run: &Run) -> bool {
    if run.deadline == i64::MAX {
        return false;
    }
    let (key, left, over) = LOOKED.get();
    if key == run.key && (over || left > 0) {
        LOOKED.set((key, left.saturating_sub(1), over));
        return over;
    }
    let over = is_up(run);
    LOOKED.set((run.key, STEP, over));
    over
}

/// The same, by the clock.
pub fn is_up(run: &Run) -> bool {
    run.deadline != i64::MAX && now() >= run.deadline
}
