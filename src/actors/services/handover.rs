//! All services, handed from one image of cafe to the next: written down while nothing is under way, and gone on with.
//!
//! ```text
//!   HandOver: no order goes out any more; the gate is shut; every service gives its record
//!   Recorded: what they reported before has been heard; the record of all goes to whoever asked
//!   GoOn:     nothing came of it: the gate is open, what waited follows
//! ```

use std::collections::{BTreeMap, HashMap};
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::Timestamp;
use ractor::ActorProcessingErr;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::board::Entry;
use super::calls::Calls;
use super::gate::Shut;
use super::overlap::Replacing;
use super::rolls::Roll;
use super::{Context, Member, Msg, State, service};
use crate::config::{self, Config};
use crate::os::clock;
use crate::os::image::Descriptors;
use crate::supervision::roster::{MemberId, Roster};
use crate::supervision::task;
use crate::types::is_default;
use crate::types::name::Name;
use crate::types::status;

/// Time between two looks whether all last lines have been told, and how many there are: they come within a second.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS: u32 = 150;

/// All services, written down. In two parts, which take about as long to read.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) wanted: Wanted,
    pub(crate) known: Known,
}

/// What is wanted of them, and what is shown.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// What is in force.
    config: Arc<Config>,
    /// Services of the config that follow a leaving one of the same name.
    successors: Vec<Name>,
    board: Vec<(Name, Entry)>,
    groups: Vec<status::Group>,
}

/// What is known of them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Known {
    roster: Roster,
    /// What the times of the roster count from.
    #[serde(with = "clock::instant")]
    origin: Instant,
    members: BTreeMap<MemberId, MemberRecord>,
    rolls: BTreeMap<String, Roll>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MemberRecord {
    name: Name,
    /// Of one that leaves: the config does not have it any more.
    #[serde(default, skip_serializing_if = "is_default")]
    config: Option<Arc<config::Service>>,
    #[serde(default, skip_serializing_if = "is_default")]
    stop_reason: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    up: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    checked: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    unhealthy: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    stopping: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    launched: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    last_exit: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pulled_down: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    next_run: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "is_default")]
    evidence: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    replacing: Option<Replacing>,
    #[serde(default, skip_serializing_if = "is_default")]
    overlap_owed: Option<String>,
    calls: CallsRecord,
    service: service::Record,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum CallsRecord {
    Ignored,
    Awaited,
    PutOff,
}

/// Where a handing over is.
#[derive(Debug, Default)]
pub(super) enum Handover {
    /// There is none.
    #[default]
    None,
    /// No order goes out.
    Begun,
    /// Nor is anything taken from the kernel.
    Recorded { _shut: Shut },
}

/// What came of asking all services.
#[derive(Debug)]
pub(crate) struct Recorded {
    records: Vec<(MemberId, service::Record)>,
    shut: Shut,
    reply: oneshot::Sender<Record>,
    looks: u32,
}

/// All services as another image knew them, for the first incarnation of their supervisor; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inheritance(Arc<Mutex<Option<Resumed>>>);

#[derive(Debug)]
struct Resumed {
    record: Record,
    services: HashMap<MemberId, service::Resumed>,
}

impl State {
    pub(super) fn hand_over(&mut self, reply: oneshot::Sender<Record>) {
        self.handover = Handover::Begun;
        let asked: Vec<(MemberId, service::Handle)> =
            self.members.iter().map(|(id, member)| (*id, member.handle.clone())).collect();
        let (me, gate) = (self.myself.clone(), self.context.gate.clone());
        task::spawn("handover", async move {
            let shut = gate.shut().await;
            let answers = asked.into_iter().map(|(id, handle)| async move {
                // An actor that failed meanwhile gives none: then there is no handing over.
                Some((id, handle.record().await.ok()?))
            });
            let records: Option<Vec<_>> = join_all(answers).await.into_iter().collect();
            if let Some(records) = records {
                let recorded = Recorded { records, shut, reply, looks: 0 };
                let _ = me.cast(Msg::Recorded(Box::new(recorded)));
            }
        })
        .detach();
    }

    /// Every service has given its record, and what it reported before that has been heard.
    pub(super) fn recorded(&mut self, mut recorded: Recorded) {
        if !matches!(self.handover, Handover::Begun) || recorded.reply.is_closed() {
            return;
        }
        if self.lines_awaited > 0 && recorded.looks < LOOKS {
            recorded.looks += 1;
            let me = self.myself.clone();
            task::spawn("handover, last lines", async move {
                tokio::time::sleep(LOOK).await;
                let _ = me.cast(Msg::Recorded(Box::new(recorded)));
            })
            .detach();
            return;
        }
        let Recorded { records, shut, reply, .. } = recorded;
        let members = records.into_iter().filter_map(|(id, record)| {
            Some((id, MemberRecord::of(self.members.get(&id)?, record)))
        });
        let record = Record {
            wanted: Wanted {
                config: self.in_force.clone(),
                successors: self.successors.keys().cloned().collect(),
                board: self.board.entries(),
                groups: self.board.groups(),
            },
            known: Known {
                roster: self.roster.clone(),
                origin: self.origin.into_std(),
                members: members.collect(),
                rolls: self.rolls.clone(),
            },
        };
        self.handover = Handover::Recorded { _shut: shut };
        let _ = reply.send(record);
    }

