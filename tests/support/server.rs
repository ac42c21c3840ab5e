//! A scriptable HTTP/1.1 server that counts at its own side, on raw sockets so that it can misbehave.
//!
//! Requests carry their sequence number in the path, `/17`. What happens to each is decided by a [`Script`]; answers
//! are due at instants, never "after a sleep", so that late timers do not accumulate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// CLOCK_MONOTONIC in nanoseconds, the clock of the generator.
pub fn now_ns() -> u64 {
    Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap()).as_nanos() as u64
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Number in its path.
    pub seq: u64,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// When its head was read.
    pub at_ns: u64,
    /// How many requests came on its connection before it.
    pub earlier: u64,
    /// How often this sequence number was seen before.
    pub repeats: u64,
    /// Its head as it came.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Seen {
    /// The value of a header; panics where there are two.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let value = found.next();
        assert_eq!(found.next(), None, "{}", self.head);
        value
    }
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Answered with this status at this instant (CLOCK_MONOTONIC; in the past: at once).
    Answer(u16, u64),
    /// Answered, then the connection is closed without a word.
    AnswerAndClose,
    /// Never answered.
    Silence,
    /// The connection is reset.
    Reset,
    /// The connection is closed without an answer.
    Close,
    /// Answered with these pieces of bytes as they are, each in a packet of its own.
    Bytes(Vec<Vec<u8>>),
    /// The same, then the connection is closed.
    BytesAndClose(Vec<Vec<u8>>),
    /// Answered, then the server stops: it listens no more and closes everything.
    AnswerAndStop,
}

impl Fate {
    /// Answered at once with this status, these header lines and this body.
    pub fn with(status: u16, headers: &[&str], body: &str) -> Self {
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let length = body.len();
        let text = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}");
        Self::Bytes(vec![text.into_bytes()])
    }
}

/// Decides on each request; called in the order in which heads are read.
pub type Script = Box<dyn FnMut(&Seen) -> Fate + Send>;

/// One server with a queue, in virtual time: departure = max(arrival, previous departure) + service, in the order of
/// the sequence numbers, whose service times these are (ns). Timers that fire late never add up.
pub fn queue(service_ns: Vec<u64>) -> impl FnMut(&Seen) -> Fate + Send + 'static {
    let mut departures: Vec<u64> = Vec::with_capacity(service_ns.len());
    move |seen| {
        let seq = seen.seq as usize;
        // Those before it were sent before it: what is not read yet is about to be.
        while departures.len() <= seq {
            let previous = departures.last().copied().unwrap_or(0);
            departures.push(seen.at_ns.max(previous) + service_ns[departures.len()]);
        }
        Fate::Answer(200, departures[seq])
    }
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    script: Mutex<Script>,
    seen: Mutex<Vec<Seen>>,
    repeats: Mutex<HashMap<u64, u64>>,
    connections: AtomicU64,
    /// By how much an answer was written too late at worst.
    lateness: AtomicU64,
    is_over: AtomicBool,
    over: Notify,
}

/// What drives the sockets of the generator, as SCALECTL_IO says for the command, too.
pub fn io() -> scalectl::bench::Io {
    std::env::var("SCALECTL_IO").map_or_else(|_| Default::default(), |io| io.parse().unwrap())
}

impl Server {
    /// Starts a server on a free loopback port.
    pub fn start(script: impl FnMut(&Seen) -> Fate + Send + 'static) -> Self {
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(script)),
            seen: Mutex::default(),
            repeats: Mutex::default(),
            connections: AtomicU64::new(0),
            lateness: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            over: Notify::new(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, &own) => {}
                    () = own.until_over() => {}
                }
            });
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Base URL without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request whose head was read, in that order.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many heads were read.
    pub fn count(&self) -> u64 {
        self.shared.seen.lock().unwrap().len() as u64
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// By how much an answer was written later than it was due, at worst.
    pub fn lateness_ns(&self) -> u64 {
        self.shared.lateness.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.end();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Shared {
    fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.over.notify_waiters();
        self.over.notify_one();
    }

    async fn until_over(&self) {
        while !self.is_over.load(Ordering::SeqCst) {
            self.over.notified().await;
        }
    }

    fn fate_of(&self, head: String, body: Vec<u8>, earlier: u64) -> Fate {
        let at_ns = now_ns();
        let mut words = head.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let seq = path.trim_start_matches('/').split(['/', '?']).next().unwrap().parse().unwrap_or(0);
        let mut repeats = self.repeats.lock().unwrap();
        let repeats = repeats.entry(seq).and_modify(|n| *n += 1).or_insert(0);
        let seen = Seen { seq, method, path, at_ns, earlier, repeats: *repeats, head, body };
        let fate = (self.script.lock().unwrap())(&seen);
        self.seen.lock().unwrap().push(seen);
        fate
    }
}

async fn accept(listener: TcpListener, shared: &Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        shared.connections.fetch_add(1, Ordering::SeqCst);
        // Tasks end with the runtime: that closes their sockets.
        tokio::spawn(serve(stream, Arc::clone(shared)));
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut buffer = Vec::new();
    for earlier in 0.. {
        let Some((head, body)) = read_request(&mut stream, &mut buffer).await else { return };
        match shared.fate_of(head, body, earlier) {
            Fate::Answer(status, due) => {
                let wait = due.saturating_sub(now_ns());
                if wait > 0 {
                    tokio::time::sleep(Duration::from_nanos(wait)).await;
                }
                if answer(&mut stream, status).await.is_none() {
                    return;
                }
                // After the write: a thread can be paused before it as well.
                if wait > 0 {
                    shared.lateness.fetch_max(now_ns().saturating_sub(due), Ordering::SeqCst);
                }
            }
            Fate::AnswerAndClose => {
                answer(&mut stream, 200).await;
                return;
            }
            Fate::Bytes(pieces) => {
                if write_pieces(&mut stream, &pieces).await.is_none() {
                    return;
                }
            }
            Fate::BytesAndClose(pieces) => {
                write_pieces(&mut stream, &pieces).await;
                return;
            }
            Fate::Silence => std::future::pending::<()>().await,
            Fate::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Fate::Close => return,
            Fate::AnswerAndStop => {
                answer(&mut stream, 200).await;
                shared.end();
                return;
            }
        }
    }
}

async fn answer(stream: &mut TcpStream, status: u16) -> Option<()> {
    let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\n\r\nhello");
    stream.write_all(text.as_bytes()).await.ok()
}

/// Writes each piece only after the other side had time to read the one before.
async fn write_pieces(stream: &mut TcpStream, pieces: &[Vec<u8>]) -> Option<()> {
    for (number, piece) in pieces.iter().enumerate() {
        if number > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stream.write_all(piece).await.ok()?;
    }
    Some(())
}

/// Reads the head and the body of one request; `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let length: usize = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, value)| value.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                let body = buffer.drain(..end + 4 + length).skip(end + 4).collect();
                return Some((head, body));
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => buffer.extend_from_slice(&piece[..read]),
        }
    }
}
