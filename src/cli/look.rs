//! `cafe status`: everything on one screen, or one service with all that is known of it.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use super::Outcome;
use super::arguments::{Global, StatusArguments};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Format, Output};
use super::style::{Paint, tame};
use super::table::{Cell, Table};
use crate::net::control::{Client, LogLine, LogQuery};
use crate::types::name::Name;
use crate::types::state::State;
use crate::types::status::{Instance, Privileges, Service, Status};
use crate::types::unit::{show_duration, show_size};

/// Last lines shown with one service; all that came with `-v`.
const LAST_LINES: usize = 10;

/// The order in which the first line counts: trouble first.
const WORST_FIRST: [State; 10] = [
    State::Failed,
    State::Unhealthy,
    State::Backoff,
    State::Stopping,
    State::Starting,
    State::Waiting,
    State::Running,
    State::Ready,
    State::Done,
    State::Stopped,
];

/// `cafe status [NAME...]`.
pub(super) async fn status(
    arguments: &StatusArguments,
    global: &Global,
    output: &mut Output,
) -> Outcome {
    let client = global.client();
    if arguments.names.is_empty() {
        let status = client.status(None).await?;
        match output.format() {
            Format::Human => output.write(&overview(&status, output.paint()))?,
            Format::Plain => output.write(&records(&status.services))?,
            Format::Json => output.json(&status)?,
        }
        return Ok(worst(&status.services, is_well));
    }
    let mut exit = Exit::Done;
    let mut merged: Option<Status> = None;
    for name in &arguments.names {
        match client.status(Some(name)).await {
            Ok(status) => merge(&mut merged, status),
            Err(error) => exit = exit.worse(Failure::from(error).report(output)),
        }
    }
    let Some(status) = merged else { return Ok(exit) };
    match output.format() {
        Format::Human => details(&client, &status.services, output).await?,
        Format::Plain => output.write(&records(&status.services))?,
        Format::Json => output.json(&status)?,
    }
    Ok(exit.worse(worst(&status.services, is_running)))
}

/// A service that was asked for twice, by name and by group, is shown once.
fn merge(merged: &mut Option<Status>, status: Status) {
    let Some(all) = merged else {
        *merged = Some(status);
        return;
    };
    for service in status.services {
        if all.services.iter().all(|known| known.name != service.name) {
            all.services.push(service);
        }
    }
    for group in status.groups {
        if all.groups.iter().all(|known| known.name != group.name) {
            all.groups.push(group);
        }
    }
}

fn worst(services: &[Service], judge: fn(&Service) -> bool) -> Exit {
    if services.iter().all(judge) { Exit::Done } else { Exit::NotRunning }
}

/// Nothing is wrong with it: for the view of everything, where a stopped service is somebody's wish.
fn is_well(service: &Service) -> bool {
    !matches!(service.state, State::Failed | State::Backoff | State::Unhealthy)
}

/// It runs and is healthy, has done its work, or is a timer that waits for its time: as LSB's `status`.
fn is_running(service: &Service) -> bool {
    match service.state {
        State::Running | State::Ready | State::Done => true,
        State::Waiting => service.kind == "timer",
        _ => false,
    }
}

/// All services by name under a line that sums them up.
pub(super) fn overview(status: &Status, paint: Paint) -> String {
    let mut text = summary(status, paint);
    if status.services.is_empty() {
        return text;
    }
    let mut table = Table::new();
    let headings = ["", "NAME", "STATE", "FOR", "PID", "RESTARTS", "CPU", "MEMORY", "REASON"];
    table.row(headings.map(|heading| Cell::painted(heading, paint.dim(heading))));
    for service in &status.services {
        table.row(row(service, paint));
        let several = service.instances.iter().filter(|instance| instance.name.is_some());
        several.for_each(|instance| table.row(instance_row(instance, paint)));
    }
    text += &table.render();
    text
}

