//! ractor's pitfalls P1 to P9; P10 and P11 are tested in `mailbox`.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{failing, started};
use crate::supervision::dynamic;
use crate::supervision::machine::Phase;
use crate::supervision::supervisor::{ChildSpec, Shutdown, View, start};
use crate::supervision::testing::{
    Do, Journal, Puppet, options, puppet, puppet_like, root, settled, spec, tell,
};
use crate::types::policy::{Backoff, Intensity, OnLimit, Restart, Strategy};

#[tokio::test(start_paused = true)]
async fn p1_an_end_stops_children_one_by_one_in_reverse_before_ractor_kills_them() {
    let children = vec![puppet("a"), puppet("b"), puppet("c")];
    let (handle, journal) = started(spec(Strategy::OneForOne), children).await;
    handle.shutdown().await;
    let expected = ["stop c shutdown", "stop b shutdown", "stop a shutdown", "stop root shutdown"];
    assert_eq!(journal.take(), expected);
}

/// Writes its end to the journal, slowly.
struct Slow(Journal);

impl Actor for Slow {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn post_stop(&self, myself: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.0.write(format!("post_stop {}", myself.get_name().unwrap_or_default()));
        Ok(())
    }
}

fn slow(id: &str, journal: &Journal) -> ChildSpec {
    let journal = journal.clone();
    ChildSpec::worker(id, move |context| {
        let slow = Slow(journal.clone());
        async move { Ok(context.spawn(slow, ()).await?) }
    })
}

#[tokio::test(start_paused = true)]
async fn p1_even_a_stray_stop_of_the_supervisor_actor_ends_children_in_order() {
    let journal = Journal::default();
    let children = vec![slow("a", &journal), slow("b", &journal)];
    let (handle, _) = started(spec(Strategy::OneForOne), children).await;
    let path = handle.cell().get_name().expect("named");
    handle.cell().stop(None);
    handle.ended().await;
    let expected = [format!("post_stop {path}/b#1"), format!("post_stop {path}/a#1")];
    assert_eq!(journal.take(), expected);
}

