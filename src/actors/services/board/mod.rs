//! What is shown of the services: one record each, written by the `services` supervisor alone, read by
//! every view (promise 8). Reading takes a lock for the time of a copy and asks no actor.

mod combine;
mod cpu;
mod overlap;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::cpu::Cpu;
use self::overlap::Overlap;
pub(super) use self::overlap::Process;
use super::apply::kind_name;
use crate::config;
use crate::net::api::ServiceCounters;
use crate::os::{clock, procfs};
use crate::supervision::tree::Branch;
use crate::types::exit::Cause;
use crate::types::exit::PostMortem;
use crate::types::is_default;
use crate::types::name::Name;
use crate::types::state::State;
use crate::types::status::{self, Node};

/// Post-mortems kept of each service.
const EXITS_KEPT: usize = 10;

/// A handle to what is shown; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board {
    /// Boxed, as a map of increasing keys is half empty.
    entries: Arc<Mutex<BTreeMap<Name, Box<Entry>>>>,
    groups: Arc<Mutex<Vec<status::Group>>>,
}

/// Kinds of ends that are counted, in the order of [`Entry::exit_counts`].
const EXIT_KINDS: [&str; 6] = ["exit_0", "exit_nonzero", "signal", "oom", "not_started", "unknown"];

/// The kind whose runs are no restarts.
pub(super) const TIMER: &str = "timer";

/// The record of one service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) state: State,
    pub(super) reason: String,
    pub(super) since: Timestamp,
    /// The same moment by a clock that nobody sets.
    #[serde(with = "clock::instant")]
    pub(super) entered: Instant,
    /// Told again by the config.
    #[serde(skip)]
    pub(super) kind: &'static str,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) group: Option<Name>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) pid: Option<u32>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) generation: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) started: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "is_default")]
    restarts: u64,
    /// The next start is no restart: somebody asked for it.
    #[serde(default, skip_serializing_if = "is_default")]
    asked_for: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) next_start: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) status_text: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) probe: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) depends_on: Vec<Name>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) listen: Vec<status::Listener>,
    /// Of services that were ever replaced by overlap.
    overlap: Option<Box<Overlap>>,
    /// Boxed, as a queue has room for several.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) exits: VecDeque<Box<PostMortem>>,
    /// Since the daemon started.
    #[serde(default, skip_serializing_if = "is_default")]
    restarts_in_all: u64,
    exit_counts: [u64; EXIT_KINDS.len()],
    /// CPU of ended incarnations, milliseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    cpu_ms_ended: u64,
    #[serde(skip)]
    cpu: Option<Cpu>,
}

impl Entry {
    pub(super) fn new(kind: &'static str, group: Option<Name>, depends_on: Vec<Name>) -> Self {
        Self {
            state: State::Stopped,
            reason: "not started yet".to_owned(),
            since: Timestamp::now(),
            entered: Instant::now(),
            kind,
            group,
            pid: None,
            generation: 0,
            started: None,
            restarts: 0,
            asked_for: false,
            next_start: None,
            status_text: None,
            probe: None,
            depends_on,
            listen: Vec::new(),
            overlap: None,
            exits: VecDeque::new(),
            restarts_in_all: 0,
            exit_counts: [0; EXIT_KINDS.len()],
            cpu_ms_ended: 0,
            cpu: None,
        }
    }

    /// Names its kind, which is not written down.
    pub(super) fn names_its_kind(&mut self, service: Option<&Arc<config::Service>>) {
        self.kind = service.map_or("daemon", |service| kind_name(&service.kind));
    }

    /// Its next start is by hand or by the config: restarts are counted from there.
    pub(super) fn starts_afresh(&mut self) {
        self.restarts = 0;
        self.asked_for = true;
    }

    /// A new process is there.
    pub(super) fn began(&mut self, pid: u32, generation: u64, at: Timestamp) {
        let asked_for = std::mem::take(&mut self.asked_for) || self.kind == TIMER;
        if !asked_for && self.generation != 0 && self.generation != generation {
            self.restarts += 1;
            self.restarts_in_all += 1;
        }
        self.shows(Process { pid, generation, started: at });
        self.set_beside(None);
    }

