//! Where the lanes begin of which retention has removed events, by the records of that: events `immutable.pruned` in the
//! chains of their tenants.

use crate::log::columns::{self as c, Layout};
use crate::log::row::{self, with_scratch};
use crate::log::segments;
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::{Tuple, Values};
use immutable_format::pruning::{self, Begin};
use immutable_format::target::Target;
use std::collections::HashMap;

/// Where lanes begin, by tenant and lane.
pub type Begins = HashMap<(String, i16), Begin>;

/// Where the lanes of a tenant begin, or those of all tenants, as far as the caller may read the records, with the
/// caller's snapshot. Each of several records may say it of a lane: the greatest seq counts. A row that is damaged or
/// altered is no record, nor is one outside of the log's own tables.
pub fn begins(tenant: Option<&str>) -> Begins {
    let mut begins = Begins::new();
    let stray = segments::stray(&segments::seen(), "e", "events");
    let (condition, given) = match tenant {
        Some(tenant) => (" AND e.tenant_id = $1", vec![Arg::text(tenant)]),
        None => ("", Vec::new()),
    };
    let action = pruning::ACTION;
    let statement =
        format!("SELECT e.* FROM immutable.events e WHERE e.action = '{action}'{condition} AND NOT {stray}");
    let mut layout = None;
    spi::stream(&statement, &given, |tuple: Tuple<'_>| {
        let values = tuple.values();
        // A table that has lost a column is an error of whoever reads whole events.
        let layout: &Option<Layout> = layout.get_or_insert_with(|| Layout::of(tuple.descriptor()).ok());
        let Some((tenant_id, lanes)) = layout.as_ref().and_then(|layout| record(&values, layout)) else { return };
        for begin in lanes {
            let known = begins.entry((tenant_id.clone(), begin.lane)).or_insert(begin);
            if known.seq < begin.seq {
                *known = begin;
            }
        }
    });
    begins
}

/// The tenant and the lanes of a record; None for a row that is none.
fn record(values: &Values<'_>, layout: &Layout) -> Option<(String, Vec<Begin>)> {
    let get = |column| values.get(layout, column);
    let stored = row::read(get).ok()?;
    let hash = with_scratch(|scratch| stored.hash(scratch)).ok()?;
    let envelope = &stored.envelope;
    if get(c::EVENT_HASH).and_then(row::hash) != Some(hash) || envelope.action != pruning::ACTION {
        return None;
    }
    let targets = stored.content.targets.iter().map(Target::canonical);
    Some((envelope.tenant_id.to_string(), pruning::begins(targets)?))
}
