//! Listens, serves, and stops when it is told to.

use crate::app::{router, App};
use crate::deliveries::engine::Engine;
use crate::http::origin::Peer;
use crate::options::Options;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{from_fn, Next};
use std::net::SocketAddr;
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
    let listen = options.listening.listen;
    let deliveries = Engine::start(&options.features)?;
    let app = App::new(options)?;
    let listener = TcpListener::bind(listen).await.map_err(|e| format!("cannot listen on {listen}: {e}"))?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    tracing::info!(%address, "listens");
    let router = router(app).layer(from_fn(with_peer)).into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, router).with_graceful_shutdown(told_to_stop()).await;
    if let Some(deliveries) = deliveries {
        deliveries.stop().await;
    }
    served.map_err(|e| e.to_string())
}

async fn told_to_stop() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return;
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    tracing::info!("stops");
}

async fn with_peer(mut request: Request, next: Next) -> axum::response::Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() {
        request.extensions_mut().insert(Peer { address: peer.ip(), tls: false });
    }
    next.run(request).await
}
