//! One service: its fields, their defaults, and which of them go together.

use std::time::Duration;

use super::super::fields::Fields;
use super::super::model::{Hook, Kind, Limits, Log, Ready, Service, Start};
use super::super::problem::quote;
use super::super::reader::Reader;
use super::super::source::Place;
use super::{Draft, limits, listen, policy, probe, schedule, value};
use crate::types::error::Code;
use crate::types::name::{MAX_INSTANCES, Name};
use crate::types::policy::{OnFull, Restart};

/// Default of `ready_timeout` and of a hook's `timeout`.
const PATIENCE: Duration = Duration::from_secs(30);
/// Smallest log file, bytes: smaller ones would rotate at every other line.
const SMALLEST_LOG: u64 = 4 << 10;

/// Reads the service `name`, which is named at `key`. After an error a default stands in, so that the rest of
/// the config can be judged; it never gets out of `load`.
pub(super) fn read(reader: &mut Reader<'_>, name: &str, key: Place, place: Place) -> Draft {
    let mut draft = Draft {
        service: Service::bare(value::directory(reader, key)),
        place: key,
        after: Vec::new(),
        requires: Vec::new(),
        listen: Vec::new(),
        on_connection: None,
        significant: None,
    };
    let Some(mut fields) = Fields::open(place, key, format!("service {}", quote(name)), reader)
    else {
        return draft;
    };
    process(reader, &mut fields, &mut draft.service);
    if let Some(place) = fields.take("start", reader) {
        start(reader, place, &mut draft);
    }
    order(reader, &mut fields, &mut draft);
    let kind = kind(reader, &mut fields, &mut draft.service);
    if let Some(place) = fields.take("listen", reader) {
        draft.listen = listen::read(reader, place, &mut draft.service);
    }
    if let Some(place) = draft.on_connection {
        listen::check_start(reader, place, &draft.service);
    }
    readiness(reader, &mut fields, &mut draft.service, kind);
    restarts(reader, &mut fields, &mut draft, kind);
    if let Some(place) = fields.take("stop", reader) {
        policy::stop(reader, place, &mut draft.service.stop);
    }
    if let Some(place) = fields.take("reload", reader) {
        draft.service.reload = policy::reload(reader, place).unwrap_or(draft.service.reload);
    }
    if let Some(place) = fields.take("limits", reader) {
        let limits = limits::read(reader, place);
        draft.service.limits = (limits != Limits::default()).then(|| Box::new(limits));
    }
    if let Some(place) = fields.take("log", reader) {
        log(reader, place, &mut draft.service.log);
    }
    fields.finish(reader);
    draft
}

impl Service {
    /// A service with all defaults and without a command.
    #[must_use]
    pub fn bare(cwd: std::path::PathBuf) -> Self {
        Self {
            command: Vec::new(),
            cwd,
            user: None,
            group: None,
            env: std::collections::BTreeMap::new(),
            secrets: Vec::new(),
            umask: None,
            nice: None,
            start: Start::Auto,
            overlap: false,
            instances: 1,
            after: Vec::new(),
            requires: Vec::new(),
            listen: std::collections::BTreeMap::new(),
            kind: Kind::Daemon,
            ready: None,
            ready_timeout: PATIENCE,
            watchdog: None,
            health: None,
            restart: Restart::Permanent,
            backoff: policy::BACKOFF,
            intensity: policy::INTENSITY,
            on_give_up: None,
            significant: false,
            stop: policy::STOP,
            reload: policy::RELOAD,
            limits: None,
            log: Log { max_file: 10 << 20, keep: 10, on_full: OnFull::Block },
            capabilities: None,
            no_new_privs: false,
        }
    }
}

fn process(reader: &mut Reader<'_>, fields: &mut Fields, service: &mut Service) {
    if let Some(place) = fields.require("command", reader) {
        service.command = value::command(reader, place).unwrap_or_default();
    }
    if let Some(cwd) = fields.take("cwd", reader).and_then(|place| value::path(reader, place)) {
        service.cwd = cwd;
    }
    service.user = fields.take("user", reader).and_then(|place| value::filled_text(reader, place));
    service.group =
        fields.take("group", reader).and_then(|place| value::filled_text(reader, place));
    if let Some(place) = fields.take("env", reader) {
        (service.env, service.secrets) = value::environment(reader, place);
    }
    service.umask = fields.take("umask", reader).and_then(|place| umask(reader, place));
    service.nice = fields.take("nice", reader).and_then(|place| reader.number(place, -20..=19));
    service.capabilities =
        fields.take("capabilities", reader).and_then(|place| value::capabilities(reader, place));
    if let Some(place) = fields.take("no_new_privs", reader) {
        service.no_new_privs = reader.boolean(place).unwrap_or_default();
    }
}

fn start(reader: &mut Reader<'_>, place: Place, draft: &mut Draft) {
    let choices =
        [("auto", Start::Auto), ("manual", Start::Manual), ("on_connection", Start::OnConnection)];
    draft.service.start = reader.choice(place, "start", &choices).unwrap_or_default();
    draft.on_connection = (draft.service.start == Start::OnConnection).then_some(place);
}

fn umask(reader: &mut Reader<'_>, place: Place) -> Option<u32> {
    let text = reader.text(place)?;
    let octal = text.bytes().all(|byte| byte.is_ascii_digit());
    let mask = u32::from_str_radix(&text, 8).ok().filter(|mask| octal && *mask <= 0o777);
    if mask.is_none() {
        reader.error(Code::InvalidValue, place, "a umask is an octal number like \"022\"");
    }
    mask
}

