//! Logs that Citus has distributed: their events are on other nodes.

use crate::log::tables::events_oid;
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::spi::{self, Arg};

/// Refuses (0A000) what needs all events of the log on this node. `what` is a plural, such as
/// `checkpoints`.
pub fn refuse(what: &str) {
    let mut is_distributed = false;
    spi::query_now("SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL", &[], |row| {
        is_distributed = row.at(0).is_some_and(Datum::bool);
    });
    if is_distributed {
        is_distributed = false;
        spi::query_now(
            "SELECT FROM pg_catalog.pg_dist_partition d WHERE d.logicalrelid OPERATOR(pg_catalog.=) $1",
            &[Arg::Oid(events_oid())],
            |_| is_distributed = true,
        );
    }
    if is_distributed {
        Fault::new(Code::ERRCODE_FEATURE_NOT_SUPPORTED, format!("{what} of a distributed log are not supported"))
            .raise()
    }
}
