//! Policies as data: the words of the OTP supervisor, read from the config and applied by `supervision`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Restart types of the OTP supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Unless it exited with 0.
    Transient,
    /// Never.
    Temporary,
}

/// Capped exponential delay with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Upper bound of the first delay.
    pub min: Duration,
    /// Upper bound of all delays.
    pub max: Duration,
    /// Healthy time after which the next delay is the first again.
    pub reset_after: Duration,
}

/// The restart limit: more than `restarts` within `within` is too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intensity {
    /// Restarts allowed.
    pub restarts: u32,
    /// The window.
    pub within: Duration,
    /// What follows at the limit.
    pub then: OnLimit,
}

/// What follows when the restart limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// Go on trying at the longest delay.
    #[default]
    Hold,
    /// Stay down until started by hand.
    GiveUp,
}

/// Restart strategies of the OTP supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Only the one that ended.
    #[default]
    OneForOne,
    /// All members.
    OneForAll,
    /// The one that ended and those after it.
    RestForOne,
}

/// When a group ends because of its significant members, as in OTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// Never.
    #[default]
    Never,
    /// When any significant member ended by itself.
    AnySignificant,
    /// When the last significant member ended by itself.
    AllSignificant,
}

/// What happens when the log cannot be written as fast as the service writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// The service waits.
    #[default]
    Block,
    /// Lines are dropped and counted in place.
    Drop,
}
