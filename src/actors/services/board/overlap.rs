//! What is shown of an overlap: the incarnation beside the present one, and why the last overlap failed.

use jiff::Timestamp;

use super::Entry;

/// What is known of overlapping restarts.
#[derive(Debug, Clone, Default)]
pub(super) struct Overlap {
    /// The incarnation beside the present one.
    pub(super) beside: Option<Process>,
    /// How often the next one did not take over, and what was the matter last.
    pub(super) failures: u64,
    pub(super) failure: String,
}

/// A process of a service.
#[derive(Debug, Clone, Copy)]
pub(in crate::actors::services) struct Process {
    pub(in crate::actors::services) pid: u32,
    pub(in crate::actors::services) generation: u64,
    pub(in crate::actors::services) started: Timestamp,
}

impl Entry {
    /// Another process took the place of the present one, which ends.
    pub(in crate::actors::services) fn replaced(&mut self, next: Process) {
        let last = self.process();
        self.shows(next);
        self.set_beside(last);
        self.restarts = 0;
    }

    /// The process that was found running; the same, unless cafe failed in the middle of an overlap.
    pub(in crate::actors::services) fn found(&mut self, process: Process, beside: Option<Process>) {
        if self.pid != Some(process.pid) {
            self.shows(process);
        }
        self.set_beside(beside);
    }

    pub(super) fn process(&self) -> Option<Process> {
        let (pid, started) = (self.pid?, self.started?);
        Some(Process { pid, generation: self.generation, started })
    }

    /// There is, or is not any more, an incarnation beside the present one.
    pub(in crate::actors::services) fn set_beside(&mut self, process: Option<Process>) {
        if process.is_some() || self.overlap.is_some() {
            self.overlap.get_or_insert_default().beside = process;
        }
    }

    /// The next incarnation did not take over.
    pub(in crate::actors::services) fn not_replaced(&mut self, failure: String) {
        let overlap = self.overlap.get_or_insert_default();
        overlap.failures += 1;
        overlap.failure = failure;
    }

    /// The present incarnation ended.
    pub(in crate::actors::services) fn has_ended(&mut self) {
        self.pid = None;
        self.probe = None;
        self.set_beside(None);
    }

    pub(super) fn beside(&self) -> Option<Process> {
        self.overlap.as_ref()?.beside
    }
}
