//! The boot story: config, state directory, tree, wait, end. Contains no logic of its own.

mod console;
mod journal;
mod manager;
mod resume;
mod upgrade;

use std::io::Read as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::actors::bus::Bus;
use crate::actors::control::door::Door;
use crate::actors::control::privileges;
use crate::actors::handover;
use crate::actors::kept::Keeping;
use crate::actors::logs::pump::Notices;
use crate::actors::services::Inheritance;
use crate::actors::upgrade::{Life, READABLE};
use crate::actors::{self, Ending, Parts, Root, Shutdown, listeners, services};
use crate::cli::RunOptions;
use crate::config::{self, Config, Problems};
use crate::logs;
use crate::os;
use crate::os::clock::Moment;
use crate::os::image::Inherited;
use crate::os::lock::Lock;
use crate::os::notify::manager::Notice;
use crate::os::notify::store::Store;
use crate::os::passed::Passed;
use crate::os::process::Spawner;
use crate::os::signal::{Request, Signals};
use crate::supervision::task;
use crate::types::error::chain;
use crate::types::event::Kind;
use crate::types::status::{Privileges, Upgrade};

use self::console::Console;
use self::resume::{Resume, Taken};

/// Time until most of what only a start needs has been done.
const START_RUSH: Duration = Duration::from_secs(1);

/// Most bytes of a state; that of a thousand services has two million.
const LARGEST_STATE: u64 = 1 << 30;

/// Exit code for a config that is not valid.
const BAD_CONFIG: u8 = 2;

/// Longest time for everything to stop as process 1: `docker stop` kills after 10 s, and the last lines need a moment.
const CONTAINER_STOP: Duration = Duration::from_secs(8);

/// Longest time for the last lines to be written at the end.
const LOGS_WITHIN: Duration = Duration::from_secs(20);

/// Runs the daemon until it is told to end; `cafe run`.
#[must_use]
pub fn run(options: &RunOptions) -> ExitCode {
    let inherited = Inherited::take();
    let passed = os::passed::take();
    os::memory::share_one_heap();
    console::init(options);
    if let Some(resume) = inherited.map(Resume::begin) {
        return ended(go_on(resume, options));
    }
    let config = match load(options) {
        Ok(config) => Arc::new(config),
        Err(problems) => {
            console::print(&problems.render(console::colored(options)));
            return ExitCode::from(BAD_CONFIG);
        }
    };
    // Reading a large config takes far more than keeping it.
    os::memory::give_back();
    ended(start(config, options, passed, &mut None))
}

/// Says whether this cafe can go on with the state on stdin: what another asks of it before it becomes this one.
#[must_use]
pub fn check_state() -> ExitCode {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(LARGEST_STATE).read_to_end(&mut bytes);
    let decoded = match read {
        Ok(_) => handover::State::decode(&bytes).map_err(|error| chain(&error)),
        Err(error) => Err(format!("the state cannot be read: {error}")),
    };
    match decoded {
        Ok(_) => {
            console::answer(&format!("{READABLE}{}\n", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Err(why) => {
            console::print(&format!("{why}\n"));
            ExitCode::FAILURE
        }
    }
}

fn ended(ended: anyhow::Result<u8>) -> ExitCode {
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            console::failure(&error);
            ExitCode::FAILURE
        }
    }
}

/// Starts with what another program left. If that fails before it was taken, this process becomes that program again.
fn go_on(resume: Resume, options: &RunOptions) -> anyhow::Result<u8> {
    let Some(config) = resume.config() else { resume::begin_anew() };
    let mut resume = Some(resume);
    let start = AssertUnwindSafe(|| {
        resume.iter().for_each(Resume::begins);
        start(config, options, Vec::new(), &mut resume)
    });
    let why = match (std::panic::catch_unwind(start), &resume) {
        (Ok(Err(error)), Some(resume)) if !resume.is_committed() => format!("{error:#}"),
        (Ok(ended), _) => return ended,
        (Err(_), Some(resume)) if !resume.is_committed() => "it panicked".to_owned(),
        (Err(panic), _) => std::panic::resume_unwind(panic),
    };
    match resume {
        Some(resume) => resume.go_back(&why),
        None => resume::begin_anew(),
    }
}

/// Before the first thread of the runtime: each thread has the capabilities of the one that made it.
fn start(
    config: Arc<Config>,
    options: &RunOptions,
    passed: Vec<Passed>,
    resume: &mut Option<Resume>,
) -> anyhow::Result<u8> {
    let (spawner, privileges) = privileges::settle(&config)?;
    let runtime = runtime()?;
    let ended = runtime.block_on(serve(config, options, passed, spawner, privileges, resume));
    // Blocking work that hangs (a slow disk) must not hold up the end.
    runtime.shutdown_background();
    ended
}

fn load(options: &RunOptions) -> Result<Config, Problems> {
    let environment = |name: &str| std::env::var(name).ok();
    let path = options.file.clone();
    let mut config = config::load(&path, &environment)?;
    if let Some(socket) = &options.socket {
        config.daemon.control.socket.clone_from(socket);
    }
    Ok(config)
}

/// Two workers: the daemon waits more than it computes, and every thread costs memory.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .thread_name("cafe")
        .enable_all()
        .build()
}

