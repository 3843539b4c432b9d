//! Restarts that overlap: the next generation is up before the last one ends.

mod crash;
mod fails;
mod instances;
mod load;
mod meanwhile;

use std::time::Duration;

use cafe::net::control::Verb;
use cafe::types::state::State;
use cafe::types::status::Service;

use crate::harness::{Cafe, IDLE, eventually, sh};

/// A service that is ready on descriptor 3; each generation but those started before there is a file `gated` waits at
/// the FIFO `gate` first. What it does when told to end is `told`, a command of the shell.
fn gated(told: &str) -> String {
    let wait = "if test -e gated; then read go <gate; fi";
    sh(&format!("trap '{told}' TERM; echo began $$; {wait}; echo >&3; {IDLE}"))
}

/// A daemon with one such service, `web`, with these further fields, ready; the gate is shut for the next.
async fn one_gated(told: &str, fields: &str, sections: &str) -> (Cafe, Service) {
    let web = format!("\"web\": (command: {}, ready: fd(3), {fields})", gated(told));
    let cafe = Cafe::start(&format!("services: {{ {web} }}, {sections}")).await;
    cafe.fifo("gate");
    let web = cafe.wait_state("web", State::Ready).await;
    std::fs::write(cafe.path("gated"), "").unwrap();
    (cafe, web)
}

/// The process beside the present one.
struct Next {
    pid: u32,
}

/// Begins an overlap and waits for nothing but that its process is there.
async fn begin(cafe: &Cafe) -> Next {
    let begun = cafe.client.act(Verb::Overlap, "web", None, Duration::ZERO).await;
    begun.unwrap();
    next(cafe).await
}

/// The process beside the present one.
async fn next(cafe: &Cafe) -> Next {
    let web = cafe.wait_service("web", "two of it", |web| web.instances.len() == 2).await;
    let next = Next { pid: web.instances[1].pid.unwrap() };
    // It has run its first lines.
    let began = format!("began {}\n", next.pid);
    eventually("its first line", || logs(cafe).contains(&began).then_some(())).await;
    next
}

/// What the service has written so far.
fn logs(cafe: &Cafe) -> String {
    let output = cafe.cli(&["logs", "web", "--no-prefix", "-o", "plain", "-n", "all"]);
    String::from_utf8(output.stdout).unwrap()
}

fn has_gone_from(pid: u32) -> impl Fn(&Service) -> bool {
    move |web| web.state.is_up() && web.pid != Some(pid) && web.instances.len() == 1
}
