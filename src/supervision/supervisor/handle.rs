//! The way to speak to a supervisor; the mailbox stays hidden.

use ractor::{ActorCell, ActorRef};
use tokio::sync::oneshot;

use super::actor::Msg;
use super::{ChildSpec, Error, View};
use crate::supervision::machine::Spec;

/// Speaks to a supervisor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    actor: ActorRef<Msg>,
}

impl Handle {
    pub(super) fn new(actor: ActorRef<Msg>) -> Self {
        Self { actor }
    }

    /// The handle of a supervisor below another, from the cell that [`Handle::children`] lists; nothing if it is none.
    #[must_use]
    pub fn of(cell: ActorCell) -> Option<Self> {
        let supervises = cell.is_message_type_of::<Msg>()?;
        supervises.then(|| Self { actor: cell.into() })
    }

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
    /// [`crate::supervision::machine::Boot::Undo`].
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
    /// Those of [`super::check`], [`Error::Ended`].
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