    /// cafe stays as it is.
    pub(super) fn go_on(&mut self) {
        self.handover = Handover::None;
        self.members.values().for_each(|member| member.handle.go_on());
    }

    /// Goes on where the image before was: nothing is started or taken over anew.
    pub(super) async fn resume(
        &mut self,
        inherited: &Inheritance,
    ) -> Result<bool, ActorProcessingErr> {
        let Some(Resumed { record, mut services }) = inherited.take() else { return Ok(false) };
        let config = Arc::clone(&self.config);
        self.context.prepare_cgroups(&config).await;
        let Record { wanted, known } = record;
        self.roster = known.roster;
        self.origin = known.origin.into();
        self.rolls = known.rolls;
        for (name, mut entry) in wanted.board {
            entry.names_its_kind(config.services.get(&name));
            self.board.insert(name, entry);
        }
        self.board.set_groups(wanted.groups);
        let successor = |name: Name| Some((name.clone(), config.services.get(&name)?.clone()));
        self.successors = wanted.successors.into_iter().filter_map(successor).collect();
        for (id, member) in known.members {
            let leaving = member.config.is_some();
            let service =
                member.config.clone().or_else(|| config.services.get(&member.name).cloned());
            let Some(service) = service else { continue };
            let resumed = services.remove(&id);
            let handle = self.resume_actor(id, &member.name, service.clone(), resumed).await?;
            let calls = member.calls;
            let member = member.into_member(service, handle, leaving);
            self.members.insert(id, Box::new(member));
            if matches!(calls, CallsRecord::Awaited) {
                self.await_call(id, Duration::ZERO);
            }
        }
        Ok(true)
    }

    async fn resume_actor(
        &mut self,
        id: MemberId,
        name: &Name,
        config: Arc<config::Service>,
        resumed: Option<service::Resumed>,
    ) -> Result<service::Handle, ActorProcessingErr> {
        let options = service::Options { resumed, ..self.actor_options(id, name, config) };
        self.start_actor(id, options).await
    }
}

impl MemberRecord {
    fn of(member: &Member, service: service::Record) -> Self {
        Self {
            name: member.name.clone(),
            config: member.leaving.then(|| member.config.clone()),
            stop_reason: member.stop_reason.clone(),
            up: member.up,
            checked: member.checked,
            unhealthy: member.unhealthy,
            stopping: member.stopping,
            launched: member.launched,
            last_exit: member.last_exit.clone(),
            pulled_down: member.pulled_down.clone(),
            next_run: member.next_run,
            evidence: member.evidence.clone(),
            replacing: member.replacing,
            overlap_owed: member.overlap_owed.clone(),
            calls: match member.calls {
                Calls::Ignored => CallsRecord::Ignored,
                Calls::Awaited { .. } => CallsRecord::Awaited,
                Calls::PutOff => CallsRecord::PutOff,
            },
            service,
        }
    }

    fn into_member(
        self,
        config: Arc<config::Service>,
        handle: service::Handle,
        leaving: bool,
    ) -> Member {
        Member {
            name: self.name,
            config,
            handle,
            stop_reason: self.stop_reason,
            up: self.up,
            checked: self.checked,
            unhealthy: self.unhealthy,
            stopping: self.stopping,
            launched: self.launched,
            last_exit: self.last_exit,
            pulled_down: self.pulled_down,
            next_run: self.next_run,
            evidence: self.evidence,
            replacing: self.replacing,
            overlap_owed: self.overlap_owed,
            actor_failures: 0,
            leaving,
            calls: match self.calls {
                CallsRecord::Ignored | CallsRecord::Awaited => Calls::Ignored,
                CallsRecord::PutOff => Calls::PutOff,
            },
        }
    }
}

impl Record {
    /// The numbers of all descriptors in it.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.known.members.values().flat_map(|member| member.service.descriptors())
    }

    /// The config in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.wanted.config.clone()
    }

    /// How many processes run.
    pub(crate) fn running(&self) -> usize {
        let members = self.known.members.values();
        members.map(|member| member.service.processes()).sum()
    }
}

impl Inheritance {
    /// Takes what the record names. To be called before the reaper runs: it takes the status of every child nobody
    /// waits for. `line_came` says whether the line that a service is to write when it is ready came.
    pub(crate) fn new(
        record: Record,
        context: &Context,
        descriptors: &mut Descriptors,
        line_came: impl Fn(&Name, u64) -> bool,
    ) -> Self {
        let services = record.known.members.iter().map(|(id, member)| {
            let came = |generation| line_came(&member.name, generation);
            let record = member.service.clone();
            (*id, service::Resumed::take(record, context, descriptors, came))
        });
        let services = services.collect();
        Self(Arc::new(Mutex::new(Some(Resumed { record, services }))))
    }

    fn take(&self) -> Option<Resumed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
