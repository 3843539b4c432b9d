//! How much CPU a process uses.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::os::procfs;

/// Shortest time between two samples of a process; below it the last percentage stands.
const CPU_WINDOW: Duration = Duration::from_secs(1);

/// A sample of a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cpu {
    pub(super) pid: u32,
    pub(super) at: Instant,
    pub(super) ticks: u64,
    pub(super) percent: f64,
}

/// CPU since the last sample, or over the whole life at the first; `true` if it is a new sample.
pub(super) fn percent(
    pid: u32,
    usage: &procfs::Sample,
    before: Option<Cpu>,
    started: Option<Timestamp>,
) -> (Cpu, bool) {
    let now = Instant::now();
    let ticks_per_second = procfs::ticks_per_second();
    let (ticks, elapsed) = match before {
        Some(before) if now - before.at < CPU_WINDOW => return (before, false),
        Some(before) => (usage.cpu_ticks.saturating_sub(before.ticks), now - before.at),
        None => {
            let age = started.map(|at| Timestamp::now().duration_since(at));
            (usage.cpu_ticks, age.and_then(|age| age.try_into().ok()).unwrap_or(CPU_WINDOW))
        }
    };
    let seconds = elapsed.as_secs_f64().max(0.01);
    #[expect(clippy::cast_precision_loss, reason = "ticks of one process are far below 2^52")]
    let percent = ticks as f64 / ticks_per_second as f64 / seconds * 100.0;
    let percent = (percent * 10.0).round() / 10.0;
    (Cpu { pid, at: now, ticks: usage.cpu_ticks, percent }, true)
}
