//! One incarnation: from the order to start until its main process ended.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ractor::ActorRef;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::super::meanwhile::left_behind;
use super::super::report::Report;
use super::launch::ReadyPipe;
use super::{Adopted, Msg, State};
use crate::os;
use crate::os::exits::Watch;
use crate::os::family::Family;
use crate::os::notify::Socket;
use crate::os::pidfd::Exit;
use crate::os::process::{self, Account, Child};
use crate::supervision::task::{self, Task};
use crate::types::error::chain;
use crate::types::exit::{BY_ITSELF, Cause, PostMortem};
use crate::types::seat::Seat;

/// Where an incarnation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Being made.
    Spawning,
    /// Runs, not proved ready.
    Starting,
    /// Runs; ready, or nothing to prove.
    Up,
    /// Told to end.
    Stopping,
    /// The main process ended; what it left behind is being ended.
    Clearing,
}

/// One incarnation of a service.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) generation: u64,
    /// Whose cgroup and mark it has: not those of the one beside it.
    pub(super) seat: Seat,
    pub(super) phase: Phase,
    pub(super) child: Option<Arc<Child>>,
    pub(super) family: Option<Family>,
    /// An earlier cafe started it.
    pub(super) found: bool,
    /// Was up before it was told to end or ended.
    pub(super) was_up: bool,
    /// Why it was started beside another one.
    pub(super) replaces: Option<String>,
    /// The one it was started beside ended by itself: the supervisor takes it for that, which was up.
    pub(super) stands_in: bool,
    pub(super) started: Instant,
    pub(super) started_at: Timestamp,
    /// Why it ends, if not by itself.
    pub(super) trigger: Option<String>,
    /// Its supervisor asked for the stop.
    pub(super) ordered: bool,
    pub(super) exit: Option<Box<Exit>>,
    /// It proved ready before its start was reported.
    pub(super) early_evidence: Option<String>,
    /// What it said of itself while another one was shown.
    pub(super) said: Option<String>,
    /// Failures of its health check in a row.
    pub(super) failures: u32,
    pub(super) unhealthy: bool,
    /// What must be known before the start, or at the end, is being found out.
    pub(super) inquiry: Option<Task>,
    /// Waits for the end of the main process.
    pub(super) watch: Option<Watch>,
    /// Readiness and health; end when it is told to end.
    pub(super) checks: Vec<Task>,
    /// Its notify socket, and the user who may write to it besides cafe's own.
    pub(super) notify: Option<(Arc<Socket>, Option<u32>)>,
    /// Hears the notify socket until the main process has ended.
    pub(super) ear: Option<Task>,
    /// What is looked up because of what was heard, and how much of it has no answer yet.
    pub(super) hearing: Vec<Task>,
    pub(super) asked: u32,
    /// The deadline that runs now: of readiness, or of the stop.
    pub(super) deadline: Option<Task>,
    /// When it is over.
    pub(super) due: Option<Instant>,
    /// The pipe it writes to when it is ready, if that is how it says so.
    pub(super) ready_pipe: Option<Arc<ReadyPipe>>,
    /// How often it must give a sign of life.
    pub(super) watchdog_interval: Option<Duration>,
    /// The deadline of its own watchdog.
    pub(super) watchdog: Option<Task>,
    /// When it was told to end.
    pub(super) stop_began: Option<Instant>,
    /// Processes that were still there when the main one had ended, and were ended.
    pub(super) left_behind: usize,
    /// Out-of-memory kills its cgroup had counted when it started.
    pub(super) oom_kills_before: u64,
}

impl Instance {
    pub(super) fn new(generation: u64, seat: Seat) -> Box<Self> {
        Box::new(Self {
            generation,
            seat,
            phase: Phase::Spawning,
            child: None,
            family: None,
            found: false,
            was_up: false,
            replaces: None,
            stands_in: false,
            started: Instant::now(),
            started_at: Timestamp::now(),
            trigger: None,
            ordered: false,
            exit: None,
            early_evidence: None,
            said: None,
            failures: 0,
            unhealthy: false,
            inquiry: None,
            watch: None,
            checks: Vec::new(),
            notify: None,
            ear: None,
            hearing: Vec::new(),
            asked: 0,
            deadline: None,
            due: None,
            ready_pipe: None,
            watchdog_interval: None,
            watchdog: None,
            stop_began: None,
            left_behind: 0,
            oom_kills_before: 0,
        })
    }

    pub(super) fn post_mortem(&self, cause: Cause) -> PostMortem {
        let mut trigger = self.trigger.clone().unwrap_or_else(|| BY_ITSELF.to_owned());
        trigger.push_str(&left_behind(self.left_behind));
        PostMortem {
            generation: self.generation,
            pid: self.child.as_ref().map(|child| child.pid()),
            at: Timestamp::now(),
            cause,
            run_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            usage: self.exit.as_ref().and_then(|exit| exit.usage),
            trigger,
            pulled_down: Vec::new(),
            last_lines: Vec::new(),
        }
    }
}

