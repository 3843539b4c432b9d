//! `cafe upgrade`: this process becomes another program, and everything that runs goes on.
//!
//! ```text
//!   ask:   the candidate is tried as a child, with a copy of the state  -> refused: nothing was done
//!   still: nobody is let in, no service is started or reaped, no log is written; all of it is written down
//!   then the daemon executes the candidate, which resumes; if it cannot, it executes this program again
//! ```
//!
//! No actor: it outlives none of them, and decides nothing.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::bus::Bus;
use super::control::door::Door;
use super::control::keeper;
use super::handover::{LogRecord, Rest, State};
use super::{Shutdown, services};
use crate::logs::Suspended;
use crate::os;
use crate::os::clock::Moment;
use crate::os::image::{self, Image};
use crate::os::process::Command;
use crate::types::error::{Code, Problem, chain};
use crate::types::event::Kind;
use crate::types::status::Upgrade;

/// Time for all services to be written down. Only the making of a process can hold that up.
const STILL_WITHIN: Duration = Duration::from_secs(5);

/// Time for the candidate to read the state.
const TRIED_WITHIN: Duration = Duration::from_secs(10);

/// Most that is read of what the candidate says.
const SAID: usize = 4096;

/// What a candidate that can go on says, and its version.
pub(crate) const READABLE: &str = "cafe-state readable by cafe ";

/// The hidden command that says it.
pub(crate) const CHECK: [&str; 2] = ["role", "check-state"];

/// What an upgrade needs of the other parts; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Upgrader {
    pub(crate) services: services::Handle,
    pub(crate) keeper: keeper::Handle,
    pub(crate) context: Arc<services::Context>,
    pub(crate) bus: Bus,
    pub(crate) door: Door,
    pub(crate) shutdown: Shutdown,
    pub(crate) life: Arc<Life>,
    pub(crate) wanted: Wanted,
}

/// What is the same for all images of this process.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) since: Timestamp,
    /// The same moment by a clock that nobody sets.
    pub(crate) started: Instant,
    pub(crate) upgrades: u64,
    pub(crate) last_upgrade: Mutex<Option<Upgrade>>,
    /// The descriptor of the lock of the state directory.
    pub(crate) lock: RawFd,
}

/// The upgrade that was asked for, if any; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    under_way: Arc<AtomicBool>,
    image: Arc<watch::Sender<Option<Arc<Candidate>>>>,
}

/// A program that read the state.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) image: Image,
    pub(crate) version: String,
}

/// Everything is still, and written down.
#[derive(Debug)]
pub(crate) struct Stilled {
    pub(crate) state: std::fs::File,
    /// The descriptors to hand on, but for that of the state.
    pub(crate) descriptors: Vec<RawFd>,
    /// The program that runs.
    pub(crate) own: Image,
    _pipes: Vec<[OwnedFd; 2]>,
}

impl Life {
    /// One that begins.
    pub(crate) fn new(lock: RawFd) -> Self {
        let (since, started) = (Timestamp::now(), Instant::now());
        Self { since, started, upgrades: 0, last_upgrade: Mutex::default(), lock }
    }

