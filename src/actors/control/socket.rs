//! Answers the control API on the unix socket. Owns the socket file while it runs.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::backend::Api;
use crate::net;
use crate::net::socket::Reach;
use crate::supervision::task::{self, Task};

/// The actor; its state is [`State`].
#[derive(Debug)]
pub(crate) struct Socket;

/// What the actor is told.
#[derive(Debug)]
pub(crate) enum Msg {
    /// The server ended, which it never does by itself.
    Ended,
}

/// What the actor owns.
#[derive(Debug)]
pub(crate) struct State {
    _file: net::socket::Socket,
    server: Task,
    /// Dropped to end the server, which lets answers under way be given.
    running: Option<oneshot::Sender<()>>,
}

impl Actor for Socket {
    type Msg = Msg;
    type State = State;
    type Arguments = Api;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        api: Api,
    ) -> Result<State, ActorProcessingErr> {
        let config = api.keeper.config();
        let control = &config.daemon.control;
        let reach = Reach { group: api.keeper.control_group(), public: control.public };
        let (listener, file) = net::socket::listen(&control.socket, reach)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let (running, ended) = oneshot::channel::<()>();
        let owner = nix::unistd::geteuid().as_raw();
        let router = net::api::router(Arc::new(api));
        let server = task::spawn("control socket", async move {
            net::server::serve(listener, router, owner, async {
                let _ = ended.await;
            })
            .await;
            let _ = myself.cast(Msg::Ended);
        });
        Ok(State { _file: file, server, running: Some(running) })
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
        Msg::Ended: Msg,
        _state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        Err("the server of the control socket ended".into())
    }
}