async fn serve(
    config: Arc<Config>,
    options: &RunOptions,
    passed: Vec<Passed>,
    spawner: Spawner,
    privileges: Privileges,
    resume: &mut Option<Resume>,
) -> anyhow::Result<u8> {
    let state_dir = &config.daemon.state_dir;
    prepare_state_dir(state_dir)?;
    let lock = if resume.is_some() { None } else { Some(os::lock::Lock::acquire(state_dir)?) };
    let mut signals = Signals::watch()?;
    os::signal::release();

    let shutdown = Shutdown::default();
    let (notify, notices) = Notices::channel();
    let pump = start_pump(&config, notify)?;
    let (keeping, passed) = Keeping::new(Store::of_manager(), passed);
    let listeners = listeners::Handle::new(keeping.clone());
    let context = services::Context::new(
        &config,
        pump.clone(),
        spawner,
        listeners.clone(),
        keeping.clone(),
        resume.is_some(),
    )?;
    let context = Arc::new(context);
    let taken = resume.as_mut().and_then(|resume| resume.commit(&context, &listeners, &pump));
    let begun = match taken {
        Some(taken) => Begun::again(taken, &config)?,
        None => {
            let lock = lock.context("the lock of the state directory was not handed over")?;
            let door = Door::open(&config)?;
            listeners.open(&config, passed, context.found_sockets(&config))?;
            Begun::anew(lock, door)
        }
    };
    let Begun { lock: _lock, door, bus, life, inherited, config_error, upgraded } = begun;
    let closed = door.clone();
    let console = console::follow(&bus, options);
    let life = Arc::new(life);
    let parts = Parts {
        config: config.clone(),
        privileges,
        context: context.clone(),
        notices,
        shutdown: shutdown.clone(),
        door,
        life: life.clone(),
        inherited,
        config_error,
    };
    let root = actors::start(parts, bus.clone()).await.context("cannot start")?;
    let started = match upgraded {
        Some((upgrade, stilled, running)) => {
            let came = resume::over(&life, upgrade, stilled, running);
            // Not before: whoever waits for it asks what came of it.
            closed.reopen();
            came
        }
        None => {
            format!("running {} services from {}", config.services.len(), config.source.display())
        }
    };
    let manager = manager::keep_informed(&root);
    bus.publish(Kind::Daemon { message: started });
    let rest = task::spawn("rest after the start", async {
        tokio::time::sleep(START_RUSH).await;
        let _ = tokio::task::spawn_blocking(os::memory::give_back).await;
    });

    let code = wait_for_end(&mut signals, &shutdown, &root, &bus, &console).await;
    manager::say(&[Notice::Stopping]);
    end(root, &mut signals, &bus).await;
    drop((manager, rest));
    listeners.close_all();
    let told = tokio::task::spawn_blocking(move || keeping.flush());
    context.remove_cgroups();
    let closing = tokio::task::spawn_blocking(move || pump.stop());
    match tokio::time::timeout(LOGS_WITHIN, closing).await {
        Ok(closed) => closed.context("cannot close the logs")?,
        Err(_) => tracing::error!("the file system of the logs hangs: ending without it"),
    }
    let _ = told.await;
    console.finish().await;
    Ok(code)
}

