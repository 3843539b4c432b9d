//! What `cafe run` prints: one line per event, on stderr, for people and the journal.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::journal;
use crate::actors::bus::Bus;
use crate::actors::listeners;
use crate::cli::{ColorChoice, RunOptions};
use crate::supervision::supervisor;
use crate::supervision::task::{self, Task};
use crate::types::error::Code;
use crate::types::event::{Event, Kind};
use crate::types::state::State;
use crate::{logs, net, os};

/// Most bytes of lines that wait to be printed together.
const TOGETHER: usize = 4096;

/// Sets up cafe's own log on stderr; `-v` and `CAFE_LOG` make it tell more.
pub(super) fn init(options: &RunOptions) {
    let level = match options.verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let asked = std::env::var("CAFE_LOG").ok().and_then(|filter| filter.parse::<Targets>().ok());
    let filter = asked.unwrap_or_else(|| Targets::new().with_target("cafe", level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    // Set already only in a test that runs two daemons in one process.
    let _ = match journal::takes_stderr() {
        true => registry.with(lines.event_format(journal::Lines).with_ansi(false)).try_init(),
        false => registry.with(lines.with_ansi(colored(options)).with_target(false)).try_init(),
    };
}

/// Whether stderr takes colours.
pub(super) fn colored(options: &RunOptions) -> bool {
    match options.color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            let asked_not_to = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            std::io::stderr().is_terminal() && !asked_not_to
        }
    }
}

/// Prints a text as it is.
pub(super) fn print(text: &str) {
    // Nobody is left to tell when stderr is closed.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints a text on stdout.
pub(super) fn answer(text: &str) {
    // Whoever asked finds that there is no answer.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Prints why the daemon could not run, with the code of the first error that has one.
pub(super) fn failure(error: &anyhow::Error) {
    let Some(code) = error.chain().find_map(code_of) else {
        return print(&format!("cafe: {error:#}\n"));
    };
    let told = error.chain().find_map(|error| error.downcast_ref::<listeners::Error>()?.hint());
    let hint = match (code, told) {
        (_, Some(told)) => format!("hint: {told}\n"),
        (Code::AlreadyRunning, None) => {
            "hint: `cafe status` shows what runs, `cafe shutdown --yes` ends it\n".to_owned()
        }
        _ => String::new(),
    };
    print(&format!("cafe: {error:#} [{code}]\n{hint}hint: cafe explain {code}\n"));
}

fn code_of(error: &(dyn std::error::Error + 'static)) -> Option<Code> {
    let own = error.downcast_ref::<os::Error>().map(os::Error::code);
    let own = own.or_else(|| error.downcast_ref::<net::Error>().map(net::Error::code));
    let own = own.or_else(|| error.downcast_ref::<logs::Error>().map(logs::Error::code));
    let own = own.or_else(|| error.downcast_ref::<listeners::Error>().map(listeners::Error::code));
    own.or_else(|| error.downcast_ref::<supervisor::Error>().map(supervisor::Error::code))
}

/// Prints events until it is finished.
#[derive(Debug)]
pub(super) struct Console {
    task: Task,
    finish: oneshot::Sender<()>,
    waiting: mpsc::Sender<oneshot::Sender<()>>,
}

impl Console {
    /// Waits until everything so far is printed.
    pub(super) async fn catch_up(&self) {
        let (printed, all) = oneshot::channel();
        if self.waiting.send(printed).await.is_ok() {
            let _ = all.await;
        }
    }

    /// Prints what is still to be printed, and ends.
    pub(super) async fn finish(self) {
        let _ = self.finish.send(());
        let _ = self.task.await;
    }
}

/// Prints every event from now on.
pub(super) fn follow(bus: &Bus, options: &RunOptions) -> Console {
    let mut live = bus.subscribe(None).live;
    let (finish, mut finished) = oneshot::channel();
    let (waiting, mut waits) = mpsc::channel::<oneshot::Sender<()>>(1);
    let (style, quiet) = (Style::of(options), options.quiet);
    let task = task::spawn("console", async move {
        let mut lines = String::new();
        loop {
            let event = tokio::select! {
                biased;
                event = live.recv() => event,
                _ = &mut finished => return,
                Some(printed) = waits.recv() => {
                    let _ = printed.send(());
                    continue;
                }
            };
            match event {
                Ok(event) if !quiet => lines.push_str(&line_of(&event, style)),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    let _ = writeln!(lines, "({missed} events not printed)");
                }
                Err(RecvError::Closed) => return,
            }
            // What comes at once is printed at once, and not line by line.
            if live.is_empty() || lines.len() >= TOGETHER {
                print(&lines);
                lines.clear();
            }
        }
    });
    Console { task, finish, waiting }
}

/// For whom lines are written.
#[derive(Debug, Clone, Copy)]
enum Style {
    Colored,
    Plain,
    /// The journal has the time already, and wants to know how bad it is.
    Journal,
}

impl Style {
    fn of(options: &RunOptions) -> Self {
        match (journal::takes_stderr(), colored(options)) {
            (true, _) => Self::Journal,
            (false, true) => Self::Colored,
            (false, false) => Self::Plain,
        }
    }
}

fn line_of(event: &Event, style: Style) -> String {
    let text = event.kind.describe();
    if matches!(style, Style::Journal) {
        return journal::line(journal::priority_of(&event.kind), &text);
    }
    let time = event.at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S%.3f");
    let color = match &event.kind {
        Kind::State { to, .. } => match to {
            State::Running | State::Ready | State::Done => "\x1b[32m",
            State::Failed => "\x1b[1;31m",
            State::Unhealthy | State::Backoff => "\x1b[33m",
            State::Stopped | State::Waiting | State::Starting | State::Stopping => "\x1b[2m",
        },
        Kind::GaveUp { .. } | Kind::Actor { .. } | Kind::Config { applied: false, .. } => {
            "\x1b[31m"
        }
        _ => "",
    };
    match style {
        Style::Colored if !color.is_empty() => format!("{time} {color}{text}\x1b[0m\n"),
        _ => format!("{time} {text}\n"),
    }
}
