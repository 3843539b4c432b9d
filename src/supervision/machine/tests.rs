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

#[test]
fn undo_stops_what_was_started_and_ends_otp_sup_start_fail() {
    let mut machine = Machine::new(Spec { boot: Boot::Undo, ..spec(Strategy::OneForOne) });
    (0..3).for_each(|_| _ = machine.add(child(Restart::Permanent)));
    machine.boot().expect("fresh");
    for slot in 0..2 {
        assert_eq!(machine.orders(ZERO), [Order::Start(slot)]);
        machine.started(slot, ZERO);
    }
    assert_eq!(machine.orders(ZERO), [Order::Start(2)]);
    machine.start_failed(2, ZERO);
    assert_eq!(settle(&mut machine, ZERO), [Order::Stop(1), Order::Stop(0)]);
    assert_eq!(machine.phase(), State::Ended(Ended::BootFailed { slot: 2 }));
    assert_eq!(machine.child(2), Some(Phase::Idle { why: Why::StartFailed }));
}

#[test]
fn retry_tries_a_failed_first_start_again_and_goes_on_with_the_others() {
    let mut machine = Machine::new(spec(Strategy::OneForOne));
    machine.add(slow(Restart::Permanent));
    machine.add(child(Restart::Permanent));
    machine.boot().expect("fresh");
    assert_eq!(machine.orders(ZERO), [Order::Start(0)]);
    machine.start_failed(0, ZERO);
    assert_eq!(machine.orders(ZERO), [Order::Start(1)]);
    let until = machine.deadline().expect("waits");
    assert_eq!(machine.child(0), Some(Phase::Backoff { until, attempt: 1, held: false }));
    machine.started(1, ZERO);
    assert_eq!(settle(&mut machine, until), [Order::Start(0)]);
}

#[test]
fn one_for_one_restarts_alone_otp_permanent_normal_and_abnormal() {
    for how in [End::Normal, End::Abnormal] {
        let mut machine = up(spec(Strategy::OneForOne), &[child(Restart::Permanent); 3]);
        machine.ended(1, how, ZERO);
        assert_eq!(settle(&mut machine, ZERO), [Order::Start(1)]);
    }
}

#[test]
fn one_for_all_stops_in_reverse_and_starts_in_order_otp_one_for_all() {
    let mut machine = up(spec(Strategy::OneForAll), &[child(Restart::Permanent); 3]);
    machine.ended(1, End::Abnormal, ZERO);
    let log = settle(&mut machine, ZERO);
    use Order::{Start, Stop};
    assert_eq!(log, [Stop(2), Stop(0), Start(0), Start(1), Start(2)]);
    let report = machine.drain_reports().remove(0);
    let Report::Restarting { slot: 1, pulled_down, .. } = report else { panic!("{report:?}") };
    assert_eq!(pulled_down, [0, 2]);
}

#[test]
fn rest_for_one_takes_those_after_it_otp_rest_for_one() {
    let mut machine = up(spec(Strategy::RestForOne), &[child(Restart::Permanent); 4]);
    machine.ended(1, End::Abnormal, ZERO);
    use Order::{Start, Stop};
    let expected = [Stop(3), Stop(2), Start(1), Start(2), Start(3)];
    assert_eq!(settle(&mut machine, ZERO), expected);
}

#[test]
fn the_rest_waits_for_the_one_that_fails_otp_rest_for_one_other_child_fails_restart() {
    let mut machine = up(spec(Strategy::RestForOne), &[child(Restart::Permanent); 3]);
    machine.ended(0, End::Abnormal, ZERO);
    for stopped in [2, 1] {
        assert_eq!(machine.orders(ZERO), [Order::Stop(stopped)]);
        machine.ended(stopped, End::Normal, ZERO);
    }
    assert_eq!(machine.orders(ZERO), [Order::Start(0)]);
    machine.started(0, ZERO);
    assert_eq!(machine.orders(ZERO), [Order::Start(1)]);
    machine.start_failed(1, ZERO);
    assert_eq!(settle(&mut machine, ZERO), [Order::Start(1), Order::Start(2)]);
}

