//! The built-in HTTP balancer: what a load balancer's container is on the other engines.
//!
//! It is an HTTP/1 reverse proxy for one service. Its rules:
//!
//! - **Choice.** Of the ready members, the one with the fewest requests in flight; among equals in turn.
//! - **No lost request.** A request that was never written (refused or timed-out connect, a kept-alive connection that
//!   turned out to be closed) goes to another member, whatever its method. A GET or HEAD without a body that was
//!   written but got no answer is sent once more. Anything else then is a 502.
//! - **No queue.** Without a ready member the answer is 503 with `Retry-After: 1`, at once: a queue would hide the
//!   outage from a load test and from the client's own retry policy.
//! - **Ejection.** A member that refuses a connection takes no more requests until [`Balancer::set_ready`] brings it
//!   back. One that does not accept in time is ejected only while another is ready, since under overload every
//!   backlog is full and ejecting them all would turn slowness into an outage.
//! - **Membership changes touch no client.** Clients' connections belong to the balancer, not to a member.
//! - **No time limit on answers.** The client decides how long it waits; when it goes, its request is cancelled.
//!
//! Errors of its own are RFC 9457 problem documents. Headers follow RFC 9110 §7.6: see [`headers`].
//!
//! # Layout
//!
//! `member` chooses and counts, `upstream` connects and keeps connections alive, `forward` moves one request and
//! decides on retries, `body` and `tunnel` carry what follows the heads, `headers` and `answer` are pure, `accept`
//! owns the clients' connections.

mod accept;
mod answer;
mod body;
mod forward;
pub mod headers;
mod member;
mod tunnel;
mod upstream;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use member::Members;
pub use member::{Member, State};

/// Where the balancer listens, and its time limits.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses to listen on. An IPv6 address that this machine does not have is left out while another one works.
    pub listen: Vec<SocketAddr>,
    /// How long an unused upstream connection is kept; must be below the service's own keep-alive time, or requests
    /// meet connections that the service is just closing.
    pub idle: Duration,
    /// How long a member may take to accept a connection. Above 1 s, so that one lost SYN is no failure.
    pub connect_timeout: Duration,
    /// How long a client's connection may stay without a (complete) request head.
    pub client_idle: Duration,
}

impl Config {
    /// Upstream keep-alive: well below the 75 s of the reference services.
    pub const IDLE: Duration = Duration::from_secs(30);
    /// Time to connect: SYN is sent again after 1 s, so this gives it a second chance.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
    /// Client keep-alive: that of nginx.
    pub const CLIENT_IDLE: Duration = Duration::from_secs(75);

    /// Listens on `listen`, with the default time limits.
    pub fn new(listen: Vec<SocketAddr>) -> Self {
        Self { listen, idle: Self::IDLE, connect_timeout: Self::CONNECT_TIMEOUT, client_idle: Self::CLIENT_IDLE }
    }
}

/// What the balancer has done since it was bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that clients sent.
    pub requests: u64,
    /// Times that a request was sent to another member, or again.
    pub retries: u64,
    /// Times that a member was ejected because it did not accept connections.
    pub ejections: u64,
    /// Requests answered 503 because no member was ready.
    pub no_member: u64,
    /// Requests answered 502 because the member failed after it had been given the request.
    pub bad_gateway: u64,
    /// Connections that clients have open now.
    pub client_connections: usize,
}

/// The counters as they are counted.
#[derive(Debug, Default)]
struct Tally {
    requests: AtomicU64,
    retries: AtomicU64,
    ejections: AtomicU64,
    no_member: AtomicU64,
    bad_gateway: AtomicU64,
    client_connections: AtomicUsize,
}

/// How far the balancer is on its way to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Finish what is in flight, accept nothing new.
    Closing,
    /// Drop everything.
    Aborted,
}

/// Waits until the balancer has come as far as `phase`.
async fn reached(receiver: &mut watch::Receiver<Phase>, phase: Phase) {
    // An error says that the balancer is gone, which is as far as it gets.
    _ = receiver.wait_for(|now| *now >= phase).await;
}

