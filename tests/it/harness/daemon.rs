//! One daemon: the real binary with its own directory, socket and config file.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use cafe::net::control::{Acted, Client, Verb};
use cafe::types::status::{Service, Status};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use tempfile::TempDir;

use super::wait::{DEADLINE, eventually};
use super::{kill, machine};

/// A daemon and its directory; ends, and is looked after, when dropped.
#[derive(Debug)]
pub(crate) struct Cafe {
    directory: TempDir,
    daemon: Option<Child>,
    /// The control API.
    pub(crate) client: Client,
    /// The last daemon was killed: what runs on is no fault.
    killed: bool,
}

/// How a daemon ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit status.
    pub(crate) status: ExitStatus,
    /// From the signal to the end.
    pub(crate) took: Duration,
}

impl Cafe {
    /// A directory with a config of these sections; nothing runs yet. Sections are text of `cafe.ron`, such as
    /// `services: { "a": (command: ["sleep", "infinity"]) }`.
    pub(crate) fn new(sections: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("cafe-it-").tempdir().expect("directory");
        let client = Client::new(directory.path().join("control.sock"), DEADLINE);
        let cafe = Self { directory, daemon: None, client, killed: false };
        cafe.fifo("never");
        cafe.configure(sections);
        cafe
    }

    /// A daemon that runs a config of these sections and answers; its services may not have started.
    pub(crate) async fn start(sections: &str) -> Self {
        let mut cafe = Self::new(sections);
        cafe.boot().await;
        cafe
    }

    /// Replaces the config file, as an editor does: by rename.
    pub(crate) fn configure(&self, sections: &str) {
        self.replace_config(&self.config_text("", sections));
    }

    /// What [`Cafe::configure`] writes, with more fields of `control`.
    pub(crate) fn config_text(&self, control: &str, sections: &str) -> String {
        format!(
            "Cafe(\n    control: (socket: {:?}, {control}),\n    state_dir: {:?},\n{sections}\n)\n",
            self.path("control.sock"),
            self.path("state"),
        )
    }

    /// Replaces the config file by rename.
    pub(crate) fn replace_config(&self, text: &str) {
        std::fs::write(self.path("cafe.ron.new"), text).expect("writes");
        std::fs::rename(self.path("cafe.ron.new"), self.path("cafe.ron")).expect("renames");
    }

    /// Runs `cafe run` and waits until it answers.
    pub(crate) async fn boot(&mut self) {
        self.boot_by(&[]).await;
    }

