//! One call of `send`, as the destinations see it.

use crate::deliveries::directories::Directories;
use crate::deliveries::formats::format::Format;
use crate::deliveries::formats::options::Options;
use crate::deliveries::formats::render;
use crate::deliveries::item::Item;
use crate::deliveries::outcome::Outcome;
use std::time::{Duration, Instant};

/// No batch is begun after this time.
pub(crate) const BUDGET: Duration = Duration::from_secs(30);

/// What is to be sent, and how.
#[derive(Clone, Copy)]
pub(crate) struct Delivery<'a> {
    pub(crate) items: &'a [Item],
    pub(crate) format: Format,
    pub(crate) options: &'a Options,
    pub(crate) directories: &'a Directories,
    pub(crate) began: Instant,
}

impl Delivery<'_> {
    /// Each item as one line without its end.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.items.iter().map(|item| render::line(item, self.format, self.options)).collect()
    }
}

/// Something that an operator or time will mend.
pub(crate) fn later(reason: impl Into<String>) -> Outcome {
    Outcome::Retry { reason: reason.into(), after: None }
}
