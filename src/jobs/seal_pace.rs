//! The pace of sealing. It works in pieces and sleeps between them, so that writers have the processor and the disk too.

use crate::pg::transaction;

/// How much longer it sleeps than it works.
const SLEEPS: i64 = 3;

/// The longest sleep between two looks for an interrupt, in milliseconds.
const NAP: i64 = 100;

/// When the current piece of work began.
pub struct Pace {
    paced: bool,
    since: i64,
}

impl Pace {
    /// A pace without sleep, unless it is `paced`.
    pub fn new(paced: bool) -> Pace {
        Pace { paced, since: transaction::now() }
    }

    /// Sleeps in proportion to the work since the last pause. Raises PostgreSQL's error if the statement is cancelled.
    pub fn pause(&mut self) {
        let worked = (transaction::now() - self.since) / 1000;
        let mut left = if self.paced { worked * SLEEPS } else { 0 };
        transaction::sleep(0);
        while left > 0 {
            transaction::sleep(left.min(NAP));
            left -= NAP;
        }
        self.since = transaction::now();
    }
}
