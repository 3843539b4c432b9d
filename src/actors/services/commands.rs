//! Commands by hand: from a name and a verb to what the roster is told.

use super::board::Entry;
use super::{State, Verb, no_such_name};
use crate::config;
use crate::supervision::machine::Refusal;
use crate::supervision::roster::{MemberId, ScopeId};
use crate::types::error::{Code, Problem};
use crate::types::name::Name;

impl State {
    pub(super) fn act(&mut self, verb: &Verb, name: &str, why: &str) -> Result<(), Problem> {
        let instances = self.instances_of(name);
        if !instances.is_empty() {
            return self.act_on_instances(verb, name, instances, why);
        }
        if let Some(id) = self.roster.find(name) {
            return self.act_on_service(verb, id, why);
        }
        if let Some(scope) = self.roster.find_group(name) {
            return self.act_on_group(verb, scope, name, why);
        }
        Err(no_such_name(name, &self.board.names()))
    }

    pub(super) fn act_on_service(
        &mut self,
        verb: &Verb,
        id: MemberId,
        why: &str,
    ) -> Result<(), Problem> {
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        let name = member.name.clone();
        match verb {
            Verb::Signal(signal) => {
                if self.board.glance(name.as_str()).is_none_or(|(_, pid, _)| pid.is_none()) {
                    let message = format!("cannot signal `{name}`: it has no process");
                    return Err(Problem::new(Code::Conflict, message));
                }
                member.handle.signal(*signal);
                return Ok(());
            }
            Verb::Reload => match member.config.reload {
                config::Reload::Signal(signal) => {
                    return self.act_on_service(&Verb::Signal(signal), id, why);
                }
                config::Reload::Restart => return self.act_on_service(&Verb::Restart, id, why),
            },
            Verb::Start if member.next_run.is_some() => {
                member.handle.run_now();
                return Ok(());
            }
            Verb::Restart | Verb::Overlap => {
                let wanted = *verb == Verb::Overlap || member.config.overlap;
                if wanted && self.overlap(id, why)? {
                    return Ok(());
                }
            }
            Verb::Start | Verb::Stop => {}
        }
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        if *verb != Verb::Start {
            member.stop_reason = Some(why.to_owned());
        }
        let done = match verb {
            Verb::Start => self.roster.start(id),
            Verb::Stop => {
                self.put_off(id);
                self.enroll_no_more(&name);
                self.roster.stop(id)
            }
            _ => self.roster.restart(id),
        };
        if done.is_ok() {
            self.board.with(&name, Entry::starts_afresh);
        }
        self.accept(done, &name)
    }

    fn accept(&self, done: Result<(), Refusal>, name: &Name) -> Result<(), Problem> {
        match done {
            // Wanted and so already: not a failure.
            Ok(()) | Err(Refusal::Running) => Ok(()),
            Err(refusal) => {
                Err(Problem::new(Code::Conflict, format!("cannot do this to `{name}`: {refusal}")))
            }
        }
    }

    fn act_on_group(
        &mut self,
        verb: &Verb,
        scope: ScopeId,
        name: &str,
        why: &str,
    ) -> Result<(), Problem> {
        let members = self.roster.members_of(scope);
        match verb {
            Verb::Start | Verb::Stop | Verb::Restart => {
                for id in members {
                    let Some(member) = self.members.get_mut(&id) else { continue };
                    if *verb != Verb::Start {
                        member.stop_reason = Some(format!("group {name}: {why}"));
                    }
                    if *verb != Verb::Start || !member.up {
                        self.board.with(&member.name, Entry::starts_afresh);
                    }
                }
                match verb {
                    Verb::Start => self.roster.boot_scope(scope),
                    Verb::Stop => self.roster.stop_scope(scope),
                    _ => self.roster.restart_scope(scope),
                }
            }
            Verb::Overlap => {
                let message = format!("`{name}` is a group: its services are replaced one by one");
                let hint = "cafe restart --overlap NAME";
                return Err(Problem::new(Code::Conflict, message).hint(hint));
            }
            Verb::Reload | Verb::Signal(_) => {
                for id in members {
                    self.act_on_service(verb, id, why)?;
                }
            }
        }
        Ok(())
    }
}
