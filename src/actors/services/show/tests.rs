//! Every change of state that can be seen is in the table, and the table promises none that cannot.

use std::collections::{BTreeMap, BTreeSet};

use super::derive::{Because, Facts, state_of};
use crate::supervision::machine::{End, Phase, Why};
use crate::supervision::roster::tests::driver::{Actual, Kind};
use crate::supervision::roster::tests::simulation::each_seed;
use crate::supervision::roster::tests::world::World;
use crate::supervision::roster::{MemberId, Roster};
use crate::types::state::State;

const NOTHING: Facts = Facts {
    phase: None,
    gated: false,
    launched: false,
    has_process: false,
    up: false,
    checked: false,
    unhealthy: false,
    stopping: false,
    stop_ordered: false,
    armed: false,
    awaited: false,
    put_off: false,
    shutting_down: false,
};

#[test]
fn a_process_says_more_than_its_machine() {
    let starting = Facts { phase: Some(Phase::Starting), has_process: true, ..NOTHING };
    assert_eq!(state_of(&starting), (State::Starting, Because::NotReadyYet));
    let running = Facts { up: true, ..starting };
    assert_eq!(state_of(&running), (State::Running, Because::Runs));
    let ready = Facts { checked: true, ..running };
    assert_eq!(state_of(&ready), (State::Ready, Because::Evidence));
    let unhealthy = Facts { unhealthy: true, ..ready };
    assert_eq!(state_of(&unhealthy), (State::Unhealthy, Because::Evidence));
    let stopping = Facts { stopping: true, ..unhealthy };
    assert_eq!(state_of(&stopping), (State::Stopping, Because::Signalled));
    let decided = Facts { phase: Some(Phase::Stopping), ..ready };
    assert_eq!(state_of(&decided), (State::Stopping, Because::Dependents));
    let ordered = Facts { stop_ordered: true, ..decided };
    assert_eq!(state_of(&ordered), (State::Stopping, Because::Signalled));
    let not_made = Facts { has_process: false, launched: true, ..ordered };
    assert_eq!(state_of(&not_made), (State::Stopping, Because::Overtaken));
}

#[test]
fn a_start_without_process_is_a_wait_until_it_is_handed_over() {
    let gated = Facts { phase: Some(Phase::Starting), gated: true, ..NOTHING };
    assert_eq!(state_of(&gated), (State::Waiting, Because::Gate));
    let let_through = Facts { gated: false, ..gated };
    assert_eq!(state_of(&let_through), (State::Waiting, Because::AboutToStart));
    let launched = Facts { launched: true, ..let_through };
    assert_eq!(state_of(&launched), (State::Starting, Because::Making));
    let armed = Facts { armed: true, ..NOTHING };
    assert_eq!(state_of(&armed), (State::Waiting, Because::NextRun));
}

#[test]
fn what_waits_for_a_connection_says_so_until_it_is_stopped_by_hand() {
    for why in [Why::NeverStarted, Why::Ended(End::Normal)] {
        let awaited = Facts { phase: Some(Phase::Idle { why }), awaited: true, ..NOTHING };
        assert_eq!(state_of(&awaited), (State::Waiting, Because::NoCall));
        let put_off = Facts { awaited: false, put_off: true, ..awaited };
        assert_eq!(state_of(&put_off), (State::Stopped, Because::ByHand));
        // Started by hand: what it waited for is past.
        let running = Facts { phase: None, has_process: true, up: true, ..put_off };
        assert_eq!(state_of(&running), (State::Running, Because::Runs));
    }
}

#[test]
fn rest_has_its_reason() {
    let state = |why, shutting_down| {
        let phase = Some(Phase::Idle { why });
        state_of(&Facts { phase, shutting_down, ..NOTHING })
    };
    assert_eq!(state(Why::NeverStarted, false), (State::Stopped, Because::NotStarted));
    assert_eq!(state(Why::ByHand, true), (State::Stopped, Because::ByHand));
    assert_eq!(state(Why::WithGroup, false), (State::Stopped, Because::WithGroup));
    assert_eq!(state(Why::WithGroup, true), (State::Stopped, Because::Shutdown));
    assert_eq!(state(Why::Ended(End::Normal), false), (State::Done, Because::LastExit));
    assert_eq!(state(Why::Ended(End::Abnormal), false), (State::Failed, Because::LastExit));
    assert_eq!(state(Why::GaveUp, false), (State::Failed, Because::TooOften));
}

/// The facts as `crate::actors::services` would have them.
fn facts(id: MemberId, roster: &Roster, actual: &Actual) -> Facts {
    Facts {
        phase: roster.child_phase(id),
        gated: roster.waits(id).is_some(),
        launched: actual.launched,
        has_process: actual.has_process,
        up: actual.up,
        checked: actual.kind == (Kind::Daemon { checked: true }),
        unhealthy: actual.unhealthy,
        stopping: actual.stopping,
        stop_ordered: roster.is_stopping(id),
        armed: actual.armed,
        awaited: false,
        put_off: false,
        shutting_down: false,
    }
}

/// How a process that was found comes to be shown as running.
const FOUND: [State; 3] = [State::Waiting, State::Starting, State::Running];

#[test]
fn every_change_is_in_the_table_and_the_table_has_no_more() {
    let mut seen: BTreeSet<(State, State)> = BTreeSet::new();
    each_seed(|seed| {
        let mut shown: BTreeMap<MemberId, State> = BTreeMap::new();
        let on_show = |id: MemberId, roster: &Roster, actual: &Actual, _now| {
            let facts = facts(id, roster, actual);
            let (state, because) = state_of(&facts);
            let before = shown.entry(id).or_insert(State::Stopped);
            let newly_found = actual.found && *before == State::Stopped && state == State::Running;
            let path = if newly_found { &FOUND[..] } else { &[state] };
            for next in path {
                assert!(
                    before.may_become(*next),
                    "{id}: {before} -> {next} ({because:?}), {facts:?}"
                );
                if before != next {
                    seen.insert((*before, *next));
                }
                *before = *next;
            }
        };
        World::new(seed, Box::new(on_show)).live();
    });
    if std::env::var_os("CAFE_SIM_SEED").is_some() {
        return;
    }
    let promised = State::ALL.into_iter().flat_map(|from| {
        let changes = State::ALL.into_iter().filter(move |to| *to != from && from.may_become(*to));
        changes.map(move |to| (from, to))
    });
    let unseen: Vec<_> = promised.filter(|change| !seen.contains(change)).collect();
    // Only when the actor of a timer fails between two runs: no simulated actor does.
    assert_eq!(unseen, [(State::Waiting, State::Failed)], "the table allows what never happens");
}
