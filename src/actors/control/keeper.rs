//! Keeps the config in force: reads the file again when it changes, on SIGHUP and when asked, and hands a
//! checked config to the services. One change at a time; a config that fails changes nothing and is shown.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::files::Files;
use super::privileges;
use crate::actors::bus::Bus;
use crate::actors::{Parts, listeners, services};
use crate::config::{self, Config, Problems};
use crate::net::control::{Plan, PlanStep, Reloaded};
use crate::os;
use crate::supervision::mailbox::{Mailbox, Reply};
use crate::supervision::task::{self, Task};
use crate::types::error::{Code, Problem};
use crate::types::event::Kind;
use crate::types::status::{Privileges, SCHEMA};

/// How long the files must be quiet before they are read: an editor writes more than once.
const QUIET: Duration = Duration::from_millis(200);

/// Questions that may wait; further ones are refused.
const QUESTIONS_WAITING: usize = 16;

/// Longest time a reload may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How others reach the keeper and read the config in force; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
    mailbox: Mailbox<Msg>,
}

#[derive(Debug)]
struct Shared {
    config: ArcSwap<Config>,
    error: Mutex<Option<String>>,
    /// Looked up once: a change of `control` needs a restart of the daemon.
    control_group: Option<u32>,
    privileges: Privileges,
    /// Another image of cafe watched the files so far.
    resumes: bool,
}

/// What the actor is told.
#[derive(Debug)]
pub(crate) enum Msg {
    /// Reads the file and applies it, or says what it would change.
    Reload { dry_run: bool, reply: Reply<Result<Reloaded, Problem>> },
    /// Replaces the file and applies it.
    Replace { if_match: String, text: String, reply: Reply<Result<Reloaded, Problem>> },
    /// Says what a text, or the file, would change.
    Diff { text: Option<String>, reply: Reply<Result<Plan, Problem>> },
    /// A file of the config was touched.
    Touched,
    /// The files have been quiet for a while.
    Quiet,
}

/// What the actor needs to begin.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) handle: Handle,
    pub(crate) listeners: listeners::Handle,
    pub(crate) services: services::Handle,
    pub(crate) bus: Bus,
}

/// The actor; its state is [`State`].
#[derive(Debug)]
pub(crate) struct Keeper;

/// What the actor owns.
#[derive(Debug)]
pub(crate) struct State {
    myself: ActorRef<Msg>,
    handle: Handle,
    listeners: listeners::Handle,
    services: services::Handle,
    bus: Bus,
    files: Option<Files>,
    debounce: Option<Task>,
}

impl Handle {
    /// A handle over the config the daemon began with, and the capabilities it kept for it.
    pub(crate) fn new(parts: &Parts) -> Self {
        let shared = Shared {
            config: ArcSwap::new(parts.config.clone()),
            error: Mutex::new(parts.config_error.clone()),
            control_group: parts.door.group(),
            privileges: parts.privileges,
            resumes: parts.life.upgrades > 0,
        };
        Self { shared: Arc::new(shared), mailbox: Mailbox::new(QUESTIONS_WAITING) }
    }

