//! The keys that viewer tokens are signed with: made at first use, rotated or imported. A key
//! leaves the table only for a computation. No statement, error or log contains it, and copies in
//! memory are wiped.

use crate::access::decision::decide;
use crate::log::own_event::LogEvent;
use crate::log::shared_table::copy_of;
use crate::log::small_table::SmallTable;
use crate::log::subscription;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{bytes, seconds, timestamptz_of_seconds, uuid, Datum};
use crate::pg::error::{hide_statement, internal, Code, Fault};
use crate::pg::memory::{here, Memory};
use crate::pg::relation::{named, Relation};
use crate::pg::spi::Arg;
use crate::pg::transaction::now_in_seconds;
use crate::pg::trigger::{TriggerCall, BEFORE_INSERT_ROW};
use crate::pg::{random, transaction};
use immutable_format::{token, Id};
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;
use zeroize::Zeroizing;

/// `immutable.viewer_keys`; its columns are key_id, secret, made_at, accept_until, imported.
const COLUMNS: [Oid; 5] =
    [pg_sys::UUIDOID, pg_sys::BYTEAOID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID, pg_sys::BOOLOID];

/// After this many seconds, all tokens that a key has signed before have expired.
pub const RUN_OUT: i64 = token::MAX_LIFETIME + token::LEEWAY;

/// The secret bytes of a key. They are wiped when this is dropped.
pub type SigningKey = Zeroizing<Vec<u8>>;

fn open(lock: u32) -> SmallTable {
    SmallTable::open(c"viewer_keys", &COLUMNS, lock)
}

fn read() -> SmallTable {
    SmallTable::read(c"viewer_keys", &COLUMNS)
}

/// Calls `look` with each key's id, its secret, and the second (since 1970) until which it is
/// accepted; the key that signs has no such second.
fn each(table: &SmallTable, mut look: impl FnMut(Id, Datum, Option<i64>)) {
    table.rows(None, &[], |row| {
        let (Some(id), Some(secret)) = (row.at(0), row.at(1)) else { internal("a column of a viewer key is NULL") };
        look(uuid(id), secret, row.at(3).map(seconds));
    });
}

fn accepted(until: Option<i64>) -> bool {
    until.is_none_or(|until| now_in_seconds() < until)
}

/// Whether tokens of this key are accepted now.
pub fn is_accepted(key: Id) -> bool {
    let mut found = false;
    each(&read(), |id, _, until| found |= id == key && accepted(until));
    found
}

/// The key, among those accepted now, for which `opens` returns something.
pub fn find<T>(opens: impl Fn(&[u8]) -> Option<T>) -> Option<(Id, T)> {
    let mut found = None;
    each(&read(), |id, secret, until| {
        if accepted(until) {
            let key = SigningKey::new(bytes(secret).to_vec());
            found = found.take().or(opens(&key).map(|opened| (id, opened)));
        }
    });
    found
}

/// The key that signs. It is made now if there is none.
pub fn signing() -> SigningKey {
    if let Some(key) = current(&read()) {
        return key;
    }
    // Until this transaction commits, no other can make a key. A key that was committed meanwhile
    // is seen after the wait.
    let table = open_to_change();
    current(&table).unwrap_or_else(|| {
        let key = new_key();
        store(&table, &key, false);
        key
    })
}

/// The same, unless there is none.
pub fn signing_if_made() -> Option<SigningKey> {
    current(&read())
}

/// Opens the table so that, until this transaction ends, no other changes it.
fn open_to_change() -> SmallTable {
    if copy_of(c"viewer_keys").is_none() {
        return open(pg_sys::ShareRowExclusiveLock);
    }
    // Each node would lock its own copy, and then wait for the others'. Citus lets one transaction after the other
    // change such a table.
    let table = open(pg_sys::RowExclusiveLock);
    forget_old(&table);
    table
}

fn new_key() -> SigningKey {
    SigningKey::new(random::bytes::<32>().to_vec())
}

fn current(table: &SmallTable) -> Option<SigningKey> {
    let mut found = None;
    each(table, |_, secret, until| {
        if until.is_none() {
            found = Some(SigningKey::new(bytes(secret).to_vec()));
        }
    });
    found
}

/// A key as a row of the table.
struct NewKey {
    secret: SigningKey,
    imported: bool,
}

impl NewKey {
    fn row<'m>(&self, memory: Memory<'m>) -> [Option<Datum<'m>>; COLUMNS.len()] {
        [
            Some(memory.uuid(&random::bytes())),
            Some(memory.bytes(&self.secret)),
            Some(timestamptz_of_seconds(now_in_seconds())),
            None,
            Some(Datum::from(self.imported)),
        ]
    }
}

thread_local! {
    /// The key that the running statement takes; see [`store`].
    static NEW: RefCell<Option<NewKey>> = const { RefCell::new(None) };
}

/// A log of statements may contain their parameters. So it does not use SPI, or where Citus has to write the copies
/// of all nodes, a statement that takes the key from a function: Citus sends such rows in a COPY.
fn store(table: &SmallTable, key: &[u8], imported: bool) {
    let new = NewKey { secret: SigningKey::new(key.to_vec()), imported };
    if !table.is_shared() {
        return here(|memory| table.insert(&new.row(memory)));
    }
    NEW.set(Some(new));
    table.execute(
        "INSERT INTO immutable.viewer_keys (key_id, secret, made_at, accept_until, imported) \
         SELECT k.key_id, k.secret, k.made_at, k.accept_until, k.imported FROM immutable.new_viewer_key() k",
        &[],
    );
}

