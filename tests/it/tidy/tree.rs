//! The tree printed in `docs/architecture.md` is the tree that runs.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::read;

/// A group with one service, and a service of its own: enough to see every kind of node.
const CONFIG: &str = r#"Cafe(
    services: {
        "queue": (command: ["sleep", "infinity"]),
        "clock": (command: ["sleep", "infinity"]),
    },
    groups: { "shop": (strategy: rest_for_one, services: ["queue"]) },
    control: (socket: "control.sock"),
    state_dir: "state",
)"#;

/// Says that all is up.
const UP: &str = "cafe: running 2 services";

/// A daemon with its own directory; stopped at the end, whatever that is.
struct Daemon {
    child: Child,
    directory: tempfile::TempDir,
}

#[allow(clippy::disallowed_methods, reason = "the test waits for its own child")]
fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cafe"));
    command.current_dir(directory).env("CAFE_SOCKET", directory.join("control.sock"));
    command
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file: PathBuf = directory.path().join("cafe.ron");
        std::fs::write(&file, CONFIG).expect("written");
        let mut run = command(directory.path());
        run.arg("run").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = run.spawn().expect("cafe starts");
        let stderr = child.stderr.take().expect("piped");
        let daemon = Self { child, directory };
        let mut told = String::new();
        let mut lines = BufReader::new(stderr);
        while !told.contains(UP) {
            let read = lines.read_line(&mut told).expect("readable");
            assert!(read > 0, "cafe ended:\n{told}");
        }
        // What else it says is read on, so that it never waits for us; ends with it.
        std::thread::spawn(move || lines.read_to_string(&mut told));
        daemon
    }

    fn ask(&self, arguments: &[&str]) -> Vec<u8> {
        let output = command(self.directory.path()).args(arguments).output().expect("cafe runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM ends its services too, which a kill would leave; std has no other way to send it.
        let stopped = command(self.directory.path()).args(["shutdown", "-y", "-q"]).status();
        if !stopped.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

#[test]
fn the_tree_in_the_architecture_is_the_one_that_runs() {
    let daemon = Daemon::start();
    daemon.ask(&["wait", "queue", "clock", "--for", "running", "--timeout", "30s"]);
    let answer = daemon.ask(&["tree", "-o", "json"]);
    let tree: Value = serde_json::from_slice(&answer).expect("JSON");
    let mut drawn = String::new();
    draw(&tree, 0, &mut drawn);
    let document = read("docs/architecture.md");
    let block = document.split("```tree\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(
        squeezed(block.expect("a block ```tree")),
        squeezed(&drawn),
        "what runs is:\n{drawn}"
    );
}

/// One line per node: id and kind, two spaces deeper per level.
fn draw(node: &Value, level: usize, drawn: &mut String) {
    let word = |key: &str| node[key].as_str().unwrap_or("?").to_owned();
    let id = if word("kind") == "process" { "pid N".to_owned() } else { word("id") };
    let line = format!("{:level$}{id}", "", level = 2 * level);
    let _ = writeln!(drawn, "{line:<20}{}", word("kind"));
    for child in node["children"].as_array().expect("children") {
        draw(child, level + 1, drawn);
    }
}

/// Depth and words only: columns and remarks after `--` are for the reader.
fn squeezed(block: &str) -> Vec<(usize, String)> {
    let line = |line: &str| {
        let depth = line.len() - line.trim_start().len();
        let text = line.split(" -- ").next().unwrap_or_default();
        (depth, text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    block.lines().filter(|line| !line.trim().is_empty()).map(line).collect()
}
