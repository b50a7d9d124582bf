//! SPI the way this extension needs it: kept plans, statements run as the tables' owner, and
//! cursors whose memory is bounded. (pgrx's own wrapper keeps every batch of a cursor until the
//! session ends.)
//!
//! Rows are shown to a closure one by one, and live no longer than that.

#![allow(unsafe_code)]

use crate::pg::datum::{bytes, timestamptz, Datum};
use crate::pg::error::{contain, internal};
use crate::pg::memory::{here, Memory, ScratchContext};
use crate::pg::relation::Relation;
use crate::pg::tuple::{Descriptor, Tuple, Values};
use immutable_format::Id;
use pgrx::pg_sys::{self, Oid};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, CString};

/// An argument of a statement, which carries its type.
#[derive(Clone)]
pub enum Arg<'a> {
    Text(Cow<'a, str>),
    /// A text of any bytes, valid UTF-8 or not.
    RawText(Cow<'a, [u8]>),
    Texts(Vec<String>),
    Json(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Uuid(Id),
    Int2(i16),
    Int8(i64),
    Oid(Oid),
    /// Microseconds since 1970.
    Time(i64),
    Null(Oid),
    /// A value as PostgreSQL passed it to the caller, and its type.
    Given(Oid, Datum<'a>),
}

impl<'a> Arg<'a> {
    /// A text.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Arg<'a> {
        Arg::Text(text.into())
    }

    /// A text, or NULL.
    pub fn maybe_text<T: Into<Cow<'a, str>>>(text: Option<T>) -> Arg<'a> {
        text.map_or(Arg::Null(pg_sys::TEXTOID), |text| Arg::Text(text.into()))
    }

    /// A time in seconds since 1970.
    pub fn seconds(seconds: i64) -> Arg<'a> {
        Arg::Time(seconds.saturating_mul(1_000_000))
    }

    /// A value as PostgreSQL passed it to the caller, or NULL.
    pub fn given(oid: Oid, value: Option<Datum<'a>>) -> Arg<'a> {
        value.map_or(Arg::Null(oid), |value| Arg::Given(oid, value))
    }

    fn oid(&self) -> Oid {
        match self {
            Arg::Text(_) | Arg::RawText(_) => pg_sys::TEXTOID,
            Arg::Texts(_) => pg_sys::TEXTARRAYOID,
            Arg::Json(_) => pg_sys::JSONBOID,
            Arg::Bytes(_) => pg_sys::BYTEAOID,
            Arg::Uuid(_) => pg_sys::UUIDOID,
            Arg::Int2(_) => pg_sys::INT2OID,
            Arg::Int8(_) => pg_sys::INT8OID,
            Arg::Oid(_) => pg_sys::OIDOID,
            Arg::Time(_) => pg_sys::TIMESTAMPTZOID,
            Arg::Null(oid) | Arg::Given(oid, _) => *oid,
        }
    }

    /// Whether an SQL literal of it has no backslash.
    pub fn is_without_backslash(&self) -> bool {
        let has_none = |text: &[u8]| !text.contains(&b'\\');
        match self {
            Arg::Text(text) => has_none(text.as_bytes()),
            Arg::RawText(text) => has_none(text),
            Arg::Given(pg_sys::TEXTOID, text) => has_none(bytes(*text)),
            Arg::Uuid(_) | Arg::Int2(_) | Arg::Int8(_) | Arg::Oid(_) | Arg::Null(_) => true,
            Arg::Given(oid, _) => matches!(*oid, pg_sys::BOOLOID | pg_sys::UUIDOID),
            Arg::Texts(_) | Arg::Json(_) | Arg::Bytes(_) | Arg::Time(_) => false,
        }
    }

    /// A copy that owns its value. A value that PostgreSQL passed must be a text or a timestamptz.
    pub fn into_owned(self) -> Arg<'static> {
        match self {
            Arg::Text(text) => Arg::Text(Cow::Owned(text.into_owned())),
            Arg::RawText(text) => Arg::RawText(Cow::Owned(text.into_owned())),
            Arg::Texts(texts) => Arg::Texts(texts),
            Arg::Json(json) => Arg::Json(Cow::Owned(json.into_owned())),
            Arg::Bytes(bytes) => Arg::Bytes(Cow::Owned(bytes.into_owned())),
            Arg::Uuid(id) => Arg::Uuid(id),
            Arg::Int2(value) => Arg::Int2(value),
            Arg::Int8(value) => Arg::Int8(value),
            Arg::Oid(value) => Arg::Oid(value),
            Arg::Time(micros) => Arg::Time(micros),
            Arg::Null(oid) => Arg::Null(oid),
            Arg::Given(pg_sys::TEXTOID, text) => Arg::RawText(Cow::Owned(bytes(text).to_vec())),
            Arg::Given(pg_sys::TIMESTAMPTZOID, time) => Arg::Given(pg_sys::TIMESTAMPTZOID, Datum::from(time.i64())),
            Arg::Given(..) => internal("an argument of this type cannot be kept"),
        }
    }

    fn datum<'m>(&self, memory: Memory<'m>) -> Option<Datum<'m>>
    where
        'a: 'm,
    {
        Some(match self {
            Arg::Text(text) => memory.text(text),
            Arg::Texts(texts) => memory.texts(texts),
            Arg::Json(json) => memory.jsonb(json),
            Arg::Bytes(bytes) | Arg::RawText(bytes) => memory.bytes(bytes),
            Arg::Uuid(id) => memory.uuid(id),
            Arg::Int2(value) => Datum::from(*value),
            Arg::Int8(value) => Datum::from(*value),
            Arg::Oid(value) => Datum::from(*value),
            Arg::Time(micros) => timestamptz(*micros),
            Arg::Null(_) => return None,
            Arg::Given(_, datum) => *datum,
        })
    }
}

