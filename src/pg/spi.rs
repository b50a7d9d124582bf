//! SPI the way this extension needs it: kept plans, statements run as the tables' owner, and cursors whose memory is
//! bounded. (pgrx's own wrapper keeps every batch of a cursor until the session ends.)

use crate::pg::datum::text;
use crate::pg::error::internal;
use crate::pg::tuple::Values;
use pgrx::pg_sys::{self, Datum, Oid};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};

/// How many events the planner expects under a condition.
pub unsafe fn planned_rows(condition: &str) -> i64 {
    let mut rows = 0;
    explain(&format!("EXPLAIN (FORMAT JSON) SELECT FROM immutable.events e{condition}"), |row| {
        let digits = text(row.values[0]).split("\"Plan Rows\": ").nth(1).unwrap_or_default();
        let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
        rows = digits.parse().unwrap_or(0);
    });
    rows
}

/// How a statement is planned: for the arguments of each call while that pays, or once for any. The latter is for
/// statements whose arguments make no difference to which index is right, where planning would cost more than running.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Planned {
    Each,
    Once,
}

type Statement = (String, Vec<Oid>, Planned);

thread_local! {
    /// Sessions open now, one inside the other: a plan of an outer one is in use.
    static DEPTH: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    static PLANS: RefCell<HashMap<Statement, pg_sys::SPIPlanPtr>> = RefCell::new(HashMap::new());
}

thread_local! {
    /// The tables that stand in for immutable.events and immutable.event_targets; see [`on_shard`].
    static SHARD: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Runs `body` on other tables of events and targets than the log's own, in the statements that name those: on the shards
/// of a node, as a distributed database would. Both names must be quoted already and have no apostrophe, because the
/// statements also have them in literals.
pub fn on_shard<T>(events: String, targets: String, body: impl FnOnce() -> T) -> T {
    struct Restored;
    impl Drop for Restored {
        fn drop(&mut self) {
            SHARD.take();
        }
    }
    let _restored = Restored;
    SHARD.set(Some((events, targets)));
    body()
}

/// The statement with the names of the tables it is to run on.
fn named(statement: &str) -> Cow<'_, str> {
    SHARD.with_borrow(|shard| match shard {
        None => Cow::Borrowed(statement),
        Some((events, targets)) => {
            // The marker keeps one table's name from being looked for in the other's.
            let marked = statement.replace("immutable.event_targets", "\u{1}");
            Cow::Owned(marked.replace("immutable.events", events).replace('\u{1}', targets))
        }
    })
}

/// Plans kept; the filters of find_events() make thousands of different statements possible.
const KEPT: usize = 256;

struct Session;

impl Session {
    unsafe fn connect() -> Session {
        if pg_sys::SPI_connect() != pg_sys::SPI_OK_CONNECT as i32 {
            internal("SPI_connect failed")
        }
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        Session
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
        // SAFETY: connected by connect(). After an error the transaction's end has done it, and this does nothing.
        unsafe { pg_sys::SPI_finish() };
    }
}

/// Owner's rights for the time it lives. An error restores the caller's through the transaction's end.
struct Owner(Oid, i32);

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: restores what was there.
        unsafe { pg_sys::SetUserIdAndSecContext(self.0, self.1) };
    }
}

/// Runs `body` with the rights of the relation's owner.
pub unsafe fn as_owner<T>(relation: pg_sys::Relation, body: impl FnOnce() -> T) -> T {
    let mut user = pg_sys::InvalidOid;
    let mut context = 0;
    pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
    let _restored = Owner(user, context);
    let local = context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
    pg_sys::SetUserIdAndSecContext((*(*relation).rd_rel).relowner, local);
    body()
}

/// The relation's name, quoted and with its schema.
pub unsafe fn qualified_name(relation: pg_sys::Relation) -> String {
    let schema = pg_sys::get_namespace_name((*(*relation).rd_rel).relnamespace);
    let name = pg_sys::quote_qualified_identifier(schema, (*(*relation).rd_rel).relname.data.as_ptr());
    CStr::from_ptr(name).to_string_lossy().into_owned()
}

