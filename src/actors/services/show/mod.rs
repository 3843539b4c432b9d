//! From what the roster and the reports say to the one state and reason that everybody sees.

mod derive;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use self::derive::{Because, Facts, state_of};
use super::super::Ending;
use super::calls::Calls;
use super::overlap::Replacing;
use super::{Member, State};
use crate::config::Kind;
use crate::supervision::machine::{Ended, Phase, State as Phased};
use crate::supervision::roster::{Cause, MemberId, Notice, ScopeId, Waits};
use crate::types::error::Code;
use crate::types::event;
use crate::types::exit::{BY_ITSELF, PostMortem};
use crate::types::name::Name;
use crate::types::state::State as Lifecycle;
use crate::types::unit::show_duration;

/// Said of a process that an earlier cafe started.
pub(super) const FOUND: &str = "found running, taken over";

impl State {
    /// Shows those whose phase changed, and tells what happened to groups.
    pub(super) fn show_changes(&mut self) {
        for notice in self.roster.take_notices() {
            self.note(notice);
        }
        let touched = self.roster.take_touched();
        for id in &touched {
            self.show(*id);
        }
        let scopes = touched.iter().filter_map(|id| self.roster.scope_of(*id));
        for scope in scopes.collect::<BTreeSet<ScopeId>>() {
            self.show_group_state(scope);
        }
    }

    /// A group that runs again, or was stopped by hand; one that ended because of a member is told by `note_ending`.
    fn show_group_state(&self, scope: ScopeId) {
        let Some((group, state)) = self.roster.group_state(scope) else { return };
        let stopping = !self.waiting_for_end.is_empty();
        match state {
            Phased::Running => self.board.set_group_state(group, "running", ""),
            Phased::Ended(Ended::Shutdown) if stopping => {
                self.board.set_group_state(group, "stopped", "cafe is stopping");
            }
            Phased::Ended(Ended::Shutdown) => {
                self.board.set_group_state(group, "stopped", "stopped by hand");
            }
            Phased::Ended(_) | Phased::ShuttingDown => {}
        }
    }

    /// Puts the present state of a member on the board, with its reason.
    pub(super) fn show(&self, id: MemberId) {
        let Some(member) = self.members.get(&id) else { return };
        let (state, reason) = self.describe(id, member);
        self.put(member, state, reason);
    }

    /// It starts again, without a word of the roster: another incarnation is there already.
    pub(super) fn show_start(&self, id: MemberId) {
        let Some(member) = self.members.get(&id) else { return };
        for state in [Lifecycle::Waiting, Lifecycle::Starting] {
            self.put(member, state, last_exit(member));
        }
    }

    /// A process of a cafe before: it runs, or ran, and nobody saw it start.
    pub(super) fn show_found(&self, id: MemberId, reason: &str) {
        let Some(member) = self.members.get(&id) else { return };
        for state in [Lifecycle::Waiting, Lifecycle::Starting, Lifecycle::Running] {
            self.put(member, state, reason.to_owned());
        }
    }

    fn put(&self, member: &Member, state: Lifecycle, reason: String) {
        let name = &member.name;
        let next_start =
            match self.roster.find(name.as_str()).and_then(|id| self.roster.child_phase(id)) {
                Some(Phase::Backoff { until, .. }) => {
                    Some(Timestamp::now() + until.saturating_sub(self.now()))
                }
                _ => member.next_run,
            };
        let before = self.board.with(name, |entry| {
            let before = entry.state;
            if before != state {
                (entry.since, entry.entered) = (Timestamp::now(), Instant::now());
            }
            entry.state = state;
            entry.reason.clone_from(&reason);
            entry.next_start = next_start;
            (before, entry.pid, entry.generation)
        });
        let Some((before, pid, generation)) = before else { return };
        if before == state {
            return;
        }
        if !before.may_become(state) {
            tracing::error!(service = %name, from = %before, to = %state, "unexpected change of state");
        }
        self.bus.publish(event::Kind::State {
            service: name.clone(),
            from: before,
            to: state,
            reason,
            pid,
            generation,
        });
    }

