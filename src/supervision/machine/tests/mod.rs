//! The rules one by one; the real OTP's outcomes are in `crate::supervision::otp`.

mod commands;
mod semantics;

use std::time::Duration;

use super::{Boot, ChildSpec, End, Machine, Order, Spec};
use crate::types::policy::{AutoShutdown, Backoff, Intensity, OnLimit, Restart, Strategy};

const ZERO: Duration = Duration::ZERO;
const NO_BACKOFF: Backoff = Backoff { min: ZERO, max: ZERO, reset_after: Duration::MAX };

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn spec(strategy: Strategy) -> Spec {
    Spec {
        strategy,
        intensity: Intensity { restarts: 3, within: at(60), then: OnLimit::GiveUp },
        auto_shutdown: AutoShutdown::Never,
        boot: Boot::Retry,
        parallel_stop: false,
        parallel_start: false,
        seed: 1,
    }
}

fn child(restart: Restart) -> ChildSpec {
    ChildSpec { restart, significant: false, backoff: NO_BACKOFF }
}

/// A delay of exactly ten seconds: jitter is drawn below `min`, so only the held delay is fixed; here the bounds are.
fn slow(restart: Restart) -> ChildSpec {
    let backoff = Backoff { min: at(10), max: at(10), reset_after: at(100) };
    ChildSpec { restart, significant: false, backoff }
}

/// A machine of these children, booted, all up at time zero.
fn up(spec: Spec, children: &[ChildSpec]) -> Machine {
    let mut machine = Machine::new(spec);
    for child in children {
        machine.add(*child);
    }
    machine.boot().expect("fresh");
    let log = settle(&mut machine, ZERO);
    assert_eq!(log.len(), children.len());
    machine
}

/// A driver that does all at once and never fails; gives what it was told in order.
fn settle(machine: &mut Machine, now: Duration) -> Vec<Order> {
    let mut log = Vec::new();
    loop {
        let orders = machine.orders(now);
        if orders.is_empty() {
            return log;
        }
        for order in orders {
            log.push(order);
            match order {
                Order::Start(slot) => machine.started(slot, now),
                Order::Stop(slot) => machine.ended(slot, End::Normal, now),
            }
        }
    }
}