#[tokio::test(start_paused = true)]
async fn p2_a_child_that_ends_normally_does_not_end_its_supervisor() {
    let children = vec![puppet("a").restart(Restart::Transient), puppet("b")];
    let (handle, journal) = started(spec(Strategy::OneForOne), children).await;
    tell(&handle, "a", Do::Exit).await;
    settled().await;
    assert_eq!(journal.take(), ["exit a normal"]);
    assert_eq!(handle.children().await.expect("alive").len(), 2);
    handle.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn p3_many_children_keep_their_order() {
    let ids: Vec<String> = (0..50).map(|number| format!("c{number}")).collect();
    let journal = Journal::default();
    let children = ids.iter().map(|id| puppet(id)).collect();
    let options = options(spec(Strategy::OneForOne), children, &journal);
    let handle = start(root(), options).await.expect("boots");
    let starts: Vec<String> = ids.iter().map(|id| format!("start {id}")).collect();
    assert_eq!(journal.take(), starts);
    handle.shutdown().await;
    let mut stops: Vec<String> = ids.iter().rev().map(|id| format!("stop {id} shutdown")).collect();
    stops.push("stop root shutdown".to_owned());
    assert_eq!(journal.take(), stops);
}

/// Starts only when told, the first time at once.
fn gated(id: &str, gate: &Arc<Notify>) -> ChildSpec {
    let gate = Arc::clone(gate);
    ChildSpec::worker(id, move |context| {
        let gate = Arc::clone(&gate);
        async move {
            if context.generation > 1 {
                gate.notified().await;
            }
            Ok(context.spawn(Puppet::default(), ()).await?)
        }
    })
}

#[tokio::test(start_paused = true)]
async fn p4_a_slow_start_holds_up_neither_supervisor_nor_siblings() {
    let gate = Arc::new(Notify::new());
    let children = vec![gated("slow", &gate), puppet("b")];
    let (handle, journal) = started(spec(Strategy::OneForOne), children).await;
    tell(&handle, "slow", Do::Crash).await;
    settled().await;
    tell(&handle, "b", Do::Crash).await;
    settled().await;
    assert_eq!(journal.take(), ["exit slow crash", "exit b crash", "start b"]);
    gate.notify_one();
    settled().await;
    assert_eq!(journal.take(), ["start slow"]);
    handle.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_start_that_never_ends_can_be_stopped() {
    let gate = Arc::new(Notify::new());
    let (handle, journal) = started(spec(Strategy::OneForOne), vec![gated("slow", &gate)]).await;
    tell(&handle, "slow", Do::Crash).await;
    settled().await;
    handle.stop_child("slow").await.expect("known");
    assert_eq!(journal.take(), ["exit slow crash", "stop slow shutdown"]);
    handle.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_panic_in_pre_start_is_a_failed_start_and_tried_again() {
    let child = failing("a", |number| assert!(number != 2, "the second start fails"));
    let (handle, journal) = started(spec(Strategy::OneForOne), vec![child]).await;
    tell(&handle, "a", Do::Crash).await;
    settled().await;
    assert_eq!(journal.take(), ["exit a crash", "start_failed a", "start a"]);
    handle.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_panic_in_the_start_closure_is_a_failed_start_too() {
    let child = ChildSpec::worker("a", |context| {
        assert!(context.generation != 2, "the second start fails");
        async move { Ok(context.spawn(Puppet::default(), ()).await?) }
    });
    let (handle, journal) = started(spec(Strategy::OneForOne), vec![child]).await;
    tell(&handle, "a", Do::Crash).await;
    settled().await;
    assert_eq!(journal.take(), ["exit a crash", "start_failed a", "start a"]);
    handle.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn p5_the_supervisor_answers_while_a_child_takes_its_time_to_stop() {
    let shutdown = Shutdown::Timeout(Duration::from_secs(3));
    let stubborn = puppet_like("a", Puppet { ignores_stop: true }).shutdown(shutdown);
    let (handle, journal) = started(spec(Strategy::OneForOne), vec![stubborn, puppet("b")]).await;
    let begun = Instant::now();
    let (stopped, seen) = tokio::join!(handle.stop_child("a"), async {
        tell(&handle, "b", Do::Crash).await;
        let views = handle.children().await.expect("answers");
        (begun.elapsed(), views[0].phase)
    });
    stopped.expect("known");
    assert_eq!(seen, (Duration::ZERO, Phase::Stopping));
    assert_eq!(begun.elapsed().as_secs(), 3, "asked, then killed at its deadline");
    assert_eq!(journal.take(), ["exit b crash", "start b", "stop a killed"]);
    handle.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn p5_a_child_hanging_in_a_handler_is_killed_in_time() {
    let (handle, journal) = started(spec(Strategy::OneForOne), vec![puppet("a")]).await;
    tell(&handle, "a", Do::Hang).await;
    let begun = Instant::now();
    handle.shutdown().await;
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(journal.take(), ["stop a killed", "stop root shutdown"]);
}

#[tokio::test(start_paused = true)]
async fn p6_incarnations_have_names_of_their_own_and_never_overlap() {
    let journal = Journal::default();
    let child = slow("a", &journal);
    let (handle, _) = started(spec(Strategy::OneForAll), vec![child, puppet("b")]).await;
    let name = |views: Vec<View>| views[0].cell.as_ref().and_then(ractor::ActorCell::get_name);
    let path = handle.cell().get_name().expect("named");
    let first = handle.children().await.expect("alive").remove(0).cell.expect("runs");
    assert_eq!(first.get_name(), Some(format!("{path}/a#1")));
    tell(&handle, "b", Do::Crash).await;
    settled().await;
    assert_eq!(journal.take(), [format!("post_stop {path}/a#1")]);
    assert_eq!(name(handle.children().await.expect("alive")), Some(format!("{path}/a#2")));
    assert_eq!(first.get_status(), ractor::ActorStatus::Stopped);
    handle.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn p7_hundreds_of_links_and_unlinks_at_once_come_to_rest() {
    let intensity = Intensity { restarts: 0, within: Duration::ZERO, then: OnLimit::GiveUp };
    let handle = start(root(), dynamic::options(intensity, 1, None)).await.expect("boots");
    for number in 0..300 {
        let child = puppet(&format!("c{number}")).restart(Restart::Temporary);
        handle.add_child(child).await.expect("starts");
    }
    for view in handle.children().await.expect("alive").iter().step_by(2) {
        view.cell.as_ref().expect("runs").kill();
    }
    settled().await;
    assert_eq!(handle.children().await.expect("alive").len(), 150);
    handle.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn p8_a_panic_in_a_handler_is_a_failed_child() {
    let (handle, journal) = started(spec(Strategy::OneForOne), vec![puppet("a")]).await;
    tell(&handle, "a", Do::Panic).await;
    settled().await;
    assert_eq!(journal.take(), ["exit a crash", "start a"]);
    handle.shutdown().await;
}

#[test]
fn p8_no_profile_aborts_on_panic() {
    let manifest = include_str!("../../../../Cargo.toml");
    let panics: Vec<&str> =
        manifest.lines().map(str::trim).filter(|line| line.starts_with("panic")).collect();
    assert_eq!(panics, [r#"panic = "unwind""#; 2], "profiles dev and release say so");
}

#[tokio::test(start_paused = true)]
async fn p9_an_old_kill_timer_does_not_reach_the_next_life() {
    let shutdown = Shutdown::Timeout(Duration::from_secs(10));
    let (handle, journal) =
        started(spec(Strategy::OneForOne), vec![puppet("a").shutdown(shutdown)]).await;
    for _ in 0..3 {
        handle.stop_child("a").await.expect("known");
        handle.start_child("a").await.expect("down");
    }
    journal.take();
    settled().await;
    assert!(journal.take().is_empty(), "nothing is killed when the old deadlines pass");
    handle.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn p9_a_backoff_cancelled_by_hand_starts_nothing_later() {
    let backoff = Backoff {
        min: Duration::from_secs(10),
        max: Duration::from_secs(10),
        reset_after: Duration::MAX,
    };
    let (handle, journal) =
        started(spec(Strategy::OneForOne), vec![puppet("a").backoff(backoff)]).await;
    tell(&handle, "a", Do::Crash).await;
    let mut phase = Phase::Queued;
    for _ in 0..100 {
        phase = handle.children().await.expect("alive")[0].phase;
        if matches!(phase, Phase::Backoff { .. }) {
            break;
        }
    }
    assert!(matches!(phase, Phase::Backoff { attempt: 1, .. }), "{phase:?}");
    handle.stop_child("a").await.expect("known");
    settled().await;
    assert_eq!(journal.take(), ["exit a crash"]);
    handle.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_end_heard_of_before_the_start_is_over_is_not_lost() {
    let child = ChildSpec::worker("a", |context| async move {
        let started = context.spawn(Puppet::default(), ()).await?;
        started.cell().stop(None);
        started.cell().wait(None).await?;
        Ok(started)
    });
    let journal = Journal::default();
    let children = vec![child.restart(Restart::Transient)];
    let options = options(spec(Strategy::OneForOne), children, &journal);
    let handle = start(root(), options).await.expect("boots");
    settled().await;
    assert_eq!(journal.take(), ["start a", "exit a normal"]);
    handle.shutdown().await;
}
