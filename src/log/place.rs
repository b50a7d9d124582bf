//! The place of a log: a cluster, its timeline, and a database. A log that was restored, promoted or
//! copied is at another place than the one that it has noted.

use crate::pg::datum::Datum;
use crate::pg::server;
use crate::pg::tuple::Values;
use pgrx::pg_sys::{self, Oid};

/// A cluster, its timeline, and a database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place {
    system_identifier: u64,
    timeline: u32,
    database: Oid,
}

impl Place {
    /// The place of this backend. It must not be on a standby.
    pub fn here() -> Place {
        Place {
            system_identifier: server::system_identifier(),
            timeline: server::timeline(),
            database: server::database(),
        }
    }

    /// The place in a row whose columns system_identifier, timeline and database begin at `first`.
    pub fn of(row: &Values, first: usize) -> Place {
        Place {
            system_identifier: row.at(first).map_or(0, Datum::i64) as u64,
            timeline: row.at(first + 1).map_or(0, Datum::i32) as u32,
            database: row.at(first + 2).map_or(pg_sys::InvalidOid, Datum::oid),
        }
    }

    /// Whether it is the place of this backend.
    pub fn is_here(self) -> bool {
        self == Place::here()
    }

    /// The values of the columns system_identifier, timeline and database.
    pub fn columns(self) -> [Datum<'static>; 3] {
        [Datum::from(self.system_identifier), Datum::from(self.timeline as i32), Datum::from(self.database)]
    }

    /// As the log's own events have it.
    pub fn json(self) -> String {
        let Place { system_identifier, timeline, database } = self;
        // The identifier is a string, because some JSON parsers cannot hold so large an integer.
        let database = database.to_u32();
        format!("{{\"system_identifier\":\"{system_identifier}\",\"timeline\":{timeline},\"database\":{database}}}")
    }
}
