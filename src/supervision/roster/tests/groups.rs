//! Groups within the graph.

use super::{Stage, member_spec, name, names, parse, scope_spec, slowly};
use crate::supervision::machine::{Ended, Phase, Why};
use crate::supervision::roster::{Cause, Notice, Waits};
use crate::types::policy::{AutoShutdown, Restart, Strategy};

/// A group `shop` of db and web, which requires db, and outside of it a client that requires web.
fn shop(strategy: Strategy) -> Stage {
    let mut stage = Stage::new();
    let scope = stage.group("shop", strategy, vec![member_spec("db"), parse("web: db")]);
    stage.with(&["client: web"]);
    stage.roster.boot_scope(scope);
    assert_eq!(stage.settle(), "+db +web +client");
    stage
}

#[test]
fn a_group_starts_in_order_and_its_requirements_inside_do_not_block_it() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let mut stage = shop(strategy);
        stage.failed("db");
        let told = stage.settle();
        match strategy {
            Strategy::OneForOne => assert_eq!(told, "+db"),
            _ => assert_eq!(told, "-web +db +web"),
        }
        assert!(stage.is_up("client"));
    }
}

#[test]
fn siblings_are_told_who_pulled_them_down() {
    let mut stage = shop(Strategy::OneForAll);
    stage.failed("db");
    stage.settle();
    let (member, cause) = (stage.id("web"), Cause::Sibling(stage.id("db")));
    assert_eq!(stage.roster.take_notices(), [Notice::PulledDown { member, cause }]);
}

#[test]
fn a_group_stops_after_what_requires_it_and_that_returns_with_it() {
    let mut stage = shop(Strategy::OneForAll);
    stage.roster.stop_scope(0);
    assert_eq!(stage.told(), "-client");
    stage.ended("client");
    assert_eq!(stage.told(), "-web");
    assert_eq!(stage.waits("client"), Some(Waits::MissingRequirement(name("web"))), "not yet gone");
    stage.ended("web");
    assert_eq!(stage.settle(), "-db");
    stage.roster.boot_scope(0);
    assert_eq!(stage.settle(), "+db +web +client");
}

#[test]
fn a_restart_of_a_group_stops_and_starts_all_in_order() {
    let mut stage = shop(Strategy::OneForOne);
    stage.roster.restart_scope(0);
    assert_eq!(stage.settle(), "-client -web -db +db +web +client");
    stage.roster.stop_scope(0);
    stage.settle();
    stage.roster.restart_scope(0);
    assert_eq!(stage.settle(), "+db +web +client", "at rest: a start");
}

#[test]
fn a_group_that_is_started_while_it_stops_comes_back() {
    for restart in [false, true] {
        let mut stage = shop(Strategy::OneForAll);
        stage.roster.stop_scope(0);
        assert_eq!(stage.told(), "-client");
        match restart {
            true => stage.roster.restart_scope(0),
            false => stage.roster.boot_scope(0),
        }
        stage.ended("client");
        assert_eq!(stage.settle(), "-web -db +db +web +client");
    }
}

#[test]
fn a_member_that_is_stopped_already_does_not_hold_up_those_its_own_stop_waits_for() {
    let mut stage = Stage::new();
    let members = vec![member_spec("db"), parse("web: ; db")];
    let scope = stage.group("shop", Strategy::OneForOne, members);
    stage.with(&["client: db"]);
    stage.roster.boot_scope(scope);
    stage.settle();
    stage.stop("db");
    assert_eq!(stage.told(), "-client");
    stage.roster.stop_scope(scope);
    assert_eq!(stage.told(), "-web");
    stage.ended("client");
    assert_eq!(stage.told(), "", "db stops after web");
    stage.ended("web");
    assert_eq!(stage.settle(), "-db");
}

#[test]
fn the_last_of_start_and_stop_of_a_group_counts() {
    let mut stage = shop(Strategy::OneForAll);
    stage.roster.stop_scope(0);
    assert_eq!(stage.told(), "-client");
    stage.roster.boot_scope(0);
    stage.stop("db");
    stage.roster.stop_scope(0);
    stage.ended("client");
    assert_eq!(stage.settle(), "-web -db");
    assert_eq!(stage.roster.scope_ended(0), Some(Ended::Shutdown));
}

#[test]
fn a_group_that_ends_by_itself_takes_those_outside_before() {
    let mut stage = Stage::new();
    let mut significant = member_spec("job");
    (significant.child.restart, significant.child.significant) = (Restart::Transient, true);
    let spec = crate::supervision::machine::Spec {
        auto_shutdown: AutoShutdown::AnySignificant,
        ..scope_spec(Strategy::OneForOne)
    };
    let scope = stage.roster.add_scope(Some(name("batch")), spec);
    stage.add(scope, member_spec("db"));
    stage.add(scope, significant);
    stage.with(&["web: db"]);
    stage.roster.boot_scope(scope);
    stage.settle();
    stage.ended("job");
    assert_eq!(stage.settle(), "-web -db");
    assert_eq!(stage.waits("web"), Some(Waits::MissingRequirement(name("db"))));
    let because = Ended::AutoShutdown { slot: 1 };
    let ending = Notice::Ending { group: Some(name("batch")), member: 1, because };
    assert_eq!(stage.roster.take_notices()[0], ending);
}

