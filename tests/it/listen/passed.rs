//! Sockets as a service finds them, and as cafe does.

use std::net::TcpStream;

use cafe::types::state::State;
use nix::sys::signal::Signal;

use super::{address, ask, lacks_python, server, services};
use crate::harness::{Cafe, told};

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
