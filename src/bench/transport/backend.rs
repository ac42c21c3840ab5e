//! Which driver moves the bytes.

use std::fmt;
use std::str::FromStr;

/// How sockets are driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Io {
    /// The cheapest way that this system has.
    #[default]
    Auto,
    /// An epoll event queue per thread.
    Epoll,
    /// io_uring: submission and completion rings per thread.
    Uring,
}

impl FromStr for Io {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "epoll" if cfg!(target_os = "linux") => Ok(Self::Epoll),
            "uring" if cfg!(target_os = "linux") => Ok(Self::Uring),
            "epoll" | "uring" => Err(format!("only Linux has {text}: leave the choice to auto")),
            _ => Err("sockets are driven by auto, epoll or uring".to_owned()),
        }
    }
}

impl fmt::Display for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Epoll => "epoll",
            Self::Uring => "uring",
        })
    }
}
