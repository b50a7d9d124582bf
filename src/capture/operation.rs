//! What is done to tracked tables.

/// What is done to a row, or to a whole table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 4] = [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate];

    /// As SQL and `track_table()` call it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Truncate => "truncate",
        }
    }

    /// As the action of the event ends.
    pub fn done(self) -> &'static str {
        match self {
            Operation::Insert => "created",
            Operation::Update => "updated",
            Operation::Delete => "deleted",
            Operation::Truncate => "truncated",
        }
    }
}