/// Arguments as SPI takes them.
struct Arguments {
    types: Vec<Oid>,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<std::ffi::c_char>,
}

impl Arguments {
    /// In the current memory context.
    fn of(given: &[Arg]) -> Arguments {
        let values: Vec<Option<pg_sys::Datum>> =
            here(|memory| given.iter().map(|arg| arg.datum(memory).map(Datum::raw)).collect());
        Arguments {
            types: given.iter().map(Arg::oid).collect(),
            nulls: values.iter().map(|value| if value.is_some() { b' ' } else { b'n' } as std::ffi::c_char).collect(),
            values: values.into_iter().map(|value| value.unwrap_or(pg_sys::Datum::from(0usize))).collect(),
        }
    }
}

/// How a statement is planned: for the arguments of each call, as long as PostgreSQL finds that
/// worthwhile, or once for all arguments. The latter is for statements whose arguments do not
/// affect the choice of an index, because planning would cost more than running them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Planned {
    Each,
    Once,
    /// For the arguments of each call, always.
    EachTime,
}

type Statement = (String, Vec<Oid>, Planned);

thread_local! {
    /// How many sessions are open, one inside the other. Plans of the outer ones are in use.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static PLANS: RefCell<HashMap<Statement, pg_sys::SPIPlanPtr>> = RefCell::new(HashMap::new());
    /// The tables that stand in for immutable.events and immutable.event_targets; see [`on_shard`].
    static SHARD: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Runs `body` with other tables in place of immutable.events and immutable.event_targets in all
/// statements, such as the shards on a node of a distributed database. Both names must be quoted
/// and must not contain an apostrophe, because statements also have them in literals.
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

/// Whether other tables are in their place now.
pub fn is_on_shard() -> bool {
    SHARD.with_borrow(Option::is_some)
}

/// The statement with the names of the tables on which it is to run.
fn named(statement: &str) -> Cow<'_, str> {
    SHARD.with_borrow(|shard| match shard {
        None => Cow::Borrowed(statement),
        Some((events, targets)) => {
            // The marker keeps the second replacement from changing the name that the first one put
            // in.
            let marked = statement.replace("immutable.event_targets", "\u{1}");
            Cow::Owned(marked.replace("immutable.events", events).replace('\u{1}', targets))
        }
    })
}

/// How many plans are kept. The filters of find_events() can make thousands of different
/// statements.
const KEPT: usize = 256;

/// How many bytes of memory they may take. A statement of a log with thirty segments takes some hundred kilobytes.
const KEPT_BYTES: usize = 32 << 20;

