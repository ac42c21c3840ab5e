//! The life of one replica: start, check, restart with back-off, stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::super::probe;
use super::super::protocol::Process;
use super::child::{self, Badge};
use super::fleet::Fleet;
use super::journal;
use crate::engine::{Exited, Fingerprint, ReplicaId, ReplicaState};

/// How often a replica that is not ready is asked: it should not wait for us.
const ASK_STARTING: Duration = Duration::from_millis(25);
/// How often a ready replica is asked.
const ASK_READY: Duration = Duration::from_secs(1);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// So many bad answers in a row make a ready replica not ready; a refused connection does at once.
const TOLERATED: u32 = 2;
/// A replica without a check is ready when it has run for so long.
const SETTLED: Duration = Duration::from_millis(300);
/// The pause before the first restart; doubled for each further one.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before a restart.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A replica that ran so long starts again with the shortest pause.
const FORGIVEN: Duration = Duration::from_secs(10);
/// How often its log is looked at.
const ROTATE: Duration = Duration::from_secs(5);

/// What a replica can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Stop.
    Stop,
    /// Run again after a stop.
    Resume,
    /// Stop, and end this life.
    Retire,
}

/// What is known of a replica at an instant.
#[derive(Debug, Clone)]
pub struct Status {
    /// How far it is.
    pub state: ReplicaState,
    /// Its last check was answered well.
    pub ready: bool,
    /// Restarts after it had ended by itself.
    pub restarts: u32,
    /// It ended so many times by itself since it was last ready.
    pub crashes: u32,
    /// Where it listens.
    pub address: Option<SocketAddr>,
    /// Its process.
    pub pid: Option<u32>,
    /// Since when the present process runs.
    pub since: Instant,
    /// How the process before ended.
    pub exited: Option<Exited>,
    /// The last answer to its check.
    pub check: Option<String>,
    /// Where in its log the present process begins.
    pub log_from: u64,
    /// Its life has ended.
    pub retired: bool,
}

/// A replica, as the fleet keeps it.
pub struct Replica {
    /// What it was made from.
    pub fingerprint: Fingerprint,
    /// The balancers may use it.
    pub member: bool,
    /// The balancers send it nothing new.
    pub draining: bool,
    /// What it was told last: it counts from the moment that it was told, not only when it is done.
    told: Option<Order>,
    orders: mpsc::UnboundedSender<Order>,
    status: watch::Receiver<Status>,
}

impl Replica {
    /// Begins a replica's life.
    pub fn start(fleet: Arc<Fleet>, id: ReplicaId, fingerprint: Fingerprint, process: Process) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        let (report, status) = watch::channel(Status {
            state: ReplicaState::Running,
            ready: false,
            restarts: 0,
            crashes: 0,
            address: None,
            pid: None,
            since: Instant::now(),
            exited: None,
            check: None,
            log_from: 0,
            retired: false,
        });
        tokio::spawn(Life { fleet, id, process, inbox, report }.run());
        Self { fingerprint, member: false, draining: false, told: None, orders, status }
    }

    /// Tells it something.
    pub fn order(&mut self, order: Order) {
        // A life that is to end takes no other order.
        if self.told != Some(Order::Retire) {
            self.told = Some(order);
        }
        // A life that has ended hears nothing, and needs nothing.
        let _ = self.orders.send(order);
    }

    /// What is known of it now.
    pub fn status(&self) -> Status {
        let mut status = self.status.borrow().clone();
        match self.told {
            Some(Order::Retire) => status.state = ReplicaState::Removing,
            Some(Order::Stop) if status.state != ReplicaState::Stopped => status.state = ReplicaState::Stopping,
            _ => {}
        }
        status
    }

    /// To follow what becomes of it.
    pub fn follow(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }
}

/// Why a process runs no more.
enum End {
    Itself(Exited),
    Order(Order),
}

struct Life {
    fleet: Arc<Fleet>,
    id: ReplicaId,
    process: Process,
    inbox: mpsc::UnboundedReceiver<Order>,
    report: watch::Sender<Status>,
}

