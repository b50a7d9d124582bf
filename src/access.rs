//! Who may see or record what.

pub mod api_key;
pub mod binding;
pub mod decision;
pub mod grant;
pub mod grants_table;
pub mod keys;
pub mod proof;
pub mod revocation;
pub mod scope;
pub mod ticket;
pub mod token;