fn row(service: &Service, paint: Paint) -> [Cell; 9] {
    let state = service.state;
    let glyph = paint.glyph(state);
    let is_up = service.instances.iter().any(|instance| instance.pid.is_some());
    let when = |shown: String| Cell::new(if is_up { shown } else { String::new() });
    [
        Cell::painted(glyph, paint.state(state, glyph)),
        Cell::painted(service.name.as_str(), paint.bold(service.name.as_str())),
        Cell::painted(state.as_str(), paint.state(state, state.as_str())),
        Cell::new(show_duration(Duration::from_millis(service.state_ms))),
        Cell::new(service.pid.map(|pid| pid.to_string()).unwrap_or_default()),
        Cell::new(if service.restarts == 0 { String::new() } else { service.restarts.to_string() }),
        when(format!("{:.1}%", service.cpu_percent)),
        when(show_size(service.memory_bytes)),
        Cell::new(tame(&service.reason)),
    ]
}

/// One of several instances, under their service.
fn instance_row(instance: &Instance, paint: Paint) -> [Cell; 9] {
    let name = format!("  {}", instance.name.as_ref().map_or("", Name::as_str));
    let state = instance.state.unwrap_or(State::Stopped);
    let glyph = paint.glyph(state);
    let when =
        |shown: String| Cell::new(if instance.pid.is_some() { shown } else { String::new() });
    [
        Cell::painted(glyph, paint.state(state, glyph)),
        Cell::new(name),
        Cell::painted(state.as_str(), paint.state(state, state.as_str())),
        Cell::new(""),
        Cell::new(instance.pid.map(|pid| pid.to_string()).unwrap_or_default()),
        Cell::new(
            instance
                .restarts
                .filter(|count| *count > 0)
                .map_or_else(String::new, |count| count.to_string()),
        ),
        when(format!("{:.1}%", instance.cpu_percent)),
        when(show_size(instance.memory_bytes)),
        Cell::new(tame(&instance.reason)),
    ]
}

/// `cafe 0.1.0, up 2d 4h: 12 services: 10 ready, 1 failed, 1 stopped`, and what is wrong with the config.
fn summary(status: &Status, paint: Paint) -> String {
    let daemon = &status.daemon;
    let count = status.services.len();
    let up = show_duration(Duration::from_millis(daemon.uptime_ms));
    let noun = if count == 1 { "service" } else { "services" };
    let mut text = format!("{} {}, up {up}: {count} {noun}", paint.bold("cafe"), daemon.version);
    let counts = WORST_FIRST.into_iter().filter_map(|state| {
        let count = status.services.iter().filter(|service| service.state == state).count();
        (count > 0).then(|| paint.state(state, &format!("{count} {state}")))
    });
    for (number, count) in counts.enumerate() {
        text += if number == 0 { ": " } else { ", " };
        text += &count;
    }
    text.push('\n');
    if let Some(privileges) = &daemon.privileges {
        text += &held(privileges, paint);
    }
    if daemon.stopping {
        let _ = writeln!(text, "{}", paint.bad("cafe is stopping"));
    }
    if let Some(ms) = daemon.logs_stalled_ms {
        let time = show_duration(Duration::from_millis(ms));
        let _ =
            writeln!(text, "{} a file system hangs for {time}", paint.bad("no log is written:"));
    }
    if let Some(error) = &daemon.config_error {
        let error = error.lines().map(tame).collect::<Vec<_>>().join("\n  ");
        let _ = writeln!(text, "{} {error}", paint.bad("config on disk refused:"));
    }
    text
}

/// `privileges: KILL SETUID, 38 given up`; nothing for an ordinary user, who has none.
fn held(privileges: &Privileges, paint: Paint) -> String {
    let Privileges { held, for_services, bounding, dropped, .. } = privileges;
    if held.is_empty() && dropped.is_empty() {
        return String::new();
    }
    let is_all = dropped.is_empty() && held == bounding;
    let what = if is_all { "all".to_owned() } else { held.to_string() };
    let mut text = format!("{} {what}", paint.dim("privileges:"));
    if !dropped.is_empty() {
        let _ = write!(text, ", {} given up", dropped.count());
    }
    if for_services != held {
        text += ", all for services as root";
    }
    text.push('\n');
    text
}

/// One record per service: name, state, pid, uptime_ms, restarts, cpu_percent, memory_bytes, reason.
pub(super) fn records(services: &[Service]) -> String {
    let mut text = String::with_capacity(services.len() * 96);
    for service in services {
        let pid = service.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let _ = writeln!(
            text,
            "{}\t{}\t{pid}\t{}\t{}\t{:.1}\t{}\t{}",
            service.name,
            service.state,
            service.uptime_ms,
            service.restarts,
            service.cpu_percent,
            service.memory_bytes,
            tame(&service.reason)
        );
    }
    text
}