unsafe fn plan(statement: &str, types: &[Oid], planned: Planned) -> pg_sys::SPIPlanPtr {
    let statement = &*named(statement);
    let key = (statement.to_string(), types.to_vec(), planned);
    if let Some(plan) = PLANS.with(|plans| plans.borrow().get(&key).copied()) {
        return plan;
    }
    let Ok(text) = CString::new(statement) else { internal("a statement with a NUL in it") };
    let options = if planned == Planned::Once { pg_sys::CURSOR_OPT_GENERIC_PLAN } else { 0 };
    let plan = pg_sys::SPI_prepare_cursor(text.as_ptr(), types.len() as i32, types.as_ptr().cast_mut(), options as i32);
    if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
        internal("SPI_prepare failed")
    }
    PLANS.with(|plans| {
        let mut plans = plans.borrow_mut();
        if plans.len() >= KEPT && DEPTH.with(|depth| depth.get() == 1) {
            for (_, old) in plans.drain() {
                pg_sys::SPI_freeplan(old);
            }
        }
        plans.insert(key, plan);
    });
    plan
}

fn arguments(arguments: &[Option<Datum>]) -> (Vec<Datum>, Vec<std::ffi::c_char>) {
    let values = arguments.iter().map(|datum| datum.unwrap_or(Datum::from(0usize))).collect();
    let nulls = arguments.iter().map(|datum| if datum.is_some() { b' ' } else { b'n' } as std::ffi::c_char).collect();
    (values, nulls)
}

/// Runs a statement that writes, with a new snapshot, and gives its RETURNING rows to `each`.
pub unsafe fn write(statement: &str, types: &[Oid], given: &[Option<Datum>], each: impl FnMut(&Values)) {
    run(statement, types, given, Planned::Each, false, each);
}

/// Runs a statement that writes and returns nothing.
pub unsafe fn execute(statement: &str, types: &[Oid], given: &[Option<Datum>]) {
    write(statement, types, given, |_| {});
}

/// Runs a query under the caller's snapshot and gives its rows to `each`. Takes no transaction id, so it works on a hot
/// standby.
pub unsafe fn read(statement: &str, types: &[Oid], given: &[Option<Datum>], each: impl FnMut(&Values)) {
    run(statement, types, given, Planned::Each, true, each);
}

/// The same, planned once.
pub unsafe fn read_planned_once(statement: &str, types: &[Oid], given: &[Option<Datum>], each: impl FnMut(&Values)) {
    run(statement, types, given, Planned::Once, true, each);
}

unsafe fn run(
    statement: &str,
    types: &[Oid],
    given: &[Option<Datum>],
    planned: Planned,
    read_only: bool,
    each: impl FnMut(&Values),
) {
    let _session = Session::connect();
    execute_kept(statement, types, given, planned, read_only);
    each_result(each);
}

/// Runs a statement to its end; its rows are then what SPI calls the result.
unsafe fn execute_kept(statement: &str, types: &[Oid], given: &[Option<Datum>], planned: Planned, read_only: bool) {
    let plan = plan(statement, types, planned);
    let (mut values, nulls) = arguments(given);
    if pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), read_only, 0) < 0 {
        internal("SPI_execute_plan failed")
    }
}

unsafe fn each_result(mut each: impl FnMut(&Values)) {
    let table = pg_sys::SPI_tuptable;
    if table.is_null() {
        return;
    }
    for row in 0..pg_sys::SPI_processed as usize {
        each(&Values::of(*(*table).vals.add(row), (*table).tupdesc));
    }
}

/// Runs a query planned once; its rows go to `each` only if there are `rows` of them.
pub unsafe fn read_if(
    statement: &str,
    types: &[Oid],
    given: &[Option<Datum>],
    rows: usize,
    each: &mut impl FnMut(pg_sys::HeapTuple, pg_sys::TupleDesc),
) -> bool {
    let _session = Session::connect();
    execute_kept(statement, types, given, Planned::Once, true);
    let table = pg_sys::SPI_tuptable;
    let full = pg_sys::SPI_processed as usize >= rows;
    if full {
        for row in 0..rows {
            each(*(*table).vals.add(row), (*table).tupdesc);
        }
    }
    full
}