    /// What came of the last upgrade.
    pub(crate) fn last_upgrade(&self) -> Option<Upgrade> {
        self.last_upgrade.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Wanted {
    /// Waits until an upgrade is wanted. Safe to cancel.
    pub(crate) async fn next(&self) -> Arc<Candidate> {
        let mut wanted = self.image.subscribe();
        loop {
            if let Some(candidate) = wanted.borrow_and_update().clone() {
                return candidate;
            }
            // The sender is ours, so it is there.
            let _ = wanted.changed().await;
        }
    }

    /// Nothing came of it.
    pub(crate) fn over(&self) {
        self.image.send_replace(None);
        self.under_way.store(false, Ordering::Release);
    }
}

impl Upgrader {
    /// Tries the program at `path` (or what has the name of this one now), and has the daemon become it. Gives its
    /// version.
    ///
    /// # Errors
    /// `C046` while another upgrade is under way or cafe ends; `C070` when the program cannot go on with the state.
    pub(crate) async fn ask(&self, path: Option<PathBuf>) -> Result<String, Problem> {
        if self.shutdown.has_begun() {
            return Err(Problem::new(Code::Conflict, "the daemon is ending"));
        }
        if self.wanted.under_way.swap(true, Ordering::AcqRel) {
            return Err(Problem::new(Code::Conflict, "another upgrade is under way"));
        }
        let path = path.unwrap_or_else(image::own_path);
        match self.try_out(&path).await {
            Ok(candidate) => {
                let version = candidate.version.clone();
                self.wanted.image.send_replace(Some(Arc::new(candidate)));
                Ok(version)
            }
            Err(why) => {
                self.wanted.over();
                let message = format!("cannot upgrade to {}: {why}", path.display());
                let problem = Problem::new(Code::UpgradeRefused, message);
                Err(problem.hint("nothing was done: this cafe goes on"))
            }
        }
    }

    async fn try_out(&self, path: &Path) -> Result<Candidate, String> {
        let image = Image::open(path).map_err(|error| chain(&error))?;
        let written = self.write_down().await?;
        self.services.go_on();
        let state = written.and_seal(Vec::new()).map_err(|error| error.to_string())?;
        let version = self.run_candidate(&image, state.state.into()).await?;
        Ok(Candidate { image, version })
    }

    /// Runs `cafe role check-state` of the candidate.
    async fn run_candidate(&self, image: &Image, state: OwnedFd) -> Result<String, String> {
        let pipe = || std::io::pipe().map_err(|error| format!("no pipe for it: {error}"));
        let ((heard, says), (told, tells)) = (pipe()?, pipe()?);
        let (descriptor, program) = image.for_child();
        let program = program.into_os_string();
        let argv = std::iter::once(program).chain(CHECK.map(Into::into)).collect();
        let descriptors = vec![
            descriptor,
            (0, Arc::new(state)),
            (1, Arc::new(says.into())),
            (2, Arc::new(tells.into())),
        ];
        let command = Command { argv, cwd: "/".into(), descriptors, ..Command::default() };
        let tried = self.context.try_program(command, TRIED_WITHIN).await?;
        let (said, complaint) = (read(heard).await, read(told).await);
        match said.lines().last().and_then(|line| line.strip_prefix(READABLE)) {
            Some(version) if tried == "exited 0" => Ok(version.trim().to_owned()),
            _ if complaint.is_empty() => {
                Err(format!("it is no cafe that reads the state ({tried}, said {})", quoted(&said)))
            }
            _ => Err(format!("{} ({tried})", complaint.trim())),
        }
    }

    /// Makes everything still, for good: afterwards this image can only become another.
    ///
    /// # Errors
    /// Why cafe goes on as it is; then everything does.
    pub(crate) async fn still(&self, candidate: &Candidate) -> Result<Stilled, NotStilled> {
        let began = Moment::now();
        self.door.close().await;
        let refused = |why: String| {
            self.services.go_on();
            self.door.reopen();
            let path = candidate.image.path().display();
            NotStilled::GoesOn(format!("cannot upgrade to {path}: {why}"))
        };
        if self.context.pump().stalled().is_some() {
            return Err(refused("the file system of the logs hangs".to_owned()));
        }
        let mut written = self.write_down().await.map_err(refused)?;
        let pump = self.context.pump().clone();
        let suspended = tokio::task::spawn_blocking(move || pump.suspend()).await;
        let keeping = self.context.keeping().clone();
        // What the manager was not told by now, the next image does not tell it.
        let _ = tokio::task::spawn_blocking(move || keeping.flush()).await;
        let suspended = match suspended {
            Ok(Ok(suspended)) => suspended,
            Ok(Err(error)) => return Err(refused(chain(&error))),
            Err(_) => return Err(refused("the log pump failed".to_owned())),
        };
        self.bus.publish(Kind::Daemon {
            message: format!(
                "becoming cafe {} from {}",
                candidate.version,
                candidate.image.path().display()
            ),
        });
        written.state.rest.stilled = began;
        written.state.rest.candidate.clone_from(&candidate.version);
        written.state.rest.bus = self.bus.record();
        written.and_seal(suspended).map_err(|error| NotStilled::Stuck(error.to_string()))
    }

    /// All but the logs, after which the services are still until they are told to go on.
    async fn write_down(&self) -> Result<Written, String> {
        let own = Image::own().map_err(|error| chain(&error))?;
        let services = match self.services.hand_over(STILL_WITHIN).await {
            Ok(services) => services,
            Err(error) => {
                self.services.go_on();
                return Err(format!("the services cannot be written down now: {error}"));
            }
        };
        let rest = Rest {
            stilled: Moment::now(),
            candidate: String::new(),
            descriptors: Vec::new(),
            program: (own.number(), own.path().to_owned()),
            config_error: self.keeper.last_error(),
            since: self.life.since,
            started: self.life.started,
            upgrades: self.life.upgrades,
            last_upgrade: self.life.last_upgrade(),
            lock: self.life.lock,
            control: self.door.record(),
            listeners: self.context.listeners().record(),
            logs: Vec::new(),
            bus: self.bus.record(),
        };
        Ok(Written { state: State { rest, services }, own })
    }
}

/// Why not everything could be made still and written down.
#[derive(Debug)]
pub(crate) enum NotStilled {
    /// Everything goes on as before.
    GoesOn(String),
    /// Nothing is written or answered any more: to go on is to begin anew, with all that runs.
    Stuck(String),
}

/// What is known before the logs are suspended.
struct Written {
    state: State,
    own: Image,
}

impl Written {
    fn and_seal(mut self, suspended: Vec<Suspended>) -> Result<Stilled, SealError> {
        let mut pipes = Vec::with_capacity(suspended.len());
        for Suspended { state, pipes: held } in suspended {
            let numbers = held.as_ref().map(|held| held.each_ref().map(AsRawFd::as_raw_fd));
            self.state.rest.logs.push(LogRecord { state, pipes: numbers });
            pipes.extend(held);
        }
        self.state.list_descriptors();
        let bytes = self.state.encode().map_err(SealError::Encode)?;
        let state = image::seal(&bytes).map_err(SealError::Memory)?;
        Ok(Stilled {
            state,
            descriptors: self.state.rest.descriptors,
            own: self.own,
            _pipes: pipes,
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum SealError {
    #[error("the state cannot be written down: {}", chain(.0))]
    Encode(super::handover::Error),
    #[error("{}", chain(.0))]
    Memory(os::Error),
}

/// What a program wrote before it ended; the pipe has room for more than is wanted.
async fn read(pipe: std::io::PipeReader) -> String {
    use std::io::Read as _;
    let reading = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        // A child that it left behind may hold the pipe: what is there is enough.
        let _ = rustix::io::ioctl_fionread(&pipe)
            .map(|count| pipe.take(count.min(SAID as u64)).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    });
    reading.await.unwrap_or_default()
}

fn quoted(text: &str) -> String {
    match text.trim() {
        "" => "nothing".to_owned(),
        text => format!("`{}`", text.lines().next().unwrap_or_default()),
    }
}