/// The memory of a kept plan. PostgreSQL plans it when it is run for the first time.
fn bytes_of(plan: pg_sys::SPIPlanPtr) -> usize {
    // SAFETY: the plan is kept, and so are its sources and their plans, each in a memory context of its own.
    unsafe {
        let sources = pg_sys::SPI_plan_get_plan_sources(plan);
        let count = if sources.is_null() { 0 } else { (*sources).length };
        let of = |n: i32| {
            let source = pg_sys::list_nth(sources, n).cast::<pg_sys::CachedPlanSource>();
            let generic = (*source).gplan;
            let generic =
                if generic.is_null() { 0 } else { pg_sys::MemoryContextMemAllocated((*generic).context, true) };
            pg_sys::MemoryContextMemAllocated((*source).context, true) + generic
        };
        (0..count).map(of).sum()
    }
}

/// Whether no further plan may be kept beside these.
fn are_enough(plans: &HashMap<Statement, pg_sys::SPIPlanPtr>) -> bool {
    plans.len() >= KEPT || plans.values().map(|plan| bytes_of(*plan)).sum::<usize>() >= KEPT_BYTES
}

/// A connection to SPI. Memory that is allocated in it is freed when it ends.
struct Session;

impl Session {
    fn connect() -> Session {
        // SAFETY: ended by the drop, or by the transaction's end.
        if unsafe { pg_sys::SPI_connect() } != pg_sys::SPI_OK_CONNECT as i32 {
            internal("SPI_connect failed")
        }
        DEPTH.set(DEPTH.get() + 1);
        Session
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        // After an error, the end of the transaction or subtransaction closes it. An error in
        // SPI_finish during unwinding would end the server.
        if !std::thread::panicking() {
            // SAFETY: connected by connect().
            unsafe { pg_sys::SPI_finish() };
        }
    }
}

/// Gives the owner's rights while it lives.
struct Owner(Oid, i32);

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: restores what was there; plain memory writes, also while unwinding.
        unsafe { pg_sys::SetUserIdAndSecContext(self.0, self.1) };
    }
}

/// Runs `body` with the rights of the relation's owner.
pub fn as_owner<T>(relation: Relation, body: impl FnOnce() -> T) -> T {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: reads and sets variables of the one thread there is.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        let local = context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
        pg_sys::SetUserIdAndSecContext(relation.owner(), local);
    }
    let _restored = Owner(user, context);
    body()
}

fn c_string(statement: &str) -> CString {
    CString::new(statement).unwrap_or_else(|_| internal("a statement with a NUL in it"))
}

fn plan(statement: &str, types: &[Oid], planned: Planned) -> pg_sys::SPIPlanPtr {
    let statement = &*named(statement);
    let key = (statement.to_string(), types.to_vec(), planned);
    if let Some(plan) = PLANS.with_borrow(|plans| plans.get(&key).copied()) {
        return plan;
    }
    let text = c_string(statement);
    let options = match planned {
        Planned::Each => 0,
        Planned::Once => pg_sys::CURSOR_OPT_GENERIC_PLAN,
        Planned::EachTime => pg_sys::CURSOR_OPT_CUSTOM_PLAN,
    };
    let (count, types) = (types.len() as i32, types.as_ptr().cast_mut());
    // SAFETY: as many types as said; a plan that is kept lives until it is freed.
    let plan = unsafe { pg_sys::SPI_prepare_cursor(text.as_ptr(), count, types, options as i32) };
    if plan.is_null() {
        internal("SPI_prepare failed")
    }
    let are_enough = PLANS.with_borrow(are_enough);
    if DEPTH.get() > 1 && are_enough {
        // None can be freed now. This one goes with the session.
        return plan;
    }
    // SAFETY: a plan that was made just now.
    if unsafe { pg_sys::SPI_keepplan(plan) } != 0 {
        internal("SPI_prepare failed")
    }
    PLANS.with_borrow_mut(|plans| {
        if are_enough {
            for (_, old) in plans.drain() {
                // SAFETY: kept above, and in use by no session but this one.
                unsafe { pg_sys::SPI_freeplan(old) };
            }
        }
        plans.insert(key, plan);
    });
    plan
}

/// Whether there is a caller's snapshot. It is missing in a command that ends one transaction and begins another.
pub fn has_snapshot() -> bool {
    // SAFETY: reads a variable of the one thread there is.
    unsafe { pg_sys::ActiveSnapshotSet() }
}

