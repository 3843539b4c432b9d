//! A supervisor of actors: child specs in, a running subtree out, with the rules of the OTP supervisor.
//!
//! Each start of a child is a task of its own, so neither a slow child nor a panic in one holds up the supervisor; the
//! start is over when the child says so. A stop is a request, then a deadline, then a kill, and is over when the child is gone.
//! Never waits inside a handler and never restarts by itself: [`super::machine`] decides.
//!
//! End a supervisor with [`Handle::shutdown`]. ractor kills the children of any actor that ends.

mod actor;
mod incarnation;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use tokio::sync::oneshot;

use crate::types::error::Code;
use crate::types::policy::{AutoShutdown, Backoff, Restart};

use super::heartbeat::Heartbeat;
use super::machine::{End, Ended, Phase, Report, Spec};
use super::tree::Branch;
use actor::{Msg, Supervisor};

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

/// One child of a supervisor.
#[derive(Clone)]
pub struct ChildSpec {
    /// Name among its siblings.
    pub id: String,
    /// When it is restarted.
    pub restart: Restart,
    /// Whether its end can end the supervisor.
    pub significant: bool,
    /// Delay between tries.
    pub backoff: Backoff,
    /// When its silence counts as a failure.
    pub heartbeat: Option<Heartbeat>,
    shutdown: Shutdown,
    kind: Kind,
    start: Start,
}

/// How a child is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Killed at once.
    Brutal,
    /// Asked to stop, killed after this time.
    Timeout(Duration),
    /// Asked to stop and waited for.
    Infinity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Worker,
    Supervisor,
}

type Start = Arc<dyn Fn(Context) -> BoxFuture<Result<Started, ActorProcessingErr>> + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a start is given.
#[derive(Debug, Clone)]
pub struct Context {
    /// Unique name of this incarnation: the path in the tree, `#` and the generation.
    pub name: String,
    /// Number of the start, from 1.
    pub generation: u64,
    /// The child's line in the tree: to add detail or nodes below it.
    pub branch: Arc<Branch>,
    supervisor: ActorCell,
}

/// A child that was spawned.
pub struct Started {
    cell: ActorCell,
    ready: Option<BoxFuture<Result<(), ActorProcessingErr>>>,
}

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
    /// What was decided; slots are positions of children in order of their addition.
    Decided(Report),
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
    Ok(Handle { actor })
}

/// Looks for mistakes in child specs without starting anything (OTP `check_childspecs`).
///
/// # Errors
/// [`Error::Duplicate`], [`Error::Significant`].
pub fn check(spec: &Spec, children: &[ChildSpec]) -> Result<(), Error> {
    for (place, child) in children.iter().enumerate() {
        if children[..place].iter().any(|earlier| earlier.id == child.id) {
            return Err(Error::Duplicate(child.id.clone()));
        }
        child.check(spec)?;
    }
    Ok(())
}

impl ChildSpec {
    /// A permanent worker that is asked to stop and killed after five seconds, as in OTP, and restarted without delay.
    ///
    /// `start` spawns one incarnation, with [`Context::spawn`]; it may take its time, and what it waits for holds up only
    /// the children after it.
    pub fn worker<F>(
        id: impl Into<String>,
        start: impl Fn(Context) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Started, ActorProcessingErr>> + Send + 'static,
    {
        let start: Start = Arc::new(move |context| Box::pin(start(context)));
        let shutdown = Shutdown::Timeout(Duration::from_secs(5));
        Self::new(id.into(), Kind::Worker, shutdown, start)
    }

    /// A permanent supervisor below this one; always waited for, so that it can stop its own children in order.
    pub fn supervisor(
        id: impl Into<String>,
        options: impl Fn() -> Options + Send + Sync + 'static,
    ) -> Self {
        let start: Start = Arc::new(move |context| {
            let options = options();
            Box::pin(async move {
                let (booted, boot) = oneshot::channel();
                let branch = Arc::clone(&context.branch);
                let arguments =
                    actor::Arguments::new(context.name.clone(), branch, options, booted)?;
                let started = context.spawn(Supervisor, arguments).await?;
                Ok(started.ready(async { Ok(boot.await.unwrap_or(Err(Error::Ended))?) }))
            })
        });
        Self::new(id.into(), Kind::Supervisor, Shutdown::Infinity, start)
    }

    fn new(id: String, kind: Kind, shutdown: Shutdown, start: Start) -> Self {
        let zero = Duration::ZERO;
        Self {
            id,
            restart: Restart::Permanent,
            significant: false,
            backoff: Backoff { min: zero, max: zero, reset_after: zero },
            heartbeat: None,
            shutdown,
            kind,
            start,
        }
    }

    /// The same with this restart type.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// The same, stopped this way. A supervisor is always waited for, whatever is said here.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        if self.kind == Kind::Worker {
            self.shutdown = shutdown;
        }
        self
    }

    /// The same, significant.
    #[must_use]
    pub fn significant(mut self) -> Self {
        self.significant = true;
        self
    }

    /// The same with this delay between tries.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The same, killed and restarted when it shows no sign of life.
    #[must_use]
    pub fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.heartbeat = Some(heartbeat);
        self
    }

    fn check(&self, spec: &Spec) -> Result<(), Error> {
        let never = spec.auto_shutdown == AutoShutdown::Never;
        if self.significant && (never || self.restart == Restart::Permanent) {
            return Err(Error::Significant(self.id.clone()));
        }
        Ok(())
    }
}

