//! How a service proves ready and healthy. Probes go to literal addresses: a name server is not part of a start.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::super::fields::Fields;
use super::super::model::{Health, OnUnhealthy, Probe, Ready};
use super::super::problem::quote;
use super::super::reader::{Reader, Word};
use super::super::source::Place;
use super::super::syntax::Shape;
use super::value;
use crate::types::error::Code;

/// Largest compiled form of a `log` expression, bytes.
const LARGEST_REGEX: usize = 1 << 20;
const FORMS: [&str; 6] = ["notify", "fd", "tcp", "http", "log", "delay"];

/// `notify`, `fd(3)`, `tcp("127.0.0.1:80")`, `http("http://...")`, `log("regex")` or `delay("2s")`.
pub(super) fn ready(reader: &mut Reader<'_>, place: Place) -> Option<Ready> {
    let word = reader.word(place)?;
    match word.name.as_str() {
        "notify" => reader.no_arguments(&word).map(|()| Ready::Notify),
        "fd" => {
            let place = reader.argument(&word, "fd(3)")?;
            Some(Ready::Fd(reader.number(place, 3..=255)?))
        }
        "log" => {
            let place = reader.argument(&word, "log(\"listening\")")?;
            Some(Ready::Log(regex(reader, place)?))
        }
        "delay" => {
            let place = reader.argument(&word, "delay(\"2s\")")?;
            Some(Ready::Delay(value::duration(reader, place)?))
        }
        "tcp" | "http" => Some(Ready::Probe(Box::new(probe(reader, &word)?))),
        _ => reader.unknown_word(&word, "ready", FORMS),
    }
}

/// `(probe: tcp("127.0.0.1:80"), every: "10s", timeout: "5s", failures: 3, grace: "0s", action: restart)`.
pub(super) fn health(reader: &mut Reader<'_>, place: Place) -> Option<Health> {
    let mut fields = Fields::open(place, place, "`health`", reader)?;
    let place = fields.require("probe", reader);
    let probe = place.and_then(|place| {
        let word = reader.word(place)?;
        match word.name.as_str() {
            "tcp" | "http" => probe(reader, &word),
            _ => reader.unknown_word(&word, "probe", ["tcp", "http"]),
        }
    });
    let mut given = |name, least, otherwise, reader: &mut Reader<'_>| {
        let place = fields.take(name, reader);
        let given = place.and_then(|place| value::duration_of(reader, place, least));
        given.unwrap_or(otherwise)
    };
    let every = given("every", value::SHORTEST_PERIOD, Duration::from_secs(10), reader);
    let timeout = given("timeout", value::SHORTEST_PERIOD, Duration::from_secs(5), reader);
    let grace = given("grace", Duration::ZERO, Duration::ZERO, reader);
    let failures = fields.take("failures", reader);
    let failures = failures.and_then(|place| reader.number(place, 1..=1_000)).unwrap_or(3);
    let choices = [("restart", OnUnhealthy::Restart), ("mark", OnUnhealthy::Mark)];
    let action = fields.take("action", reader);
    let action = action.and_then(|place| reader.choice(place, "action", &choices));
    fields.finish(reader);
    let action = action.unwrap_or_default();
    Some(Health { probe: probe?, every, timeout, failures, grace, action })
}

fn probe(reader: &mut Reader<'_>, word: &Word) -> Option<Probe> {
    let http = word.name == "http";
    let example = if http { "http(\"http://127.0.0.1:8080/\")" } else { "tcp(\"127.0.0.1:8080\")" };
    let place = reader.argument(word, example)?;
    reader.expect(place, Shape::Text)?;
    let text = reader.text(place)?;
    let probe = if http { http_probe(&text) } else { address(&text, None).map(Probe::Tcp) };
    match probe {
        Ok(probe) => Some(probe),
        Err(reason) => {
            let hint = format!("write it like {example}");
            reader.error_with(Code::InvalidValue, place, reason, hint);
            None
        }
    }
}

/// `http://host[:port][/path][?query]`.
fn http_probe(url: &str) -> Result<Probe, String> {
    if url.starts_with("https://") {
        return Err(
            "a probe speaks http, not https: it asks the service on this machine".to_owned()
        );
    }
    let rest =
        url.strip_prefix("http://").ok_or_else(|| format!("{} is not an http URL", quote(url)))?;
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains(['#', '@']) {
        return Err(format!("{} has a character that is not possible in it", quote(url)));
    }
    let split = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(split);
    let address = address(host, Some(80))?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(Probe::Http { address, host: host.to_owned(), path: format!("{slash}{path}") })
}

/// A literal address, or `localhost`, with its port.
pub(super) fn address(text: &str, default_port: Option<u16>) -> Result<SocketAddr, String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let ip = match host {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        _ => {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let literal = match bare {
                Some(bare) => bare.parse().map(std::net::IpAddr::V6).ok(),
                None => host.parse().map(std::net::IpAddr::V4).ok(),
            };
            literal.ok_or_else(|| {
                format!("{} is not an address: use `localhost` or a literal one", quote(host))
            })?
        }
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0),
        None => default_port,
    };
    let port = port.ok_or_else(|| format!("{} has no port from 1 to 65535", quote(text)))?;
    Ok(SocketAddr::new(ip, port))
}

/// A regular expression over bytes, as lines of a service are.
fn regex(reader: &mut Reader<'_>, place: Place) -> Option<String> {
    let text = reader.text(place)?;
    let compiled = regex::bytes::RegexBuilder::new(&text).size_limit(LARGEST_REGEX).build();
    let Err(error) = compiled else { return Some(text) };
    let reason = match error {
        regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
        // The message draws the expression over several lines; its last line says what is wrong.
        other => last_line(&other.to_string()).to_owned(),
    };
    let message = format!("{} is not a regular expression: {reason}", quote(&text));
    reader.error(Code::InvalidValue, place, message);
    None
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ")
}
