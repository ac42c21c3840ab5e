//! One request: to a member, to another one if the first did not get it, and its answer back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::body::{Body, Incoming};
use hyper::header::HeaderValue;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};

use super::body::{Download, Exchange, Upload};
use super::member::{Slot, Ticket};
use super::upstream::{self, Choice, ConnectError, Connection};
use super::{Core, answer, headers, tunnel};

/// How often one request is handed to a connection at most. Members that accept and hang up at once could otherwise
/// keep it going round.
const MAX_SENDS: usize = 16;

/// Answers a client's request.
pub(super) async fn forward(
    core: &Arc<Core>,
    client: &HeaderValue,
    mut request: Request<Incoming>,
) -> Response<Download> {
    count(&core.tally.requests);
    let id = headers::request_id(request.headers());
    let mut response = match headers::check(&request) {
        Ok(()) => {
            let on_upgrade = headers::upgrade(request.headers()).map(|_| hyper::upgrade::on(&mut request));
            headers::to_member(&mut request, client, &id);
            Journey::new(core, request).run(on_upgrade).await
        }
        Err(unfit) => {
            let status = match unfit {
                headers::Unfit::Host => StatusCode::BAD_REQUEST,
                headers::Unfit::Connect => StatusCode::NOT_IMPLEMENTED,
            };
            answer::problem(status, &unfit.to_string())
        }
    };
    response.headers_mut().insert(headers::REQUEST_ID, id);
    response
}

/// A request on its way, with what was tried so far.
struct Journey<'a> {
    core: &'a Arc<Core>,
    /// Present unless it has been written to a member.
    request: Option<Request<Upload>>,
    tried: Vec<Arc<Slot>>,
    /// It may be sent once more although a member has had it.
    repeatable: bool,
    repeated: bool,
}

impl<'a> Journey<'a> {
    fn new(core: &'a Arc<Core>, request: Request<Incoming>) -> Self {
        let repeatable = matches!(*request.method(), Method::GET | Method::HEAD) && request.body().is_end_stream();
        let request = request.map(|body| Upload(Some(body)));
        Self { core, request: Some(request), tried: Vec::new(), repeatable, repeated: false }
    }

    async fn run(mut self, on_upgrade: Option<OnUpgrade>) -> Response<Download> {
        for _ in 0..MAX_SENDS {
            let Some(ticket) = self.pick() else { return self.nobody() };
            let connection = match upstream::connection(self.core, ticket.slot(), self.choice()).await {
                Ok(connection) => connection,
                Err(ConnectError::Own(error)) => {
                    let detail = format!("the balancer cannot open a connection: {error}");
                    return answer::problem(StatusCode::SERVICE_UNAVAILABLE, &detail);
                }
                Err(ConnectError::Refused) => {
                    self.not_accepted(ticket.slot(), true);
                    continue;
                }
                Err(ConnectError::TimedOut) => {
                    self.not_accepted(ticket.slot(), self.core.members.another_is_ready(ticket.slot()));
                    continue;
                }
            };
            match self.send(ticket, connection).await {
                Some((response, exchange)) => return relay(self.core, response, exchange, on_upgrade),
                None if self.request.is_none() => break,
                None => count(&self.core.tally.retries),
            }
        }
        count(&self.core.tally.bad_gateway);
        answer::problem(StatusCode::BAD_GATEWAY, "the service closed the connection before it answered")
    }

    fn pick(&self) -> Option<Ticket> {
        // A request that is sent again may go to the same member, on a new connection, where there is no other.
        let again = || self.repeated.then(|| self.core.members.pick(&[])).flatten();
        self.core.members.pick(&self.tried).or_else(again)
    }

    fn choice(&self) -> Choice {
        match (self.repeated, self.repeatable) {
            (true, _) => Choice::New,
            (false, true) => Choice::Any,
            (false, false) => Choice::Checked,
        }
    }

    /// Sends the request. `None`: no answer; the request is still there if it may be sent again.
    async fn send(&mut self, ticket: Ticket, mut connection: Connection) -> Option<(Response<Incoming>, Exchange)> {
        let request = self.request.take()?;
        let spare = (self.repeatable && !self.repeated).then(|| copy(&request));
        let reused = connection.reused;
        let mut error = match connection.send(request).await {
            Ok(response) => return Some((response, Exchange { ticket, connection })),
            Err(error) => error,
        };
        if let Some(unsent) = error.take_message() {
            self.request = Some(unsent);
            if !reused {
                ticket.slot().failed();
                self.tried.push(ticket.slot().clone());
            }
            return None;
        }
        // A body that the client did not finish is not the member's failure.
        if !error.error().is_user() {
            ticket.slot().failed();
        }
        if let Some(spare) = spare {
            self.repeated = true;
            self.tried.push(ticket.slot().clone());
            self.request = Some(spare);
        }
        None
    }

    fn not_accepted(&mut self, slot: &Arc<Slot>, eject: bool) {
        slot.failed();
        if eject && slot.eject() {
            count(&self.core.tally.ejections);
            slot.pool.clear();
        }
        count(&self.core.tally.retries);
        self.tried.push(slot.clone());
    }

    fn nobody(&self) -> Response<Download> {
        if self.repeated {
            count(&self.core.tally.bad_gateway);
            return answer::problem(StatusCode::BAD_GATEWAY, "the service closed the connection before it answered");
        }
        count(&self.core.tally.no_member);
        answer::problem(StatusCode::SERVICE_UNAVAILABLE, "no replica of the service is ready")
    }
}

/// A request without a body, for the case that it must be sent again.
fn copy(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload(None));
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

fn relay(
    core: &Arc<Core>,
    mut response: Response<Incoming>,
    exchange: Exchange,
    on_upgrade: Option<OnUpgrade>,
) -> Response<Download> {
    *response.version_mut() = hyper::Version::HTTP_11;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switch(core, response, exchange, on_upgrade);
    }
    headers::strip_hop_by_hop(response.headers_mut());
    response.map(|body| Download::relayed(body, exchange))
}

fn switch(
    core: &Arc<Core>,
    mut response: Response<Incoming>,
    exchange: Exchange,
    on_upgrade: Option<OnUpgrade>,
) -> Response<Download> {
    let protocol = headers::upgrade(response.headers());
    let (Some(client), Some(protocol)) = (on_upgrade, protocol) else {
        count(&core.tally.bad_gateway);
        return answer::problem(StatusCode::BAD_GATEWAY, "the service switched protocols without being asked to");
    };
    tunnel::join(core, client, hyper::upgrade::on(&mut response), exchange);
    headers::strip_hop_by_hop(response.headers_mut());
    headers::set_upgrade(response.headers_mut(), protocol);
    response.map(|_| Download::empty())
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
