//! Bounded admission to an actor: ractor's queue has no bound, so a place in it is taken before a message goes in and is given
//! back when the message is done with. Never holds messages itself.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::types::error::Code;

/// What an actor behind a [`Mailbox`] receives: its `Msg` is `Admitted<Message>`.
///
/// The place is free again when this is dropped: keep it while the message is being worked on.
#[derive(Debug)]
pub struct Admitted<M> {
    /// The message.
    pub message: M,
    _place: OwnedSemaphorePermit,
}

/// The bounded way into an actor. Cheap to clone; all clones share the places.
#[derive(Debug)]
pub struct Mailbox<M: Send + 'static> {
    actor: ActorRef<Admitted<M>>,
    places: Arc<Semaphore>,
}

/// Answers a [`Mailbox::call`].
pub type Reply<T> = oneshot::Sender<T>;

/// Why a message was not taken or not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// All places are taken; the message was not sent.
    #[error("the mailbox is full")]
    Full,
    /// The actor has ended: look it up again.
    #[error("the actor has ended")]
    Gone,
    /// The message is in the mailbox or being worked on, but there was no answer in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
}

impl Error {
    /// The code a user can look up.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Full => Code::OutOfResources,
            Self::Gone => Code::OperationFailed,
            Self::Late(_) => Code::TimedOut,
        }
    }
}

impl<M: Send + 'static> Mailbox<M> {
    /// A mailbox of `capacity` places before this actor.
    #[must_use]
    pub fn new(actor: ActorRef<Admitted<M>>, capacity: usize) -> Self {
        Self { actor, places: Arc::new(Semaphore::new(capacity.min(Semaphore::MAX_PERMITS))) }
    }

    /// Sends if there is a place.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Gone`].
    pub fn try_send(&self, message: M) -> Result<(), Error> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Error::Full)?;
        let admitted = Admitted { message, _place: place };
        self.actor.send_message(admitted).map_err(|_| Error::Gone)
    }

    /// Sends and waits for the answer, at most `deadline`.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Gone`], [`Error::Late`].
    pub async fn call<T>(
        &self,
        message: impl FnOnce(Reply<T>) -> M,
        deadline: Duration,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.try_send(message(reply))?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Error::Gone),
            Err(_) => Err(Error::Late(deadline)),
        }
    }

    /// Messages that are waiting or being worked on, of `capacity`.
    #[must_use]
    pub fn waiting(&self, capacity: usize) -> usize {
        capacity.saturating_sub(self.places.available_permits())
    }
}

impl<M: Send + 'static> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self { actor: self.actor.clone(), places: Arc::clone(&self.places) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ractor::{Actor, ActorProcessingErr, ActorRef};
    use tokio::sync::oneshot;

    use super::{Admitted, Error, Mailbox, Reply};

    struct Echo;

    enum Ask {
        Wait(oneshot::Receiver<()>),
        Echo(u32, Reply<u32>),
    }

    impl Actor for Echo {
        type Msg = Admitted<Ask>;
        type State = ();
        type Arguments = ();

        async fn pre_start(
            &self,
            _: ActorRef<Self::Msg>,
            (): (),
        ) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn handle(
            &self,
            _: ActorRef<Self::Msg>,
            admitted: Admitted<Ask>,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            let Admitted { message, _place } = admitted;
            match message {
                Ask::Wait(until) => _ = until.await,
                Ask::Echo(number, reply) => _ = reply.send(number),
            }
            Ok(())
        }
    }

    async fn echo(capacity: usize) -> Mailbox<Ask> {
        let (actor, _) = Actor::spawn(None, Echo, ()).await.expect("starts");
        Mailbox::new(actor, capacity)
    }

    const DEADLINE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn p10_a_full_mailbox_says_so_and_takes_again_when_there_is_room() {
        let mailbox = echo(2).await;
        let (go, until) = oneshot::channel();
        mailbox.try_send(Ask::Wait(until)).expect("room");
        let (reply, answer) = oneshot::channel();
        mailbox.try_send(Ask::Echo(1, reply)).expect("room");
        assert_eq!(mailbox.waiting(2), 2);
        let full = mailbox.call(|reply| Ask::Echo(2, reply), DEADLINE).await;
        assert_eq!(full, Err(Error::Full));
        go.send(()).expect("waiting");
        assert_eq!(answer.await, Ok(1));
        tokio::time::sleep(DEADLINE).await;
        assert_eq!(mailbox.waiting(2), 0);
        assert_eq!(mailbox.call(|reply| Ask::Echo(3, reply), DEADLINE).await, Ok(3));
        mailbox.actor.stop(None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_an_error() {
        let mailbox = echo(8).await;
        let (_never, until) = oneshot::channel();
        mailbox.try_send(Ask::Wait(until)).expect("room");
        let late = mailbox.call(|reply| Ask::Echo(1, reply), DEADLINE).await;
        assert_eq!(late, Err(Error::Late(DEADLINE)));
        mailbox.actor.kill();
    }

    #[tokio::test(start_paused = true)]
    async fn p11_an_ended_actor_is_gone_and_keeps_no_place() {
        let mailbox = echo(1).await;
        mailbox.actor.stop_and_wait(None, None).await.expect("stops");
        for _ in 0..3 {
            let gone = mailbox.call(|reply| Ask::Echo(1, reply), DEADLINE).await;
            assert_eq!(gone, Err(Error::Gone));
        }
    }
}
