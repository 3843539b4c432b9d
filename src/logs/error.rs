//! What can go wrong with logs, as the caller sees it. Trouble with one file is a [`Notice`](super::Notice).

use std::io;
use std::path::PathBuf;

use crate::types::error::Code;

/// A failed operation on logs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pump could not be set up.
    #[error("cannot start the log pump: {operation}")]
    Start {
        /// What was attempted.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A pipe for a service could not be made.
    #[error("cannot make a log pipe: {operation}")]
    Pipe {
        /// What was attempted.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A file or directory of logs could not be used.
    #[error("cannot {operation} `{}`", path.display())]
    File {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// More requests wait for the pump than it ever should have: the disk hangs.
    #[error("the log pump does not keep up: {0} requests wait")]
    Busy(usize),
    /// The pump has ended.
    #[error("the log pump has stopped")]
    Stopped,
}

impl Error {
    /// The code a user can look up.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Start { .. } | Self::Pipe { .. } => Code::OutOfResources,
            Self::File { .. } => Code::LogUnwritable,
            Self::Busy(_) | Self::Stopped => Code::OperationFailed,
        }
    }
}
