//! Takes the clients' connections, and serves each of them.

use super::certificate::Certificate;
use super::stream::Stream;
use crate::http::origin::Peer;
use axum::body::Body;
use axum::extract::Request;
use axum::Router;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tower::Service;

/// How long a connection may be idle. Proxies close theirs before.
const IDLE: Duration = Duration::from_secs(120);
/// How long an encrypted connection may take to begin.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The most bytes of a request's head.
const HEAD_BYTES: usize = 64 * 1024;

/// What serves clients.
pub(crate) struct Clients {
    pub(crate) router: Router,
    pub(crate) certificate: Certificate,
    /// How many more connections there may be.
    pub(crate) free: Arc<Semaphore>,
}

impl Clients {
    /// Takes connections, for as long as this is polled. Beyond the most that there may be, they wait in the
    /// operating system's queue.
    pub(crate) async fn take(self: &Arc<Self>, listener: &TcpListener, graceful: &GracefulShutdown) {
        loop {
            let Ok(permit) = self.free.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((socket, address)) => {
                    tokio::spawn(self.clone().serve(socket, address, permit, graceful.watcher()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not taken");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve(
        self: Arc<Self>,
        socket: TcpStream,
        address: SocketAddr,
        permit: OwnedSemaphorePermit,
        watcher: Watcher,
    ) {
        let _ = socket.set_nodelay(true);
        let peer = Peer { address: address.ip(), tls: false };
        match self.certificate.acceptor() {
            None => self.speak(socket, peer, watcher).await,
            Some(acceptor) => match timeout(HANDSHAKE, acceptor.accept(socket)).await {
                Ok(Ok(stream)) => self.speak(stream, Peer { tls: true, ..peer }, watcher).await,
                Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
                Err(_) => tracing::debug!("no TLS in time"),
            },
        }
        drop(permit);
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, peer: Peer, watcher: Watcher) {
        let turns = Arc::new(AtomicUsize::new(0));
        let refused = Arc::new(AtomicBool::new(false));
        let stream = Stream::new(stream, turns.clone(), refused.clone());
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            turns.fetch_add(1, Ordering::Relaxed);
            let (has_body, refused) = (!request.body().is_end_stream(), refused.clone());
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            let (mut router, turns) = (self.router.clone(), turns.clone());
            async move {
                let response = router.call(request).await;
                let is_refusal = response.as_ref().is_ok_and(|response| response.status().as_u16() >= 400);
                refused.store(has_body && is_refusal, Ordering::Relaxed);
                turns.fetch_add(1, Ordering::Relaxed);
                response
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .max_buf_size(HEAD_BYTES)
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended");
        }
    }
}
