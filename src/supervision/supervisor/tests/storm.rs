//! Real threads, real time: crashes, stops and starts from all sides at once. Whatever the interleaving, a child never has two
//! lives at a time, every command is answered, and the end leaves nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef};

use tokio::sync::Notify;

use crate::supervision::machine::Spec;
use crate::supervision::supervisor::{ChildSpec, Handle, start};
use crate::supervision::task;
use crate::supervision::testing::{Do, Journal, options, root, spec, tell};
use crate::types::policy::{Intensity, OnLimit, Strategy};

/// Counts its lives while they last.
struct Counted(Arc<AtomicUsize>);

/// One life; also over when the actor is killed.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Actor for Counted {
    type Msg = Do;
    type State = Alive;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Do>, (): ()) -> Result<Alive, ActorProcessingErr> {
        assert_eq!(self.0.fetch_add(1, Ordering::SeqCst), 0, "two lives at a time");
        Ok(Alive(Arc::clone(&self.0)))
    }

    async fn handle(
        &self,
        _: ActorRef<Do>,
        _: Do,
        _: &mut Alive,
    ) -> Result<(), ActorProcessingErr> {
        Err("crashed on purpose".into())
    }
}

fn counted(id: String, lives: &Arc<AtomicUsize>) -> ChildSpec {
    let lives = Arc::clone(lives);
    ChildSpec::worker(id, move |context| {
        let actor = Counted(Arc::clone(&lives));
        async move { Ok(context.spawn(actor, ()).await?) }
    })
}

async fn torment(handle: Handle, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..100 {
        let id = format!("c{}", random.u8(..4));
        match random.u8(..4) {
            0 => drop(handle.stop_child(&id).await),
            1 => drop(handle.start_child(&id).await),
            _ => {
                let views = handle.children().await.expect("alive");
                let cell = views.into_iter().find(|view| view.id == id).and_then(|view| view.cell);
                cell.map(|cell| cell.send_message(Do::Crash));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_from_all_sides_ends_in_order() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let lives: Vec<_> = (0..4).map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let children =
            lives.iter().enumerate().map(|(n, lives)| counted(format!("c{n}"), lives)).collect();
        let intensity = Intensity { restarts: 1, within: Duration::MAX, then: OnLimit::Hold };
        let journal = Journal::default();
        let spec = Spec { intensity, ..spec(strategy) };
        let handle = start(root(), options(spec, children, &journal)).await.expect("boots");
        let tasks: Vec<_> =
            (0..4).map(|seed| task::spawn("torment", torment(handle.clone(), seed))).collect();
        for task in tasks {
            task.await.expect("every command is answered");
        }
        handle.shutdown().await;
        assert!(lives.iter().all(|lives| lives.load(Ordering::SeqCst) == 0));
        let failed: Vec<String> =
            journal.take().into_iter().filter(|line| line.starts_with("start_failed")).collect();
        assert!(failed.is_empty(), "{strategy:?}: {failed:?}");
    }
}

/// Notices when the next life begins before the state of this one is dropped.
struct Lingering {
    /// Wakes another task: the one woken last on this thread would run only after this drop, whoever it is.
    elsewhere: Arc<Notify>,
    next: Arc<AtomicBool>,
    overlap: Arc<AtomicBool>,
}

impl Drop for Lingering {
    fn drop(&mut self) {
        self.elsewhere.notify_one();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(20) {
            if self.next.load(Ordering::SeqCst) {
                return self.overlap.store(true, Ordering::SeqCst);
            }
            std::thread::yield_now();
        }
    }
}

struct Linger {
    elsewhere: Arc<Notify>,
    lives: Arc<AtomicUsize>,
    next: Arc<AtomicBool>,
    overlap: Arc<AtomicBool>,
}

impl Actor for Linger {
    type Msg = Do;
    type State = Lingering;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Do>, (): ()) -> Result<Lingering, ActorProcessingErr> {
        let later = self.lives.fetch_add(1, Ordering::SeqCst) > 0;
        self.next.fetch_or(later, Ordering::SeqCst);
        let (next, overlap) = (Arc::clone(&self.next), Arc::clone(&self.overlap));
        Ok(Lingering { elsewhere: Arc::clone(&self.elsewhere), next, overlap })
    }

    async fn handle(
        &self,
        _: ActorRef<Do>,
        _: Do,
        _: &mut Lingering,
    ) -> Result<(), ActorProcessingErr> {
        Err("crashed on purpose".into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p6_the_state_of_a_failed_child_is_dropped_before_its_next_life() {
    let (next, overlap) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let lives = Arc::new(AtomicUsize::new(0));
    let elsewhere = Arc::new(Notify::new());
    let given_elsewhere = Arc::clone(&elsewhere);
    let _woken = task::spawn("elsewhere", async move { elsewhere.notified().await });
    let (given_next, given_overlap, given_lives) =
        (Arc::clone(&next), Arc::clone(&overlap), Arc::clone(&lives));
    let child = ChildSpec::worker("a", move |context| {
        let actor = Linger {
            elsewhere: Arc::clone(&given_elsewhere),
            lives: Arc::clone(&given_lives),
            next: Arc::clone(&given_next),
            overlap: Arc::clone(&given_overlap),
        };
        async move { Ok(context.spawn(actor, ()).await?) }
    });
    let journal = Journal::default();
    let handle = start(root(), options(spec(Strategy::OneForOne), vec![child], &journal))
        .await
        .expect("boots");
    tell(&handle, "a", Do::Crash).await;
    while !next.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    assert!(!overlap.load(Ordering::SeqCst), "two lives at a time");
    handle.shutdown().await;
}
