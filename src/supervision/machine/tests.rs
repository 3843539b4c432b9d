//! The rules one by one; the real OTP's outcomes are in `crate::supervision::otp`.

use std::time::Duration;

use super::{
    Boot, ChildSpec, End, Ended, Machine, Order, Phase, Refusal, Report, Spec, State, Why,
};
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

#[test]
fn a_machine_is_small() {
    assert!(size_of::<Machine>() <= 250, "machine {}", size_of::<Machine>());
    assert!(size_of::<Option<super::Child>>() <= 128, "child {}", size_of::<super::Child>());
}

#[test]
fn boots_in_order_each_acknowledged_before_the_next() {
    let mut machine = Machine::new(spec(Strategy::OneForOne));
    (0..3).for_each(|_| _ = machine.add(child(Restart::Permanent)));
    machine.boot().expect("fresh");
    for slot in 0..3 {
        assert_eq!(machine.orders(ZERO), [Order::Start(slot)]);
        assert!(machine.orders(ZERO).is_empty());
        machine.started(slot, ZERO);
    }
    assert!(machine.orders(ZERO).is_empty());
}

#[test]
fn parallel_start_and_stop_wait_for_nobody() {
    let spec = Spec { parallel_start: true, parallel_stop: true, ..spec(Strategy::OneForAll) };
    let mut machine = Machine::new(spec);
    (0..2).for_each(|_| _ = machine.add(child(Restart::Permanent)));
    machine.boot().expect("fresh");
    assert_eq!(machine.orders(ZERO), [Order::Start(0), Order::Start(1)]);
    machine.started(0, ZERO);
    machine.started(1, ZERO);
    machine.shutdown();
    assert_eq!(machine.orders(ZERO), [Order::Stop(1), Order::Stop(0)]);
    machine.ended(0, End::Normal, ZERO);
    assert!(machine.orders(ZERO).is_empty());
    assert_eq!(machine.phase(), State::ShuttingDown);
    machine.ended(1, End::Normal, ZERO);
    assert!(machine.orders(ZERO).is_empty());
    assert_eq!(machine.phase(), State::Ended(Ended::Shutdown));
}
