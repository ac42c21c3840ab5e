//! The supervisor: a small daemon of one project that owns its processes and balancers.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`fleet`] | the replicas, balancers and jobs, and what can be asked of them |
//! | [`replica`] | the life of one replica: start, check, restart with back-off, stop |
//! | [`job`] | one run of a job |
//! | [`child`] | starting a process, and ending its whole group |
//! | [`journal`] | log files: opening, rotating, reading their end |
//! | [`serve`] | the socket |

mod child;
mod fleet;
mod job;
mod journal;
mod replica;
mod serve;

pub use child::secret_variables;
pub use journal::{rotated_files, tail};

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use super::leftovers::Leftovers;
use super::places::Places;
use crate::engine::Identity;
use crate::error::Failure;
use fleet::Fleet;

/// Runs the supervisor of a project until it is told to end.
///
/// # Errors
///
/// When another supervisor owns the project, or the socket cannot be had.
pub fn supervise(identity: Identity) -> Result<(), Failure> {
    // A session of its own: neither Ctrl-C nor a closed terminal reaches it. It fails where the process leads one already.
    let _ = nix::unistd::setsid();
    raise_file_limit();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("cannot start the supervisor: {e}")))?;
    let result = runtime.block_on(run(identity));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

async fn run(identity: Identity) -> Result<(), Failure> {
    let places = Places::of(&identity).map_err(|e| Failure::failed(format!("cannot make the run-time folder: {e}")))?;
    let _owner = own(&places).await?;
    let run = uuid::Uuid::new_v4().simple().to_string();
    let ended = Leftovers::find(&identity, Some(&run)).end().await;
    if ended > 0 {
        eprintln!("ended {ended} processes of a supervisor that is gone");
    }
    // Whoever held this name before is gone: the lock says so.
    let _ = std::fs::remove_file(places.socket());
    let listener = UnixListener::bind(places.socket())
        .map_err(|e| Failure::failed(format!("cannot listen on {}: {e}", places.socket().display())))?;
    let fleet = Arc::new(Fleet::new(identity.clone(), places.clone(), run));
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| Failure::failed(e.to_string()))?;
    tokio::select! {
        () = serve::serve(listener, fleet.clone()) => {}
        () = fleet.ended() => {}
        _ = terminate.recv() => fleet.shutdown().await,
    }
    // What its replicas started in sessions of their own is theirs too.
    Leftovers::find(&identity, None).end().await;
    let _ = std::fs::remove_file(places.socket());
    let _ = std::fs::remove_dir_all(places.all_secrets());
    let _ = std::fs::remove_file(places.supervisor_lock());
    Ok(())
}

/// Raises the soft limit of open files to the hard one: every request through a balancer needs two.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // With the lower limit it works as well, for fewer clients.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Makes this process the project's only supervisor, for as long as it lives.
async fn own(places: &Places) -> Result<Flock<File>, Failure> {
    let path = places.supervisor_lock();
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| Failure::failed(format!("cannot open {}: {e}", path.display())))?;
    let mut attempt = 0;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            // A command that looks whether there is a supervisor holds the lock for an instant.
            Err((same, _)) if attempt < 50 => {
                file = same;
                attempt += 1;
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            Err((_, errno)) => return Err(Failure::failed(format!("another supervisor owns this project: {errno}"))),
        }
    }
}
