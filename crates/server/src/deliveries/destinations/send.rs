//! Sends items to a destination.

use super::delivery::{later, Delivery};
use super::destination::{Destination, Place};
use crate::deliveries::directories::Directories;
use crate::deliveries::formats::format::Format;
use crate::deliveries::item::Item;
use crate::deliveries::outcome::{Outcome, Sent};
use std::time::Instant;

/// Sends the items in their order. Takes at most about a minute, and tries at least the first item.
///
/// The future may be dropped at any time: what was sent then is sent again.
pub(crate) async fn send(destination: &Destination, format: Format, items: &[Item], directories: &Directories) -> Sent {
    if items.is_empty() {
        return Sent { delivered: 0, outcome: Outcome::Delivered };
    }
    if let Err(reason) = destination.accepts(format) {
        return Sent { delivered: 0, outcome: later(reason) };
    }
    let delivery = Delivery { items, format, options: &destination.options, directories, began: Instant::now() };
    match &destination.place {
        Place::Webhook(webhook) => webhook.send(&delivery).await,
        Place::Splunk(splunk) => splunk.send(&delivery).await,
        Place::Datadog(datadog) => datadog.send(&delivery).await,
        Place::Syslog(syslog) => syslog.send(&delivery).await,
        Place::Files(files) => files.send(&delivery).await,
    }
}
