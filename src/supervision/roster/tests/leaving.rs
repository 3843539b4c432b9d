//! Members that retire, and groups that are removed.

use super::{Stage, ZERO, member_spec, name, parse, slowly};
use crate::supervision::machine::{Phase, Refusal};
use crate::supervision::roster::Waits;
use crate::types::policy::Strategy;

#[test]
fn retires_from_everywhere() {
    let mut spec = member_spec("a");
    spec.child.backoff = slowly();
    let begin = || {
        let mut stage = Stage::new();
        let scope = stage.alone(spec.clone());
        stage.roster.boot_scope(scope);
        stage
    };
    // Never started.
    let mut stage = Stage::new();
    stage.alone(spec.clone());
    stage.roster.retire(0);
    assert_eq!(stage.settle(), "!a");
    // Its start not looked at yet.
    let mut stage = begin();
    stage.roster.retire(0);
    assert_eq!(stage.settle(), "!a");
    // Starting.
    let mut stage = begin();
    assert_eq!(stage.told(), "+a");
    stage.roster.retire(0);
    assert_eq!(stage.told(), "-a");
    stage.roster.start_failed(0, ZERO);
    assert_eq!(stage.told(), "!a");
    // In backoff.
    let mut stage = begin();
    stage.settle();
    stage.failed("a");
    assert_eq!(stage.told(), "");
    stage.roster.retire(0);
    assert_eq!(stage.told(), "!a");
    assert_eq!(stage.roster.deadline(), None);
    // Already stopping.
    let mut stage = begin();
    stage.settle();
    stage.stop("a");
    assert_eq!(stage.told(), "-a");
    stage.roster.retire(0);
    stage.roster.retire(0);
    assert_eq!(stage.told(), "");
    stage.ended("a");
    assert_eq!(stage.told(), "!a");
    assert_eq!(stage.roster.child_phase(0), None);
    assert!(stage.roster.scopes.is_empty() && stage.roster.members.is_empty());
}

#[test]
fn retires_while_gated() {
    let mut stage = Stage::of(&["db", "web: db"]);
    assert_eq!(stage.told(), "+db");
    stage.roster.retire(stage.id("web"));
    assert_eq!(stage.told(), "!web");
    assert_eq!(stage.settle(), "");
}

#[test]
fn two_that_need_each_other_retire_together_in_either_order() {
    for first in ["db", "web"] {
        let mut stage = Stage::of(&["db", "web: db"]);
        stage.settle();
        let second = if first == "db" { "web" } else { "db" };
        stage.roster.retire(stage.id(first));
        stage.roster.retire(stage.id(second));
        stage.roster.connect();
        assert_eq!(stage.settle(), "-web !web -db !db");
        assert!(stage.roster.by_name.is_empty());
    }
}

#[test]
fn one_that_leaves_is_not_started_any_more() {
    let mut stage = Stage::new();
    let scope = stage.group("shop", Strategy::OneForAll, vec![member_spec("a"), member_spec("b")]);
    stage.roster.boot_scope(scope);
    stage.settle();
    stage.roster.retire(0);
    stage.roster.boot_scope(scope);
    assert_eq!(stage.roster.start(0), Err(Refusal::Unknown));
    assert_eq!(stage.roster.restart(0), Err(Refusal::Unknown));
    stage.failed("b");
    assert_eq!(stage.settle(), "-a !a +b");
    assert_eq!(stage.roster.members_of(scope), [1]);
}

#[test]
fn a_member_that_is_replaced_takes_its_dependents_and_they_wait_for_the_next() {
    let mut stage = Stage::of(&["db", "web: db"]);
    stage.settle();
    stage.roster.retire(0);
    stage.roster.connect();
    assert_eq!(stage.settle(), "-web -db !db");
    assert_eq!(stage.waits("web"), Some(Waits::MissingRequirement(name("db"))));
    stage.with(&["db"]);
    assert_eq!(stage.settle(), "+db +web");
}

#[test]
fn a_retiring_member_of_a_stopping_group_leaves_with_it() {
    let mut stage = Stage::new();
    let scope = stage.group("shop", Strategy::OneForAll, vec![member_spec("a"), member_spec("b")]);
    stage.roster.boot_scope(scope);
    stage.settle();
    stage.roster.stop_scope(scope);
    stage.roster.boot_scope(scope);
    stage.roster.retire(0);
    assert_eq!(stage.settle(), "-b -a !a +b");
}

#[test]
fn a_removed_group_goes_with_its_last_member() {
    let mut stage = Stage::new();
    let scope = stage.group("shop", Strategy::OneForAll, vec![member_spec("a")]);
    stage.roster.boot_scope(scope);
    stage.settle();
    stage.roster.retire(0);
    stage.roster.remove_group(scope);
    assert_eq!(stage.roster.find_group("shop"), None);
    let other = stage.roster.add_scope(Some(name("shop")), super::scope_spec(Strategy::OneForOne));
    assert_eq!(stage.settle(), "-a !a");
    assert_eq!(stage.roster.find_group("shop"), Some(other));
    assert_eq!(stage.roster.scopes.len(), 1);
    stage.roster.remove_group(other);
    assert!(stage.roster.scopes.is_empty());
}

#[test]
fn a_circle_of_old_and_new_edges_does_not_hold_stops_up() {
    let mut stage = Stage::of(&["a", "b: a"]);
    stage.settle();
    // `b` goes; `a` is changed to come after the `b` that will replace it, and is restarted.
    stage.roster.retire(stage.id("b"));
    stage.roster.update_member(0, parse("a: ; b"));
    stage.roster.restart(0).expect("runs");
    stage.roster.connect();
    let told = stage.settle();
    assert!(told.contains("-a") && told.contains("-b") && told.contains("!b"), "{told}");
    assert!(stage.is_up("a"));
    stage.roster.shutdown();
    stage.settle();
    assert!(stage.roster.is_empty());
}

#[test]
fn a_member_that_comes_back_under_its_name_is_another() {
    let mut stage = Stage::of(&["a"]);
    stage.settle();
    stage.roster.retire(0);
    assert_eq!(stage.told(), "-a");
    stage.with(&["a"]);
    stage.roster.ended(0, crate::supervision::machine::End::Normal, ZERO);
    assert_eq!(stage.told(), "!a +a");
    stage.roster.ended(0, crate::supervision::machine::End::Normal, ZERO);
    assert_eq!(stage.phase("a"), Phase::Starting);
    assert_eq!(stage.id("a"), 1);
}
