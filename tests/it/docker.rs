//! cafe as process 1 of a real Docker container. Needs root, dockerd and the client; no network and no registry.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Told, end_container, eventually, is_installed, program, root, skip, told};

/// Programs of the image besides cafe.
const PROGRAMS: [&str; 2] = ["bash", "sleep"];

/// The daemon in a process and mount namespace of its own: it ends with the test, and all its containers with it.
const ALONE: [&str; 9] = [
    "--pdeathsig",
    "KILL",
    "unshare",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
    "dockerd",
    "--bridge=none",
];

const OPTIONS: [&str; 5] = [
    "--iptables=false",
    "--ip6tables=false",
    "--ip-masq=false",
    "--storage-driver=vfs",
    "--log-level=error",
];

/// Docker's own daemon for one test, and the directory with all it has.
struct Docker {
    daemon: Child,
    directory: tempfile::TempDir,
}

impl Docker {
    /// Starts one and waits until it answers; none, with the reason said, where that is not possible.
    async fn start() -> Option<Self> {
        let missing = ["dockerd", "docker", "unshare", "setpriv", "tar"];
        let missing: Vec<_> = missing.into_iter().filter(|name| !is_installed(name)).collect();
        if !root() || !missing.is_empty() {
            skip(&format!("Docker needs root; not installed: {missing:?}"));
            return None;
        }
        let directory =
            tempfile::Builder::new().prefix("cafe-docker-").tempdir().expect("directory");
        let at = |name: &str| directory.path().join(name).display().to_string();
        let log = std::fs::File::create(at("log")).expect("a file");
        let daemon = program("setpriv")
            .args(ALONE)
            .args(OPTIONS)
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--cgroup-parent", &cgroup(directory.path())])
            .args(["-H", &format!("unix://{}", at("sock"))])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("descriptor"))
            .stderr(log)
            .spawn()
            .expect("setpriv runs");
        let mut docker = Self { daemon, directory };
        let up = eventually("dockerd answers or ends", || {
            let ended = docker.daemon.try_wait().expect("own child").is_some();
            (ended || docker.tell(&["version"]).code == 0).then_some(!ended)
        });
        if !up.await {
            let log = std::fs::read_to_string(docker.path("log")).unwrap_or_default();
            skip(&format!("dockerd cannot run here: {log}"));
            return None;
        }
        Some(docker)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs the client.
    fn tell(&self, arguments: &[&str]) -> Told {
        let socket = format!("unix://{}", self.path("sock").display());
        told(
            &program("docker").args(["-H", &socket]).args(arguments).output().expect("docker runs"),
        )
    }

    /// Runs the client, which must succeed; what it printed.
    fn must(&self, arguments: &[&str]) -> String {
        let told = self.tell(arguments);
        assert_eq!(told.code, 0, "docker {arguments:?}: {told:?}");
        told.stdout.trim().to_owned()
    }

