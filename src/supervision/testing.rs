//! An actor that does what a test tells it, and a journal of what its supervisor said.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::machine::{Boot, End, Spec};
use super::supervisor::{ChildSpec, Event, Handle, Observer, Options};
use super::tree::Branch;
use crate::types::policy::{AutoShutdown, Intensity, OnLimit, Strategy};

/// A child under the test's control.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Puppet {
    /// Asked to stop, it never ends.
    pub(super) ignores_stop: bool,
}

#[derive(Debug)]
pub(super) enum Do {
    Exit,
    Crash,
    Panic,
    Unlink,
    /// Wait forever inside the handler.
    Hang,
}

#[derive(Debug)]
pub(super) struct Strings {
    exits: bool,
}

impl Actor for Puppet {
    type Msg = Do;
    type State = Strings;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Do>, (): ()) -> Result<Strings, ActorProcessingErr> {
        Ok(Strings { exits: false })
    }

    async fn handle(
        &self,
        myself: ActorRef<Do>,
        what: Do,
        state: &mut Strings,
    ) -> Result<(), ActorProcessingErr> {
        match what {
            Do::Exit => {
                state.exits = true;
                myself.stop(None);
            }
            Do::Crash => return Err("crashed on purpose".into()),
            Do::Panic => panic!("on purpose"),
            Do::Unlink => {
                if let Some(supervisor) = myself.try_get_supervisor() {
                    myself.unlink(supervisor);
                }
            }
            Do::Hang => std::future::pending().await,
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<Do>,
        state: &mut Strings,
    ) -> Result<(), ActorProcessingErr> {
        if self.ignores_stop && !state.exits {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

/// A permanent child under control.
pub(super) fn puppet(id: &str) -> ChildSpec {
    puppet_like(id, Puppet::default())
}

pub(super) fn puppet_like(id: &str, puppet: Puppet) -> ChildSpec {
    ChildSpec::worker(id, move |context| async move { Ok(context.spawn(puppet, ()).await?) })
}

/// Twenty restarts in an hour, OTP's boot.
pub(super) fn spec(strategy: Strategy) -> Spec {
    Spec {
        strategy,
        intensity: Intensity {
            restarts: 20,
            within: Duration::from_secs(3600),
            then: OnLimit::GiveUp,
        },
        auto_shutdown: AutoShutdown::Never,
        boot: Boot::Undo,
        parallel_stop: false,
        parallel_start: false,
        seed: 1,
    }
}

/// What supervisors said, one short line each.
#[derive(Debug, Clone, Default)]
pub(super) struct Journal {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Journal {
    pub(super) fn observer(&self) -> Observer {
        let journal = self.clone();
        Arc::new(move |event: &Event| {
            let line = match event {
                Event::Started { id, .. } => format!("start {id}"),
                Event::StartFailed { id, .. } => format!("start_failed {id}"),
                Event::Ignored { id } => format!("ignore {id}"),
                Event::Exited { id, end: End::Abnormal, .. } => format!("exit {id} crash"),
                Event::Exited { id, end: End::Normal, .. } => format!("exit {id} normal"),
                Event::Stopped { id, killed: false } => format!("stop {id} shutdown"),
                Event::Stopped { id, killed: true } => format!("stop {id} killed"),
                Event::Ended(_) => "stop root shutdown".to_owned(),
                Event::Restarting { .. } | Event::Ending { .. } => return,
            };
            journal.write(line);
        })
    }

    pub(super) fn write(&self, line: String) {
        self.lines.lock().expect("no panic while held").push(line);
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().expect("no panic while held"))
    }
}

/// A root supervisor of its own name: tests share ractor's registry.
pub(super) fn root() -> Branch {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    Branch::root(format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed)), "supervisor")
}

pub(super) fn options(spec: Spec, children: Vec<ChildSpec>, journal: &Journal) -> Options {
    Options { spec, children, observer: Some(journal.observer()) }
}

/// Tells a child what to do.
pub(super) async fn tell(supervisor: &Handle, id: &str, what: Do) {
    let views = supervisor.children().await.expect("alive");
    let view = views.into_iter().find(|view| view.id == id).expect("a child");
    view.cell.expect("running").send_message(what).expect("a puppet");
}

/// Until nothing happens any more: time is paused, so this passes when all wait for something later.
pub(super) async fn settled() {
    tokio::time::sleep(Duration::from_secs(60)).await;
}