/// What accepting, forwarding and the handle share.
#[derive(Debug)]
struct Core {
    config: Config,
    members: Members,
    tally: Tally,
    phase: watch::Sender<Phase>,
}

/// Handle of a running balancer; clones share it. It runs until [`Balancer::close`].
#[derive(Debug, Clone)]
pub struct Balancer {
    core: Arc<Core>,
    addresses: Arc<[SocketAddr]>,
    tasks: Arc<std::sync::Mutex<Vec<JoinHandle<()>>>>,
}

impl Balancer {
    /// Listens and begins to answer, with 503 until members are added. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// An address that cannot be listened on, which the message names.
    pub async fn bind(config: Config) -> io::Result<Self> {
        let listeners = accept::listen(&config.listen)?;
        let addresses = listeners.iter().map(tokio::net::TcpListener::local_addr).collect::<io::Result<Arc<[_]>>>()?;
        let (phase, _) = watch::channel(Phase::Open);
        let core = Arc::new(Core { config, members: Members::default(), tally: Tally::default(), phase });
        let mut tasks = listeners.into_iter().map(|l| tokio::spawn(accept::serve(l, core.clone()))).collect::<Vec<_>>();
        tasks.push(tokio::spawn(upstream::reap(core.clone())));
        Ok(Self { core, addresses, tasks: Arc::new(std::sync::Mutex::new(tasks)) })
    }

    /// The addresses listened on, with the port that was given where port 0 was asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Adds a member that has passed its readiness check: it takes requests at once.
    ///
    /// A known `id` at a new address (restarted on another port) is pointed there and keeps its counts; at the same
    /// address it is ready again, even if it was draining.
    pub fn add(&self, id: &str, address: SocketAddr) {
        self.core.members.add(id, address);
    }

    /// What the probe found: `false` ejects the member, `true` brings it back. A draining member stays draining.
    pub fn set_ready(&self, id: &str, ready: bool) {
        if let Some(slot) = self.core.members.find(id) {
            slot.set_ready(ready);
        }
    }

    /// Gives the member no new requests and closes its unused connections; those in flight go on.
    pub fn drain(&self, id: &str) {
        if let Some(slot) = self.core.members.find(id) {
            slot.drain();
        }
    }

    /// Waits until a member (draining, for this to end) has nothing in flight, at most `timeout`; returns how many
    /// requests are left.
    pub async fn drained(&self, id: &str, timeout: Duration) -> usize {
        match self.core.members.find(id) {
            Some(slot) => slot.idle(timeout).await,
            None => 0,
        }
    }

    /// Forgets a member and closes its unused connections. What is still in flight there may finish.
    pub fn remove(&self, id: &str) {
        self.core.members.remove(id);
    }

    /// The members, in the order in which they were added.
    pub fn members(&self) -> Vec<Member> {
        self.core.members.list()
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        let t = &self.core.tally;
        Counters {
            requests: t.requests.load(Ordering::Relaxed),
            retries: t.retries.load(Ordering::Relaxed),
            ejections: t.ejections.load(Ordering::Relaxed),
            no_member: t.no_member.load(Ordering::Relaxed),
            bad_gateway: t.bad_gateway.load(Ordering::Relaxed),
            client_connections: t.client_connections.load(Ordering::Relaxed),
        }
    }

    /// Stops accepting, finishes what is in flight, closes clients' kept-alive connections; what is left after
    /// `timeout` is cut. Returns how many connections and tunnels were cut.
    pub async fn close(&self, timeout: Duration) -> usize {
        let deadline = Instant::now() + timeout;
        self.core.phase.send_if_modified(|phase| {
            let open = *phase == Phase::Open;
            if open {
                *phase = Phase::Closing;
            }
            open
        });
        // Each connection, tunnel and accepting task holds a receiver: none left means all done.
        let all_done = tokio::time::timeout_at(deadline, self.core.phase.closed()).await.is_ok();
        let cut = if all_done { 0 } else { self.core.phase.receiver_count() };
        self.core.phase.send_replace(Phase::Aborted);
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for task in tasks {
            task.abort();
            _ = task.await;
        }
        for member in self.members() {
            self.core.members.remove(&member.id);
        }
        self.core.phase.closed().await;
        cut
    }
}
