//! Restarts that overlap: the next incarnation is up before the last one ends. The roster knows nothing of them: to it
//! the service stays up.

use super::State;
use super::board::Process;
use super::report::EndedHow;
use super::show;
use crate::config::Kind;
use crate::supervision::roster::MemberId;
use crate::types::error::{Code, Problem};
use crate::types::event;
use crate::types::exit::PostMortem;

/// How far an overlap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replacing {
    /// The next incarnation is not up yet.
    Next,
    /// It is, and the last one ends.
    Last,
}

impl State {
    /// Has the next incarnation started beside the one that is up; `false` if none is, so that there is nothing to
    /// overlap with. While the last one still ends, this waits for that.
    pub(super) fn overlap(&mut self, id: MemberId, why: &str) -> Result<bool, Problem> {
        let stays_up = self.roster.stays_up(id);
        let Some(member) = self.members.get_mut(&id) else { return Ok(false) };
        let name = &member.name;
        if member.config.kind != Kind::Daemon {
            let message = format!("cannot overlap `{name}`: only a daemon can");
            return Err(Problem::new(Code::Conflict, message));
        }
        if !stays_up || !member.up || member.stopping {
            return Ok(false);
        }
        match member.replacing {
            None => self.replace(id, why.to_owned()),
            Some(Replacing::Last) => member.overlap_owed = Some(why.to_owned()),
            Some(Replacing::Next) => {
                let message = format!("`{name}` is being replaced already, the next is not up yet");
                let problem = Problem::new(Code::Conflict, message);
                return Err(problem.hint(format!("cafe status {name}")));
            }
        }
        Ok(true)
    }

    /// As [`Self::overlap`], with whatever the config is by the time the present overlap is over.
    pub(super) fn overlap_anew(&mut self, id: MemberId, why: &str) -> bool {
        let begun = self.overlap(id, why);
        let Some(member) = self.members.get_mut(&id) else { return false };
        if begun.is_err() {
            member.overlap_owed = Some(why.to_owned());
        }
        begun.unwrap_or(member.overlap_owed.is_some())
    }

    fn replace(&mut self, id: MemberId, why: String) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.replacing = Some(Replacing::Next);
        member.handle.overlap(why);
        self.show(id);
    }

    /// An overlap is over: another one may be owed.
    fn replaces_no_more(&mut self, id: MemberId) {
        let stays_up = self.roster.stays_up(id);
        let Some(member) = self.members.get_mut(&id) else { return };
        member.replacing = None;
        match member.overlap_owed.take() {
            Some(why) if stays_up && member.up && !member.stopping => self.replace(id, why),
            _ => self.show(id),
        }
    }

    pub(super) fn next_spawned(&mut self, id: MemberId, process: Process) {
        let Some(member) = self.members.get(&id) else { return };
        let present = self.board.with(&member.name, |entry| {
            entry.set_beside(Some(process));
            entry.generation
        });
        let message = format!("started beside generation {}", present.unwrap_or_default());
        self.tell(id, process, message);
    }

    pub(super) fn replaced(&mut self, id: MemberId, next: Process, evidence: Option<String>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let was_fine = member.up && !member.stopping && !member.unhealthy;
        member.checked = evidence.is_some();
        member.evidence = evidence;
        (member.up, member.stopping, member.unhealthy) = (true, false, false);
        member.actor_failures = 0;
        member.replacing = Some(Replacing::Last);
        let last = self.board.with(&member.name, |entry| {
            let last = entry.generation;
            entry.replaced(next);
            last
        });
        if !was_fine {
            self.show_start(id);
        }
        self.show(id);
        let message = format!("took over from generation {}", last.unwrap_or_default());
        self.tell(id, next, message);
    }

    /// The next incarnation, if one was started at all, did not take over.
    pub(super) fn not_replaced(&mut self, id: MemberId, next: Option<Process>, reason: &str) {
        let Some(member) = self.members.get(&id) else { return };
        let failure = self.board.with(&member.name, |entry| {
            let present = entry.generation;
            let failure = format!("the next did not take over from generation {present}: {reason}");
            entry.not_replaced(failure.clone());
            failure
        });
        self.replaces_no_more(id);
        if let (Some(next), Some(failure)) = (next, failure) {
            self.tell(id, next, failure);
        }
    }

    /// An incarnation ended beside another one: the last one, the next one, or the present one while the next is on its
    /// way.
    pub(super) fn ended_beside(&mut self, id: MemberId, how: EndedHow, post_mortem: PostMortem) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let (generation, pid, at) =
            (post_mortem.generation, post_mortem.pid.unwrap_or_default(), post_mortem.at);
        let words = show::in_words(&post_mortem);
        let is_present = self.board.with(&member.name, |entry| {
            let is_present = entry.generation == generation;
            entry.keep_exit(post_mortem);
            match is_present {
                true => entry.has_ended(),
                false => entry.set_beside(None),
            }
            is_present
        });
        if is_present == Some(true) {
            (member.up, member.unhealthy, member.stopping) = (false, false, false);
            (member.evidence, member.last_exit) = (None, Some(words));
            // What comes next is a start like any other.
            member.launched = false;
            return self.show_start(id);
        }
        if how == EndedHow::NotReplaced {
            let next = Process { pid, generation, started: at };
            return self.not_replaced(id, Some(next), &words);
        }
        self.replaces_no_more(id);
    }

    fn tell(&self, id: MemberId, process: Process, message: String) {
        let Some(member) = self.members.get(&id) else { return };
        let (service, generation) = (member.name.clone(), process.generation);
        self.bus.publish(event::Kind::Generation { service, generation, message });
    }
}
