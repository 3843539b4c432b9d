//! Answers the control API at its [`Door`].

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::backend::Api;
use super::door::Door;
use crate::net;
use crate::supervision::task::{self, Task};

/// The actor; its state is [`State`].
#[derive(Debug)]
pub(crate) struct Socket;

/// What the actor is told.
#[derive(Debug)]
pub(crate) enum Msg {
    /// The server ended, which it never does by itself.
    Ended(std::io::Result<()>),
}

/// What the actor needs to begin.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) api: Api,
    pub(crate) door: Door,
}

/// What the actor owns.
#[derive(Debug)]
pub(crate) struct State {
    server: Task,
    /// Dropped to end the server, which lets answers under way be given.
    running: Option<oneshot::Sender<()>>,
}

impl Actor for Socket {
    type Msg = Msg;
    type State = State;
    type Arguments = Options;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        options: Options,
    ) -> Result<State, ActorProcessingErr> {
        let (running, ended) = oneshot::channel::<()>();
        let server = task::spawn("control socket", async move {
            let ended = serve(options, ended).await;
            let _ = myself.cast(Msg::Ended(ended));
        });
        Ok(State { server, running: Some(running) })
    }

    /// The answer that the daemon ends is often one of those under way.
    async fn post_stop(
        &self,
        _myself: ActorRef<Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        drop(state.running.take());
        Ok((&mut state.server).await?)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Msg>,
        Msg::Ended(ended): Msg,
        _state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        ended?;
        Err("the server of the control socket ended".into())
    }
}

/// Answers while the door is open, until `ended`.
async fn serve(options: Options, mut ended: oneshot::Receiver<()>) -> std::io::Result<()> {
    let Options { api, door } = options;
    let owner = nix::unistd::geteuid().as_raw();
    let router = net::api::router(Arc::new(api));
    loop {
        tokio::select! {
            () = door.opened() => {}
            _ = &mut ended => return Ok(()),
        }
        let mut over = false;
        net::server::serve(door.listener()?, router.clone(), owner, async {
            tokio::select! {
                () = door.closing() => {}
                _ = &mut ended => over = true,
            }
        })
        .await;
        door.is_empty();
        if over {
            return Ok(());
        }
    }
}
