//! What cafe tells the service manager that runs it (systemd, or another cafe). Without one, nothing happens.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::os::Error;

/// A message to the service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// All that starts with cafe was told to start, or a reload is over.
    Ready,
    /// A reload begins.
    Reloading,
    /// The end begins.
    Stopping,
    /// What cafe is doing, for `systemctl status`.
    Status(String),
    /// cafe is well.
    Watchdog,
}

/// Tells the service manager; nothing happens where `NOTIFY_SOCKET` is not set.
///
/// # Errors
/// When its socket cannot be written.
pub fn tell(notices: &[Notice]) -> Result<(), Error> {
    let failed = |source: io::Error| Error::system("notify", "the service manager", source);
    let mut states = Vec::with_capacity(notices.len() + 1);
    for notice in notices {
        match notice {
            Notice::Ready => states.push(NotifyState::Ready),
            Notice::Reloading => {
                // systemd takes it only with the moment at which the reload began.
                states.push(NotifyState::Reloading);
                states.push(NotifyState::monotonic_usec_now().map_err(failed)?);
            }
            Notice::Stopping => states.push(NotifyState::Stopping),
            Notice::Status(text) => states.push(NotifyState::Status(text)),
            Notice::Watchdog => states.push(NotifyState::Watchdog),
        }
    }
    sd_notify::notify(&states).map_err(failed)
}

/// Within which time the service manager wants to hear [`Notice::Watchdog`], if it does: tell it at half of it.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}
