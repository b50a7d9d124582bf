//! What the buffer keeps, and how: each record is the length of what follows, what it is, and its fields. The bytes do not
//! outlast the transaction, and nobody else reads them.

use crate::capture::tracked::Operation;
use crate::pg::error::internal;
use crate::pg::spool::Reading;

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

const CONTEXT: u8 = 0;
const CHANGE: u8 = 1;
const NOTICE: u8 = 2;

/// Stands for the length of a field that has no value.
const NONE: u32 = u32::MAX;

/// The fields of a record that is written.
pub struct Fields<'r>(&'r mut Vec<u8>);

impl Fields<'_> {
    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(&(text.len() as u32).to_ne_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn maybe(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.0.extend_from_slice(&NONE.to_ne_bytes()),
        }
    }
}

/// Writes a record behind what `record` holds.
pub fn write(record: &mut Vec<u8>, fields: impl FnOnce(&mut Fields<'_>)) {
    let begins = record.len();
    record.extend_from_slice(&[0; 4]);
    fields(&mut Fields(record));
    let length = (record.len() - begins - 4) as u32;
    record[begins..begins + 4].copy_from_slice(&length.to_ne_bytes());
}

/// Writes a context.
pub fn write_context(context: &Context, fields: &mut Fields<'_>) {
    fields.0.push(CONTEXT);
    fields.0.extend_from_slice(&context.occurred_at.to_ne_bytes());
    for text in [&context.resource_type, &context.actor_id, &context.actor_type, &context.tenant_id] {
        fields.text(text);
    }
    for text in [&context.actor_name, &context.session_id, &context.ip_address, &context.user_agent] {
        fields.maybe(text.as_deref());
    }
}

/// Writes a change.
pub fn write_change(change: &Change<'_>, fields: &mut Fields<'_>) {
    fields.0.push(CHANGE);
    fields.0.push(change.operation as u8);
    fields.maybe(change.tenant_id);
    fields.maybe(change.resource_id);
    fields.text(change.targets);
    fields.text(change.metadata);
}

/// Writes an event of the log's own, and who caused it.
pub fn write_notice(notice: &Notice, cause: [&str; 3], fields: &mut Fields<'_>) {
    fields.0.push(NOTICE);
    for text in [&*notice.action, &notice.table, &notice.metadata].into_iter().chain(cause) {
        fields.text(text);
    }
}

/// The next record, without its length; None at the end.
pub fn next<'r>(reading: &'r mut Reading<'_>) -> Option<&'r [u8]> {
    let length = u32::from_ne_bytes(*reading.take(4)?.first_chunk()?);
    Some(reading.take(length as usize).unwrap_or_else(|| cut_off()))
}

fn cut_off() -> ! {
    internal("a captured change is cut off")
}

/// The fields of a record that is read.
struct Unread<'r>(&'r [u8]);

impl<'r> Unread<'r> {
    fn bytes(&mut self, length: usize) -> &'r [u8] {
        let (bytes, rest) = self.0.split_at_checked(length).unwrap_or_else(|| cut_off());
        self.0 = rest;
        bytes
    }

    fn array<const LENGTH: usize>(&mut self) -> [u8; LENGTH] {
        *self.bytes(LENGTH).first_chunk().unwrap_or_else(|| cut_off())
    }

    fn maybe(&mut self) -> Option<&'r str> {
        let length = u32::from_ne_bytes(self.array());
        let bytes = (length != NONE).then(|| self.bytes(length as usize))?;
        Some(std::str::from_utf8(bytes).unwrap_or_else(|_| internal("a captured change is not UTF-8")))
    }

    fn text(&mut self) -> &'r str {
        self.maybe().unwrap_or_else(|| cut_off())
    }

    fn owned(&mut self) -> String {
        self.text().to_string()
    }

    fn maybe_owned(&mut self) -> Option<String> {
        self.maybe().map(str::to_string)
    }
}

/// Reads a record.
pub fn read(record: &[u8]) -> Record<'_> {
    let mut unread = Unread(record);
    let [kind] = unread.array();
    match kind {
        CONTEXT => Record::Context(read_context(&mut unread)),
        CHANGE => Record::Change(read_change(&mut unread)),
        NOTICE => {
            let notice = Notice { action: unread.owned(), table: unread.owned(), metadata: unread.owned() };
            Record::Notice(notice, std::array::from_fn(|_| unread.owned()))
        }
        _ => internal("a captured change is of no known kind"),
    }
}

fn read_context(unread: &mut Unread<'_>) -> Context {
    let occurred_at = i64::from_ne_bytes(unread.array());
    let [resource_type, actor_id, actor_type, tenant_id] = std::array::from_fn(|_| unread.owned());
    let [actor_name, session_id, ip_address, user_agent] = std::array::from_fn(|_| unread.maybe_owned());
    Context {
        resource_type,
        actor_id,
        actor_name,
        actor_type,
        tenant_id,
        session_id,
        ip_address,
        user_agent,
        occurred_at,
    }
}

fn read_change<'r>(unread: &mut Unread<'r>) -> Change<'r> {
    let [operation] = unread.array();
    Change {
        operation: Operation::ALL.into_iter().find(|known| *known as u8 == operation).unwrap_or_else(|| cut_off()),
        tenant_id: unread.maybe(),
        resource_id: unread.maybe(),
        targets: unread.text(),
        metadata: unread.text(),
    }
}
