//! Building an environment so that it can be interrupted at any instant: a lock, a marker written last, programs whose
//! output is passed on.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;

use super::{EnvironmentError, Progress};

/// How many of a failed program's last lines are kept.
const TAIL: usize = 20;

/// The marker of a complete environment, within its folder.
const MARKER: &str = ".scalectl-complete";

/// Whether the environment in `folder` was built to its end. A marker that does not hold the key counts as none.
pub(super) fn is_complete(folder: &Path, key: &str) -> bool {
    fs::read(folder.join(MARKER)).is_ok_and(|marker| marker == marker_text(key).as_bytes())
}

fn marker_text(key: &str) -> String {
    format!("complete {key}\n")
}

/// Whether `path` is a file that somebody may execute.
pub(super) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Where an environment is built.
pub(super) struct Site<'a> {
    pub(super) folder: &'a Path,
    pub(super) key: &'a str,
    pub(super) progress: &'a dyn Fn(Progress<'_>),
}

/// What a recipe builds with: runs programs that hold the lock as long as they live.
pub(super) struct Builder<'a> {
    pub(super) folder: &'a Path,
    pub(super) progress: &'a dyn Fn(Progress<'_>),
    lock: &'a File,
}

impl Site<'_> {
    /// Builds under the lock, unless another command has done so meanwhile.
    pub(super) fn build(
        &self,
        recipe: impl FnOnce(&Builder<'_>) -> Result<(), EnvironmentError>,
        is_ready: impl FnOnce() -> bool,
    ) -> Result<(), EnvironmentError> {
        let lock = self.lock()?;
        if is_ready() {
            return Ok(());
        }
        match fs::remove_dir_all(self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(EnvironmentError::io("remove the unfinished", self.folder)(error));
            }
            _ => {}
        }
        recipe(&Builder { folder: self.folder, progress: self.progress, lock: &lock })?;
        self.mark().map_err(EnvironmentError::io("write", self.folder.join(MARKER)))
    }

    /// Takes the lock beside the folder, which itself may be removed; says so when it has to wait.
    ///
    /// The file is never removed: two commands could otherwise hold locks on two files of the same name.
    fn lock(&self) -> Result<File, EnvironmentError> {
        let path = self.folder.with_extension("lock");
        let error = |what| EnvironmentError::io(what, path.clone());
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).map_err(error("create the folder of"))?;
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(error("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(source)) => return Err(error("lock")(source)),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                _ = file.read_to_string(&mut holder);
                (self.progress)(Progress::Waiting { holder: holder.trim().parse().ok() });
                while let Err(source) = file.lock() {
                    if source.kind() != io::ErrorKind::Interrupted {
                        return Err(error("lock")(source));
                    }
                }
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .map_err(error("write"))?;
        Ok(file)
    }

    /// Writes the marker, whole or not at all, after everything else has reached the disk's queue.
    fn mark(&self) -> io::Result<()> {
        let unfinished = self.folder.join(".scalectl-complete.part");
        let mut file = File::create(&unfinished)?;
        file.write_all(marker_text(self.key).as_bytes())?;
        file.sync_all()?;
        fs::rename(unfinished, self.folder.join(MARKER))
    }
}

impl Builder<'_> {
    /// A program without the variables in `removed`; its standard input is the lock.
    ///
    /// A lock by flock is held until the last descriptor of its file is closed. When this process is killed, the
    /// program it had started lives on for a moment, still writing to the folder; as it has the lock too, the next
    /// command waits for its end before it starts over.
    pub(super) fn command(&self, program: &Path, removed: &[&str]) -> Result<Command, EnvironmentError> {
        let lock = self.lock.try_clone().map_err(EnvironmentError::io("share the lock of", self.folder))?;
        let mut command = Command::new(program);
        command.stdin(Stdio::from(lock));
        remove(&mut command, removed);
        Ok(command)
    }

    /// Runs a program to its end, passing on what it writes.
    pub(super) fn run(&self, command: Command) -> Result<(), EnvironmentError> {
        self.run_with(command, |_| None)
    }

    /// Runs a program; `machine_line` takes lines of standard output that are not for people, or says how to show one.
    pub(super) fn run_with(
        &self,
        mut command: Command,
        mut machine_line: impl FnMut(&str) -> Option<String>,
    ) -> Result<(), EnvironmentError> {
        let text = written(&command);
        (self.progress)(Progress::Running(&text));
        let program = PathBuf::from(command.get_program());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(EnvironmentError::io("start", &program))?;
        let mut tail = VecDeque::with_capacity(TAIL);
        let (sender, lines) = mpsc::channel();
        std::thread::scope(|scope| {
            if let Some(stdout) = child.stdout.take() {
                let sender = sender.clone();
                scope.spawn(move || read_lines(stdout, |line| sender.send((true, line)).is_ok()));
            }
            if let Some(stderr) = child.stderr.take() {
                scope.spawn(move || read_lines(stderr, |line| sender.send((false, line)).is_ok()));
            }
            for (is_stdout, line) in lines {
                let line = if is_stdout { machine_line(&line).unwrap_or(line) } else { line };
                if line.trim().is_empty() {
                    continue;
                }
                (self.progress)(Progress::Output(&line));
                if tail.len() == TAIL {
                    tail.pop_front();
                }
                tail.push_back(line);
            }
        });
        let status = child.wait().map_err(EnvironmentError::io("wait for", &program))?;
        if status.success() {
            return Ok(());
        }
        Err(EnvironmentError::Failed { command: text, status: how(status), tail: tail.into() })
    }
}

/// Each line, decoded as well as it goes, until the end or until nobody wants more.
fn read_lines(stream: impl Read, mut take: impl FnMut(String) -> bool) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        if !take(String::from_utf8_lossy(&line).trim_end().to_owned()) {
            return;
        }
        line.clear();
    }
}

fn remove(command: &mut Command, variables: &[&str]) {
    for name in variables {
        command.env_remove(name);
    }
}

/// A command as one would type it.
fn written(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    shell_words::join(words.map(|word| word.to_string_lossy()).collect::<Vec<_>>())
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".to_owned(),
    }
}

/// What a program prints when asked for its version and the like; `None` where it is missing or fails.
pub(super) fn ask(program: &Path, arguments: &[&str], folder: &Path, removed: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    remove(&mut command, removed);
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().find(|line| !line.trim().is_empty()).unwrap_or(&how(output.status)).trim().to_owned())
}
