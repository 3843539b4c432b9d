//! What the roster costs at 5,000 members. A debug build shows the growth; `cargo test --release` the figures.

use std::time::{Duration, Instant};

use super::{Stage, ZERO, member_spec, parse, seconds};
use crate::supervision::roster::{Command, MemberSpec};
use crate::types::policy::{Backoff, Strategy};

const COUNT: usize = 5_000;

/// One event and its consequences for each member: a boot, a crash and restart of each, a shutdown.
fn lives(stage: &mut Stage) -> Duration {
    let begin = Instant::now();
    stage.settle();
    for id in 0..COUNT {
        stage.roster.ended(id, crate::supervision::machine::End::Abnormal, seconds(100));
        for command in stage.roster.commands(seconds(100)) {
            if let Command::Start(id) = command {
                stage.roster.started(id, seconds(100));
            }
        }
    }
    stage.roster.shutdown();
    stage.settle();
    assert!(stage.roster.is_empty());
    begin.elapsed()
}

fn member(number: usize, needs: &str) -> MemberSpec {
    let backoff = Backoff { min: ZERO, max: ZERO, reset_after: Duration::MAX };
    let mut spec = parse(&format!("n{number}{needs}"));
    spec.child.backoff = backoff;
    spec
}

fn measure(what: &str, build: impl FnOnce(&mut Stage)) -> Duration {
    let mut stage = Stage::new();
    let begin = Instant::now();
    build(&mut stage);
    stage.roster.connect();
    let joined = begin.elapsed();
    let lived = lives(&mut stage);
    eprintln!("{what}: {COUNT} joined in {joined:?}, booted, crashed and stopped in {lived:?}");
    joined + lived
}

/// Far above what it takes; far below what anything quadratic would.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn many_alone_cost_little() {
    let took = measure("alone", |stage| {
        for number in 0..COUNT {
            let scope = stage.alone(member(number, ""));
            stage.roster.boot_scope(scope);
        }
    });
    assert!(took < LIMIT, "{took:?}");
}

#[test]
fn many_that_need_one_cost_little() {
    let took = measure("star", |stage| {
        for number in 0..COUNT {
            let scope = stage.alone(member(number, if number > 0 { ": n0" } else { "" }));
            stage.roster.boot_scope(scope);
        }
    });
    assert!(took < LIMIT, "{took:?}");
}

#[test]
fn a_long_chain_costs_little() {
    let took = measure("chain", |stage| {
        for number in 0..COUNT {
            let needs = if number > 0 { format!(": n{}", number - 1) } else { String::new() };
            let scope = stage.alone(member(number, &needs));
            stage.roster.boot_scope(scope);
        }
    });
    assert!(took < LIMIT, "{took:?}");
}

#[test]
fn one_big_group_is_bearable() {
    let mut stage = Stage::new();
    let members = (0..500).map(|number| member_spec(&format!("n{number}"))).collect();
    let scope = stage.group("all", Strategy::OneForAll, members);
    stage.roster.connect();
    stage.roster.boot_scope(scope);
    let begin = Instant::now();
    stage.settle();
    stage.roster.shutdown();
    stage.settle();
    eprintln!("group of 500: booted and stopped in {:?}", begin.elapsed());
    assert!(begin.elapsed() < LIMIT);
}
