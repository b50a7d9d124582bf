//! settle_delivery(): what became of what was taken.

use crate::jobs::streams_calls::switch_off;
use crate::jobs::streams_items::parse_name;
use crate::jobs::streams_letters::{delivered_again, refused_again, Letter};
use crate::jobs::streams_position::Position;
use crate::jobs::streams_table::{as_owner, lock};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, uuid, Datum};
use crate::pg::error::Fault;
use crate::pg::spi::{self, Arg};
use crate::pg::transaction;
use immutable_format::Id;

/// Most bytes of a reason.
const REASON_BYTES: usize = 500;

/// How many items may be refused in a row. Where a receiver refuses everything, it is not the items
/// that are wrong.
const MOST_REFUSED: i32 = 100;

/// The longest time until the next try, in seconds.
const MOST_SECONDS: f64 = 7.0 * 24.0 * 3600.0;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Delivered,
    Retry,
    Refused,
    Off,
    Released,
}

const OUTCOMES: [(&str, Outcome); 5] = [
    ("delivered", Outcome::Delivered),
    ("retry", Outcome::Retry),
    ("refused", Outcome::Refused),
    ("off", Outcome::Off),
    ("released", Outcome::Released),
];

sql_function!(immutable_settle_delivery, pg_finfo_immutable_settle_delivery, settle_delivery);

/// `immutable.settle_delivery(stream_id, fence, outcome, delivered, reason, retry_seconds)`
fn settle_delivery(call: Call) -> Datum {
    let hint = "Pass what immutable.take_delivery() returned.";
    let id = uuid(call.required(0, "stream_id", hint));
    let fence = call.required(1, "fence", hint).i64();
    let named = text(call.required(2, "outcome", hint));
    let Some((_, outcome)) = OUTCOMES.iter().find(|(name, _)| *name == named) else {
        Fault::invalid("outcome", "outcome must be delivered, retry, refused, off or released").raise()
    };
    let delivered = usize::try_from(call.arg(3).map_or(0, Datum::i32)).unwrap_or(usize::MAX);
    let reason: String = call.arg(4).map_or("", text).chars().filter(|c| !c.is_control()).collect();
    let reason = shortened(&reason).to_string();
    let seconds = call.arg(5).map_or(5.0, Datum::f64);
    if !(0.0..=MOST_SECONDS).contains(&seconds) {
        Fault::invalid("retry_seconds", format!("retry_seconds must be from 0 to {MOST_SECONDS}")).raise()
    }
    transaction::require_writable(c"immutable.settle_delivery()");
    lock(&id).acquire(true);
    let is_held = as_owner(|| {
        let Some(position) = Position::find(&id).filter(|p| p.fence == fence && p.pending_kind.is_some()) else {
            return false;
        };
        if delivered > position.pending.len() {
            Fault::invalid("delivered", "delivered is more than what was taken and not acknowledged").raise()
        }
        let kind = position.pending_kind.clone().unwrap_or_default();
        Settled { position, kind, now: transaction::now(), reason, retry: (seconds * 1_000_000.0) as i64 }
            .settle(*outcome, delivered)
    });
    Datum::from(is_held)
}

/// As much of a reason as is kept.
fn shortened(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

struct Settled {
    position: Position,
    kind: String,
    now: i64,
    reason: String,
    retry: i64,
}

impl Settled {
    /// Writes what became of the items; whether some are left under this lease.
    fn settle(mut self, outcome: Outcome, delivered: usize) -> bool {
        if self.kind == "test" {
            return self.settle_test(outcome, delivered);
        }
        self.acknowledge(delivered);
        match outcome {
            Outcome::Delivered => {}
            Outcome::Retry => self.fail(),
            Outcome::Refused => self.refuse(),
            Outcome::Off => {
                self.fail();
                switch_off(&self.position.stream_id, &self.reason);
            }
            Outcome::Released => self.position.release(),
        }
        let position = &mut self.position;
        if position.pending_kind.is_some() {
            if position.pending.is_empty() {
                if self.kind != "replay" {
                    position.mark = std::mem::take(&mut position.pending_mark);
                    position.acknowledged = std::mem::take(&mut position.pending_left);
                }
                position.release();
            } else {
                position.leased_until = Some(self.now + i64::from(position.lease_seconds) * 1_000_000);
            }
        }
        self.position.write();
        self.position.pending_kind.is_some()
    }

    fn settle_test(mut self, outcome: Outcome, delivered: usize) -> bool {
        let is_delivered = outcome == Outcome::Delivered && delivered > 0;
        if outcome == Outcome::Delivered && !is_delivered {
            self.position.leased_until = Some(self.now + i64::from(self.position.lease_seconds) * 1_000_000);
        } else {
            if outcome != Outcome::Released {
                self.position.test_finished_at = Some(self.now);
                self.position.test_error = (!is_delivered).then(|| std::mem::take(&mut self.reason));
            }
            self.position.release();
        }
        self.position.write();
        self.position.pending_kind.is_some()
    }

    /// The first items were delivered.
    fn acknowledge(&mut self, delivered: usize) {
        if delivered == 0 {
            return;
        }
        let names: Vec<String> = self.position.pending.drain(..delivered).collect();
        if self.kind == "alerts" {
            let ids = names.iter().filter_map(|name| parse_name(name)).map(|(id, _)| id);
            ids.for_each(|id| notified(&id, self.now));
        }
        match &*self.kind {
            "replay" => names.iter().for_each(|name| delivered_again(name)),
            _ => self.position.acknowledged.extend(names),
        }
        let position = &mut self.position;
        position.delivered = position.delivered.saturating_add(delivered as i64);
        position.delivered_at = Some(self.now);
        (position.failures, position.refused) = (0, 0);
        (position.failed_at, position.last_error, position.retry_at) = (None, None, None);
    }

    /// The next item failed: the lease ends, and what is left is tried again later.
    fn fail(&mut self) {
        let position = &mut self.position;
        position.failures = position.failures.saturating_add(1);
        position.failed_at = Some(self.now);
        position.retry_at = Some(self.now.saturating_add(self.retry));
        position.last_error = Some(self.reason.clone());
        position.release();
    }

    /// The next item will never be taken: it becomes a dead letter.
    fn refuse(&mut self) {
        if self.position.refused >= MOST_REFUSED {
            self.reason = format!("{MOST_REFUSED} items in a row were refused: {}", self.reason);
            self.reason = shortened(&self.reason).to_string();
            return self.fail();
        }
        if self.position.pending.is_empty() {
            return;
        }
        let name = self.position.pending.remove(0);
        self.position.refused += 1;
        if self.kind == "replay" {
            return refused_again(&name, &self.reason, self.now);
        }
        if let Some((item_id, tenant_id)) = parse_name(&name) {
            let content = if self.kind == "alerts" { "alerts" } else { "events" };
            let letter = Letter { stream_id: self.position.stream_id, content, tenant_id, item_id };
            letter.write(&self.reason, self.now);
        }
        self.position.acknowledged.push(name);
    }
}

/// Somebody was told of an alert. The first time counts.
fn notified(id: &Id, now: i64) {
    spi::execute(
        "UPDATE immutable.alerts a SET notified_at = $2 WHERE a.id OPERATOR(pg_catalog.=) $1 AND a.notified_at IS NULL",
        &[Arg::Uuid(*id), Arg::Time(now)],
    );
}
