//! Starts, permits, answers: one member at a time.

use super::{Stage, ZERO, member_spec, parse, seconds, slowly};
use crate::supervision::machine::{End, Ended, Phase, Refusal, Why};
use crate::supervision::roster::{Command, MemberSpec, Notice, Waits};
use crate::types::policy::Restart;

#[test]
fn at_most_so_many_start_at_once_first_come_first_served() {
    let mut stage = Stage::of(&["a", "b", "c"]);
    stage.roster.set_parallel_starts(1);
    assert_eq!(stage.told(), "+a");
    assert_eq!(stage.waits("b"), Some(Waits::Permit));
    stage.started("a");
    assert_eq!(stage.told(), "+b");
    stage.failed("b");
    assert_eq!(stage.told(), "+c", "who failed goes to the end of the queue");
    stage.started("c");
    assert_eq!(stage.told(), "+b");
}

#[test]
fn more_permits_let_more_through_at_once() {
    let mut stage = Stage::of(&["a", "b", "c"]);
    stage.roster.set_parallel_starts(0);
    assert_eq!(stage.told(), "+a", "one at least");
    stage.roster.set_parallel_starts(9);
    assert_eq!(stage.told(), "+b +c");
}

#[test]
fn a_permit_is_held_until_the_answer_and_given_back_once() {
    let mut stage = Stage::of(&["a", "b", "c"]);
    stage.roster.set_parallel_starts(1);
    assert_eq!(stage.told(), "+a");
    stage.stop("a");
    assert_eq!(stage.told(), "-a", "told to stop, its start is not answered yet");
    stage.ended("a");
    stage.started("a");
    stage.ended("a");
    assert_eq!(stage.told(), "+b", "one permit, however many answers");
    assert_eq!(stage.told(), "");
}

#[test]
fn one_whose_start_is_its_work_does_not_keep_the_others_waiting() {
    let mut stage = Stage::new();
    let scope = stage.alone(MemberSpec { completes: true, ..transient("backup") });
    stage.roster.boot_scope(scope);
    stage.with(&["web", "report: backup"]);
    stage.roster.set_parallel_starts(1);
    assert_eq!(stage.told(), "+backup");
    stage.roster.under_way(stage.id("backup"));
    stage.roster.under_way(stage.id("backup"));
    assert_eq!(stage.told(), "+web", "one permit given back once");
    stage.started("web");
    assert_eq!(stage.told(), "", "not completed yet");
    stage.ended("backup");
    assert_eq!(stage.told(), "+report");
}

#[test]
fn a_member_that_waits_for_a_permit_loses_its_place_with_its_requirement() {
    let mut stage = Stage::of(&["db", "slow", "web: db"]);
    stage.roster.set_parallel_starts(2);
    assert_eq!(stage.told(), "+db +slow");
    stage.roster.set_parallel_starts(1);
    stage.started("db");
    assert_eq!(stage.told(), "");
    assert_eq!(stage.waits("web"), Some(Waits::Permit));
    stage.stop("db");
    assert_eq!(stage.told(), "-db");
    assert_eq!(stage.waits("web"), Some(Waits::MissingRequirement(super::name("db"))));
    stage.started("slow");
    assert_eq!(stage.told(), "", "a permit alone is not enough any more");
}

#[test]
fn a_stop_before_the_driver_knew_is_done_at_once() {
    let mut stage = Stage::of(&["db", "web: db"]);
    assert_eq!(stage.told(), "+db");
    stage.stop("web");
    assert_eq!(stage.told(), "");
    assert_eq!(stage.phase("web"), Phase::Idle { why: Why::ByHand });
    stage.started("db");
    assert_eq!(stage.told(), "");
}

#[test]
fn late_and_double_answers_count_for_nothing() {
    let mut stage = Stage::of(&["db", "web: db"]);
    assert_eq!(stage.told(), "+db");
    stage.failed("web");
    stage.roster.start_failed(stage.id("web"), ZERO);
    stage.started("web");
    assert_eq!(stage.told(), "");
    assert_eq!(stage.waits("web"), Some(Waits::Requirement(super::name("db"))), "still gated");
    stage.started("db");
    assert_eq!(stage.told(), "+web");
    stage.started("web");
    stage.stop("web");
    assert_eq!(stage.told(), "-web");
    stage.ended("web");
    stage.ended("web");
    stage.roster.started(77, ZERO);
    stage.roster.ended(77, End::Normal, ZERO);
    assert_eq!(stage.told(), "");
    assert_eq!(stage.phase("web"), Phase::Idle { why: Why::ByHand });
}

#[test]
fn an_end_on_the_way_answers_the_stop_that_it_crossed() {
    let mut stage = Stage::of(&["a"]);
    stage.settle();
    stage.roster.restart(0).expect("runs");
    assert_eq!(stage.told(), "-a");
    stage.failed("a");
    assert_eq!(stage.told(), "+a");
}

#[test]
fn a_waiting_member_has_one_deadline_however_often_it_is_asked() {
    let mut spec = member_spec("a");
    spec.child.backoff = slowly();
    let mut stage = Stage::new();
    let scope = stage.alone(spec);
    stage.roster.boot_scope(scope);
    stage.settle();
    stage.failed("a");
    let due = {
        stage.told();
        stage.roster.deadline().expect("waits")
    };
    for _ in 0..1000 {
        stage.roster.update_member(0, MemberSpec { child: parse("a").child, ..member_spec("a") });
        assert_eq!(stage.told(), "");
    }
    assert_eq!(stage.roster.deadlines.len(), 1);
    stage.now = due;
    assert_eq!(stage.told(), "+a");
    assert_eq!(stage.roster.deadline(), None);
}

