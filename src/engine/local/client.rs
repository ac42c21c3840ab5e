//! The command's side of the supervisor's socket.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::leftovers::mark;
use super::places::{Places, make_state_folder};
use super::protocol::{PROTOCOL, Reply, Request};
use super::supervisor;
use crate::engine::Identity;
use crate::error::{Exit, Failure};

/// How long a supervisor may take to open its socket; it ends leftovers before.
const OPEN: Duration = Duration::from_secs(20);
/// How long a supervisor may take to say what it knows.
const ANSWER: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// Speaks to the supervisor of one project.
#[derive(Debug, Clone)]
pub struct Client {
    identity: Identity,
    places: Places,
    /// It is here to end things, so it also takes a supervisor of another version, or of a folder that is gone.
    lenient: bool,
}

impl Client {
    /// A client for a project; connects to nothing yet.
    pub fn new(identity: Identity, places: Places) -> Self {
        Self { identity, places, lenient: false }
    }

    /// For `down`: takes a supervisor of another version, or of a folder that is gone, for its own.
    #[must_use]
    pub fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// Asks, and returns the answer; `None` if there is no supervisor.
    ///
    /// # Errors
    ///
    /// With the supervisor's refusal, or when it ends in the middle.
    pub async fn ask(&self, request: &Request) -> Result<Option<Reply>, Failure> {
        match self.attempt(request).await {
            Ok(Reply::Refused { what, evidence, unhealthy }) => {
                let exit = if unhealthy { Exit::Unhealthy } else { Exit::Failed };
                Err(evidence.into_iter().fold(Failure::new(exit, what), Failure::because))
            }
            Ok(reply) => Ok(Some(reply)),
            Err(Silence::Absent) => Ok(None),
            Err(Silence::Unreachable(error)) => Err(self.unreachable(&error)),
            Err(Silence::Lost(error)) => Err(Failure::failed(format!("the supervisor ended in the middle: {error}"))
                .because(format!("its log is {}", self.places.supervisor_log().display()))
                .hint("run `scalectl up`: it starts another one and goes on from what it finds")),
        }
    }

    /// Asks a supervisor that has to be there.
    ///
    /// # Errors
    ///
    /// As [`Client::ask`], and when there is none.
    pub async fn tell(&self, request: &Request) -> Result<Reply, Failure> {
        self.ask(request).await?.ok_or_else(|| {
            Failure::failed(format!("no supervisor runs for {}", self.identity.project))
                .hint("run `scalectl up`: it starts one and goes on from what it finds")
        })
    }