#[test]
fn a_transient_child_rests_after_a_normal_end_otp_transient_normal() {
    let mut machine = up(spec(Strategy::OneForOne), &[child(Restart::Transient)]);
    machine.ended(0, End::Normal, ZERO);
    assert!(settle(&mut machine, ZERO).is_empty());
    assert_eq!(machine.child(0), Some(Phase::Idle { why: Why::Ended(End::Normal) }));
    machine.start_child(0).expect("may be started by hand");
    assert_eq!(settle(&mut machine, ZERO), [Order::Start(0)]);
    machine.ended(0, End::Abnormal, ZERO);
    assert_eq!(settle(&mut machine, ZERO), [Order::Start(0)]);
}

#[test]
fn a_temporary_bystander_is_let_go_otp_temporary_bystander() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        let children = [child(Restart::Permanent), child(Restart::Temporary)];
        let mut machine = up(spec(strategy), &children);
        machine.ended(0, End::Abnormal, ZERO);
        assert_eq!(settle(&mut machine, ZERO), [Order::Stop(1), Order::Start(0)]);
        assert_eq!(machine.child(1), Some(Phase::Idle { why: Why::WithGroup }));
    }
}

#[test]
fn a_temporary_child_restarts_nobody_otp_temporary_abnormal() {
    let children = [child(Restart::Temporary), child(Restart::Permanent)];
    let mut machine = up(spec(Strategy::OneForAll), &children);
    machine.ended(0, End::Abnormal, ZERO);
    assert!(settle(&mut machine, ZERO).is_empty());
}

#[test]
fn a_group_restart_starts_those_stopped_by_hand_too() {
    let mut machine = up(spec(Strategy::OneForAll), &[child(Restart::Permanent); 2]);
    machine.stop_child(1).expect("known");
    assert_eq!(settle(&mut machine, ZERO), [Order::Stop(1)]);
    machine.ended(0, End::Abnormal, ZERO);
    assert_eq!(settle(&mut machine, ZERO), [Order::Start(0), Order::Start(1)]);
}

#[test]
fn a_group_restart_counts_once_otp_one_for_all_escalation() {
    let mut machine = up(spec(Strategy::OneForAll), &[child(Restart::Permanent); 5]);
    for _ in 0..3 {
        machine.ended(2, End::Abnormal, ZERO);
        settle(&mut machine, ZERO);
        assert_eq!(machine.phase(), State::Running);
    }
    machine.ended(2, End::Abnormal, ZERO);
    let log = settle(&mut machine, ZERO);
    assert_eq!(log, [Order::Stop(4), Order::Stop(3), Order::Stop(1), Order::Stop(0)]);
    let gave_up = Ended::GaveUp { restarts: 3, within: at(60) };
    assert_eq!(machine.phase(), State::Ended(gave_up));
    assert_eq!(machine.child(2), Some(Phase::Idle { why: Why::GaveUp }));
    assert_eq!(machine.child(0), Some(Phase::Idle { why: Why::WithGroup }));
}

#[test]
fn failed_restarts_count_otp_hanging_restart_loop() {
    let mut machine = up(spec(Strategy::OneForOne), &[child(Restart::Permanent); 2]);
    machine.ended(0, End::Abnormal, ZERO);
    for _ in 0..3 {
        assert_eq!(machine.orders(ZERO), [Order::Start(0)]);
        machine.start_failed(0, ZERO);
    }
    assert_eq!(settle(&mut machine, ZERO), [Order::Stop(1)]);
    assert!(matches!(machine.phase(), State::Ended(Ended::GaveUp { .. })));
}

