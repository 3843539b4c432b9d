//! Sockets that cafe holds for services: passed as systemd would, open over every restart, changed with the config,
//! taken from whoever starts cafe.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU16, Ordering};

use cafe::net::control::Verb;
use cafe::types::error::Code;
use cafe::types::state::State;
use nix::sys::signal::Signal;

use crate::harness::{Cafe, DEADLINE, eventually, is_gone, is_installed, kill, sh, skip, told};

/// Answers each connection with its process id, the socket's name and inode, and what it was sent. Told to end it finishes
/// what it accepted, as servers do. Ready on the descriptor after its sockets.
const SERVER: &str = r#"
import os, select, signal, socket
count, names = int(os.environ["LISTEN_FDS"]), os.environ["LISTEN_FDNAMES"].split(":")
assert os.environ["LISTEN_PID"] == str(os.getpid()) and len(names) == count
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
listeners = {number: socket.socket(fileno=number) for number in range(3, 3 + count)}
assert all(os.get_blocking(number) for number in listeners)
os.write(3 + count, b"\n")
while not told:
    for number in select.select(list(listeners), [], [], 0.05)[0]:
        client, _ = listeners[number].accept()
        line = client.makefile().readline()
        answer = f"{os.getpid()} {names[number - 3]} {os.fstat(number).st_ino} {line}"
        client.sendall(answer.encode())
        client.close()
"#;

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    pid: u32,
    name: String,
    inode: String,
}

/// An address of the loopback that only this test uses: test processes that run at once have other ids.
fn address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 77, high, low), NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// The fields of a service that is a server with these sockets.
fn server(listen: &[(&str, &str)]) -> String {
    let sockets = listen.iter().map(|(name, at)| format!("{name:?}: {at:?},"));
    let ready = 3 + listen.len();
    format!(
        "command: {}, listen: {{ {} }}, ready: fd({ready})",
        sh("exec python3 -c \"$SERVER\""),
        sockets.collect::<String>()
    )
}

/// Services, each with its fields; `$SERVER` is the program of [`server`].
fn services(list: &[(&str, String)]) -> String {
    let env = format!("env: {{ \"SERVER\": {} }}", serde_json::to_string(SERVER).unwrap());
    let env = env.replace("${", "$${");
    let one = |(name, fields): &(&str, String)| format!("{name:?}: ({fields}, {env}),");
    format!("services: {{ {} }},", list.iter().map(one).collect::<String>())
}

/// Connects, and says a word; the answer may come much later.
fn call(at: &str) -> Box<dyn std::io::Read + Send> {
    if at.starts_with('/') {
        let mut stream = UnixStream::connect(at).unwrap();
        stream.write_all(b"hello\n").unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        return Box::new(stream);
    }
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(b"hello\n").unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    Box::new(stream)
}

fn answer(mut call: Box<dyn std::io::Read + Send>) -> Answer {
    let mut text = String::new();
    call.read_to_string(&mut text).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    let [pid, name, inode, "hello"] = words[..] else { panic!("answered {text:?}") };
    Answer { pid: pid.parse().unwrap(), name: name.to_owned(), inode: inode.to_owned() }
}

fn ask(at: &str) -> Answer {
    answer(call(at))
}

fn lacks_python() -> bool {
    let lacks = !is_installed("python3");
    if lacks {
        skip("python3 is not installed");
    }
    lacks
}

#[tokio::test]
async fn sockets_are_passed_as_systemd_would() {
    if lacks_python() {
        return;
    }
    let mut cafe = Cafe::new("");
    let (tcp, path) = (address().to_string(), cafe.path("made/admin.sock"));
    let path = path.to_str().unwrap().to_owned();
    let fields = server(&[("http", &tcp), ("admin", &path)]);
    // What the service says of its own is overruled, and of cafe's nothing gets through.
    cafe.configure(&services(&[("web", fields)]));
    cafe.boot_by(&["env", "LISTEN_FDS=7", "LISTEN_PID=1", "LISTEN_FDNAMES=x"]).await;
    let web = cafe.wait_state("web", State::Ready).await;
    let shown: Vec<(&str, &str)> =
        web.listen.iter().map(|socket| (socket.name.as_str(), socket.address.as_str())).collect();
    assert_eq!(shown, [("admin", path.as_str()), ("http", tcp.as_str())]);
    for (name, at) in [("http", &tcp), ("admin", &path)] {
        let answer = ask(at);
        assert_eq!((answer.pid, answer.name.as_str()), (web.pid.unwrap(), name));
    }
    let status = told(&cafe.cli(&["status", "web"])).stdout;
    assert!(status.contains(&format!("listens on: admin {path}, http {tcp}")), "{status}");

    let ended = cafe.end(Signal::SIGTERM).await;
    assert!(ended.status.success());
    assert!(TcpStream::connect(&tcp).is_err(), "closed with cafe");
    assert!(!cafe.path("made/admin.sock").try_exists().unwrap(), "removed with cafe");
}

