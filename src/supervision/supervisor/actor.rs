//! The actor behind a supervisor: carries events to the machine and its orders to the children. No handler ever waits.
//!
//! All state changes go through [`State::advance`]: orders, forgetting, answers, the tree, the timer, the end.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use super::incarnation::{Life, Step};
use super::state::State;
use super::{ChildSpec, Error, Options, View, check};
use crate::supervision::machine::{End, Spec};
use crate::supervision::tree::Branch;

/// The reason a supervisor ends with: a normal one, as in OTP, also when it gave up.
pub(super) const SHUTDOWN: &str = "shutdown";
/// What ractor gives as the reason of an actor that was killed, or whose task was.
const KILLED: [&str; 2] = ["killed", "actor_task_cancelled"];

pub(super) struct Supervisor;

pub(super) enum Msg {
    StartChild {
        id: String,
        reply: Reply,
    },
    StopChild {
        id: String,
        reply: Reply,
    },
    AddChild {
        child: Box<ChildSpec>,
        reply: Reply,
    },
    RemoveChild {
        id: String,
        reply: Reply,
    },
    Update {
        spec: Box<Spec>,
        children: Vec<ChildSpec>,
        reply: Reply,
    },
    Children(oneshot::Sender<Vec<View>>),
    Shutdown,
    /// Something happened to a child.
    Lived {
        life: Life,
        step: Step,
    },
    /// The timer of this number went off.
    Wake(u64),
}

pub(super) type Reply = oneshot::Sender<Result<(), Error>>;

pub(super) struct Arguments {
    pub(super) path: String,
    pub(super) branch: Arc<Branch>,
    pub(super) options: Options,
    /// Told when the first start of all is over.
    pub(super) booted: Reply,
}

impl Arguments {
    pub(super) fn new(
        path: String,
        branch: Arc<Branch>,
        options: Options,
        booted: Reply,
    ) -> Result<Self, Error> {
        check(&options.spec, &options.children)?;
        Ok(Self { path, branch, options, booted })
    }
}

impl Actor for Supervisor {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State::new(myself, arguments))
    }

    /// Children are started when this actor can already hear of their end.
    async fn post_start(
        &self,
        _: ActorRef<Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.machine.boot()?;
        state.advance();
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::StartChild { id, reply } => state.start_child(&id, reply),
            Msg::StopChild { id, reply } => state.stop_child(&id, reply),
            Msg::AddChild { child, reply } => state.add_child(*child, reply),
            Msg::RemoveChild { id, reply } => drop(reply.send(state.remove_child(&id))),
            Msg::Update { spec, children, reply } => {
                drop(reply.send(state.update(*spec, children)));
            }
            Msg::Children(reply) => drop(reply.send(state.views())),
            Msg::Shutdown => state.machine.shutdown(),
            Msg::Lived { life, step } => state.lived(life, step),
            Msg::Wake(epoch) => state.wake(epoch),
        }
        state.advance();
        Ok(())
    }

    /// Learns how a child ended; that it is gone is told by its [`incarnation`]. Replaces ractor's own reaction, which would
    /// end this supervisor with any child.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                let reason = reason.unwrap_or_default();
                let killed = KILLED.contains(&reason.as_str());
                let end = if killed { End::Abnormal } else { End::Normal };
                state.learn(&cell, end, reason);
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                let reason = crate::types::error::chain(error.as_ref());
                state.learn(&cell, End::Abnormal, reason);
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }

    /// Someone stopped the actor instead of telling it to shut down: its children still go one by one, before ractor kills
    /// what is left.
    async fn post_stop(
        &self,
        _: ActorRef<Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.stop_what_is_left().await;
        Ok(())
    }
}
