//! What can be typed: the one table behind parsing, help, the man page and completions.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;
use regex::bytes::Regex;

use super::names;
use super::output::Format;
use super::places::{config_file, socket};
use super::style::ColorChoice;
use crate::net::control::{Client, Goal};
use crate::types::exit::signal_number;
use crate::types::unit::parse_duration;

/// For an answer that needs no waiting, unless `--timeout` says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// For the outcome of a verb, unless `--timeout` says otherwise.
const OUTCOME_WAIT: Duration = Duration::from_secs(60);

/// Runs a Linux server: starts your services from one file and keeps them alive.
#[derive(Debug, Parser)]
#[command(name = "cafe", version, max_term_width = 100, disable_help_subcommand = false)]
#[command(before_help = "\
Examples:
  cafe run cafe.ron          run the services of a file, in the foreground
  cafe status                what runs, and what does not
  cafe status web            one service: why it is as it is, its last lines
  cafe logs -f web           what it writes
  cafe restart web           stop it, then start it")]
#[command(
    after_help = "Every error has a page: `cafe explain C021`. All of it: `cafe man | man -l -`."
)]
pub struct Arguments {
    /// Flags of all verbs.
    #[command(flatten)]
    pub(super) global: Global,
    /// The verb.
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// Flags that mean the same on every verb, before or after it.
#[derive(Debug, Clone, Args)]
pub(super) struct Global {
    /// What the answer looks like
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    /// Same as `-o json`
    #[arg(long, global = true, conflicts_with = "output")]
    json: bool,
    /// Only the answer and errors, no remarks
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// More of it: all columns, all lines
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// When to colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub(super) color: ColorChoice,
    /// The daemon's socket; $XDG_RUNTIME_DIR/cafe/control.sock for an ordinary user
    #[arg(long, global = true, env = "CAFE_SOCKET", value_name = "PATH", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    socket: Option<PathBuf>,
    /// How long to wait for the daemon, or for the outcome of a verb: `10s`, `2m`
    #[arg(long, global = true, value_parser = duration, value_name = "TIME")]
    pub(super) timeout: Option<Duration>,
    /// Do not ask
    #[arg(short, long, global = true)]
    pub(super) yes: bool,
    /// Only say what would be done
    #[arg(long, global = true)]
    pub(super) dry_run: bool,
}

impl Global {
    /// A client of the daemon these flags name.
    pub(super) fn client(&self) -> Client {
        self.client_within(PATIENCE)
    }

    /// The same, which waits only so long unless `--timeout` says otherwise.
    pub(super) fn client_within(&self, patience: Duration) -> Client {
        Client::new(socket(self.socket.clone()), self.timeout.unwrap_or(patience))
    }

    /// How long a verb waits for its outcome.
    pub(super) fn wait(&self) -> Duration {
        self.timeout.unwrap_or(OUTCOME_WAIT)
    }

    /// `-o` or `--json`.
    pub(super) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output }
    }

    /// The socket that was named, if any.
    pub(super) fn named_socket(&self) -> Option<PathBuf> {
        self.socket.clone()
    }
}

/// A verb.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the services of a config file, in the foreground
    ///
    /// Ends with 0 when it was told to, after all services; with the exit code of a `significant` service that ended; with
    /// 2 when the config has errors.
    Run(RunArguments),
    /// What runs and what does not, and why
    #[command(visible_alias = "ps", visible_alias = "ls")]
    Status(StatusArguments),
    /// The live supervision tree
    Tree,
    /// What services write; of several, in the order of time
    Logs(LogsArguments),
    /// What happens, as it happens
    Events(EventsArguments),
    /// Start services or groups; cancels a backoff
    Start(ActArguments),
    /// Stop services or groups, and what needs them
    Stop(ActArguments),
    /// Stop, then start; with --overlap start the next before the last is stopped
    Restart(RestartArguments),
    /// Have services read their own config again; without a name: cafe its config file
    Reload(ReloadArguments),
    /// Send a signal to services or groups
    Kill(KillArguments),
    /// Wait until services are where they should be
    Wait(WaitArguments),
    /// The config file: check it, compare it, show what is in force
    #[command(subcommand)]
    Config(ConfigCommand),
    /// What an error code means, and what to do
    Explain(ExplainArguments),
    /// Stop every service, then the daemon
    Shutdown(ShutdownArguments),
    /// Completions for a shell, with live service names
    Completions(CompletionsArguments),
    /// This manual as a man page
    Man,
}

