//! Connections to a member: opened when needed, kept alive between requests, the latest used first.

use std::io;
use std::net::TcpStream as StdStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::body::Upload;
use super::member::{Slot, State};
use super::{Core, Phase, reached};

/// A connection to a member that is free for one request.
///
/// Dropping it closes it. HTTP/1 has no way to cancel a request, so that is also how one is cancelled.
#[derive(Debug)]
pub(super) struct Connection {
    sender: http1::SendRequest<Upload>,
    /// A second handle of the same socket, to look for an end of stream that the connection's task has not seen yet.
    socket: StdStream,
    /// It has carried a request before, so the member may have closed it meanwhile.
    pub(super) reused: bool,
    free_since: Instant,
}

/// Why a connection was not to be had.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The member refused, or cannot be reached at all.
    Refused,
    /// The member did not accept in time.
    TimedOut,
    /// The balancer's own limit: no file descriptor, port or memory left. No member's fault.
    Own(io::Error),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        use nix::errno::Errno;
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS | Errno::EADDRNOTAVAIL) => {
                Self::Own(error)
            }
            _ => Self::Refused,
        }
    }
}

impl Connection {
    /// Connects to `slot`; the task that drives the connection ends with it.
    async fn open(slot: &Slot, timeout: Duration) -> Result<Self, ConnectError> {
        let stream = match tokio::time::timeout(timeout, TcpStream::connect(slot.address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(ConnectError::TimedOut),
        };
        let (stream, socket) = second_handle(stream)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| ConnectError::Refused)?;
        tokio::spawn(connection.with_upgrades());
        Ok(Self { sender, socket, reused: false, free_since: Instant::now() })
    }

    /// Whether the member has closed it, or sent something unasked for.
    ///
    /// One system call. What the kernel has got so far is seen, which on one machine is everything that the member
    /// did; over a network a close can still be on its way.
    pub(super) fn is_stale(&self) -> bool {
        !matches!(self.socket.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a request; the error hands it back if it was not written.
    pub(super) fn send(
        &mut self,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>> + use<> {
        self.reused = true;
        self.sender.try_send_request(request)
    }
}

fn second_handle(stream: TcpStream) -> io::Result<(TcpStream, StdStream)> {
    stream.set_nodelay(true)?;
    let socket = stream.into_std()?;
    let second = socket.try_clone()?;
    Ok((TcpStream::from_std(socket)?, second))
}

/// The kept-alive connections of one member.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Free>);

#[derive(Debug, Default)]
struct Free {
    closed: bool,
    connections: Vec<Connection>,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Free> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was free for the shortest time, if one can be used.
    ///
    /// One whose task has not yet finished the exchange before is left for later.
    fn take(&self, idle: Duration) -> Option<Connection> {
        let mut free = self.lock();
        for index in (0..free.connections.len()).rev() {
            let connection = &free.connections[index];
            if connection.sender.is_ready() {
                let connection = free.connections.remove(index);
                if connection.free_since.elapsed() < idle {
                    return Some(connection);
                }
            } else if connection.sender.is_closed() {
                free.connections.remove(index);
            }
        }
        None
    }

    /// Keeps a connection whose exchange has ended, unless the pool was closed.
    pub(super) fn put(&self, mut connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        connection.free_since = Instant::now();
        let mut free = self.lock();
        if !free.closed {
            free.connections.push(connection);
        }
    }

    /// Closes what is free now and, when it comes back, what is in use.
    pub(super) fn close(&self) {
        let mut free = self.lock();
        free.closed = true;
        free.connections.clear();
    }

    /// Closes what is free now.
    pub(super) fn clear(&self) {
        self.lock().connections.clear();
    }

    pub(super) fn open(&self) {
        self.lock().closed = false;
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().connections.len()
    }

    fn reap(&self, idle: Duration) {
        self.lock().connections.retain(|c| !c.sender.is_closed() && c.free_since.elapsed() < idle);
    }
}

/// How a connection is to be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// A kept-alive one or, without one, a new one.
    Any,
    /// As `Any`, after a look whether the member has closed it: for requests that cannot be sent twice.
    Checked,
    /// A new one.
    New,
}

/// A connection to `slot`.
pub(super) async fn connection(core: &Core, slot: &Slot, choice: Choice) -> Result<Connection, ConnectError> {
    if choice != Choice::New {
        while let Some(connection) = slot.pool.take(core.config.idle) {
            if choice == Choice::Any || !connection.is_stale() {
                return Ok(connection);
            }
        }
    }
    Connection::open(slot, core.config.connect_timeout).await
}

/// Closes connections that nobody has used for the idle time, until the balancer closes.
pub(super) async fn reap(core: Arc<Core>) {
    let idle = core.config.idle;
    let mut ticks = tokio::time::interval((idle / 4).max(Duration::from_millis(10)));
    let mut phase = core.phase.subscribe();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = reached(&mut phase, Phase::Closing) => return,
        }
        for slot in core.members.snapshot().iter() {
            slot.pool.reap(if slot.state() == State::Draining { Duration::ZERO } else { idle });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The member closes while the runtime does not run: only the kernel knows, and `Checked` asks it.
    #[tokio::test]
    async fn a_close_that_nobody_has_noticed_is_found_by_the_check() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let balancer = super::super::Balancer::bind(super::super::Config::new(vec![([127, 0, 0, 1], 0).into()]));
        let core = balancer.await.unwrap().core;
        core.members.add("a", listener.local_addr().unwrap());
        let slot = core.members.find("a").unwrap();
        let connection = connection(&core, &slot, Choice::Any).await.unwrap();
        let (member, _) = listener.accept().unwrap();
        while !connection.sender.is_ready() {
            tokio::task::yield_now().await;
        }
        slot.pool.put(connection);
        drop(member);
        let stale = slot.pool.take(core.config.idle).expect("its task has not seen the close");
        assert!(stale.is_stale());
        slot.pool.put(stale);
        let fresh = super::connection(&core, &slot, Choice::Checked).await.unwrap();
        assert!(!fresh.reused && !fresh.is_stale());
        assert_eq!(slot.pool.len(), 0);
    }
}
