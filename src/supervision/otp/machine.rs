//! The replay on the pure machine, with a driver that does all at once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Observed, Scenario, Seen, compare, scenarios};
use crate::supervision::machine::{
    Boot, ChildSpec, End, Machine, Order, Phase, Refusal, Spec, State,
};
use crate::types::policy::{Backoff, Intensity, OnLimit, Restart};

const NOW: Duration = Duration::from_secs(1);

#[test]
fn the_machine_does_what_otp_does() {
    let all = scenarios();
    assert_eq!(all.len(), 60);
    for scenario in &all {
        let mut replay = Replay::new(scenario);
        let observed: Vec<Observed> =
            scenario.steps.iter().map(|step| replay.step(&step.event)).collect();
        compare(scenario, &observed);
    }
}

struct Replay<'a> {
    scenario: &'a Scenario,
    machine: Machine,
    generations: Vec<u64>,
    log: Vec<Vec<String>>,
    root_logged: bool,
}

impl<'a> Replay<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let supervisor = &scenario.supervisor;
        let mut machine = Machine::new(Spec {
            strategy: supervisor.strategy,
            intensity: Intensity {
                restarts: supervisor.intensity,
                within: Duration::from_secs(supervisor.period),
                then: OnLimit::GiveUp,
            },
            auto_shutdown: supervisor.auto_shutdown,
            boot: Boot::Undo,
            parallel_stop: false,
            parallel_start: false,
            seed: 0,
        });
        let zero = Duration::ZERO;
        for child in &scenario.children {
            machine.add(ChildSpec {
                restart: child.restart,
                significant: child.significant,
                backoff: Backoff { min: zero, max: zero, reset_after: zero },
            });
        }
        let generations = vec![0; scenario.children.len()];
        Self { scenario, machine, generations, log: Vec::new(), root_logged: false }
    }

    fn step(&mut self, event: &[String]) -> Observed {
        let slot = |id: &String| self.scenario.children.iter().position(|child| child.id == *id);
        let slot = event.get(1).and_then(slot).unwrap_or_default();
        let result = match event[0].as_str() {
            "init" => self.machine.boot(),
            "crash" => self.exit(slot, "crash", End::Abnormal),
            "exit" => self.exit(slot, "normal", End::Normal),
            "stop" => self.machine.stop_child(slot),
            "start" => self.machine.start_child(slot),
            other => panic!("event {other}"),
        };
        self.settle();
        let result = match result {
            Ok(()) => "ok",
            Err(Refusal::Running) => "running",
            Err(Refusal::Unknown) => "not_found",
            Err(Refusal::ShuttingDown) => "no_supervisor",
        };
        let alive = self.machine.phase() == State::Running;
        if !alive && !self.root_logged {
            self.root_logged = true;
            self.write(&["stop", "root", "shutdown"]);
        }
        Observed { result, alive, log: std::mem::take(&mut self.log), children: self.children() }
    }

    fn exit(&mut self, slot: usize, how: &str, end: End) -> Result<(), Refusal> {
        self.write(&["exit", &self.scenario.children[slot].id, how]);
        self.machine.ended(slot, end, NOW);
        Ok(())
    }

    fn settle(&mut self) {
        loop {
            let orders = self.machine.orders(NOW);
            for order in &orders {
                match *order {
                    Order::Start(slot) => {
                        self.generations[slot] += 1;
                        self.write(&["start", &self.scenario.children[slot].id]);
                        self.machine.started(slot, NOW);
                    }
                    Order::Stop(slot) => {
                        let child = &self.scenario.children[slot];
                        self.write(&["stop", &child.id, child.end()]);
                        self.machine.ended(slot, End::Normal, NOW);
                    }
                }
            }
            if orders.is_empty() {
                return self.forget_temporary();
            }
        }
    }

    /// As the driver of OTP's semantics must: a temporary child that is down is forgotten.
    fn forget_temporary(&mut self) {
        for (slot, child) in self.scenario.children.iter().enumerate() {
            if child.restart == Restart::Temporary {
                let _ = self.machine.remove(slot);
            }
        }
    }

    fn children(&self) -> BTreeMap<String, Seen> {
        let seen = |(slot, child): (usize, &super::Child)| {
            let state = match self.machine.child(slot) {
                None => "absent",
                Some(Phase::Up { .. }) => "alive",
                Some(_) => "dead",
            };
            let generation = self.generations[slot];
            (child.id.clone(), Seen { state: state.to_owned(), generation })
        };
        self.scenario.children.iter().enumerate().map(seen).collect()
    }

    fn write(&mut self, words: &[&str]) {
        self.log.push(words.iter().map(|word| (*word).to_owned()).collect());
    }
}
