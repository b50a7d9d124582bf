//! A call that returns many rows, which are passed on as they come: downloads.

use super::call::{Call, PROOF};
use super::failure;
use super::lending::Lent;
use super::pool::Database;
use crate::http::credentials::Credentials;
use crate::http::problem::Problem;
use futures_util::future::join3;
use futures_util::{Stream, StreamExt};
use std::pin::{pin, Pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc::{channel, Receiver, Sender};
use tokio::time::{timeout, timeout_at, Instant};
use tokio_postgres::types::ToSql;
use tokio_postgres::RowStream;

/// How long the first row may take.
const FIRST: Duration = Duration::from_secs(30);
/// How long a client may take none of the rows that are ready.
const STALL: Duration = Duration::from_secs(60);
/// How many rows wait for the client.
const AHEAD: usize = 64;

/// The rows of a call, as texts. The transaction ends with the last of them, or when this is dropped.
pub(crate) struct Rows {
    receiver: Receiver<Result<String, Problem>>,
    first: Option<String>,
}

impl Stream for Rows {
    type Item = Result<String, Problem>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => self.receiver.poll_recv(context),
        }
    }
}

impl Database {
    /// The rows that the statement returns, each of one text; a NULL is left out. What is refused before the first
    /// row is an error here. After that it is an item, and the download must be seen to be incomplete.
    ///
    /// # Errors
    /// What the log or the way to it refused, as the client is told it; 503 if too many downloads run.
    pub(crate) async fn rows(&self, credentials: &Credentials, call: Call) -> Result<Rows, Problem> {
        let (sender, mut receiver) = channel(AHEAD);
        let (database, credentials) = (self.clone(), credentials.clone());
        // A client that goes away drops the receiver, and the task ends the transaction.
        tokio::spawn(async move {
            if let Err(problem) = database.send_rows(&credentials, &call, &sender).await {
                let _ = timeout(STALL, sender.send(Err(problem))).await;
            }
        });
        match receiver.recv().await {
            Some(Ok(first)) => Ok(Rows { receiver, first: Some(first) }),
            Some(Err(problem)) => Err(problem),
            None => Ok(Rows { receiver, first: None }),
        }
    }

    async fn send_rows(
        &self,
        credentials: &Credentials,
        call: &Call,
        to: &Sender<Result<String, Problem>>,
    ) -> Result<(), Problem> {
        let until = Instant::now() + FIRST;
        let busy = || Problem::unavailable("Too many downloads are running.");
        let permit = timeout(Duration::from_secs(3), self.downloads.clone().acquire_owned()).await;
        let _permit = permit.map_err(|_| busy())?.map_err(|_| busy())?;
        let lent = self.lend(Instant::now() + Duration::from_secs(3)).await?;
        let rows = timeout_at(until, begun(&lent, credentials, call)).await;
        let rows = match rows {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => return Err(failure::of_error(&error)),
            Err(_) => {
                lent.cancel().await;
                return Err(failure::late());
            }
        };
        match pass_on(rows, until, to).await {
            Passed::All => {
                lent.batch_execute("COMMIT").await.map_err(|e| failure::of_error(&e))?;
                lent.give_back();
                Ok(())
            }
            // The rows that are left cannot be skipped: the connection is closed.
            Passed::NoMore => {
                lent.cancel().await;
                Ok(())
            }
            Passed::Failed(problem) => {
                lent.cancel().await;
                Err(problem)
            }
        }
    }
}

async fn begun(lent: &Lent, credentials: &Credentials, call: &Call) -> Result<RowStream, tokio_postgres::Error> {
    let set = lent.prepare_cached(PROOF).await?;
    let function = lent.prepare_cached(call.statement).await?;
    let address = credentials.address.map(|a| a.to_string()).unwrap_or_default();
    let shown: [&(dyn ToSql + Sync); 2] = [&credentials.proof, &address];
    let (begun, set, rows) =
        join3(lent.batch_execute("BEGIN"), lent.query(&set, &shown), lent.query_raw(&function, call.arguments.iter()))
            .await;
    begun?;
    set?;
    rows
}

enum Passed {
    All,
    /// The client takes no more of them.
    NoMore,
    Failed(Problem),
}

async fn pass_on(rows: RowStream, first: Instant, to: &Sender<Result<String, Problem>>) -> Passed {
    let mut rows = pin!(rows);
    let mut until = Some(first);
    loop {
        let next = async {
            match until.take() {
                Some(until) => timeout_at(until, rows.next()).await.map_err(|_| failure::late()),
                None => Ok(rows.next().await),
            }
        };
        let next = tokio::select! {
            next = next => next,
            () = to.closed() => return Passed::NoMore,
        };
        let next = match next {
            Ok(next) => next,
            Err(problem) => return Passed::Failed(problem),
        };
        let text = match next {
            None => return Passed::All,
            Some(row) => row.and_then(|row| row.try_get::<_, Option<String>>(0)),
        };
        match text {
            Err(error) => return Passed::Failed(failure::of_error(&error)),
            Ok(None) => {}
            Ok(Some(text)) => match timeout(STALL, to.send(Ok(text))).await {
                Ok(Ok(())) => {}
                _ => return Passed::NoMore,
            },
        }
    }
}
