//! Rewriting an event, so that values of it are gone: in the table that holds it, hot or a segment's, and in its rows of
//! event_targets. The triggers of these tables see to it that nothing else changes.

use crate::log::segments;
use crate::log::tables::events_oid;
use crate::pg::error::{Code, Fault};
use crate::pg::spi::{self, Arg};
use immutable_format::event::TARGETS;
use immutable_format::json::Value;
use pgrx::pg_sys::{self, Oid};

/// The tables that hold events of the log. Another child of immutable.events is none of them.
pub struct Homes {
    hot: Oid,
    segments: Vec<(Oid, Home)>,
}

/// The table that holds an event, and the one that holds its targets.
#[derive(Clone)]
pub struct Home {
    events: String,
    targets: String,
}

impl Homes {
    /// Those that there are now.
    pub fn now() -> Homes {
        let home = |segment: &segments::Segment| Home {
            events: format!("immutable.{}", segment.events_table()),
            targets: format!("immutable.{}", segment.targets_table()),
        };
        let segments = segments::now().iter().map(|segment| (segment.events_oid(), home(segment))).collect();
        Homes { hot: events_oid(), segments }
    }

    /// The one whose table of events this is.
    pub fn of(&self, table: Oid) -> Option<Home> {
        if table == self.hot {
            return Some(Home { events: "immutable.events".into(), targets: "immutable.event_targets".into() });
        }
        let (_, home) = self.segments.iter().find(|(known, _)| *known == table)?;
        (table != pg_sys::InvalidOid).then(|| home.clone())
    }
}

impl Home {
    /// Erases the paths from an event. A statement's parameters can get into the server's log, where the remaining values
    /// and salts would be copies. So the statement only names the paths, and the table's own trigger erases them.
    pub fn erase(&self, tenant_id: &str, id: Arg, paths: &[&str]) {
        let mut requested = String::new();
        Value::Array(paths.iter().map(|path| Value::String((*path).into())).collect()).write(&mut requested);
        let mut updated = 0;
        let events = &self.events;
        spi::query_now(
            &format!("UPDATE ONLY {events} e SET erased = $3 WHERE e.tenant_id = $1 AND e.id = $2 RETURNING e.id"),
            &[Arg::text(tenant_id), id.clone(), Arg::Json(requested.into())],
            |_| updated += 1,
        );
        if updated != 1 {
            // A record of an erasure that did not happen would be worse than none.
            Fault::new(
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("a trigger or rule on {events} suppressed the erasure of an event"),
            )
            .hint("Drop the trigger or rule, and erase again.")
            .raise()
        }
        let positions: Vec<&str> = paths.iter().filter_map(|path| path.strip_prefix(TARGETS)).collect();
        if !positions.is_empty() {
            let statement = format!(
                "UPDATE ONLY {} t SET target_id = NULL, target_name = NULL, target_metadata = NULL \
                 WHERE t.tenant_id = $1 AND t.event_id = $2 AND t.position = ANY (CAST($3 AS pg_catalog.int2[]))",
                self.targets
            );
            let positions = Arg::text(format!("{{{}}}", positions.join(",")));
            spi::execute(&statement, &[Arg::text(tenant_id), id, positions]);
        }
    }
}
