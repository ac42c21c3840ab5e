//! One HTTP/1.1 connection, driven by hyper on the worker's own runtime.

use std::io;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use super::meter::{Meter, Metered};
use crate::bench::sample::{Cause, Fault, Phase, Side};

/// An open connection. Dropping it closes the socket.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
    meter: Rc<Meter>,
    used: bool,
}

/// A complete answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
}

/// Why there is no complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What happened.
    pub fault: Fault,
    /// Status of the answer, where its head came.
    pub status: Option<StatusCode>,
}

impl Connection {
    /// Speaks HTTP/1.1 over `stream`. Must be called inside a `LocalSet`.
    pub(super) async fn new<S>(stream: Metered<S>, meter: &Rc<Meter>) -> Result<Self, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| Fault::new(Phase::Connect, Cause::Other, Side::Client, e.to_string()))?;
        // How the connection ended shows in the exchange that it ended.
        let driver = tokio::task::spawn_local(async move { drop(connection.await) }).abort_handle();
        Ok(Self { sender, driver, meter: Rc::clone(meter), used: false })
    }

    /// Whether a request was sent on it before.
    pub fn is_used(&self) -> bool {
        self.used
    }

    /// Whether another request can be sent on it.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends `request` and reads the answer to its last byte.
    ///
    /// # Errors
    ///
    /// What failed, by phase; the connection is of no further use then.
    pub async fn exchange(&mut self, request: Request<Bytes>) -> Result<Answer, Failed> {
        // After an answer whose end the library has not yet taken note of, it is a step away from being ready.
        self.sender.ready().await.map_err(|e| self.failed(&e, None))?;
        self.used = true;
        let sent = self.sender.send_request(request.map(Full::new)).await;
        let response = sent.map_err(|e| self.failed(&e, None))?;
        let status = response.status();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|e| self.failed(&e, Some(status)))?;
        }
        Ok(Answer { status })
    }

    fn failed(&self, error: &hyper::Error, status: Option<StatusCode>) -> Failed {
        let phase = match status {
            Some(_) => Phase::Body,
            None if self.meter.head_is_written() => Phase::Head,
            None => Phase::Write,
        };
        let detail = detail_of(error);
        let fault = if error.is_parse() || error.is_parse_too_large() {
            Fault::new(Phase::Protocol, Cause::Malformed, Side::Server, detail)
        } else if let Some(io) = io_error(error) {
            Fault { detail, ..Fault::io(phase, io) }
        } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            Fault::new(phase, Cause::Closed, Side::Server, detail)
        } else {
            Fault::new(phase, Cause::Other, Side::Server, detail)
        };
        Failed { fault, status }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn io_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    std::iter::successors(error.source(), |e| e.source()).find_map(|e| e.downcast_ref::<io::Error>())
}

fn detail_of(error: &hyper::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
