//! Row changes of one's own tables, as events of the same chain.

pub mod append;
pub mod buffer;
pub mod calls;
pub mod change;
pub mod collect;
pub mod condition;
pub mod context;
pub mod ddl;
pub mod dropped;
pub mod eligible;
pub mod expression;
pub mod mask;
pub mod note;
pub mod operation;
pub mod problem;
pub mod record;
pub mod recording;
pub mod request;
pub mod tracked;
pub mod tracking;
pub mod triggers;
pub mod value;
