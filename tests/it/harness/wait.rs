//! Waiting for something to become so, with a deadline.

use std::time::Duration;

use cafe::net::control::{EventStream, Notice};
use cafe::types::event::Event;
use cafe::types::state::State;
use cafe::types::status::{Service, Status};

use super::Cafe;

/// Longest wait of a test: only a failing test comes near it, so it is long enough for a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// How often is looked at what sends no event: files, processes, figures in the status.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits until `look` finds something outside of cafe: a file, a process.
///
/// # Panics
/// After [`DEADLINE`].
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let found = async {
        let mut ticks = tokio::time::interval(LOOK_AGAIN);
        loop {
            ticks.tick().await;
            if let Some(found) = look() {
                return found;
            }
        }
    };
    match tokio::time::timeout(DEADLINE, found).await {
        Ok(found) => found,
        Err(_) => panic!("never came: {what}"),
    }
}

impl Cafe {
    /// Waits until `judge` finds what it wants in the status; looks again after every event.
    ///
    /// # Panics
    /// After [`DEADLINE`], with the last status.
    pub(crate) async fn wait_for<T>(
        &self,
        what: &str,
        mut judge: impl FnMut(&Status) -> Option<T>,
    ) -> T {
        let mut last = None;
        let found = async {
            let mut events = self.client.events(None).await.expect("event stream");
            loop {
                let status = self.status().await;
                if let Some(found) = judge(&status) {
                    return found;
                }
                last = Some(status);
                // Not all of the status has events: a probe's answer, a status text.
                let _ = tokio::time::timeout(10 * LOOK_AGAIN, events.next()).await;
            }
        };
        match tokio::time::timeout(DEADLINE, found).await {
            Ok(found) => found,
            Err(_) => panic!("never came: {what}; last seen:\n{}", show(last.as_ref())),
        }
    }

    /// Waits until a service is in `state`.
    ///
    /// # Panics
    /// As [`Cafe::wait_for`].
    pub(crate) async fn wait_state(&self, name: &str, state: State) -> Service {
        self.wait_service(name, &state.to_string(), |service| service.state == state).await
    }

    /// Waits until a service is as `wanted`.
    ///
    /// # Panics
    /// As [`Cafe::wait_for`].
    pub(crate) async fn wait_service(
        &self,
        name: &str,
        what: &str,
        mut wanted: impl FnMut(&Service) -> bool,
    ) -> Service {
        let judge = |status: &Status| {
            let service = status.services.iter().find(|service| service.name.as_str() == name)?;
            wanted(service).then(|| service.clone())
        };
        self.wait_for(&format!("{name} {what}"), judge).await
    }

    /// Waits for an event that `judge` accepts, among those of this daemon so far and those to come.
    ///
    /// # Panics
    /// After [`DEADLINE`].
    pub(crate) async fn wait_event<T>(
        &self,
        what: &str,
        mut judge: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        let mut events = self.client.events(Some(0)).await.expect("event stream");
        let found = async {
            loop {
                if let Some(found) = judge(&next(&mut events).await) {
                    return found;
                }
            }
        };
        match tokio::time::timeout(DEADLINE, found).await {
            Ok(found) => found,
            Err(_) => panic!("no such event: {what}"),
        }
    }

    /// All events of this daemon so far, oldest first.
    ///
    /// # Panics
    /// When there were more than cafe keeps.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let mut events = self.client.events(Some(0)).await.expect("event stream");
        let now = jiff::Timestamp::now();
        let mut found = Vec::new();
        while let Ok(event) = tokio::time::timeout(10 * LOOK_AGAIN, next(&mut events)).await {
            if event.at > now {
                break;
            }
            found.push(event);
        }
        found
    }
}

async fn next(events: &mut EventStream) -> Event {
    match events.next().await.expect("event stream goes on") {
        Some(Notice::Event(event)) => *event,
        Some(Notice::Gap(missed)) => panic!("{missed} events were lost to the test"),
        None => panic!("the event stream ended"),
    }
}

fn show(status: Option<&Status>) -> String {
    let Some(status) = status else { return "no status".to_owned() };
    let lines = status.services.iter().map(|service| {
        let Service { name, state, reason, pid, .. } = service;
        format!("  {name}: {state} {pid:?}: {reason}\n")
    });
    lines.collect()
}
