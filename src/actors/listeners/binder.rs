//! Binds and closes sockets as the config changes, one change at a time. Owns nothing: when it fails, all stay open.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::Handle;
use crate::config::Config;
use crate::supervision::mailbox::Reply;
use crate::types::error::Problem;

/// What the actor is told.
#[derive(Debug)]
pub(crate) enum Msg {
    /// Binds what is new in a config that is not in force yet.
    Bind { config: Arc<Config>, reply: Reply<Result<(), Problem>> },
    /// Closes what the config in force does not have.
    CloseOthers { config: Arc<Config> },
}

/// The actor; its state is the [`Handle`] it serves.
#[derive(Debug)]
pub(crate) struct Binder;

impl Actor for Binder {
    type Msg = Msg;
    type State = Handle;
    type Arguments = Handle;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        handle: Handle,
    ) -> Result<Handle, ActorProcessingErr> {
        handle.mailbox.serve(&myself);
        Ok(handle)
    }

    /// No call in here waits: neither bind(2) nor the question whether somebody listens on a path.
    async fn handle(
        &self,
        _myself: ActorRef<Msg>,
        message: Msg,
        handle: &mut Handle,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Bind { config, reply } => {
                reply.send(handle.table.bind(&config).map_err(|error| Problem::from(&error)));
            }
            Msg::CloseOthers { config } => handle.table.close_others(&config),
        }
        Ok(())
    }
}
