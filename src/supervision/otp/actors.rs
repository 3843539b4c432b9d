//! The replay on supervisor and child actors, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Observed, Scenario, Seen, Shutdown as Written, compare, scenarios};
use crate::supervision::machine::{Phase, Spec};
use crate::supervision::supervisor::{ChildSpec, Error, Handle, Shutdown, start};
use crate::supervision::testing::{
    Do, Journal, Puppet, options, puppet_like, root, settled, spec, tell,
};
use crate::types::policy::{Intensity, OnLimit};

#[tokio::test(start_paused = true)]
async fn the_actors_do_what_otp_does() {
    for scenario in &scenarios() {
        compare(scenario, &replay(scenario).await);
    }
}

async fn replay(scenario: &Scenario) -> Vec<Observed> {
    let journal = Journal::default();
    let supervisor = &scenario.supervisor;
    let spec = Spec {
        intensity: Intensity {
            restarts: supervisor.intensity,
            within: Duration::from_secs(supervisor.period),
            then: OnLimit::GiveUp,
        },
        auto_shutdown: supervisor.auto_shutdown,
        ..spec(supervisor.strategy)
    };
    let children = scenario.children.iter().map(child).collect();
    let handle = start(root(), options(spec, children, &journal)).await.expect("boots");
    let mut generations = BTreeMap::new();
    let mut observed = Vec::new();
    for step in &scenario.steps {
        let result = apply(&handle, &step.event).await;
        settled().await;
        let log = journal.take();
        for line in &log {
            if let Some(id) = line.strip_prefix("start ") {
                *generations.entry(id.to_owned()).or_default() += 1;
            }
        }
        observed.push(observe(scenario, &handle, &generations, result, &log).await);
    }
    handle.shutdown().await;
    observed
}

fn child(child: &super::Child) -> ChildSpec {
    let puppet = puppet_like(&child.id, Puppet { ignores_stop: child.ignores_stop });
    let shutdown = match &child.shutdown {
        Written::Milliseconds(time) => Shutdown::Timeout(Duration::from_millis(*time)),
        Written::Word(word) if word == "infinity" => Shutdown::Infinity,
        Written::Word(_) => Shutdown::Brutal,
    };
    let puppet = puppet.restart(child.restart).shutdown(shutdown);
    if child.significant { puppet.significant() } else { puppet }
}

async fn apply(handle: &Handle, event: &[String]) -> &'static str {
    let result = match event[0].as_str() {
        "init" => Ok(()),
        "crash" => told(handle, &event[1], Do::Crash).await,
        "exit" => told(handle, &event[1], Do::Exit).await,
        "stop" => handle.stop_child(&event[1]).await,
        "start" => handle.start_child(&event[1]).await,
        other => panic!("event {other}"),
    };
    match result {
        Ok(()) => "ok",
        Err(Error::Running(_)) => "running",
        Err(Error::Unknown(_)) => "not_found",
        Err(Error::Ended) => "no_supervisor",
        Err(error) => panic!("{error}"),
    }
}

async fn told(handle: &Handle, id: &str, what: Do) -> Result<(), Error> {
    tell(handle, id, what).await;
    Ok(())
}

async fn observe(
    scenario: &Scenario,
    handle: &Handle,
    generations: &BTreeMap<String, u64>,
    result: &'static str,
    log: &[String],
) -> Observed {
    let views = handle.children().await;
    let alive = views.is_ok();
    let views = views.unwrap_or_default();
    let seen = |child: &super::Child| {
        let state = match views.iter().find(|view| view.id == child.id).map(|view| view.phase) {
            None => "absent",
            Some(Phase::Up { .. }) => "alive",
            Some(_) => "dead",
        };
        let generation = generations.get(&child.id).copied().unwrap_or_default();
        (child.id.clone(), Seen { state: state.to_owned(), generation })
    };
    let words = |line: &String| line.split(' ').map(str::to_owned).collect();
    Observed {
        result,
        alive,
        log: log.iter().map(words).collect(),
        children: scenario.children.iter().map(seen).collect(),
    }
}