/// Runs a query with the caller's snapshot and calls `each` with its rows. It takes no transaction
/// ID, so it works on a hot standby.
pub fn read(statement: &str, given: &[Arg], each: impl FnMut(&Values)) {
    run(statement, given, Planned::Each, true, each);
}

/// The same, planned once.
pub fn read_planned_once(statement: &str, given: &[Arg], each: impl FnMut(&Values)) {
    run(statement, given, Planned::Once, true, each);
}

/// Runs a statement with a new snapshot, which sees what this transaction has written and what
/// others have committed by now. Calls `each` with its rows, or those of RETURNING.
pub fn query_now(statement: &str, given: &[Arg], each: impl FnMut(&Values)) {
    run(statement, given, Planned::Each, false, each);
}

/// The same, planned once.
pub fn query_now_planned_once(statement: &str, given: &[Arg], each: impl FnMut(&Values)) {
    run(statement, given, Planned::Once, false, each);
}

/// The same, planned anew for the arguments of each call.
pub fn query_now_planned_each_time(statement: &str, given: &[Arg], each: impl FnMut(&Values)) {
    run(statement, given, Planned::EachTime, false, each);
}

/// Runs a statement that returns nothing, with a new snapshot, planned anew for the arguments.
pub fn execute_planned_each_time(statement: &str, given: &[Arg]) {
    query_now_planned_each_time(statement, given, |_| {});
}

/// Runs a statement that returns nothing, with a new snapshot, planned anew for the arguments. Returns how many rows it
/// has inserted, updated or deleted.
pub fn affected(statement: &str, given: &[Arg]) -> i64 {
    let _session = Session::connect();
    execute_kept(statement, given, Planned::EachTime, false);
    // SAFETY: reads what SPI has counted.
    unsafe { pg_sys::SPI_processed as i64 }
}

/// Rows on their way into a statement.
pub struct Given {
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
    scratch: ScratchContext,
    count: usize,
}

