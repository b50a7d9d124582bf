//! `immutable`: a tamper-evident audit log in PostgreSQL.
//!
//! The modules from the ground up. Each imports only from those below it, and a test checks that.
//!
//! [`settings`] has the limits, and [`pg`] the safe interface to PostgreSQL. [`log`] has the parts
//! of the log: its tables, rows, lanes and seams. [`guard`] refuses changes of its tables and of
//! what protects them. [`access`] decides who may see or record what. [`write`](mod@write) records
//! events, [`read`] answers queries, and [`verify`] reports every break. [`erase`] destroys values
//! that may no longer be kept, [`capture`] records row changes of other tables, and [`citus`]
//! prepares the log for several machines.
//!
//! Every SQL object is declared by hand in `sql/`, because signatures, privileges and comments are
//! part of the product. `sql/install.list` has the order in which the files run.

mod access;
mod capture;
mod citus;
mod erase;
mod evidence;
mod guard;
mod jobs;
mod log;
mod pg;
mod read;
mod settings;
mod verify;
mod write;

pgrx::pg_module_magic!(name, version);

/// Called by PostgreSQL when it loads the library.
#[allow(non_snake_case)]
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::error::quiet_panics();
    settings::define(&settings::OfSessions {
        switch: pg::setting::define_session_switch,
        text: pg::setting::define_session_text,
    });
    pg::setting::reserve_prefix(c"immutable");
    pg::statement::register();
    log::lane::register_callbacks();
    log::own_id::register_callbacks();
    write::sealed::register_callbacks();
    log::tables::register_callbacks();
    log::distributed::register_callbacks();
    log::shard_range::register_callbacks();
    log::shared_table::register_callbacks();
    log::subscription::register_callbacks();
    log::seam::register_callbacks();
    jobs::worker::register();
    access::proof::register_callbacks();
    write::schemas::cache::register_callbacks();
    access::lent::register_callbacks();
    capture::tracked::register_callbacks();
    capture::buffer::register_callbacks();
    capture::append::register_callbacks();
}
