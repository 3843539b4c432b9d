//! What systemd is told of the daemon: ready, how the services are, that it is alive, that it ends.

use std::time::Duration;

use crate::actors::Root;
use crate::os::notify::manager::{self, Notice};
use crate::supervision::task::{self, Task};
use crate::types::error::chain;

/// How often the status line is renewed without a watchdog.
const STATUS_PERIOD: Duration = Duration::from_secs(60);

/// Tells the service manager; a failure is no reason to stop.
pub(super) fn say(notices: &[Notice]) {
    if let Err(error) = manager::tell(notices) {
        tracing::warn!(error = chain(&error), "service manager not told");
    }
}

/// Says ready, and goes on to say how the services are. The watchdog is fed only while they answer.
pub(super) fn keep_informed(root: &Root) -> Option<Task> {
    say(&[Notice::Ready]);
    std::env::var_os("NOTIFY_SOCKET")?;
    let services = root.services.clone();
    let watchdog = manager::watchdog().map(|interval| interval / 2);
    let mut ticks = tokio::time::interval(watchdog.unwrap_or(STATUS_PERIOD));
    Some(task::spawn("service manager", async move {
        loop {
            ticks.tick().await;
            let Ok(()) = services.ping().await else { continue };
            let mut notices = vec![Notice::Status(services.board().summary())];
            notices.extend(watchdog.map(|_| Notice::Watchdog));
            say(&notices);
        }
    }))
}
