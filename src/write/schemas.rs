//! Action schemas: which actions a log or a tenant takes, and what their metadata looks like.

pub mod admission;
pub mod cache;
pub mod document;
pub mod listing;
pub mod metered;
pub mod setting;
pub mod table;
pub mod warnings;
