//! What a child is, how it is started and how it is stopped. Data only: nothing runs here.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, SpawnErr};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::actor::{Arguments, Msg, SHUTDOWN, Supervisor};
use super::{Error, Options};
use crate::supervision::heartbeat::Heartbeat;
use crate::supervision::machine::{self, Spec};
use crate::supervision::tree::Branch;
use crate::types::policy::{AutoShutdown, Backoff, Restart};

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
    pub(super) shutdown: Shutdown,
    /// What the tree calls it.
    pub(super) shown_as: &'static str,
    pub(super) kind: Kind,
    pub(super) start: Start,
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
pub(super) enum Kind {
    Worker,
    Supervisor,
}

pub(super) type Start =
    Arc<dyn Fn(Context) -> BoxFuture<Result<Started, ActorProcessingErr>> + Send + Sync>;
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
    pub(super) supervisor: ActorCell,
}

/// A child that was spawned.
pub struct Started {
    pub(super) cell: ActorCell,
    /// Ends when nothing of the actor is left.
    pub(super) over: JoinHandle<()>,
    pub(super) ready: Option<BoxFuture<Result<(), ActorProcessingErr>>>,
}

/// The error of a start that has nothing to do (OTP `ignore`), returned by the start closure or `pre_start`: the child rests, and
/// nothing is restarted or undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing to do")]
pub struct Ignore;

impl Ignore {
    pub(super) fn is(error: &ActorProcessingErr) -> bool {
        match error.downcast_ref::<SpawnErr>() {
            Some(SpawnErr::StartupFailed(inner)) => inner.is::<Self>(),
            _ => error.is::<Self>(),
        }
    }
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
                let arguments = Arguments::new(context.name.clone(), branch, options, booted)?;
                let started = context.spawn(Supervisor, arguments).await?;
                Ok(started.ready(async { Ok(boot.await.unwrap_or(Err(Error::Ended))?) }))
            })
        });
        Self::new(id.into(), Kind::Supervisor, Shutdown::Infinity, start)
    }

    fn new(id: String, kind: Kind, shutdown: Shutdown, start: Start) -> Self {
        let zero = Duration::ZERO;
        let shown_as = match kind {
            Kind::Worker => "actor",
            Kind::Supervisor => "supervisor",
        };
        Self {
            id,
            restart: Restart::Permanent,
            significant: false,
            backoff: Backoff { min: zero, max: zero, reset_after: zero },
            heartbeat: None,
            shutdown,
            shown_as,
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

    /// The same, shown as a supervisor: a worker that supervises actors of its own, by its own rules.
    #[must_use]
    pub fn shown_as_supervisor(mut self) -> Self {
        self.shown_as = "supervisor";
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

    pub(super) fn for_machine(&self) -> machine::ChildSpec {
        machine::ChildSpec {
            restart: self.restart,
            significant: self.significant,
            backoff: self.backoff,
        }
    }

    /// A supervisor is told to shut down: stopping the actor would let ractor kill its children.
    pub(super) fn ask_to_stop(&self, cell: &ActorCell) {
        match (self.kind, self.shutdown) {
            (Kind::Supervisor, _) => drop(cell.send_message(Msg::Shutdown)),
            (Kind::Worker, Shutdown::Brutal) => cell.kill(),
            (Kind::Worker, _) => cell.stop(Some(SHUTDOWN.to_owned())),
        }
    }

    pub(super) fn check(&self, spec: &Spec) -> Result<(), Error> {
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
        let (actor, over) =
            Actor::spawn_linked(name, actor, arguments, self.supervisor.clone()).await?;
        Ok(Started { cell: actor.get_cell(), over, ready: None })
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

impl std::fmt::Debug for ChildSpec {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ChildSpec").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Started {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Started").field("cell", &self.cell).finish_non_exhaustive()
    }
}
