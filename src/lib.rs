//! `immutable`: a tamper-evident audit log in PostgreSQL.
//!
//! The modules, in the order an event meets them:
//! [`payload`] reads what track() is given, [`track`] inserts it and [`repeated`] compares it with the event that has its
//! key already; [`batch`] does so for many, in one [`subtransaction`];
//! [`chain`] is the BEFORE INSERT trigger, which asks [`validate`] whether the row may enter, [`lane`] for a place to
//! append, [`tail`] for the event before it, and writes the link;
//! [`targets`] is the AFTER INSERT trigger that derives event_targets; [`guard`] keeps both tables append-only.
//! [`restore`] takes the events of a dump instead, [`replica`] those of a publisher; [`seam`] records that the log went on
//! somewhere else. [`own`] knows what the transaction that runs has recorded, which is what a writer sees.
//! [`erase`] destroys what may no longer be kept; [`record`] writes down that it did, and other decisions about the log.
//! [`read`] answers with the pages that [`filter`] and [`page`] find and [`total`] counts ([`fold`] is how texts are
//! searched, [`day_or_time`] how a bound of time is given), [`changes`] with a feed,
//! [`verify`] with breaks,
//! [`export`] with lines to be verified elsewhere, all from the rows that [`row`] reads back.
//! [`ddl`] keeps commands away from what all of these rely on.
//! [`tenant`] says which of them a viewer sees, by what [`token`] finds in a signed token; [`keys`] holds what signs.
//! [`citus`] makes the log ready for many machines.
//!
//! Every SQL object is declared in `sql/`, by hand and in one place: signatures, privileges and comments are the
//! product, so none of them is generated. `sql/install.list` has the order in which they are run.

mod batch;
mod chain;
mod changes;
mod citus;
mod columns;
mod day_or_time;
mod ddl;
mod entered;
mod erase;
mod error;
mod event;
mod export;
mod filter;
mod fold;
mod function;
mod guard;
mod identity;
mod jsonb;
mod keys;
mod lane;
mod own;
mod page;
mod payload;
mod random;
mod read;
mod record;
mod relation;
mod repeated;
mod replica;
mod restore;
mod row;
mod seam;
mod settings;
mod spi;
mod subtransaction;
mod table;
mod tail;
mod targets;
mod tenant;
mod toast;
mod token;
mod total;
mod track;
mod validate;
mod verify;

pgrx::pg_module_magic!(name, version);

#[allow(non_snake_case)]
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    error::quiet_panics();
    settings::define();
    lane::register_callbacks();
    relation::register_callbacks();
    replica::register_callbacks();
    seam::register_callbacks();
}
