//! Services that ended while no cafe was there: each such end counts by the policy of its service, like any other.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::Duration;

use jiff::Timestamp;

use super::context::sink_options;
use super::journal::Entry;
use super::report::EndedHow;
use super::{Context, State};
use crate::config::{Config, Kind};
use crate::logs;
use crate::os::{family, pidfd};
use crate::types::error::chain;
use crate::types::exit::{BY_ITSELF, Cause, PostMortem};
use crate::types::name::Name;
use crate::types::seat::Seat;

/// Why it is shown as running for a moment.
pub(super) const RAN: &str = "ran when cafe was last there";

/// A process of which cafe did not see the end.
#[derive(Debug)]
pub(super) struct Missed {
    entry: Entry,
    /// How it ended; mostly nobody can tell any more.
    cause: Cause,
    left_behind: usize,
}

impl Context {
    /// Ends what processes left behind that are gone, before anything else of their services starts.
    pub(super) async fn bury(
        &self,
        gone: Vec<(Seat, Entry)>,
        config: &Config,
    ) -> Vec<(Seat, Missed)> {
        for (seat, _) in &gone {
            self.kill_cgroup(seat).await;
        }
        // One look at the whole machine for all of them.
        let marked = match gone.is_empty() {
            true => Vec::new(),
            false => family::marked(&self.state_id).unwrap_or_default(),
        };
        let strays: BTreeSet<&str> = marked.iter().map(|found| found.seat.as_str()).collect();
        let mut missed = Vec::with_capacity(gone.len());
        for (seat, entry) in gone {
            let left_behind = match strays.contains(seat.to_string().as_str()) {
                true => self.kill_strays(&seat).await,
                false => 0,
            };
            let process = self.hear_last(&seat.service, entry.generation, config);
            let cause = match process {
                Some(process) => pidfd::exit_of_non_child(&process).await.map(|exit| exit.cause),
                None => Ok(Cause::Unknown),
            };
            self.journal.ended(&seat, entry.generation);
            let cause = cause.unwrap_or(Cause::Unknown);
            missed.push((seat, Missed { entry, cause, left_behind }));
        }
        missed
    }

    /// The pipes of an incarnation that runs, if they were kept.
    pub(super) fn kept_pipes(&self, name: &Name, generation: u64) -> Option<[OwnedFd; 2]> {
        self.keeping.take(name, generation)?.pipes()
    }

    /// What an incarnation that is gone wrote at last goes into its log, if it was kept; so may its process have been.
    fn hear_last(&self, name: &Name, generation: u64, config: &Config) -> Option<OwnedFd> {
        let mut remains = self.keeping.take(name, generation)?;
        let process = remains.process.take();
        let service = config.services.get(name);
        if let (Some(service), Some([stdout, stderr])) = (service, remains.pipes()) {
            let source = logs::Source {
                service: name.clone(),
                generation,
                stdout,
                stderr,
                options: sink_options(&service.log),
                watch_for: None,
                found: true,
                beside: false,
            };
            if let Err(error) = self.pump.attach(source) {
                tracing::warn!(service = %name, error = chain(&error), "last words not heard");
            }
        }
        process
    }

    /// What was kept of incarnations that the journal does not have. One that ended before it was noted there, or whose end
    /// was noted just before the crash, may have last words; all else is not wanted.
    pub(super) fn hear_others(&self, config: &Config) {
        for (name, generation) in self.keeping.others() {
            let noted = self.journal.entries(&name);
            match noted.iter().map(|(_, entry)| entry.generation).max() {
                // It will be buried.
                Some(_) if noted.iter().any(|(_, entry)| entry.generation == generation) => {}
                None if self.keeping.last_of(&name) == Some(generation) => {
                    let _ = self.hear_last(&name, generation, config);
                    let _ = self.finish_log(&name, generation);
                    self.keeping.forget(&name, generation);
                }
                _ => self.keeping.give_up(&name, generation),
            }
        }
    }
}

impl State {
    /// What ran is taken for an end that is seen now: the policy, its delays and its limits hold as ever.
    pub(super) fn ended_meanwhile(&mut self, name: &Name, missed: Missed) {
        let Some(id) = self.roster.find(name.as_str()) else { return };
        let Some(member) = self.members.get(&id) else { return };
        let how = match member.config.kind {
            Kind::Timer { .. } => EndedHow::Run,
            Kind::Daemon | Kind::Oneshot => EndedHow::Ended { normal: missed.cause.is_normal() },
        };
        self.ended(id, how, missed.post_mortem());
        self.reporter(id).last_lines(&self.context, name, missed.generation());
    }
}

impl Missed {
    pub(super) fn generation(&self) -> u64 {
        self.entry.generation
    }

    fn post_mortem(&self) -> PostMortem {
        let mut trigger = format!("{BY_ITSELF} while cafe was not there");
        trigger.push_str(&left_behind(self.left_behind));
        let ran = Timestamp::now().duration_since(self.entry.since);
        let ran = Duration::try_from(ran).unwrap_or_default();
        PostMortem {
            generation: self.entry.generation,
            pid: Some(self.entry.pid),
            at: Timestamp::now(),
            cause: self.cause,
            run_ms: u64::try_from(ran.as_millis()).unwrap_or(u64::MAX),
            usage: None,
            trigger,
            pulled_down: Vec::new(),
            last_lines: Vec::new(),
        }
    }
}

/// What a post-mortem says of processes that were still there when the main one had ended.
pub(super) fn left_behind(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => "; also ended: 1 process left behind".to_owned(),
        count => format!("; also ended: {count} processes left behind"),
    }
}