impl Given {
    /// Adds the row that `make` makes, which has a value or NULL for each column.
    pub fn put<const COLUMNS: usize>(&mut self, make: impl for<'m> FnOnce(Memory<'m>) -> [Option<Datum<'m>>; COLUMNS]) {
        self.scratch.once(|memory| {
            let row = make(memory);
            let mut values = row.map(|value| value.map_or(pg_sys::Datum::from(0usize), Datum::raw));
            let mut nulls = row.map(|value| value.is_none());
            // SAFETY: the store copies as many values as the descriptor has columns.
            unsafe {
                assert_eq!((*self.descriptor).natts as usize, COLUMNS, "a row has other columns than declared");
                pg_sys::tuplestore_putvalues(self.store, self.descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
            }
        });
        self.count += 1;
    }
}

/// Kilobytes of rows that stay in memory.
const GIVEN_KILOBYTES: i32 = 16 << 10;

/// Runs a statement that returns nothing, with a new snapshot. It reads the rows that `fill` puts from a table of this
/// name, which no other statement can see. Without rows it does nothing.
pub fn execute_with(statement: &str, table: &CStr, columns: &[(&CStr, Oid)], fill: impl FnOnce(&mut Given)) {
    let _session = Session::connect();
    // SAFETY: everything is made in the memory of the session, and lives until it ends.
    unsafe {
        let descriptor = pg_sys::CreateTemplateTupleDesc(columns.len() as i32);
        for (place, (name, oid)) in columns.iter().enumerate() {
            pg_sys::TupleDescInitEntry(descriptor, place as i16 + 1, name.as_ptr(), *oid, -1, 0);
        }
        let store = pg_sys::tuplestore_begin_heap(false, false, GIVEN_KILOBYTES);
        let mut given = Given { store, descriptor, scratch: ScratchContext::new(), count: 0 };
        fill(&mut given);
        if given.count == 0 {
            return;
        }
        let relation = pg_sys::palloc0(size_of::<pg_sys::EphemeralNamedRelationData>());
        let relation = relation.cast::<pg_sys::EphemeralNamedRelationData>();
        (*relation).md.name = pg_sys::pstrdup(table.as_ptr());
        (*relation).md.tupdesc = descriptor;
        (*relation).md.enrtype = pg_sys::EphemeralNameRelationType::ENR_NAMED_TUPLESTORE;
        (*relation).md.enrtuples = given.count as f64;
        (*relation).reldata = store.cast();
        if pg_sys::SPI_register_relation(relation) != pg_sys::SPI_OK_REL_REGISTER as i32 {
            internal("SPI_register_relation failed")
        }
        execute_kept(statement, &[], Planned::Once, false);
        pg_sys::tuplestore_end(store);
    }
}

/// Runs a statement that returns nothing, with a new snapshot.
pub fn execute(statement: &str, given: &[Arg]) {
    query_now(statement, given, |_| {});
}

fn run(statement: &str, given: &[Arg], planned: Planned, read_only: bool, mut each: impl FnMut(&Values)) {
    let _session = Session::connect();
    execute_kept(statement, given, planned, read_only);
    each_result(usize::MAX, |tuple| each(&tuple.values()));
}

/// Runs a statement to its end. SPI then keeps its rows as the result.
fn execute_kept(statement: &str, given: &[Arg], planned: Planned, read_only: bool) {
    let mut arguments = Arguments::of(given);
    let plan = plan(statement, &arguments.types, planned);
    let (values, nulls) = (arguments.values.as_mut_ptr(), arguments.nulls.as_ptr());
    // SAFETY: as many arguments as the plan has parameters.
    if unsafe { pg_sys::SPI_execute_plan(plan, values, nulls, read_only, 0) } < 0 {
        internal("SPI_execute_plan failed")
    }
}

/// Calls `each` with the rows of the result, at most `most` of them.
fn each_result(most: usize, mut each: impl FnMut(Tuple<'_>)) {
    // SAFETY: the result of the session that is open, which lives until it ends.
    here(|memory| unsafe {
        let table = pg_sys::SPI_tuptable;
        if table.is_null() {
            return;
        }
        let descriptor = Descriptor::of((*table).tupdesc);
        for row in 0..most.min(pg_sys::SPI_processed as usize) {
            each(Tuple::of(*(*table).vals.add(row), descriptor, memory));
        }
    });
}

/// Runs a query that is planned once. Calls `each` with its rows only if there are `rows` of them.
pub fn read_if(statement: &str, given: &[Arg], rows: usize, each: &mut impl FnMut(Tuple<'_>)) -> bool {
    let _session = Session::connect();
    execute_kept(statement, given, Planned::Once, true);
    // SAFETY: reads what SPI has counted.
    let full = unsafe { pg_sys::SPI_processed } as usize >= rows;
    if full {
        each_result(rows, each);
    }
    full
}

/// How many rows the planner expects of a query, for these arguments. It is planned and not run. (EXPLAIN says the same,
/// but Citus refuses it in a function that runs at a shard of the client's own node.)
pub fn planned_rows(query: &str, given: &[Arg]) -> i64 {
    let _session = Session::connect();
    let text = c_string(&named(query));
    let mut arguments = Arguments::of(given);
    let (count, types) = (arguments.types.len() as i32, arguments.types.as_mut_ptr());
    let options = (pg_sys::CURSOR_OPT_PARALLEL_OK | pg_sys::CURSOR_OPT_CUSTOM_PLAN) as i32;
    let (values, nulls) = (arguments.values.as_mut_ptr(), arguments.nulls.as_ptr());
    // SAFETY: as many arguments as types. A portal that is open has the plan of the one statement there is.
    unsafe {
        let plan = pg_sys::SPI_prepare_cursor(text.as_ptr(), count, types, options);
        if plan.is_null() {
            internal("SPI_prepare_cursor failed")
        }
        let portal = Portal(pg_sys::SPI_cursor_open(std::ptr::null(), plan, values, nulls, true));
        let statement = pg_sys::list_nth((*portal.0).stmts, 0).cast::<pg_sys::PlannedStmt>();
        let rows = (*(*statement).planTree).plan_rows;
        portal.close();
        rows as i64
    }
}

/// The receiver of the rows of a query that [`complete`] runs. PostgreSQL knows only its first
/// member.
#[repr(C)]
struct Receiver<'a> {
    receiver: pg_sys::DestReceiver,
    scratch: ScratchContext,
    each: &'a mut dyn FnMut(&Values),
}

unsafe extern "C-unwind" fn nothing_at_startup(_: *mut pg_sys::DestReceiver, _: std::ffi::c_int, _: pg_sys::TupleDesc) {
}

unsafe extern "C-unwind" fn nothing(_: *mut pg_sys::DestReceiver) {}

unsafe extern "C-unwind" fn receive(slot: *mut pg_sys::TupleTableSlot, receiver: *mut pg_sys::DestReceiver) -> bool {
    // SAFETY: the receiver is that of `complete`, and the slot has as many values as its descriptor
    // says.
    unsafe {
        pg_sys::panic::pgrx_extern_c_guard(|| {
            contain(|| {
                let receiver = &mut *receiver.cast::<Receiver>();
                let width = (*(*slot).tts_tupleDescriptor).natts;
                if i32::from((*slot).tts_nvalid) < width {
                    pg_sys::slot_getsomeattrs_int(slot, width);
                }
                let values = std::slice::from_raw_parts((*slot).tts_values, width as usize);
                let nulls = std::slice::from_raw_parts((*slot).tts_isnull, width as usize);
                receiver.scratch.once(|memory| (receiver.each)(&Values::copied(values, nulls, memory)));
            });
        });
    }
    true
}

/// Runs a query to its end with the caller's snapshot and calls `each` with its rows, one by one
/// and without keeping them. PostgreSQL can run such a query in parallel, but neither a cursor nor
/// a query with a limit. It is planned every time, because a kept plan would not notice that the
/// table or the settings for parallel plans have changed.
pub fn complete(statement: &str, given: &[Arg], mut each: impl FnMut(&Values)) {
    let _session = Session::connect();
    let text = c_string(&named(statement));
    let arguments = Arguments::of(given);
    let options = (pg_sys::CURSOR_OPT_PARALLEL_OK | pg_sys::CURSOR_OPT_CUSTOM_PLAN) as i32;
    let (count, types) = (arguments.types.len() as i32, arguments.types.as_ptr().cast_mut());
    // SAFETY: as many types as said.
    let plan = unsafe { pg_sys::SPI_prepare_cursor(text.as_ptr(), count, types, options) };
    if plan.is_null() {
        internal("SPI_prepare_cursor failed")
    }
    // Citus takes a list without parameters for one that it can copy, and follows the NULL that comes of it.
    let mut parameters = std::ptr::null_mut();
    if count > 0 {
        // SAFETY: a list of as many parameters as there are arguments.
        unsafe {
            parameters = pg_sys::makeParamList(count);
            for n in 0..arguments.values.len() {
                *(*parameters).params.as_mut_ptr().add(n) = pg_sys::ParamExternData {
                    value: arguments.values[n],
                    isnull: arguments.nulls[n] != b' ' as std::ffi::c_char,
                    pflags: pg_sys::PARAM_FLAG_CONST as u16,
                    ptype: arguments.types[n],
                };
            }
        }
    }
    let mut receiver = Receiver {
        receiver: pg_sys::DestReceiver {
            receiveSlot: Some(receive),
            rStartup: Some(nothing_at_startup),
            rShutdown: Some(nothing),
            rDestroy: Some(nothing),
            mydest: pg_sys::CommandDest::DestTuplestore,
        },
        scratch: ScratchContext::new(),
        each: &mut each,
    };
    let options = pg_sys::SPIExecuteOptions {
        params: parameters,
        read_only: true,
        dest: std::ptr::addr_of_mut!(receiver).cast(),
        ..Default::default()
    };
    // SAFETY: the receiver lives until the query has ended.
    if unsafe { pg_sys::SPI_execute_plan_extended(plan, &options) } < 0 {
        internal("SPI_execute_plan_extended failed")
    }
}

/// How many rows are fetched at once. They are few, because a row may have some megabytes.
const BATCH: i64 = 64;

/// Runs a query like [`read`], but through a cursor, so that the memory for one batch suffices for
/// any number of rows. Memory that `each` allocates in the current context is freed after each
/// call.
pub fn stream(statement: &str, given: &[Arg], each: impl FnMut(Tuple<'_>)) {
    fetch(statement, given, Planned::Each, true, each);
}

/// The same, until `each` returns false.
pub fn stream_while(statement: &str, given: &[Arg], mut each: impl FnMut(Tuple<'_>) -> bool) {
    let _session = Session::connect();
    let portal = Portal::open(statement, given, Planned::Each, true);
    let scratch = ScratchContext::new();
    let mut goes_on = true;
    while goes_on
        && portal.next(BATCH, &scratch, &mut |tuple: Tuple<'_>| {
            goes_on = goes_on && each(tuple);
        }) > 0
    {}
    portal.close();
}

/// The same, planned once.
pub fn stream_planned_once(statement: &str, given: &[Arg], each: impl FnMut(Tuple<'_>)) {
    fetch(statement, given, Planned::Once, true, each);
}

/// The same, planned anew for the arguments of each call, as Citus needs it to find their shard.
pub fn stream_planned_each_time(statement: &str, given: &[Arg], each: impl FnMut(Tuple<'_>)) {
    fetch(statement, given, Planned::EachTime, false, each);
}

/// Like [`stream`], but with a new snapshot, which sees what this transaction has written and what
/// others have committed while it waited for a lock.
pub fn stream_now(statement: &str, given: &[Arg], each: impl FnMut(Tuple<'_>)) {
    fetch(statement, given, Planned::Each, false, each);
}

/// The same, planned once.
pub fn stream_now_planned_once(statement: &str, given: &[Arg], each: impl FnMut(Tuple<'_>)) {
    fetch(statement, given, Planned::Once, false, each);
}

/// A query whose rows are fetched step by step. PostgreSQL ends it with the SPI session.
struct Portal(pg_sys::Portal);

impl Portal {
    fn open(statement: &str, given: &[Arg], planned: Planned, read_only: bool) -> Portal {
        let mut arguments = Arguments::of(given);
        let plan = plan(statement, &arguments.types, planned);
        let (values, nulls) = (arguments.values.as_mut_ptr(), arguments.nulls.as_ptr());
        // SAFETY: as many arguments as the plan has parameters.
        Portal(unsafe { pg_sys::SPI_cursor_open(std::ptr::null(), plan, values, nulls, read_only) })
    }

    fn name(&self) -> CString {
        // SAFETY: an open portal has a name.
        unsafe { CStr::from_ptr((*self.0).name) }.to_owned()
    }

    /// Calls `each` with the next rows, at most `most` of them, and returns their number.
    fn next(&self, most: i64, scratch: &ScratchContext, each: &mut impl FnMut(Tuple<'_>)) -> usize {
        // SAFETY: the portal is open; its rows live until they are freed here.
        unsafe {
            pg_sys::SPI_cursor_fetch(self.0, true, most as _);
            let (table, fetched) = (pg_sys::SPI_tuptable, pg_sys::SPI_processed as usize);
            for row in 0..fetched {
                pgrx::check_for_interrupts!();
                scratch.once(|memory| {
                    each(Tuple::of(*(*table).vals.add(row), Descriptor::of((*table).tupdesc), memory));
                });
            }
            pg_sys::SPI_freetuptable(table);
            fetched
        }
    }

    /// Skips the next rows, at most `most` of them, and returns their number.
    fn skip(&self, most: i64) -> i64 {
        // SAFETY: the portal is open.
        unsafe {
            pg_sys::SPI_cursor_move(self.0, true, most as _);
            pg_sys::SPI_processed as i64
        }
    }

    fn close(self) {
        // SAFETY: the portal is open.
        unsafe { pg_sys::SPI_cursor_close(self.0) };
    }
}

fn fetch(statement: &str, given: &[Arg], planned: Planned, read_only: bool, mut each: impl FnMut(Tuple<'_>)) {
    let _session = Session::connect();
    let portal = Portal::open(statement, given, planned, read_only);
    let scratch = ScratchContext::new();
    while portal.next(BATCH, &scratch, &mut each) > 0 {}
    portal.close();
}

/// How many rows were counted.
#[derive(Clone, Copy)]
pub struct Counted {
    pub rows: i64,
    /// Whether these are all.
    pub whole: bool,
}

/// How many rows are counted between two checks of the cost.
const STEP: i64 = 100;

/// Counts the rows of a query that is planned once, until it has read more than the given number of
/// pages. An index-only scan finds many rows on a page, but a row that VACUUM has not processed
/// must be looked up in the table.
pub fn count_within(statement: &str, given: &[Arg], pages: i64) -> Counted {
    within(statement, given, pages, |portal| portal.skip(STEP))
}

/// Calls `each` with the rows of a query that is planned once, until it has read more than the
/// given number of pages.
pub fn read_within(statement: &str, given: &[Arg], pages: i64, mut each: impl FnMut(&Values)) -> Counted {
    let scratch = ScratchContext::new();
    within(statement, given, pages, |portal| {
        portal.next(STEP, &scratch, &mut |tuple: Tuple<'_>| each(&tuple.values())) as i64
    })
}

fn within(statement: &str, given: &[Arg], pages: i64, mut step: impl FnMut(&Portal) -> i64) -> Counted {
    let _session = Session::connect();
    let portal = Portal::open(statement, given, Planned::Once, true);
    let before = pages_touched();
    let mut counted = Counted { rows: 0, whole: false };
    while pages_touched() - before <= pages {
        let rows = step(&portal);
        counted.rows += rows;
        if rows < STEP {
            counted.whole = true;
            break;
        }
    }
    portal.close();
    counted
}

/// How many pages this backend has read, from shared buffers or from disk.
fn pages_touched() -> i64 {
    // SAFETY: reads counters of the one thread there is.
    unsafe {
        let usage = std::ptr::addr_of!(pg_sys::pgBufferUsage);
        (*usage).shared_blks_hit + (*usage).shared_blks_read
    }
}

/// A query that is read further from call to call. PostgreSQL ends it with the transaction or
/// savepoint in which it began. It is kept by name, so that a portal that no longer exists is never
/// used. If the caller's cursor lives longer and reads on, the query is run again with the same
/// snapshot, and continues with the next rows.
pub struct Cursor {
    statement: String,
    arguments: Vec<Arg<'static>>,
    planned: Planned,
    read_only: bool,
    portal: CString,
    /// How many rows were read so far.
    given: i64,
}

impl Cursor {
    /// Opens a query with the caller's snapshot and rights. It takes no transaction ID.
    pub fn open(statement: &str, arguments: Vec<Arg<'static>>) -> Cursor {
        Cursor::begin(statement, arguments, Planned::Each, true)
    }

    /// The same, planned anew for the arguments, as Citus needs it to find their shard.
    pub fn open_planned_each_time(statement: &str, arguments: Vec<Arg<'static>>) -> Cursor {
        Cursor::begin(statement, arguments, Planned::EachTime, true)
    }

    /// The same with a new snapshot, which sees what others have committed by now.
    pub fn open_now(statement: &str, arguments: Vec<Arg<'static>>) -> Cursor {
        Cursor::begin(statement, arguments, Planned::Each, false)
    }

    fn begin(statement: &str, arguments: Vec<Arg<'static>>, planned: Planned, read_only: bool) -> Cursor {
        let _session = Session::connect();
        let portal = Portal::open(statement, &arguments, planned, read_only).name();
        Cursor { statement: statement.to_string(), arguments, planned, read_only, portal, given: 0 }
    }

    /// Whether the transaction has not ended the query.
    pub fn is_open(&self) -> bool {
        self.portal().is_some()
    }

    /// The portal, if it still exists.
    fn portal(&self) -> Option<Portal> {
        // SAFETY: looks a name up.
        let portal = unsafe { pg_sys::SPI_cursor_find(self.portal.as_ptr()) };
        (!portal.is_null()).then_some(Portal(portal))
    }

    /// Calls `each` with the next rows, at most `most` of them, as [`stream`] does, and returns
    /// their number.
    pub fn fetch(&mut self, most: i64, mut each: impl FnMut(Tuple<'_>)) -> usize {
        let _session = Session::connect();
        let portal = self.portal().unwrap_or_else(|| {
            let portal = Portal::open(&self.statement, &self.arguments, self.planned, self.read_only);
            self.portal = portal.name();
            portal.skip(self.given);
            portal
        });
        let rows = portal.next(most, &ScratchContext::new(), &mut each); // the session's end frees the scratch
        self.given += rows as i64;
        rows
    }

    /// Ends the query, unless the transaction has ended it.
    pub fn close(&self) {
        if let Some(portal) = self.portal() {
            portal.close();
        }
    }
}
