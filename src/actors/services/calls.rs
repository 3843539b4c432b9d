//! Services that start at the first connection (`start: on_connection`): cafe waits on their sockets, and never accepts.
//!
//! Waited for is while the service rests because nobody needed it yet, or because it ended well. One that failed or was
//! stopped by hand waits for a hand.

use std::time::Duration;

use super::State;
use super::board::Entry;
use crate::config::Start;
use crate::os::readable;
use crate::supervision::machine::{End, Phase, Why};
use crate::supervision::roster::MemberId;
use crate::supervision::task::{self, Task};
use crate::types::error::chain;
use crate::types::event::Kind;

/// A run shorter than this may have left the connection where it was: the next waits as long, so that it cannot spin.
const QUICK: Duration = Duration::from_secs(1);

/// Whether a connection starts a service.
#[derive(Debug)]
pub(super) enum Calls {
    /// It runs, starts by itself, or waits for a hand.
    Ignored,
    /// The first one does.
    Awaited {
        /// Ends with it.
        _waiting: Task,
    },
    /// It did, until it was stopped by hand.
    PutOff,
}

impl State {
    /// Waits for a connection to a service that rests, if that is how it starts.
    pub(super) fn await_call(&mut self, id: MemberId, after: Duration) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if member.config.start != Start::OnConnection || member.leaving {
            return;
        }
        let (me, name) = (self.myself.clone(), member.name.clone());
        let sockets = self.context.listeners.sockets(&name, &member.config.listen);
        let names: Vec<_> = member.config.listen.keys().cloned().collect();
        let waiting = task::spawn("first connection", async move {
            tokio::time::sleep(after).await;
            let called = match &sockets {
                Ok(sockets) => readable::any(sockets).await.map_err(|error| chain(&error)),
                Err(error) => Err(chain(error)),
            };
            let said = match called {
                Ok(socket) => format!("a connection came on `{}`", names[socket]),
                // What is wrong is said again by a start that fails, and tried again by its policy.
                Err(error) => format!("no connection can be waited for: {error}"),
            };
            let _ = me.cast(super::Msg::Called { member: id, said });
        });
        member.calls = Calls::Awaited { _waiting: waiting };
        self.show(id);
    }

    /// Somebody connected.
    pub(super) fn called(&mut self, id: MemberId, said: String) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if !matches!(member.calls, Calls::Awaited { .. }) {
            // Stopped, or started otherwise, while this was on its way.
            return;
        }
        member.calls = Calls::Ignored;
        let service = member.name.clone();
        self.board.with(&service, Entry::starts_afresh);
        self.bus.publish(Kind::Log { service, message: said });
        // Refused only while everything stops.
        let _ = self.roster.start(id);
    }

    /// A service came to rest; `ran` is how long it did.
    pub(super) fn rests(&mut self, id: MemberId, ran: Duration) {
        let well = Phase::Idle { why: Why::Ended(End::Normal) };
        if self.roster.child_phase(id) == Some(well) && self.waiting_for_end.is_empty() {
            self.await_call(id, if ran < QUICK { QUICK } else { Duration::ZERO });
        }
    }

    /// It is stopped by hand: a connection does not start it any more.
    pub(super) fn put_off(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if matches!(member.calls, Calls::Awaited { .. }) {
            member.calls = Calls::PutOff;
            self.show(id);
        }
    }

    /// Its config changed: other sockets, or another way to start. Says whether it waits for a connection now.
    pub(super) fn reconsider_calls(&mut self, id: MemberId) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        if matches!(member.calls, Calls::Awaited { .. }) {
            member.calls = Calls::Ignored;
            self.await_call(id, Duration::ZERO);
            self.show(id);
        }
        self.members.get(&id).is_some_and(|member| matches!(member.calls, Calls::Awaited { .. }))
    }

    /// Everything stops.
    pub(super) fn ignore_calls(&mut self) {
        for member in self.members.values_mut() {
            member.calls = Calls::Ignored;
        }
    }
}
