//! How a process ended, and all that is kept of it: the post-mortem.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a process is no longer there; the twin of `waitid(2)`'s `si_code` and `si_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It called `exit(2)` with this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// Signal number, as in `signal(7)`.
        signal: i32,
        /// Whether a core was dumped (`CLD_DUMPED`).
        core: bool,
    },
    /// The kernel killed it for memory (`memory.events` of its cgroup counted an `oom_kill`).
    OutOfMemory,
    /// It could not be started at all; the post-mortem's `trigger` says why.
    NotStarted,
    /// It ended, but the kernel would not say how: it was not our child (adopted after a crash of cafe).
    Unknown,
}

impl Cause {
    /// A normal end in the sense of OTP: a `transient` service is not restarted after it.
    #[must_use]
    pub fn is_normal(self) -> bool {
        self == Self::Code(0)
    }

    /// As a shell has it in `$?`: the code, 128 and the signal, or 127 for what could not be started.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        // Of a code the kernel keeps eight bits.
        let low = |number: i32| number.to_le_bytes()[0];
        match self {
            Self::Code(code) => low(code),
            Self::Signal { signal, .. } => low(signal).saturating_add(128),
            Self::OutOfMemory => 128 + 9,
            Self::NotStarted => 127,
            Self::Unknown => 1,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(formatter, "exited {code}"),
            Self::Signal { signal, core } => {
                write!(formatter, "killed by {}", signal_name(signal))?;
                formatter.write_str(if core { " (core dumped)" } else { "" })
            }
            Self::OutOfMemory => formatter.write_str("killed for memory (oom)"),
            Self::NotStarted => formatter.write_str("could not be started"),
            Self::Unknown => formatter.write_str("ended, status unknown"),
        }
    }
}

/// Names of `signal(7)` by number on Linux (x86, ARM, RISC-V); index 0 is unused.
const SIGNAL_NAMES: [&str; 32] = [
    "0", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// `SIGTERM` for 15; real-time signals are shown by number.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    let known = usize::try_from(signal).ok().filter(|&number| number > 0);
    match known.and_then(|number| SIGNAL_NAMES.get(number)) {
        Some(name) => format!("SIG{name}"),
        None => format!("signal {signal}"),
    }
}

/// The number of `TERM`, `SIGTERM` or `15`.
#[must_use]
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    SIGNAL_NAMES
        .iter()
        .position(|&known| known == name)
        .and_then(|number| i32::try_from(number).ok())
}

/// What the kernel accounted to a process over its life (`getrusage(2)`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// CPU time in user mode, milliseconds.
    pub user_ms: u64,
    /// CPU time in the kernel, milliseconds.
    pub system_ms: u64,
    /// Largest resident set, bytes.
    pub max_memory_bytes: u64,
}

/// Everything kept of one ended incarnation of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PostMortem {
    /// Which incarnation this was, counted from 1.
    pub generation: u64,
    /// Process id; absent if it never started.
    pub pid: Option<u32>,
    /// When it ended.
    pub at: Timestamp,
    /// How it ended.
    pub cause: Cause,
    /// How long it ran, milliseconds.
    pub run_ms: u64,
    /// What it used; absent where the kernel would not say.
    pub usage: Option<Usage>,
    /// What ended it, if anything but itself: a stop by hand, a failed health check, its group.
    pub trigger: String,
    /// The services that were stopped or restarted because of this exit.
    pub pulled_down: Vec<String>,
    /// The last lines it wrote, oldest first.
    pub last_lines: Vec<String>,
}

/// The trigger of an end that nobody asked for.
pub const BY_ITSELF: &str = "ended by itself";

impl PostMortem {
    /// The code with which a program ends that ends because of it. One that was ended for a fault and left politely
    /// did not succeed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.cause.exit_code() {
            0 if !self.trigger.starts_with(BY_ITSELF) => 1,
            code => code,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{BY_ITSELF, Cause, PostMortem, signal_name, signal_number};

    #[test]
    fn signals_are_read_and_shown_by_name() {
        for text in ["TERM", "SIGTERM", "15"] {
            assert_eq!(signal_number(text), Some(15));
        }
        assert_eq!(signal_number("0"), None);
        assert_eq!(signal_number("SIGNOPE"), None);
        assert_eq!(signal_number("65"), None);
        assert_eq!(signal_name(9), "SIGKILL");
        assert_eq!(signal_name(40), "signal 40");
    }

    #[test]
    fn codes_are_those_of_a_shell() {
        let signal = |signal| Cause::Signal { signal, core: false };
        for (cause, code) in [
            (Cause::Code(0), 0),
            (Cause::Code(42), 42),
            (Cause::Code(255), 255),
            (signal(15), 143),
            (signal(64), 192),
            (Cause::OutOfMemory, 137),
            (Cause::NotStarted, 127),
            (Cause::Unknown, 1),
        ] {
            assert_eq!(cause.exit_code(), code, "{cause}");
        }
    }

    #[test]
    fn a_polite_end_for_a_fault_is_no_success() {
        let ended = |trigger: &str, code| PostMortem {
            generation: 1,
            pid: Some(2),
            at: Timestamp::UNIX_EPOCH,
            cause: Cause::Code(code),
            run_ms: 0,
            usage: None,
            trigger: trigger.to_owned(),
            pulled_down: Vec::new(),
            last_lines: Vec::new(),
        };
        assert_eq!(ended(BY_ITSELF, 0).exit_code(), 0);
        assert_eq!(ended("ended by itself; also ended: 1 process left behind", 0).exit_code(), 0);
        assert_eq!(ended("not ready within 30s", 0).exit_code(), 1);
        assert_eq!(ended("not ready within 30s", 7).exit_code(), 7);
    }

    #[test]
    fn only_exit_code_zero_is_normal() {
        assert!(Cause::Code(0).is_normal());
        for cause in [Cause::Code(1), Cause::Unknown, Cause::Signal { signal: 15, core: false }] {
            assert!(!cause.is_normal(), "{cause}");
        }
    }
}
