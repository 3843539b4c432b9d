//! The bounded way into an actor, over its restarts. ractor's queue has no bound and its addresses die with an
//! incarnation: a question takes a place before it goes in and gives it back with its answer, and goes to whoever is
//! the actor now. Never holds messages itself.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ractor::ActorRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::types::error::Code;

/// The way in. Cheap to clone; all clones share the places and the actor.
#[derive(Debug)]
pub struct Mailbox<M: Send + 'static> {
    actor: Arc<ArcSwapOption<ActorRef<M>>>,
    places: Arc<Semaphore>,
}

/// Answers a [`Mailbox::call`]. The place is free again when this is used or dropped.
#[derive(Debug)]
pub struct Reply<T> {
    sender: oneshot::Sender<T>,
    _place: OwnedSemaphorePermit,
}

/// Why a message was not taken or not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// All places are taken; the message was not sent.
    #[error("too many questions are waiting")]
    Full,
    /// The actor is being restarted, or ended before it answered: ask again.
    #[error("it is being restarted")]
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

impl<T> Reply<T> {
    /// Answers. Whoever asked may have stopped waiting: then the answer is dropped.
    pub fn send(self, answer: T) {
        let _ = self.sender.send(answer);
    }
}

impl<M: Send + 'static> Mailbox<M> {
    /// A mailbox of `capacity` places, before an actor that [`Self::serve`] will name.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let places = Arc::new(Semaphore::new(capacity.min(Semaphore::MAX_PERMITS)));
        Self { actor: Arc::default(), places }
    }

    /// This incarnation answers from now on; to be called by its `pre_start`.
    pub fn serve(&self, actor: &ActorRef<M>) {
        self.actor.store(Some(Arc::new(actor.clone())));
    }

    /// Sends what needs no answer. Only for messages whose number is bounded by what they are about.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn tell(&self, message: M) -> Result<(), Error> {
        let actor = self.actor.load();
        let actor = actor.as_ref().ok_or(Error::Gone)?;
        actor.send_message(message).map_err(|_| Error::Gone)
    }

    /// Asks and waits for the answer, at most `deadline`.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Gone`], [`Error::Late`].
    pub async fn call<T>(
        &self,
        message: impl FnOnce(Reply<T>) -> M,
        deadline: Duration,
    ) -> Result<T, Error> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Error::Full)?;
        let (sender, answer) = oneshot::channel();
        self.tell(message(Reply { sender, _place: place }))?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Error::Gone),
            Err(_) => Err(Error::Late(deadline)),
        }
    }
}

impl<M: Send + 'static> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self { actor: Arc::clone(&self.actor), places: Arc::clone(&self.places) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ractor::{Actor, ActorProcessingErr, ActorRef};
    use tokio::sync::oneshot;

    use super::{Error, Mailbox, Reply};
    use crate::supervision::task;

    struct Echo;

    enum Ask {
        Wait(oneshot::Receiver<()>, Reply<()>),
        Echo(u32, Reply<u32>),
    }

    impl Actor for Echo {
        type Msg = Ask;
        type State = ();
        type Arguments = Mailbox<Ask>;

        async fn pre_start(
            &self,
            myself: ActorRef<Ask>,
            mailbox: Mailbox<Ask>,
        ) -> Result<(), ActorProcessingErr> {
            mailbox.serve(&myself);
            Ok(())
        }

        async fn handle(
            &self,
            _: ActorRef<Ask>,
            message: Ask,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            match message {
                Ask::Wait(until, reply) => {
                    let _ = until.await;
                    reply.send(());
                }
                Ask::Echo(number, reply) => reply.send(number),
            }
            Ok(())
        }
    }

    const DEADLINE: Duration = Duration::from_secs(5);

    async fn echo(mailbox: &Mailbox<Ask>) -> ActorRef<Ask> {
        Actor::spawn(None, Echo, mailbox.clone()).await.expect("starts").0
    }

    #[tokio::test(start_paused = true)]
    async fn p10_a_full_mailbox_says_so_and_takes_again_when_there_is_room() {
        let mailbox = Mailbox::new(1);
        let actor = echo(&mailbox).await;
        let (go, until) = oneshot::channel();
        let asking = mailbox.clone();
        let waiting = task::spawn("asker", async move {
            asking.call(|reply| Ask::Wait(until, reply), DEADLINE).await
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        let full = mailbox.call(|reply| Ask::Echo(2, reply), DEADLINE).await;
        assert_eq!(full, Err(Error::Full));
        go.send(()).expect("waiting");
        assert_eq!(waiting.await, Ok(Ok(())));
        assert_eq!(mailbox.call(|reply| Ask::Echo(3, reply), DEADLINE).await, Ok(3));
        actor.stop(None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_an_error() {
        let mailbox = Mailbox::new(8);
        let actor = echo(&mailbox).await;
        let (_never, until) = oneshot::channel();
        let late = mailbox.call(|reply| Ask::Wait(until, reply), DEADLINE).await;
        assert_eq!(late, Err(Error::Late(DEADLINE)));
        actor.kill();
    }

    #[tokio::test(start_paused = true)]
    async fn p11_an_ended_actor_is_gone_keeps_no_place_and_its_successor_answers() {
        let mailbox = Mailbox::new(1);
        let never_served = mailbox.call(|reply| Ask::Echo(1, reply), DEADLINE).await;
        assert_eq!(never_served, Err(Error::Gone));
        let first = echo(&mailbox).await;
        first.stop_and_wait(None, None).await.expect("stops");
        for _ in 0..3 {
            let gone = mailbox.call(|reply| Ask::Echo(1, reply), DEADLINE).await;
            assert_eq!(gone, Err(Error::Gone));
        }
        let second = echo(&mailbox).await;
        assert_eq!(mailbox.call(|reply| Ask::Echo(7, reply), DEADLINE).await, Ok(7));
        second.stop(None);
    }
}