    /// An image of cafe with these services, of this machine's own files.
    fn import(&self, name: &str, services: &str) {
        let root = self.path(name);
        std::fs::create_dir_all(root.join("etc/cafe")).expect("a directory");
        for directory in ["tmp", "proc", "sys", "dev", "bin"] {
            std::fs::create_dir_all(root.join(directory)).expect("a directory");
        }
        let config = format!("Cafe(services: {{ {services} }})\n");
        std::fs::write(root.join("etc/cafe/cafe.ron"), config).expect("writes");
        let script = r#"
            put() { mkdir -p "$root$(dirname "$2")" && cp -L "$1" "$root$2"; }
            put "$cafe" /usr/bin/cafe
            for name; do put "$(command -v "$name")" /usr/bin/"$name"; done
            for file in "$root"/usr/bin/*; do ldd "$file" | grep -o '/[^ ]*'; done | sort -u |
                while read -r library; do put "$library" "$library"; done
            ln -s ../usr/bin/bash "$root/bin/sh"
            tar -C "$root" -c . | docker -H "unix://$socket" import \
                --change 'ENTRYPOINT ["/usr/bin/cafe", "run", "/etc/cafe/cafe.ron"]' - "$image""#;
        let made = program("bash")
            .args(["-euc", script, "bash"])
            .args(PROGRAMS)
            .env("root", &root)
            .env("cafe", env!("CARGO_BIN_EXE_cafe"))
            .env("socket", self.path("sock"))
            .env("image", name)
            .output();
        told(&made.expect("bash runs")).expect(0, &["sha256:"]);
    }

    /// Starts a container of that image and name; waits until its cafe wrote a line.
    async fn run(&self, name: &str, line: &str) {
        self.must(&["run", "--detach", "--network=none", "--name", name, name]);
        self.wrote(name, line).await;
    }

    async fn wrote(&self, name: &str, line: &str) {
        let logs = || self.tell(&["logs", name]).stderr;
        eventually(line, || logs().contains(line).then_some(())).await;
    }

    /// The exit code of a container that has ended.
    fn exit_code(&self, name: &str) -> String {
        self.must(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name])
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let names = self.tell(&["ps", "--all", "--quiet"]).stdout;
        for name in names.split_whitespace() {
            self.tell(&["rm", "--force", name]);
        }
        end_container(&mut self.daemon);
        // The containers are gone; of cgroup v1 there is one for each controller.
        let parent = cgroup(self.directory.path());
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for hierarchy in hierarchies {
            let _ = std::fs::remove_dir(hierarchy.path().join(parent.trim_start_matches('/')));
        }
        let _ = std::fs::remove_dir(format!("/sys/fs/cgroup{parent}"));
    }
}

/// The cgroup of all containers of a test.
fn cgroup(directory: &Path) -> String {
    format!("/{}", directory.file_name().expect("a name").to_string_lossy())
}

/// A service that ends on TERM, and one on which it depends.
const TWO: &str = r#"
    "a": (command: ["sleep", "infinity"]),
    "b": (command: ["sh", "-c", "trap 'exit 0' TERM; echo >&3; while :; do sleep 0.1; done"], ready: fd(3), requires: ["a"]),"#;

/// Does nothing on TERM, and would be given an hour.
const STUBBORN: &str = r#"
    "a": (command: ["sh", "-c", "trap '' TERM; echo >&3; while :; do sleep 0.1; done"], ready: fd(3), stop: (timeout: "1h")),"#;

const MAIN: &str = r#"
    "a": (command: ["sleep", "infinity"]),
    "main": (command: ["sh", "-c", "trap 'exit 9' USR1; echo >&3; while :; do sleep 0.1; done"], ready: fd(3),
             requires: ["a"], restart: temporary, significant: true),"#;

#[tokio::test]
async fn it_stops_as_docker_expects_and_ends_as_its_service_did() {
    let Some(docker) = Docker::start().await else { return };
    docker.import("two", TWO);
    docker.run("two", "b: starting -> ready").await;
    let began = Instant::now();
    docker.must(&["stop", "two"]);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(docker.exit_code("two"), "exited 0");
    docker.wrote("two", "everything has stopped").await;

    docker.import("stubborn", STUBBORN);
    docker.run("stubborn", "a: starting -> ready").await;
    docker.must(&["stop", "stubborn"]);
    // 137 if Docker had to kill it.
    assert_eq!(docker.exit_code("stubborn"), "exited 0");
    docker.wrote("stubborn", "out of time: killing what still runs").await;

    docker.import("main", MAIN);
    docker.run("main", "main: starting -> ready").await;
    let status = docker.must(&["exec", "main", "cafe", "status"]);
    assert!(status.contains("2 services"), "{status}");
    docker.must(&["exec", "main", "cafe", "kill", "main", "--signal", "USR1"]);
    assert_eq!(docker.must(&["wait", "main"]), "9");
    docker.wrote("main", "stopping everything: significant service `main`: exited 9").await;
}
