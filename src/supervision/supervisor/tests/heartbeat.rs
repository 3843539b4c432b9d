//! Wedged children.

use crate::supervision::heartbeat::{Heartbeat, Progress};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::started;
use crate::supervision::supervisor::ChildSpec;
use crate::supervision::testing::{puppet, settled, spec};
use crate::types::policy::Strategy;

#[tokio::test(start_paused = true)]
async fn a_child_without_progress_is_killed_and_restarted() {
    let progress = Progress::default();
    let marks = progress.clone();
    let child = ChildSpec::worker("a", move |context| {
        let marks = marks.clone();
        async move { Ok(context.spawn(Worker(marks), ()).await?) }
    });
    let deadline = Duration::from_secs(10);
    let child = child.heartbeat(Heartbeat::Progress { progress, deadline });
    let (handle, journal) = started(spec(Strategy::OneForOne), vec![child]).await;
    settled().await;
    assert!(journal.take().is_empty(), "idle is not wedged");
    let send = async |steps: u64| {
        let view = handle.children().await.expect("alive").remove(0);
        view.cell.expect("runs").send_message(steps).expect("a worker");
    };
    send(20).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(journal.take().is_empty(), "slow with progress is not wedged");
    send(u64::MAX).await;
    settled().await;
    assert_eq!(journal.take(), ["exit a crash", "start a"]);
    handle.shutdown().await;
}

/// Works in steps of five seconds; `u64::MAX` steps make no progress at all.
struct Worker(Progress);

impl Actor for Worker {
    type Msg = u64;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<u64>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<u64>,
        steps: u64,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let _work = self.0.begin();
        if steps == u64::MAX {
            std::future::pending::<()>().await;
        }
        for _ in 0..steps {
            tokio::time::sleep(Duration::from_secs(5)).await;
            self.0.mark();
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_answer_is_killed_and_restarted() {
    let deaf = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicU64::new(0));
    let kept = Mutex::new(Vec::new());
    let (ear, count) = (Arc::clone(&deaf), Arc::clone(&asked));
    let ask = Arc::new(move |_: &ractor::ActorCell, answer: tokio::sync::oneshot::Sender<()>| {
        count.fetch_add(1, Ordering::Relaxed);
        if ear.load(Ordering::Relaxed) {
            // Kept unanswered beyond the deadline, as in the queue of an actor that hangs.
            kept.lock().expect("no panic while held").push(answer);
        } else {
            let _ = answer.send(());
        }
    });
    let (every, deadline) = (Duration::from_secs(1), Duration::from_secs(3));
    let child = puppet("a").heartbeat(Heartbeat::Ping { ask, every, deadline });
    let (handle, journal) = started(spec(Strategy::OneForOne), vec![child]).await;
    settled().await;
    assert!(asked.load(Ordering::Relaxed) > 50);
    assert!(journal.take().is_empty());
    deaf.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(journal.take(), ["exit a crash", "start a"]);
    handle.shutdown().await;
}
