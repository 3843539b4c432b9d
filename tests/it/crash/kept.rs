//! A service manager that keeps descriptors: what a crash of cafe would lose comes back.

use std::net::TcpStream;

use cafe::net::control::Verb;
use cafe::types::exit::Cause;
use cafe::types::state::State;
use cafe::types::status::Service;
use nix::sys::signal::Signal;

use super::output::lines;
use crate::harness::{Cafe, IDLE, eventually, is_gone, kill, sh};
use crate::listen::{address, lacks_python};

/// Starts cafe as systemd does, keeps what it is sent, and starts it with that again, through the gate `again`, when it is
/// killed. Writes the names of what it keeps to `store`. Ends with cafe.
const MANAGER: &str = r#"
import ctypes, os, select, signal, socket, sys
# As init does: orphans become its children (PR_SET_CHILD_SUBREAPER), and it takes their statuses at once.
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
heard.bind("notify")
store, most, told = [], int(sys.argv[1]), []
signal.signal(signal.SIGTERM, lambda *_: told.append(1) or os.kill(child, signal.SIGTERM))
def start():
    child = os.fork()
    if child:
        return child
    high = [os.dup2(fd, 1000 + i) for i, (_, fd) in enumerate(store)]
    for i, fd in enumerate(high):
        os.dup2(fd, 3 + i)
    os.closerange(3 + len(high), 2000)
    os.environ.update(NOTIFY_SOCKET=os.path.abspath("notify"), FDSTORE=str(most), LISTEN_PID=str(os.getpid()),
        LISTEN_FDS=str(len(store)), LISTEN_FDNAMES=":".join(name for name, _ in store))
    os.execv(sys.argv[2], sys.argv[2:])
def hear():
    global store
    message, fds, _, _ = socket.recv_fds(heard, 65536, 16)
    said = dict(line.split("=", 1) for line in message.decode().splitlines())
    name = said.get("FDNAME")
    if "FDSTORE" in said:
        assert said["FDPOLL"] == "0"
        # The latest comes first, as with systemd, and what does not fit is dropped without a word.
        for fd in fds:
            if len(store) < most: store.insert(0, (name, fd))
            else: os.close(fd)
    else:
        for fd in fds: os.close(fd)
    if "FDSTOREREMOVE" in said:
        for kept in [kept for kept in store if kept[0] == name]:
            store.remove(kept); os.close(kept[1])
    with open("store.new", "w") as file: file.write("".join(name + "\n" for name, _ in store))
    os.rename("store.new", "store")
child = start()
with open("pid", "w") as file: file.write(str(child))
while True:
    while select.select([heard], [], [], 0.02)[0]:
        hear()
    ended, status = os.waitpid(-1, os.WNOHANG)
    if ended != child:
        continue
    if told or not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status) & 255)
    while select.select([heard], [], [], 0)[0]:
        hear()
    # Reaps meanwhile.
    again = os.open("again", os.O_RDWR)
    while not select.select([again], [], [], 0.02)[0]:
        try: os.waitpid(-1, os.WNOHANG)
        except ChildProcessError: pass
    os.read(again, 100)
    child = start()
    with open("pid", "w") as file: file.write(str(child))
"#;

/// A daemon under a manager that keeps so many descriptors.
async fn managed(most: u32, sections: &str) -> Cafe {
    let mut cafe = Cafe::new(sections);
    cafe.fifo("again");
    cafe.fifo("gate");
    cafe.boot_by(&["python3", "-c", MANAGER, &most.to_string()]).await;
    cafe
}

impl Cafe {
    /// Kills the daemon alone, not its manager.
    async fn kill_managed(&self) {
        let pid = self.daemon_pid();
        kill(pid, Signal::SIGKILL);
        eventually("its end", || is_gone(pid).then_some(())).await;
    }

    /// Lets the manager start it again, and waits until it answers.
    async fn back(&mut self, before: u32) {
        let gate = self.open_gate("again");
        eventually("another daemon", || (self.daemon_pid() != before).then_some(())).await;
        drop(gate);
        self.answers().await;
    }

    fn daemon_pid(&self) -> u32 {
        self.read("pid").parse().unwrap_or_default()
    }

    /// Waits until so many names are kept; those of descriptors kept together are one.
    async fn kept(&self, count: usize) -> Vec<String> {
        let look = || {
            let text = self.read("store");
            let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
            names.sort_unstable();
            (names.len() == count).then_some(names)
        };
        eventually(&format!("{count} descriptors are kept"), look).await
    }
}