    /// The config in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.shared.config.load_full()
    }

    /// The group whose members may operate the daemon.
    pub(crate) fn control_group(&self) -> Option<u32> {
        self.shared.control_group
    }

    /// The capabilities of the daemon, which are the same until its end.
    pub(crate) fn privileges(&self) -> Privileges {
        self.shared.privileges
    }

    /// Why the file on disk is not in force.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.shared.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file again and applies it, unless `dry_run`.
    pub(crate) async fn reload(&self, dry_run: bool) -> Result<Reloaded, Problem> {
        self.ask(|reply| Msg::Reload { dry_run, reply }).await
    }

    /// Replaces the file by `text` and applies it, if `if_match` is the revision in force or `*`.
    pub(crate) async fn replace(
        &self,
        if_match: String,
        text: String,
    ) -> Result<Reloaded, Problem> {
        self.ask(|reply| Msg::Replace { if_match, text, reply }).await
    }

    /// What `text`, or the file on disk, would change.
    pub(crate) async fn diff(&self, text: Option<String>) -> Result<Plan, Problem> {
        self.ask(|reply| Msg::Diff { text, reply }).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        message: impl FnOnce(Reply<Result<T, Problem>>) -> Msg,
    ) -> Result<T, Problem> {
        self.mailbox.call(message, DEADLINE).await.unwrap_or_else(|error| {
            Err(Problem::new(Code::TimedOut, format!("the config keeper does not answer: {error}")))
        })
    }

    fn set_error(&self, error: Option<String>) {
        *self.shared.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

impl Actor for Keeper {
    type Msg = Msg;
    type State = State;
    type Arguments = Options;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        options: Options,
    ) -> Result<State, ActorProcessingErr> {
        options.handle.mailbox.serve(&myself);
        let mut state = State {
            myself,
            handle: options.handle,
            listeners: options.listeners,
            services: options.services,
            bus: options.bus,
            files: None,
            debounce: None,
        };
        state.watch_files();
        if state.handle.shared.resumes {
            // They may have changed while nobody looked.
            state.touched();
        }
        Ok(state)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Reload { dry_run, reply } => {
                let result = state.reload(dry_run).await;
                reply.send(result);
            }
            Msg::Replace { if_match, text, reply } => {
                let result = state.replace(&if_match, text).await;
                reply.send(result);
            }
            Msg::Diff { text, reply } => reply.send(state.diff(text).await),
            Msg::Touched => state.touched(),
            Msg::Quiet => {
                state.debounce = None;
                // Whoever changed the file reads the outcome in the events and the status.
                let _ = state.reload(false).await;
            }
        }
        Ok(())
    }
}

impl State {
    fn path(&self) -> PathBuf {
        self.handle.config().source.clone()
    }

    async fn reload(&mut self, dry_run: bool) -> Result<Reloaded, Problem> {
        let loaded = self.load(None).await;
        if dry_run {
            let new = loaded?;
            let plan = plan_of(&self.handle.config(), &new);
            return Ok(reloaded(false, &new, plan));
        }
        match loaded {
            Ok(new) => {
                let new = Arc::new(new);
                let bound = self.listeners.bind(new.clone()).await;
                bound.map_err(|problem| self.refuse(staying(problem)))?;
                self.put_in_force(new).await
            }
            Err(problem) => Err(self.refuse(problem)),
        }
    }

    async fn replace(&mut self, if_match: &str, text: String) -> Result<Reloaded, Problem> {
        let current = self.handle.config();
        if if_match != "*" && if_match != current.revision {
            let message =
                format!("the config in force is revision {}, not {if_match}", current.revision);
            return Err(
                Problem::new(Code::Conflict, message).hint("read it again and redo the change")
            );
        }
        let path = self.path();
        let new = Arc::new(self.load(Some(text.clone())).await?);
        self.listeners.bind(new.clone()).await.map_err(staying)?;
        let written = tokio::task::spawn_blocking(move || write_atomically(&path, &text)).await;
        let failed = match written {
            Ok(Ok(())) => return self.put_in_force(new).await,
            Ok(Err(error)) => format!("cannot write the config file: {error}"),
            Err(_) => "writing the config file was cut short".to_owned(),
        };
        self.listeners.close_others(current);
        Err(Problem::new(Code::OperationFailed, failed))
    }

    async fn diff(&self, text: Option<String>) -> Result<Plan, Problem> {
        let new = self.load(text).await?;
        Ok(plan_of(&self.handle.config(), &new))
    }

    /// Its sockets are bound already.
    async fn put_in_force(&mut self, new: Arc<Config>) -> Result<Reloaded, Problem> {
        let old = self.handle.config();
        let had_error = self.handle.last_error().is_some();
        self.handle.set_error(None);
        let plan = plan_of(&old, &new);
        let answer = reloaded(true, &new, plan);
        if old.revision == new.revision {
            if had_error {
                let summary = "the file is again what is in force".to_owned();
                self.bus.publish(Kind::Config { applied: true, summary });
            }
            return Ok(answer);
        }
        self.handle.shared.config.store(new.clone());
        self.services.apply(new.clone()).await?;
        self.listeners.close_others(new);
        self.watch_files();
        self.bus.publish(Kind::Config { applied: true, summary: summary_of(&answer.plan) });
        Ok(answer)
    }

