//! One incarnation: from the order to start until nothing of it is left.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ractor::ActorRef;
use tokio::time::Instant;

use super::super::report::{EndedHow, Report};
use super::{Adopted, Msg, State};
use crate::config;
use crate::os;
use crate::os::family::Family;
use crate::os::pidfd::Exit;
use crate::os::process::Child;
use crate::supervision::task::{self, Task};
use crate::types::error::chain;
use crate::types::exit::{Cause, PostMortem};

/// Longest wait for the last lines of an ended incarnation.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Where an incarnation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    pub(super) phase: Phase,
    pub(super) child: Option<Arc<Child>>,
    pub(super) family: Option<Family>,
    /// Was up before it was told to end or ended.
    pub(super) was_up: bool,
    started: Instant,
    started_at: Timestamp,
    /// Why it ends, if not by itself.
    pub(super) trigger: Option<String>,
    /// Its supervisor asked for the stop.
    pub(super) ordered: bool,
    exit: Option<Exit>,
    /// It proved ready before its start was reported.
    pub(super) early_evidence: Option<String>,
    /// Failures of its health check in a row.
    pub(super) failures: u32,
    pub(super) unhealthy: bool,
    /// The task that waits for the exit; ends with the incarnation.
    watch: Option<Task>,
    /// Readiness, health, notify socket; end when it is told to end.
    pub(super) checks: Vec<Task>,
    /// The deadline that runs now: of readiness, or of the stop.
    pub(super) deadline: Option<Task>,
    /// How often it must give a sign of life.
    pub(super) watchdog_interval: Option<Duration>,
    /// The deadline of its own watchdog.
    pub(super) watchdog: Option<Task>,
    /// When it was told to end.
    stop_began: Option<Instant>,
    /// Out-of-memory kills its cgroup had counted when it started.
    oom_kills_before: u64,
}

impl Instance {
    pub(super) fn new(generation: u64) -> Self {
        Self {
            generation,
            phase: Phase::Spawning,
            child: None,
            family: None,
            was_up: false,
            started: Instant::now(),
            started_at: Timestamp::now(),
            trigger: None,
            ordered: false,
            exit: None,
            early_evidence: None,
            failures: 0,
            unhealthy: false,
            watch: None,
            checks: Vec::new(),
            deadline: None,
            watchdog_interval: None,
            watchdog: None,
            stop_began: None,
            oom_kills_before: 0,
        }
    }

    fn post_mortem(&self, cause: Cause) -> PostMortem {
        let by_itself = || "ended by itself".to_owned();
        PostMortem {
            generation: self.generation,
            pid: self.child.as_ref().map(|child| child.pid()),
            at: Timestamp::now(),
            cause,
            run_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            usage: self.exit.as_ref().and_then(|exit| exit.usage),
            trigger: self.trigger.clone().unwrap_or_else(by_itself),
            pulled_down: Vec::new(),
            last_lines: Vec::new(),
        }
    }
}

impl State {
    /// Makes the next incarnation.
    pub(super) fn launch(&mut self, myself: &ActorRef<Msg>) {
        if self.instance.is_some() {
            // The supervisor orders a start only after the end was reported.
            tracing::error!(service = %self.name, "start ordered while an incarnation exists");
            return;
        }
        self.generation += 1;
        let generation = self.generation;
        let mut instance = Instance::new(generation);
        match self.prepare(myself, &mut instance) {
            Ok(command) => {
                let (myself, context) = (myself.clone(), self.context.clone());
                instance.watch = Some(task::spawn("spawn", async move {
                    let result = context.spawner.spawn(command).await;
                    let _ = myself.cast(Msg::Spawned { generation, result });
                }));
                self.instance = Some(instance);
            }
            Err(error) => {
                self.instance = Some(instance);
                self.spawn_failed(myself, &error);
            }
        }
    }

    /// Takes over a process that already runs.
    pub(super) fn adopt(&mut self, myself: &ActorRef<Msg>, adopted: Adopted) {
        let mut instance = Instance::new(adopted.generation);
        instance.started_at = adopted.started_at;
        let ran = Timestamp::now().duration_since(adopted.started_at);
        let ran = Duration::try_from(ran).unwrap_or_default();
        instance.started = Instant::now().checked_sub(ran).unwrap_or_else(Instant::now);
        instance.phase = Phase::Up;
        instance.was_up = true;
        self.generation = adopted.generation;
        self.instance = Some(instance);
        self.own(myself, adopted.child);
        self.watch_health(myself);
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
        if self.current(generation).is_none() {
            return;
        }
        let child = match result {
            Ok(child) => Arc::new(child),
            Err(error) => {
                tracing::debug!(service = %self.name, error = %error, "spawn failed");
                return self.spawn_failed(myself, &error.into());
            }
        };
        let (pid, started_at) = {
            let Some(instance) = self.current(generation) else { return };
            (child.pid(), instance.started_at)
        };
        self.context.journal.began(&self.name, generation, &child, started_at);
        self.own(myself, child);
        self.report(Report::Spawned { pid, generation, at: started_at });
        let Some(instance) = self.current(generation) else { return };
        if instance.phase == Phase::Stopping {
            // A stop overtook the spawn.
            return self.send_stop(myself);
        }
        instance.phase = Phase::Starting;
        self.await_ready(myself);
    }