#[tokio::test]
async fn what_a_service_said_last_and_how_it_ended_is_known_though_nobody_was_there() {
    if lacks_python() {
        return;
    }
    let script = sh("echo first; echo >&3; read go <gate; echo last >&2; printf unended; exit 7");
    let once = sh("echo >&3; read go <gate; exit 0");
    let mut cafe = managed(
        100,
        &format!(
            "services: {{
                \"a\": (command: {script}, ready: fd(3), restart: temporary),
                \"b\": (command: {once}, ready: fd(3), restart: transient),
                \"idle\": (command: {}),
            }},",
            sh(IDLE)
        ),
    )
    .await;
    let mut pids = Vec::new();
    for name in ["a", "b"] {
        pids.push(cafe.wait_state(name, State::Ready).await.pid.unwrap());
    }
    let idle = cafe.wait_state("idle", State::Running).await.pid;
    cafe.kept(9).await;
    let before = cafe.daemon_pid();
    cafe.kill_managed().await;
    {
        let gates = [cafe.open_gate("gate"), cafe.open_gate("gate")];
        for pid in pids {
            eventually("its end", || is_gone(pid).then_some(())).await;
        }
        drop(gates);
    }
    cafe.back(before).await;

    let a = cafe.wait_state("a", State::Failed).await;
    let b = cafe.wait_service("b", "at rest", |b| b.state.is_at_rest()).await;
    let learnt = [&a, &b].map(|service| service.exits[0].cause);
    // Linux tells since 6.15.
    if learnt != [Cause::Unknown; 2] {
        assert_eq!(learnt, [Cause::Code(7), Cause::Code(0)]);
        assert_ne!(b.state, State::Failed, "its good end is one: {}", b.reason);
    }
    eventually("last words", || (lines(&cafe, "a").len() == 3).then_some(())).await;
    let mut said = lines(&cafe, "a");
    said.sort_unstable();
    assert_eq!(said, ["first", "last", "unended"]);
    assert!(a.exits[0].last_lines.iter().any(|line| line.contains("last")), "{:?}", a.exits[0]);
    // Of the one that runs alone, and nothing twice.
    let names = cafe.kept(3).await;
    assert!(names.iter().all(|name| name.starts_with("idle/1/")), "{names:?}");
    assert_eq!(cafe.service("idle").await.pid, idle);

    cafe.end(Signal::SIGTERM).await;
    cafe.kept(0).await;
}

#[tokio::test]
async fn sockets_stay_open_with_who_waits_in_them() {
    if lacks_python() {
        return;
    }
    let (at, gone) = (address(), address());
    let service = |at| {
        format!(
            "services: {{ \"a\": (command: {}, listen: {{ \"http\": \"{at}\" }}, start: manual) }},",
            sh(IDLE)
        )
    };
    let mut cafe = managed(100, &service(at)).await;
    let name = cafe.kept(1).await;
    assert!(name[0].starts_with("socket/"), "{name:?}");
    for _ in 0..2 {
        let before = cafe.daemon_pid();
        cafe.kill_managed().await;
        let waits = TcpStream::connect(at).expect("it listens while no daemon is there");
        cafe.back(before).await;
        assert_eq!(cafe.kept(1).await, name, "the very socket");
        drop(waits);
    }
    // One that the config has no more is closed before others are bound.
    let before = cafe.daemon_pid();
    cafe.kill_managed().await;
    cafe.configure(&service(gone));
    cafe.back(before).await;
    assert_ne!(cafe.kept(1).await, name);
    assert!(TcpStream::connect(at).is_err());
    assert!(TcpStream::connect(gone).is_ok());
}

#[tokio::test]
async fn an_upgrade_keeps_what_is_kept_and_nothing_twice() {
    if lacks_python() {
        return;
    }
    let script = sh(&format!("echo up; echo >&3; {IDLE}"));
    let at = address();
    let mut cafe = managed(
        100,
        &format!(
            "services: {{ \"a\": (command: {script}, ready: fd(3)), \"b\": (command: {}, ready: fd(4), listen: {{ \"x\": \"{at}\" }}) }},",
            sh(&format!("echo >&4; {IDLE}")),
        ),
    )
    .await;
    let a = cafe.wait_state("a", State::Ready).await;
    let before = cafe.kept(7).await;
    for _ in 0..3 {
        let told = cafe.cli(&["upgrade"]);
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    }
    assert_eq!(cafe.kept(7).await, before);
    // What is kept since before the upgrade is removed after it.
    cafe.act(Verb::Restart, "a").await;
    let again = |it: &Service| it.state == State::Ready && it.pid != a.pid;
    let again = cafe.wait_service("a", "again", again).await;
    let now = eventually("the names of the next incarnation", || {
        let now: Vec<String> = cafe.read("store").lines().map(str::to_owned).collect();
        let new = now.iter().filter(|name| name.starts_with("a/2/")).count();
        (now.len() == 7 && new == 3).then_some(now)
    });
    now.await;
    let daemon = cafe.daemon_pid();
    cafe.kill_managed().await;
    cafe.back(daemon).await;
    assert_eq!(cafe.wait_service("a", "found", |a| a.pid.is_some()).await.pid, again.pid);
    cafe.kept(7).await;
}

#[tokio::test]
async fn a_store_that_is_full_breaks_nothing() {
    if lacks_python() {
        return;
    }
    let script = sh(&format!("echo >&3; read go <gate; echo \"$go\"; {IDLE}"));
    let mut cafe =
        managed(2, &format!("services: {{ \"a\": (command: {script}, ready: fd(3)), \"b\": (command: {script}, ready: fd(3)) }},")).await;
    let pid = cafe.wait_state("a", State::Ready).await.pid;
    cafe.wait_state("b", State::Ready).await;
    for _ in 0..2 {
        let before = cafe.daemon_pid();
        cafe.kill_managed().await;
        cafe.back(before).await;
        assert_eq!(cafe.wait_service("a", "found", |a| a.pid.is_some()).await.pid, pid);
    }
    let _gates = [cafe.open_gate("gate"), cafe.open_gate("gate")];
    let all = || [lines(&cafe, "a"), lines(&cafe, "b")].concat();
    eventually("they are heard", || (all() == ["go", "go"]).then_some(())).await;
    let warnings = cafe.console().matches("has no room for more").count();
    assert_eq!(warnings, 3, "one for each daemon: {}", cafe.console());
}
