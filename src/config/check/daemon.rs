//! Settings of the daemon itself. Each stands in one file only.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use super::super::defaults;
use super::super::fields::Fields;
use super::super::model::{Control, Daemon, LogTotal};
use super::super::reader::Reader;
use super::super::source::Place;
use super::value;
use crate::types::error::Code;

/// Longest path of a unix socket, bytes: `sun_path` of unix(7) without its NUL.
const LONGEST_SOCKET: usize = 107;

/// Reads the settings from all files.
pub(super) fn read(reader: &mut Reader<'_>, documents: &mut [Fields]) -> Daemon {
    let environment = reader.variables.environment();
    let mut daemon = Daemon {
        control: Control { socket: defaults::socket(environment), group: None, public: false },
        state_dir: defaults::state_dir(environment),
        parallel_starts: defaults::parallel_starts(),
        logs: LogTotal { max_total: 1 << 30, min_free_percent: 10 },
        cgroups: true,
        stop_timeout: None,
    };
    let mut seen = BTreeMap::new();
    for document in documents {
        let mut once = |name, reader: &mut Reader<'_>| once(&mut seen, document, name, reader);
        if let Some(place) = once("control", reader) {
            control(reader, place, &mut daemon.control);
        }
        if let Some(path) = once("state_dir", reader).and_then(|place| value::path(reader, place)) {
            daemon.state_dir = path;
        }
        if let Some(place) = once("parallel_starts", reader) {
            daemon.parallel_starts = reader.number(place, 1..=10_000).unwrap_or(1);
        }
        if let Some(place) = once("logs", reader) {
            logs(reader, place, &mut daemon.logs);
        }
        if let Some(place) = once("cgroups", reader) {
            daemon.cgroups = reader.boolean(place).unwrap_or_default();
        }
        if let Some(place) = once("stop_timeout", reader) {
            daemon.stop_timeout = value::duration(reader, place);
        }
    }
    daemon
}

/// The value of a setting; an error when another file has it too.
fn once(
    seen: &mut BTreeMap<&'static str, Place>,
    document: &mut Fields,
    name: &'static str,
    reader: &mut Reader<'_>,
) -> Option<Place> {
    let place = document.take(name, reader)?;
    match seen.get(name) {
        Some(first) => reader.duplicate("setting", name, place, *first),
        None => drop(seen.insert(name, place)),
    }
    Some(place)
}

fn control(reader: &mut Reader<'_>, place: Place, control: &mut Control) {
    let Some(mut fields) = Fields::open(place, place, "`control`", reader) else { return };
    if let Some(place) = fields.take("socket", reader)
        && let Some(path) = value::path(reader, place)
    {
        let length = path.as_os_str().as_bytes().len();
        if length > LONGEST_SOCKET {
            let message = format!(
                "the path of a unix socket has at most {LONGEST_SOCKET} bytes, this one has {length}"
            );
            reader.error(Code::InvalidValue, place, message);
        }
        control.socket = path;
    }
    if let Some(place) = fields.take("group", reader) {
        control.group = value::filled_text(reader, place);
    }
    if let Some(place) = fields.take("public", reader) {
        control.public = reader.boolean(place).unwrap_or_default();
    }
    fields.finish(reader);
}

fn logs(reader: &mut Reader<'_>, place: Place, logs: &mut LogTotal) {
    let Some(mut fields) = Fields::open(place, place, "`logs`", reader) else { return };
    if let Some(place) = fields.take("max_total", reader) {
        logs.max_total = value::size(reader, place).unwrap_or(logs.max_total);
    }
    if let Some(place) = fields.take("min_free", reader) {
        logs.min_free_percent = percent(reader, place).unwrap_or(logs.min_free_percent);
    }
    fields.finish(reader);
}

fn percent(reader: &mut Reader<'_>, place: Place) -> Option<u8> {
    let text = reader.text(place)?;
    let number = text.strip_suffix('%').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let percent = number.and_then(|digits| digits.parse().ok()).filter(|percent| *percent <= 99);
    if percent.is_none() {
        reader.error(Code::InvalidValue, place, "a share is written like \"10%\", at most \"99%\"");
    }
    percent
}
