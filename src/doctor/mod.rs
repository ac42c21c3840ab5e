//! What each command needs of this machine, checked before anything is pulled or started.
//!
//! `probe` asks the machine and decides nothing; [`checks`] decides and asks nothing.

mod checks;
mod docker;
mod machine;
mod platform;
mod probe;

pub use checks::{Check, Status, checks};
pub use docker::DockerAnswer;
pub use machine::{Disk, Machine, OpenPort, Program, Project, Python};
pub use platform::Platform;
pub use probe::examine;
