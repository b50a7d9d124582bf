//! One call of an SQL function, with the proof of who asks.
//!
//! BEGIN, the proof, the call and COMMIT go to the server in one flush. The proof is set for the
//! transaction alone: whatever happens, the next borrower of the connection has none.

use super::failure::{self, Remedy};
use super::lending::Lent;
use super::pool::Database;
use crate::http::credentials::Credentials;
use crate::http::problem::Problem;
use futures_util::future::join4;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{timeout, timeout_at, Instant};
use tokio_postgres::types::ToSql;
use tokio_postgres::Error;

/// A call is answered within this time, or refused: clients give up after five seconds.
const DEADLINE: Duration = Duration::from_secs(4);

/// How long before the deadline a call is cancelled, so that its end is known when the client is told.
const TO_CANCEL: Duration = Duration::from_millis(400);

/// How often a call begins anew that another transaction was in the way of.
const ATTEMPTS: u32 = 5;

pub(super) const PROOF: &str = "SELECT pg_catalog.set_config('immutable.proof', $1, true), \
    pg_catalog.set_config('immutable.client_address', $2, true), pg_catalog.set_config('TimeZone', 'UTC', true)";

/// An SQL function and its arguments.
#[derive(Clone)]
pub(crate) struct Call {
    /// A statement that returns one row of one text. Its parameters are texts, which it casts.
    pub(crate) statement: &'static str,
    pub(crate) arguments: Vec<Option<String>>,
}

impl Database {
    /// What the function returns, as text; None for NULL.
    ///
    /// # Errors
    /// What the log or the way to it refused, as the client is told it.
    pub(crate) async fn call(&self, credentials: &Credentials, call: Call) -> Result<Option<String>, Problem> {
        self.spawned(credentials, call, Way::Pipelined).await
    }

    async fn spawned(&self, credentials: &Credentials, call: Call, way: Way) -> Result<Option<String>, Problem> {
        let (database, credentials) = (self.clone(), credentials.clone());
        let until = Instant::now() + DEADLINE.saturating_sub(TO_CANCEL);
        // A client that goes away ends the handler. The call goes on, so that no transaction stays open.
        let task = tokio::spawn(async move { database.attempt(&credentials, &call, &way, until).await });
        task.await.unwrap_or_else(|_| Err(failure::unexpected()))
    }

    /// The same for a statement that is `SELECT function(…)::text` and nothing more: the proof is set by the statement
    /// itself, which takes half of the time. The function must read the proof when it runs, as those in C do, and
    /// not already when it is planned.
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn call_function(&self, credentials: &Credentials, call: Call) -> Result<Option<String>, Problem> {
        let way = Way::AtOnce(shown_by_itself(&call));
        self.spawned(credentials, call, way).await
    }

    /// The extension's version, None if the database does not have it; and whether the server is a standby.
    ///
    /// # Errors
    /// 503 if the database does not answer within two seconds.
    pub(crate) async fn version(&self) -> Result<(Option<String>, bool), Problem> {
        let statement = "SELECT pg_catalog.pg_is_in_recovery(), \
            (SELECT extversion FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'immutable')";
        let database = self.clone();
        let asked = tokio::spawn(async move {
            let lent = database.lend(Instant::now() + Duration::from_secs(2)).await?;
            let rows = lent.query_one(statement, &[]);
            let row = timeout(Duration::from_secs(2), rows).await.map_err(|_| failure::late())?;
            let row = row.map_err(|error| failure::of_error(&error))?;
            lent.give_back();
            Ok((row.get(1), row.get(0)))
        });
        asked.await.unwrap_or_else(|_| Err(failure::unexpected()))
    }

    async fn attempt(
        &self,
        credentials: &Credentials,
        call: &Call,
        way: &Way,
        until: Instant,
    ) -> Result<Option<String>, Problem> {
        let mut attempts = 1;
        loop {
            let lent = self.lend(until).await?;
            let error = match ended(&lent, credentials, call, way, until).await {
                Ok(answer) => {
                    lent.give_back();
                    return Ok(answer);
                }
                Err(Ended::Late) => return Err(failure::late()),
                Err(Ended::Failed(error)) => error,
            };
            let remedy = failure::remedy(&error);
            if remedy == Remedy::None || remedy == Remedy::Again {
                lent.give_back();
            }
            if matches!(remedy, Remedy::None | Remedy::Replace) || attempts == ATTEMPTS || Instant::now() >= until {
                return Err(failure::of_error(&error));
            }
            attempts += 1;
        }
    }
}