#[test]
fn a_stop_by_hand_wins_over_a_restart_in_flight_otp_hanging_restart_loop() {
    let mut machine = up(spec(Strategy::OneForOne), &[child(Restart::Permanent)]);
    machine.ended(0, End::Abnormal, ZERO);
    assert_eq!(machine.orders(ZERO), [Order::Start(0)]);
    machine.stop_child(0).expect("known");
    assert_eq!(machine.orders(ZERO), [Order::Stop(0)]);
    machine.started(0, ZERO);
    assert_eq!(machine.child(0), Some(Phase::Stopping), "a late answer changes nothing");
    machine.ended(0, End::Abnormal, ZERO);
    assert!(machine.orders(ZERO).is_empty());
    assert_eq!(machine.child(0), Some(Phase::Idle { why: Why::ByHand }));
}

#[test]
fn a_start_by_hand_waits_for_the_stop_in_flight() {
    let mut machine = up(spec(Strategy::OneForOne), &[child(Restart::Permanent)]);
    machine.stop_child(0).expect("known");
    assert_eq!(machine.orders(ZERO), [Order::Stop(0)]);
    machine.start_child(0).expect("later command wins");
    assert!(machine.orders(ZERO).is_empty());
    machine.ended(0, End::Normal, ZERO);
    assert_eq!(settle(&mut machine, ZERO), [Order::Start(0)]);
    assert_eq!(machine.start_child(0), Err(Refusal::Running));
}

#[test]
fn a_start_by_hand_cancels_the_backoff_and_clears_the_window() {
    let mut machine = up(spec(Strategy::OneForOne), &[slow(Restart::Permanent)]);
    for _ in 0..3 {
        machine.ended(0, End::Abnormal, ZERO);
        assert!(machine.orders(ZERO).is_empty());
        let Some(Phase::Backoff { attempt: 1, .. }) = machine.child(0) else { panic!("waits") };
        machine.start_child(0).expect("waits");
        assert_eq!(settle(&mut machine, ZERO), [Order::Start(0)]);
        assert_eq!(machine.deadline(), None);
    }
    for _ in 0..3 {
        machine.ended(0, End::Abnormal, ZERO);
        let until = machine.deadline().expect("waits");
        settle(&mut machine, until);
    }
    assert_eq!(machine.phase(), State::Running, "six restarts, three since the last start by hand");
}

#[test]
fn a_group_waits_for_the_longest_delay_and_a_crash_meanwhile_joins() {
    let mut machine = up(spec(Strategy::RestForOne), &[slow(Restart::Permanent); 3]);
    machine.ended(1, End::Abnormal, ZERO);
    assert_eq!(settle(&mut machine, ZERO), [Order::Stop(2)]);
    assert_eq!(machine.child(2), Some(Phase::Queued));
    let first = machine.deadline().expect("waits");
    let later = at(5).min(first / 2);
    machine.ended(0, End::Abnormal, later);
    assert!(settle(&mut machine, later).is_empty());
    let waits = |machine: &Machine, slot| match machine.child(slot) {
        Some(Phase::Backoff { until, .. }) => until,
        other => panic!("{other:?}"),
    };
    let longest = waits(&machine, 0).max(waits(&machine, 1));
    let shortest = machine.deadline().expect("waits");
    assert!(shortest < longest);
    assert!(settle(&mut machine, shortest).is_empty());
    let expected = [Order::Start(0), Order::Start(1), Order::Start(2)];
    assert_eq!(settle(&mut machine, longest), expected);
}

#[test]
fn a_start_by_hand_hurries_the_whole_plan() {
    let mut machine = up(spec(Strategy::RestForOne), &[slow(Restart::Permanent); 2]);
    machine.ended(0, End::Abnormal, ZERO);
    assert_eq!(settle(&mut machine, ZERO), [Order::Stop(1)]);
    machine.start_child(1).expect("queued");
    assert_eq!(settle(&mut machine, ZERO), [Order::Start(0), Order::Start(1)]);
}

