//! From the options to the end of the program.

use super::certificate::Certificate;
use super::clients::Clients;
use super::logs;
use crate::app::App;
use crate::deliveries::engine::Engine;
use crate::options::Options;
use crate::routes::router;
use futures_util::future::join;
use hyper_util::server::graceful::GracefulShutdown;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::signal::unix::{signal, Signal, SignalKind};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long requests that have begun may go on after the program was told to stop.
const GRACE: Duration = Duration::from_secs(20);

/// Serves until SIGTERM or SIGINT; requests that have begun are answered.
///
/// # Errors
/// A sentence for the operator.
pub(crate) fn run(options: Options) -> Result<(), String> {
    logs::begin(&options.output)?;
    let mut runtime = runtime::Builder::new_multi_thread();
    // PostgreSQL is often on the same machine and does most of the work. A thread less is a thread less to wake.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    runtime.worker_threads(options.listening.workers.map_or_else(|| processors.div_ceil(2), usize::from));
    let runtime = runtime.enable_all().build().map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(serve(options))
}

async fn serve(options: Options) -> Result<(), String> {
    let listening = options.listening.clone();
    let deliveries = Engine::start(&options.features)?;
    let app = App::new(options)?;
    let clients = Arc::new(Clients {
        certificate: Certificate::new(&listening)?,
        free: Arc::new(Semaphore::new(usize::try_from(listening.clients).unwrap_or(usize::MAX))),
        router: router(app.clone()),
    });
    let mut signals = Signals::new()?;
    let address = listening.listen;
    let listener = TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    tracing::info!(%address, "listens");
    let graceful = GracefulShutdown::new();
    loop {
        tokio::select! {
            () = clients.take(&listener, &graceful) => {}
            _ = signals.term.recv() => break,
            _ = signals.int.recv() => break,
            _ = signals.renew.recv() => clients.certificate.renew(),
        }
    }
    tracing::info!("stops");
    app.stop();
    drop(listener);
    let (requests, ()) = join(timeout(GRACE, graceful.shutdown()), async {
        if let Some(deliveries) = deliveries {
            deliveries.stop().await;
        }
    })
    .await;
    if requests.is_err() {
        tracing::warn!("some requests did not end in time");
    }
    Ok(())
}

/// What the operator's signals say.
struct Signals {
    term: Signal,
    int: Signal,
    renew: Signal,
}

impl Signals {
    fn new() -> Result<Signals, String> {
        let on = |kind| signal(kind).map_err(|error| format!("cannot take signals: {error}"));
        Ok(Signals {
            term: on(SignalKind::terminate())?,
            int: on(SignalKind::interrupt())?,
            renew: on(SignalKind::hangup())?,
        })
    }
}
