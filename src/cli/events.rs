//! `cafe events`: what happens, as it happens.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Outcome;
use super::arguments::{EventsArguments, Global};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Format, Output};
use super::style::tame;
use crate::net::control::{Client, EventStream, Notice};
use crate::types::event::Event;
use crate::types::status::Daemon;

/// `cafe events [NAME...]`; ends with the daemon, with Ctrl-C, or after `-n` events.
pub(super) async fn events(
    arguments: &EventsArguments,
    global: &Global,
    output: &mut Output,
) -> Outcome {
    let client = global.client();
    let mut began = client.daemon().await?;
    // Of itself a stream from now on does not say where that is.
    let mut seen = arguments.after.unwrap_or(began.last_event);
    let mut stream = client.events(Some(seen)).await?;
    let zone = if arguments.utc { TimeZone::UTC } else { TimeZone::system() };
    let mut left = arguments.lines.unwrap_or(u64::MAX);
    while left > 0 {
        let Ok(Some(notice)) = stream.next().await else {
            // It became another program, which has the same events, or it ended.
            match again(&client, &began, seen).await {
                Some((daemon, anew)) => (began, stream) = (daemon, anew),
                None => {
                    output.remark("cafe ended\n");
                    break;
                }
            }
            continue;
        };
        if let Notice::Event(event) = &notice {
            seen = event.seq;
        }
        match notice {
            Notice::Gap(missed) => gap(missed, output)?,
            Notice::Event(event) if concerns(&event, &arguments.names) => {
                show(&event, &zone, output)?;
                left -= 1;
            }
            Notice::Event(_) => continue,
        }
        output.flush()?;
    }
    Ok(Exit::Done)
}

/// The stream of the same daemon after an upgrade, from after event `seen` on.
async fn again(client: &Client, began: &Daemon, seen: u64) -> Option<(Daemon, EventStream)> {
    let daemon = client.daemon().await.ok()?;
    let same = daemon.pid == began.pid && daemon.since == began.since;
    if !same || daemon.last_upgrade == began.last_upgrade {
        return None;
    }
    Some((daemon, client.events(Some(seen)).await.ok()?))
}

fn concerns(event: &Event, names: &[String]) -> bool {
    let subject = event.kind.subject();
    names.is_empty()
        || subject.is_some_and(|subject| {
            let service = subject.split_once('@').map_or(subject, |(service, _)| service);
            names.iter().any(|name| name == subject || name == service)
        })
}

fn show(event: &Event, zone: &TimeZone, output: &mut Output) -> Result<(), Failure> {
    let text = tame(&event.kind.describe());
    match output.format() {
        Format::Json => output.json(event),
        Format::Plain => output.write(&format!("{}\t{}\t{text}\n", event.seq, event.at)),
        Format::Human => {
            let time = output.paint().dim(&clock(event.at, zone));
            output.write(&format!("{time}  {text}\n"))
        }
    }
}

fn gap(missed: u64, output: &mut Output) -> Result<(), Failure> {
    match output.format() {
        Format::Json => output.json(&serde_json::json!({ "event": "gap", "missed": missed })),
        _ => {
            output.complain(&format!("-- {missed} events are missing here --\n"));
            Ok(())
        }
    }
}

/// `2026-11-20 18:20:01.114`, in the given zone.
fn clock(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S.%3f").to_string()
}
