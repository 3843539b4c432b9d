//! What kind of process a service is, and when a timer runs.

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Year};
use jiff::{Timestamp, Zoned};

use super::super::model::{Kind, Overlap, Schedule};
use super::super::problem::quote;
use super::super::reader::Reader;
use super::super::source::Place;
use super::value;
use crate::types::error::Code;
use crate::types::unit;

/// Compiles a cron expression as [`Schedule::Cron`] has it: five fields, or six with seconds first.
///
/// # Errors
/// When it is none.
pub fn parse_cron(expression: &str) -> Result<Cron, CronError> {
    CronParser::builder().year(Year::Disallowed).build().parse(expression)
}

/// `daemon`, `oneshot`, `timer("*/5 * * * *")` or `timer("every 5m")`.
pub(super) fn kind(reader: &mut Reader<'_>, place: Place) -> Option<Kind> {
    let word = reader.word(place)?;
    match word.name.as_str() {
        "daemon" => reader.no_arguments(&word).map(|()| Kind::Daemon),
        "oneshot" => reader.no_arguments(&word).map(|()| Kind::Oneshot),
        "timer" => {
            let example = "timer(\"*/5 * * * *\") or timer(\"every 5m\")";
            let place = reader.argument(&word, example)?;
            let schedule = schedule(reader, place)?;
            Some(Kind::Timer { schedule, overlap: Overlap::default() })
        }
        _ => reader.unknown_word(&word, "kind", ["daemon", "oneshot", "timer"]),
    }
}

/// `skip`, `queue` or `replace`.
pub(super) fn overlap(reader: &mut Reader<'_>, place: Place) -> Option<Overlap> {
    let choices =
        [("skip", Overlap::Skip), ("queue", Overlap::Queue), ("replace", Overlap::Replace)];
    reader.choice(place, "overlap", &choices)
}

fn schedule(reader: &mut Reader<'_>, place: Place) -> Option<Schedule> {
    let text = reader.text(place)?;
    if let Some(period) = text.strip_prefix("every ") {
        let problem = match unit::parse_duration(period.trim()) {
            Ok(period) if (value::SHORTEST_PERIOD..=value::LONGEST).contains(&period) => {
                return Some(Schedule::Every(period));
            }
            Ok(_) => "a timer runs every 10ms at most and every year at least".to_owned(),
            Err(error) => error.to_string(),
        };
        reader.error(Code::InvalidValue, place, problem);
        return None;
    }
    match parse_cron(&text) {
        Ok(cron) if fires(&cron) => Some(Schedule::Cron(text)),
        Ok(_) => {
            let message = format!("the cron expression {} never comes", quote(&text));
            reader.error(Code::InvalidValue, place, message);
            None
        }
        Err(error) => {
            let message = format!("{} is not a cron expression: {error}", quote(&text));
            let hint = "write it like \"*/5 * * * *\" or \"every 5m\"".to_owned();
            reader.error_with(Code::InvalidValue, place, message, hint);
            None
        }
    }
}

/// The next time a cron expression comes after `now`, in the time zone of `now`; nothing when it never does, or is none.
#[must_use]
pub fn next_run(expression: &str, now: &Zoned) -> Option<Timestamp> {
    let next = parse_cron(expression).ok()?.find_next_occurrence(now, false).ok()?;
    Some(next.timestamp())
}

/// Whether it comes at all: `0 0 31 2 *` never does. Judged from a fixed day, so that the answer stays the same.
fn fires(cron: &Cron) -> bool {
    let from = jiff::civil::date(2000, 1, 1).at(0, 0, 0, 0);
    cron.find_next_occurrence(&from, true).is_ok()
}
