//! What can go wrong at the boundary to Linux: operation, subject and cause, each with its code.

use std::io;
use std::path::PathBuf;

use crate::types::error::Code;

/// An operation on the machine that failed. Display never prints the source; `types::error::chain` does.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No file of that name on the command's `PATH`, or at the path given.
    #[error("there is no program `{program}` in {searched}")]
    ProgramNotFound {
        /// As written in the command.
        program: String,
        /// The directories searched, or the directory of the path given.
        searched: String,
    },
    /// A script or dynamically linked program names an interpreter that does not exist.
    #[error(
        "`{}` exists, but its interpreter {} does not", program.display(),
        interpreter.as_deref().map_or_else(|| "(or loader)".to_owned(), |name| format!("`{name}`"))
    )]
    InterpreterNotFound {
        /// The program.
        program: PathBuf,
        /// What its `#!` line names; absent for a binary, whose loader is missing.
        interpreter: Option<String>,
    },
    /// The program exists, but may not be executed.
    #[error("`{}` may not be executed", program.display())]
    ProgramNotExecutable {
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The working directory cannot be entered (as the user of the command).
    #[error("the working directory `{}` cannot be entered", path.display())]
    WorkingDirectory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No account of that name.
    #[error("there is no user `{0}`")]
    UnknownUser(String),
    /// No group of that name.
    #[error("there is no group `{0}`")]
    UnknownGroup(String),
    /// A numeric user without an account has no group of its own.
    #[error("user `{0}` has no account, so `group` must be given as well")]
    GroupNeeded(String),
    /// The account database could not be read.
    #[error("the account `{name}` could not be looked up")]
    AccountLookup {
        /// User or group.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The command itself makes no sense.
    #[error("the command of `{program}` is not valid: {reason}")]
    InvalidCommand {
        /// As written in the command.
        program: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A step between clone and exec failed.
    #[error("cannot {step} for `{}`", program.display())]
    Start {
        /// What was tried.
        step: &'static str,
        /// For which program.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The spawner was dropped before the command's turn came.
    #[error("the spawner has ended")]
    SpawnerEnded,
    /// Another cafe holds the lock.
    #[error("`{}` is locked by another cafe{}", path.display(), process_text(*pid))]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Its holder, where it could be read.
        pid: Option<u32>,
    },
    /// The state directory cannot be used.
    #[error("the state directory `{}` cannot be used", path.display())]
    StateDirectory {
        /// The path in it that failed.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// cgroups cannot be used here.
    #[error("cgroups cannot be used: {0}")]
    CgroupUnavailable(String),
    /// A limit needs a controller that is not delegated to cafe.
    #[error("`{file}` needs the cgroup controller `{controller}`, which is not delegated to cafe in `{}`", cgroup.display())]
    ControllerMissing {
        /// The limit's file.
        file: &'static str,
        /// The controller it belongs to.
        controller: &'static str,
        /// Where it was looked for.
        cgroup: PathBuf,
    },
    /// Anything else: operation, subject, cause.
    #[error("cannot {operation} `{subject}`")]
    System {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        subject: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// The code that `cafe explain` has a page for.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::ProgramNotFound { .. } | Self::InterpreterNotFound { .. } => {
                Code::ProgramNotFound
            }
            Self::ProgramNotExecutable { .. } => Code::ProgramNotExecutable,
            Self::WorkingDirectory { .. } => Code::WorkingDirectory,
            Self::UnknownUser(_) | Self::UnknownGroup(_) | Self::GroupNeeded(_) => {
                Code::UnknownUser
            }
            Self::Start { source, .. } | Self::AccountLookup { source, .. } => {
                code_of(source).unwrap_or(Code::StartFailed)
            }
            Self::InvalidCommand { .. } | Self::SpawnerEnded => Code::StartFailed,
            Self::Locked { .. } => Code::AlreadyRunning,
            Self::StateDirectory { .. } => Code::StateDirectory,
            Self::CgroupUnavailable(_) | Self::ControllerMissing { .. } => Code::NotPermitted,
            Self::System { source, .. } => code_of(source).unwrap_or(Code::OperationFailed),
        }
    }

    /// Names operation and subject of a failed system call.
    pub(super) fn system(
        operation: &'static str,
        subject: impl Into<String>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::System { operation, subject: subject.into(), source: source.into() }
    }
}

/// Causes that mean the same wherever they occur.
fn code_of(source: &io::Error) -> Option<Code> {
    match source.raw_os_error()? {
        libc::EPERM | libc::EACCES => Some(Code::NotPermitted),
        libc::EAGAIN | libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOSPC => {
            Some(Code::OutOfResources)
        }
        _ => None,
    }
}

fn process_text(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}
