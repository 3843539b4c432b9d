//! cafe is killed in the middle of an overlap: the next cafe neither doubles nor loses the service.

use cafe::types::state::State;
use cafe::types::status::Service;
use nix::sys::signal::Signal;

use super::{begin, one_gated};
use crate::harness::{eventually, is_gone, kill};

fn is_found(pid: u32) -> impl Fn(&Service) -> bool {
    move |web| web.pid == Some(pid) && web.state.is_up() && web.instances.len() == 1
}

#[tokio::test]
async fn a_next_one_that_was_not_ready_ends() {
    for cgroups in [true, false] {
        let (mut cafe, before) = one_gated("exit", "", &format!("cgroups: {cgroups},")).await;
        let first = before.pid.unwrap();
        let next = begin(&cafe).await;
        cafe.crash();
        assert_eq!(cafe.processes().len(), 2, "both run on without it");
        cafe.boot().await;
        eventually("end of the next", || is_gone(next.pid).then_some(())).await;
        let web = cafe.wait_service("web", "found", is_found(first)).await;
        assert_eq!((web.state, web.restarts), (State::Running, 0));
        assert!(!is_gone(first) && cafe.processes().len() == 1);
        // It can be replaced again.
        std::fs::remove_file(cafe.path("gated")).unwrap();
        let acted = cafe.act(cafe::net::control::Verb::Overlap, "web").await;
        let next = acted.services[0].pid.unwrap();
        eventually("end of the first", || is_gone(first).then_some(())).await;
        assert_eq!(cafe.wait_service("web", "replaced", is_found(next)).await.state, State::Ready);
    }
}

#[tokio::test]
async fn a_next_one_that_was_ready_stays() {
    for cgroups in [true, false] {
        let sections = format!("cgroups: {cgroups},");
        let told = "echo asked >>asked; test ! -e allowed || exit";
        let (mut cafe, before) = one_gated(told, "", &sections).await;
        let first = before.pid.unwrap();
        std::fs::remove_file(cafe.path("gated")).unwrap();
        let acted = cafe.act(cafe::net::control::Verb::Overlap, "web").await;
        let next = acted.services[0].pid.unwrap();
        eventually("the order to end", || (!cafe.read("asked").is_empty()).then_some(())).await;
        cafe.crash();
        assert!(!is_gone(first) && !is_gone(next));
        cafe.boot().await;
        cafe.wait_service("web", "found", |web| web.pid == Some(next)).await;
        // It does not end when asked, so it is killed, and that is seen.
        kill(first, Signal::SIGKILL);
        eventually("end of the first", || is_gone(first).then_some(())).await;
        cafe.wait_service("web", "alone", is_found(next)).await;
        assert!(!is_gone(next) && cafe.processes().len() == 1);
        std::fs::write(cafe.path("allowed"), "").unwrap();
    }
}

#[tokio::test]
async fn what_ended_meanwhile_is_none_of_it() {
    // The present one ended while no cafe looked: what was to replace it is all there is.
    let (mut cafe, before) = one_gated("exit", "", "").await;
    let first = before.pid.unwrap();
    let next = begin(&cafe).await;
    cafe.crash();
    kill(first, Signal::SIGKILL);
    eventually("its end", || is_gone(first).then_some(())).await;
    cafe.boot().await;
    cafe.wait_service("web", "found", is_found(next.pid)).await;
    assert_eq!(cafe.processes().len(), 1);

    // The next one ended meanwhile: its place is free.
    let (mut cafe, before) = one_gated("exit", "", "").await;
    let first = before.pid.unwrap();
    let next = begin(&cafe).await;
    cafe.crash();
    kill(next.pid, Signal::SIGKILL);
    eventually("its end", || is_gone(next.pid).then_some(())).await;
    cafe.boot().await;
    cafe.wait_service("web", "found", is_found(first)).await;
    assert_eq!(cafe.processes().len(), 1);
}
