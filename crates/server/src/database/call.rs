//! One call of an SQL function, with the proof of who asks.
//!
//! BEGIN, the proof, the call and COMMIT go to the server in one flush. The proof is set for the
//! transaction alone: whatever happens, the next borrower of the connection has none.

use super::failure;
use super::pool::Database;
use crate::http::credentials::Credentials;
use crate::http::problem::Problem;
use deadpool_postgres::Object;
use futures_util::future::join4;
use std::time::Duration;
use tokio_postgres::types::ToSql;
use tokio_postgres::Error;

/// A write is answered within this time, or refused: clients give up after five seconds.
const DEADLINE: Duration = Duration::from_secs(4);

const PROOF: &str = "SELECT pg_catalog.set_config('immutable.proof', $1, true), \
    pg_catalog.set_config('immutable.client_address', $2, true)";

/// An SQL function and its arguments.
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
        let (database, credentials) = (self.clone(), credentials.clone());
        // A client that goes away ends the handler. The call goes on, so that no transaction stays open.
        let task = tokio::spawn(async move {
            tokio::time::timeout(DEADLINE, database.run(&credentials, &call))
                .await
                .unwrap_or_else(|_| Err(Problem::unavailable("The database did not answer in time.")))
        });
        task.await.unwrap_or_else(|_| Err(failure::unexpected()))
    }

    async fn run(&self, credentials: &Credentials, call: &Call) -> Result<Option<String>, Problem> {
        let connection = self.pool.get().await.map_err(|e| failure::of_pool(&e))?;
        match exchange(&connection, credentials, call).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                if error.code().is_none() {
                    // The protocol or the connection failed, so what the connection has left is unknown.
                    drop(Object::take(connection));
                }
                Err(failure::of_error(&error))
            }
        }
    }
}

async fn exchange(connection: &Object, credentials: &Credentials, call: &Call) -> Result<Option<String>, Error> {
    let set = connection.prepare_cached(PROOF).await?;
    let function = connection.prepare_cached(call.statement).await?;
    let address = credentials.address.map(|a| a.to_string()).unwrap_or_default();
    let shown: [&(dyn ToSql + Sync); 2] = [&credentials.proof, &address];
    let arguments: Vec<&(dyn ToSql + Sync)> = call.arguments.iter().map(|a| a as _).collect();
    let (begun, set, answer, ended) = join4(
        connection.batch_execute("BEGIN"),
        connection.query(&set, &shown),
        connection.query_one(&function, &arguments),
        connection.batch_execute("COMMIT"),
    )
    .await;
    begun?;
    set?;
    let answer = answer?;
    ended?;
    answer.try_get(0)
}