    /// Reads and checks the file, or `text` in its place, off the runtime: files and users may be slow.
    async fn load(&self, text: Option<String>) -> Result<Config, Problem> {
        let (path, privileges) = (self.path(), self.handle.privileges());
        let loading = tokio::task::spawn_blocking(move || {
            let loaded = load(&path, text).map_err(|problems| refusal(&problems))?;
            privileges::check(&loaded, &privileges)?;
            Ok(loaded)
        });
        match loading.await {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    fn refuse(&self, problem: Problem) -> Problem {
        if self.handle.last_error().as_ref() != Some(&problem.message) {
            self.handle.set_error(Some(problem.message.clone()));
            let summary = problem.message.clone();
            self.bus.publish(Kind::Config { applied: false, summary });
        }
        problem
    }

    // ---- the files ----

    fn watch_files(&mut self) {
        let myself = self.myself.clone();
        let config = self.handle.config();
        let touched = move || {
            let _ = myself.cast(Msg::Touched);
        };
        match Files::watch(&config.files, touched) {
            Ok(files) => self.files = Some(files),
            Err(error) => {
                tracing::warn!(%error, "config files are not watched; use `cafe reload` or SIGHUP");
            }
        }
    }

    fn touched(&mut self) {
        let myself = self.myself.clone();
        self.debounce = Some(task::spawn("config debounce", async move {
            tokio::time::sleep(QUIET).await;
            let _ = myself.cast(Msg::Quiet);
        }));
    }
}

fn load(path: &Path, text: Option<String>) -> Result<Config, Problems> {
    let environment = |name: &str| std::env::var(name).ok();
    let loaded = match text {
        Some(text) => config::load_bytes(path, text.as_bytes(), &environment),
        None => config::load(path, &environment),
    };
    // Reading a large config takes far more than keeping it.
    os::memory::give_back();
    loaded
}

fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    // Through a symbolic link to the file it stands for.
    let path = path.canonicalize()?;
    let temporary = path.with_extension("ron.new");
    let mut file = std::fs::File::create(&temporary)?;
    file.set_permissions(std::fs::metadata(&path)?.permissions())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, &path)
}

fn refusal(problems: &Problems) -> Problem {
    Problem::new(problems.code(), problems.render(false)).hint("the config in force stays as it is")
}

/// What could not be done for a new config, with what became of the one in force.
fn staying(problem: Problem) -> Problem {
    let stays = "the config in force stays as it is";
    let hint = problem.hint.as_ref().map_or(stays.to_owned(), |hint| format!("{hint}; {stays}"));
    problem.hint(hint)
}

fn reloaded(applied: bool, config: &Config, plan: Plan) -> Reloaded {
    Reloaded { schema: SCHEMA, applied, revision: config.revision.clone(), plan }
}

fn plan_of(old: &Config, new: &Config) -> Plan {
    let diff = config::diff(old, new);
    let step = |name: &str, action: &str, keys: Vec<String>| PlanStep {
        name: name.to_owned(),
        action: action.to_owned(),
        keys,
    };
    let fields =
        |changes: &[config::Change]| changes.iter().map(|change| change.field.clone()).collect();
    let mut steps = Vec::new();
    steps.extend(
        diff.removed
            .iter()
            .chain(&diff.groups_removed)
            .map(|name| step(name.as_str(), "remove", Vec::new())),
    );
    steps.extend(
        diff.added
            .iter()
            .chain(&diff.groups_added)
            .map(|name| step(name.as_str(), "add", Vec::new())),
    );
    steps.extend(diff.changed.iter().map(|service| {
        let action = if service.class == config::Class::Live { "apply" } else { "restart" };
        step(service.name.as_str(), action, fields(&service.changes))
    }));
    steps.extend(
        diff.groups_changed
            .iter()
            .map(|group| step(group.name.as_str(), "apply", fields(&group.changes))),
    );
    steps.extend(diff.daemon.iter().map(|setting| {
        let action = if setting.needs_daemon_restart { "ignore" } else { "apply" };
        step("cafe", action, vec![setting.field.clone()])
    }));
    Plan { schema: SCHEMA, steps }
}

fn summary_of(plan: &Plan) -> String {
    if plan.steps.is_empty() {
        return "nothing to change".to_owned();
    }
    let steps = plan.steps.iter().map(|step| format!("{} {}", step.action, step.name));
    steps.collect::<Vec<_>>().join(", ")
}
