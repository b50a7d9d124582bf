//! Reads immutable.tree_runs in the order of the tree, without trust: a row that cannot be a run is
//! an answer, not an error. It is to be read inside of [`as_owner`](super::tree::as_owner).

use crate::log::row::stored_text;
use crate::log::tree::View;
use crate::pg::datum::Datum;
use crate::pg::spi;
use std::collections::VecDeque;

/// A row of immutable.tree_runs that can be one.
pub struct TreeRun {
    pub first_index: u64,
    pub tenant_id: String,
    pub lane: i16,
    pub first_seq: i64,
    pub count: u64,
}

impl TreeRun {
    /// The index after the last of it.
    pub fn end(&self) -> u64 {
        self.first_index + self.count
    }

    /// The seq of the event at an index, which is not before the run.
    pub fn seq(&self, index: u64) -> i64 {
        self.first_seq + (index - self.first_index) as i64
    }
}

/// Reads the runs in the order of their indexes.
pub struct Runs {
    cursor: spi::Cursor,
    /// Rows that were fetched; for one that cannot be a run, its first index.
    ahead: VecDeque<Result<TreeRun, Option<i64>>>,
}

impl Runs {
    /// Begins with the first run.
    pub fn open(view: View) -> Runs {
        let runs = "SELECT r.first_index, r.tenant_id, r.lane, r.first_seq, r.count FROM immutable.tree_runs r \
                    ORDER BY r.first_index";
        let cursor = match view {
            View::Statement => spi::Cursor::open(runs, Vec::new()),
            View::Now => spi::Cursor::open_now(runs, Vec::new()),
        };
        Runs { cursor, ahead: VecDeque::new() }
    }

    /// The next run. The error is the first index of a row that cannot be a run.
    pub fn next(&mut self) -> Option<Result<TreeRun, Option<i64>>> {
        if self.ahead.is_empty() {
            let ahead = &mut self.ahead;
            self.cursor.fetch(256, |tuple| {
                let row = tuple.values();
                let number = |column| row.at(column).map(Datum::i64);
                let run = || {
                    let (first_index, first_seq, count) = (number(0)?, number(3)?, number(4)?);
                    first_index.checked_add(count)?;
                    first_seq.checked_add(count)?;
                    let tenant_id = row.at(1).and_then(stored_text)?.to_string();
                    let lane = row.at(2)?.i16();
                    (first_index >= 0 && first_seq >= 1 && count >= 1).then_some(TreeRun {
                        first_index: first_index as u64,
                        tenant_id,
                        lane,
                        first_seq,
                        count: count as u64,
                    })
                };
                ahead.push_back(run().ok_or(number(0)));
            });
        }
        self.ahead.pop_front()
    }

    /// Ends the query.
    pub fn close(self) {
        self.cursor.close();
    }
}
