//! Sends items in batches. A batch that is refused is halved until the item is found that cannot be accepted.

use super::delivery::BUDGET;
use crate::deliveries::outcome::{Outcome, Sent};
use std::future::Future;
use std::ops::Range;
use std::time::Instant;

/// How much goes into one batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

/// Items that can be sent some at a time.
pub(crate) trait Batches {
    /// How many items there are.
    fn len(&self) -> usize;
    /// How many bytes this item is of a batch, or why it must not be sent.
    fn size(&self, item: usize) -> Result<usize, String>;
    /// Sends these items. None if all of them were accepted.
    fn post(&self, items: Range<usize>) -> impl Future<Output = Option<Outcome>> + Send;
}

/// Sends all items in their order, as far as time allows and nothing fails.
pub(crate) async fn send<B: Batches + Sync>(batches: &B, limits: Limits, began: Instant) -> Sent {
    let (mut delivered, mut most) = (0, limits.items);
    while delivered < batches.len() && (delivered == 0 || began.elapsed() < BUDGET) {
        let batch = match next(batches, delivered, most, limits.bytes) {
            Ok(batch) => batch,
            Err(reason) => return Sent { delivered, outcome: Outcome::Refused { reason } },
        };
        let (end, items) = (batch.end, batch.len());
        match batches.post(batch).await {
            None => delivered = end,
            // One of them is the culprit. The others are sent without it.
            Some(Outcome::Refused { .. }) if items > 1 => most = items / 2,
            Some(outcome) => return Sent { delivered, outcome },
        }
    }
    Sent { delivered, outcome: Outcome::Delivered }
}

/// The items from `start` on that fit into one batch: at least one, and none that must not be sent.
fn next<B: Batches>(batches: &B, start: usize, most: usize, bytes: usize) -> Result<Range<usize>, String> {
    let mut total = batches.size(start)?;
    let mut end = start + 1;
    while end < batches.len() && end - start < most {
        match batches.size(end) {
            Ok(size) if total + size <= bytes => total += size,
            _ => break,
        }
        end += 1;
    }
    Ok(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Mutex;

    /// Items with sizes; some of them are refused by the receiver, some must not be sent at all.
    struct Numbers {
        sizes: Vec<usize>,
        poison: Vec<usize>,
        accepted: Mutex<Vec<usize>>,
    }

    impl Batches for Numbers {
        fn len(&self) -> usize {
            self.sizes.len()
        }
        fn size(&self, item: usize) -> Result<usize, String> {
            if self.sizes[item] > 90 {
                Err(String::from("too large"))
            } else {
                Ok(self.sizes[item])
            }
        }
        async fn post(&self, items: Range<usize>) -> Option<Outcome> {
            assert!(items.len() <= 8);
            assert!(items.len() == 1 || items.clone().map(|item| self.sizes[item]).sum::<usize>() <= 100);
            if items.clone().any(|item| self.poison.contains(&item)) {
                return Some(Outcome::Refused { reason: String::from("poison") });
            }
            self.accepted.lock().unwrap().extend(items);
            None
        }
    }

    proptest! {
        #[test]
        fn each_good_item_is_sent_once_and_in_order(
            sizes in prop::collection::vec(1usize..100, 0..60), poison in prop::collection::vec(0usize..60, 0..5)
        ) {
            let numbers = Numbers { poison, accepted: Mutex::default(), sizes };
            let good = |item: &usize| numbers.sizes[*item] <= 90 && !numbers.poison.contains(item);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let sent = runtime.block_on(send(&numbers, Limits { items: 8, bytes: 100 }, Instant::now()));
            let bad = (0..numbers.sizes.len()).find(|item| !good(item));
            prop_assert_eq!(sent.delivered, bad.unwrap_or(numbers.sizes.len()));
            prop_assert_eq!(bad.is_some(), matches!(sent.outcome, Outcome::Refused { .. }));
            prop_assert_eq!(numbers.accepted.into_inner().unwrap(), (0..sent.delivered).collect::<Vec<_>>());
        }
    }
}