impl Life {
    async fn run(mut self) {
        let mut pause = PAUSE;
        loop {
            let begin = Instant::now();
            match self.once().await {
                End::Order(Order::Retire) => break,
                End::Order(Order::Resume | Order::Stop) => {
                    if self.stopped().await == Order::Retire {
                        break;
                    }
                    pause = PAUSE;
                }
                End::Itself(exited) => {
                    if begin.elapsed() >= FORGIVEN {
                        pause = PAUSE;
                    }
                    eprintln!("{}: {exited}; it is started again in {} ms", self.id, pause.as_millis());
                    self.change(|s| {
                        s.state = ReplicaState::Restarting;
                        s.ready = false;
                        s.pid = None;
                        s.exited = Some(exited);
                        s.crashes += 1;
                    });
                    let order = self.rest(pause).await;
                    pause = if order.is_some() { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
                    match order {
                        Some(Order::Retire) => break,
                        Some(Order::Stop) if self.stopped().await == Order::Retire => break,
                        _ => {}
                    }
                    self.change(|s| s.restarts += 1);
                }
            }
        }
        let _ = std::fs::remove_dir_all(self.fleet.places().secrets(&self.id.to_string()));
        self.change(|s| {
            s.state = ReplicaState::Stopped;
            s.ready = false;
            s.pid = None;
            s.retired = true;
        });
    }

    /// Changes what is known, and lets the balancers know.
    fn change(&self, change: impl FnOnce(&mut Status)) {
        self.report.send_modify(change);
        let status = self.report.borrow().clone();
        self.fleet.balance(&self.id, status.address, status.ready);
    }

    /// Waits for the pause to end, or an order.
    async fn rest(&mut self, pause: Duration) -> Option<Order> {
        let end = Instant::now() + pause;
        tokio::select! {
            () = sleep_until(end) => None,
            order = self.inbox.recv() => Some(order.unwrap_or(Order::Retire)),
        }
    }

    /// Stays stopped until it is told otherwise.
    async fn stopped(&mut self) -> Order {
        self.change(|s| {
            s.state = ReplicaState::Stopped;
            s.ready = false;
            s.pid = None;
            s.check = None;
        });
        loop {
            match self.inbox.recv().await {
                Some(Order::Stop) => {}
                Some(order) => return order,
                None => return Order::Retire,
            }
        }
    }

    /// One process, from its start to its end.
    async fn once(&mut self) -> End {
        let mut given = None;
        let end = self.process(&mut given).await;
        given.into_iter().for_each(|address| self.fleet.return_port(address));
        end
    }

    async fn process(&mut self, given: &mut Option<SocketAddr>) -> End {
        let log = self.fleet.places().replica_log(&self.id);
        let log_from = std::fs::metadata(&log).map_or(0, |m| m.len());
        let name = self.id.to_string();
        let started = (|| {
            let address = if self.process.listens { Some(self.fleet.take_port()?) } else { None };
            *given = address;
            let badge = Badge {
                identity: self.fleet.identity(),
                run: self.fleet.run(),
                service: self.id.service.as_str(),
                name: &name,
            };
            let child = child::start(&self.process, &badge, address, &log, self.fleet.places())?;
            Ok::<_, std::io::Error>((child, address))
        })();
        let (mut child, address) = match started {
            Ok(started) => started,
            Err(error) => return End::Itself(Exited::NotStarted(error.to_string())),
        };
        let pid = child.id().unwrap_or_default();
        self.change(|s| {
            s.state = ReplicaState::Running;
            s.ready = false;
            s.address = address;
            s.pid = Some(pid);
            s.since = Instant::now();
            s.check = None;
            s.log_from = log_from;
        });
        match self.watch(&mut child, address, &log).await {
            End::Itself(exited) => {
                child::sweep(pid);
                End::Itself(exited)
            }
            End::Order(order) => {
                self.change(|s| {
                    s.state = ReplicaState::Stopping;
                    s.ready = false;
                });
                let exited = child::end(&mut child, pid, self.process.stop_timeout).await;
                self.change(|s| s.exited = exited);
                End::Order(order)
            }
        }
    }

    /// Checks a running process until it ends or is to end.
    async fn watch(&mut self, child: &mut Child, address: Option<SocketAddr>, log: &std::path::Path) -> End {
        let begin = Instant::now();
        let mut bad = 0;
        let mut rotate = Instant::now() + ROTATE;
        let mut next = begin;
        loop {
            tokio::select! {
                status = child.wait() => return End::Itself(match status {
                    Ok(status) => child::exited(status),
                    Err(error) => Exited::NotStarted(error.to_string()),
                }),
                order = self.inbox.recv() => match order.unwrap_or(Order::Retire) {
                    Order::Resume => {}
                    order => return End::Order(order),
                },
                answer = check(&self.process, address, begin, next) => {
                    self.judge(answer, &mut bad);
                    let ready = self.report.borrow().ready;
                    next = Instant::now() + if ready { ASK_READY } else { ASK_STARTING };
                    if Instant::now() >= rotate {
                        rotate = Instant::now() + ROTATE;
                        if let Err(error) = journal::rotate(log) {
                            eprintln!("{}: its log cannot be rotated: {error}", self.id);
                        }
                    }
                }
            }
        }
    }

    /// What an answer makes of the replica's readiness.
    fn judge(&self, answer: probe::Outcome, bad: &mut u32) {
        let was = self.report.borrow().ready;
        *bad = if matches!(answer, probe::Outcome::Ready) { 0 } else { *bad + 1 };
        let refused = matches!(answer, probe::Outcome::Refused);
        let ready = *bad == 0 || (was && !refused && *bad < TOLERATED);
        let text = (*bad > 0).then(|| answer.to_string());
        if ready == was && text == self.report.borrow().check {
            // A balancer may have ejected it after a refused connection; an answer brings it back.
            if *bad == 0 {
                self.fleet.balance(&self.id, self.report.borrow().address, true);
            }
            return;
        }
        self.change(|s| {
            s.ready = ready;
            s.check = text;
            if ready {
                s.crashes = 0;
            }
        });
    }
}

/// Asks once, at the instant `at`.
async fn check(process: &Process, address: Option<SocketAddr>, begin: Instant, at: Instant) -> probe::Outcome {
    sleep_until(at).await;
    match (address, &process.check) {
        (Some(address), Some(path)) => probe::check(address, path, ANSWER).await,
        (Some(address), None) => match tokio::time::timeout(ANSWER, tokio::net::TcpStream::connect(address)).await {
            Ok(Ok(_)) => probe::Outcome::Ready,
            Ok(Err(_)) => probe::Outcome::Refused,
            Err(_) => probe::Outcome::TimedOut(ANSWER),
        },
        (None, _) => {
            sleep(SETTLED.saturating_sub(begin.elapsed())).await;
            probe::Outcome::Ready
        }
    }
}
