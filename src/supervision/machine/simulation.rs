//! Seeded simulation: random specs, crashes, hangs, slow stops, failed starts, late answers and commands by hand, against a
//! world that checks every order. A failure prints its seed; `CAFE_SIM_SEED=N cargo test simulat` runs that one alone.

use std::time::Duration;

use super::{Boot, ChildSpec, End, Ended, Machine, Order, Phase, Report, Spec, State, Why};
use crate::types::policy::{AutoShutdown, Backoff, Intensity, OnLimit, Restart, Strategy};

const RUNS: u64 = 5_000;

#[test]
fn simulated_worlds_find_no_broken_promise() {
    let given = std::env::var("CAFE_SIM_SEED").ok();
    let one = given.map(|seed| seed.parse().expect("CAFE_SIM_SEED is a number"));
    let seeds = one.map_or(0..RUNS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let run = std::panic::catch_unwind(|| World::new(seed).live());
        assert!(run.is_ok(), "broken with CAFE_SIM_SEED={seed}");
    }
}

/// What really happens to the child in a slot.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Real {
    Down,
    /// Answers at this time: it is up, or it failed.
    Starting(Duration, bool),
    Up,
    /// Gone at this time; before that its start may still be answered.
    Stopping(Duration),
}

struct World {
    random: fastrand::Rng,
    machine: Machine,
    now: Duration,
    real: Vec<Real>,
    /// Every restart since the last start by hand.
    restarts: Vec<Duration>,
    /// Stopped by hand and by nothing started since.
    by_hand: Vec<bool>,
    /// Starts by hand and new strategies break the order of starts on purpose.
    disordered: bool,
    /// A new limit: what was forgotten under the old one is not counted again.
    relimited: bool,
}

fn random_child(random: &mut fastrand::Rng) -> ChildSpec {
    let restart = [Restart::Permanent, Restart::Permanent, Restart::Transient, Restart::Temporary];
    let restart = restart[random.usize(..4)];
    let min = Duration::from_millis([0, 0, 100, 1000][random.usize(..4)]);
    let reset_after = Duration::from_secs(random.u64(..20));
    ChildSpec {
        restart,
        significant: restart != Restart::Permanent && random.bool(),
        backoff: Backoff { min, max: min * random.u32(1..20), reset_after },
    }
}

