//! From a config to members of the roster, at the start and at every reload.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorProcessingErr;

use super::board::{Entry, Process, TIMER};
use super::expand::{expand, of_services};
use super::found::{Earlier, present_first};
use super::meanwhile::RAN;
use super::overlap::Replacing;
use super::report::Reporter;
use super::service::{self, Adopted, Service};
use super::show::FOUND;
use super::{Member, State};
use crate::config::{self, Class, Config, Kind, Start};
use crate::supervision::machine::{Boot, ChildSpec, Spec};
use crate::supervision::roster::{MemberId, MemberSpec, ScopeId};
use crate::types::event;
use crate::types::name::Name;
use crate::types::policy::{AutoShutdown, Strategy};
use crate::types::status;

impl State {
    /// Makes the members of the first config, takes over what still runs, and starts the rest.
    pub(super) async fn begin(&mut self, config: &Arc<Config>) -> Result<(), ActorProcessingErr> {
        self.context.prepare_cgroups(config).await;
        let (mut earlier, missed) = self.find_earlier(config).await;
        let mut fresh = Vec::new();
        for (name, group) in &config.groups {
            let scope = self.roster.add_scope(Some(name.clone()), group_spec(group));
            for member in &group.services {
                if let Some(service) = config.services.get(member) {
                    let found = earlier.remove(member);
                    fresh.push(self.add(scope, member, service, Some(name), found).await?);
                }
            }
        }
        for (name, service) in &config.services {
            if self.roster.find(name.as_str()).is_none() {
                let scope = self.roster.add_scope(None, single_spec(service));
                let found = earlier.remove(name);
                fresh.push(self.add(scope, name, service, None, found).await?);
            }
        }
        for (name, found) in earlier {
            if let Earlier::Runs(found) = found {
                self.add_unknown(&name, found).await?;
            }
        }
        self.roster.connect();
        self.show_groups();
        self.start_new(&fresh);
        for (name, missed) in missed {
            self.ended_meanwhile(&name, missed);
        }
        Ok(())
    }

    /// What runs and the config does not know leaves as any other member does: one of its name that a reload brings
    /// waits until it is gone.
    async fn add_unknown(
        &mut self,
        name: &Name,
        found: Vec<Adopted>,
    ) -> Result<(), ActorProcessingErr> {
        let service = Arc::new(config::Service::bare("/".into()));
        let scope = self.roster.add_scope(None, single_spec(&service));
        let found = Some(Earlier::Runs(found));
        let (id, _) = self.add(scope, name, &service, None, found).await?;
        self.leave(id, false);
        Ok(())
    }

    /// Puts a new config in force: touches only what changed.
    pub(super) async fn apply(&mut self, new: Arc<Config>) -> Result<(), ActorProcessingErr> {
        self.in_force = Arc::clone(&new);
        let new = expand(&new);
        self.context.prepare_cgroups(&new).await;
        let old = std::mem::replace(&mut self.config, new.clone());
        self.roster.set_parallel_starts(new.daemon.parallel_starts);
        let diff = config::diff(&old, &new);
        let class_of = |name: &Name| {
            let change = diff.changed.iter().find(|change| change.name == *name);
            change.map(|change| change.class)
        };
        let mut fresh = Vec::new();
        let present: Vec<(MemberId, Name)> =
            self.members.iter().map(|(id, member)| (*id, member.name.clone())).collect();
        for (id, name) in present {
            let stays =
                new.services.contains_key(&name) && class_of(&name) != Some(Class::Recreate);
            let leaves = self.members.get(&id).is_some_and(|member| member.leaving);
            if stays && !leaves {
                continue;
            }
            // One that leaves already is followed by what the latest config says, or by nothing.
            match new.services.get(&name) {
                Some(service) => self.successors.insert(name.clone(), service.clone()),
                None => self.successors.remove(&name),
            };
            if !leaves {
                self.leave(id, new.services.contains_key(&name));
            }
        }
        for (name, group) in &new.groups {
            match self.roster.find_group(name.as_str()) {
                Some(scope) => self.roster.update_scope(scope, group_spec(group)),
                None => {
                    self.roster.add_scope(Some(name.clone()), group_spec(group));
                }
            }
        }
        for (name, service) in &new.services {
            if self.successors.contains_key(name) {
                continue;
            }
            match self.roster.find(name.as_str()) {
                Some(id) => {
                    if let Some(class) = class_of(name) {
                        self.change(id, service, class);
                    }
                }
                None => fresh.extend(self.add_from(&new, name, service).await?),
            }
        }
        for name in old.groups.keys().filter(|name| !new.groups.contains_key(*name)) {
            if let Some(scope) = self.roster.find_group(name.as_str()) {
                self.roster.remove_group(scope);
            }
        }
        self.order_groups(&new);
        self.roster.connect();
        self.show_groups();
        self.start_new(&fresh);
        Ok(())
    }