#[tokio::test]
async fn who_connects_during_a_restart_a_crash_or_a_backoff_is_answered() {
    if lacks_python() {
        return;
    }
    let tcp = address().to_string();
    let backoff = "backoff: (min: \"300ms\", max: \"300ms\")";
    let fields = format!("{}, {backoff}", server(&[("http", &tcp)]));
    let cafe = Cafe::start(&services(&[("web", fields)])).await;
    cafe.wait_state("web", State::Ready).await;
    let first = ask(&tcp);

    kill(first.pid, Signal::SIGKILL);
    cafe.wait_state("web", State::Backoff).await;
    let second = answer(call(&tcp));
    assert_ne!(second.pid, first.pid);
    assert_eq!(second.inode, first.inode, "the same socket");

    // Stopped by hand it stays open, too.
    cafe.act(Verb::Stop, "web").await;
    let waiting = call(&tcp);
    cafe.act(Verb::Start, "web").await;
    let third = answer(waiting);
    assert_eq!(third.inode, first.inode);

    // Who is in the queue while it restarts waits.
    let restarting = cafe.act(Verb::Restart, "web");
    let calls = async { (0..20).map(|_| call(&tcp)).collect::<Vec<_>>() };
    let (_, calls) = tokio::join!(restarting, calls);
    for call in calls {
        assert_eq!(answer(call).inode, first.inode);
    }
}