    /// The mark of the supervisor's processes; `None` if there is none. One that is just starting or ending is waited
    /// for, so that the answer holds.
    ///
    /// # Errors
    ///
    /// When it belongs to the same name in another folder, speaks another version of the protocol, or neither starts nor
    /// ends.
    pub async fn hello(&self) -> Result<Option<String>, Failure> {
        let begin = Instant::now();
        loop {
            match self.attempt(&Request::Hello).await {
                Ok(reply) => return self.recognise(reply).map(Some),
                Err(Silence::Unreachable(error)) => return Err(self.unreachable(&error)),
                Err(Silence::Absent | Silence::Lost(_)) if !self.owned() => return Ok(None),
                Err(_) if begin.elapsed() > OPEN => {
                    return Err(Failure::failed(format!("the supervisor has not answered for {} s", OPEN.as_secs()))
                        .because(format!("its log is {}", self.places.supervisor_log().display())));
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        Failure::failed(format!("cannot reach the supervisor at {}: {error}", self.places.socket().display()))
            .because(format!("its log is {}", self.places.supervisor_log().display()))
    }

    fn recognise(&self, reply: Reply) -> Result<String, Failure> {
        match reply {
            Reply::Hello { run, identity, protocol, .. }
                if self.lenient && (protocol != PROTOCOL || !identity.root.exists()) =>
            {
                Ok(run)
            }
            Reply::Hello { identity, .. } if identity.root != self.identity.root => {
                Err(name_taken(&self.identity, &identity.root.to_string_lossy()))
            }
            Reply::Hello { protocol, version, .. } if protocol != PROTOCOL => Err(Failure::failed(format!(
                "the running supervisor is of scalectl {version}, which speaks another protocol"
            ))
            .hint("`scalectl down` ends it; then `scalectl up`")),
            Reply::Hello { run, .. } => Ok(run),
            _ => Err(Failure::failed("the supervisor gave an answer that makes no sense")),
        }
    }

    /// Whether a supervisor lives, as its lock says.
    pub fn owned(&self) -> bool {
        let Ok(file) = std::fs::File::open(self.places.supervisor_lock()) else { return false };
        Flock::lock(file, FlockArg::LockSharedNonblock).is_err()
    }

    async fn attempt(&self, request: &Request) -> Result<Reply, Silence> {
        let stream = UnixStream::connect(self.places.socket()).await.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Silence::Absent,
            _ => Silence::Unreachable(e),
        })?;
        let exchange = exchange(stream, request);
        if !matches!(request, Request::Hello | Request::Observe) {
            return exchange.await.map_err(Silence::Lost);
        }
        // These are answered at once, or not at all.
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", ANSWER.as_secs()));
        match tokio::time::timeout(ANSWER, exchange).await {
            Ok(reply) => reply.map_err(Silence::Lost),
            Err(_) => Err(Silence::Unreachable(late())),
        }
    }

    /// Starts a supervisor and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it does not, with the end of its log.
    pub async fn start_supervisor(&self) -> Result<(), Failure> {
        let io_error = |e: io::Error| Failure::failed(format!("cannot start the supervisor: {e}"));
        make_state_folder(&self.places.state()).map_err(io_error)?;
        std::fs::create_dir_all(self.places.logs()).map_err(io_error)?;
        let log_path = self.places.supervisor_log();
        let log = OpenOptions::new().create(true).append(true).open(&log_path).map_err(io_error)?;
        let mut child = Command::new(std::env::current_exe().map_err(io_error)?)
            .arg("supervise")
            .args(["--project", self.identity.project.as_str()])
            .arg("--directory")
            .arg(&self.identity.root)
            .current_dir(&self.identity.root)
            .env(mark::PROJECT, self.identity.project.as_str())
            .env(mark::ROOT, &self.identity.root)
            .env(mark::REPLICA, mark::SUPERVISOR)
            .env(mark::RUN, mark::SUPERVISOR)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(io_error)?)
            .stderr(log)
            .spawn()
            .map_err(io_error)?;
        let begin = Instant::now();
        while self.hello().await?.is_none() {
            let ended = child.try_wait().map_err(io_error)?;
            if ended.is_some() || begin.elapsed() > OPEN {
                let what = match ended {
                    Some(status) => format!("the supervisor ended at once: {status}"),
                    None => format!("the supervisor did not open its socket within {} s", OPEN.as_secs()),
                };
                let failure = Failure::failed(what).because(format!("last lines of {}:", log_path.display()));
                let lines = supervisor::tail(&log_path, 10);
                return Err(lines.into_iter().fold(failure, |f, line| f.because(format!("  {line}"))));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

/// Why there was no answer.
enum Silence {
    /// No supervisor listens.
    Absent,
    /// The socket cannot be used.
    Unreachable(io::Error),
    /// It ended before it answered.
    Lost(io::Error),
}

/// The failure that says that a project of the same name runs from another folder.
pub fn name_taken(identity: &Identity, other: &str) -> Failure {
    let failure = Failure::failed(format!("a project named {} already runs from {other}", identity.project))
        .because(format!("this one is {}", identity.root.display()));
    if Path::new(other).exists() {
        failure.hint(format!("end that one (`scalectl -C {other} down`), or give this one another name (`-p NAME`)"))
    } else {
        failure.because(format!("{other} is not there any more")).hint("`scalectl down` here ends what runs from it")
    }
}

async fn exchange(stream: UnixStream, request: &Request) -> io::Result<Reply> {
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    write.write_all(&line).await?;
    let mut answer = String::new();
    if BufReader::new(read).read_line(&mut answer).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&answer)?)
}