/// Until a signal, `cafe shutdown` or a significant service ends the daemon; a hang-up reads the config again. Gives
/// the exit code.
async fn wait_for_end(
    signals: &mut Signals,
    shutdown: &Shutdown,
    root: &Root,
    bus: &Bus,
    console: &Console,
) -> u8 {
    let by_signal = |name: &str| Ending { because: name.to_owned(), code: 0 };
    loop {
        let ending = tokio::select! {
            signal = signals.next() => match signal {
                Request::Reload => {
                    manager::say(&[Notice::Reloading]);
                    // The outcome is an event, and stands in the status.
                    let _ = root.keeper.reload(false).await;
                    manager::say(&[Notice::Ready]);
                    continue;
                }
                Request::Terminate => by_signal("SIGTERM"),
                Request::Interrupt => by_signal("SIGINT"),
                Request::User1 | Request::User2 => continue,
            },
            ending = shutdown.begun() => ending,
            candidate = root.upgrader.wanted.next() => {
                upgrade::become_it(&root.upgrader, &candidate, console).await;
                continue;
            }
        };
        // Now, if it was a signal: the status says that it is ending.
        shutdown.begin(ending.clone());
        bus.publish(Kind::Daemon { message: format!("stopping everything: {}", ending.because) });
        return ending.code;
    }
}

/// How long everything may take to stop, if that is limited.
fn time_to_stop(config: &Config) -> Option<Duration> {
    let process_1 = std::process::id() == 1;
    config.daemon.stop_timeout.or_else(|| process_1.then_some(CONTAINER_STOP))
}

/// Stops the services in order, then the tree.
async fn end(root: Root, signals: &mut Signals, bus: &Bus) {
    let services = root.services.clone();
    let limit = time_to_stop(&root.keeper.config());
    let mut out_of_time = std::pin::pin!(async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    });
    let mut hurried = false;
    let mut stopping = std::pin::pin!(services.shutdown());
    loop {
        tokio::select! {
            () = &mut stopping => break,
            () = &mut out_of_time, if !hurried => {
                hurried = true;
                let message = "out of time: killing what still runs".to_owned();
                bus.publish(Kind::Daemon { message });
                services.hurry();
            }
            signal = signals.next() => {
                if matches!(signal, Request::Interrupt | Request::Terminate) {
                    let message = "still stopping; each service has its own time limit".to_owned();
                    bus.publish(Kind::Daemon { message });
                }
            }
        }
    }
    bus.publish(Kind::Daemon { message: "everything has stopped".to_owned() });
    root.stop().await;
}

/// What the tree begins with.
struct Begun {
    lock: Lock,
    door: Door,
    bus: Bus,
    life: Life,
    inherited: Inheritance,
    config_error: Option<String>,
    /// What came of the upgrade, when it began, and how many processes ran.
    upgraded: Option<(Upgrade, Moment, usize)>,
}

impl Begun {
    fn anew(lock: Lock, door: Door) -> Self {
        let life = Life::new(lock.number());
        let (bus, inherited) = (Bus::default(), Inheritance::default());
        Self { lock, door, bus, life, inherited, config_error: None, upgraded: None }
    }

    fn again(taken: Taken, config: &Config) -> anyhow::Result<Self> {
        let upgraded = Some((taken.upgrade.clone(), taken.stilled(), taken.running));
        let Taken { lock, door, inherited, life, config_error, bus, .. } = taken;
        // Somebody removed the file of the socket.
        let door = door.map_or_else(|| Door::open(config), Ok)?;
        let bus = Bus::resumed(bus);
        Ok(Self { lock, door, bus, life, inherited, config_error, upgraded })
    }
}

fn prepare_state_dir(path: &Path) -> Result<(), os::Error> {
    let failed = |path: PathBuf| move |source| os::Error::StateDirectory { path, source };
    std::fs::create_dir_all(path.join("run")).map_err(failed(path.to_owned()))
}

fn start_pump(
    config: &Config,
    notices: Box<dyn Fn(logs::Notice) + Send>,
) -> Result<logs::Pump, logs::Error> {
    let total = config.daemon.logs;
    logs::Pump::start(logs::Options {
        dir: config.daemon.state_dir.join("logs"),
        limits: logs::Limits {
            max_total: total.max_total,
            min_free_percent: total.min_free_percent,
        },
        transit: Some(config.daemon.state_dir.join("run/transit")),
        notices,
    })
}