#[test]
fn a_start_by_hand_ends_the_delay_and_its_deadline() {
    let mut spec = member_spec("a");
    spec.child.backoff = slowly();
    let mut stage = Stage::new();
    let scope = stage.alone(spec);
    stage.roster.boot_scope(scope);
    stage.settle();
    stage.failed("a");
    assert_eq!(stage.told(), "");
    stage.start("a");
    assert_eq!(stage.told(), "+a");
    assert_eq!(stage.roster.deadline(), None);
}

#[test]
fn who_gives_up_says_so_and_comes_back_by_hand() {
    let mut stage = Stage::of(&["a"]);
    stage.settle();
    for _ in 0..4 {
        stage.failed("a");
        stage.settle();
    }
    assert!(matches!(stage.phase("a"), Phase::Idle { why: Why::GaveUp }));
    let because = Ended::GaveUp { restarts: 3, within: seconds(60) };
    let notice = Notice::Ending { group: None, member: 0, because };
    assert_eq!(stage.roster.take_notices(), [notice]);
    assert_eq!(stage.roster.scope_ended(0), Some(because));
    stage.start("a");
    assert_eq!(stage.settle(), "+a");
}

#[test]
fn one_found_running_is_up_without_a_start() {
    let mut stage = Stage::new();
    let scope = stage.alone(member_spec("db"));
    stage.alone(parse("web: db"));
    stage.roster.connect();
    stage.roster.adopt(stage.id("db"), ZERO);
    stage.roster.boot_scope(scope);
    stage.start("web");
    assert_eq!(stage.settle(), "+web");
    stage.roster.adopt(stage.id("db"), ZERO);
    assert!(stage.is_up("db"));
}

#[test]
fn a_oneshot_that_ended_is_up_for_those_that_need_it() {
    let oneshot = || MemberSpec { completes: true, ..transient("prepare") };
    let mut stage = Stage::new();
    let scope = stage.alone(oneshot());
    stage.with(&["web: prepare", "log: ; prepare"]);
    stage.roster.boot_scope(scope);
    assert_eq!(stage.told(), "+prepare");
    stage.failed("prepare");
    assert_eq!(stage.told(), "+prepare", "tried again, nobody went ahead");
    stage.ended("prepare");
    assert_eq!(stage.settle(), "+web +log");
    assert_eq!(stage.phase("prepare"), Phase::Idle { why: Why::Ended(End::Normal) });
    stage.stop("prepare");
    assert_eq!(stage.settle(), "", "nothing to stop");
    stage.start("prepare");
    assert_eq!(stage.told(), "+prepare", "again; who runs keeps running");
    stage.failed("web");
    assert_eq!(stage.told(), "");
    assert_eq!(stage.waits("web"), Some(Waits::Requirement(super::name("prepare"))));
    stage.ended("prepare");
    assert_eq!(stage.settle(), "+web");
}

#[test]
fn a_oneshot_that_was_told_to_stop_has_not_done_its_work() {
    let mut stage = Stage::new();
    let scope = stage.alone(MemberSpec { completes: true, ..transient("prepare") });
    stage.with(&["web: prepare"]);
    stage.roster.boot_scope(scope);
    assert_eq!(stage.told(), "+prepare");
    stage.stop("prepare");
    assert_eq!(stage.told(), "-prepare");
    stage.ended("prepare");
    assert_eq!(stage.told(), "");
    assert_eq!(stage.waits("web"), Some(Waits::MissingRequirement(super::name("prepare"))));
}

#[test]
fn nothing_starts_once_everything_shuts_down() {
    let mut stage = Stage::of(&["a", "b"]);
    stage.settle();
    stage.stop("a");
    stage.settle();
    stage.roster.shutdown();
    assert_eq!(stage.told(), "-b");
    assert_eq!(stage.roster.start(0), Err(Refusal::ShuttingDown));
    assert_eq!(stage.roster.restart(1), Err(Refusal::ShuttingDown));
    stage.roster.boot_scope(0);
    stage.roster.restart_scope(1);
    let scope = stage.alone(member_spec("late"));
    stage.roster.boot_scope(scope);
    assert_eq!(stage.told(), "");
    assert!(!stage.roster.is_empty());
    stage.ended("b");
    assert_eq!(stage.told(), "");
    assert!(stage.roster.is_empty());
}

#[test]
fn a_shutdown_takes_those_that_start_and_those_that_wait() {
    let mut stage = Stage::of(&["a", "b: a", "c"]);
    stage.roster.set_parallel_starts(1);
    assert_eq!(stage.told(), "+a");
    stage.roster.shutdown();
    assert_eq!(stage.told(), "-a");
    stage.started("a");
    assert_eq!(stage.told(), "", "too late");
    stage.failed("a");
    assert_eq!(stage.told(), "");
    assert!(stage.roster.is_empty());
}

#[test]
fn numbers_are_never_used_again() {
    let mut stage = Stage::of(&["a"]);
    stage.settle();
    stage.roster.retire(0);
    assert_eq!(stage.settle(), "-a !a");
    let scope = stage.alone(member_spec("a"));
    assert_eq!((scope, stage.id("a")), (1, 1));
    assert_eq!(stage.roster.commands(ZERO), Vec::<Command>::new());
}

fn transient(text: &str) -> MemberSpec {
    let mut spec = member_spec(text);
    spec.child.restart = Restart::Transient;
    spec
}