    fn describe(&self, id: MemberId, member: &Member) -> (Lifecycle, String) {
        let waits = self.roster.waits(id);
        let facts = Facts {
            phase: self.roster.child_phase(id),
            gated: waits.is_some(),
            launched: member.launched,
            has_process: self.has_process(&member.name),
            up: member.up,
            checked: member.checked,
            unhealthy: member.unhealthy,
            stopping: member.stopping,
            stop_ordered: self.roster.is_stopping(id),
            armed: member.next_run.is_some(),
            awaited: matches!(member.calls, Calls::Awaited { .. }),
            put_off: matches!(member.calls, Calls::PutOff),
            shutting_down: !self.waiting_for_end.is_empty(),
        };
        let (state, because) = state_of(&facts);
        let mut reason = self.reason(member, because, waits.as_ref());
        reason.push_str(match member.replacing.filter(|_| state.is_up()) {
            Some(Replacing::Next) => "; its next generation is being started beside it",
            Some(Replacing::Last) => "; its last generation is ending",
            None => "",
        });
        (state, reason)
    }

    fn reason(&self, member: &Member, because: Because, waits: Option<&Waits>) -> String {
        let said = |text: &str| text.to_owned();
        match because {
            Because::Signalled => {
                let signal = crate::types::exit::signal_name(member.config.stop.signal);
                let timeout = show_duration(member.config.stop.timeout);
                format!("sent {signal}, killed after {timeout}")
            }
            Because::Evidence => member.evidence.clone().unwrap_or_default(),
            Because::Runs => {
                let unchecked = || said("running; no readiness check");
                member.evidence.clone().unwrap_or_else(unchecked)
            }
            Because::NotReadyYet => starting_reason(member),
            Because::NextRun => {
                member.next_run.map_or_else(|| last_exit(member), |next| timer_reason(member, next))
            }
            Because::NoCall => called_reason(member),
            Because::Gate => waits.map(waiting_reason).unwrap_or_default(),
            Because::Making => said("process is being made"),
            Because::AboutToStart => said("about to start"),
            Because::Turn => said("waits for its turn"),
            Because::Delay { until, attempt, held } => {
                let delay = show_duration(until.saturating_sub(self.now()));
                let limit =
                    if held { "restart limit reached, held at the longest delay; " } else { "" };
                format!("{}; {limit}try {attempt} after {delay}", last_exit(member))
            }
            Because::NotStarted => said("not started"),
            Because::ByHand => said("stopped by hand"),
            Because::WithGroup => said("stopped with its group"),
            Because::Shutdown => said("cafe is stopping"),
            Because::LastExit => last_exit(member),
            Because::TooOften => {
                format!("{}; restarted too often [{}]", last_exit(member), Code::GaveUp)
            }
            Because::Dependents => said("stops once what depends on it is gone"),
            Because::Overtaken => said("is being ended"),
        }
    }

    fn note(&mut self, notice: Notice) {
        match notice {
            Notice::PulledDown { member, cause } => {
                let (other, reason) = match cause {
                    Cause::Sibling(other) => (other, "restarts with"),
                    Cause::Requirement(other) => (other, "requires"),
                };
                let name =
                    |id: MemberId| self.members.get(&id).map(|member| member.name.to_string());
                let (Some(pulled), Some(because)) = (name(member), name(other)) else { return };
                if let Some(member) = self.members.get_mut(&member) {
                    member.stop_reason = Some(format!("{reason} `{because}`, which went down"));
                }
                if let Some(other) = self.members.get_mut(&other) {
                    other.pulled_down.push(pulled);
                }
            }
            Notice::Held { member } => {
                let Some(member) = self.members.get(&member) else { return };
                let max = show_duration(member.config.backoff.max);
                let reason = format!("restart limit reached; tried again within {max} each time");
                let name = member.name.clone();
                self.bus.publish(event::Kind::GaveUp { name, reason });
            }
            Notice::Ending { group, member, because } => self.note_ending(group, member, because),
        }
    }

