//! What keeps events from being moved. A move is an INSERT and a DELETE, which nobody else's trigger, rule, foreign key
//! or publication may take for what it looks like.

use crate::log::subscription::others_sleep;
use crate::log::{distributed, segments};
use crate::pg::datum::text;
use crate::pg::error::{Code, Fault};
use crate::pg::spi;

/// A statement that finds what stands in the way, a sentence about it, and what can be done.
struct Obstacle {
    found: &'static str,
    message: fn(&str) -> String,
    hint: &'static str,
}

const OBSTACLES: [Obstacle; 5] = [
    Obstacle {
        found: "SELECT pg_catalog.format('%s on %s', t.tgname, t.tgrelid::pg_catalog.regclass) FROM pg_catalog.pg_trigger t \
            WHERE t.tgrelid IN ('immutable.events'::pg_catalog.regclass, 'immutable.event_targets'::pg_catalog.regclass) \
              AND NOT t.tgisinternal AND t.tgtype & 8 <> 0 AND t.tgenabled <> 'D' AND t.tgname NOT LIKE '~immutable\\_%'",
        message: |what| format!("trigger {what} would take a move of events for a deletion"),
        hint: "Drop the trigger, or leave DELETE out of its events: nothing but a move deletes there.",
    },
    Obstacle {
        found: "SELECT pg_catalog.format('%s on %s', r.rulename, r.ev_class::pg_catalog.regclass) FROM pg_catalog.pg_rewrite r \
            WHERE r.ev_class IN ('immutable.events'::pg_catalog.regclass, 'immutable.event_targets'::pg_catalog.regclass) \
              AND r.ev_type IN ('4', '3') AND r.ev_enabled <> 'D'",
        message: |what| format!("rule {what} would change a move of events"),
        hint: "Drop the rule.",
    },
    Obstacle {
        found: "SELECT pg_catalog.format('%s of %s', c.conname, c.conrelid::pg_catalog.regclass) FROM pg_catalog.pg_constraint c \
            WHERE c.contype = 'f' \
              AND c.confrelid IN ('immutable.events'::pg_catalog.regclass, 'immutable.event_targets'::pg_catalog.regclass) \
              AND c.conrelid <> 'immutable.event_targets'::pg_catalog.regclass",
        message: |what| format!("foreign key {what} would not find events that were moved"),
        hint: "Drop the constraint. Events are never deleted, so the reference holds without it.",
    },
    Obstacle {
        found: "SELECT pg_catalog.format('%I', p.pubname) FROM pg_catalog.pg_publication p \
            WHERE (p.puballtables OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace n \
                WHERE n.pnpubid = p.oid AND n.pnnspid = 'immutable'::pg_catalog.regnamespace)) \
                AND (p.pubinsert OR p.pubdelete) \
              OR p.pubdelete AND EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid \
                AND r.prrelid IN ('immutable.events'::pg_catalog.regclass, 'immutable.event_targets'::pg_catalog.regclass))",
        message: |what| format!("publication {what} would send the moves of events"),
        hint: "Publish FOR TABLE ONLY immutable.log, ONLY immutable.events, ONLY immutable.event_targets, and ALTER \
            PUBLICATION … SET (publish = 'insert, update').",
    },
    Obstacle {
        found: "SELECT pg_catalog.format('%I', p.pubname) FROM pg_catalog.pg_publication p \
            JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid JOIN pg_catalog.pg_inherits i ON i.inhrelid = r.prrelid \
            WHERE (p.pubinsert OR p.pubdelete) \
              AND i.inhparent IN ('immutable.events'::pg_catalog.regclass, 'immutable.event_targets'::pg_catalog.regclass)",
        message: |what| format!("publication {what} would send what moves from one segment to another"),
        hint: "It lists segments as tables of their own. ALTER PUBLICATION … SET TABLE ONLY immutable.log, ONLY \
            immutable.events, ONLY immutable.event_targets.",
    },
];

/// Refuses to move events where somebody else would see it as something else: 0A000, 55000.
pub fn refuse_where_seen() {
    segments::require();
    distributed::refuse("segments", "The shards of a distributed log are not divided any further.");
    if others_sleep() {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "events cannot be moved while session_replication_role is replica",
        )
        .hint("RESET session_replication_role.")
        .raise()
    }
    for obstacle in OBSTACLES {
        let mut found = None;
        spi::query_now(obstacle.found, &[], |row| {
            if found.is_none() {
                found = row.at(0).map(|what| text(what).to_string());
            }
        });
        if let Some(what) = found {
            Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, (obstacle.message)(&what))
                .hint(obstacle.hint)
                .raise()
        }
    }
}
