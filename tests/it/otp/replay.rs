//! One scenario on the daemon: acts, and follows the daemon's events.

use std::collections::BTreeMap;

use cafe::net::control::{Outcome, Verb};
use cafe::types::event::{Event, Kind};
use cafe::types::exit::Cause;
use cafe::types::state::State;
use nix::sys::signal::Signal;
use tokio::sync::mpsc::Receiver;

use super::scenario::{Scenario, Seen, Step};
use crate::harness::{Cafe, DEADLINE, kill};

/// A scenario that is being replayed.
pub(super) struct Replay<'a> {
    cafe: &'a Cafe,
    scenario: &'a Scenario,
    events: Receiver<Event>,
    services: BTreeMap<String, Service>,
    /// What happened, in order; the cause of a stop is looked up at the end.
    log: Vec<Entry>,
    ended: bool,
    /// How each incarnation ended, as its post-mortem says.
    causes: BTreeMap<(String, u64), Cause>,
    /// What OTP logged of the steps so far, but for the end of the supervisor.
    expected: Vec<Vec<String>>,
}

/// A service as its last event showed it.
#[derive(Debug, Default)]
struct Service {
    alive: bool,
    generation: u64,
    pid: Option<u32>,
}

/// Something that happened to an incarnation of a child.
#[derive(Debug)]
struct Entry {
    what: &'static str,
    child: String,
    generation: u64,
}

impl<'a> Replay<'a> {
    pub(super) fn begin(cafe: &'a Cafe, scenario: &'a Scenario, events: Receiver<Event>) -> Self {
        let fresh = |child: &super::scenario::Child| (child.id.clone(), Service::default());
        Self {
            cafe,
            scenario,
            events,
            services: scenario.children.iter().map(fresh).collect(),
            log: Vec::new(),
            ended: false,
            causes: BTreeMap::new(),
            expected: Vec::new(),
        }
    }

    /// Does what a step says.
    pub(super) async fn act(&mut self, step: &Step) {
        let Some(child) = step.event.get(1) else { return };
        match step.event[0].as_str() {
            "crash" => self.signal(child, Signal::SIGUSR1),
            "exit" => self.signal(child, Signal::SIGUSR2),
            "stop" => self.by_hand(Verb::Stop, child, &step.result).await,
            "start" => self.by_hand(Verb::Start, child, &step.result).await,
            other => panic!("event {other}"),
        }
    }

    fn signal(&self, child: &str, signal: Signal) {
        let pid = self.services[child].pid;
        kill(pid.unwrap_or_else(|| panic!("{} {child} has no process", self.scenario.id)), signal);
    }

    async fn by_hand(&self, verb: Verb, child: &str, result: &str) {
        let name = self.scenario.name(child);
        let acted = self.cafe.act(verb, &name).await;
        let expected = if result == "ok" { Outcome::Changed } else { Outcome::Unchanged };
        // OTP says `ok` to a stop of what is down already.
        if verb == Verb::Start || result != "ok" {
            assert_eq!(acted.services[0].outcome, expected, "{verb} {name}: {acted:?}");
        }
    }

    /// Follows the events until states and generations are those of OTP after this step.
    pub(super) async fn settled_as(&mut self, number: usize, step: &Step) {
        let place = format!("{} step {number} {:?}", self.scenario.id, step.event);
        self.expected.extend(step.log.iter().filter(|entry| entry[1] != "root").cloned());
        let dead = step.supervisor == "dead";
        while self.ended != dead || !step.children.iter().all(|(id, seen)| self.is_as(id, seen)) {
            self.follow(&place).await;
        }
    }

    fn is_as(&self, id: &str, seen: &Seen) -> bool {
        let service = &self.services[id];
        service.alive == (seen.state == "alive") && service.generation == seen.generation
    }

    /// cafe restarts this child where OTP has given up; the rest of the scenario has no meaning then.
    pub(super) async fn restarted(&mut self, child: &str) {
        let place = format!("{} after its window was cleared", self.scenario.id);
        let next = self.services[child].generation + 1;
        while !(self.services[child].alive && self.services[child].generation == next) {
            self.follow(&place).await;
        }
        assert!(!self.ended, "{place}");
    }

