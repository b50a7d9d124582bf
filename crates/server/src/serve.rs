//! Listens, serves, and stops when it is told to.

use crate::app::{router, App};
use crate::database::pool::Database;
use crate::options::Options;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{signal, SignalKind};

/// Serves until SIGTERM or SIGINT; requests that have begun are answered.
///
/// # Errors
/// A sentence for the operator.
pub(crate) fn run(options: Options) -> Result<(), String> {
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Runtime::new().map_err(|e| format!("cannot start: {e}"))?;
    runtime.block_on(serve(options))
}

async fn serve(options: Options) -> Result<(), String> {
    let database = Database::new(&options)?;
    let listener =
        TcpListener::bind(options.listen).await.map_err(|e| format!("cannot listen on {}: {e}", options.listen))?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    tracing::info!(%address, "listens");
    let app = App { options: Arc::new(options), database };
    axum::serve(listener, router(app)).with_graceful_shutdown(told_to_stop()).await.map_err(|e| e.to_string())
}

async fn told_to_stop() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return;
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    tracing::info!("stops");
}
