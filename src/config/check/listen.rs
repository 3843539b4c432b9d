//! Sockets that cafe binds for a service: where, under which names, and what cannot go together.

use std::collections::BTreeMap;

use super::super::model::{Daemon, Kind, Listen, Service};
use super::super::problem::quote;
use super::super::reader::Reader;
use super::super::source::Place;
use super::{Drafts, probe, value};
use crate::types::error::Code;
use crate::types::name::Name;

/// Most sockets of one service.
const MOST: usize = 64;

/// Longest path of a socket, bytes: the kernel takes 107, and it is made under a name that is five longer.
const LONGEST_PATH: usize = 102;

/// Number of the first socket a service is passed, as in `sd_listen_fds(3)`.
const FIRST: i32 = 3;

/// Reads `{ "http": "0.0.0.0:80", "admin": "/run/x.sock" }`; returns where each address stands.
pub(super) fn read(
    reader: &mut Reader<'_>,
    place: Place,
    service: &mut Service,
) -> Vec<(Listen, Place)> {
    let entries = reader.entries(place, "socket").unwrap_or_default();
    if entries.len() > MOST {
        let message = format!("a service listens on at most {MOST} sockets");
        reader.error(Code::InvalidValue, place, message);
    }
    let mut places = Vec::new();
    for (text, key, value) in entries {
        let name = value::name(reader, &text, key);
        let Some(listen) = address(reader, value) else { continue };
        places.push((listen.clone(), value));
        if let Some(name) = name {
            service.listen.insert(name, listen);
        }
    }
    places
}

/// `"0.0.0.0:80"`, `"[::]:80"`, `"localhost:80"` or a path.
fn address(reader: &mut Reader<'_>, place: Place) -> Option<Listen> {
    let text = value::filled_text(reader, place)?;
    if text.contains('/') {
        let path = value::directory(reader, place).join(&text);
        let length = path.as_os_str().len();
        if length > LONGEST_PATH || path.file_name().is_none() {
            let message =
                format!("the path of a socket has at most {LONGEST_PATH} bytes and ends in a name");
            reader.error(Code::InvalidValue, place, message);
            return None;
        }
        return Some(Listen::Unix(path));
    }
    match probe::address(&text, None) {
        Ok(address) => Some(Listen::Ip(address)),
        Err(reason) => {
            let hint = "write it like \"0.0.0.0:80\", \"[::]:80\" or \"/run/web.sock\"";
            reader.error_with(Code::InvalidValue, place, reason, hint.to_owned());
            None
        }
    }
}

/// Refuses a readiness descriptor whose number is that of a socket.
pub(super) fn check_ready(
    reader: &mut Reader<'_>,
    place: Place,
    number: i32,
    listen: &BTreeMap<Name, Listen>,
) {
    let taken = (FIRST..).zip(listen.keys()).find(|(taken, _)| *taken == number);
    let Some((_, name)) = taken else { return };
    let free = (FIRST..).nth(listen.len()).unwrap_or(FIRST);
    let message = format!("descriptor {number} is the socket {}", quote(name.as_str()));
    let hint = format!("those of `listen` are numbered from {FIRST}; use fd({free})");
    reader.error_with(Code::InvalidValue, place, message, hint);
}

/// Refuses a start at the first connection where there is none to wait for.
pub(super) fn check_start(reader: &mut Reader<'_>, place: Place, service: &Service) {
    if service.listen.is_empty() {
        let hint = "name its sockets: listen: { \"http\": \"0.0.0.0:80\" }".to_owned();
        let message = "a service that starts at a connection needs `listen`";
        reader.error_with(Code::InvalidValue, place, message, hint);
    }
    if service.kind != Kind::Daemon {
        reader.error(Code::InvalidValue, place, "only a daemon starts at a connection");
    }
}

/// Refuses addresses of which the kernel lets only one be listened on.
pub(super) fn check_all(reader: &mut Reader<'_>, drafts: &Drafts, daemon: &Daemon) {
    let mut seen: BTreeMap<Key<'_>, Vec<(&Name, &Listen, Place)>> = BTreeMap::new();
    for (service, draft) in drafts {
        for (listen, place) in &draft.listen {
            if matches!(listen, Listen::Unix(path) if *path == daemon.control.socket) {
                let message = "this is the control socket of cafe itself";
                reader.error(Code::InvalidValue, *place, message);
            }
            let others = seen.entry(Key::of(listen)).or_default();
            let other = others.iter().find(|(_, other, _)| listen.collides_with(other));
            if let Some((other, address, first)) = other {
                let message = format!("{} and service {} collide", listen, quote(other.as_str()));
                let hint = format!("it has {address}, at {}", reader.location(*first));
                reader.error_with(Code::DuplicateName, *place, message, hint);
            }
            others.push((service, listen, *place));
        }
    }
}

/// What those have in common that may collide.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'l> {
    Port(u16),
    Path(&'l std::path::Path),
}

impl<'l> Key<'l> {
    fn of(listen: &'l Listen) -> Self {
        match listen {
            Listen::Ip(address) => Self::Port(address.port()),
            Listen::Unix(path) => Self::Path(path),
        }
    }
}