/// Runs an EXPLAIN, which PostgreSQL does not take for a query that only reads; nothing of it is kept.
pub unsafe fn explain(statement: &str, each: impl FnMut(&Values)) {
    let _session = Session::connect();
    let Ok(text) = CString::new(&*named(statement)) else { internal("a statement with a NUL in it") };
    if pg_sys::SPI_execute(text.as_ptr(), false, 0) < 0 {
        internal("SPI_execute failed")
    }
    each_result(each);
}

/// What a query run by [`complete`] sends its rows to. PostgreSQL knows the first member alone.
#[repr(C)]
struct Receiver<'a> {
    receiver: pg_sys::DestReceiver,
    scratch: pg_sys::MemoryContext,
    each: &'a mut dyn FnMut(&[Datum], &[bool]),
}

unsafe extern "C-unwind" fn nothing_at_startup(_: *mut pg_sys::DestReceiver, _: std::ffi::c_int, _: pg_sys::TupleDesc) {
}

unsafe extern "C-unwind" fn nothing(_: *mut pg_sys::DestReceiver) {}

unsafe extern "C-unwind" fn receive(slot: *mut pg_sys::TupleTableSlot, receiver: *mut pg_sys::DestReceiver) -> bool {
    pg_sys::panic::pgrx_extern_c_guard(|| {
        crate::pg::error::contain(|| {
            let receiver = &mut *receiver.cast::<Receiver>();
            let width = (*(*slot).tts_tupleDescriptor).natts;
            if i32::from((*slot).tts_nvalid) < width {
                pg_sys::slot_getsomeattrs_int(slot, width);
            }
            let values = std::slice::from_raw_parts((*slot).tts_values, width as usize);
            let nulls = std::slice::from_raw_parts((*slot).tts_isnull, width as usize);
            let before = pg_sys::MemoryContextSwitchTo(receiver.scratch);
            (receiver.each)(values, nulls);
            pg_sys::MemoryContextSwitchTo(before);
            pg_sys::MemoryContextReset(receiver.scratch);
        })
    });
    true
}

/// Runs a query to its end under the caller's snapshot and gives its rows to `each`, one by one and without keeping
/// them. PostgreSQL lets such a query, and neither a cursor nor one with a limit, run in parallel. It is planned every
/// time: a kept plan would not see that the settings for parallel plans have changed, or the table.
pub unsafe fn complete(
    statement: &str,
    types: &[Oid],
    given: &[Option<Datum>],
    mut each: impl FnMut(&[Datum], &[bool]),
) {
    let _session = Session::connect();
    let Ok(text) = CString::new(&*named(statement)) else { internal("a statement with a NUL in it") };
    let options = (pg_sys::CURSOR_OPT_PARALLEL_OK | pg_sys::CURSOR_OPT_CUSTOM_PLAN) as i32;
    let plan = pg_sys::SPI_prepare_cursor(text.as_ptr(), types.len() as i32, types.as_ptr().cast_mut(), options);
    if plan.is_null() {
        internal("SPI_prepare_cursor failed")
    }
    let parameters = pg_sys::makeParamList(given.len() as i32);
    for (n, (datum, oid)) in given.iter().zip(types).enumerate() {
        *(*parameters).params.as_mut_ptr().add(n) = pg_sys::ParamExternData {
            value: datum.unwrap_or(Datum::from(0usize)),
            isnull: datum.is_none(),
            pflags: pg_sys::PARAM_FLAG_CONST as u16,
            ptype: *oid,
        };
    }
    let scratch = Scratch::new();
    let mut receiver = Receiver {
        receiver: pg_sys::DestReceiver {
            receiveSlot: Some(receive),
            rStartup: Some(nothing_at_startup),
            rShutdown: Some(nothing),
            rDestroy: Some(nothing),
            mydest: pg_sys::CommandDest::DestTuplestore,
        },
        scratch: scratch.0,
        each: &mut each,
    };
    let options = pg_sys::SPIExecuteOptions {
        params: parameters,
        read_only: true,
        dest: std::ptr::addr_of_mut!(receiver).cast(),
        ..Default::default()
    };
    if pg_sys::SPI_execute_plan_extended(plan, &options) < 0 {
        internal("SPI_execute_plan_extended failed")
    }
}

/// A memory context that is emptied after every row.
struct Scratch(pg_sys::MemoryContext);

