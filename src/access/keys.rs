//! The keys that viewer tokens are signed with: made at first use, rotated, imported. A secret goes from the table into
//! a computation and nowhere else: no statement, no error and no log has it, and copies are wiped.

use crate::access::decision::decide;
use crate::log::own_event::Own;
use crate::log::small_table::Table;
use crate::log::subscription;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{self, bytes, bytes_datum, now, seconds, timestamptz_of_seconds, uuid, uuid_datum, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::random;
use crate::pg::relation::{name, Relation};
use crate::pg::trigger::{trigger_data, BEFORE_INSERT_ROW};
use immutable_format::{token, Id};
use pgrx::pg_sys;
use std::cell::RefCell;
use zeroize::Zeroizing;

/// `immutable.viewer_keys`; its columns are key_id, secret, made_at, accept_until, imported.
const COLUMNS: usize = 5;

/// After this many seconds no token is left that a key has signed before.
pub const RUN_OUT: i64 = token::MAX_LIFETIME + token::LEEWAY;

pub type Secret = Zeroizing<Vec<u8>>;

fn open(lock: u32) -> Table {
    Table::open(c"viewer_keys", COLUMNS, lock)
}

fn each(table: &Table, mut look: impl FnMut(Id, Datum, Option<i64>)) {
    table.rows(None, &[], |row| {
        look(uuid(row.values[0]), row.values[1], (!row.nulls[3]).then(|| seconds(row.values[3])));
    });
}

fn accepted(until: Option<i64>) -> bool {
    until.is_none_or(|until| now() < until)
}

/// Whether tokens of this key are accepted now.
pub fn is_accepted(key: Id) -> bool {
    let mut found = false;
    each(&open(pg_sys::AccessShareLock), |id, _, until| found |= id == key && accepted(until));
    found
}

/// The key, among those accepted now, for which `opens` gives something.
pub fn find<T>(opens: impl Fn(&[u8]) -> Option<T>) -> Option<(Id, T)> {
    let mut found = None;
    each(&open(pg_sys::AccessShareLock), |id, secret, until| {
        if accepted(until) {
            let secret = Secret::new(bytes(secret).to_vec());
            found = found.take().or(opens(&secret).map(|opened| (id, opened)));
        }
    });
    found
}

/// The secret to sign with; made now if there is none.
pub fn signing() -> Secret {
    if let Some(secret) = current(&open(pg_sys::AccessShareLock)) {
        return secret;
    }
    // Nobody else may make one until commit; what another has committed meanwhile is seen after the wait.
    let table = open(pg_sys::ShareRowExclusiveLock);
    current(&table).unwrap_or_else(|| {
        let secret = Secret::new(random::bytes::<32>().to_vec());
        store(&table, &secret, false);
        secret
    })
}

fn current(table: &Table) -> Option<Secret> {
    let mut found = None;
    each(table, |_, secret, until| {
        if until.is_none() {
            found = Some(Secret::new(bytes(secret).to_vec()));
        }
    });
    found
}

/// Below SPI, because a log of statements may hold their parameters.
fn store(table: &Table, secret: &[u8], imported: bool) {
    let row = [
        Some(uuid_datum(&random::bytes())),
        Some(bytes_datum(secret)),
        Some(timestamptz_of_seconds(now())),
        None,
        Some(Datum::from(imported)),
    ];
    table.insert(&row);
}

/// Puts a key in the place of the one that signs.
fn replace(secret: &[u8], imported: bool, revoke_old: bool) {
    let table = open(pg_sys::ShareRowExclusiveLock);
    let types = [pg_sys::TIMESTAMPTZOID];
    if revoke_old {
        table.execute("DELETE FROM immutable.viewer_keys", &[], &[]);
    } else {
        table.execute(
            "DELETE FROM immutable.viewer_keys WHERE accept_until OPERATOR(pg_catalog.<) $1",
            &types,
            &[Some(timestamptz_of_seconds(now()))],
        );
        table.execute(
            "UPDATE immutable.viewer_keys SET accept_until = $1 WHERE accept_until IS NULL",
            &types,
            &[Some(timestamptz_of_seconds(now() + RUN_OUT))],
        );
    }
    store(&table, secret, imported);
}

sql_function!(immutable_rotate_viewer_key, pg_finfo_immutable_rotate_viewer_key, rotate_viewer_key);

/// `immutable.rotate_viewer_key(revoke_old)`
fn rotate_viewer_key(call: Call) -> Datum {
    let revoke_old = call.arg(0).is_some_and(|revoke_old| revoke_old.value() != 0);
    replace(&Secret::new(random::bytes::<32>().to_vec()), false, revoke_old);
    let old = if revoke_old { "refused" } else { "accepted" };
    decide(&Own { action: "immutable.viewer_key_rotated", metadata: &[("old_keys", old)], ..Own::default() });
    Datum::from(0usize)
}

thread_local! {
    /// What the COPY that is running has brought: the first line, and how many.
    static BROUGHT: RefCell<(Option<Secret>, usize)> = const { RefCell::new((None, 0)) };
}

const BEFORE_STATEMENT: u32 = pg_sys::TRIGGER_EVENT_INSERT | pg_sys::TRIGGER_EVENT_BEFORE;

const AFTER_STATEMENT: u32 = pg_sys::TRIGGER_EVENT_INSERT;

sql_function!(immutable_take_viewer_key, pg_finfo_immutable_take_viewer_key, take_viewer_key);

/// The triggers of viewer_key_import: begin, take a line, store. Nothing may be raised while a line is taken, because
/// COPY adds the line to whatever is.
fn take_viewer_key(call: Call) -> Datum {
    let context = (*call.0).context;
    let is_trigger = !context.is_null() && (*context).type_ == pg_sys::NodeTag::T_TriggerData;
    let event = if is_trigger { (*context.cast::<pg_sys::TriggerData>()).tg_event } else { 0 };
    let of_row = event & pg_sys::TRIGGER_EVENT_ROW != 0;
    let before = event & pg_sys::TRIGGER_EVENT_TIMINGMASK == pg_sys::TRIGGER_EVENT_BEFORE;
    if of_row {
        let data = trigger_data(call, BEFORE_INSERT_ROW);
        let row = crate::pg::tuple::Values::of(data.tg_trigtuple, data.tg_relation.descriptor());
        let secret = row.values.first().zip(row.nulls.first()).and_then(|(datum, null)| {
            (is_import(data.tg_relation) && !null).then(|| Secret::new(bytes(*datum).to_vec()))
        });
        BROUGHT.with(|brought| {
            let mut brought = brought.borrow_mut();
            brought.1 += 1;
            brought.0 = secret;
        });
    } else if before {
        let data = trigger_data(call, BEFORE_STATEMENT);
        if !is_import(data.tg_relation) {
            Fault::new(
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("table {} is not immutable.viewer_key_import", data.tg_relation.name()),
            )
            .raise()
        }
        BROUGHT.with(|brought| *brought.borrow_mut() = (None, 0));
    } else {
        trigger_data(call, AFTER_STATEMENT);
        let (secret, lines) = BROUGHT.with(|brought| std::mem::take(&mut *brought.borrow_mut()));
        // A subscription to all tables copies this one, which is empty at its publisher. No key comes that way: a copy is
        // opened by its own.
        if subscription::is_worker() {
            return Datum::from(0usize);
        }
        let secret = secret
            .filter(|secret| lines == 1 && (token::MIN_SECRET_BYTES..=token::MAX_SECRET_BYTES).contains(&secret.len()));
        let Some(secret) = secret else {
            let (min, max) = (token::MIN_SECRET_BYTES, token::MAX_SECRET_BYTES);
            Fault::invalid("secret", format!("a viewer key is one line of {min} to {max} bytes"))
                .hint("COPY immutable.viewer_key_import FROM STDIN: the secret, a line end, and \\.")
                .raise()
        };
        replace(&secret, true, false);
        decide(&Own { action: "immutable.viewer_key_imported", ..Own::default() });
    }
    // For a row: none, so that it is not stored.
    Datum::from(0usize)
}

/// Whether it is the table that the trigger is made for.
fn is_import(relation: Relation) -> bool {
    let schema = pg_sys::get_namespace_oid(c"immutable".as_ptr(), true);
    let import = pg_sys::get_relname_relid(c"viewer_key_import".as_ptr(), schema);
    relation.oid() == import && (*relation.descriptor()).natts == 1 && pg_sys::get_atttype(import, 1) == pg_sys::TEXTOID
}

sql_function!(immutable_refuse_viewer_key, pg_finfo_immutable_refuse_viewer_key, refuse_viewer_key);

/// The rule of viewer_key_import.
fn refuse_viewer_key(_: Call) -> Datum {
    // The log would show the statement beside the error, and the secret in it.
    pg_sys::debug_query_string = std::ptr::null();
    Fault::new(Code::ERRCODE_FEATURE_NOT_SUPPORTED, "a viewer key cannot be inserted")
        .hint("COPY immutable.viewer_key_import FROM STDIN or from a server file: logs keep the literals of an INSERT.")
        .raise()
}

/// The rest of this second: a token issued within the second of a revocation is revoked by it.
pub fn wait_for_next_second() {
    let second = datum::now();
    while datum::now() == second {
        pgrx::check_for_interrupts!();
        // SAFETY: sleeps.
        unsafe { pg_sys::pg_usleep(10_000) };
    }
}
