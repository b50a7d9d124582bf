//! Formats in which items are delivered. Each of them is a pure function of an item.

pub(crate) mod format;
