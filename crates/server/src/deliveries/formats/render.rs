//! An item in any of the formats.

use super::format::Format;
use super::options::Options;
use super::{cef, cloudevents, json, leef, ocsf};
use crate::deliveries::item::Item;
use serde_json::Value;

/// The item as JSON: an object, or a text for the formats that are lines of text.
pub(crate) fn value(item: &Item, format: Format, options: &Options) -> Value {
    match format {
        Format::Json => json::render(item),
        Format::Ocsf => ocsf::render(item, options),
        Format::CloudEvents => cloudevents::render(item, options),
        Format::Cef => Value::String(cef::render(item)),
        Format::Leef => Value::String(leef::render(item, options)),
    }
}

/// The item as one line without its end.
pub(crate) fn line(item: &Item, format: Format, options: &Options) -> String {
    match value(item, format, options) {
        Value::String(line) => line,
        object => object.to_string(),
    }
}
