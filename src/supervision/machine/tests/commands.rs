//! Commands by hand, delays, the limit, shutdown, new specs.

use super::{ZERO, at, child, settle, slow, spec, up};
use crate::supervision::machine::{End, Ended, Machine, Order, Phase, Refusal, Spec, State, Why};
use crate::types::policy::{Intensity, OnLimit, Restart, Strategy};

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
    assert_eq!(machine.drain_reports().len(), crate::supervision::machine::REPORTS);
}

#[test]
fn a_start_that_fails_while_its_stop_is_due_counts_nothing() {
    let spec = Spec { parallel_start: true, ..spec(Strategy::OneForAll) };
    let mut machine = Machine::new(spec);
    (0..2).for_each(|_| _ = machine.add(child(Restart::Permanent)));
    machine.boot().expect("fresh");
    assert_eq!(machine.orders(ZERO), [Order::Start(0), Order::Start(1)]);
    machine.started(1, ZERO);
    machine.shutdown();
    assert_eq!(machine.orders(ZERO), [Order::Stop(1)]);
    machine.start_failed(0, ZERO);
    machine.ended(1, End::Normal, ZERO);
    assert!(machine.orders(ZERO).is_empty());
    assert_eq!(machine.phase(), State::Ended(Ended::Shutdown));
    assert!(machine.drain_reports().is_empty());
}
