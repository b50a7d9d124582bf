//! What a session knows of the action schemas. A log without any pays for a flag. What is known is
//! forgotten when one of the tables changes; compiled documents outlast that, because a change of one
//! tenant's schemas must not make others compile theirs again.

use crate::log::small_table::SmallTable;
use crate::pg::datum::text;
use crate::pg::jsonb::Reader;
use crate::pg::relation::named;
use crate::pg::transaction::on_relation_change;
use crate::write::schemas::document::{value_of, Document, BYTES, NESTING};
use crate::write::schemas::table::{
    has_rows, mode_of, modes, schema_of, schemas, schemas_of, Mode, NAMES, PATTERN_PLACE, SCHEMA_PLACE,
};
use immutable_format::pattern::{Pattern, Patterns};
use immutable_format::{sha256, Hash};
use pgrx::pg_sys::{self, Oid};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// Patterns that the log and each tenant may have.
pub const MOST_PATTERNS: usize = 1000;

/// A session knows so many tenants, with so many patterns in all, and forgets all before it knows
/// more.
const KNOWN_TENANTS: usize = 10_000;
const KNOWN_PATTERNS: usize = 50_000;

/// A session keeps compiled documents whose schemas have so many bytes in all.
const COMPILED_BYTES: usize = 1024 * 1024;

/// The schemas of the whole log, or of a tenant.
#[derive(Default)]
pub struct Own {
    patterns: Patterns,
    entries: Vec<Entry>,
    /// The mode; an error is a text that is no mode.
    pub mode: Option<Result<Mode, ()>>,
    /// Whether a row cannot be used: only a superuser or the owner can have written it.
    pub is_damaged: bool,
}

/// A pattern and its schema for metadata.
pub struct Entry {
    pub pattern: String,
    pub tenant_id: Option<String>,
    has_document: bool,
    /// Compiled when the first event needs it; None if it cannot be used.
    document: OnceCell<Option<Rc<Document>>>,
}

impl Own {
    /// Whether it has patterns; without any it accepts everything.
    pub fn has_patterns(&self) -> bool {
        self.is_damaged || !self.entries.is_empty()
    }

    /// The most specific pattern that matches an action, and how specific it is.
    pub fn find(&self, action: &str) -> Option<(&Entry, usize)> {
        self.patterns.find(action).map(|(number, specificity)| (&self.entries[number], specificity))
    }
}

#[derive(Default)]
struct Known {
    log: Option<Rc<Own>>,
    tenants: HashMap<String, Rc<Own>>,
    patterns: usize,
}

#[derive(Default)]
struct Compiled {
    documents: HashMap<Hash, Option<Rc<Document>>>,
    bytes: usize,
}

thread_local! {
    /// Whether there is no pattern at all.
    static IS_EMPTY: Cell<bool> = const { Cell::new(false) };
    static KNOWN: RefCell<Known> = RefCell::new(Known::default());
    static COMPILED: RefCell<Compiled> = RefCell::new(Compiled::default());
    /// The OIDs of the tables.
    static TABLES: Cell<[Oid; 2]> = const { Cell::new([pg_sys::InvalidOid; 2]) };
    /// How often the tables have changed. What was read while it changed is not kept.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
}

/// Called once, when the library is loaded.
pub fn register_callbacks() {
    on_relation_change(relation_changed);
}

fn relation_changed(relation: Oid) {
    if relation == pg_sys::InvalidOid || TABLES.get().contains(&relation) {
        IS_EMPTY.set(false);
        CHANGES.set(CHANGES.get().wrapping_add(1));
        KNOWN.take();
    }
}

/// The schemas that apply to a tenant's events: those of the log, and its own. None if there are
/// none at all.
pub fn of_tenant(tenant_id: &str) -> Option<[Rc<Own>; 2]> {
    if IS_EMPTY.get() || !is_there() {
        return None;
    }
    let log = known(None);
    if IS_EMPTY.get() {
        return None;
    }
    Some([log, known(Some(tenant_id))])
}

