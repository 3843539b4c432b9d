//! `cafe logs`: read from the files, so it works when the daemon is dead, and can never slow a service.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::Outcome;
use super::arguments::{Global, LogsArguments};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Format, Output};
use super::places::logs_dir;
use super::style::tame;
use crate::logs::read::{Follower, Line, Query, Reader, Stream};
use crate::net::control::LogLine;
use crate::types::error::{Code, Problem, chain};
use crate::types::name::Name;
use crate::types::status::Status;

/// Lines between the thread that reads and the one that prints.
const AHEAD: usize = 1024;

/// How long the daemon has to say where logs are and who is in a group: they can be read without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a follower looks whether anybody still listens.
const LOOK: Duration = Duration::from_secs(1);

/// `cafe logs [NAME...]`.
pub(super) async fn logs(
    arguments: &LogsArguments,
    global: &Global,
    output: &mut Output,
) -> Outcome {
    let status = global.client_within(PATIENCE).status(None).await.ok();
    let directory = logs_dir(status.as_ref());
    let query = Query {
        services: services(&arguments.names, status.as_ref(), &directory)?,
        lines: arguments.lines(),
        since: arguments.since,
        until: arguments.until,
        grep: arguments.grep.clone(),
        invert: arguments.invert,
        stream: arguments.stderr.then_some(Stream::Stderr),
    };
    let mut printer = Printer::new(arguments, &query, output);
    if arguments.follow {
        return follow(&directory, &query, &mut printer, output).await;
    }
    let reader = Reader::open(&directory, &query);
    for line in reader.map_err(|error| unreadable(error.code(), &error))? {
        let line = line.map_err(|error| unreadable(error.code(), &error))?;
        printer.print(&line, output)?;
    }
    Ok(Exit::Done)
}

/// Prints what is there and what comes; the files are read on a thread of their own, since that blocks.
async fn follow(
    directory: &Path,
    query: &Query,
    printer: &mut Printer,
    output: &mut Output,
) -> Outcome {
    let follower = Follower::open(directory, query);
    let mut follower = follower.map_err(|error| unreadable(error.code(), &error))?;
    let (sender, mut lines) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            // Sending fails when nobody prints any more: then the process is about to end.
            let sent = match follower.next(LOOK) {
                Ok(None) => continue,
                Ok(Some(line)) => sender.blocking_send(Ok(line)),
                Err(error) => sender.blocking_send(Err(error)),
            };
            if sent.is_err() {
                return;
            }
        }
    });
    while let Some(line) = lines.recv().await {
        let line = line.map_err(|error| unreadable(error.code(), &error))?;
        printer.print(&line, output)?;
        if lines.is_empty() {
            output.flush()?;
        }
    }
    Ok(Exit::Done)
}

/// The services meant by `names`: a group is its members, and a service no longer configured still has logs.
fn services(
    names: &[String],
    status: Option<&Status>,
    directory: &Path,
) -> Result<Vec<Name>, Failure> {
    let mut services = Vec::new();
    for name in names {
        let unknown = || {
            let message = format!("there are no logs of `{}`", tame(name));
            Failure::Told(
                Problem::new(Code::NoSuchName, message).hint("`cafe status` lists services"),
            )
        };
        let groups = status.map_or(&[][..], |status| &status.groups);
        if let Some(group) = groups.iter().find(|group| group.name.as_str() == name) {
            let members = group.services.iter();
            services.extend(members.flat_map(|name| instances(name, status, directory)));
            continue;
        }
        let configured = status.map_or(&[][..], |status| &status.services);
        let is_configured = configured.iter().any(|service| service.name.as_str() == name);
        let service: Name = name.parse().map_err(|_| unknown())?;
        let found = instances(&service, status, directory);
        let is_there = !directory.join(name).try_exists().is_ok_and(|there| !there);
        if !is_configured && !is_there && found == [service] {
            return Err(unknown());
        }
        services.extend(found);
    }
    Ok(services)
}

/// A service with several instances is these: those of the config, and those that have left logs.
fn instances(service: &Name, status: Option<&Status>, directory: &Path) -> Vec<Name> {
    if service.number().is_some() {
        return vec![service.clone()];
    }
    let shown = status.into_iter().flat_map(|status| &status.services);
    let shown = shown.filter(|shown| shown.name == *service).flat_map(|shown| &shown.instances);
    let mut names: Vec<Name> = shown.filter_map(|instance| instance.name.clone()).collect();
    let written = crate::logs::read::services(directory).unwrap_or_default();
    names.extend(written.into_iter().filter(|name| name.service() == service.as_str()));
    if names.is_empty() {
        names.push(service.clone());
    }
    names.sort_by_key(Name::number);
    names.dedup();
    names
}

/// How lines look.
struct Printer {
    zone: TimeZone,
    /// Width of the longest name, where lines of several services stand together.
    prefix: Option<usize>,
    terminal: bool,
}

impl Printer {
    fn new(arguments: &LogsArguments, query: &Query, output: &Output) -> Self {
        let zone = if arguments.utc { TimeZone::UTC } else { TimeZone::system() };
        let longest = query.services.iter().map(|name| name.as_str().len()).max();
        let prefix = match query.services.len() {
            1 => None,
            _ => Some(longest.unwrap_or(12)),
        };
        let prefix = prefix.filter(|_| !arguments.no_prefix);
        let terminal = output.format() == Format::Human && std::io::stdout().is_terminal();
        Self { zone, prefix, terminal }
    }

    fn print(&mut self, line: &Line, output: &mut Output) -> Result<(), Failure> {
        match output.format() {
            Format::Json => return output.json(&document(line)),
            Format::Plain => {
                // As many digits each, so that lines sort by time as texts do.
                let (at, service) = (line.at, &line.service);
                output.write(&format!("{at:.6}\t{service}\t{}\t", word(line.stream)))?;
            }
            Format::Human => output.write(&self.head(line, output))?,
        }
        match self.terminal {
            true => output.write(&tame(&String::from_utf8_lossy(&line.text)))?,
            // Into a file or a pipe goes what the service wrote, to the byte.
            false => output.write_bytes(&line.text)?,
        }
        output.write("\n")
    }

    /// Time, service if there are several, and a mark for what is not stdout.
    fn head(&self, line: &Line, output: &Output) -> String {
        let paint = output.paint();
        let mut head = paint.dim(&clock(line.at, &self.zone)) + " ";
        if let Some(width) = self.prefix {
            let name = line.service.as_str();
            head += &paint.of_name(name, &format!("{name:width$}"));
            head.push(' ');
        }
        match line.stream {
            Stream::Stdout => {}
            Stream::Stderr => head += &paint.bad("e "),
            Stream::Cafe => head += &paint.dim("cafe: "),
        }
        head
    }
}

fn document(line: &Line) -> LogLine {
    LogLine {
        t: line.at,
        service: line.service.clone(),
        stream: word(line.stream).to_owned(),
        continued: line.continued,
        line: String::from_utf8_lossy(&line.text).into_owned(),
    }
}

fn word(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
        Stream::Cafe => "cafe",
    }
}

/// `2026-11-20 18:20:01.114`.
fn clock(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S.%3f").to_string()
}

fn unreadable(code: Code, error: &dyn std::error::Error) -> Failure {
    let problem = Problem::new(code, chain(error));
    Failure::Told(
        problem.hint("logs are read from the files: as root, or as the user cafe runs as"),
    )
}
