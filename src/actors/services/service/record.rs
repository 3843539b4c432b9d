//! What the next image of cafe must know of a service, and how it goes on with it.
//!
//! Taken when nothing is under way that only this image knows of: no process being made, no status being taken. From then
//! on the actor does nothing. What it is told waits for the case that cafe stays as it is.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ractor::ActorRef;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::super::report::EndedHow;
use super::instance::{Instance, Phase};
use super::launch::ReadyPipe;
use super::{Msg, State};
use crate::actors::services::Context;
use crate::config::Ready;
use crate::os::clock::{self, Moment};
use crate::os::family::Family;
use crate::os::image::Descriptors;
use crate::os::notify::Socket;
use crate::os::pidfd::Exit;
use crate::os::process::Child;
use crate::types::is_default;
use crate::types::seat::Seat;

/// A service, written down.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Record {
    #[serde(default, skip_serializing_if = "is_default")]
    generation: u64,
    instance: Option<InstanceRecord>,
    /// The one that it is to be replaced by, or that it replaced.
    beside: Option<InstanceRecord>,
    /// How the present one ended while the other one still does.
    #[serde(default, skip_serializing_if = "is_default")]
    held: Option<EndedHow>,
    armed: Option<super::timer::Record>,
    #[serde(default, skip_serializing_if = "is_default")]
    run_owed: bool,
}

