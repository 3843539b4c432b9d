//! How an incarnation proves ready and stays healthy: probes, log lines, `sd_notify(3)`, a descriptor.

use std::time::Duration;

use ractor::ActorRef;
use tokio::time::{Instant, MissedTickBehavior};

use super::super::report::Report;
use super::instance::Phase;
use super::{Msg, State};
use crate::config::{OnUnhealthy, Ready};
use crate::net::probe;
use crate::os::notify::{Message as Notification, Watchdog};
use crate::supervision::task;
use crate::types::unit::show_duration;

/// First and longest pause between two tries of a readiness probe.
const PROBE_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

impl State {
    /// Begins to wait for readiness; without a check the service is up at once, unless another one has to make way for it.
    pub(super) fn await_ready(&mut self, myself: &ActorRef<Msg>, generation: u64) {
        if matches!(self.config.kind, crate::config::Kind::Oneshot) {
            // Up means done: its end is awaited.
            return;
        }
        let Some(ready) = self.config.ready.clone() else {
            return match self.is_current(generation) {
                true => self.up(myself, generation, None),
                false => self.settle(myself, generation),
            };
        };
        let timeout = self.config.ready_timeout;
        let Some(instance) = self.find(generation) else { return };
        if let Some(evidence) = instance.early_evidence.take() {
            return self.up(myself, generation, Some(evidence));
        }
        let me = myself.clone();
        match ready {
            Ready::Delay(delay) => {
                let evidence = format!("alive for {}", show_duration(delay));
                instance.checks.push(task::spawn("ready delay", async move {
                    tokio::time::sleep(delay).await;
                    let _ = me.cast(Msg::Ready { generation, evidence });
                }));
                return;
            }
            Ready::Probe(target) => {
                let target = probe_target(&target);
                instance.checks.push(task::spawn("ready probe", async move {
                    let evidence = probe_until_ready(&target, timeout).await;
                    let _ = me.cast(Msg::Ready { generation, evidence });
                }));
            }
            // The log pump and the notify socket watch since before the start; the descriptor's task, too.
            Ready::Log(_) | Ready::Notify | Ready::Fd(_) => {}
        }
        self.set_ready_deadline(myself, generation, timeout);
    }

    fn set_ready_deadline(&mut self, myself: &ActorRef<Msg>, generation: u64, timeout: Duration) {
        let me = myself.clone();
        let Some(instance) = self.find(generation) else { return };
        instance.deadline = Some(task::spawn("ready deadline", async move {
            tokio::time::sleep(timeout).await;
            let _ = me.cast(Msg::ReadinessExpired { generation });
        }));
    }

    pub(super) fn ready(&mut self, myself: &ActorRef<Msg>, generation: u64, evidence: String) {
        let Some(instance) = self.find(generation) else { return };
        match instance.phase {
            Phase::Spawning => instance.early_evidence = Some(evidence),
            Phase::Starting => self.up(myself, generation, Some(evidence)),
            Phase::Up | Phase::Stopping | Phase::Clearing => {}
        }
    }

    pub(super) fn up(&mut self, myself: &ActorRef<Msg>, generation: u64, evidence: Option<String>) {
        let Some(instance) = self.find(generation) else { return };
        instance.phase = Phase::Up;
        instance.was_up = true;
        instance.deadline = None;
        instance.checks.clear();
        match self.is_current(generation) {
            true => self.report(Report::Up { evidence }),
            false => self.take_over(myself, evidence),
        }
        self.set_watchdog(myself, generation, None);
        self.watch_health(myself, generation);
    }

    pub(super) fn readiness_expired(&mut self, myself: &ActorRef<Msg>, generation: u64) {
        let Some(instance) = self.find(generation) else { return };
        if instance.phase != Phase::Starting {
            return;
        }
        let timeout = show_duration(self.config.ready_timeout);
        let code = crate::types::error::Code::NotReadyInTime;
        self.end(myself, generation, format!("not ready within {timeout} [{code}]"));
    }

    // ---- health ----

    /// Begins the health probes of a service that is up.
    pub(super) fn watch_health(&mut self, myself: &ActorRef<Msg>, generation: u64) {
        let Some(health) = self.config.health.clone() else { return };
        let me = myself.clone();
        let Some(instance) = self.find(generation) else { return };
        instance.checks.push(task::spawn("health", async move {
            let target = probe_target(&health.probe);
            tokio::time::sleep(health.grace).await;
            let mut ticks = tokio::time::interval(health.every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let result = probe::ask(&target, health.timeout).await;
                if me.cast(Msg::Probed { generation, result }).is_err() {
                    return;
                }
            }
        }));
    }

    pub(super) fn probed(
        &mut self,
        myself: &ActorRef<Msg>,
        generation: u64,
        result: Result<String, String>,
    ) {
        let Some(health) = self.config.health.clone() else { return };
        let Some(instance) = self.find(generation) else { return };
        if instance.phase != Phase::Up {
            return;
        }
        let evidence = match result {
            Ok(evidence) => {
                instance.failures = 0;
                instance.unhealthy = false;
                return self.report(Report::Health { healthy: true, evidence });
            }
            Err(evidence) => evidence,
        };
        instance.failures += 1;
        let (failures, allowed) = (instance.failures, health.failures);
        if failures < allowed {
            let evidence = format!("{evidence} ({failures} of {allowed} failures)");
            let healthy = !instance.unhealthy;
            return self.report(Report::Health { healthy, evidence });
        }
        instance.unhealthy = true;
        self.report(Report::Health { healthy: false, evidence: evidence.clone() });
        if health.action == OnUnhealthy::Restart {
            let code = crate::types::error::Code::HealthFailed;
            let trigger = format!("health check failed {failures} times: {evidence} [{code}]");
            self.end(myself, generation, trigger);
        }
    }