sql_function!(immutable_new_viewer_key, pg_finfo_immutable_new_viewer_key, new_viewer_key);

/// `immutable.new_viewer_key()`
fn new_viewer_key(call: Call) -> Datum {
    let mut rows = call.rows();
    if let Some(new) = NEW.take() {
        rows.put(&new.row(call.memory()));
    }
    call.null()
}

/// Deletes the keys that are no longer accepted.
fn forget_old(table: &SmallTable) {
    table.execute(
        "DELETE FROM immutable.viewer_keys WHERE accept_until OPERATOR(pg_catalog.<) $1",
        &[Arg::seconds(now_in_seconds())],
    );
}

/// Makes a key the one that signs.
fn replace(key: &[u8], imported: bool, revoke_old: bool) {
    let table = open_to_change();
    if revoke_old {
        table.execute("DELETE FROM immutable.viewer_keys", &[]);
    } else {
        forget_old(&table);
        table.execute(
            "UPDATE immutable.viewer_keys SET accept_until = $1 WHERE accept_until IS NULL",
            &[Arg::seconds(now_in_seconds() + RUN_OUT)],
        );
    }
    store(&table, key, imported);
}

sql_function!(immutable_rotate_viewer_key, pg_finfo_immutable_rotate_viewer_key, rotate_viewer_key);

/// `immutable.rotate_viewer_key(revoke_old)`
fn rotate_viewer_key(call: Call) -> Datum {
    let revoke_old = call.arg(0).is_some_and(Datum::bool);
    replace(&new_key(), false, revoke_old);
    let old = if revoke_old { "refused" } else { "accepted" };
    decide(&LogEvent { action: "immutable.viewer_key_rotated", metadata: &[("old_keys", old)], ..LogEvent::default() });
    call.void()
}

thread_local! {
    /// What the running COPY has sent: the last line, and the number of lines.
    static BROUGHT: RefCell<(Option<SigningKey>, usize)> = const { RefCell::new((None, 0)) };
}

const BEFORE_STATEMENT: u32 = pg_sys::TRIGGER_EVENT_INSERT | pg_sys::TRIGGER_EVENT_BEFORE;

const AFTER_STATEMENT: u32 = pg_sys::TRIGGER_EVENT_INSERT;

sql_function!(immutable_take_viewer_key, pg_finfo_immutable_take_viewer_key, take_viewer_key);

/// The triggers of viewer_key_import: begin, take a line, store.
fn take_viewer_key(call: Call) -> Datum {
    let trigger = call.any_trigger();
    if trigger.is_for_row() {
        take_line(call.trigger(BEFORE_INSERT_ROW));
    } else if trigger.is_before() {
        begin_import(call.trigger(BEFORE_STATEMENT));
    } else {
        call.trigger(AFTER_STATEMENT);
        end_import();
    }
    // A row trigger returns no row, so that the line is not stored.
    trigger.nothing()
}

fn begin_import(trigger: TriggerCall) {
    if !is_import(trigger.relation()) {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("table {} is not immutable.viewer_key_import", trigger.relation().name()),
        )
        .raise()
    }
    BROUGHT.with_borrow_mut(|brought| *brought = (None, 0));
}

/// No error may be raised here, because COPY would add the line to it.
fn take_line(trigger: TriggerCall) {
    let line = match is_import(trigger.relation()) {
        true => trigger.row().values().at(0).map(|line| SigningKey::new(bytes(line).to_vec())),
        false => None,
    };
    BROUGHT.with_borrow_mut(|brought| {
        brought.1 += 1;
        brought.0 = line;
    });
}

fn end_import() {
    let (key, lines) = BROUGHT.take();
    // A subscription to all tables copies this table too, which is empty on the publisher. So no
    // key comes this way: a copy makes keys of its own.
    if subscription::is_worker() {
        return;
    }
    let (min, max) = (token::MIN_SECRET_BYTES, token::MAX_SECRET_BYTES);
    let Some(key) = key.filter(|key| lines == 1 && (min..=max).contains(&key.len())) else {
        Fault::invalid("secret", format!("a viewer key must be one line of {min} to {max} bytes"))
            .hint("Use COPY immutable.viewer_key_import FROM STDIN, and send the secret, a line end, and \\.")
            .raise()
    };
    replace(&key, true, false);
    decide(&LogEvent { action: "immutable.viewer_key_imported", ..LogEvent::default() });
}

/// Raises 55000 for any other table.
fn is_import(table: Relation) -> bool {
    table.oid() == named(c"viewer_key_import") && table.descriptor().is_of(&[pg_sys::TEXTOID])
}

sql_function!(immutable_refuse_viewer_key, pg_finfo_immutable_refuse_viewer_key, refuse_viewer_key);

/// The rule of viewer_key_import.
fn refuse_viewer_key(_: Call) -> Datum {
    // The server's log would show the statement with the error, and in it the secret.
    hide_statement();
    Fault::new(Code::ERRCODE_FEATURE_NOT_SUPPORTED, "a viewer key cannot be inserted")
        .hint(
            "Use COPY immutable.viewer_key_import FROM STDIN or from a file on the server, \
             because server logs keep the literals of an INSERT.",
        )
        .raise()
}

/// Waits until this second is over, because a revocation also applies to tokens that are issued in
/// the same second.
pub fn wait_for_next_second() {
    let second = now_in_seconds();
    while now_in_seconds() == second {
        transaction::sleep(10);
    }
}
