//! `immutable`: a tamper-evident audit log in PostgreSQL.
//!
//! The rooms, from the ground up; each imports only from those below it, and a test holds that.
//!
//! [`settings`] has the limits; [`pg`] is PostgreSQL, made safe. [`log`] is what the log is made
//! of. [`guard`] keeps its tables and what protects them from being changed; [`access`] says who
//! may see or record what. [`write`](mod@write) is an event's way in, [`read`] the answers;
//! [`verify`] reports every break. [`erase`] destroys what may no longer be kept, and [`citus`]
//! makes the log ready for many machines.
//!
//! Every SQL object is declared in `sql/`, by hand and in one place: signatures, privileges and
//! comments are the product, so none of them is generated. `sql/install.list` has the order in
//! which they are run.

mod access;
mod citus;
mod erase;
mod guard;
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
    log::lane::register_callbacks();
    log::tables::register_callbacks();
    log::subscription::register_callbacks();
    log::seam::register_callbacks();
}