/// `cafe run`.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The config file [default: ./cafe.ron, ~/.config/cafe/cafe.ron or /etc/cafe/cafe.ron]
    #[arg(value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
}

impl RunArguments {
    pub(super) fn into_options(self, global: &Global) -> RunOptions {
        RunOptions {
            file: config_file(self.file),
            socket: global.named_socket(),
            verbose: global.verbose,
            quiet: global.quiet,
            color: global.color,
        }
    }
}

/// What `cafe run` was asked for; the daemon takes it from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// The config file.
    pub file: PathBuf,
    /// Overrides `control.socket`.
    pub socket: Option<PathBuf>,
    /// `-v`, counted.
    pub verbose: u8,
    /// `-q`.
    pub quiet: bool,
    /// `--color`.
    pub color: ColorChoice,
}

/// `cafe status`.
#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// Services or groups; all unless given
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(names::candidates))]
    pub(super) names: Vec<String>,
}

/// Lines shown unless `-n` or `--since` says otherwise, and before following.
const LINES: usize = 100;
const LINES_BEFORE_FOLLOWING: usize = 10;

/// `cafe logs`.
#[derive(Debug, Args)]
pub(super) struct LogsArguments {
    /// Services or groups; all unless given
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(names::candidates))]
    pub(super) names: Vec<String>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub(super) follow: bool,
    /// The last so many lines, or `all` [default: 100; 10 with -f; all with --since]
    #[arg(short = 'n', long, value_parser = lines, value_name = "NUMBER")]
    lines: Option<Lines>,
    /// Not before: `2026-11-20T18:00:00Z`, or so long ago: `10m`
    #[arg(long, value_parser = moment, value_name = "TIME")]
    pub(super) since: Option<Timestamp>,
    /// Not after: a time as of --since
    #[arg(long, value_parser = moment, value_name = "TIME")]
    pub(super) until: Option<Timestamp>,
    /// Only lines that match
    #[arg(short, long, value_name = "REGEX")]
    pub(super) grep: Option<Regex>,
    /// Only lines that do not match
    #[arg(long, requires = "grep")]
    pub(super) invert: bool,
    /// Only what was written to stderr
    #[arg(long)]
    pub(super) stderr: bool,
    /// Without the name of the service in front
    #[arg(long)]
    pub(super) no_prefix: bool,
    /// Times in UTC
    #[arg(long)]
    pub(super) utc: bool,
}

/// `-n`.
#[derive(Debug, Clone, Copy)]
enum Lines {
    All,
    Last(usize),
}

impl LogsArguments {
    /// How many of the last lines.
    pub(super) fn lines(&self) -> Option<usize> {
        match self.lines {
            Some(Lines::All) => None,
            Some(Lines::Last(number)) => Some(number),
            None if self.since.is_some() => None,
            None if self.follow => Some(LINES_BEFORE_FOLLOWING),
            None => Some(LINES),
        }
    }
}

/// `cafe events`.
#[derive(Debug, Args)]
pub(super) struct EventsArguments {
    /// Only of these services, groups or actors
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(names::candidates))]
    pub(super) names: Vec<String>,
    /// Begin after the event of this number; 0: with the oldest kept
    #[arg(long, value_name = "NUMBER")]
    pub(super) after: Option<u64>,
    /// End after so many
    #[arg(short = 'n', long, value_name = "NUMBER")]
    pub(super) lines: Option<u64>,
    /// Times in UTC
    #[arg(long)]
    pub(super) utc: bool,
}

