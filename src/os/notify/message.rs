//! The text of a notification: lines of `KEY=value`. Pure.

use std::time::Duration;

/// What one datagram says. Unknown keys are ignored, as sd_notify(3) asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// `READY=1`: started, or reloaded.
    pub ready: bool,
    /// `RELOADING=1`.
    pub reloading: bool,
    /// `STOPPING=1`.
    pub stopping: bool,
    /// `STATUS=`: what it does, in its own words.
    pub status: Option<String>,
    /// `ERRNO=`: why it failed.
    pub errno: Option<u32>,
    /// `MAINPID=`: the process that is now the main one.
    pub main_pid: Option<u32>,
    /// `WATCHDOG=1` or `WATCHDOG=trigger`.
    pub watchdog: Option<Watchdog>,
    /// `WATCHDOG_USEC=`: its watchdog interval from now on.
    pub watchdog_interval: Option<Duration>,
    /// `EXTEND_TIMEOUT_USEC=`: it needs this much more time.
    pub extend_timeout: Option<Duration>,
    /// `MONOTONIC_USEC=`: the moment a reload began, CLOCK_MONOTONIC.
    pub monotonic: Option<Duration>,
    /// `BARRIER=1`: it waits for the descriptor it sent to be closed.
    pub barrier: bool,
    /// Lines that are no assignment, not UTF-8, or have a value that cannot be.
    pub malformed: u32,
}

/// What a service says to its watchdog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watchdog {
    /// It is well.
    Alive,
    /// It is not, and wants to be treated so.
    Trigger,
}

impl Message {
    /// Reads a datagram.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Self {
        let mut message = Self::default();
        for line in datagram.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let read = std::str::from_utf8(line).ok().and_then(|line| line.split_once('='));
            if read.and_then(|(key, value)| message.take(key, value)).is_none() {
                message.malformed = message.malformed.saturating_add(1);
            }
        }
        message
    }

    /// `None` when the value cannot be.
    fn take(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "READY" => self.ready |= flag(value)?,
            "RELOADING" => self.reloading |= flag(value)?,
            "STOPPING" => self.stopping |= flag(value)?,
            "STATUS" => self.status = Some(value.to_owned()),
            "ERRNO" => self.errno = Some(value.parse().ok()?),
            "MAINPID" => self.main_pid = Some(value.parse().ok().filter(|&pid: &u32| pid > 1)?),
            "WATCHDOG" if value == "trigger" => self.watchdog = Some(Watchdog::Trigger),
            "WATCHDOG" => self.watchdog = flag(value)?.then_some(Watchdog::Alive).or(self.watchdog),
            "WATCHDOG_USEC" => self.watchdog_interval = Some(microseconds(value)?),
            "EXTEND_TIMEOUT_USEC" => self.extend_timeout = Some(microseconds(value)?),
            "MONOTONIC_USEC" => self.monotonic = Some(microseconds(value)?),
            "BARRIER" => self.barrier |= flag(value)?,
            _ => {}
        }
        Some(())
    }
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "1" => Some(true),
        "0" => Some(false),
        _ => None,
    }
}

fn microseconds(value: &str) -> Option<Duration> {
    value.parse().ok().map(Duration::from_micros)
}