impl State {
    /// Makes the next incarnation.
    pub(super) fn launch(&mut self, myself: &ActorRef<Msg>) {
        if self.instance.is_some() || self.beside.is_some() {
            // The supervisor orders a start only after the end was reported.
            tracing::error!(service = %self.name, "start ordered while an incarnation exists");
            return;
        }
        self.generation += 1;
        self.instance = Some(Instance::new(self.generation, Seat::first(&self.name)));
        self.make(myself, self.generation);
    }

    /// Makes the process of an incarnation. Whom it runs as is looked up first, off the runtime: the account database
    /// may be slow.
    pub(super) fn make(&mut self, myself: &ActorRef<Msg>, generation: u64) {
        let (user, group) = (self.config.user.clone(), self.config.group.clone());
        if user.is_none() && group.is_none() {
            return self.spawn_process(myself, generation, None);
        }
        let me = myself.clone();
        let looking = async move {
            let look = move || process::lookup(user.as_deref(), group.as_deref());
            let result = tokio::task::spawn_blocking(look).await;
            // Cancelled only when the runtime ends.
            let Ok(result) = result else { return };
            let _ = me.cast(Msg::LookedUp { generation, result: Box::new(result) });
        };
        if let Some(instance) = self.find(generation) {
            instance.inquiry = Some(task::spawn("account lookup", looking));
        }
    }

    /// Whom it runs as is known, or is not to be found.
    pub(super) fn looked_up(
        &mut self,
        myself: &ActorRef<Msg>,
        generation: u64,
        result: Result<Account, os::Error>,
    ) {
        let Some(instance) = self.find(generation) else { return };
        let stopped = instance.phase == Phase::Stopping;
        match result {
            Err(error) => self.spawn_failed(myself, generation, &error.into()),
            // A stop overtook it: nothing was made yet.
            Ok(_) if stopped => self.abandon(myself, generation),
            Ok(account) => self.spawn_process(myself, generation, Some(&account)),
        }
    }

    /// Hands the command to a spawner thread.
    fn spawn_process(
        &mut self,
        myself: &ActorRef<Msg>,
        generation: u64,
        account: Option<&Account>,
    ) {
        let Some((place, mut instance)) = self.take_out(generation) else { return };
        let prepared = self.prepare(myself, &mut instance, account);
        let failed = match prepared {
            Ok(command) => {
                let (me, context) = (myself.clone(), self.context.clone());
                instance.inquiry = Some(task::spawn("spawn", async move {
                    let result = context.spawner.spawn(command).await;
                    let _ = me.cast(Msg::Spawned { generation, result: Box::new(result) });
                }));
                None
            }
            Err(error) => Some(error),
        };
        self.put_back(place, instance);
        if let Some(error) = failed {
            self.spawn_failed(myself, generation, &error);
        }
    }

    /// Takes over a process that already runs. A second one is what is left of an overlap, and ends.
    pub(super) fn adopt(&mut self, myself: &ActorRef<Msg>, adopted: Adopted) {
        let generation = adopted.generation;
        let mut instance = Instance::new(generation, adopted.seat);
        instance.started_at = adopted.started_at;
        let ran = Timestamp::now().duration_since(adopted.started_at);
        let ran = Duration::try_from(ran).unwrap_or_default();
        instance.started = Instant::now().checked_sub(ran).unwrap_or_else(Instant::now);
        instance.phase = Phase::Up;
        instance.was_up = true;
        instance.found = true;
        // Whoever started cafe again may have taken the controllers back, and with them the limits.
        if let Err(error) = self.context.enter_cgroup(&instance.seat, &self.config.limits()) {
            tracing::warn!(service = %self.name, error = chain(&error), "limits of a found process not renewed");
        }
        instance.oom_kills_before = self.context.oom_kills(&instance.seat);
        self.generation = self.generation.max(generation);
        self.listen_again(&mut instance, &adopted.child, adopted.pipes);
        if self.instance.is_some() {
            self.beside = Some(instance);
            self.own(myself, generation, adopted.child);
            let trigger = "cafe ended while it was being replaced, or was to replace another";
            return self.end(myself, generation, trigger.to_owned());
        }
        self.instance = Some(instance);
        self.own(myself, generation, adopted.child);
        self.watch_health(myself, generation);
        if self.is_timer() {
            self.arm(myself);
        }
    }