/// Whether the tables exist. They do not between a new library and ALTER EXTENSION.
fn is_there() -> bool {
    if TABLES.get().contains(&pg_sys::InvalidOid) {
        TABLES.set(NAMES.map(named));
    }
    !TABLES.get().contains(&pg_sys::InvalidOid)
}

/// The schemas of a tenant, or of the whole log, without the others that apply.
pub fn own(tenant_id: Option<&str>) -> Rc<Own> {
    load(tenant_id)
}

fn known(tenant_id: Option<&str>) -> Rc<Own> {
    let found = KNOWN.with_borrow(|known| match tenant_id {
        None => known.log.clone(),
        Some(tenant_id) => known.tenants.get(tenant_id).cloned(),
    });
    found.unwrap_or_else(|| load(tenant_id))
}

fn load(tenant_id: Option<&str>) -> Rc<Own> {
    let (schemas, modes) = (schemas(pg_sys::AccessShareLock), modes(pg_sys::AccessShareLock));
    TABLES.set([schemas.relation().oid(), modes.relation().oid()]);
    let before = CHANGES.get();
    let is_empty = tenant_id.is_none() && !has_rows(&schemas);
    let own = Rc::new(read(&schemas, &modes, tenant_id));
    if CHANGES.get() != before {
        return own;
    }
    IS_EMPTY.set(IS_EMPTY.get() || is_empty);
    KNOWN.with_borrow_mut(|known| {
        known.patterns += own.entries.len();
        if known.tenants.len() >= KNOWN_TENANTS || known.patterns > KNOWN_PATTERNS {
            *known = Known { log: known.log.take(), patterns: own.entries.len(), ..Known::default() };
        }
        match tenant_id {
            None => known.log = Some(own.clone()),
            Some(tenant_id) => {
                known.tenants.insert(tenant_id.to_string(), own.clone());
            }
        }
    });
    own
}

fn read(schemas: &SmallTable, modes: &SmallTable, tenant_id: Option<&str>) -> Own {
    let mode = mode_of(modes, tenant_id).map(|mode| Mode::of(&mode).ok_or(()));
    let mut own = Own { mode, ..Own::default() };
    schemas_of(schemas, tenant_id, |row| {
        let pattern = row.at(PATTERN_PLACE).map_or("", text);
        // Two writers at once may have gone beyond the limit by a few.
        match Pattern::parse(pattern).is_ok() && own.entries.len() < 2 * MOST_PATTERNS {
            true => own.entries.push(Entry {
                pattern: pattern.to_string(),
                tenant_id: tenant_id.map(str::to_string),
                has_document: row.at(SCHEMA_PLACE).is_some(),
                document: OnceCell::new(),
            }),
            false => own.is_damaged = true,
        }
    });
    own.patterns = Patterns::new(own.entries.iter().filter_map(|entry| Pattern::parse(&entry.pattern).ok()));
    own
}

impl Entry {
    /// The document that metadata has to fit; an error if it cannot be used.
    pub fn document(&self) -> Result<Option<Rc<Document>>, ()> {
        if !self.has_document {
            return Ok(None);
        }
        let document = self.document.get_or_init(|| {
            let table = schemas(pg_sys::AccessShareLock);
            let mut document = None;
            schema_of(&table, self.tenant_id.as_deref(), &self.pattern, |row| {
                document = row.at(SCHEMA_PLACE).and_then(Reader::new).and_then(compiled);
            });
            document
        });
        document.clone().map(Some).ok_or(())
    }
}

fn compiled(schema: Reader<'_>) -> Option<Rc<Document>> {
    let schema = schema.value(NESTING, BYTES).ok()?;
    let canonical = schema.canonical();
    let hash = sha256(&[canonical.as_bytes()]);
    if let Some(known) = COMPILED.with_borrow(|compiled| compiled.documents.get(&hash).cloned()) {
        return known;
    }
    let document = Document::compile(&value_of(&schema)).ok().map(Rc::new);
    COMPILED.with_borrow_mut(|compiled| {
        compiled.bytes += canonical.len();
        if compiled.bytes > COMPILED_BYTES {
            *compiled = Compiled { bytes: canonical.len(), ..Compiled::default() };
        }
        compiled.documents.insert(hash, document.clone());
    });
    document
}
