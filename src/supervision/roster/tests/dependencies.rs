//! Who waits for whom, and who goes with whom.

use super::{Stage, member_spec, name, parse, slowly};
use crate::supervision::machine::{Phase, Why};
use crate::supervision::roster::{Cause, Notice, Waits};

#[test]
fn a_start_waits_for_what_it_requires() {
    let mut stage = Stage::of(&["web: db", "db: disk", "disk"]);
    assert_eq!(stage.told(), "+disk");
    assert_eq!(stage.waits("web"), Some(Waits::Requirement(name("db"))));
    assert_eq!(stage.waits("db"), Some(Waits::Requirement(name("disk"))));
    stage.started("disk");
    assert_eq!(stage.settle(), "+db +web");
}

#[test]
fn what_comes_after_waits_for_the_turn_and_no_longer() {
    let mut stage = Stage::of(&["b: ; a", "a"]);
    assert_eq!(stage.told(), "+a");
    assert_eq!(stage.waits("b"), Some(Waits::Turn(name("a"))));
    stage.started("a");
    assert_eq!(stage.settle(), "+b");
    stage.stop("a");
    assert_eq!(stage.settle(), "-a", "only an order");
    stage.failed("b");
    assert_eq!(stage.settle(), "+b", "what rests has had its turn");
}

#[test]
fn the_turn_of_what_retries_is_not_over_until_it_is_stopped() {
    let mut stage = Stage::new();
    let mut first = member_spec("a");
    first.child.backoff = slowly();
    let scope = stage.alone(first);
    stage.with(&["b: ; a"]);
    stage.roster.boot_scope(scope);
    assert_eq!(stage.told(), "+a");
    stage.failed("a");
    assert_eq!(stage.told(), "");
    assert!(matches!(stage.phase("a"), Phase::Backoff { .. }));
    stage.stop("a");
    assert_eq!(stage.told(), "+b", "a stop without an end is an event too");
}

#[test]
fn who_waits_for_somebody_to_act_has_had_its_turn() {
    let mut stage = Stage::new();
    stage.alone(member_spec("disk"));
    stage.with(&["db: disk", "web: db", "log: ; web"]);
    assert_eq!(stage.settle(), "+log");
    assert_eq!(stage.waits("db"), Some(Waits::MissingRequirement(name("disk"))));
    assert_eq!(stage.waits("web"), Some(Waits::MissingRequirement(name("db"))));
    stage.start("web");
    assert_eq!(stage.settle(), "+disk +db +web", "at any distance");
}

#[test]
fn a_turn_that_never_comes_is_not_waited_for_whoever_is_looked_at_first() {
    let mut stage = Stage::new();
    stage.alone(member_spec("disk"));
    stage.with(&["log: ; db", "db: disk"]);
    assert_eq!(stage.settle(), "+log");
    stage.stop("db");
    assert_eq!(stage.settle(), "");
}

#[test]
fn a_name_nobody_has_is_a_missing_requirement_but_no_turn() {
    let mut stage = Stage::of(&["a: ghost", "b: ; ghost"]);
    assert_eq!(stage.settle(), "+b");
    assert_eq!(stage.waits("a"), Some(Waits::MissingRequirement(name("ghost"))));
}

#[test]
fn a_stop_takes_those_that_require_it_and_they_return_with_it() {
    let mut stage = Stage::of(&["db", "web: db", "mail: web", "log: ; db"]);
    stage.settle();
    stage.stop("db");
    assert_eq!(stage.settle(), "-mail -web -db");
    let pulled = stage.roster.take_notices();
    let by = |member, need| Notice::PulledDown {
        member: stage.id(member),
        cause: Cause::Requirement(stage.id(need)),
    };
    assert_eq!(pulled, [by("web", "db"), by("mail", "web")]);
    assert_eq!(stage.waits("web"), Some(Waits::MissingRequirement(name("db"))));
    assert!(stage.is_up("log"));
    stage.start("db");
    assert_eq!(stage.settle(), "+db +web +mail");
}

#[test]
fn a_restart_by_hand_takes_those_that_require_it() {
    let mut stage = Stage::of(&["db", "web: db"]);
    stage.settle();
    stage.roster.restart(stage.id("db")).expect("runs");
    assert_eq!(stage.told(), "-web");
    assert_eq!(stage.waits("web"), None);
    stage.ended("web");
    assert_eq!(stage.told(), "-db");
    assert_eq!(stage.waits("web"), Some(Waits::Requirement(name("db"))), "it comes back by itself");
    stage.ended("db");
    assert_eq!(stage.settle(), "+db +web");
}