    /// Waits for the end of a process that is ours from now on.
    fn own(&mut self, myself: &ActorRef<Msg>, child: Arc<Child>) {
        let family = self.context.family(&self.name, child.pid());
        let oom_kills = self.context.oom_kills(&self.name);
        let Some(instance) = self.instance.as_mut() else { return };
        instance.family = Some(family);
        instance.oom_kills_before = oom_kills;
        self.follow(myself, child);
    }

    /// Waits for the end of the main process, and only of this one.
    pub(super) fn follow(&mut self, myself: &ActorRef<Msg>, child: Arc<Child>) {
        let Some(instance) = self.instance.as_mut() else { return };
        let generation = instance.generation;
        let (waited, myself) = (child.clone(), myself.clone());
        instance.child = Some(child);
        instance.watch = Some(task::spawn("watch", async move {
            let exit = waited.wait().await.unwrap_or_else(|error| {
                tracing::error!(error = chain(&error), "end of a process not learnt");
                Exit { cause: Cause::Unknown, usage: None }
            });
            let _ = myself.cast(Msg::Exited { generation, exit });
        }));
    }

    fn spawn_failed(&mut self, myself: &ActorRef<Msg>, error: &super::launch::Error) {
        let Some(mut instance) = self.instance.take() else { return };
        let text = chain(error);
        // The log tells it too, to whoever looks there first; the state and the events do in any case.
        let _ = self.context.pump.note(self.name.clone(), format!("could not start: {text}"));
        instance.trigger = Some(format!("{text} [{}]", error.code()));
        let post_mortem = instance.post_mortem(Cause::NotStarted);
        self.conclude(myself, &instance, post_mortem);
    }

    // ---- the stop ----

    /// Ends the incarnation by order of the supervisor.
    pub(super) fn stop(&mut self, myself: &ActorRef<Msg>, trigger: String) {
        let was_armed = self.armed.take().is_some();
        self.run_owed = false;
        let Some(instance) = self.instance.as_mut() else {
            if was_armed {
                self.report(Report::Disarmed);
            }
            // Otherwise it ended meanwhile: its report is on its way and answers this order.
            return;
        };
        instance.ordered = true;
        self.end(myself, trigger);
    }

    /// Ends the incarnation for a reason; `exited` or `cleared` follow.
    pub(super) fn end(&mut self, myself: &ActorRef<Msg>, trigger: String) {
        let Some(instance) = self.instance.as_mut() else { return };
        if matches!(instance.phase, Phase::Stopping | Phase::Clearing) {
            return;
        }
        instance.trigger.get_or_insert(trigger);
        let spawning = instance.phase == Phase::Spawning;
        instance.phase = Phase::Stopping;
        instance.checks.clear();
        instance.watchdog = None;
        if !spawning {
            self.send_stop(myself);
        }
    }

    fn send_stop(&mut self, myself: &ActorRef<Msg>) {
        let stop = self.config.stop;
        let Some(instance) = self.instance.as_mut() else { return };
        instance.stop_began = Some(Instant::now());
        if let Some(family) = &instance.family
            && let Err(error) = family.signal_group(stop.signal)
        {
            tracing::error!(service = %self.name, error = chain(&error), "stop signal not sent");
        }
        if let (Some(child), Some(family)) = (&instance.child, &instance.family)
            && child.pid() != family.main
        {
            // A main process that it named itself may have left the group.
            let _ = child.signal(stop.signal);
        }
        self.report(Report::Stopping);
        self.set_stop_deadline(myself, stop.timeout);
    }

    pub(super) fn set_stop_deadline(&mut self, myself: &ActorRef<Msg>, timeout: Duration) {
        let Some(instance) = self.instance.as_mut() else { return };
        let generation = instance.generation;
        let myself = myself.clone();
        instance.deadline = Some(task::spawn("stop deadline", async move {
            tokio::time::sleep(timeout).await;
            let _ = myself.cast(Msg::StopExpired { generation });
        }));
    }

