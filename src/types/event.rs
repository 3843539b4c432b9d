//! What happened: the one enum that the bus, the CLI, the API and later the store and notifier read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::exit::PostMortem;
use super::name::Name;
use super::state::State;

/// One thing that happened, numbered without gaps since the daemon started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Sequence number, from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What an [`Event`] tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Kind {
    /// A service went from one state to another.
    State {
        /// Which service.
        service: Name,
        /// Where it was.
        from: State,
        /// Where it is.
        to: State,
        /// Why.
        reason: String,
        /// Its process now, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// Its incarnation, counted from 1.
        generation: u64,
    },
    /// A process of a service ended.
    Exit {
        /// Which service.
        service: Name,
        /// All that is kept of it.
        post_mortem: Box<PostMortem>,
    },
    /// A generation of a service that was started beside another one: what became of it.
    Generation {
        /// Which service.
        service: Name,
        /// Which incarnation, counted from 1.
        generation: u64,
        /// That it runs, that it took over, or why it did not.
        message: String,
    },
    /// A service or a group reached its restart limit.
    GaveUp {
        /// The service or group.
        name: Name,
        /// How often in what time, and what follows.
        reason: String,
    },
    /// A group ended because of its significant members (`auto_shutdown`).
    AutoShutdown {
        /// The group.
        group: Name,
        /// Which member ended.
        reason: String,
    },
    /// A config was applied, or refused and nothing changed.
    Config {
        /// Whether it is in force now.
        applied: bool,
        /// What changed, or what is wrong.
        summary: String,
    },
    /// An actor of cafe itself failed and was restarted (`contexts` as in OTP's supervisor reports).
    Actor {
        /// Path of the actor in the tree.
        actor: String,
        /// `child_terminated`, `start_error`, `shutdown_error` or `shutdown`.
        context: String,
        /// Why.
        reason: String,
    },
    /// Somebody asked for a change.
    Audit {
        /// User id of the peer, or `config`, `signal`.
        who: String,
        /// The verb and its subject.
        action: String,
    },
    /// The log of a service waits for the disk, or lost lines as its `on_full: drop` permits.
    Log {
        /// Which service.
        service: Name,
        /// What happened to its lines.
        message: String,
    },
    /// The daemon itself: started, ready, stopping.
    Daemon {
        /// What it does.
        message: String,
    },
}

impl Kind {
    /// The service, group or actor it is about, for filters.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        match self {
            Self::State { service, .. }
            | Self::Exit { service, .. }
            | Self::Generation { service, .. }
            | Self::Log { service, .. } => Some(service.as_str()),
            Self::GaveUp { name, .. } => Some(name.as_str()),
            Self::AutoShutdown { group, .. } => Some(group.as_str()),
            Self::Actor { actor, .. } => Some(actor),
            Self::Config { .. } | Self::Audit { .. } | Self::Daemon { .. } => None,
        }
    }

    /// One line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::State { service, from, to, reason, pid, .. } => {
                let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                format!("{service}: {from} -> {to}{pid}: {reason}")
            }
            Self::Exit { service, post_mortem: end } => {
                let ran = super::unit::show_duration(std::time::Duration::from_millis(end.run_ms));
                let pulled = match end.pulled_down.as_slice() {
                    [] => String::new(),
                    names => format!("; pulled down {}", names.join(", ")),
                };
                format!("{service}: {} after {ran} ({}){pulled}", end.cause, end.trigger)
            }
            Self::Generation { service, generation, message } => {
                format!("{service}: generation {generation}: {message}")
            }
            Self::GaveUp { name, reason } => format!("{name}: gave up: {reason}"),
            Self::AutoShutdown { group, reason } => format!("{group}: shut down: {reason}"),
            Self::Config { applied: true, summary } => format!("config applied: {summary}"),
            Self::Config { applied: false, summary } => format!("config refused: {summary}"),
            Self::Actor { actor, context, reason } => format!("{actor}: {context}: {reason}"),
            Self::Audit { who, action } => format!("{who}: {action}"),
            Self::Log { service, message } => format!("{service}: log: {message}"),
            Self::Daemon { message } => format!("cafe: {message}"),
        }
    }
}