    /// A member stops and goes; `moved` when one of the same name follows it.
    fn leave(&mut self, id: MemberId, moved: bool) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.leaving = true;
        let how = if moved { "moved by" } else { "removed from" };
        member.stop_reason = Some(format!("{how} the config"));
        self.roster.retire(id);
    }

    /// A changed service: its policy at once, its process only if that is what changed.
    fn change(&mut self, id: MemberId, service: &Arc<config::Service>, class: Class) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let name = member.name.clone();
        let service = Arc::clone(service);
        member.config = service.clone();
        member.handle.update(service.clone());
        self.context.update_log(&name, &service.log);
        self.board.with(&name, |entry| {
            entry.kind = kind_name(&service.kind);
            entry.depends_on = depends_on(&service);
            entry.listen = listeners_of(&service);
        });
        self.roster.update_member(id, member_spec(&name, &service));
        if let Some(scope) = self.roster.scope_of(id)
            && !self.roster.is_group(scope)
        {
            self.roster.update_scope(scope, single_spec(&service));
        }
        let awaits_call = self.reconsider_calls(id);
        if class == Class::Restart && self.is_active(&name) && !awaits_call {
            if name.number().is_some() {
                return self.enroll(&name, "its config changed");
            }
            if service.overlap && self.overlap_anew(id, "its config changed") {
                return;
            }
            self.set_stop_reason(id, "its config changed");
            self.board.with(&name, Entry::starts_afresh);
            // Active, so neither unknown nor already on its way to what is wanted.
            let _ = self.roster.restart(id);
        }
    }

    fn is_active(&self, name: &Name) -> bool {
        self.is_shown_as(name).is_some_and(|state| !state.is_at_rest())
    }

    fn set_stop_reason(&mut self, id: MemberId, reason: &str) {
        if let Some(member) = self.members.get_mut(&id) {
            member.stop_reason = Some(reason.to_owned());
        }
    }

    /// A member left; the service of the same name that replaces it may come.
    pub(super) async fn retired(&mut self, id: MemberId) -> Result<(), ActorProcessingErr> {
        let Some(member) = self.members.remove(&id) else { return Ok(()) };
        self.actors.remove(&member.handle.actor_id());
        member.handle.dismiss();
        self.board.remove(&member.name);
        let Some(service) = self.successors.remove(&member.name) else {
            self.context.forget(&member.name);
            return Ok(());
        };
        let config = self.config.clone();
        let fresh = self.add_from(&config, &member.name, &service).await?;
        self.order_groups(&config);
        self.roster.connect();
        self.start_new(&fresh.into_iter().collect::<Vec<_>>());
        Ok(())
    }

    async fn add_from(
        &mut self,
        config: &Config,
        name: &Name,
        service: &Arc<config::Service>,
    ) -> Result<Option<(MemberId, bool)>, ActorProcessingErr> {
        let group = group_of(config, name).cloned();
        let scope = match &group {
            Some(group) => self.roster.find_group(group.as_str()),
            None => Some(self.roster.add_scope(None, single_spec(service))),
        };
        let Some(scope) = scope else { return Ok(None) };
        self.add(scope, name, service, group.as_ref(), None).await.map(Some)
    }

    /// Makes a member and its actor; says whether it runs, or ran, already.
    async fn add(
        &mut self,
        scope: ScopeId,
        name: &Name,
        service: &Arc<config::Service>,
        group: Option<&Name>,
        earlier: Option<Earlier>,
    ) -> Result<(MemberId, bool), ActorProcessingErr> {
        let id = self.roster.add_member(scope, member_spec(name, service));
        let mut entry = Entry::new(kind_name(&service.kind), group.cloned(), depends_on(service));
        entry.listen = listeners_of(service);
        self.board.insert(name.clone(), entry);
        let (adopted, last_generation) = match earlier {
            Some(Earlier::Runs(adopted)) => (adopted, 0),
            Some(Earlier::Ended(generation)) => (Vec::new(), generation),
            None => (Vec::new(), 0),
        };
        let runs = !adopted.is_empty();
        // A timer goes on when it is armed again, whether or not a run ended meanwhile.
        let ran = !runs && last_generation > 0 && !matches!(service.kind, Kind::Timer { .. });
        let beside = adopted.get(1).map(process);
        if runs || ran {
            self.roster.adopt(id, self.now());
        }
        self.board.with(name, |entry| {
            entry.generation = last_generation;
            if let Some(adopted) = adopted.first() {
                entry.pid = Some(adopted.child.pid());
                entry.generation = adopted.generation;
                entry.started = Some(adopted.started_at);
                entry.set_beside(beside);
            }
        });
        let service = Arc::clone(service);
        let handle = self.spawn_actor(id, name, service.clone(), adopted, last_generation).await?;
        let mut member = Member::new(name.clone(), service, handle, runs);
        member.replacing = beside.map(|_| Replacing::Last);
        self.members.insert(id, Box::new(member));
        match (runs, ran) {
            (true, _) => self.show_found(id, FOUND),
            (_, true) => self.show_found(id, RAN),
            _ => {}
        }
        Ok((id, runs || ran))
    }

    async fn spawn_actor(
        &mut self,
        id: MemberId,
        name: &Name,
        config: Arc<config::Service>,
        adopted: Vec<Adopted>,
        last_generation: u64,
    ) -> Result<service::Handle, ActorProcessingErr> {
        let options =
            service::Options { adopted, last_generation, ..self.actor_options(id, name, config) };
        self.start_actor(id, options).await
    }

    /// For the actor of a service that never ran.
    pub(super) fn actor_options(
        &self,
        id: MemberId,
        name: &Name,
        config: Arc<config::Service>,
    ) -> service::Options {
        service::Options {
            name: name.clone(),
            config,
            context: self.context.clone(),
            reporter: self.reporter(id),
            adopted: Vec::new(),
            resumed: None,
            last_generation: 0,
        }
    }

    pub(super) fn reporter(&self, id: MemberId) -> Reporter {
        Reporter { member: id, supervisor: self.myself.clone() }
    }

    pub(super) async fn start_actor(
        &mut self,
        id: MemberId,
        options: service::Options,
    ) -> Result<service::Handle, ActorProcessingErr> {
        let (handle, cell) = Service::spawn(options, self.myself.get_cell()).await?;
        self.actors.insert(cell.get_id(), id);
        Ok(handle)
    }

    /// The actor of a service failed: another takes over its process, or reports that it is gone.
    pub(super) async fn replace_actor(
        &mut self,
        id: MemberId,
        reason: String,
    ) -> Result<(), ActorProcessingErr> {
        let Some(member) = self.members.get(&id) else { return Ok(()) };
        let (name, config) = (member.name.clone(), member.config.clone());
        self.bus.publish(event::Kind::Actor {
            actor: format!("services/{name}"),
            context: "child_terminated".to_owned(),
            reason,
        });
        let entries = self.context.journal.entries(&name);
        let alive = entries.iter().filter_map(|(seat, entry)| self.found(seat, entry)).collect();
        let adopted = present_first(alive);
        let generation = self.board.last_generation(name.as_str());
        let (present, beside) = (adopted.first().map(process), adopted.get(1).map(process));
        let handle = self.spawn_actor(id, &name, config, adopted, generation).await?;
        let now = self.now();
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        member.handle = handle;
        member.stopping = false;
        (member.replacing, member.overlap_owed) = (beside.map(|_| Replacing::Last), None);
        if let Some(present) = present {
            self.board.with(&name, |entry| entry.found(present, beside));
        } else {
            // Its process ended with nobody to see how; the machine must not wait for a report.
            member.up = false;
            self.board.with(&name, |entry| entry.pid = None);
            self.roster.ended(id, crate::supervision::machine::End::Abnormal, now);
            self.show(id);
        }
        Ok(())
    }

    /// Starts new members that are to start by themselves; whole groups in order.
    fn start_new(&mut self, fresh: &[(MemberId, bool)]) {
        let mut booted: Vec<ScopeId> = Vec::new();
        for (id, found) in fresh {
            let Some(member) = self.members.get(id) else { continue };
            let manual = member.config.start != Start::Auto;
            if !found {
                self.await_call(*id, Duration::ZERO);
            }
            let Some(scope) = self.roster.scope_of(*id) else { continue };
            if self.roster.is_group(scope) {
                if !booted.contains(&scope) && !manual {
                    booted.push(scope);
                    self.roster.boot_scope(scope);
                }
                continue;
            }
            if !found && !manual {
                self.roster.boot_scope(scope);
            }
        }
    }

    fn order_groups(&mut self, config: &Config) {
        for (name, group) in &config.groups {
            if let Some(scope) = self.roster.find_group(name.as_str()) {
                self.roster.reorder(scope, &group.services);
            }
        }
    }

    /// Shows the groups of the config in force; one that has ended stays so.
    fn show_groups(&self) {
        let before = self.board.groups();
        let groups = self.config.groups.iter().map(|(name, group)| {
            let known = before.iter().find(|known| known.name == *name);
            let as_new = ("running".to_owned(), String::new());
            let (state, reason) =
                known.map_or(as_new, |known| (known.state.clone(), known.reason.clone()));
            status::Group {
                name: name.clone(),
                strategy: strategy_name(group.strategy).to_owned(),
                state,
                reason,
                services: of_services(&group.services),
            }
        });
        self.board.set_groups(groups.collect());
    }
}

