//! A supervisor of actors: child specs in, a running subtree out, with the rules of the OTP supervisor.
//!
//! Each start of a child is a task of its own, so neither a slow child nor a panic in one holds up the supervisor; the
//! start is over when the child says so. A stop is a request, then a deadline, then a kill, and is over when the child is gone.
//! Never waits inside a handler and never restarts by itself: [`super::machine`] decides.
//!
//! End a supervisor with [`Handle::shutdown`]. ractor kills the children of any actor that ends.

mod actor;
mod handle;
mod incarnation;
mod lives;
mod spec;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, SpawnErr};
use tokio::sync::oneshot;

use crate::types::error::Code;

use super::machine::{End, Ended, Phase, Refusal, Spec};
use super::tree::Branch;
use actor::Supervisor;
pub use handle::Handle;
pub use spec::{ChildSpec, Context, Ignore, Shutdown, Started, check};

/// What a supervisor is made of.
pub struct Options {
    /// Strategy, limits, order.
    pub spec: Spec,
    /// Its children in start order.
    pub children: Vec<ChildSpec>,
    /// Told of everything that happens, from the supervisor's own handler: must not wait.
    pub observer: Option<Observer>,
}

/// Receives [`Event`]s.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// What happened in a supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A child is up.
    Started {
        /// Which.
        id: String,
        /// Number of the start.
        generation: u64,
    },
    /// A start failed.
    StartFailed {
        /// Of which child.
        id: String,
        /// Why.
        reason: String,
    },
    /// A child had nothing to do.
    Ignored {
        /// Which.
        id: String,
    },
    /// A child ended by itself.
    Exited {
        /// Which.
        id: String,
        /// How.
        end: End,
        /// Why.
        reason: String,
    },
    /// A child was stopped by its supervisor.
    Stopped {
        /// Which.
        id: String,
        /// It did not follow in time, or was not asked.
        killed: bool,
    },
    /// A child is to be restarted.
    Restarting {
        /// Which.
        id: String,
        /// Number of the try, from 1.
        attempt: u32,
        /// How long it waits.
        delay: Duration,
        /// The restart limit was reached and the delay is the longest.
        held: bool,
        /// Siblings that are stopped because of it, in start order.
        pulled_down: Vec<String>,
    },
    /// The supervisor ends because of this child; those that run are stopped.
    Ending {
        /// Which.
        id: String,
        /// Why.
        because: Ended,
    },
    /// The supervisor is over: all its children are gone.
    Ended(Ended),
}

/// A child as [`Handle::children`] lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Name among its siblings.
    pub id: String,
    /// What it does.
    pub phase: Phase,
    /// How often it was started, failed starts included.
    pub generation: u64,
    /// The running actor.
    pub cell: Option<ActorCell>,
}

/// Why a supervisor did not do as told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two children have one name.
    #[error("child `{0}` exists already")]
    Duplicate(String),
    /// A significant child that is permanent, or without automatic shutdown.
    #[error(
        "child `{0}` cannot be significant: it is permanent, or its supervisor never shuts down by itself"
    )]
    Significant(String),
    /// No child has this name.
    #[error("there is no child `{0}`")]
    Unknown(String),
    /// It runs already, or has to be stopped first.
    #[error("child `{0}` is running")]
    Running(String),
    /// It did not start.
    #[error("child `{0}` did not start")]
    StartFailed(String),
    /// The supervisor has ended or is about to.
    #[error("the supervisor has ended")]
    Ended,
    /// The supervisor itself did not start.
    #[error("supervisor `{path}` did not start")]
    Spawn {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: SpawnErr,
    },
    /// A first start failed, and those before it were stopped again.
    #[error("supervisor did not start: child `{0}` failed")]
    Boot(String),
}

impl Error {
    /// The code a user can look up.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Duplicate(_) => Code::DuplicateName,
            Self::Significant(_) => Code::InvalidValue,
            Self::Unknown(_) => Code::NoSuchName,
            Self::Running(_) => Code::Conflict,
            Self::StartFailed(_) | Self::Spawn { .. } | Self::Boot(_) => Code::StartFailed,
            Self::Ended => Code::Refused,
        }
    }

    fn from_refusal(refusal: Refusal, id: &str) -> Self {
        match refusal {
            Refusal::Running => Self::Running(id.to_owned()),
            Refusal::Unknown => Self::Unknown(id.to_owned()),
            Refusal::ShuttingDown => Self::Ended,
        }
    }
}

/// Starts a supervisor nobody supervises: the root. Returns when its children are up.
///
/// # Errors
/// [`Error::Boot`] when a first start failed under [`super::machine::Boot::Undo`]; those [`check`] finds; [`Error::Spawn`].
pub async fn start(branch: Branch, options: Options) -> Result<Handle, Error> {
    let path = branch.id().to_owned();
    let (booted, boot) = oneshot::channel();
    let arguments = actor::Arguments::new(path.clone(), Arc::new(branch), options, booted)?;
    let spawned = Actor::spawn(Some(path.clone()), Supervisor, arguments).await;
    let (actor, _) = spawned.map_err(|source| Error::Spawn { path, source })?;
    boot.await.unwrap_or(Err(Error::Ended))?;
    Ok(Handle::new(actor))
}

impl std::fmt::Debug for Options {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let children = &self.children;
        formatter.debug_struct("Options").field("children", children).finish_non_exhaustive()
    }
}
