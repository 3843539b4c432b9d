//! Instances of one service are restarted one after another: each is up before the next is touched. When one does not come
//! up, the rest is left as it is.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::service::SETTLE;
use super::{Msg, State, Verb};
use crate::supervision::task::{self, Task};
use crate::types::error::{Code, Problem};
use crate::types::event;
use crate::types::name::Name;
use crate::types::state::State as Lifecycle;

/// A restart of several instances that is under way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Roll {
    verb: Verb,
    why: String,
    present: Option<Present>,
    waiting: VecDeque<Name>,
    /// Looks again once the present one has run for a moment; another image of cafe sees by itself that it must.
    #[serde(skip)]
    settling: Option<Task>,
}

impl Clone for Roll {
    /// Without what looks again.
    fn clone(&self) -> Self {
        Self {
            verb: self.verb.clone(),
            why: self.why.clone(),
            present: self.present.clone(),
            waiting: self.waiting.clone(),
            settling: None,
        }
    }
}

/// The instance whose turn it is, and what it was before.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Present {
    name: Name,
    generation: u64,
    not_replaced: u64,
}

/// How far an instance is with its restart.
enum Progress {
    UnderWay,
    /// Nothing proves it ready, so it has to run for so long.
    Settling(Duration),
    Over,
    Failed(String),
}

impl State {
    /// Does something to all instances of a service.
    pub(super) fn act_on_instances(
        &mut self,
        verb: &Verb,
        service: &str,
        mut names: Vec<Name>,
        why: &str,
    ) -> Result<(), Problem> {
        let reload_restarts = *verb == Verb::Reload
            && names.iter().any(|name| {
                self.member_named(name.as_str())
                    .is_some_and(|member| member.config.reload == crate::config::Reload::Restart)
            });
        match verb {
            Verb::Restart | Verb::Overlap => return self.roll(verb, service, names, why),
            Verb::Reload if reload_restarts => {
                return self.roll(&Verb::Restart, service, names, why);
            }
            Verb::Stop => {
                self.rolls.remove(service);
                names.reverse();
            }
            Verb::Signal(_) => names.retain(|name| self.has_process(name)),
            Verb::Start | Verb::Reload => {}
        }
        if names.is_empty() {
            let message = format!("cannot signal `{service}`: it has no process");
            return Err(Problem::new(Code::Conflict, message));
        }
        for name in names {
            if let Some(id) = self.roster.find(name.as_str()) {
                self.act_on_service(verb, id, why)?;
            }
        }
        Ok(())
    }

    /// The instances of a service, by number; none for one that has no numbers.
    pub(super) fn instances_of(&self, service: &str) -> Vec<Name> {
        let members = self.members.values().filter(|member| !member.leaving);
        let mut names: Vec<Name> = members
            .map(|member| &member.name)
            .filter(|name| name.number().is_some() && name.service() == service)
            .cloned()
            .collect();
        names.sort_by_key(Name::number);
        names
    }

    fn roll(
        &mut self,
        verb: &Verb,
        service: &str,
        mut names: Vec<Name>,
        why: &str,
    ) -> Result<(), Problem> {
        if self.rolls.contains_key(service) {
            let message = format!("the instances of `{service}` are being restarted already");
            let problem = Problem::new(Code::Conflict, message);
            return Err(problem.hint(format!("cafe status {service}")));
        }
        // Those that are down first: at no time is another one missing.
        names.sort_by_key(|name| self.is_shown_as(name).is_some_and(Lifecycle::is_up));
        let (verb, why) = (verb.clone(), why.to_owned());
        let roll = Roll { verb, why, present: None, waiting: names.into(), settling: None };
        self.rolls.insert(service.to_owned(), roll);
        Ok(())
    }

    /// An instance is to be restarted in its turn.
    pub(super) fn enroll(&mut self, name: &Name, why: &str) {
        let roll = self.rolls.entry(name.service().to_owned()).or_insert_with(|| Roll {
            verb: Verb::Restart,
            why: why.to_owned(),
            present: None,
            waiting: VecDeque::new(),
            settling: None,
        });
        if !roll.waiting.contains(name) {
            roll.waiting.push_back(name.clone());
        }
    }