impl Scratch {
    unsafe fn new() -> Scratch {
        Scratch(pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"immutable row".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        ))
    }
}

/// Rows fetched at once. A row may be some megabytes, so not many.
const BATCH: i64 = 64;

/// Runs a query like [`read`] but through a cursor: memory is bounded by a batch, whatever the number of rows.
/// `each` gets the row and its descriptor; what it allocates in the current memory context is gone after it.
pub unsafe fn stream(
    statement: &str,
    types: &[Oid],
    given: &[Option<Datum>],
    each: impl FnMut(pg_sys::HeapTuple, pg_sys::TupleDesc),
) {
    fetch(statement, types, given, Planned::Each, true, each);
}

/// The same, planned once.
pub unsafe fn stream_planned_once(
    statement: &str,
    types: &[Oid],
    given: &[Option<Datum>],
    each: impl FnMut(pg_sys::HeapTuple, pg_sys::TupleDesc),
) {
    fetch(statement, types, given, Planned::Once, true, each);
}

/// Like [`stream`], with a new snapshot: it sees what this transaction has written, and what others have committed while
/// it waited for a lock.
pub unsafe fn stream_now(
    statement: &str,
    types: &[Oid],
    given: &[Option<Datum>],
    each: impl FnMut(pg_sys::HeapTuple, pg_sys::TupleDesc),
) {
    fetch(statement, types, given, Planned::Each, false, each);
}

unsafe fn fetch(
    statement: &str,
    types: &[Oid],
    given: &[Option<Datum>],
    planned: Planned,
    read_only: bool,
    mut each: impl FnMut(pg_sys::HeapTuple, pg_sys::TupleDesc),
) {
    let _session = Session::connect();
    let plan = plan(statement, types, planned);
    let (mut values, nulls) = arguments(given);
    let portal = pg_sys::SPI_cursor_open(std::ptr::null(), plan, values.as_mut_ptr(), nulls.as_ptr(), read_only);
    let scratch = Scratch::new();
    while next_rows(portal, BATCH, &scratch, &mut each) > 0 {
        pg_sys::SPI_freetuptable(pg_sys::SPI_tuptable);
    }
    pg_sys::SPI_cursor_close(portal);
}

/// How many rows there are, as far as they were counted.
#[derive(Clone, Copy)]
pub struct Counted {
    pub rows: i64,
    /// Whether these are all.
    pub whole: bool,
}

/// Rows counted between two looks at what it has cost.
const STEP: i64 = 100;

/// Counts the rows of a query planned once, until that has touched more than so many pages of the database: an index alone
/// gives many rows a page, but one that VACUUM has not seen since it was recorded has to be looked up in the table.
pub unsafe fn count_within(statement: &str, types: &[Oid], given: &[Option<Datum>], pages: i64) -> Counted {
    within(statement, types, given, pages, |portal| {
        pg_sys::SPI_cursor_move(portal, true, STEP as _);
        pg_sys::SPI_processed as i64
    })
}

/// Gives the rows of a query planned once to `each`, until that has touched more than so many pages of the database.
pub unsafe fn read_within(
    statement: &str,
    types: &[Oid],
    given: &[Option<Datum>],
    pages: i64,
    mut each: impl FnMut(&Values),
) -> Counted {
    let scratch = Scratch::new();
    within(statement, types, given, pages, |portal| {
        let rows = next_rows(portal, STEP, &scratch, &mut |tuple, descriptor| each(&Values::of(tuple, descriptor)));
        pg_sys::SPI_freetuptable(pg_sys::SPI_tuptable);
        rows as i64
    })
}

unsafe fn within(
    statement: &str,
    types: &[Oid],
    given: &[Option<Datum>],
    pages: i64,
    mut step: impl FnMut(pg_sys::Portal) -> i64,
) -> Counted {
    let _session = Session::connect();
    let plan = plan(statement, types, Planned::Once);
    let (mut values, nulls) = arguments(given);
    let portal = pg_sys::SPI_cursor_open(std::ptr::null(), plan, values.as_mut_ptr(), nulls.as_ptr(), true);
    let before = pages_touched();
    let mut counted = Counted { rows: 0, whole: false };
    while pages_touched() - before <= pages {
        let rows = step(portal);
        counted.rows += rows;
        if rows < STEP {
            counted.whole = true;
            break;
        }
    }
    pg_sys::SPI_cursor_close(portal);
    counted
}