    pub(super) fn spawned(
        &mut self,
        myself: &ActorRef<Msg>,
        generation: u64,
        result: Result<Child, os::Error>,
    ) {
        if self.find(generation).is_none() {
            return;
        }
        let child = match result {
            Ok(child) => Arc::new(child),
            Err(error) => {
                tracing::debug!(service = %self.name, error = %error, "spawn failed");
                return self.spawn_failed(myself, generation, &error.into());
            }
        };
        let (pid, at, seat) = {
            let Some(instance) = self.find(generation) else { return };
            (child.pid(), instance.started_at, instance.seat.clone())
        };
        self.context.journal.began(&seat, generation, &child, at);
        self.context.keeping.process(&self.name, generation, &child);
        self.own(myself, generation, child);
        self.report(match self.is_current(generation) {
            true => Report::Spawned { pid, generation, at },
            false => Report::NextSpawned { pid, generation, at },
        });
        let Some(instance) = self.find(generation) else { return };
        if instance.phase == Phase::Stopping {
            // A stop overtook the spawn.
            return self.send_stop(myself, generation);
        }
        instance.phase = Phase::Starting;
        self.await_ready(myself, generation);
    }

    /// Waits for the end of a process that is ours from now on.
    fn own(&mut self, myself: &ActorRef<Msg>, generation: u64, child: Arc<Child>) {
        let context = self.context.clone();
        let Some(instance) = self.find(generation) else { return };
        instance.family = Some(context.family(&instance.seat, &child));
        self.follow(myself, generation, child);
    }

    /// Waits for the end of the main process, and only of this one.
    pub(super) fn follow(&mut self, myself: &ActorRef<Msg>, generation: u64, child: Arc<Child>) {
        let context = self.context.clone();
        let Some(instance) = self.find(generation) else { return };
        let (me, ended, main) = (myself.clone(), child.clone(), child.pid());
        let tell = move || _ = me.cast(Msg::MainEnded { generation, child: ended });
        instance.child = Some(child.clone());
        // Nothing of the main process before this one is waited for any more.
        (instance.watch, instance.inquiry) = (None, None);
        match context.exits.watch(child.clone(), tell) {
            Ok(watch) => instance.watch = Some(watch),
            Err(error) => {
                let exit = Box::new(unknown_exit(&error));
                let _ = myself.cast(Msg::Exited { generation, child, exit });
            }
        }
        self.hear(myself, generation, main);
    }

    /// The main process ended: how?
    pub(super) fn main_ended(
        &mut self,
        myself: &ActorRef<Msg>,
        generation: u64,
        child: Arc<Child>,
    ) {
        if self.find_of(generation, &child).is_none() {
            return;
        }
        let context = Arc::clone(&self.context);
        let Some(_pass) = context.gate.pass_at_once() else {
            return self.ask_later(myself, generation, child);
        };
        let Some(instance) = self.find_of(generation, &child) else { return };
        if let Some(exit) = child.status_at_once() {
            return self.exited(myself, generation, &child, Box::new(exit));
        }
        let me = myself.clone();
        instance.inquiry = Some(task::spawn("exit status", async move {
            let exit = child.status().await.unwrap_or_else(|error| unknown_exit(&error));
            let _ = me.cast(Msg::Exited { generation, child, exit: Box::new(exit) });
        }));
    }

    /// Nothing is taken now: the image that comes, or this one after all, asks how it ended.
    fn ask_later(&self, myself: &ActorRef<Msg>, generation: u64, child: Arc<Child>) {
        let (me, gate) = (myself.clone(), self.context.gate.clone());
        task::spawn("exit status, later", async move {
            drop(gate.pass().await);
            let _ = me.cast(Msg::MainEnded { generation, child });
        })
        .detach();
    }

    /// Stopped before anything was made.
    fn abandon(&mut self, myself: &ActorRef<Msg>, generation: u64) {
        let Some((place, instance)) = self.take_out(generation) else { return };
        let post_mortem = instance.post_mortem(Cause::NotStarted);
        self.conclude(myself, place, &instance, post_mortem);
    }

    fn spawn_failed(
        &mut self,
        myself: &ActorRef<Msg>,
        generation: u64,
        error: &super::launch::Error,
    ) {
        let Some((place, mut instance)) = self.take_out(generation) else { return };
        let text = chain(error);
        // The log tells it too, to whoever looks there first.
        self.context.note(&self.name, &self.config.log, format!("could not start: {text}"));
        instance.trigger = Some(format!("{text} [{}]", error.code()));
        let post_mortem = instance.post_mortem(Cause::NotStarted);
        self.conclude(myself, place, &instance, post_mortem);
    }
}

fn unknown_exit(error: &os::Error) -> Exit {
    tracing::error!(error = chain(error), "end of a process not learnt");
    Exit { cause: Cause::Unknown, usage: None }
}
