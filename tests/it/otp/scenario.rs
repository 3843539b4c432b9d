//! The scenarios, as the file has them, and as sections of a `cafe.ron`.

use std::collections::BTreeMap;

use cafe::types::policy::{AutoShutdown, Restart, Strategy};
use serde::Deserialize;

use crate::harness::{IDLE, sh};

/// One scenario of `outcomes.jsonl`.
#[derive(Debug, Deserialize)]
pub(super) struct Scenario {
    pub(super) id: String,
    pub(super) supervisor: Supervisor,
    pub(super) children: Vec<Child>,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Supervisor {
    pub(super) strategy: Strategy,
    intensity: u32,
    period: u64,
    auto_shutdown: AutoShutdown,
}

#[derive(Debug, Deserialize)]
pub(super) struct Child {
    pub(super) id: String,
    restart: Restart,
    shutdown: Shutdown,
    significant: bool,
    ignores_stop: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Shutdown {
    Milliseconds(u64),
    /// `infinity` or `brutal_kill`.
    Word(String),
}

/// An event and what had happened when all was quiet again.
#[derive(Debug, Deserialize)]
pub(super) struct Step {
    pub(super) event: Vec<String>,
    pub(super) result: String,
    pub(super) supervisor: String,
    pub(super) log: Vec<Vec<String>>,
    pub(super) children: BTreeMap<String, Seen>,
}

/// A child after a step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Seen {
    /// `alive`, `dead` or `absent`.
    pub(super) state: String,
    /// How often it was started.
    pub(super) generation: u64,
}

/// All scenarios.
pub(super) fn scenarios() -> Vec<Scenario> {
    let text = include_str!("../../otp/outcomes.jsonl");
    let scenarios = text.lines().map(|line| serde_json::from_str(line).expect("a scenario"));
    scenarios.collect()
}

impl Scenario {
    /// The name of the service that plays a child.
    pub(super) fn name(&self, id: &str) -> String {
        format!("{}-{id}", self.id)
    }

    /// Where its processes write what they do.
    pub(super) fn journal(&self) -> String {
        format!("{}.journal", self.id)
    }

    /// Its children as services.
    pub(super) fn services(&self) -> String {
        let service = |child: &Child| {
            let (name, command) = (self.name(&child.id), sh(&self.script(child)));
            let significant = if child.significant { "significant: true, " } else { "" };
            let (restart, stop) = (word(&child.restart), child.stop());
            format!(
                "  {name:?}: (command: {command}, ready: fd(3), restart: {restart}, {significant}stop: {stop}, \
                 backoff: (min: \"0ms\", max: \"0ms\")),\n"
            )
        };
        self.children.iter().map(service).collect()
    }

    /// Its supervisor as a group.
    pub(super) fn group(&self) -> String {
        let Supervisor { strategy, intensity, period, auto_shutdown } = &self.supervisor;
        let names: Vec<String> = self.children.iter().map(|child| self.name(&child.id)).collect();
        let (strategy, auto_shutdown) = (word(strategy), word(auto_shutdown));
        format!(
            "  {:?}: (strategy: {strategy}, services: {names:?}, auto_shutdown: {auto_shutdown}, \
             intensity: (restarts: {intensity}, within: \"{period}s\", then: give_up)),\n",
            self.id
        )
    }

    /// The program of a child: says that it starts, then does what it is told by signals.
    fn script(&self, child: &Child) -> String {
        let (id, journal) = (&child.id, self.journal());
        let on_stop = match child.ignores_stop {
            true => String::new(),
            false => format!("echo stop {id} >>{journal}; trap - TERM; kill $$"),
        };
        format!(
            "trap '{on_stop}' TERM; trap 'exit 1' USR1; trap 'exit 0' USR2; \
             echo start {id} >>{journal}; echo >&3; {IDLE}"
        )
    }
}

impl Child {
    /// What ends it when it is stopped.
    pub(super) fn end_when_stopped(&self) -> &'static str {
        let brutal = matches!(&self.shutdown, Shutdown::Word(word) if word == "brutal_kill");
        if brutal || self.ignores_stop { "killed" } else { "shutdown" }
    }

    fn stop(&self) -> String {
        match &self.shutdown {
            Shutdown::Milliseconds(time) => format!("(timeout: \"{time}ms\")"),
            Shutdown::Word(word) if word == "brutal_kill" => "(signal: KILL)".to_owned(),
            Shutdown::Word(_) => "(timeout: \"1h\")".to_owned(),
        }
    }
}

/// How a policy is written in `cafe.ron`: as in JSON, without quotes.
fn word<T: serde::Serialize>(policy: &T) -> String {
    let word = serde_json::to_value(policy).expect("a policy");
    word.as_str().expect("a word").to_owned()
}
