//! What goes wrong between a client, the socket and the daemon.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::types::error::{Code, Problem};

/// An error of the control API, on either side of the socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens on the socket, or it cannot be opened.
    #[error("cannot reach the daemon at {}", .socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or what came was not HTTP.
    #[error("the daemon did not answer `{request}`")]
    Exchange {
        /// Method and path.
        request: String,
        /// What broke.
        #[source]
        source: hyper::Error,
    },
    /// No answer within the time given.
    #[error("no answer to `{request}` within {}", crate::types::unit::show_duration(*.after))]
    TimedOut {
        /// Method and path.
        request: String,
        /// The time given.
        after: Duration,
    },
    /// The answer is longer than any answer of cafe.
    #[error("the answer to `{request}` has more than {limit} bytes")]
    TooLarge {
        /// Method and path.
        request: String,
        /// The bound, bytes.
        limit: usize,
    },
    /// The answer is not the document it should be: another version, or not cafe.
    #[error("the answer to `{request}` is not understood")]
    Answer {
        /// Method and path.
        request: String,
        /// Where it differs.
        #[source]
        source: serde_json::Error,
    },
    /// The daemon refused or failed, and says why.
    #[error("{0}")]
    Problem(Problem),
    /// The socket file cannot be made.
    #[error("cannot {operation} {}", .path.display())]
    Socket {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody answers on the socket already.
    #[error("another daemon listens on {}", .0.display())]
    InUse(PathBuf),
    /// A file that is not a socket has the socket's name.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
}

impl Error {
    /// The code a user can look up.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Code::Refused
            }
            Self::Connect { .. } | Self::Exchange { .. } => Code::DaemonUnreachable,
            Self::TimedOut { .. } => Code::TimedOut,
            Self::TooLarge { .. } | Self::Answer { .. } => Code::OperationFailed,
            Self::Problem(problem) => problem.code,
            Self::InUse(_) => Code::AlreadyRunning,
            Self::Socket { .. } | Self::NotASocket(_) => Code::SocketUnusable,
        }
    }
}
