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
pub(crate) const DEADLINE: Duration = Duration::from_secs(4);

/// How long before the deadline a call is cancelled, so that its end is known when the client is told.
const TO_CANCEL: Duration = Duration::from_millis(400);

/// How often a call begins anew that another transaction was in the way of.
const ATTEMPTS: u32 = 5;

pub(super) const PROOF: &str = "SELECT pg_catalog.set_config('immutable.proof', $1, true), \
    pg_catalog.set_config('immutable.client_address', $2, true)";

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
        self.call_within(credentials, call, DEADLINE).await
    }

    /// The same with another deadline, for a function that may take longer, or has to be quicker.
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn call_within(
        &self,
        credentials: &Credentials,
        call: Call,
        within: Duration,
    ) -> Result<Option<String>, Problem> {
        let (database, credentials) = (self.clone(), credentials.clone());
        let until = Instant::now() + within.saturating_sub(TO_CANCEL);
        // A client that goes away ends the handler. The call goes on, so that no transaction stays open.
        let task = tokio::spawn(async move { database.attempt(&credentials, &call, until).await });
        task.await.unwrap_or_else(|_| Err(failure::unexpected()))
    }

    async fn attempt(&self, credentials: &Credentials, call: &Call, until: Instant) -> Result<Option<String>, Problem> {
        let mut attempts = 1;
        loop {
            let lent = self.lend(until).await?;
            let error = match ended(&lent, credentials, call, until).await {
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
async fn ended(lent: &Lent, credentials: &Credentials, call: &Call, until: Instant) -> Result<Option<String>, Ended> {
    let mut exchange = pin!(exchange(lent, credentials, call));
    match timeout_at(until, &mut exchange).await {
        Ok(result) => result.map_err(Ended::Failed),
        Err(_) => {
            lent.cancel().await;
            match timeout(TO_CANCEL, &mut exchange).await {
                Ok(Ok(answer)) => Ok(answer),
                _ => Err(Ended::Late),
            }
        }
    }
}

async fn exchange(lent: &Lent, credentials: &Credentials, call: &Call) -> Result<Option<String>, Error> {
    let set = lent.prepare_cached(PROOF).await?;
    let function = lent.prepare_cached(call.statement).await?;
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
    answer.try_get(0)
}