/// Its incarnation. Descriptors are numbers of this process.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct InstanceRecord {
    #[serde(default, skip_serializing_if = "is_default")]
    generation: u64,
    seat: Seat,
    #[serde(default, skip_serializing_if = "is_default")]
    replaces: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    stands_in: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    said: Option<String>,
    phase: Phase,
    main: Process,
    /// The main process it began with, if it named another one.
    #[serde(default, skip_serializing_if = "is_default")]
    first: Option<(u32, RawFd)>,
    #[serde(default, skip_serializing_if = "is_default")]
    found: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    was_up: bool,
    #[serde(with = "clock::instant")]
    started: Instant,
    started_at: Timestamp,
    #[serde(default, skip_serializing_if = "is_default")]
    trigger: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    ordered: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    exit: Option<Exit>,
    #[serde(default, skip_serializing_if = "is_default")]
    failures: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    unhealthy: bool,
    notify: Option<NotifyRecord>,
    #[serde(default, skip_serializing_if = "is_default")]
    ready_pipe: Option<RawFd>,
    #[serde(default, skip_serializing_if = "is_default")]
    due: Option<Moment>,
    #[serde(default, skip_serializing_if = "is_default")]
    watchdog_interval: Option<Duration>,
    #[serde(default, skip_serializing_if = "is_default")]
    stop_began: Option<Moment>,
    #[serde(default, skip_serializing_if = "is_default")]
    oom_kills_before: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Process {
    pid: u32,
    start_time: u64,
    pidfd: RawFd,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct NotifyRecord {
    socket: RawFd,
    path: PathBuf,
    owner: Option<u32>,
}

/// What an incarnation held, taken over by this image.
#[derive(Debug)]
pub(in super::super) struct Resumed {
    record: Record,
    instance: Option<Held>,
    beside: Option<Held>,
}

#[derive(Debug)]
struct Held {
    child: Arc<Child>,
    family: Family,
    notify: Option<(Arc<Socket>, Option<u32>)>,
    ready_pipe: Option<Arc<ReadyPipe>>,
    /// Its log is not watched for a line any more.
    line_came: bool,
}

/// Whoever wants the record, and what came after it was given.
#[derive(Debug, Default)]
pub(super) struct Recording {
    wanted: Option<oneshot::Sender<Record>>,
    given: bool,
    waiting: Vec<Msg>,
}

impl State {
    /// Gives the record as soon as nothing is under way.
    pub(super) fn record(&mut self, reply: oneshot::Sender<Record>) {
        self.recording.wanted = Some(reply);
    }

    /// Nothing is handed over: goes on with what came meanwhile.
    pub(super) fn go_on(&mut self, myself: &ActorRef<Msg>) {
        let recording = std::mem::take(&mut self.recording);
        for message in recording.waiting {
            self.told(myself, message);
        }
    }

    /// While it must do nothing: keeps what it is told.
    pub(super) fn put_aside(&mut self, message: Msg) -> Option<Msg> {
        if !self.recording.given || matches!(message, Msg::GoOn) {
            return Some(message);
        }
        self.recording.waiting.push(message);
        None
    }

    pub(super) fn give_record(&mut self) {
        if self.recording.wanted.is_none() || self.is_busy() {
            return;
        }
        let record = Record {
            generation: self.generation,
            instance: self.instance.as_deref().and_then(InstanceRecord::of),
            beside: self.beside.as_deref().and_then(InstanceRecord::of),
            held: self.held,
            armed: self.armed.as_ref().map(super::timer::Armed::record),
            run_owed: self.run_owed,
        };
        if let Some(wanted) = self.recording.wanted.take() {
            self.recording.given = true;
            // Whoever wanted it may have given up.
            let _ = wanted.send(record);
        }
    }

    /// Whether something is under way of which only this image can learn what becomes of it.
    fn is_busy(&self) -> bool {
        self.instance.iter().chain(&self.beside).any(|instance| {
            instance.child.is_none() || instance.inquiry.is_some() || instance.asked > 0
        })
    }

    /// Goes on where the image before was.
    pub(super) fn resume(&mut self, myself: &ActorRef<Msg>, resumed: Resumed) {
        let Resumed { record, instance, beside } = resumed;
        self.generation = record.generation;
        self.run_owed = record.run_owed;
        self.held = record.held;
        let present = record.instance.zip(instance);
        let beside = record.beside.zip(beside);
        // Both are there before anything follows from either.
        self.instance = present.as_ref().map(|(record, held)| self.restored(record, held));
        self.beside = beside.as_ref().map(|(record, held)| self.restored(record, held));
        for (record, held) in present.into_iter().chain(beside) {
            self.go_on_with(myself, &record, held);
        }
        if let Some(armed) = record.armed {
            self.arm_again(myself, armed);
        }
    }

    fn restored(&self, record: &InstanceRecord, held: &Held) -> Box<Instance> {
        let mut instance = Instance::new(record.generation, record.seat.clone());
        instance.phase = record.phase;
        instance.found = record.found;
        instance.was_up = record.was_up;
        instance.replaces.clone_from(&record.replaces);
        instance.stands_in = record.stands_in;
        instance.started = record.started.into();
        instance.started_at = record.started_at;
        instance.trigger.clone_from(&record.trigger);
        instance.ordered = record.ordered;
        instance.exit = record.exit.map(Box::new);
        instance.said.clone_from(&record.said);
        instance.failures = record.failures;
        instance.unhealthy = record.unhealthy;
        instance.watchdog_interval = record.watchdog_interval;
        instance.stop_began = record.stop_began.map(|began| Instant::from(began).into());
        instance.oom_kills_before = record.oom_kills_before;
        instance.family = Some(held.family.clone());
        instance.notify.clone_from(&held.notify);
        instance.ready_pipe.clone_from(&held.ready_pipe);
        instance.child = Some(held.child.clone());
        if held.line_came && matches!(self.config.ready, Some(Ready::Log(_))) {
            instance.early_evidence = Some("a line of its log matched".to_owned());
        }
        instance
    }

    fn go_on_with(&mut self, myself: &ActorRef<Msg>, record: &InstanceRecord, held: Held) {
        let generation = record.generation;
        if record.phase == Phase::Clearing {
            return self.clear_again(myself, generation);
        }
        self.follow(myself, generation, held.child);
        let left = record.due.map(Moment::left);
        match record.phase {
            Phase::Starting => self.await_ready_again(myself, generation, left),
            Phase::Up => {
                self.watch_health_again(myself, generation);
                self.set_watchdog(myself, generation, None);
            }
            Phase::Stopping => match left {
                Some(left) => self.set_stop_deadline(myself, generation, left),
                // Its time was over: everything is being killed.
                None => self.clear(myself, generation, Duration::ZERO),
            },
            Phase::Spawning | Phase::Clearing => {}
        }
    }
}

impl InstanceRecord {
    /// None of one that has no process yet, which is never asked for.
    fn of(instance: &Instance) -> Option<Self> {
        let (child, family) = (instance.child.as_ref()?, instance.family.as_ref()?);
        let number = |child: &Child| child.as_fd().as_raw_fd();
        let main =
            Process { pid: child.pid(), start_time: child.start_time(), pidfd: number(child) };
        let first =
            (family.main != child.pid()).then(|| (family.main, family.leader().as_raw_fd()));
        let notify = instance.notify.as_ref().map(|(socket, owner)| NotifyRecord {
            socket: socket.as_fd().as_raw_fd(),
            path: socket.path().to_owned(),
            owner: *owner,
        });
        Some(Self {
            generation: instance.generation,
            seat: instance.seat.clone(),
            replaces: instance.replaces.clone(),
            stands_in: instance.stands_in,
            said: instance.said.clone(),
            phase: instance.phase,
            main,
            first,
            found: instance.found,
            was_up: instance.was_up,
            started: instance.started.into_std(),
            started_at: instance.started_at,
            trigger: instance.trigger.clone(),
            ordered: instance.ordered,
            exit: instance.exit.as_deref().copied(),
            failures: instance.failures,
            unhealthy: instance.unhealthy,
            notify,
            ready_pipe: instance.ready_pipe.as_ref().map(|pipe| pipe.as_fd().as_raw_fd()),
            due: instance.due.map(|due| due.into_std().into()),
            watchdog_interval: instance.watchdog_interval,
            stop_began: instance.stop_began.map(|began| began.into_std().into()),
            oom_kills_before: instance.oom_kills_before,
        })
    }
}

impl Record {
    /// The numbers of all descriptors in it.
    pub(in super::super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let instances = self.instance.iter().chain(&self.beside);
        instances.flat_map(|instance| {
            let main = Some(instance.main.pidfd);
            let first = instance.first.map(|(_, leader)| leader);
            let socket = instance.notify.as_ref().map(|notify| notify.socket);
            [main, first, socket, instance.ready_pipe].into_iter().flatten()
        })
    }

    /// How many processes it has.
    pub(in super::super) fn processes(&self) -> usize {
        self.instance.iter().chain(&self.beside).count()
    }
}

impl Resumed {
    /// Takes what the record names. To be called before the reaper runs: it takes the status of every child nobody
    /// waits for. `line_came` says of a generation that its log is not watched for a line any more.
    pub(in super::super) fn take(
        record: Record,
        context: &Context,
        descriptors: &mut Descriptors,
        line_came: impl Fn(u64) -> bool,
    ) -> Self {
        let mut held = |instance: &Option<InstanceRecord>| {
            let instance = instance.as_ref()?;
            Held::take(instance, context, descriptors, line_came(instance.generation))
        };
        let (instance, beside) = (held(&record.instance), held(&record.beside));
        Self { record, instance, beside }
    }
}

impl Held {
    fn take(
        instance: &InstanceRecord,
        context: &Context,
        descriptors: &mut Descriptors,
        line_came: bool,
    ) -> Option<Self> {
        let pidfd = Arc::new(descriptors.take(instance.main.pidfd)?);
        let leader = match instance.first {
            Some((_, leader)) => Arc::new(descriptors.take(leader)?),
            None => Arc::clone(&pidfd),
        };
        let family = instance.first.map_or(instance.main.pid, |(first, _)| first);
        let family = Family::held(family, context.mark(&instance.seat), leader);
        let (pid, start_time) = (instance.main.pid, instance.main.start_time);
        let child = Child::held(pid, start_time, pidfd, instance.exit, &context.children());
        let notify = instance.notify.as_ref().and_then(|notify| {
            let socket = Socket::held(descriptors.take(notify.socket)?, notify.path.clone());
            Some((Arc::new(socket.ok()?), notify.owner))
        });
        let ready_pipe = instance.ready_pipe.and_then(|number| descriptors.take(number));
        let ready_pipe = ready_pipe.and_then(|pipe| ReadyPipe::from_owned_fd(pipe).ok());
        let ready_pipe = ready_pipe.map(Arc::new);
        Some(Self { child: Arc::new(child), family, notify, ready_pipe, line_came })
    }
}
