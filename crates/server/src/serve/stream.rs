//! A client's connection: how long it may take, and what it is told where the HTTP library says nothing.
//!
//! The library answers a request that it cannot read without a body. Clients parse the body before they look at the
//! status, so that it is given one here.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, Sleep};

/// The head of a request has to be there within this time after its first byte.
const HEAD: Duration = Duration::from_secs(15);
/// How long a client may take nothing of an answer.
const STALL: Duration = Duration::from_secs(60);

/// How long what is left of a request is read away that was refused before it was read. To close without reading
/// it would reset the connection, and the client might lose the answer.
const READ_AWAY: Duration = Duration::from_secs(2);

/// A connection, and what it waits for.
pub(crate) struct Stream<S> {
    inner: S,
    turns: Arc<AtomicUsize>,
    turn: usize,
    head: Option<Pin<Box<Sleep>>>,
    stall: Option<Pin<Box<Sleep>>>,
    /// What is written in place of the library's answer, and how much of that it was.
    instead: Option<(Vec<u8>, usize)>,
    /// Whether the last request was refused, and may have been read in part.
    refused: Arc<AtomicBool>,
    read_away: Option<Pin<Box<Sleep>>>,
}

impl<S> Stream<S> {
    /// `turns` grows when a request's head has been read, so that its handler has its turn, and again when it is
    /// answered: an even number is a client's turn.
    pub(crate) fn new(inner: S, turns: Arc<AtomicUsize>, refused: Arc<AtomicBool>) -> Stream<S> {
        Stream { inner, turns, turn: 0, head: None, stall: None, instead: None, refused, read_away: None }
    }
}

fn is_over(timer: &mut Option<Pin<Box<Sleep>>>, context: &mut Context<'_>, after: Duration) -> bool {
    timer.get_or_insert_with(|| Box::pin(sleep(after))).as_mut().poll(context).is_ready()
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(context, buffer);
        let turn = this.turns.load(Ordering::Relaxed);
        if std::mem::replace(&mut this.turn, turn) != turn {
            this.head = None;
        }
        let is_head = turn.is_multiple_of(2);
        match &polled {
            // The first bytes of a head start its clock, and whole heads mostly come with them.
            Poll::Ready(Ok(())) if is_head && buffer.filled().len() > before && this.head.is_none() => {
                this.head = Some(Box::pin(sleep(HEAD)));
            }
            Poll::Pending if is_head && this.head.is_some() && is_over(&mut this.head, context, HEAD) => {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
            _ => {}
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> Stream<S> {
    fn written<T>(&mut self, context: &mut Context<'_>, polled: Poll<Result<T>>) -> Poll<Result<T>> {
        match polled {
            Poll::Pending if is_over(&mut self.stall, context, STALL) => Poll::Ready(Err(ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
            ready @ Poll::Ready(_) => {
                self.stall = None;
                ready
            }
        }
    }

    /// Writes what stands in place of the library's answer, if something does.
    fn write_instead(&mut self, context: &mut Context<'_>, head: &[u8]) -> Option<Poll<Result<usize>>> {
        if self.instead.is_none() {
            self.instead = Some((said_by_library(head)?, head.len()));
            self.refused.store(true, Ordering::Relaxed);
        }
        loop {
            let (text, of) = self.instead.as_mut()?;
            let of = *of;
            match Pin::new(&mut self.inner).poll_write(context, text) {
                Poll::Pending => return Some(Poll::Pending),
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Err(Error::from(ErrorKind::WriteZero)))),
                Poll::Ready(Ok(bytes)) => drop(text.drain(..bytes)),
            }
            if text.is_empty() {
                self.instead = None;
                return Some(Poll::Ready(Ok(of)));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> Stream<S> {
    /// Reads until the client has ended its side too.
    fn read_away(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 8192];
        while !is_over(&mut self.read_away, context, READ_AWAY) {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let polled = match this.write_instead(context, bytes) {
            Some(polled) => polled,
            None => Pin::new(&mut this.inner).poll_write(context, bytes),
        };
        this.written(context, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let first = parts.first().map_or(&[][..], |part| part);
        let polled = match this.write_instead(context, first) {
            Some(polled) => polled,
            None => Pin::new(&mut this.inner).poll_write_vectored(context, parts),
        };
        this.written(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_flush(context);
        this.written(context, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.inner).poll_shutdown(context))?;
        if this.refused.load(Ordering::Relaxed) {
            ready!(this.read_away(context));
        }
        Poll::Ready(Ok(()))
    }
}

/// The library's own answer with a body; None for anything else. The program's own answers all have bodies.
fn said_by_library(head: &[u8]) -> Option<Vec<u8>> {
    let (status, error, message) = match head.get(..12)? {
        b"HTTP/1.1 400" => ("400 Bad Request", "bad_request", "The request cannot be read."),
        b"HTTP/1.1 414" => ("414 URI Too Long", "uri_too_long", "The address is too long."),
        b"HTTP/1.1 431" => {
            ("431 Request Header Fields Too Large", "headers_too_large", "The headers of the request are too large.")
        }
        _ => return None,
    };
    let text = std::str::from_utf8(head).ok()?;
    if !text.contains("\r\ncontent-length: 0\r\n") || !text.ends_with("\r\n\r\n") {
        return None;
    }
    let body = format!(r#"{{"error":"{error}","message":"{message}"}}"#);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    Some((head + &body).into_bytes())
}
