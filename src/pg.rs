//! The safe interface to PostgreSQL. Nothing here knows what an event is. A file that calls PostgreSQL
//! itself says so at its head; outside of this room none may.

pub mod aggregate;
pub mod call;
pub mod catalog;
pub mod command;
pub mod conflict;
pub mod datum;
pub mod encoding;
pub mod error;
pub mod extension;
pub mod file;
pub mod jsonb;
pub mod lock;
pub mod memory;
pub mod nesting;
pub mod network;
pub mod output;
pub mod procedure;
pub mod random;
pub mod relation;
pub mod replication;
pub mod role;
pub mod server;
pub mod set;
pub mod setting;
pub mod shared;
pub mod spi;
pub mod subtransaction;
pub mod time;
pub mod toast;
pub mod transaction;
pub mod transition;
pub mod trigger;
pub mod tuple;
pub mod worker;
pub mod zone;
