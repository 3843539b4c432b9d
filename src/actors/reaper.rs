//! Ends the zombies that services leave to cafe: orphans become children of the nearest subreaper.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::os;
use crate::os::children::Children;
use crate::supervision::task::{self, Task};

/// The actor; its state is the task that waits for `SIGCHLD`.
#[derive(Debug)]
pub(crate) struct Reaper;

/// What the actor is told.
#[derive(Debug)]
pub(crate) enum Msg {
    /// The wait ended, which it never does by itself.
    Ended,
}

impl Actor for Reaper {
    type Msg = Msg;
    type State = Task;
    type Arguments = Arc<Children>;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        children: Arc<Children>,
    ) -> Result<Task, ActorProcessingErr> {
        let reaper = os::reaper::Reaper::new(children)?;
        Ok(task::spawn("reaper", async move {
            reaper.run().await;
            let _ = myself.cast(Msg::Ended);
        }))
    }

    async fn handle(
        &self,
        _myself: ActorRef<Msg>,
        Msg::Ended: Msg,
        _state: &mut Task,
    ) -> Result<(), ActorProcessingErr> {
        Err("the wait for ended orphans ended".into())
    }
}