/// `cafe start`, `stop`.
#[derive(Debug, Args)]
pub(super) struct ActArguments {
    /// Services or groups
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(names::candidates))]
    pub(super) names: Vec<String>,
    /// Why, for the audit event
    #[arg(short = 'm', long, value_name = "WHY")]
    pub(super) message: Option<String>,
}

/// `cafe restart`.
#[derive(Debug, Args)]
pub(super) struct RestartArguments {
    /// Whom, and why.
    #[command(flatten)]
    pub(super) act: ActArguments,
    /// Start the next generation beside the present one, with the same sockets, and stop that once the next is ready; if it
    /// does not become ready nothing changes
    #[arg(long)]
    pub(super) overlap: bool,
}

/// `cafe reload`.
#[derive(Debug, Args)]
pub(super) struct ReloadArguments {
    /// Services or groups; none: the config file of cafe
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(names::candidates))]
    pub(super) names: Vec<String>,
    /// Why, for the audit event
    #[arg(short = 'm', long, value_name = "WHY")]
    pub(super) message: Option<String>,
}

/// `cafe kill`.
#[derive(Debug, Args)]
pub(super) struct KillArguments {
    #[command(flatten)]
    pub(super) act: ActArguments,
    /// `TERM`, `SIGTERM` or `15`
    #[arg(short, long, default_value = "TERM", value_parser = signal, value_name = "SIGNAL")]
    pub(super) signal: i32,
}

/// `cafe wait`.
#[derive(Debug, Args)]
pub(super) struct WaitArguments {
    /// Services
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(names::candidates))]
    pub(super) names: Vec<String>,
    /// What to wait for
    #[arg(long = "for", value_enum, default_value_t = GoalWord::Ready, value_name = "STATE")]
    goal: GoalWord,
}

impl WaitArguments {
    pub(super) fn goal(&self) -> Goal {
        match self.goal {
            GoalWord::Ready => Goal::Ready,
            GoalWord::Running => Goal::Running,
            GoalWord::Stopped => Goal::Stopped,
            GoalWord::Done => Goal::Done,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum GoalWord {
    /// It passed its readiness check; runs, if it has none
    Ready,
    /// Its process runs
    Running,
    /// Nothing of it runs
    Stopped,
    /// It ended as it should
    Done,
}

/// `cafe config`.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// All errors of a config file; works without the daemon
    Check(FileArguments),
    /// What applying a config file would change
    Diff(FileArguments),
    /// The config in force, with all defaults, secrets masked
    Show,
}

/// A config file.
#[derive(Debug, Args)]
pub(super) struct FileArguments {
    /// The config file; the usual one unless given, `-` for stdin
    #[arg(value_hint = ValueHint::FilePath)]
    pub(super) file: Option<PathBuf>,
}

/// `cafe explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// As it stands behind an error: C021; none lists all
    #[arg(value_name = "CODE", add = ArgValueCandidates::new(names::codes))]
    pub(super) code: Option<String>,
}

/// `cafe shutdown`.
#[derive(Debug, Args)]
pub(super) struct ShutdownArguments {
    /// Why, for the audit event
    #[arg(short = 'm', long, value_name = "WHY")]
    pub(super) message: Option<String>,
}

/// `cafe completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// Which shell
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    pub(super) shell: String,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn lines(text: &str) -> Result<Lines, String> {
    match text {
        "all" => Ok(Lines::All),
        _ => text.parse().map(Lines::Last).map_err(|_| "a number, or `all`".to_owned()),
    }
}

/// A time, or a duration before now.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = parse_duration(text) {
        let now = Timestamp::now();
        return now.checked_sub(ago).map_err(|error| error.to_string());
    }
    text.parse().map_err(|_| "write it like 2026-11-20T18:00:00Z, or 10m".to_owned())
}

fn signal(text: &str) -> Result<i32, String> {
    signal_number(text).ok_or_else(|| "write it like TERM, SIGTERM or 15".to_owned())
}
