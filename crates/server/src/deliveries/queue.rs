//! What is to be delivered, as the log gives it: leases, and what became of them.

use super::destinations::destination::Destination;
use super::formats::format::Format;
use super::item::{Item, Kind};
use crate::database::failure::{remedy, Remedy};
use crate::database::pool::Database;
use deadpool_postgres::Object;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use tokio_postgres::types::ToSql;

/// A call of the log is given up after this time.
const CALL: Duration = Duration::from_secs(30);

const DUE: &str = "SELECT immutable.due_deliveries()::text";
const TAKE: &str = "SELECT immutable.take_delivery($1::text::uuid, $2, $3, $4)::text";
const SETTLE: &str = "SELECT immutable.settle_delivery($1::text::uuid, $2, $3, $4, $5, $6)::text";

/// The log, as the program that delivers sees it.
pub(crate) struct Queue {
    database: Database,
    /// A name that no other program has.
    worker: String,
    lease: i32,
}

/// Which streams there are.
#[derive(Deserialize)]
pub(crate) struct Due {
    /// active, paused, standby or copy.
    pub(crate) state: String,
    pub(crate) streams: Vec<Stream>,
}

/// A stream, and whether there may be something to deliver.
#[derive(Deserialize, Clone)]
pub(crate) struct Stream {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) due: bool,
    pub(crate) state: String,
    pub(crate) dead_letters: i64,
}

/// What was taken under a lease.
#[derive(Deserialize)]
pub(crate) struct Taken {
    pub(crate) fence: i64,
    pub(crate) failures: usize,
    log_id: Option<String>,
    pub(crate) stream: Target,
    items: Vec<Given>,
}

/// Where a stream goes.
#[derive(Deserialize)]
pub(crate) struct Target {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) destination: Value,
    format: String,
}

#[derive(Deserialize)]
struct Given {
    id: String,
    kind: String,
    json: Value,
    document: Option<String>,
}

impl Target {
    /// The destination and the format.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn parse(&self) -> Result<(Destination, Format), String> {
        let (destination, format) = (Destination::parse(&self.destination)?, Format::parse(&self.format)?);
        destination.accepts(format)?;
        Ok((destination, format))
    }

    /// What a destination that is kept must be the same in.
    pub(crate) fn key(&self) -> String {
        format!("{} {}", self.format, self.destination)
    }
}

impl Taken {
    /// The items, in their order.
    pub(crate) fn items(&mut self) -> Vec<Item> {
        let (log_id, stream) = (self.log_id.clone().unwrap_or_default(), &self.stream.name);
        let item = |given: Given| Item {
            id: given.id,
            kind: if given.kind == "alert" { Kind::AlertTriggered } else { Kind::EventCreated },
            json: given.json,
            document: given.document,
            log_id: log_id.clone(),
            stream: stream.clone(),
        };
        std::mem::take(&mut self.items).into_iter().map(item).collect()
    }
}

/// What became of items.
pub(crate) struct Settlement<'a> {
    /// As `immutable.settle_delivery()` names it.
    pub(crate) outcome: &'static str,
    pub(crate) delivered: usize,
    pub(crate) reason: Option<&'a str>,
    /// When to try again.
    pub(crate) after: Option<Duration>,
}

impl Settlement<'_> {
    /// So many items were delivered, and nothing failed.
    pub(crate) fn delivered(count: usize) -> Settlement<'static> {
        Settlement { outcome: "delivered", delivered: count, reason: None, after: None }
    }

    /// The lease is given back.
    pub(crate) fn released() -> Settlement<'static> {
        Settlement { outcome: "released", ..Settlement::delivered(0) }
    }
}

impl Queue {
    /// The queue of a log, with a lease of so many seconds.
    pub(crate) fn new(database: Database, lease: Duration) -> Queue {
        let lease = i32::try_from(lease.as_secs()).unwrap_or(30).max(1);
        Queue { database, worker: uuid::Uuid::new_v4().to_string(), lease }
    }

    /// Which streams may have something to deliver.
    ///
    /// # Errors
    /// A sentence for the operator, as for all calls.
    pub(crate) async fn due(&self) -> Result<Due, String> {
        parse(self.call(DUE, &[]).await?.as_deref().unwrap_or_default())
    }

    /// Takes what is next of a stream, if there is anything and nobody else has it.
    pub(crate) async fn take(&self, stream: &str, most: i32) -> Result<Option<Taken>, String> {
        let taken = self.call(TAKE, &[&stream, &self.worker, &most, &self.lease]).await?;
        taken.as_deref().map(parse).transpose()
    }

    /// Says what became of what was taken; whether some of it is left.
    pub(crate) async fn settle(&self, taken: &Taken, settlement: &Settlement<'_>) -> Result<bool, String> {
        let delivered = i32::try_from(settlement.delivered).unwrap_or(i32::MAX);
        let after = settlement.after.map(|after| after.as_secs_f64());
        let (id, reason) = (&taken.stream.id, settlement.reason);
        let arguments: [&(dyn ToSql + Sync); 6] = [id, &taken.fence, &settlement.outcome, &delivered, &reason, &after];
        Ok(self.call(SETTLE, &arguments).await?.as_deref() == Some("true"))
    }

    async fn call(&self, statement: &str, arguments: &[&(dyn ToSql + Sync)]) -> Result<Option<String>, String> {
        let late = |_| String::from("the database did not answer in time");
        let connection = tokio::time::timeout(CALL, self.database.pool.get()).await.map_err(late)?;
        let connection = connection.map_err(|error| chain(&error))?;
        let call = async {
            let prepared = connection.prepare_cached(statement).await?;
            connection.query_one(&prepared, arguments).await
        };
        let answer = tokio::time::timeout(CALL, call).await;
        match answer {
            Ok(Ok(row)) => row.try_get(0).map_err(|error| chain(&error)),
            Ok(Err(error)) => {
                if remedy(&error) != Remedy::None {
                    // What the connection has left is not known.
                    drop(Object::take(connection));
                }
                Err(chain(&error))
            }
            Err(elapsed) => {
                drop(Object::take(connection));
                Err(late(elapsed))
            }
        }
    }
}

fn parse<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("the log's answer cannot be read: {error}"))
}

/// An error with what caused it.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