    fn shows(&mut self, process: Process) {
        self.pid = Some(process.pid);
        self.generation = process.generation;
        self.started = Some(process.started);
        self.next_start = None;
        self.status_text = None;
        self.probe = None;
    }

    fn cpu_seconds(&self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds and ticks stay far below 2^52"
        )]
        let (ended, ticks) = (self.cpu_ms_ended as f64, self.cpu.map_or(0, |cpu| cpu.ticks) as f64);
        #[expect(clippy::cast_precision_loss, reason = "a hundred or so")]
        let ticks_per_second = procfs::ticks_per_second() as f64;
        ended / 1000.0 + self.pid.map_or(0.0, |_| ticks / ticks_per_second)
    }

    /// Keeps a post-mortem, and forgets the oldest beyond [`EXITS_KEPT`].
    pub(super) fn keep_exit(&mut self, post_mortem: PostMortem) {
        let kind = match post_mortem.cause {
            Cause::Code(0) => 0,
            Cause::Code(_) => 1,
            Cause::Signal { .. } => 2,
            Cause::OutOfMemory => 3,
            Cause::NotStarted => 4,
            Cause::Unknown => 5,
        };
        self.exit_counts[kind] += 1;
        self.cpu_ms_ended += post_mortem.usage.map_or(0, |usage| usage.user_ms + usage.system_ms);
        self.exits.push_front(Box::new(post_mortem));
        self.exits.truncate(EXITS_KEPT);
    }
}

impl Board {
    /// Changes the record of a service.
    pub(super) fn with<R>(&self, name: &Name, change: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        self.lock().get_mut(name).map(|entry| change(entry))
    }

    /// All records.
    pub(super) fn entries(&self) -> Vec<(Name, Entry)> {
        let entries = self.lock();
        entries.iter().map(|(name, entry)| (name.clone(), Entry::clone(entry))).collect()
    }

    pub(super) fn insert(&self, name: Name, entry: Entry) {
        self.lock().insert(name, Box::new(entry));
    }

    pub(super) fn remove(&self, name: &Name) {
        self.lock().remove(name);
    }

    pub(super) fn set_groups(&self, groups: Vec<status::Group>) {
        *self.groups.lock().unwrap_or_else(PoisonError::into_inner) = groups;
    }

    /// The configured groups.
    pub(crate) fn groups(&self) -> Vec<status::Group> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// State, process and last generation of a service, without sampling it. A generation whose process could not
    /// be made counts: it was tried.
    pub(crate) fn glance(&self, name: &str) -> Option<(State, Option<u32>, u64)> {
        self.lock().get(name).map(|entry| {
            let tried = entry.exits.front().map_or(0, |exit| exit.generation);
            (entry.state, entry.pid, entry.generation.max(tried))
        })
    }

    /// The last generation of a service, whether it was shown or not.
    pub(crate) fn last_generation(&self, name: &str) -> u64 {
        let beside = |entry: &Entry| entry.beside().map_or(0, |beside| beside.generation);
        let known = self.glance(name).map_or(0, |(.., generation)| generation);
        self.lock().get(name).map_or(0, |entry| beside(entry)).max(known)
    }

    /// How often the next incarnation of a service did not take over, and why it last did not.
    pub(crate) fn not_replaced(&self, name: &str) -> (u64, String) {
        let entries = self.lock();
        let overlap = entries.get(name).and_then(|entry| entry.overlap.as_ref());
        overlap.map(|overlap| (overlap.failures, overlap.failure.clone())).unwrap_or_default()
    }

    /// State, process and reason of a service.
    pub(crate) fn brief(&self, name: &str) -> Option<(State, Option<u32>, String)> {
        self.lock().get(name).map(|entry| (entry.state, entry.pid, entry.reason.clone()))
    }

