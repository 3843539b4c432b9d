//! A verb that failed: what is told on stderr, and the exit code.

use std::error::Error as StdError;
use std::io;

use super::exit::Exit;
use super::output::{Format, Output};
use crate::net::control;
use crate::types::error::{Code, Problem, chain};

/// Why a verb could not do its work.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is told to the user.
    Told(Problem),
    /// Whoever read the output has gone (`cafe status | head -1`): that is success.
    ReaderGone,
}

impl Failure {
    /// Something the system refused to this process.
    pub(super) fn system(operation: &str, error: &dyn StdError) -> Self {
        Self::Told(Problem::new(Code::OperationFailed, format!("{operation}: {}", chain(error))))
    }

    /// The command line makes no sense in a way clap cannot see.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Told(Problem::new(Code::BadRequest, message))
    }

    /// With the operation and its subject in front: `cannot start "web": ...`.
    pub(super) fn while_doing(self, operation: &str) -> Self {
        match self {
            Self::Told(problem) => {
                let message = format!("{operation}: {}", problem.message);
                Self::Told(Problem { message, ..problem })
            }
            Self::ReaderGone => Self::ReaderGone,
        }
    }

    /// The exit code it ends with.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Told(problem) => problem.code.into(),
            Self::ReaderGone => Exit::Done,
        }
    }

    /// Tells it on stderr (as JSON with `-o json`), after what was already printed.
    pub(super) fn report(&self, output: &mut Output) -> Exit {
        // A reader that has gone, or a full disk, cannot be told about on the same stream.
        let _ = output.flush();
        if let Self::Told(problem) = self {
            let text = match output.format() {
                Format::Json => json(problem),
                Format::Human | Format::Plain => human(problem, output),
            };
            output.complain(&text);
        }
        self.exit()
    }
}

fn json(problem: &Problem) -> String {
    let body = control::ErrorBody { error: problem.clone() };
    serde_json::to_string(&body).unwrap_or_default() + "\n"
}

fn human(problem: &Problem, output: &Output) -> String {
    let Problem { code, message, hint } = problem;
    let paint = output.paint_errors();
    let mut text = format!("{} {message} [{code}]\n", paint.bad("cafe:"));
    if let Some(hint) = hint {
        text += &format!("{} {hint}\n", paint.dim("hint:"));
    }
    text + &format!("{} cafe explain {code}\n", paint.dim("hint:"))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::system("cannot write the output", &error),
        }
    }
}

impl From<control::Error> for Failure {
    fn from(error: control::Error) -> Self {
        let problem = match &error {
            control::Error::Problem(problem) => problem.clone(),
            control::Error::Connect { .. } => Problem::new(error.code(), chain(&error))
                .hint("start it with `cafe run`, or name its socket with --socket"),
            _ => Problem::new(error.code(), chain(&error)),
        };
        Self::Told(problem)
    }
}