async fn details(
    client: &Client,
    services: &[Service],
    output: &mut Output,
) -> Result<(), Failure> {
    let lines = if output.is_verbose() { 50 } else { LAST_LINES };
    for (number, service) in services.iter().enumerate() {
        if number > 0 {
            output.write("\n")?;
        }
        output.write(&detail(service, output.paint(), Timestamp::now()))?;
        // Those who may not read logs see the rest.
        let last = last_lines(client, service.name.as_str(), lines).await.unwrap_or_default();
        for line in &last {
            output.write(&format!("  {line}\n"))?;
        }
        let hint = format!("  all lines: cafe logs {}\n", service.name);
        output.write(&output.paint().dim(&hint))?;
    }
    Ok(())
}

async fn last_lines(client: &Client, name: &str, lines: usize) -> Result<Vec<String>, Failure> {
    let query = LogQuery { lines: Some(lines), ..LogQuery::default() };
    let mut stream = client.logs(name, &query).await?;
    let mut shown = Vec::new();
    while let Some(line) = stream.next().await? {
        if let Ok(LogLine { t, line, .. }) = serde_json::from_slice(&line) {
            shown.push(format!("{t:.3}  {}", tame(&line)));
        }
    }
    Ok(shown)
}

/// One service: state and reason, process, restarts, what it depends on, how it last ended.
pub(super) fn detail(service: &Service, paint: Paint, now: Timestamp) -> String {
    let state = service.state;
    let head = format!("{} {}", paint.glyph(state), service.name);
    let since_when = show_duration(Duration::from_millis(service.state_ms));
    let mut text = format!(
        "{}  {}, {since_when}: {}\n",
        paint.state(state, &head),
        paint.state(state, state.as_str()),
        tame(&service.reason)
    );
    let mut fact = |name: &str, value: String| {
        let _ = writeln!(text, "  {} {value}", paint.dim(&format!("{name}:")));
    };
    if let Some(pid) = service.pid {
        let memory = show_size(service.memory_bytes);
        let up = show_duration(Duration::from_millis(service.uptime_ms));
        fact(
            "process",
            format!("pid {pid}, up {up}, cpu {:.1} %, memory {memory}", service.cpu_percent),
        );
    }
    for instance in service.instances.iter().filter(|instance| instance.name.is_some()) {
        let name = instance.name.as_ref().map_or("", Name::as_str);
        let state = instance.state.unwrap_or(State::Stopped);
        let pid = instance.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        fact(
            name,
            format!("{}{pid}: {}", paint.state(state, state.as_str()), tame(&instance.reason)),
        );
    }
    let group = service.group.as_ref().map(|group| format!(", group {group}")).unwrap_or_default();
    fact("kind", format!("{}{group}", service.kind));
    if !service.depends_on.is_empty() {
        let names: Vec<_> = service.depends_on.iter().map(ToString::to_string).collect();
        fact("depends on", names.join(", "));
    }
    if !service.listen.is_empty() {
        let sockets = service.listen.iter();
        let sockets = sockets.map(|socket| format!("{} {}", socket.name, tame(&socket.address)));
        fact("listens on", sockets.collect::<Vec<_>>().join(", "));
    }
    if let Some(says) = &service.status_text {
        fact("says", tame(says));
    }
    if let Some(probe) = &service.probe {
        fact("probe", tame(probe));
    }
    if let Some(next) = service.next_start {
        fact("next start", format!("in {}", show_duration(since(now, next))));
    }
    if let Some(last) = service.last_start {
        fact("last start", format!("{} ago", show_duration(since(last, now))));
    }
    fact("restarts", service.restarts.to_string());
    for exit in &service.exits {
        let ago = show_duration(since(exit.at, now));
        let ran = show_duration(Duration::from_millis(exit.run_ms));
        let trigger = match tame(&exit.trigger) {
            trigger if trigger.is_empty() => trigger,
            trigger => format!(" ({trigger})"),
        };
        let pulled = match exit.pulled_down.as_slice() {
            [] => String::new(),
            names => format!(", pulled down {}", names.join(", ")),
        };
        fact("ended", format!("{ago} ago: {} after {ran}{trigger}{pulled}", exit.cause));
    }
    text
}

/// From one time to a later one; clocks that step back give zero.
pub(super) fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}