    /// Marks a group as ended, or as running again.
    pub(super) fn set_group_state(&self, name: &Name, state: &str, reason: &str) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = groups.iter_mut().find(|group| group.name == *name) {
            group.state = state.to_owned();
            group.reason = reason.to_owned();
        }
    }

    /// What only grows, for metrics.
    pub(crate) fn counters(&self) -> Vec<ServiceCounters> {
        let entries = self.lock();
        let counters = entries.iter().map(|(name, entry)| ServiceCounters {
            name: name.of_service(),
            restarts: entry.restarts_in_all,
            cpu_seconds: entry.cpu_seconds(),
            exits: EXIT_KINDS.into_iter().zip(entry.exit_counts).collect(),
        });
        combine::counters(counters)
    }

    /// Counts by state, in one line.
    pub(crate) fn summary(&self) -> String {
        let entries = self.lock();
        let count = |state| entries.values().filter(|entry| entry.state == state).count();
        let counts = State::ALL.into_iter().map(|state| (state, count(state)));
        let parts =
            counts.filter(|(_, count)| *count > 0).map(|(state, count)| format!("{count} {state}"));
        format!("{} services: {}", entries.len(), parts.collect::<Vec<_>>().join(", "))
    }

    /// Shows the services below a node of the tree.
    pub(crate) fn attach_to(&self, branch: &Branch) {
        let board = self.clone();
        branch.attach(Arc::new(move || board.nodes()));
    }

    /// The services as they stand in the tree: groups with their members, then the others.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        let groups = self.groups();
        let entries = self.lock();
        let mut nodes = Vec::new();
        for group in &groups {
            let members = entries.iter().filter(|(name, _)| {
                group.services.iter().any(|member| member.as_str() == name.service())
            });
            let mut members = combine::nodes(members.map(|(name, entry)| (name, &**entry)));
            let place = |node: &Node| group.services.iter().position(|it| it.as_str() == node.id);
            members.sort_by_key(place);
            nodes.push(Node {
                id: group.name.to_string(),
                kind: "group".to_owned(),
                state: group.state.clone(),
                restarts: 0,
                detail: group.strategy.clone(),
                children: members,
            });
        }
        let alone = entries.iter().filter(|(_, entry)| entry.group.is_none());
        nodes.extend(combine::nodes(alone.map(|(name, entry)| (name, &**entry))));
        nodes
    }

    /// The names of all services.
    pub(crate) fn names(&self) -> Vec<Name> {
        self.lock().keys().cloned().collect()
    }

    /// The instances of a service by number; none for one that has no numbers.
    pub(crate) fn instances_of(&self, service: &str) -> Vec<Name> {
        let entries = self.lock();
        let is_one = |name: &&Name| name.number().is_some() && name.service() == service;
        let mut names: Vec<Name> = entries.keys().filter(is_one).cloned().collect();
        names.sort_by_key(Name::number);
        names
    }

    /// One service, or one instance, with all kept post-mortems.
    pub(crate) fn service(&self, name: &str) -> Option<status::Service> {
        let instances = self.instances_of(name);
        if instances.is_empty() {
            return self.single(name);
        }
        combine::services(instances.iter().filter_map(|name| self.single(name.as_str()))).pop()
    }

    fn single(&self, name: &str) -> Option<status::Service> {
        let (name, entry) = {
            let entries = self.lock();
            let (name, entry) = entries.get_key_value(name)?;
            (name.clone(), Entry::clone(entry))
        };
        let mut shown = self.sample(name, entry);
        shown.1.exits = shown.2.exits.into_iter().map(|exit| *exit).collect();
        Some(shown.1)
    }

    /// All services, each with its last post-mortem, by name.
    pub(crate) fn services(&self) -> Vec<status::Service> {
        let copies: Vec<(Name, Entry)> = self
            .lock()
            .iter()
            .map(|(name, entry)| {
                let mut copy = Entry { exits: VecDeque::new(), ..entry.shallow() };
                copy.exits.extend(entry.exits.front().cloned());
                (name.clone(), copy)
            })
            .collect();
        combine::services(copies.into_iter().map(|(name, entry)| {
            let (_, mut service, entry) = self.sample(name, entry);
            service.exits = entry.exits.into_iter().map(|exit| *exit).collect();
            service
        }))
    }

    /// Reads the process of a record and fills in what the kernel says.
    fn sample(&self, name: Name, mut entry: Entry) -> (Name, status::Service, Entry) {
        let usage = entry.pid.and_then(|pid| procfs::sample(pid).ok());
        let mut percent = 0.0;
        if let (Some(pid), Some(usage)) = (entry.pid, &usage) {
            let before = entry.cpu.filter(|cpu| cpu.pid == pid);
            let (cpu, fresh) = cpu::percent(pid, usage, before, entry.started);
            percent = cpu.percent;
            if fresh {
                entry.cpu = Some(cpu);
                self.with(&name, |entry| entry.cpu = Some(cpu));
            }
        }
        let service = entry.show(&name, usage.as_ref(), percent);
        (name, service, entry)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Box<Entry>>> {
        // Records are whole values: a panic while one was changed leaves the others as they are.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// A copy without the post-mortems.
    fn shallow(&self) -> Self {
        Self {
            state: self.state,
            reason: self.reason.clone(),
            since: self.since,
            entered: self.entered,
            kind: self.kind,
            group: self.group.clone(),
            pid: self.pid,
            generation: self.generation,
            started: self.started,
            restarts: self.restarts,
            asked_for: self.asked_for,
            next_start: self.next_start,
            status_text: self.status_text.clone(),
            probe: self.probe.clone(),
            depends_on: self.depends_on.clone(),
            listen: self.listen.clone(),
            overlap: self.overlap.clone(),
            exits: VecDeque::new(),
            restarts_in_all: self.restarts_in_all,
            exit_counts: self.exit_counts,
            cpu_ms_ended: self.cpu_ms_ended,
            cpu: self.cpu,
        }
    }

    fn show(
        &self,
        name: &Name,
        usage: Option<&procfs::Sample>,
        cpu_percent: f64,
    ) -> status::Service {
        let memory_bytes = usage.map_or(0, |usage| usage.memory_bytes);
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let instance = |process: Option<Process>, memory_bytes, cpu_percent| status::Instance {
            number: name.number().unwrap_or(1),
            name: name.number().map(|_| name.clone()),
            state: name.number().map(|_| self.state),
            reason: name.number().map(|_| self.reason.clone()).unwrap_or_default(),
            restarts: name.number().map(|_| self.restarts),
            pid: process.map(|process| process.pid),
            generation: process.map_or(self.generation, |process| process.generation),
            since: process.map_or(self.since, |process| process.started),
            memory_bytes,
            cpu_percent,
        };
        let process = self.process();
        let is_told = process.is_some() || name.number().is_some();
        let present = is_told.then(|| instance(process, memory_bytes, cpu_percent));
        let beside = self.beside().map(|process| {
            let usage = procfs::sample(process.pid);
            instance(Some(process), usage.map_or(0, |usage| usage.memory_bytes), 0.0)
        });
        let instances = present.into_iter().chain(beside).collect();
        status::Service {
            name: name.clone(),
            state: self.state,
            reason: self.reason.clone(),
            kind: self.kind.to_owned(),
            group: self.group.clone(),
            pid: self.pid,
            instances,
            restarts: self.restarts,
            since: self.since,
            state_ms: milliseconds(self.entered.elapsed()),
            uptime_ms: usage.map_or(0, |usage| milliseconds(usage.age())),
            memory_bytes,
            cpu_percent,
            next_start: self.next_start,
            last_start: self.started,
            status_text: self.status_text.clone(),
            probe: self.probe.clone(),
            depends_on: self.depends_on.clone(),
            listen: self.listen.clone(),
            exits: Vec::new(),
        }
    }
}

fn node(name: &Name, entry: &Entry) -> Node {
    let process = entry.pid.map(|pid| Node {
        id: format!("pid {pid}"),
        kind: "process".to_owned(),
        state: "running".to_owned(),
        restarts: 0,
        detail: format!("generation {}", entry.generation),
        children: Vec::new(),
    });
    Node {
        id: name.to_string(),
        kind: "service".to_owned(),
        state: entry.state.to_string(),
        restarts: entry.restarts,
        detail: entry.reason.clone(),
        children: process.into_iter().collect(),
    }
}