/// How a call ended that has no answer.
enum Ended {
    /// It was cancelled, or is lost: it took too long.
    Late,
    Failed(Error),
}

/// Makes the call, and cancels it when its time is over. One that was done before the cancellation came is answered.
/// Then the connection is not lent again, because the cancellation might hit the next call.
async fn ended(
    lent: &Lent,
    credentials: &Credentials,
    call: &Call,
    way: &Way,
    until: Instant,
) -> Result<Option<String>, Ended> {
    let mut exchange = pin!(async {
        match way {
            Way::Pipelined => pipelined(lent, credentials, call, until).await,
            Way::AtOnce(statement) => at_once(lent, credentials, call, statement, until).await,
        }
    });
    if let Ok(result) = timeout_at(until, &mut exchange).await {
        return result;
    }
    // A cancellation that comes before the call does nothing, so there is a second one.
    for _ in 0..2 {
        lent.cancel().await;
        if let Ok(result) = timeout(TO_CANCEL / 2, &mut exchange).await {
            return result.map_err(|_| Ended::Late);
        }
    }
    Err(Ended::Late)
}

/// What has been prepared too late is not sent.
fn hold_to(until: Instant) -> Result<(), Ended> {
    if Instant::now() < until {
        Ok(())
    } else {
        Err(Ended::Late)
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Ended {
        Ended::Failed(error)
    }
}

async fn pipelined(
    lent: &Lent,
    credentials: &Credentials,
    call: &Call,
    until: Instant,
) -> Result<Option<String>, Ended> {
    let set = lent.prepare_cached(PROOF).await?;
    let function = lent.prepare_cached(call.statement).await?;
    hold_to(until)?;
    let address = credentials.address.map(|a| a.to_string()).unwrap_or_default();
    let shown: [&(dyn ToSql + Sync); 2] = [&credentials.proof, &address];
    let arguments: Vec<&(dyn ToSql + Sync)> = call.arguments.iter().map(|a| a as _).collect();
    let (begun, set, answer, ended) = join4(
        lent.batch_execute("BEGIN"),
        lent.query(&set, &shown),
        lent.query_one(&function, &arguments),
        lent.batch_execute("COMMIT"),
    )
    .await;
    begun?;
    set?;
    let answer = answer?;
    ended?;
    Ok(answer.try_get(0)?)
}

/// How the proof goes with a call.
enum Way {
    /// In a statement of its own, in one transaction with the call.
    Pipelined,
    /// In this statement, which is a transaction by itself.
    AtOnce(String),
}

/// The statement with the proof in it. The row of the inner SELECT is made before the function is called for it: it
/// is not pulled up or left out, because set_config() is volatile.
fn shown_by_itself(call: &Call) -> String {
    let (proof, address) = (call.arguments.len() + 1, call.arguments.len() + 2);
    let statement = call.statement;
    format!(
        "{statement} FROM (SELECT pg_catalog.set_config('immutable.proof', ${proof}, true), \
         pg_catalog.set_config('immutable.client_address', ${address}, true), \
         pg_catalog.set_config('TimeZone', 'UTC', true)) AS shown"
    )
}

async fn at_once(
    lent: &Lent,
    credentials: &Credentials,
    call: &Call,
    statement: &str,
    until: Instant,
) -> Result<Option<String>, Ended> {
    let function = lent.prepare_cached(statement).await?;
    hold_to(until)?;
    let address = credentials.address.map(|a| a.to_string()).unwrap_or_default();
    let shown: [&(dyn ToSql + Sync); 2] = [&credentials.proof, &address];
    let arguments: Vec<&(dyn ToSql + Sync)> = call.arguments.iter().map(|a| a as _).chain(shown).collect();
    Ok(lent.query_one(&function, &arguments).await?.try_get(0)?)
}
