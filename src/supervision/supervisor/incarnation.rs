//! One life of one child: spawned, ready, gone. Tells its supervisor each step once; decides nothing.

use ractor::{ActorCell, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::actor::Msg;
use super::spec::Start;
use super::{Context, Ignore, Started};
use crate::supervision::heartbeat::{self, Heartbeat};

/// Which life of which child a message is about: a message about an earlier life is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) slot: usize,
    pub(super) epoch: u64,
}

/// What a child went through.
#[derive(Debug)]
pub(super) enum Step {
    /// The actor exists; it can be stopped.
    Spawned(ActorCell),
    /// It is up.
    Ready,
    /// It has nothing to do.
    Ignored,
    /// It did not come up, or was found wedged.
    Failed(String),
    /// Nothing of it is left. Always the last.
    Gone,
}

/// Lives one life, to its end. `cancel` gives up a spawn; once the actor exists it has to be stopped instead.
pub(super) async fn live(
    life: Life,
    start: Start,
    context: Context,
    heartbeat: Option<Heartbeat>,
    supervisor: ActorRef<Msg>,
    cancel: oneshot::Receiver<()>,
) {
    let teller = Teller { life, supervisor };
    let spawned = tokio::select! {
        biased;
        spawned = async { start(context).await } => spawned,
        _ = cancel => return,
    };
    let started = match spawned {
        Ok(started) => started,
        Err(error) if Ignore::is(&error) => return teller.tell(Step::Ignored),
        Err(error) => return teller.tell(Step::Failed(describe(&error))),
    };
    let Started { cell, mut over, ready } = started;
    teller.tell(Step::Spawned(cell.clone()));
    let ready = async {
        match ready {
            Some(ready) => ready.await,
            None => Ok(()),
        }
    };
    let up = tokio::select! {
        biased;
        up = ready => up,
        () = gone(&mut over) => return,
    };
    match up {
        Ok(()) => teller.tell(Step::Ready),
        Err(error) => {
            teller.tell(Step::Failed(describe(&error)));
            cell.stop(None);
            return gone(&mut over).await;
        }
    }
    tokio::select! {
        biased;
        () = gone(&mut over) => return,
        () = heartbeat::wedged(heartbeat, &cell) => {}
    }
    teller.tell(Step::Failed("no sign of life".to_owned()));
    cell.kill();
    gone(&mut over).await;
}

/// Waits for the actor's task, not for its word: ractor calls an actor stopped before the state of one that failed is dropped,
/// and says nothing of one that unlinked itself.
async fn gone(over: &mut JoinHandle<()>) {
    let _ = over.await;
}

fn describe(error: &ActorProcessingErr) -> String {
    crate::types::error::chain(error.as_ref())
}

/// Says [`Step::Gone`] however the life ends: by its end, a panic or an abort.
struct Teller {
    life: Life,
    supervisor: ActorRef<Msg>,
}

impl Teller {
    fn tell(&self, step: Step) {
        // A supervisor that is gone has no use for it, and its children are being killed.
        let _ = self.supervisor.send_message(Msg::Lived { life: self.life, step });
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.tell(Step::Gone);
    }
}