fn order(reader: &mut Reader<'_>, fields: &mut Fields, draft: &mut Draft) {
    if let Some(place) = fields.take("after", reader) {
        draft.after = value::references(reader, place);
    }
    if let Some(place) = fields.take("requires", reader) {
        draft.requires = value::references(reader, place);
    }
    let names = |list: &[(Name, Place)]| list.iter().map(|(name, _)| name.clone()).collect();
    draft.service.after = names(&draft.after);
    draft.service.requires = names(&draft.requires);
}

/// Reads `kind`, and `overlap` and `instances`, which depend on it; returns where the kind stands.
fn kind(reader: &mut Reader<'_>, fields: &mut Fields, service: &mut Service) -> Place {
    let place = fields.take("kind", reader);
    let overlap = fields.take("overlap", reader);
    if let Some(kind) = place.and_then(|place| schedule::kind(reader, place)) {
        service.kind = kind;
    }
    if let Some(overlap_place) = overlap {
        match &mut service.kind {
            Kind::Timer { overlap, .. } => {
                *overlap = schedule::overlap(reader, overlap_place).unwrap_or_default();
            }
            Kind::Daemon => service.overlap = reader.boolean(overlap_place).unwrap_or_default(),
            Kind::Oneshot => {
                let message = "a oneshot has no `overlap`: nothing of it runs for good";
                reader.error(Code::InvalidValue, overlap_place, message);
            }
        }
    }
    if let Some(place) = fields.take("instances", reader) {
        instances(reader, place, service);
    }
    place.unwrap_or(fields.place())
}

fn instances(reader: &mut Reader<'_>, place: Place, service: &mut Service) {
    service.instances = reader.number(place, 1..=MAX_INSTANCES).unwrap_or(1);
    if service.instances > 1 && service.kind != Kind::Daemon {
        reader.error(Code::InvalidValue, place, "only a daemon has several `instances`");
    }
}

fn readiness(reader: &mut Reader<'_>, fields: &mut Fields, service: &mut Service, kind: Place) {
    let ready = fields.take("ready", reader);
    let health = fields.take("health", reader);
    service.ready = ready.and_then(|place| probe::ready(reader, place));
    if let (Some(place), Some(Ready::Fd(number))) = (ready, &service.ready) {
        listen::check_ready(reader, place, *number, &service.listen);
    }
    if let Some(place) = fields.take("ready_timeout", reader) {
        let timeout = value::duration_of(reader, place, value::SHORTEST_PERIOD);
        service.ready_timeout = timeout.unwrap_or(PATIENCE);
    }
    service.watchdog = fields
        .take("watchdog", reader)
        .and_then(|place| value::duration_of(reader, place, value::SHORTEST_PERIOD));
    service.health = health.and_then(|place| probe::health(reader, place)).map(Box::new);
    if service.kind == Kind::Daemon {
        return;
    }
    let location = reader.location(kind);
    for place in [ready, health].into_iter().flatten() {
        let message = "only a daemon has `ready` and `health`: others are done when they end";
        let hint = format!("its kind is at {location}");
        reader.error_with(Code::InvalidValue, place, message, hint);
    }
}

fn restarts(reader: &mut Reader<'_>, fields: &mut Fields, draft: &mut Draft, kind: Place) {
    let service = &mut draft.service;
    let ends = service.kind != Kind::Daemon;
    service.restart = if ends { Restart::Temporary } else { Restart::Permanent };
    if let Some(place) = fields.take("restart", reader) {
        service.restart = policy::restart(reader, place).unwrap_or(service.restart);
        if ends && service.restart == Restart::Permanent {
            let hint = format!(
                "use `transient` to try again after a failure; its kind is at {}",
                reader.location(kind)
            );
            let message = "only a daemon may be `permanent`: others are meant to end";
            reader.error_with(Code::InvalidValue, place, message, hint);
        }
    }
    if let Some(place) = fields.take("backoff", reader) {
        policy::backoff(reader, place, &mut service.backoff);
    }
    if let Some(place) = fields.take("intensity", reader) {
        policy::intensity(reader, place, &mut service.intensity);
    }
    if let Some(place) = fields.take("on_give_up", reader) {
        service.on_give_up = hook(reader, place).map(Box::new);
    }
    if let Some(place) = fields.take("significant", reader) {
        service.significant = reader.boolean(place).unwrap_or_default();
        draft.significant = service.significant.then_some(place);
    }
}

fn hook(reader: &mut Reader<'_>, place: Place) -> Option<Hook> {
    let mut fields = Fields::open(place, place, "`on_give_up`", reader)?;
    let command = fields.require("command", reader);
    let command = command.and_then(|place| value::command(reader, place));
    let timeout = fields.take("timeout", reader);
    let timeout =
        timeout.and_then(|place| value::duration_of(reader, place, value::SHORTEST_PERIOD));
    fields.finish(reader);
    Some(Hook { command: command?, timeout: timeout.unwrap_or(PATIENCE) })
}

fn log(reader: &mut Reader<'_>, place: Place, log: &mut Log) {
    let Some(mut fields) = Fields::open(place, place, "`log`", reader) else { return };
    if let Some(place) = fields.take("max_file", reader)
        && let Some(size) = value::size(reader, place)
    {
        log.max_file = size;
        if size < SMALLEST_LOG {
            reader.error(Code::InvalidValue, place, "a log file holds at least 4KiB");
        }
    }
    if let Some(place) = fields.take("keep", reader) {
        log.keep = reader.number(place, 0..=1_000).unwrap_or(log.keep);
    }
    if let Some(place) = fields.take("on_full", reader) {
        let choices = [("block", OnFull::Block), ("drop", OnFull::Drop)];
        log.on_full = reader.choice(place, "on_full", &choices).unwrap_or_default();
    }
    fields.finish(reader);
}