    /// The stop took too long: everything is killed.
    pub(super) fn stop_expired(&mut self, myself: &ActorRef<Msg>, generation: u64) {
        let timeout = crate::types::unit::show_duration(self.config.stop.timeout);
        let Some(instance) = self.current(generation) else { return };
        match instance.phase {
            Phase::Stopping => {
                let trigger = instance.trigger.get_or_insert_default();
                trigger.push_str(&format!("; still there after {timeout}, killed"));
                self.clear(myself, Duration::ZERO);
            }
            // What is left has its own deadline.
            Phase::Clearing | Phase::Spawning | Phase::Starting | Phase::Up => {}
        }
    }

    // ---- the end ----

    pub(super) fn exited(&mut self, myself: &ActorRef<Msg>, generation: u64, exit: Exit) {
        let timeout = self.config.stop.timeout;
        let Some(instance) = self.current(generation) else { return };
        instance.exit = Some(exit);
        instance.phase = Phase::Clearing;
        instance.checks.clear();
        instance.watchdog = None;
        instance.watch = None;
        instance.deadline = None;
        // What it leaves behind gets the rest of the time that a stop has.
        let spent = instance.stop_began.map_or(Duration::ZERO, |began| began.elapsed());
        if self.is_clear() {
            return self.finish(myself, 0);
        }
        self.clear(myself, timeout.saturating_sub(spent));
    }

    /// The cheap look: certainly nothing left.
    fn is_clear(&self) -> bool {
        self.context.certainly_clear(&self.name)
    }

    /// Ends what is left: asks, waits for `grace`, kills, and looks until nothing is there.
    fn clear(&mut self, myself: &ActorRef<Msg>, grace: Duration) {
        let (name, context, signal) =
            (self.name.clone(), self.context.clone(), self.config.stop.signal);
        let Some(instance) = self.instance.as_mut() else { return };
        let Some(family) = instance.family.clone() else { return };
        let asked = instance.stop_began.is_some();
        let (generation, myself) = (instance.generation, myself.clone());
        instance.deadline = Some(task::spawn("clear", async move {
            let left_behind = context.clear(&name, &family, signal, asked, grace).await;
            let _ = myself.cast(Msg::Cleared { generation, left_behind });
        }));
    }

    pub(super) fn cleared(&mut self, myself: &ActorRef<Msg>, generation: u64, left_behind: usize) {
        let Some(instance) = self.current(generation) else { return };
        if instance.exit.is_none() {
            // Killed while it was stopping: the exit of the main process is on its way.
            return;
        }
        self.finish(myself, left_behind);
    }

    fn finish(&mut self, myself: &ActorRef<Msg>, left_behind: usize) {
        let Some(mut instance) = self.instance.take() else { return };
        let mut cause = instance.exit.as_ref().map_or(Cause::Unknown, |exit| exit.cause);
        if self.context.oom_kills(&self.name) > instance.oom_kills_before
            && matches!(cause, Cause::Signal { signal: 9, .. })
            && instance.trigger.is_none()
        {
            cause = Cause::OutOfMemory;
        }
        if left_behind > 0 {
            let trigger = instance.trigger.get_or_insert_with(|| "ended by itself".to_owned());
            trigger.push_str(&format!("; {left_behind} processes left behind were ended"));
        }
        self.context.journal.ended(&self.name, instance.generation);
        let post_mortem = instance.post_mortem(cause);
        self.conclude(myself, &instance, post_mortem);
    }

    /// The last lines follow by themselves: no restart waits for a log.
    fn report_last_lines(&self, generation: u64) {
        let excerpt = self.context.finish_log(&self.name, generation);
        let reporter = self.reporter.clone();
        task::spawn("last lines", async move {
            let lines = match excerpt {
                Some(excerpt) => tokio::time::timeout(LAST_LINES, excerpt).await,
                None => return reporter.send(Report::LastLines { generation, lines: Vec::new() }),
            };
            let lines = lines.ok().and_then(Result::ok).map(|excerpt| excerpt.lines);
            reporter.send(Report::LastLines { generation, lines: lines.unwrap_or_default() });
        })
        .detach();
    }

    /// Tells the supervisor, in the words its machine understands, and starts what is owed.
    fn conclude(&mut self, myself: &ActorRef<Msg>, instance: &Instance, post_mortem: PostMortem) {
        let normal =
            post_mortem.cause.is_normal() && (instance.ordered || instance.trigger.is_none());
        let how = match self.config.kind {
            config::Kind::Timer { .. } if !instance.ordered => EndedHow::Run,
            config::Kind::Oneshot if post_mortem.cause != Cause::NotStarted => {
                EndedHow::Ended { normal }
            }
            _ if instance.ordered || instance.was_up => EndedHow::Ended { normal },
            _ => EndedHow::NeverUp,
        };
        self.report(Report::Ended { how, post_mortem });
        self.report_last_lines(instance.generation);
        if std::mem::take(&mut self.run_owed) {
            self.launch(myself);
        }
    }
}
