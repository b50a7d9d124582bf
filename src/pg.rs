//! PostgreSQL, made safe. Nothing here knows what an event is.

pub mod call;
pub mod datum;
pub mod error;
pub mod jsonb;
pub mod lock;
pub mod random;
pub mod relation;
pub mod setting;
pub mod spi;
pub mod subtransaction;
pub mod toast;
pub mod trigger;
pub mod tuple;