/// Pages of the database that this backend has touched.
unsafe fn pages_touched() -> i64 {
    let usage = std::ptr::addr_of!(pg_sys::pgBufferUsage);
    (*usage).shared_blks_hit + (*usage).shared_blks_read
}

/// Gives the next rows, at most `most`, to `each`; says how many there were. They are left in SPI_tuptable.
unsafe fn next_rows(
    portal: pg_sys::Portal,
    most: i64,
    scratch: &Scratch,
    each: &mut impl FnMut(pg_sys::HeapTuple, pg_sys::TupleDesc),
) -> usize {
    pg_sys::SPI_cursor_fetch(portal, true, most as _);
    let (table, fetched) = (pg_sys::SPI_tuptable, pg_sys::SPI_processed as usize);
    for row in 0..fetched {
        pgrx::check_for_interrupts!();
        let before = pg_sys::MemoryContextSwitchTo(scratch.0);
        each(*(*table).vals.add(row), (*table).tupdesc);
        pg_sys::MemoryContextSwitchTo(before);
        pg_sys::MemoryContextReset(scratch.0);
    }
    fetched
}

/// A query that is read on from call to call. PostgreSQL ends it with the transaction or the savepoint it was begun in; it
/// is known here by name, so that one that is gone already is never touched. Whoever reads on all the same, because his own
/// cursor lives longer, gets the rows that come next: the query is run again, under the same snapshot.
pub struct Cursor {
    statement: String,
    types: Vec<Oid>,
    values: Vec<Option<Datum>>,
    portal: CString,
    /// Rows given so far.
    given: i64,
}

impl Cursor {
    /// Opens a query under the caller's snapshot, with the caller's rights; it takes no transaction id. What it keeps is
    /// in the current memory context.
    pub unsafe fn open(statement: &str, types: &[Oid], given: &[Option<Datum>]) -> Cursor {
        // Whatever is given by reference here is a varlena.
        let copy = |(value, oid): (&Option<Datum>, &Oid)| match pg_sys::get_typbyval(*oid) {
            true => *value,
            false => value.map(|value| Datum::from(pg_sys::pg_detoast_datum_copy(value.cast_mut_ptr()))),
        };
        let values: Vec<Option<Datum>> = given.iter().zip(types).map(copy).collect();
        let _session = Session::connect();
        let portal = Cursor::begin(statement, types, &values);
        let portal = CStr::from_ptr((*portal).name).to_owned();
        Cursor { statement: statement.to_string(), types: types.to_vec(), values, portal, given: 0 }
    }

    unsafe fn begin(statement: &str, types: &[Oid], given: &[Option<Datum>]) -> pg_sys::Portal {
        let plan = plan(statement, types, Planned::Each);
        let (mut values, nulls) = arguments(given);
        pg_sys::SPI_cursor_open(std::ptr::null(), plan, values.as_mut_ptr(), nulls.as_ptr(), true)
    }

    /// Gives the next rows, at most `most`, to `each`, as [`stream`] does; says how many there were.
    pub unsafe fn fetch(&mut self, most: i64, mut each: impl FnMut(pg_sys::HeapTuple, pg_sys::TupleDesc)) -> usize {
        let _session = Session::connect();
        let mut portal = pg_sys::SPI_cursor_find(self.portal.as_ptr());
        if portal.is_null() {
            portal = Cursor::begin(&self.statement, &self.types, &self.values);
            self.portal = CStr::from_ptr((*portal).name).to_owned();
            pg_sys::SPI_cursor_move(portal, true, self.given as _);
        }
        let rows = next_rows(portal, most, &Scratch::new(), &mut each); // the session's end frees them and the scratch
        self.given += rows as i64;
        rows
    }

    /// Ends the query, if the transaction has not.
    pub unsafe fn close(&self) {
        let portal = pg_sys::SPI_cursor_find(self.portal.as_ptr());
        if !portal.is_null() {
            pg_sys::SPI_cursor_close(portal);
        }
    }
}
