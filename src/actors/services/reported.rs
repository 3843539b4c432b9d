//! What follows from the reports of services.

use std::time::Duration;

use super::State;
use super::board::Process;
use super::report::{EndedHow, Report};
use super::show;
use crate::config;
use crate::supervision::machine::End;
use crate::supervision::roster::MemberId;
use crate::types::event::Kind;
use crate::types::exit::PostMortem;

impl State {
    pub(super) fn reported(&mut self, id: MemberId, report: Report) {
        let now = self.now();
        let Some(member) = self.members.get_mut(&id) else { return };
        let name = member.name.clone();
        match report {
            Report::Spawned { pid, generation, at } => {
                self.board.with(&name, |entry| entry.began(pid, generation, at));
                self.show(id);
            }
            Report::NextSpawned { pid, generation, at } => {
                self.next_spawned(id, Process { pid, generation, started: at });
            }
            Report::Replaced { pid, generation, at, evidence } => {
                self.replaced(id, Process { pid, generation, started: at }, evidence);
            }
            Report::NotOverlapped { reason } => self.not_replaced(id, None, &reason),
            Report::Up { evidence } => {
                member.replacing = None;
                member.up = true;
                member.checked = evidence.is_some();
                member.evidence = evidence;
                member.actor_failures = 0;
                // A timer is up since it was armed, whether or not it runs.
                if !member.is_timer() {
                    self.roster.started(id, now);
                }
                self.show(id);
            }
            Report::Stopping => {
                member.stopping = true;
                self.show(id);
            }
            Report::Ended { how, post_mortem } => self.ended(id, how, post_mortem),
            Report::LastLines { generation, lines } => {
                self.lines_awaited = self.lines_awaited.saturating_sub(1);
                self.publish_exit(id, generation, lines);
            }
            Report::Health { healthy, evidence } => {
                let changed = member.unhealthy == healthy;
                member.unhealthy = !healthy;
                if changed {
                    member.evidence = Some(evidence.clone());
                }
                self.board.with(&name, |entry| entry.probe = Some(evidence));
                if changed {
                    self.show(id);
                }
            }
            Report::StatusText(text) => {
                self.board.with(&name, |entry| entry.status_text = Some(text));
            }
            Report::MainPid(pid) => {
                self.board.with(&name, |entry| entry.pid = Some(pid));
            }
            Report::Armed { next } => {
                let first = member.next_run.replace(next).is_none();
                self.board.with(&name, |entry| entry.next_start = Some(next));
                if first {
                    self.roster.started(id, now);
                }
                self.show(id);
            }
            Report::Remark { message } => {
                self.bus.publish(Kind::Log { service: name, message });
            }
            Report::Disarmed => {
                member.next_run = None;
                self.board.with(&name, |entry| entry.next_start = None);
                self.roster.ended(id, End::Normal, now);
            }
        }
    }

    pub(super) fn ended(&mut self, id: MemberId, how: EndedHow, post_mortem: PostMortem) {
        // They follow every end.
        self.lines_awaited += 1;
        if matches!(how, EndedHow::Beside | EndedHow::NotReplaced) {
            return self.ended_beside(id, how, post_mortem);
        }
        let now = self.now();
        let Some(member) = self.members.get_mut(&id) else { return };
        member.up = false;
        member.unhealthy = false;
        member.stopping = false;
        member.launched = false;
        member.stop_reason = None;
        member.evidence = None;
        (member.replacing, member.overlap_owed) = (None, None);
        let ran = Duration::from_millis(post_mortem.run_ms);
        let words = show::in_words(&post_mortem);
        let was_last = self.board.with(&member.name, |entry| {
            let was_last = post_mortem.generation < entry.generation;
            entry.keep_exit(post_mortem);
            entry.has_ended();
            was_last
        });
        // Of an incarnation that ended before the one it had replaced it was said already.
        if was_last != Some(true) {
            member.last_exit = Some(words);
        }
        match how {
            EndedHow::NeverUp => self.roster.start_failed(id, now),
            EndedHow::Ended { normal } => {
                member.next_run = None;
                if normal && matches!(member.config.kind, config::Kind::Oneshot) {
                    // Its good end is what those after it wait for.
                    self.roster.started(id, now);
                }
                self.roster.ended(id, if normal { End::Normal } else { End::Abnormal }, now);
            }
            EndedHow::Run | EndedHow::Beside | EndedHow::NotReplaced => {}
        }
        self.rests(id, ran);
        self.show(id);
    }

    /// Completes a post-mortem with its last lines and tells everybody.
    fn publish_exit(&mut self, id: MemberId, generation: u64, lines: Vec<String>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let pulled_down = std::mem::take(&mut member.pulled_down);
        let complete = self.board.with(&member.name, |entry| {
            let found = entry.exits.iter_mut().find(|exit| exit.generation == generation)?;
            found.last_lines = lines;
            found.pulled_down = pulled_down;
            Some(found.clone())
        });
        if let Some(post_mortem) = complete.flatten() {
            let service = member.name.clone();
            self.bus.publish(Kind::Exit { service, post_mortem });
        }
    }
}
