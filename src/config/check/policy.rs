//! When a service restarts, and how it is stopped and reloaded: the words of the policies and their defaults.

use std::time::Duration;

use super::super::fields::Fields;
use super::super::model::{Reload, Stop};
use super::super::reader::{Reader, Word};
use super::super::source::Place;
use super::super::syntax::{self, Shape};
use super::value;
use crate::types::error::Code;
use crate::types::exit;
use crate::types::policy::{Backoff, Intensity, OnLimit, Restart};

/// Delays unless given.
pub(super) const BACKOFF: Backoff = Backoff {
    min: Duration::from_millis(100),
    max: Duration::from_secs(30),
    reset_after: Duration::from_secs(60),
};

/// The restart limit of a service unless given.
pub(super) const INTENSITY: Intensity =
    Intensity { restarts: 5, within: Duration::from_secs(30), then: OnLimit::Hold };

/// How a service is stopped unless given.
pub(super) const STOP: Stop = Stop { signal: 15, timeout: Duration::from_secs(10) };

/// How a service is reloaded unless given.
pub(super) const RELOAD: Reload = Reload::Restart;

/// `permanent`, `transient` or `temporary`.
pub(super) fn restart(reader: &mut Reader<'_>, place: Place) -> Option<Restart> {
    let choices = [
        ("permanent", Restart::Permanent),
        ("transient", Restart::Transient),
        ("temporary", Restart::Temporary),
    ];
    reader.choice(place, "restart", &choices)
}

/// `(min: "100ms", max: "30s", reset_after: "60s")`.
pub(super) fn backoff(reader: &mut Reader<'_>, place: Place, backoff: &mut Backoff) {
    let Some(mut fields) = Fields::open(place, place, "`backoff`", reader) else { return };
    let mut given = |name, value: &mut Duration, reader: &mut Reader<'_>| {
        let place = fields.take(name, reader)?;
        *value = value::duration(reader, place)?;
        Some(place)
    };
    let min = given("min", &mut backoff.min, reader);
    let max = given("max", &mut backoff.max, reader);
    given("reset_after", &mut backoff.reset_after, reader);
    if backoff.min > backoff.max && (min.is_some() || max.is_some()) {
        let place = max.or(min).unwrap_or(place);
        reader.error(Code::InvalidValue, place, "`min` must not be longer than `max`");
    }
    fields.finish(reader);
}

/// `(restarts: 5, within: "30s", then: hold)`; what is left out stays as it is.
pub(super) fn intensity(reader: &mut Reader<'_>, place: Place, intensity: &mut Intensity) {
    let Some(mut fields) = Fields::open(place, place, "`intensity`", reader) else { return };
    if let Some(place) = fields.take("restarts", reader) {
        intensity.restarts = reader.number(place, 0..=10_000).unwrap_or(intensity.restarts);
    }
    if let Some(place) = fields.take("within", reader) {
        let within = value::duration_of(reader, place, value::SHORTEST_PERIOD);
        intensity.within = within.unwrap_or(intensity.within);
    }
    if let Some(place) = fields.take("then", reader) {
        let choices = [("hold", OnLimit::Hold), ("give_up", OnLimit::GiveUp)];
        intensity.then = reader.choice(place, "then", &choices).unwrap_or(intensity.then);
    }
    fields.finish(reader);
}

/// `(signal: TERM, timeout: "10s")`.
pub(super) fn stop(reader: &mut Reader<'_>, place: Place, stop: &mut Stop) {
    let Some(mut fields) = Fields::open(place, place, "`stop`", reader) else { return };
    if let Some(place) = fields.take("signal", reader) {
        stop.signal = signal(reader, place).unwrap_or(stop.signal);
    }
    if let Some(place) = fields.take("timeout", reader) {
        stop.timeout = value::duration(reader, place).unwrap_or(stop.timeout);
    }
    fields.finish(reader);
}

/// `signal(HUP)` or `restart`.
pub(super) fn reload(reader: &mut Reader<'_>, place: Place) -> Option<Reload> {
    let word = reader.word(place)?;
    match word.name.as_str() {
        "restart" => reader.no_arguments(&word).map(|()| Reload::Restart),
        "signal" => {
            let place = reader.argument(&word, "signal(HUP)")?;
            Some(Reload::Signal(signal(reader, place)?))
        }
        _ => reader.unknown_word(&word, "reload", ["restart", "signal"]),
    }
}

/// `TERM`, `SIGTERM`, `"TERM"` or `15`.
fn signal(reader: &mut Reader<'_>, place: Place) -> Option<i32> {
    let typed = reader.typed(place);
    let text = match syntax::shape(typed) {
        Shape::Text => reader.text(place)?,
        Shape::Number | Shape::Word => typed.to_owned(),
        _ => {
            reader.expect(place, Shape::Word)?;
            return None;
        }
    };
    if let Some(number) = exit::signal_number(&text) {
        return Some(number);
    }
    let names: Vec<String> =
        (1..=31).map(|number| exit::signal_name(number).replacen("SIG", "", 1)).collect();
    let word = Word { name: text, place, arguments: Vec::new() };
    reader.unknown_word(&word, "signal", names.iter().map(String::as_str))
}
