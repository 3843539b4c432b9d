//! The snapshot and the counters as OpenMetrics 1.0 text
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>): one family at a time, `# EOF` at the end.

use std::fmt::{Display, Write as _};

use super::backend::Counters;
use crate::types::state::State;
use crate::types::status::Status;

/// What the text is served as.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All families. Service names need no escaping: their alphabet is that of `types::name`.
pub(super) fn render(status: &Status, counters: &Counters) -> String {
    let mut page = Page(String::with_capacity(512 + status.services.len() * 1024));
    daemon(&mut page, status, counters);
    states(&mut page, status);
    gauges(&mut page, status);
    sums(&mut page, counters);
    page.0.push_str("# EOF\n");
    page.0
}

fn daemon(page: &mut Page, status: &Status, counters: &Counters) {
    let daemon = &status.daemon;
    page.family("cafe", "info", "", "The daemon.");
    let version = escape(&daemon.version);
    let revision = escape(&daemon.config_revision);
    page.sample("cafe_info", &format!("version=\"{version}\",config_revision=\"{revision}\""), 1);
    page.family("cafe_uptime_seconds", "gauge", "seconds", "Time since the daemon started.");
    page.sample("cafe_uptime_seconds", "", seconds(daemon.uptime_ms));
    page.family("cafe_memory_bytes", "gauge", "bytes", "Resident memory of the daemon.");
    page.sample("cafe_memory_bytes", "", counters.memory_bytes);
    page.family("cafe_open_fds", "gauge", "", "Open descriptors of the daemon.");
    page.sample("cafe_open_fds", "", counters.open_fds);
    page.family("cafe_config_error", "gauge", "", "1 while the config on disk is refused.");
    page.sample("cafe_config_error", "", u8::from(daemon.config_error.is_some()));
    page.family(
        "cafe_logs_stalled",
        "gauge",
        "",
        "1 while a file system hangs and no log is written.",
    );
    page.sample("cafe_logs_stalled", "", u8::from(daemon.logs_stalled_ms.is_some()));
    page.family("cafe_cpu_seconds", "counter", "seconds", "CPU time of the daemon.");
    page.sample("cafe_cpu_seconds_total", "", counters.cpu_seconds);
    page.family("cafe_events", "counter", "", "Events since the daemon started.");
    page.sample("cafe_events_total", "", counters.events);
    page.family("cafe_actor_restarts", "counter", "", "Restarts of actors of cafe itself.");
    page.sample("cafe_actor_restarts_total", "", counters.actor_restarts);
}

fn states(page: &mut Page, status: &Status) {
    page.family("cafe_service_state", "stateset", "", "State of a service.");
    for service in &status.services {
        for state in State::ALL {
            let labels = format!("service=\"{}\",cafe_service_state=\"{state}\"", service.name);
            page.sample("cafe_service_state", &labels, u8::from(service.state == state));
        }
    }
}

fn gauges(page: &mut Page, status: &Status) {
    let services = &status.services;
    page.family(
        "cafe_service_uptime_seconds",
        "gauge",
        "seconds",
        "Time since its process started.",
    );
    for service in services {
        page.service("cafe_service_uptime_seconds", &service.name, seconds(service.uptime_ms));
    }
    page.family("cafe_service_memory_bytes", "gauge", "bytes", "Resident memory.");
    for service in services {
        page.service("cafe_service_memory_bytes", &service.name, service.memory_bytes);
    }
    page.family("cafe_service_cpu_percent", "gauge", "percent", "CPU now, percent of one core.");
    for service in services {
        page.service("cafe_service_cpu_percent", &service.name, service.cpu_percent);
    }
}

fn sums(page: &mut Page, counters: &Counters) {
    let services = &counters.services;
    page.family("cafe_service_restarts", "counter", "", "Restarts by cafe.");
    for service in services {
        page.service("cafe_service_restarts_total", &service.name, service.restarts);
    }
    page.family("cafe_service_cpu_seconds", "counter", "seconds", "CPU time of all incarnations.");
    for service in services {
        page.service("cafe_service_cpu_seconds_total", &service.name, service.cpu_seconds);
    }
    page.family("cafe_service_exits", "counter", "", "Ends of its process by cause.");
    for service in services {
        for (cause, count) in &service.exits {
            let labels = format!("service=\"{}\",cause=\"{cause}\"", service.name);
            page.sample("cafe_service_exits_total", &labels, count);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 ms are 285,000 years")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1_000.0
}

/// Label values as the specification's `escaped-string`.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(self.0, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.0, "# HELP {name} {help}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn service(&mut self, name: &str, service: impl Display, value: impl Display) {
        let _ = writeln!(self.0, "{name}{{service=\"{service}\"}} {value}");
    }
}