#[test]
fn a_group_that_gives_up_takes_those_that_require_one_that_only_waited() {
    let mut stage = Stage::new();
    let mut cache = member_spec("cache");
    cache.child.backoff = slowly();
    let scope = stage.group("shop", Strategy::OneForOne, vec![cache, member_spec("db")]);
    stage.with(&["web: cache"]);
    stage.roster.boot_scope(scope);
    stage.settle();
    stage.failed("cache");
    stage.settle();
    assert!(matches!(stage.phase("cache"), Phase::Backoff { .. }) && stage.is_up("web"));
    for _ in 0..3 {
        stage.failed("db");
        stage.settle();
    }
    assert_eq!(stage.phase("cache"), Phase::Idle { why: Why::WithGroup });
    assert!(!stage.is_up("web"));
}

#[test]
fn a_member_of_an_ended_group_is_started_alone_by_hand() {
    let mut stage = shop(Strategy::OneForAll);
    stage.roster.stop_scope(0);
    stage.settle();
    stage.start("db");
    assert_eq!(stage.settle(), "+db");
    assert_eq!(stage.phase("web"), Phase::Idle { why: Why::WithGroup });
    stage.start("client");
    assert_eq!(stage.settle(), "+web +client");
}

#[test]
fn a_requirement_outside_blocks_the_rest_of_the_group_until_it_is_up() {
    let mut stage = Stage::new();
    stage.alone(member_spec("disk"));
    let scope =
        stage.group("shop", Strategy::OneForAll, vec![parse("db: disk"), member_spec("web")]);
    stage.roster.connect();
    stage.roster.boot_scope(scope);
    assert_eq!(stage.settle(), "");
    assert_eq!(stage.waits("db"), Some(Waits::MissingRequirement(name("disk"))));
    assert_eq!(stage.phase("web"), Phase::Queued);
    stage.start("disk");
    assert_eq!(stage.settle(), "+disk +db +web");
}

#[test]
fn one_pulled_down_inside_its_group_comes_back_without_the_others() {
    let mut stage = shop(Strategy::OneForAll);
    stage.stop("db");
    assert_eq!(stage.settle(), "-client -web -db");
    assert!(stage.waits("web").is_some());
    stage.start("db");
    assert_eq!(stage.settle(), "+db +web +client");
}

#[test]
fn one_that_waits_for_a_member_before_it_does_not_hold_that_up() {
    let mut stage = Stage::new();
    let members = vec![member_spec("db"), parse("web: db")];
    let scope = stage.group("shop", Strategy::OneForOne, members);
    stage.roster.connect();
    stage.roster.boot_members(scope, &[stage.id("web")]);
    assert_eq!(stage.settle(), "");
    stage.roster.boot_scope(scope);
    assert_eq!(stage.settle(), "+db +web");
}

#[test]
fn a_gated_member_of_a_stopping_group_is_not_let_through_before_its_turn() {
    let mut stage = Stage::new();
    let members = vec![parse("db: disk"), member_spec("web")];
    let scope = stage.group("shop", Strategy::OneForOne, members);
    stage.roster.connect();
    stage.start("web");
    assert_eq!(stage.settle(), "+web");
    stage.start("db");
    assert_eq!(stage.waits("db"), None);
    assert_eq!(stage.settle(), "");
    stage.roster.stop_scope(scope);
    assert_eq!(stage.told(), "-web");
    stage.roster.update_member(stage.id("db"), member_spec("db"));
    stage.roster.connect();
    assert_eq!(stage.told(), "");
    stage.ended("web");
    assert_eq!(stage.told(), "");
    assert_eq!(stage.phase("db"), Phase::Idle { why: Why::WithGroup });
}

#[test]
fn groups_restart_crosswise_without_a_knot() {
    let mut stage = Stage::new();
    let one = stage.group("one", Strategy::OneForAll, vec![member_spec("a"), parse("b: ; c")]);
    let two = stage.group("two", Strategy::OneForAll, vec![member_spec("c"), parse("d: a")]);
    stage.roster.connect();
    stage.roster.boot_scope(one);
    stage.roster.boot_scope(two);
    assert_eq!(stage.settle(), "+a +c +d +b");
    stage.roster.restart_scope(one);
    stage.roster.restart_scope(two);
    let told = stage.settle();
    let place = |what: &str| told.split(' ').position(|word| word == what).expect("told");
    assert!(place("-b") < place("-a") && place("-d") < place("-c") && place("-d") < place("-a"));
    assert!(place("-b") < place("-c") && place("+a") < place("+d") && place("+c") < place("+b"));
    stage.roster.shutdown();
    assert_eq!(stage.settle().split(' ').count(), 4);
}

#[test]
fn boot_starts_only_those_it_names() {
    let mut stage = shop(Strategy::OneForAll);
    stage.stop("web");
    stage.settle();
    let late = stage.add(0, member_spec("late"));
    stage.roster.connect();
    stage.roster.boot_members(0, &[late]);
    assert_eq!(stage.settle(), "+late");
    assert_eq!(stage.phase("web"), Phase::Idle { why: Why::ByHand });
}

#[test]
fn members_are_given_in_start_order() {
    let mut stage = shop(Strategy::RestForOne);
    let late = stage.add(0, member_spec("late"));
    stage.roster.reorder(0, &names(&["late", "db", "web", "client"]));
    assert_eq!(stage.roster.members_of(0), [late, stage.id("db"), stage.id("web")]);
    assert!(stage.roster.is_group(0) && !stage.roster.is_group(1));
}