impl Context {
    /// Spawns an actor as this child.
    ///
    /// # Errors
    /// What its `pre_start` returned, or its panic.
    pub async fn spawn<A: Actor>(
        &self,
        actor: A,
        arguments: A::Arguments,
    ) -> Result<Started, SpawnErr> {
        let name = Some(self.name.clone());
        let (actor, _) =
            Actor::spawn_linked(name, actor, arguments, self.supervisor.clone()).await?;
        Ok(Started { cell: actor.get_cell(), ready: None })
    }
}

impl Started {
    /// The child is up only when this future says so.
    #[must_use]
    pub fn ready(
        mut self,
        ready: impl Future<Output = Result<(), ActorProcessingErr>> + Send + 'static,
    ) -> Self {
        self.ready = Some(Box::pin(ready));
        self
    }

    /// The actor, to build a handle from.
    #[must_use]
    pub fn cell(&self) -> &ActorCell {
        &self.cell
    }
}

/// Speaks to a supervisor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    actor: ActorRef<Msg>,
}

impl Handle {
    /// Starts a child by hand, and waits until it is up: cancels its backoff and clears the restart window.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Running`], [`Error::StartFailed`], [`Error::Ended`].
    pub async fn start_child(&self, id: &str) -> Result<(), Error> {
        self.ask(|reply| Msg::StartChild { id: id.to_owned(), reply }).await?
    }

    /// Stops a child by hand, and waits until it is gone. Its spec stays, unless it is temporary.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Ended`].
    pub async fn stop_child(&self, id: &str) -> Result<(), Error> {
        self.ask(|reply| Msg::StopChild { id: id.to_owned(), reply }).await?
    }

    /// Adds a child after the others, starts it, and waits until it is up; one that fails to start is not kept under
    /// [`super::machine::Boot::Undo`].
    ///
    /// # Errors
    /// [`Error::Duplicate`], [`Error::Significant`], [`Error::StartFailed`], [`Error::Ended`].
    pub async fn add_child(&self, child: ChildSpec) -> Result<(), Error> {
        self.ask(|reply| Msg::AddChild { child: Box::new(child), reply }).await?
    }

    /// Forgets a child that is down.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Running`], [`Error::Ended`].
    pub async fn remove_child(&self, id: &str) -> Result<(), Error> {
        self.ask(|reply| Msg::RemoveChild { id: id.to_owned(), reply }).await?
    }

    /// Puts the supervisor under new specs (OTP `code_change`): running children keep running under theirs, new ones are
    /// added down, missing ones are kept, order is the new one and then those kept.
    ///
    /// # Errors
    /// Those of [`check`], [`Error::Ended`].
    pub async fn update(&self, spec: Spec, children: Vec<ChildSpec>) -> Result<(), Error> {
        self.ask(|reply| Msg::Update { spec: Box::new(spec), children, reply }).await?
    }

    /// The children in start order.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub async fn children(&self) -> Result<Vec<View>, Error> {
        self.ask(Msg::Children).await
    }

    /// Stops all children, in reverse order, and then the supervisor; returns when all are gone.
    pub async fn shutdown(&self) {
        let _ = self.actor.send_message(Msg::Shutdown);
        self.ended().await;
    }

    /// Returns when the supervisor has ended, for whatever reason.
    pub async fn ended(&self) {
        let _ = self.actor.wait(None).await;
    }

    /// The actor, to link or look at.
    #[must_use]
    pub fn cell(&self) -> ActorCell {
        self.actor.get_cell()
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Msg) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.actor.send_message(message(reply)).map_err(|_| Error::Ended)?;
        answer.await.map_err(|_| Error::Ended)
    }
}

impl std::fmt::Debug for ChildSpec {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ChildSpec").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let children = &self.children;
        formatter.debug_struct("Options").field("children", children).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Started {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Started").field("cell", &self.cell).finish_non_exhaustive()
    }
}
