//! What follows from starts, failures and ends: OTP's rules, named after its own tests where there is one.

use super::{ZERO, at, child, settle, slow, spec, up};
use crate::supervision::machine::{
    Boot, ChildSpec, End, Ended, Machine, Order, Phase, Report, Spec, State, Why,
};
use crate::types::policy::{AutoShutdown, Restart, Strategy};

#[test]
fn a_machine_is_small() {
    assert!(size_of::<Machine>() <= 250, "machine {}", size_of::<Machine>());
    assert!(
        size_of::<Option<crate::supervision::machine::Child>>() <= 128,
        "child {}",
        size_of::<crate::supervision::machine::Child>()
    );
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
fn all_go_down_again_when_one_fails_otp_one_for_all_other_child_fails_restart() {
    use Order::{Start, Stop};
    let mut machine = up(spec(Strategy::OneForAll), &[child(Restart::Permanent); 3]);
    machine.ended(2, End::Abnormal, ZERO);
    for stopped in [1, 0] {
        assert_eq!(machine.orders(ZERO), [Stop(stopped)]);
        machine.ended(stopped, End::Normal, ZERO);
    }
    assert_eq!(machine.orders(ZERO), [Start(0)]);
    machine.started(0, ZERO);
    assert_eq!(machine.orders(ZERO), [Start(1)]);
    machine.start_failed(1, ZERO);
    assert_eq!(settle(&mut machine, ZERO), [Stop(0), Start(0), Start(1), Start(2)]);
}

#[test]
fn a_failed_first_start_disturbs_nobody_and_loses_no_temporary_child() {
    let children = [child(Restart::Permanent); 3];
    let children = [children[0], children[1], child(Restart::Temporary)];
    let mut machine = Machine::new(spec(Strategy::OneForAll));
    children.into_iter().for_each(|child| _ = machine.add(child));
    machine.boot().expect("fresh");
    assert_eq!(machine.orders(ZERO), [Order::Start(0)]);
    machine.started(0, ZERO);
    assert_eq!(machine.orders(ZERO), [Order::Start(1)]);
    for _ in 0..2 {
        machine.start_failed(1, ZERO);
        assert_eq!(machine.orders(ZERO), [Order::Start(1)]);
    }
    machine.started(1, ZERO);
    assert_eq!(settle(&mut machine, ZERO), [Order::Start(2)]);
}

#[test]
fn a_child_with_nothing_to_do_rests_and_the_others_go_on_otp_ignore() {
    let mut machine = Machine::new(spec(Strategy::RestForOne));
    (0..2).for_each(|_| _ = machine.add(child(Restart::Permanent)));
    machine.boot().expect("fresh");
    assert_eq!(machine.orders(ZERO), [Order::Start(0)]);
    machine.ignored(0);
    assert_eq!(machine.child(0), Some(Phase::Idle { why: Why::Ignored }));
    assert_eq!(settle(&mut machine, ZERO), [Order::Start(1)]);
    machine.start_child(0).expect("known and down");
    assert_eq!(settle(&mut machine, ZERO), [Order::Start(0)]);
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
