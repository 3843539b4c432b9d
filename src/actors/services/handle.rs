//! How the rest of the tree reaches the services.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::oneshot;

use super::Msg;
use super::board::Board;
use crate::config::Config;
use crate::supervision::mailbox::{self, Mailbox};
use crate::types::error::{Code, Problem};
use crate::types::name::Name;

/// Commands that may wait; further ones are refused.
const COMMANDS_WAITING: usize = 256;

/// Longest time for a command to be taken. It never waits for a service.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// How the rest of the tree reaches the services; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    mailbox: Mailbox<Msg>,
    board: Board,
}

/// What somebody wants of a service or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Start it, and what it requires.
    Start,
    /// Stop it, after what requires it.
    Stop,
    /// Stop and start; the other way round for one whose config says `overlap: true`.
    Restart,
    /// Start the next one, then stop.
    Overlap,
    /// As its `reload` says.
    Reload,
    /// Send a signal to its main process.
    Signal(i32),
}

impl Handle {
    /// A handle over what is shown; an actor serves it once it started.
    pub(crate) fn new(board: Board) -> Self {
        Self { mailbox: Mailbox::new(COMMANDS_WAITING), board }
    }

    /// This incarnation of the supervisor answers from now on.
    pub(super) fn serve(&self, actor: &ActorRef<Msg>) {
        self.mailbox.serve(actor);
    }

    /// What is shown of the services.
    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    /// Does something to a service or a group by hand; returns once it is under way.
    ///
    /// # Errors
    /// No such name, nothing to do it to, or the daemon is ending.
    pub(crate) async fn act(&self, verb: Verb, name: &str, why: String) -> Result<(), Problem> {
        let name = name.to_owned();
        let ask = |reply| Msg::Act { verb, name, why, reply };
        self.mailbox.call(ask, ANSWER_DEADLINE).await.unwrap_or_else(|error| Err(silent(error)))
    }

    /// Puts a checked config in force; returns once its changes are under way.
    ///
    /// # Errors
    /// The actor did not answer.
    pub(crate) async fn apply(&self, config: Arc<Config>) -> Result<(), Problem> {
        self.mailbox
            .call(|reply| Msg::Apply { config, reply }, ANSWER_DEADLINE)
            .await
            .map_err(silent)
    }

    /// Passes on a line that the log pump was asked to watch for.
    pub(crate) fn line_matched(&self, service: Name, generation: u64, line: String) {
        // Between two incarnations of the supervisor nobody waits for readiness.
        let _ = self.mailbox.tell(Msg::LineMatched { service, generation, line });
    }

    /// Whether the supervisor of the services answers.
    pub(crate) async fn ping(&self) -> Result<(), mailbox::Error> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.tell(Msg::Ping(reply))?;
        match tokio::time::timeout(ANSWER_DEADLINE, answer).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(mailbox::Error::Gone),
            Err(_) => Err(mailbox::Error::Late(ANSWER_DEADLINE)),
        }
    }

    /// What is being stopped is killed, and so is what is still to be stopped, in order.
    pub(crate) fn hurry(&self) {
        // Between two incarnations of the supervisor the time limit of each service holds.
        let _ = self.mailbox.tell(Msg::Hurry);
    }

    /// Stops everything in order; returns when nothing is left.
    pub(crate) async fn shutdown(&self) {
        // Each service has its own deadline, after which it is killed; a supervisor that is just being
        // restarted is asked again.
        while let Err(error) = self.mailbox.call(|reply| Msg::Shutdown { reply }, NEVER).await {
            tracing::warn!(%error, "services asked again to stop");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Longer than any stop.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

fn silent(error: mailbox::Error) -> Problem {
    Problem::new(error.code(), format!("the services do not answer: {error}"))
}

/// What is said of a name nobody has.
pub(crate) fn no_such_name(name: &str, known: &[Name]) -> Problem {
    let problem = Problem::new(Code::NoSuchName, format!("there is no service or group `{name}`"));
    let distance = |known: &Name| strsim::damerau_levenshtein(known.as_str(), name);
    match known.iter().min_by_key(|known| distance(known)).filter(|known| distance(known) <= 2) {
        Some(known) => problem.hint(format!("did you mean `{known}`?")),
        None => problem.hint("`cafe status` lists them"),
    }
}
