//! This process was another program a moment ago (`cafe upgrade`), and goes on where that was.
//!
//! Until it is committed, nothing is taken of what that one left, and whatever goes wrong (an error, a panic, no end in
//! time) makes this process that program again. Afterwards it is like any other cafe.

use std::collections::HashSet;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::console;
use crate::actors::control::door::Door;
use crate::actors::handover::{Author, LogRecord, State};
use crate::actors::listeners;
use crate::actors::services::{self, Inheritance};
use crate::actors::upgrade::Life;
use crate::config::Config;
use crate::logs::{Pump, Suspended};
use crate::os::clock::Moment;
use crate::os::image::{Descriptors, Image, Inherited};
use crate::os::lock::Lock;
use crate::types::error::chain;
use crate::types::name::Name;
use crate::types::status::Upgrade;

/// Time for everything up to the commit.
const WITHIN: Duration = Duration::from_secs(10);

/// What the other program left; nothing once it was taken.
pub(super) struct Resume(Option<Left>);

/// What is taken at the commit, and the way back until then.
struct Left {
    way_back: Arc<WayBack>,
    guard: mpsc::Sender<()>,
    /// Stays open for the way back.
    inherited: Inherited,
    state: State,
    author: Author,
    bytes: usize,
    descriptors: Descriptors,
    /// Why the program that was to go on did not.
    refused: Option<String>,
}

/// What this image has, once it is committed.
pub(super) struct Taken {
    pub(super) lock: Lock,
    pub(super) door: Option<Door>,
    pub(super) inherited: Inheritance,
    pub(super) life: Life,
    pub(super) config_error: Option<String>,
    pub(super) upgrade: Upgrade,
    pub(super) bus: crate::actors::bus::Record,
    pub(super) running: usize,
    stilled: Moment,
}

/// How to become the program before again.
struct WayBack {
    program: Option<Image>,
    state: RawFd,
    descriptors: Vec<RawFd>,
    /// It is this one that does instead of another: there is no third.
    is_second: bool,
}

impl Resume {
    /// Reads what was left; does not come back if that is in vain.
    pub(super) fn begin(mut inherited: Inherited) -> Self {
        let file = inherited.state.as_raw_fd();
        let refused = inherited.refused.clone();
        let is_second = refused.is_some();
        let hopeless = WayBack { program: None, state: file, descriptors: Vec::new(), is_second };
        let bytes = match inherited.read() {
            Ok(bytes) => bytes,
            Err(error) => hopeless.go(&format!("the state cannot be read: {error}")),
        };
        // It was tried with the same state before; so neither happens.
        let (state, author) = match std::panic::catch_unwind(|| State::decode(&bytes)) {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => hopeless.go(&chain(&error)),
            Err(_) => hopeless.go("it panicked"),
        };
        let mut descriptors = Descriptors::inherited(&state.rest.descriptors);
        let (number, path) = state.rest.program.clone();
        let program = descriptors.take(number).map(|program| Image::held(program, path));
        let handed_back = descriptors.numbers().into_iter().chain([number, file]).collect();
        let way_back = WayBack { program, state: file, descriptors: handed_back, is_second };
        let way_back = Arc::new(way_back);
        let guard = watch(way_back.clone());
        let bytes = bytes.len();
        Self(Some(Left { way_back, guard, inherited, state, author, bytes, descriptors, refused }))
    }

    /// The config that was in force.
    pub(super) fn config(&self) -> Option<Arc<Config>> {
        self.0.as_ref().map(|left| left.state.services.config())
    }

    /// Where a test has it fail.
    pub(super) fn begins(&self) {
        if let Some(left) = &self.0 {
            failpoint("decoded", left.way_back.is_second);
        }
    }

    /// Whether it can still become the program before.
    pub(super) fn is_committed(&self) -> bool {
        self.0.is_none()
    }

    /// Becomes the program before.
    pub(super) fn go_back(mut self, why: &str) -> ! {
        let Some(left) = self.0.take() else { begin_anew() };
        let way_back = Arc::clone(&left.way_back);
        // Not closed: all of it is handed back.
        std::mem::forget(left);
        way_back.go(why)
    }