fn process(adopted: &Adopted) -> Process {
    let (pid, started) = (adopted.child.pid(), adopted.started_at);
    Process { pid, generation: adopted.generation, started }
}

fn group_of<'c>(config: &'c Config, service: &Name) -> Option<&'c Name> {
    let found = config.groups.iter().find(|(_, group)| group.services.contains(service));
    found.map(|(name, _)| name)
}

fn group_spec(group: &config::Group) -> Spec {
    Spec {
        strategy: group.strategy,
        intensity: group.intensity,
        auto_shutdown: group.auto_shutdown,
        boot: Boot::Retry,
        parallel_stop: false,
        parallel_start: false,
        seed: fastrand::u64(..),
    }
}

/// A service on its own: a supervisor with one child.
fn single_spec(service: &config::Service) -> Spec {
    Spec {
        strategy: Strategy::OneForOne,
        intensity: service.intensity,
        // What ends then is cafe.
        auto_shutdown: match service.significant {
            true => AutoShutdown::AnySignificant,
            false => AutoShutdown::Never,
        },
        boot: Boot::Retry,
        parallel_stop: false,
        parallel_start: false,
        seed: fastrand::u64(..),
    }
}

fn member_spec(name: &Name, service: &config::Service) -> MemberSpec {
    MemberSpec {
        name: name.clone(),
        child: ChildSpec {
            restart: service.restart,
            significant: service.significant,
            backoff: service.backoff,
        },
        after: service.after.clone(),
        requires: service.requires.clone(),
        completes: matches!(service.kind, Kind::Oneshot),
    }
}

fn depends_on(service: &config::Service) -> Vec<Name> {
    let mut names = service.requires.clone();
    names.extend(service.after.iter().filter(|name| !service.requires.contains(name)).cloned());
    of_services(&names)
}

fn listeners_of(service: &config::Service) -> Vec<status::Listener> {
    let shown = |(name, listen): (&Name, &config::Listen)| status::Listener {
        name: name.clone(),
        address: listen.to_string(),
    };
    service.listen.iter().map(shown).collect()
}

pub(super) fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Daemon => "daemon",
        Kind::Oneshot => "oneshot",
        Kind::Timer { .. } => TIMER,
    }
}

fn strategy_name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::OneForOne => "one_for_one",
        Strategy::OneForAll => "one_for_all",
        Strategy::RestForOne => "rest_for_one",
    }
}
