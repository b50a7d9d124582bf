//! The witness as a service over HTTP/1.1, with limits on what a client may send, and how long it may
//! take.

use crate::failure::Failure;
use crate::witness::decide::{say, Answer, Witness};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderValue, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use immutable_format::tlog::request::MAX_BYTES;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::{mpsc, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// Connections at a time. Others wait until one ends.
const CONNECTIONS: usize = 256;
/// How long a client may take to send the header of a request, which includes the time between two
/// requests.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// How long a client may take to send the body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// How long a connection may last, whatever the client does.
const CONNECTION_TIME: Duration = Duration::from_secs(300);
/// Bytes and lines that the header of a request may have.
const HEADER_BYTES: usize = 16 << 10;
const HEADER_LINES: usize = 64;
/// How long open requests may take after the witness was told to stop.
const STOP_TIME: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT comes.
pub fn serve(address: SocketAddr, witness: Witness) -> Result<(), Failure> {
    let at = address.to_string();
    let failure = |error: std::io::Error| Failure::file(Path::new(&at), error.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(failure)?.block_on(accept(address, Arc::new(witness))).map_err(failure)
}

async fn accept(address: SocketAddr, witness: Arc<Witness>) -> std::io::Result<()> {
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = TcpListener::bind(address).await?;
    say(&format!("listens on {}", listener.local_addr()?));
    let (stop, mut stopped) = mpsc::channel(1);
    let (open, graceful) = (Arc::new(Semaphore::new(CONNECTIONS)), GracefulShutdown::new());
    let outcome = loop {
        let next = async {
            // The semaphore is never closed.
            let permit = open.clone().acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        tokio::select! {
            (permit, accepted) = next => match accepted {
                Ok((stream, _)) => connection(stream, permit, &graceful, witness.clone(), stop.clone()),
                // Such as too many open files; it passes when connections end.
                Err(error) => {
                    say(&format!("cannot accept a connection: {error}"));
                    sleep(Duration::from_millis(100)).await;
                }
            },
            _ = term.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = stopped.recv() => {
                break Err(std::io::Error::other("the state on disk is not known any more; start the witness again"))
            }
        }
    };
    drop(listener);
    let _ = timeout(STOP_TIME, graceful.shutdown()).await;
    say("stops");
    outcome
}

/// Serves a connection in a task of its own.
fn connection(
    stream: TcpStream,
    permit: Option<OwnedSemaphorePermit>,
    graceful: &GracefulShutdown,
    witness: Arc<Witness>,
    stop: mpsc::Sender<()>,
) {
    let service = service_fn(move |request| answer(request, witness.clone(), stop.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADER_LINES)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        // What a client does wrong in its connection is its own concern.
        let _ = timeout(CONNECTION_TIME, connection).await;
        drop(permit);
    });
}

type Reply = Response<Full<Bytes>>;

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

const TEXT: &str = "text/plain; charset=utf-8";

fn refuse(status: StatusCode, why: &str) -> Reply {
    reply(status, TEXT, format!("{why}\n"))
}

fn not_allowed(allowed: &'static str) -> Reply {
    let mut reply = refuse(StatusCode::METHOD_NOT_ALLOWED, "another method is needed");
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    reply
}

async fn answer(
    request: Request<Incoming>,
    witness: Arc<Witness>,
    stop: mpsc::Sender<()>,
) -> Result<Reply, Infallible> {
    let path = request.uri().path();
    if path == "/add-checkpoint" {
        return Ok(match request.method() {
            &Method::POST => add_checkpoint(request, witness, stop).await,
            _ => not_allowed("POST"),
        });
    }
    let hash = path.strip_prefix('/').and_then(|path| path.strip_suffix("/checkpoint"));
    let Some(hash) = hash.filter(|hash| immutable_format::parse_hex::<32>(hash).is_some()).map(str::to_string) else {
        return Ok(refuse(StatusCode::NOT_FOUND, "there is nothing here"));
    };
    if !matches!(request.method(), &Method::GET | &Method::HEAD) {
        return Ok(not_allowed("GET, HEAD"));
    }
    Ok(match tokio::task::spawn_blocking(move || witness.last(&hash)).await {
        Ok(Some(note)) => reply(StatusCode::OK, TEXT, note),
        Ok(None) => refuse(StatusCode::NOT_FOUND, "no checkpoint of this log was cosigned"),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the witness has failed"),
    })
}

async fn add_checkpoint(request: Request<Incoming>, witness: Arc<Witness>, stop: mpsc::Sender<()>) -> Reply {
    let body = match timeout(BODY_TIME, Limited::new(request.into_body(), MAX_BYTES).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
        }
        Ok(Err(_)) => return refuse(StatusCode::BAD_REQUEST, "the body ends early"),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"),
    };
    // The state is flushed to disk in there.
    let answer = tokio::task::spawn_blocking(move || {
        let answer = witness.add_checkpoint(&body, now());
        (answer, witness.is_unsure())
    });
    let Ok((answer, unsure)) = answer.await else {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the witness has failed");
    };
    if unsure {
        let _ = stop.try_send(());
    }
    match answer {
        Answer::Cosigned(line) => reply(StatusCode::OK, TEXT, line),
        Answer::Malformed(why) => refuse(StatusCode::BAD_REQUEST, &why),
        Answer::NotSigned(why) => refuse(StatusCode::FORBIDDEN, why),
        Answer::UnknownLog => refuse(StatusCode::NOT_FOUND, "this witness does not know the log"),
        Answer::OtherSize(size) => reply(StatusCode::CONFLICT, "text/x.tlog.size", format!("{size}\n")),
        Answer::Inconsistent(why) => refuse(StatusCode::UNPROCESSABLE_ENTITY, why),
        Answer::NotKept(why) => {
            say(&format!("the state could not be written: {why}"));
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "the state could not be written")
        }
    }
}

/// The time in seconds since 1970, by this machine's clock.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}
