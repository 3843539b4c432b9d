//! Tells the services when their processes end.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::os;
use crate::supervision::task::{self, Task};

/// The actor; its state is the task that waits for ends.
#[derive(Debug)]
pub(crate) struct Exits;

/// What the actor is told.
#[derive(Debug)]
pub(crate) enum Msg {
    /// The wait ended, which it never does by itself.
    Ended(Result<(), os::Error>),
}

impl Actor for Exits {
    type Msg = Msg;
    type State = Task;
    type Arguments = Arc<os::exits::Exits>;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        exits: Arc<os::exits::Exits>,
    ) -> Result<Task, ActorProcessingErr> {
        Ok(task::spawn("exits", async move {
            let ended = exits.run().await;
            let _ = myself.cast(Msg::Ended(ended));
        }))
    }

    async fn handle(
        &self,
        _myself: ActorRef<Msg>,
        Msg::Ended(ended): Msg,
        _state: &mut Task,
    ) -> Result<(), ActorProcessingErr> {
        ended?;
        Err("the wait for ended processes ended".into())
    }
}