    /// As [`Cafe::boot`], by a program that executes the daemon in its own process.
    pub(crate) async fn boot_by(&mut self, wrapper: &[&str]) {
        let mut daemon = self.spawn_by(wrapper);
        let client = self.client.clone();
        let answers = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(5));
            while client.status(None).await.is_err() {
                ticks.tick().await;
                if let Some(status) = daemon.try_wait().expect("own child") {
                    panic!("the daemon ended instead of answering: {status}\n{}", self.console());
                }
            }
        };
        let answered = tokio::time::timeout(DEADLINE, answers).await;
        self.daemon = Some(daemon);
        self.killed = false;
        assert!(answered.is_ok(), "the daemon does not answer");
    }

    /// Runs `cafe run` beside whatever runs; the caller waits for it.
    pub(crate) fn spawn(&self) -> Child {
        self.spawn_by(&[])
    }

    fn spawn_by(&self, wrapper: &[&str]) -> Child {
        let console = OpenOptions::new().create(true).append(true).open(self.path("console"));
        let console: File = console.expect("console file");
        self.command_by(wrapper)
            .args(["run", "cafe.ron"])
            .stdin(Stdio::null())
            .stdout(console.try_clone().expect("descriptor"))
            .stderr(console)
            .spawn()
            .expect("the binary runs")
    }

    /// Runs a verb of the command line against this daemon.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().expect("the binary runs")
    }

    /// The binary, in the directory of this daemon and with its socket.
    pub(crate) fn command(&self) -> Command {
        self.command_by(&[])
    }

    /// As [`Cafe::command`], with a program and its arguments in front.
    pub(crate) fn command_by(&self, wrapper: &[&str]) -> Command {
        let mut words = wrapper.iter().copied().chain([env!("CARGO_BIN_EXE_cafe")]);
        let mut command = program(words.next().expect("at least the binary"));
        command
            .args(words)
            .current_dir(self.directory.path())
            .env("CAFE_SOCKET", self.path("control.sock"))
            .env("CAFE_LOG", "cafe=info")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("CAFE_SERVICE");
        command
    }

    /// A path in the directory of the config file, where services start, too.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// A file in that directory; empty if there is none.
    pub(crate) fn read(&self, relative: impl AsRef<Path>) -> String {
        std::fs::read_to_string(self.path(relative)).unwrap_or_default()
    }

    /// Makes a FIFO in that directory.
    pub(crate) fn fifo(&self, name: &str) {
        let mode = Mode::from_bits_truncate(0o600);
        nix::unistd::mkfifo(&self.path(name), mode).expect("a FIFO");
    }

    /// Lets a script go on that waits with `read go <NAME`, now or as soon as it does, while the answer is held.
    pub(crate) fn open_gate(&self, name: &str) -> File {
        // Opened for both, so that this never waits for the script.
        let both = OpenOptions::new().read(true).write(true).open(self.path(name));
        let mut gate = both.expect("a FIFO");
        gate.write_all(b"go\n").expect("a FIFO takes a line");
        gate
    }

    /// What the daemon printed.
    pub(crate) fn console(&self) -> String {
        self.read("console")
    }

    /// Process id of the daemon.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("a running daemon").id()
    }

    // ---- the control API ----

    /// Everything.
    pub(crate) async fn status(&self) -> Status {
        self.client.status(None).await.expect("status")
    }

    /// One service.
    pub(crate) async fn service(&self, name: &str) -> Service {
        let status = self.client.status(Some(name)).await.expect("status of one service");
        status.services.into_iter().next().expect("the service")
    }

    /// Does something to a service or group and waits for the outcome.
    pub(crate) async fn act(&self, verb: Verb, name: &str) -> Acted {
        let acted = self.client.act(verb, name, Some("a test"), DEADLINE).await;
        acted.unwrap_or_else(|error| panic!("{verb} {name}: {error}"))
    }

    // ---- its end ----

    /// Kills the daemon with -9, as a crash would; its services run on.
    pub(crate) fn crash(&mut self) {
        let mut daemon = self.daemon.take().expect("a running daemon");
        daemon.kill().expect("own child");
        daemon.wait().expect("own child");
        self.killed = true;
    }

    /// Tells the daemon to end and waits until it did.
    pub(crate) async fn end(&mut self, signal: Signal) -> Ended {
        let began = Instant::now();
        kill(self.pid(), signal);
        Ended { status: self.ended().await, took: began.elapsed() }
    }

    /// Waits until the daemon has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let daemon = self.daemon.as_mut().expect("a running daemon");
        let status = eventually("end of the daemon", || daemon.try_wait().expect("own child"));
        let status = status.await;
        self.daemon = None;
        status
    }

    /// Living processes of its services, with their command lines.
    pub(crate) fn processes(&self) -> Vec<(u32, String)> {
        machine::state_id(&self.path("state")).map(|id| machine::marked(&id)).unwrap_or_default()
    }
}

impl Cafe {
    /// Living processes of its services that lead a session: the main ones, unless a service makes others.
    pub(crate) fn leaders(&self) -> Vec<(String, u32)> {
        machine::state_id(&self.path("state")).map(|id| machine::leaders(&id)).unwrap_or_default()
    }
}

impl Drop for Cafe {
    fn drop(&mut self) {
        let ended_well = self.daemon.take().is_none_or(end_in_time);
        let left = self.processes();
        if let Some(id) = machine::state_id(&self.path("state")) {
            for (pid, _) in &left {
                machine::kill_marked(*pid, &id);
            }
            machine::remove_cgroups(&id);
        }
        if std::thread::panicking() {
            print(&format!("the daemon said:\n{}\n", self.console()));
            return;
        }
        assert!(ended_well, "the daemon did not end when told to; it said:\n{}", self.console());
        assert!(self.killed || left.is_empty(), "left after the end: {left:?}\n{}", self.console());
    }
}

/// A program that a test runs beside the daemon.
#[expect(clippy::disallowed_methods, reason = "what tests run is nobody's service")]
pub(crate) fn program(name: &str) -> Command {
    Command::new(name)
}

/// Tells a daemon to end; kills it when it does not, which is `false`.
fn end_in_time(mut daemon: Child) -> bool {
    let pidfd = machine::open(daemon.id());
    kill(daemon.id(), Signal::SIGTERM);
    let in_time = pidfd.is_none_or(|pidfd| machine::ends_within(&pidfd, DEADLINE));
    if !in_time {
        let _ = daemon.kill();
    }
    let _ = daemon.wait();
    in_time
}

#[expect(clippy::print_stderr, reason = "shown with a failing test by its harness")]
fn print(text: &str) {
    eprint!("{text}");
}