#[test]
fn a_failure_that_is_tried_again_takes_nobody() {
    let mut stage = Stage::of(&["db", "web: db"]);
    stage.settle();
    stage.failed("db");
    assert_eq!(stage.settle(), "+db");
    assert!(stage.is_up("web"));
}

#[test]
fn giving_up_takes_those_that_require_it() {
    let mut stage = Stage::of(&["db", "web: db"]);
    stage.settle();
    for _ in 0..3 {
        stage.failed("db");
        assert_eq!(stage.settle(), "+db");
    }
    stage.failed("db");
    assert_eq!(stage.settle(), "-web");
    assert_eq!(stage.waits("web"), Some(Waits::MissingRequirement(name("db"))));
}

#[test]
fn a_restart_waits_when_its_requirement_is_down() {
    let mut stage = Stage::of(&["db", "web: db"]);
    stage.settle();
    stage.failed("db");
    stage.failed("web");
    assert_eq!(stage.told(), "+db");
    assert_eq!(stage.waits("web"), Some(Waits::Requirement(name("db"))));
    stage.started("db");
    assert_eq!(stage.settle(), "+web");
}

#[test]
fn those_behind_one_that_waits_go_too() {
    let mut stage = Stage::new();
    let mut web = parse("web: db");
    web.child.backoff = slowly();
    let scope = stage.alone(web);
    stage.with(&["db", "mail: web"]);
    stage.roster.boot_scope(scope);
    stage.settle();
    stage.failed("web");
    assert_eq!(stage.settle(), "");
    assert!(stage.is_up("mail"), "web comes back");
    stage.stop("db");
    assert_eq!(stage.settle(), "-db -mail", "web cannot come back now");
}

#[test]
fn a_diamond_stops_from_the_far_end_each_once() {
    let mut stage = Stage::of(&["a", "b: a", "c: a", "d: b, c"]);
    stage.settle();
    stage.stop("a");
    assert_eq!(stage.settle(), "-d -b -c -a");
    assert_eq!(stage.roster.take_notices().len(), 3);
}

#[test]
fn what_completed_passes_nothing_on() {
    let mut stage = Stage::new();
    let mut prepare = parse("prepare: db");
    (prepare.completes, prepare.child.restart) = (true, crate::types::policy::Restart::Transient);
    let scope = stage.alone(prepare);
    stage.with(&["db", "web: prepare"]);
    stage.roster.boot_scope(scope);
    stage.settle();
    stage.ended("prepare");
    stage.settle();
    stage.stop("db");
    assert_eq!(stage.settle(), "-db");
    assert!(stage.is_up("web"));
}

#[test]
fn one_stopped_by_hand_does_not_return_with_its_requirement() {
    let mut stage = Stage::of(&["db", "web: db"]);
    stage.settle();
    stage.stop("web");
    stage.stop("db");
    assert_eq!(stage.settle(), "-web -db");
    stage.start("db");
    assert_eq!(stage.settle(), "+db");
    assert_eq!(stage.phase("web"), Phase::Idle { why: Why::ByHand });
}

#[test]
fn new_requirements_hold_for_the_next_start() {
    let mut stage = Stage::of(&["db", "web: db", "cache"]);
    assert_eq!(stage.told(), "+db +cache");
    let web = stage.id("web");
    stage.roster.update_member(web, parse("web: cache"));
    stage.roster.connect();
    assert_eq!(stage.told(), "");
    assert_eq!(stage.waits("web"), Some(Waits::Requirement(name("cache"))));
    stage.started("cache");
    assert_eq!(stage.told(), "+web");
    stage.started("web");
    stage.roster.update_member(web, parse("web"));
    stage.roster.connect();
    stage.stop("cache");
    assert_eq!(stage.told(), "-cache", "it does not need it any more");
}

#[test]
fn a_long_chain_needs_no_deep_stack() {
    let lines: Vec<String> = (0..5000)
        .map(|number| match number {
            0 => "n0".to_owned(),
            _ => format!("n{number}: n{}", number - 1),
        })
        .collect();
    let mut stage = Stage::new();
    for line in &lines {
        stage.alone(parse(line));
    }
    stage.roster.connect();
    // Two megabytes, as a worker thread of the runtime has.
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        stage.start("n4999");
        stage.settle();
        assert!(stage.is_up("n4999"));
        stage.stop("n0");
        assert!(stage.settle().starts_with("-n4999 -n4998 "));
        stage.start("n0");
        stage.settle();
        stage.roster.shutdown();
        assert!(stage.settle().ends_with(" -n1 -n0"));
    });
    thread.expect("a thread").join().expect("no overflow");
}