    /// From here on this is the program that runs.
    pub(super) fn commit(
        &mut self,
        context: &services::Context,
        listeners: &listeners::Handle,
        pump: &Pump,
    ) -> Option<Taken> {
        let is_second = self.0.as_ref()?.way_back.is_second;
        failpoint("built", is_second);
        let Left { way_back, guard, inherited, state, author, bytes, mut descriptors, refused } =
            self.0.take()?;
        // No way leads back: the program before and its state are let go.
        drop((guard, way_back, inherited));
        failpoint("committed", is_second);
        let State { rest: state, services } = state;
        let lock = Lock::held(descriptors.take(state.lock)?);
        let door = Door::inherited(state.control, &mut descriptors);
        listeners.resume(state.listeners, &mut descriptors);
        // The pump told of it, and nobody heard that any more.
        let told = state.logs.iter().map(|log| &log.state).filter(|log| log.watch_for.is_none());
        let told: HashSet<(Name, u64)> =
            told.map(|log| (log.service.clone(), log.generation)).collect();
        let line_came = |name: &Name, generation: u64| told.contains(&(name.clone(), generation));
        let running = services.running();
        let inherited = Inheritance::new(services, context, &mut descriptors, line_came);
        for LogRecord { state, pipes } in state.logs {
            let service = state.service.clone();
            let pipes =
                pipes.and_then(|[out, err]| Some([descriptors.take(out)?, descriptors.take(err)?]));
            if let Some([stdout, _]) = &pipes {
                context.keeping().known(&service, state.generation, stdout);
            }
            if let Err(error) = pump.resume(Suspended { state, pipes }) {
                tracing::error!(service = %service, error = chain(&error), "log not gone on with");
            }
        }
        let upgrade = Upgrade {
            at: Timestamp::now(),
            from: author.version,
            to: state.candidate,
            pause_ms: 0,
            state_bytes: bytes as u64,
            failed: refused,
        };
        let life = Life {
            since: state.since,
            started: state.started,
            upgrades: state.upgrades + u64::from(upgrade.failed.is_none()),
            last_upgrade: state.last_upgrade.into(),
            lock: lock.number(),
        };
        Some(Taken {
            lock,
            door,
            inherited,
            life,
            config_error: state.config_error,
            upgrade,
            bus: state.bus,
            running,
            stilled: state.stilled,
        })
    }
}

/// Everything is up: says for how long it was still.
pub(super) fn over(life: &Life, mut upgrade: Upgrade, stilled: Moment, running: usize) -> String {
    let pause = stilled.elapsed();
    upgrade.pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let Upgrade { from, to, pause_ms, failed, .. } = &upgrade;
    let message = match failed {
        None => format!(
            "was cafe {from}, is cafe {to}: still for {pause_ms} ms, {running} processes went on"
        ),
        Some(why) => format!(
            "could not become cafe {to}: {why}; still for {pause_ms} ms, {running} processes went on"
        ),
    };
    *life.last_upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade);
    message
}

impl Taken {
    /// When everything was stilled.
    pub(super) fn stilled(&self) -> Moment {
        self.stilled
    }
}

impl WayBack {
    /// Becomes the program before; the last resort is to begin anew, with all that runs.
    fn go(&self, why: &str) -> ! {
        console::print(&format!("cafe: the upgrade failed: {why}\n"));
        if let Some(program) = self.program.as_ref().filter(|_| !self.is_second) {
            let error = program.execute(Some(self.state), Some(why), &self.descriptors);
            console::print(&format!("cafe: cannot become the program before: {error}\n"));
        }
        begin_anew()
    }
}

/// Executes this program as if it had been killed and started again: services go on, and are found.
pub(super) fn begin_anew() -> ! {
    if let Ok(own) = Image::own() {
        let error = own.execute(None, None, &[]);
        console::print(&format!("cafe: cannot begin anew: {error}\n"));
    }
    // Whoever started cafe does it again.
    std::process::exit(1)
}

/// Goes back if the answer, which is the end of the sender, does not come in time.
fn watch(way_back: Arc<WayBack>) -> mpsc::Sender<()> {
    let (guard, over) = mpsc::channel::<()>();
    let watching = move || {
        if over.recv_timeout(WITHIN) == Err(RecvTimeoutError::Timeout) {
            way_back.go(&format!("it did not go on within {} s", WITHIN.as_secs()));
        }
    };
    if let Err(error) = std::thread::Builder::new().name("upgrade".to_owned()).spawn(watching) {
        tracing::warn!(%error, "the upgrade is not watched");
    }
    guard
}

/// Fails here on purpose, where a test says so.
fn failpoint(at: &str, is_second: bool) {
    if !cfg!(debug_assertions) || is_second {
        return;
    }
    let wanted = std::env::var("CAFE_TEST_UPGRADE").unwrap_or_default();
    match wanted.strip_prefix(at) {
        Some("-panic") => panic!("on purpose, where the upgrade is {at}"),
        Some("-hang") => loop {
            std::thread::park();
        },
        Some("-abort") => std::process::abort(),
        _ => {}
    }
}