    /// Stops the group, so that nothing can happen any more, and compares the whole order of things.
    pub(super) async fn finish(mut self) {
        let place = format!("{} at its end", self.scenario.id);
        for child in self.scenario.children.iter().rev() {
            if self.services[&child.id].alive {
                let end = child.end_when_stopped().to_owned();
                self.expected.push(vec!["stop".to_owned(), child.id.clone(), end]);
            }
        }
        self.cafe.act(Verb::Stop, &self.scenario.id).await;
        while self.services.values().any(|service| service.alive) || self.lacks_a_cause() {
            self.follow(&place).await;
        }
        let happened: Vec<Vec<String>> = self.log.iter().map(|entry| self.tell(entry)).collect();
        assert_eq!(happened, self.expected, "{place}: order of events");
        self.compare_journal(&place);
    }

    /// What the processes wrote themselves: all starts, and the stops of those that heard the signal.
    fn compare_journal(&self, place: &str) {
        let written = self.cafe.read(self.scenario.journal());
        let heard = self.expected.iter().filter(|entry| match entry[0].as_str() {
            "start" => true,
            "stop" => entry[2] == "shutdown",
            _ => false,
        });
        let expected: Vec<String> =
            heard.map(|entry| format!("{} {}", entry[0], entry[1])).collect();
        let written: Vec<&str> = written.lines().collect();
        assert_eq!(written, expected, "{place}: what the processes wrote");
    }

    fn lacks_a_cause(&self) -> bool {
        let known = |entry: &Entry| {
            entry.what == "start"
                || self.causes.contains_key(&(entry.child.clone(), entry.generation))
        };
        !self.log.iter().all(known)
    }

    /// An entry in the words of OTP's log.
    fn tell(&self, entry: &Entry) -> Vec<String> {
        let mut words = vec![entry.what.to_owned(), entry.child.clone()];
        let cause = self.causes.get(&(entry.child.clone(), entry.generation));
        let how = match (entry.what, cause) {
            ("start", _) => None,
            ("exit", Some(Cause::Code(0))) => Some("normal"),
            ("exit", Some(Cause::Code(1))) => Some("crash"),
            ("stop", Some(Cause::Signal { signal: 15, .. })) => Some("shutdown"),
            ("stop", Some(Cause::Signal { signal: 9, .. })) => Some("killed"),
            (what, cause) => panic!("{} {what} by {cause:?}", entry.child),
        };
        words.extend(how.map(str::to_owned));
        words
    }

    /// Takes the next event.
    async fn follow(&mut self, place: &str) {
        let next = tokio::time::timeout(DEADLINE, self.events.recv()).await;
        let Ok(Some(event)) = next else {
            panic!("{place}: stuck with {:?} after {:?}", self.services, self.log);
        };
        match event.kind {
            Kind::State { service, from, to, pid, generation, .. } => {
                let Some(child) = self.child_of(service.as_str()) else { return };
                self.changed(&child, from, to, pid, generation);
            }
            Kind::Exit { service, post_mortem } => {
                let Some(child) = self.child_of(service.as_str()) else { return };
                self.causes.insert((child, post_mortem.generation), post_mortem.cause);
            }
            Kind::GaveUp { name, .. } | Kind::AutoShutdown { group: name, .. } => {
                self.ended |= name.as_str() == self.scenario.id;
            }
            _ => {}
        }
    }

    fn changed(&mut self, child: &str, from: State, to: State, pid: Option<u32>, generation: u64) {
        let what = match (from, to) {
            (_, State::Ready) => "start",
            (_, State::Stopping) => "stop",
            (State::Ready, _) => "exit",
            _ => "",
        };
        if !what.is_empty() {
            self.log.push(Entry { what, child: child.to_owned(), generation });
        }
        // A service that is being stopped is gone for OTP only when it is gone.
        let alive = matches!(to, State::Ready | State::Stopping);
        self.services.insert(child.to_owned(), Service { alive, generation, pid });
    }

    fn child_of(&self, service: &str) -> Option<String> {
        let child = service.strip_prefix(&self.scenario.id)?.strip_prefix('-')?;
        Some(child.to_owned())
    }
}