    fn note_ending(&mut self, group: Option<Name>, id: MemberId, because: Ended) {
        let Some(member) = self.members.get(&id) else { return };
        let culprit = member.name.clone();
        match because {
            Ended::GaveUp { restarts, within } => {
                let within = show_duration(within);
                let reason =
                    format!("`{culprit}` restarted more than {restarts} times within {within}");
                let name = group.clone().unwrap_or_else(|| culprit.clone());
                self.context.run_hook(&member.name, &member.config, &reason);
                self.bus.publish(event::Kind::GaveUp { name, reason: reason.clone() });
                self.show_group(group.as_ref(), "failed", &reason);
                if group.is_none() {
                    self.end_with(id);
                }
            }
            Ended::AutoShutdown { .. } => {
                let reason = format!("significant member `{culprit}` ended");
                self.show_group(group.as_ref(), "stopped", &reason);
                match group {
                    Some(group) => self.bus.publish(event::Kind::AutoShutdown { group, reason }),
                    None => self.end_with(id),
                }
            }
            Ended::Shutdown | Ended::BootFailed { .. } => {}
        }
    }
}

impl State {
    /// A significant service of no group ended for good: so does cafe, with its exit code.
    fn end_with(&self, id: MemberId) {
        let Some(member) = self.members.get(&id).filter(|member| member.config.significant) else {
            return;
        };
        let (name, ended) = (&member.name, last_exit(member));
        let code = self.board.with(name, |entry| entry.exits.front().map(|exit| exit.exit_code()));
        self.shutdown.begin(Ending {
            because: format!("significant service `{name}`: {ended}"),
            code: code.flatten().unwrap_or(1),
        });
    }

    pub(super) fn show_group(&self, group: Option<&Name>, state: &str, reason: &str) {
        if let Some(group) = group {
            self.board.set_group_state(group, state, reason);
        }
    }
}

fn starting_reason(member: &Member) -> String {
    let within = show_duration(member.config.ready_timeout);
    match (&member.config.kind, &member.config.ready) {
        (Kind::Oneshot, _) => "runs; done when it exits 0".to_owned(),
        (_, Some(_)) => format!("not ready yet; must be within {within}"),
        (_, None) => "process made".to_owned(),
    }
}

fn waiting_reason(waits: &Waits) -> String {
    match waits {
        Waits::Requirement(name) => format!("waits for `{name}`, which it requires"),
        Waits::MissingRequirement(name) => {
            format!("requires `{name}`, which is down: `cafe start {name}`")
        }
        Waits::Turn(name) => format!("starts after `{name}`"),
        Waits::Permit => "waits until fewer services are starting".to_owned(),
    }
}

fn timer_reason(member: &Member, next: Timestamp) -> String {
    // The reason stands until the run: a time stays true, a distance does not.
    let next = next.to_zoned(TimeZone::system()).strftime("%F %T");
    let last = match &member.last_exit {
        Some(_) => format!("last run {}", last_exit(member)),
        None => "has not run yet".to_owned(),
    };
    format!("next run at {next}; {last}")
}

fn called_reason(member: &Member) -> String {
    let sockets = member.config.listen.iter();
    let sockets: Vec<_> = sockets.map(|(name, at)| format!("`{name}` ({at})")).collect();
    let last = member.last_exit.as_ref().map(|last| format!("; last run {last}"));
    format!("starts at a connection to {}{}", sockets.join(" or "), last.unwrap_or_default())
}

fn last_exit(member: &Member) -> String {
    member.last_exit.clone().unwrap_or_else(|| "has not run yet".to_owned())
}

/// `killed by SIGKILL after 2s`, and why if it did not end by itself.
pub(super) fn in_words(exit: &PostMortem) -> String {
    let ran = show_duration(Duration::from_millis(exit.run_ms));
    match exit.trigger.as_str() {
        BY_ITSELF => format!("{} after {ran}", exit.cause),
        trigger if exit.pid.is_none() => format!("{}: {trigger}", exit.cause),
        trigger => format!("{} after {ran}: {trigger}", exit.cause),
    }
}
