//! Cases of OTP's own suite that need real actors, and the live tree.

use std::time::Duration;

use tokio::time::Instant;

use super::{failing, nested, started};
use crate::supervision::dynamic;
use crate::supervision::machine::{Boot, Phase, Spec};
use crate::supervision::supervisor::{ChildSpec, Error, Handle, Ignore, Shutdown, check, start};
use crate::supervision::testing::{
    Do, Journal, Puppet, options, puppet, puppet_like, root, settled, spec, tell,
};
use crate::types::policy::{AutoShutdown, Intensity, OnLimit, Restart, Strategy};

#[tokio::test(start_paused = true)]
async fn a_child_that_unlinks_is_still_stopped_and_seen_to_end_otp_child_unlink() {
    let (handle, journal) =
        started(spec(Strategy::OneForOne), vec![puppet("a"), puppet("b")]).await;
    for id in ["a", "b"] {
        tell(&handle, id, Do::Unlink).await;
    }
    tell(&handle, "a", Do::Crash).await;
    settled().await;
    assert_eq!(journal.take(), ["exit a crash", "start a"]);
    handle.shutdown().await;
    let expected = ["stop b shutdown", "stop a shutdown", "stop root shutdown"];
    assert_eq!(journal.take(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_failed_boot_undoes_itself_otp_sup_start_fail() {
    let journal = Journal::default();
    let fails = failing("c", |_| panic!("on purpose"));
    let children = vec![puppet("a"), puppet("b"), fails];
    let options = options(spec(Strategy::OneForOne), children, &journal);
    let error = start(root(), options).await.expect_err("fails");
    assert!(matches!(&error, Error::Boot(id) if id == "c"), "{error}");
    settled().await;
    let expected = [
        "start a",
        "start b",
        "start_failed c",
        "stop b shutdown",
        "stop a shutdown",
        "stop root shutdown",
    ];
    assert_eq!(journal.take(), expected);
}

async fn crash_inner(handle: &Handle, times: u32) {
    for _ in 0..times {
        let views = handle.children().await.expect("alive");
        let cell = views[0].cell.clone().expect("runs");
        let inner = Handle::of(cell).expect("a supervisor");
        tell(&inner, "y", Do::Crash).await;
        settled().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_gave_up_is_restarted_by_its_parent_with_all_children_otp_escalation() {
    let journal = Journal::default();
    let children = vec![nested(Restart::Permanent, &journal), puppet("b")];
    let handle =
        start(root(), options(spec(Strategy::OneForOne), children, &journal)).await.expect("boots");
    assert_eq!(journal.take(), ["start x", "start y", "start inner", "start b"]);
    crash_inner(&handle, 2).await;
    let expected = [
        "exit y crash",
        "start y",
        "exit y crash",
        "stop x shutdown",
        "stop root shutdown",
        "exit inner normal",
        "start x",
        "start y",
        "start inner",
    ];
    assert_eq!(journal.take(), expected);
    handle.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_gave_up_stays_down_as_a_transient_child() {
    let journal = Journal::default();
    let children = vec![nested(Restart::Transient, &journal)];
    let handle =
        start(root(), options(spec(Strategy::OneForOne), children, &journal)).await.expect("boots");
    crash_inner(&handle, 2).await;
    assert_eq!(journal.take().last().map(String::as_str), Some("exit inner normal"));
    handle.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_below_stops_its_own_children_in_order() {
    let journal = Journal::default();
    let brutal = nested(Restart::Permanent, &journal).shutdown(Shutdown::Brutal);
    let handle = start(root(), options(spec(Strategy::OneForOne), vec![brutal], &journal))
        .await
        .expect("boots");
    journal.take();
    handle.shutdown().await;
    let expected = [
        "stop y shutdown",
        "stop x shutdown",
        "stop root shutdown",
        "stop inner shutdown",
        "stop root shutdown",
    ];
    assert_eq!(journal.take(), expected);
}

#[tokio::test(start_paused = true)]
async fn retry_waits_out_a_failing_first_start() {
    let spec = Spec { boot: Boot::Retry, ..spec(Strategy::OneForOne) };
    let child = failing("a", |number| assert!(number > 2, "the first two starts fail"));
    let journal = Journal::default();
    let handle = start(root(), options(spec, vec![child], &journal)).await.expect("boots");
    settled().await;
    assert_eq!(journal.take(), ["start_failed a", "start_failed a", "start a"]);
    handle.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn brutal_children_are_killed_unasked() {
    let child = puppet("a").shutdown(Shutdown::Brutal);
    let (handle, journal) = started(spec(Strategy::OneForOne), vec![child]).await;
    handle.stop_child("a").await.expect("known");
    assert_eq!(journal.take(), ["stop a killed"]);
    handle.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn children_are_added_and_removed_by_hand_otp_start_child_and_delete_child() {
    let (handle, journal) = started(spec(Strategy::OneForOne), vec![puppet("a")]).await;
    handle.add_child(puppet("b")).await.expect("starts");
    assert!(matches!(handle.add_child(puppet("b")).await, Err(Error::Duplicate(_))));
    assert!(matches!(handle.start_child("b").await, Err(Error::Running(_))));
    assert!(matches!(handle.remove_child("b").await, Err(Error::Running(_))));
    handle.stop_child("b").await.expect("known");
    handle.remove_child("b").await.expect("down");
    assert!(matches!(handle.start_child("b").await, Err(Error::Unknown(_))));
    assert_eq!(journal.take(), ["start b", "stop b shutdown"]);
    handle.shutdown().await;
    assert!(matches!(handle.children().await, Err(Error::Ended)));
}

#[tokio::test(start_paused = true)]
async fn new_specs_keep_what_runs_otp_code_change() {
    let (handle, journal) =
        started(spec(Strategy::OneForOne), vec![puppet("a"), puppet("b"), puppet("c")]).await;
    let before = handle.children().await.expect("alive");
    let children = vec![puppet("new"), puppet("b").restart(Restart::Temporary)];
    handle.update(spec(Strategy::OneForOne), children).await.expect("valid");
    let after = handle.children().await.expect("alive");
    let ids: Vec<&str> = after.iter().map(|view| view.id.as_str()).collect();
    assert_eq!(ids, ["new", "b", "a", "c"]);
    assert_eq!(after[1].cell, before[1].cell);
    assert!(matches!(after[0].phase, Phase::Idle { .. }));
    assert!(journal.take().is_empty());
    tell(&handle, "b", Do::Crash).await;
    settled().await;
    assert_eq!(journal.take(), ["exit b crash"]);
    handle.shutdown().await;
}

#[test]
fn mistakes_are_found_without_starting_otp_check_childspecs() {
    let never = spec(Strategy::OneForOne);
    let any = Spec { auto_shutdown: AutoShutdown::AnySignificant, ..never };
    let significant = || puppet("a").significant();
    assert!(matches!(check(&any, &[significant()]), Err(Error::Significant(_))));
    let transient = significant().restart(Restart::Transient);
    let transient = [transient];
    assert!(matches!(check(&never, &transient), Err(Error::Significant(_))));
    check(&any, &transient).expect("valid");
    let twice = [puppet("a"), puppet("a")];
    assert!(matches!(check(&any, &twice), Err(Error::Duplicate(_))));
}

#[tokio::test(start_paused = true)]
async fn dynamic_children_are_stopped_all_at_once_otp_simple_one_for_one_shutdown() {
    let intensity = Intensity { restarts: 1, within: Duration::ZERO, then: OnLimit::GiveUp };
    let handle = start(root(), dynamic::options(intensity, 1, None)).await.expect("boots");
    for number in 0..20 {
        let stubborn = puppet_like(&format!("c{number}"), Puppet { ignores_stop: true });
        handle.add_child(stubborn).await.expect("starts");
    }
    let begun = Instant::now();
    handle.shutdown().await;
    assert_eq!(begun.elapsed().as_secs(), 5, "under one deadline, not twenty");
}

#[tokio::test(start_paused = true)]
async fn the_tree_shows_a_busy_child_without_asking_it() {
    let branch = root();
    let tree = branch.tree();
    let journal = Journal::default();
    let children = vec![nested(Restart::Permanent, &journal), puppet("b")];
    let handle =
        start(branch, options(spec(Strategy::OneForOne), children, &journal)).await.expect("boots");
    tell(&handle, "b", Do::Crash).await;
    settled().await;
    tell(&handle, "b", Do::Hang).await;
    let node = tree.snapshot().expect("alive");
    let line = |node: &crate::types::status::Node| {
        (node.id.clone(), node.kind.clone(), node.state.clone(), node.restarts)
    };
    let expected = ("b".to_owned(), "actor".to_owned(), "running".to_owned(), 1);
    assert_eq!(line(&node.children[1]), expected);
    let inner: Vec<&str> =
        node.children[0].children.iter().map(|child| child.id.as_str()).collect();
    assert_eq!(inner, ["x", "y"]);
    handle.shutdown().await;
    assert!(tree.snapshot().is_none(), "nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_behind_when_a_supervisor_is_dropped_on_the_floor() {
    let (handle, _) = started(spec(Strategy::OneForOne), vec![puppet("a")]).await;
    let child = handle.children().await.expect("alive").remove(0).cell.expect("runs");
    handle.cell().kill();
    handle.ended().await;
    child.wait(Some(Duration::from_secs(1))).await.expect("killed with it");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_ignores_its_start_is_kept_down_otp_ignore() {
    let ignores = ChildSpec::worker("a", |context| async move {
        if context.generation == 1 {
            return Err(Ignore.into());
        }
        Ok(context.spawn(Puppet::default(), ()).await?)
    });
    let temporary = ChildSpec::worker("t", |_| async { Err(Ignore.into()) });
    let journal = Journal::default();
    let children = vec![ignores, puppet("b"), temporary.restart(Restart::Temporary)];
    let options = options(spec(Strategy::OneForOne), children, &journal);
    let handle = start(root(), options).await.expect("boots");
    assert_eq!(journal.take(), ["ignore a", "start b", "ignore t"]);
    let ids: Vec<String> =
        handle.children().await.expect("alive").into_iter().map(|view| view.id).collect();
    assert_eq!(ids, ["a", "b"]);
    handle.start_child("a").await.expect("may be started by hand");
    assert_eq!(journal.take(), ["start a"]);
    handle.shutdown().await;
}
