//! Who may see or record what.

pub mod api_key;
pub mod api_key_arguments;
pub mod api_keys;
pub mod binding;
pub mod client;
pub mod decision;
pub mod grant;
pub mod grant_row;
pub mod grants_table;
pub mod key_scope;
pub mod keys;
pub mod lent;
pub mod membership;
pub mod opened;
pub mod proof;
pub mod revocation;
pub mod scope;
pub mod ticket;
pub mod token;
pub mod viewer_tokens;