fn random_spec(random: &mut fastrand::Rng) -> Spec {
    let strategies = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
    let shutdowns =
        [AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant];
    Spec {
        strategy: strategies[random.usize(..3)],
        intensity: Intensity {
            restarts: random.u32(..8),
            within: Duration::from_secs(random.u64(..30)),
            then: if random.bool() { OnLimit::Hold } else { OnLimit::GiveUp },
        },
        auto_shutdown: shutdowns[random.usize(..3)],
        boot: if random.bool() { Boot::Retry } else { Boot::Undo },
        parallel_stop: random.u8(..8) == 0,
        parallel_start: random.u8(..8) == 0,
        seed: random.u64(..),
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut machine = Machine::new(random_spec(&mut random));
        let count = random.usize(1..8);
        for _ in 0..count {
            machine.add(random_child(&mut random));
        }
        Self {
            random,
            machine,
            now: Duration::ZERO,
            real: vec![Real::Down; count],
            restarts: Vec::new(),
            by_hand: vec![false; count],
            disordered: false,
            relimited: false,
        }
    }

    fn live(mut self) {
        self.machine.boot().expect("fresh");
        self.obey();
        for _ in 0..self.random.usize(10..150) {
            match self.random.u8(..10) {
                0..4 => _ = self.pass_time(),
                4..8 => self.fail_somewhere(),
                _ => self.command(),
            }
            self.obey();
        }
        self.come_to_rest();
        self.everyone_is_where_it_should_be();
        self.machine.shutdown();
        self.obey();
        self.come_to_rest();
        assert!(matches!(self.machine.phase(), State::Ended(_)), "every stop ends");
        assert!(self.real.iter().all(|real| *real == Real::Down));
    }

    /// The next thing that was going to happen does.
    fn pass_time(&mut self) -> bool {
        let mine = self.real.iter().filter_map(|real| match real {
            Real::Starting(at, _) | Real::Stopping(at) => Some(*at),
            Real::Down | Real::Up => None,
        });
        let Some(next) = mine.chain(self.machine.deadline()).min() else { return false };
        self.now = self.now.max(next);
        for slot in 0..self.real.len() {
            match self.real[slot] {
                Real::Starting(at, true) if at <= self.now => {
                    self.real[slot] = Real::Up;
                    self.machine.started(slot, self.now);
                }
                Real::Starting(at, false) if at <= self.now => {
                    self.real[slot] = Real::Down;
                    match self.random.u8(..8) {
                        0 => self.machine.ignored(slot),
                        _ => self.machine.start_failed(slot, self.now),
                    }
                    self.obey();
                }
                Real::Stopping(at) if at <= self.now => {
                    self.real[slot] = Real::Down;
                    self.machine.ended(slot, self.any_end(), self.now);
                    self.obey();
                }
                _ => {}
            }
        }
        true
    }

    fn any_end(&self) -> End {
        if self.now.as_millis().is_multiple_of(2) { End::Normal } else { End::Abnormal }
    }

    fn fail_somewhere(&mut self) {
        let slot = self.random.usize(..self.real.len());
        let how = if self.random.u8(..4) == 0 { End::Normal } else { End::Abnormal };
        match self.real[slot] {
            Real::Up => {
                self.real[slot] = Real::Down;
                self.machine.ended(slot, how, self.now);
            }
            // A late answer to a start that was overtaken by a stop, or one sent twice: never counts.
            Real::Stopping(_) => self.machine.started(slot, self.now),
            Real::Down => self.machine.ended(slot, how, self.now),
            Real::Starting(..) => {}
        }
    }

    fn command(&mut self) {
        let slot = self.random.usize(..self.real.len());
        match self.random.u8(..20) {
            0..8 => {
                if self.machine.stop_child(slot).is_ok() {
                    self.by_hand[slot] = true;
                }
            }
            8..14 => {
                if self.machine.start_child(slot).is_ok() {
                    self.by_hand[slot] = false;
                    self.disordered = true;
                    self.restarts.clear();
                }
            }
            14..16 => {
                let spec = random_child(&mut self.random);
                let _ = self.machine.update_child(slot, spec);
            }
            16 => {
                self.disordered = true;
                self.relimited = true;
                self.machine.update(random_spec(&mut self.random));
            }
            17 => {
                let spec = random_child(&mut self.random);
                let place = self.random.usize(..=self.real.len());
                let slot = self.machine.insert(place, spec);
                self.real.resize(self.real.len().max(slot + 1), Real::Down);
                self.by_hand.resize(self.real.len(), false);
                assert_eq!(self.real[slot], Real::Down, "a slot is free only without child");
                self.by_hand[slot] = true;
            }
            18 => {
                if self.machine.remove(slot).is_ok() {
                    assert_eq!(self.real[slot], Real::Down);
                }
            }
            _ => {
                self.machine.shutdown();
            }
        }
    }

    /// Does what the machine orders, checking each order against what really is.
    fn obey(&mut self) {
        let mut rounds = 0;
        loop {
            self.check_reports();
            let orders = self.machine.orders(self.now);
            for order in &orders {
                match *order {
                    Order::Start(slot) => self.start(slot),
                    Order::Stop(slot) => self.stop(slot),
                }
            }
            if orders.is_empty() {
                break;
            }
            rounds += 1;
            assert!(rounds < 1000, "orders without end");
        }
        assert!(self.machine.orders(self.now).is_empty(), "orders are given once");
        assert!(self.machine.deadline().is_none_or(|at| at > self.now), "no spinning");
    }

    fn start(&mut self, slot: usize) {
        assert_eq!(self.real[slot], Real::Down, "two incarnations in slot {slot}");
        assert!(!matches!(self.machine.phase(), State::Ended(_) | State::ShuttingDown));
        let spec = *self.machine.spec();
        if spec.strategy != Strategy::OneForOne && !self.disordered && !spec.parallel_start {
            let order = self.machine.slots();
            let place = order.iter().position(|other| *other == slot).expect("known");
            for other in &order[place + 1..] {
                assert_eq!(self.real[*other], Real::Down, "{other} is after {slot} in start order");
            }
            for other in &order[..place] {
                let leaving =
                    matches!(self.real[*other], Real::Stopping(_)) && self.by_hand[*other];
                let at_rest = matches!(self.real[*other], Real::Down | Real::Up);
                assert!(at_rest || leaving, "{other} is before {slot} and not acknowledged");
            }
        }
        self.by_hand[slot] = false;
        let takes = [0, 10, 500, 20_000][self.random.usize(..4)];
        let at = self.now + Duration::from_millis(takes);
        self.real[slot] = Real::Starting(at, self.random.u8(..5) > 0);
    }

    fn stop(&mut self, slot: usize) {
        let running = matches!(self.real[slot], Real::Starting(..) | Real::Up);
        assert!(running, "slot {slot} is {:?} and cannot be stopped", self.real[slot]);
        if self.machine.phase() == State::ShuttingDown && !self.machine.spec().parallel_stop {
            let order = self.machine.slots();
            let place = order.iter().position(|other| *other == slot).expect("known");
            for other in &order[place + 1..] {
                assert_eq!(self.real[*other], Real::Down, "{other} is after {slot} in stop order");
            }
        }
        let takes = [0, 5, 300, 90_000][self.random.usize(..4)];
        self.real[slot] = Real::Stopping(self.now + Duration::from_millis(takes));
    }

    /// Every restart is counted again, the naive way.
    fn check_reports(&mut self) {
        let limit = self.machine.spec().intensity;
        for report in self.machine.drain_reports() {
            let counted = match &report {
                Report::Restarting { .. } => true,
                Report::Ending { because, .. } => matches!(because, Ended::GaveUp { .. }),
            };
            if !counted || self.relimited {
                continue;
            }
            self.restarts.push(self.now);
            let recent = |time: &&Duration| **time + limit.within >= self.now;
            let recent = self.restarts.iter().filter(recent).count();
            let over = recent > limit.restarts as usize;
            match report {
                Report::Restarting { held, .. } if limit.then == OnLimit::Hold => {
                    assert!(!held || over, "held below the limit");
                }
                Report::Restarting { .. } => assert!(!over, "restarted beyond the limit"),
                Report::Ending { .. } => assert!(over, "gave up below the limit"),
            }
        }
    }

    /// No more failures: everything that was begun ends.
    fn come_to_rest(&mut self) {
        for _ in 0..10_000 {
            for real in &mut self.real {
                if let Real::Starting(_, succeeds) = real {
                    *succeeds = true;
                }
            }
            if !self.pass_time() {
                return;
            }
            self.obey();
        }
        panic!("never comes to rest");
    }

    /// No event was lost: children are where the last thing that happened to them left them.
    fn everyone_is_where_it_should_be(&self) {
        for slot in self.machine.slots() {
            let real = self.real[*slot];
            let phase = self.machine.child(*slot).expect("known");
            match phase {
                Phase::Up { .. } => assert_eq!(real, Real::Up),
                Phase::Idle { .. } => assert_eq!(real, Real::Down),
                _ => panic!("slot {slot} rests in {phase:?}"),
            }
            let runs = self.machine.phase() == State::Running;
            let excused = matches!(phase, Phase::Idle { why } if why != Why::ByHand && why != Why::NeverStarted);
            if runs && !self.by_hand[*slot] && !excused {
                assert_eq!(real, Real::Up, "slot {slot} was forgotten: {phase:?}");
            }
            if self.by_hand[*slot] {
                assert_eq!(real, Real::Down, "slot {slot} was stopped by hand: {phase:?}");
            }
        }
    }
}
