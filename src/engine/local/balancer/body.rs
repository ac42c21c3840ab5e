//! The bodies that pass through, frame by frame: a client's upload, a member's answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::member::Ticket;
use super::upstream::Connection;

/// What is sent to a member: the client's body, or nothing for a request that is sent again.
#[derive(Debug)]
pub(super) struct Upload(pub(super) Option<Incoming>);

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// What a running exchange holds: the member's count and the connection, which goes back to the pool at the end.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) ticket: Ticket,
    pub(super) connection: Connection,
}

impl Exchange {
    /// The answer has been read to its end: the connection is free for the next request.
    fn finish(self) {
        let Self { ticket, connection } = self;
        ticket.slot().pool.put(connection);
    }
}

/// What is sent to a client: a member's answer, or one of the balancer's own.
#[derive(Debug)]
pub(super) enum Download {
    /// A member's answer. Dropped before its end it closes the connection that it comes from.
    Relayed { body: Incoming, exchange: Option<Exchange> },
    /// The balancer's own words.
    Own(Full<Bytes>),
}

impl Download {
    pub(super) fn relayed(body: Incoming, exchange: Exchange) -> Self {
        if body.is_end_stream() {
            exchange.finish();
            return Self::Relayed { body, exchange: None };
        }
        Self::Relayed { body, exchange: Some(exchange) }
    }

    pub(super) fn empty() -> Self {
        Self::Own(Full::default())
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never: Infallible| match never {}),
            Self::Relayed { body, exchange } => {
                let polled = Pin::new(&mut *body).poll_frame(cx);
                // A body of known length ends with its last frame; nobody polls for the `None` behind it.
                if matches!(polled, Poll::Ready(None))
                    || matches!(polled, Poll::Ready(Some(Ok(_)))) && body.is_end_stream()
                {
                    if let Some(exchange) = exchange.take() {
                        exchange.finish();
                    }
                } else if matches!(polled, Poll::Ready(Some(Err(_)))) {
                    drop(exchange.take());
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Relayed { body, .. } => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Relayed { body, .. } => body.size_hint(),
            Self::Own(body) => body.size_hint(),
        }
    }
}