#[test]
fn hold_never_gives_up_and_waits_the_longest_delay() {
    let hold = Intensity { restarts: 1, within: at(60), then: OnLimit::Hold };
    let mut machine =
        up(Spec { intensity: hold, ..spec(Strategy::OneForOne) }, &[slow(Restart::Permanent)]);
    let mut now = ZERO;
    for attempt in 1..=4 {
        machine.ended(0, End::Abnormal, now);
        let until = machine.deadline().expect("waits");
        let held = attempt > 1;
        assert_eq!(machine.child(0), Some(Phase::Backoff { until, attempt, held }));
        if held {
            assert_eq!(until, now + at(10));
        }
        now = until;
        assert_eq!(settle(&mut machine, now), [Order::Start(0)]);
    }
}

#[test]
fn healthy_time_makes_the_next_delay_the_first_again() {
    let mut machine = up(spec(Strategy::OneForOne), &[slow(Restart::Permanent)]);
    let attempt = |machine: &Machine| match machine.child(0) {
        Some(Phase::Backoff { attempt, .. }) => attempt,
        other => panic!("{other:?}"),
    };
    machine.ended(0, End::Abnormal, at(1));
    settle(&mut machine, at(20));
    machine.ended(0, End::Abnormal, at(21));
    assert_eq!(attempt(&machine), 2);
    settle(&mut machine, at(40));
    machine.ended(0, End::Abnormal, at(140));
    assert_eq!(attempt(&machine), 1);
}

#[test]
fn significant_children_end_the_supervisor_otp_auto_shutdown() {
    let significant = ChildSpec { significant: true, ..child(Restart::Transient) };
    let children = [significant, significant, child(Restart::Permanent)];
    let any = Spec { auto_shutdown: AutoShutdown::AnySignificant, ..spec(Strategy::OneForOne) };
    let mut machine = up(any, &children);
    machine.ended(0, End::Normal, ZERO);
    assert_eq!(settle(&mut machine, ZERO), [Order::Stop(2), Order::Stop(1)]);
    assert_eq!(machine.phase(), State::Ended(Ended::AutoShutdown { slot: 0 }));

    let all = Spec { auto_shutdown: AutoShutdown::AllSignificant, ..spec(Strategy::OneForOne) };
    let mut machine = up(all, &children);
    machine.ended(0, End::Normal, ZERO);
    assert!(settle(&mut machine, ZERO).is_empty());
    machine.ended(1, End::Normal, ZERO);
    assert_eq!(settle(&mut machine, ZERO), [Order::Stop(2)]);
}

#[test]
fn only_an_end_of_its_own_counts_for_auto_shutdown() {
    let significant = ChildSpec { significant: true, ..child(Restart::Transient) };
    let any = Spec { auto_shutdown: AutoShutdown::AnySignificant, ..spec(Strategy::OneForAll) };
    let mut machine = up(any, &[significant, child(Restart::Permanent)]);
    machine.stop_child(0).expect("known");
    settle(&mut machine, ZERO);
    assert_eq!(machine.phase(), State::Running, "stopped by hand");
    machine.ended(1, End::Abnormal, ZERO);
    settle(&mut machine, ZERO);
    machine.ended(1, End::Abnormal, ZERO);
    settle(&mut machine, ZERO);
    assert_eq!(machine.phase(), State::Running, "stopped with its group");
    machine.ended(0, End::Abnormal, ZERO);
    settle(&mut machine, ZERO);
    assert_eq!(machine.phase(), State::Running, "restarted");
}

#[test]
fn one_that_waits_to_be_restarted_still_counts_as_active() {
    let significant = ChildSpec { significant: true, ..slow(Restart::Transient) };
    let all = Spec { auto_shutdown: AutoShutdown::AllSignificant, ..spec(Strategy::OneForOne) };
    let mut machine = up(all, &[significant; 2]);
    machine.ended(0, End::Abnormal, ZERO);
    machine.ended(1, End::Normal, ZERO);
    assert!(settle(&mut machine, ZERO).is_empty());
    assert_eq!(machine.phase(), State::Running);
}