    // ---- sd_notify(3) ----

    pub(super) fn notified(&mut self, myself: &ActorRef<Msg>, generation: u64, said: Notification) {
        if self.find(generation).is_none() {
            return;
        }
        if let Some(pid) = said.main_pid {
            self.check_main_pid(myself, generation, pid);
        }
        if let Some(extension) = said.extend_timeout {
            self.extend_deadline(myself, generation, extension);
        }
        if let Some(errno) = said.errno.and_then(|errno| i32::try_from(errno).ok()) {
            let error = std::io::Error::from_raw_os_error(errno);
            self.says(generation, format!("failed: {error}"));
        }
        if said.reloading {
            self.says(generation, "reloading".to_owned());
        }
        if said.stopping {
            self.says(generation, "stopping by itself".to_owned());
        }
        if let Some(text) = said.status {
            self.says(generation, text);
        }
        if said.ready {
            self.ready(myself, generation, "said READY=1".to_owned());
        }
        if let Some(interval) = said.watchdog_interval {
            self.set_watchdog(myself, generation, Some(interval));
        }
        match said.watchdog {
            Some(Watchdog::Alive) => self.set_watchdog(myself, generation, None),
            Some(Watchdog::Trigger) => self.watchdog_expired(myself, generation),
            None => {}
        }
    }

    /// What it says of itself is shown once it is the one that is shown.
    fn says(&mut self, generation: u64, text: String) {
        if self.is_current(generation) {
            return self.report(Report::StatusText(text));
        }
        if let Some(instance) = self.find(generation) {
            instance.said = Some(text);
        }
    }

    /// Begins (again) the time within which the service must give a sign of life: a new interval, or the one
    /// that holds.
    pub(super) fn set_watchdog(
        &mut self,
        myself: &ActorRef<Msg>,
        generation: u64,
        interval: Option<Duration>,
    ) {
        let configured = self.config.watchdog;
        let me = myself.clone();
        let Some(instance) = self.find(generation) else { return };
        instance.watchdog_interval = interval.or(instance.watchdog_interval).or(configured);
        let Some(interval) = instance.watchdog_interval else { return };
        if !matches!(instance.phase, Phase::Starting | Phase::Up) {
            return;
        }
        instance.watchdog = Some(task::spawn("watchdog", async move {
            tokio::time::sleep_until(Instant::now() + interval).await;
            let _ = me.cast(Msg::WatchdogExpired { generation });
        }));
    }

    pub(super) fn watchdog_expired(&mut self, myself: &ActorRef<Msg>, generation: u64) {
        let code = crate::types::error::Code::HealthFailed;
        self.end(myself, generation, format!("no WATCHDOG=1 in time [{code}]"));
    }

    /// `EXTEND_TIMEOUT_USEC`: the deadline of the start or the stop that runs now begins anew.
    fn extend_deadline(&mut self, myself: &ActorRef<Msg>, generation: u64, extension: Duration) {
        let Some(instance) = self.find(generation) else { return };
        match instance.phase {
            Phase::Starting => self.set_ready_deadline(myself, generation, extension),
            Phase::Stopping => self.set_stop_deadline(myself, generation, extension),
            Phase::Spawning | Phase::Up | Phase::Clearing => {}
        }
    }
}

impl State {
    /// `MAINPID`: believed only of a process that belongs to the service.
    fn check_main_pid(&mut self, myself: &ActorRef<Msg>, generation: u64, pid: u32) {
        let (me, context) = (myself.clone(), self.context.clone());
        let Some(instance) = self.find(generation) else { return };
        let Some(family) = instance.family.clone() else { return };
        instance.hearing.push(task::spawn("main pid", async move {
            if context.is_member(&family, pid).await {
                let _ = me.cast(Msg::MainPid { generation, pid });
            }
        }));
    }

    /// Another process of the service is its main one from now on.
    pub(super) fn main_pid(&mut self, myself: &ActorRef<Msg>, generation: u64, pid: u32) {
        let Some(instance) = self.find(generation) else { return };
        if instance.child.as_ref().is_some_and(|child| child.pid() == pid) {
            return;
        }
        let (seat, since) = (instance.seat.clone(), jiff::Timestamp::now());
        let Ok(start_time) = crate::os::procfs::start_time(pid) else { return };
        let Some(child) = self.context.adopt(pid, start_time) else { return };
        self.context.journal.began(&seat, generation, &child, since);
        if self.is_current(generation) {
            self.report(Report::MainPid(pid));
        }
        self.follow(myself, generation, child);
    }
}

/// Asks again and again until the answer is good; the deadline is the caller's.
async fn probe_until_ready(target: &probe::Target, timeout: Duration) -> String {
    let (mut pause, longest) = PROBE_PAUSE;
    loop {
        if let Ok(evidence) = probe::ask(target, timeout).await {
            return evidence;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

fn probe_target(probe: &crate::config::Probe) -> probe::Target {
    match probe {
        crate::config::Probe::Tcp(address) => probe::Target::Tcp(*address),
        crate::config::Probe::Http { address, host, path } => {
            probe::Target::Http { address: *address, host: host.clone(), path: path.clone() }
        }
    }
}
