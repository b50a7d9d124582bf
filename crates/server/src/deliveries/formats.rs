//! Formats in which items are delivered. Each of them is a pure function of an item.

pub(crate) mod cef;
pub(crate) mod cloudevents;
pub(crate) mod format;
pub(crate) mod json;
pub(crate) mod leef;
pub(crate) mod ocsf;
pub(crate) mod options;
pub(crate) mod render;
pub(crate) mod text;
pub(crate) mod view;

#[cfg(test)]
pub(crate) mod samples;