#[test]
fn shutdown_cancels_what_waits_and_stops_what_starts() {
    let children = [child(Restart::Permanent), slow(Restart::Permanent), child(Restart::Permanent)];
    let mut machine = up(spec(Strategy::OneForOne), &children);
    machine.ended(1, End::Abnormal, ZERO);
    machine.ended(2, End::Abnormal, ZERO);
    assert_eq!(machine.orders(ZERO), [Order::Start(2)]);
    machine.shutdown();
    assert_eq!(machine.deadline(), None);
    assert_eq!(machine.start_child(1), Err(Refusal::ShuttingDown));
    assert_eq!(settle(&mut machine, ZERO), [Order::Stop(2), Order::Stop(0)]);
    assert_eq!(machine.phase(), State::Ended(Ended::Shutdown));
}

#[test]
fn code_change_keeps_what_runs_under_the_new_spec() {
    let mut machine = up(spec(Strategy::OneForOne), &[child(Restart::Permanent); 2]);
    machine.update(spec(Strategy::OneForAll));
    machine.update_child(0, child(Restart::Temporary)).expect("known");
    let new = machine.insert(0, child(Restart::Permanent));
    machine.reorder(&[1]);
    assert_eq!(machine.slots(), [1, new, 0]);
    assert!(settle(&mut machine, ZERO).is_empty(), "nothing is started or stopped");
    machine.ended(1, End::Abnormal, ZERO);
    let expected = [Order::Stop(0), Order::Start(1), Order::Start(new)];
    assert_eq!(settle(&mut machine, ZERO), expected);
}

#[test]
fn a_child_is_removed_only_when_it_rests() {
    let mut machine = up(spec(Strategy::OneForOne), &[child(Restart::Permanent); 2]);
    assert_eq!(machine.remove(0), Err(Refusal::Running));
    machine.stop_child(0).expect("known");
    settle(&mut machine, ZERO);
    machine.remove(0).expect("rests");
    assert_eq!(machine.child(0), None);
    assert_eq!(machine.stop_child(0), Err(Refusal::Unknown));
    assert_eq!(machine.add(child(Restart::Permanent)), 0, "the slot is given out again");
    assert_eq!(machine.slots(), [1, 0]);
}

#[test]
fn an_adopted_child_is_up_without_an_order() {
    let mut machine = Machine::new(spec(Strategy::OneForOne));
    (0..2).for_each(|_| _ = machine.add(child(Restart::Permanent)));
    machine.adopt(0, at(3)).expect("down");
    assert_eq!(machine.child(0), Some(Phase::Up { since: at(3) }));
    machine.boot().expect("fresh");
    assert_eq!(settle(&mut machine, at(3)), [Order::Start(1)]);
    machine.ended(0, End::Abnormal, at(4));
    assert_eq!(settle(&mut machine, at(4)), [Order::Start(0)]);
}

#[test]
fn one_that_gave_up_is_revived_by_a_start_by_hand() {
    let mut machine = up(spec(Strategy::OneForOne), &[child(Restart::Permanent)]);
    for _ in 0..4 {
        machine.ended(0, End::Abnormal, ZERO);
        settle(&mut machine, ZERO);
    }
    assert!(matches!(machine.phase(), State::Ended(Ended::GaveUp { .. })));
    machine.start_child(0).expect("revived");
    assert_eq!(settle(&mut machine, ZERO), [Order::Start(0)]);
    assert_eq!(machine.phase(), State::Running);
}

#[test]
fn reports_nobody_takes_do_not_pile_up() {
    let hold = Intensity { restarts: 0, within: at(1), then: OnLimit::Hold };
    let mut machine =
        up(Spec { intensity: hold, ..spec(Strategy::OneForOne) }, &[child(Restart::Permanent)]);
    for _ in 0..1000 {
        machine.ended(0, End::Abnormal, ZERO);
        settle(&mut machine, ZERO);
    }
    assert_eq!(machine.drain_reports().len(), super::REPORTS);
}