#[tokio::test]
async fn an_address_in_use_is_told_before_anything_changes() {
    let taken = TcpListener::bind(address()).unwrap();
    let at = taken.local_addr().unwrap();
    let idle = |listen: &str| format!("command: [\"sleep\", \"infinity\"], listen: {{ {listen} }}");
    let mut cafe = Cafe::new("");
    let path = cafe.path("s");
    let (other, path) = (address().to_string(), path.to_str().unwrap());
    let blocked = format!("\"a\": {other:?}, \"b\": \"{at}\", \"c\": {path:?}");

    // At the start: nothing of it is left.
    cafe.configure(&services(&[("web", idle(&blocked))]));
    let refused = cafe.cli(&["run", "cafe.ron"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let expected =
        format!("`b` of service `web`: cannot listen on {at}: somebody does already [C060]");
    assert!(said.contains(&expected), "{said}");
    assert!(
        said.contains(&format!("hint: `ss -lptn 'sport = :{}'` shows who", at.port())),
        "{said}"
    );
    assert!(!cafe.path("s").try_exists().unwrap());

    // At a reload: nothing changes, of what was bound nothing stays.
    cafe.configure(&services(&[("web", idle(&format!("\"a\": {other:?}")))]));
    cafe.boot().await;
    let web = cafe.wait_state("web", State::Running).await;
    let third = address().to_string();
    let blocked = format!("{blocked}, \"0\": {third:?}");
    let revision = cafe.status().await.daemon.config_revision;
    cafe.configure(&services(&[("web", idle(&blocked))]));
    let refused = told(&cafe.cli(&["reload"]));
    let stays = "the config in force stays as it is";
    refused.expect(1, &["C060", &format!("cannot listen on {at}"), "shows who", stays]);
    assert!(TcpStream::connect(&third).is_err(), "what was bound first is closed");
    assert!(!cafe.path("s").try_exists().unwrap());
    let status = cafe.status().await;
    assert_eq!(status.daemon.config_revision, revision);
    assert!(status.daemon.config_error.is_some_and(|error| error.contains("`b` of service `web`")));
    assert_eq!(cafe.service("web").await.pid, web.pid);

    // What is in the way is cafe's own: that is said.
    let everywhere = format!("0.0.0.0:{}", other.rsplit(':').next().unwrap());
    cafe.configure(&services(&[("web", idle(&format!("\"a\": {everywhere:?}")))]));
    let problem = cafe.client.reload(false).await.expect_err("its own socket is in the way");
    assert_eq!(problem.code(), Code::AddressInUse);
    told(&cafe.cli(&["reload"])).expect(1, &[&format!("cafe itself listens on {other}")]);

    // Free again, it is taken.
    drop(taken);
    cafe.configure(&services(&[("web", idle(&blocked))]));
    cafe.wait_service("web", "with four sockets", |web| {
        web.listen.len() == 4 && web.state == State::Running
    })
    .await;
    TcpStream::connect(at).unwrap();
}

#[tokio::test]
async fn a_reload_binds_what_comes_closes_what_goes_and_keeps_the_rest() {
    if lacks_python() {
        return;
    }
    let cafe = Cafe::new("");
    let path = cafe.path("s");
    let path = path.to_str().unwrap();
    let (kept, gone) = (address().to_string(), address().to_string());
    let mut cafe = cafe;
    cafe.configure(&services(&[("web", server(&[("http", &kept), ("old", &gone)]))]));
    cafe.boot().await;
    cafe.wait_state("web", State::Ready).await;
    let before = ask(&kept);

    cafe.configure(&services(&[("web", server(&[("http", &kept), ("new", path)]))]));
    cafe.wait_service("web", "anew", |web| {
        web.state == State::Ready && web.pid != Some(before.pid)
    })
    .await;
    let after = ask(&kept);
    assert_ne!(after.pid, before.pid, "it was passed others");
    assert_eq!(after.inode, before.inode, "what stayed was never closed");
    assert_eq!(ask(path).name, "new");
    eventually("the old one is closed", || TcpStream::connect(&gone).err()).await;

    // One that moves to another service, under another name, stays open as well.
    let waiting = {
        cafe.act(Verb::Stop, "web").await;
        call(&kept)
    };
    cafe.configure(&services(&[("next", server(&[("main", &kept)]))]));
    let moved = answer(waiting);
    assert_eq!((moved.name.as_str(), &moved.inode), ("main", &before.inode));
    eventually("the file is gone", || (!cafe.path("s").try_exists().unwrap()).then_some(())).await;
}

#[tokio::test]
async fn sockets_passed_to_cafe_are_used_where_the_config_has_them() {
    if lacks_python() {
        return;
    }
    // Binds as systemd does, and becomes cafe; the third is on an address nobody wants.
    const PARENT: &str = r#"
import os, socket, sys
sockets = []
for at in sys.argv[1:4]:
    if at.startswith("/"):
        listener = socket.socket(socket.AF_UNIX); listener.bind(at)
    else:
        host, port = at.split(":"); listener = socket.socket(); listener.bind((host, int(port)))
    listener.listen(); sockets.append(listener)
high = [os.dup2(s.fileno(), 20 + i) for i, s in enumerate(sockets)]
high.append(os.dup2(os.open("/dev/null", os.O_RDONLY), 23))
open("inodes", "w").write(" ".join(str(os.fstat(fd).st_ino) for fd in high))
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i, inheritable=True); os.close(fd)
os.environ.update(LISTEN_FDS="4", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="cafe.socket:admin:http:null")
os.execv(sys.argv[4], sys.argv[4:])
"#;
    let mut cafe = Cafe::new("");
    let path = cafe.path("admin.sock");
    let path = path.to_str().unwrap().to_owned();
    let (tcp, stray, own) = (address().to_string(), address().to_string(), address().to_string());
    cafe.configure(&services(&[(
        "web",
        server(&[("http", &tcp), ("admin", &path), ("own", &own)]),
    )]));
    cafe.boot_by(&["python3", "-c", PARENT, &tcp, &path, &stray]).await;
    let web = cafe.wait_state("web", State::Ready).await;
    let inodes = cafe.read("inodes");
    let inodes: Vec<&str> = inodes.split(' ').collect();
    for (at, name, inode) in [(&tcp, "http", inodes[0]), (&path, "admin", inodes[1])] {
        let answer = ask(at);
        assert_eq!((answer.name.as_str(), answer.inode.as_str()), (name, inode), "not bound anew");
    }
    assert_eq!(ask(&own).name, "own");
    assert!(TcpStream::connect(&stray).is_err(), "what has no place is closed");
    let console = cafe.console();
    for warning in [
        format!("it is on {stray}, and `http` of service `web` on {tcp}"),
        "it is not a socket".to_owned(),
    ] {
        assert!(console.contains(&warning), "{console}");
    }
    let files = std::fs::read_dir(format!("/proc/{}/fd", web.pid.unwrap())).unwrap();
    let open = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    let sockets = open.filter(|target| target.to_string_lossy().starts_with("socket:")).count();
    assert_eq!(sockets, 3, "a service has its own sockets alone");

    cafe.end(Signal::SIGTERM).await;
    assert!(cafe.path("admin.sock").try_exists().unwrap(), "the file is its maker's");
}

#[tokio::test]
async fn after_a_crash_of_cafe_the_sockets_are_the_same() {
    if lacks_python() {
        return;
    }
    let mut cafe = Cafe::new("");
    let path = cafe.path("s");
    let (tcp, path) = (address().to_string(), path.to_str().unwrap().to_owned());
    cafe.configure(&services(&[("web", server(&[("http", &tcp), ("admin", &path)]))]));
    cafe.boot().await;
    cafe.wait_state("web", State::Ready).await;
    let before = [ask(&tcp), ask(&path)];

    cafe.crash();
    assert_eq!([ask(&tcp), ask(&path)], before, "the service accepts without cafe");
    cafe.boot().await;
    cafe.wait_service("web", "taken over", |web| web.pid == Some(before[0].pid)).await;

    kill(before[0].pid, Signal::SIGKILL);
    eventually("its end", || is_gone(before[0].pid).then_some(())).await;
    let after = [ask(&tcp), ask(&path)];
    for (after, before) in after.iter().zip(&before) {
        assert_ne!(after.pid, before.pid);
        assert_eq!(after.inode, before.inode, "who connected in between was not lost");
    }
    cafe.end(Signal::SIGTERM).await;
    assert!(!cafe.path("s").try_exists().unwrap(), "the file is cafe's again");
}
