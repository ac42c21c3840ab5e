//! What drivers are asked for, and what they tell: the same of all of them.

use super::nap::Nap;
use super::session::Exchange;
use crate::bench::answer::Answer;
use crate::bench::record::sample::Fault;

/// What has happened on a slot.
#[derive(Debug)]
pub enum Completion {
    /// A connection is open.
    Opened {
        /// Where.
        slot: usize,
        /// How long the connection took, in nanoseconds.
        connect_ns: u64,
        /// How long TLS took, where there is.
        tls_ns: Option<u64>,
    },
    /// A connection that was opened for another slot can be used. HTTP/2 only.
    Joined {
        /// Where.
        slot: usize,
    },
    /// An answer is complete. The connection is open still, or closed already: see [`super::Driver::is_open`].
    Answered {
        /// Where.
        slot: usize,
        /// Its status.
        status: u16,
        /// What was seen of it.
        exchange: Exchange,
        /// The answer itself, where it was to be kept.
        answer: Option<Box<Answer>>,
    },
    /// A connection, or the exchange on it, has failed; it is closed.
    Failed {
        /// Where.
        slot: usize,
        /// Why.
        fault: Fault,
        /// Status of the answer, where its head came.
        status: Option<u16>,
        /// What was seen of it.
        exchange: Exchange,
        /// Whether other requests were sent on the connection before.
        is_reused: bool,
    },
}

impl Completion {
    /// Where it happened.
    pub fn slot(&self) -> usize {
        let (Self::Opened { slot, .. }
        | Self::Joined { slot }
        | Self::Answered { slot, .. }
        | Self::Failed { slot, .. }) = self;
        *slot
    }
}

/// How long to wait for something to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Not,
    /// Until this instant of CLOCK_MONOTONIC.
    Until(u64),
    /// Until this instant, or until so much has happened: see [`super::Transport::gathers`].
    Several(u64, usize),
    /// Until then, and not shorter for an answer that can as well be read later, as the kernel has noted when it came.
    Through(Nap),
    /// The same, and no look at what has come then either.
    Past(Nap),
}

impl Wait {
    /// When it ends, if it is one.
    pub fn until(self) -> Option<u64> {
        match self {
            Self::Not => None,
            Self::Until(at) | Self::Several(at, _) => Some(at),
            Self::Through(nap) | Self::Past(nap) => Some(nap.until),
        }
    }

    /// How much has to happen before that.
    #[cfg(target_os = "linux")]
    pub fn events(self) -> usize {
        if let Self::Several(_, events) = self { events } else { 1 }
    }
}

/// When answers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As soon as they come.
    AtOnce,
    /// At the next occasion, where the kernel notes when they came.
    Late,
}