    /// It is not to be restarted after all.
    pub(super) fn enroll_no_more(&mut self, name: &Name) {
        if let Some(roll) = self.rolls.get_mut(name.service()) {
            roll.waiting.retain(|waiting| waiting != name);
        }
    }

    /// Gives the next instances their turn; says whether there is something to do now.
    pub(super) fn advance_rolls(&mut self) -> bool {
        let mut advanced = false;
        let services: Vec<String> = self.rolls.keys().cloned().collect();
        for service in services {
            let Some(mut roll) = self.rolls.remove(&service) else { continue };
            let progress = roll.present.as_ref().map_or(Progress::Over, |it| self.progress(it));
            match progress {
                Progress::UnderWay => drop(self.rolls.insert(service, roll)),
                Progress::Settling(left) if !roll.waiting.is_empty() => {
                    roll.settling = Some(self.wake_after(left));
                    self.rolls.insert(service, roll);
                }
                Progress::Failed(reason) => self.give_up(&roll, &reason),
                Progress::Over | Progress::Settling(_) => {
                    if let Some(name) = roll.waiting.pop_front() {
                        advanced = true;
                        roll.present = Some(self.before(&name));
                        match self.begin_turn(&name, &roll) {
                            Ok(()) => drop(self.rolls.insert(service, roll)),
                            Err(problem) => {
                                let why = problem.message;
                                self.board.with(&name, |entry| entry.not_replaced(why.clone()));
                                self.give_up(&roll, &why);
                            }
                        }
                    }
                }
            }
        }
        advanced
    }

    fn wake_after(&self, time: Duration) -> Task {
        let myself = self.myself.clone();
        task::spawn("roll", async move {
            tokio::time::sleep(time).await;
            let _ = myself.cast(Msg::Wake);
        })
    }

    fn before(&self, name: &Name) -> Present {
        let generation = self.board.last_generation(name.as_str());
        let (not_replaced, _) = self.board.not_replaced(name.as_str());
        Present { name: name.clone(), generation, not_replaced }
    }

    fn begin_turn(&mut self, name: &Name, roll: &Roll) -> Result<(), Problem> {
        match self.roster.find(name.as_str()) {
            Some(id) => self.act_on_service(&roll.verb, id, &roll.why),
            // It left the config meanwhile.
            None => Ok(()),
        }
    }

    fn progress(&self, present: &Present) -> Progress {
        let name = present.name.as_str();
        let (not_replaced, failure) = self.board.not_replaced(name);
        if not_replaced > present.not_replaced {
            return Progress::Failed(failure);
        }
        let Some((state, _, generation)) = self.board.glance(name) else { return Progress::Over };
        let is_next = generation > present.generation;
        match state {
            Lifecycle::Running | Lifecycle::Ready if is_next => {
                let checked = self.member_named(name).is_some_and(|member| member.checked);
                let ran = self.board.with(&present.name, |entry| entry.entered.elapsed());
                match SETTLE.saturating_sub(ran.unwrap_or(SETTLE)) {
                    Duration::ZERO => Progress::Over,
                    _ if checked => Progress::Over,
                    left => Progress::Settling(left),
                }
            }
            Lifecycle::Backoff if !is_next => Progress::UnderWay,
            Lifecycle::Backoff | Lifecycle::Failed | Lifecycle::Done | Lifecycle::Stopped => {
                let reason = self.board.brief(name).map_or_else(String::new, |(.., reason)| reason);
                Progress::Failed(format!("{state}: {reason}"))
            }
            _ => Progress::UnderWay,
        }
    }

    fn give_up(&mut self, roll: &Roll, reason: &str) {
        let Some(present) = &roll.present else { return };
        let message = format!("not restarted, as `{}` did not come up: {reason}", present.name);
        for service in &roll.waiting {
            let generation = self.board.with(service, |entry| {
                entry.not_replaced(message.clone());
                entry.generation
            });
            let (Some(generation), service) = (generation, service.clone()) else { continue };
            let message = message.clone();
            self.bus.publish(event::Kind::Generation { service, generation, message });
        }
    }
}
