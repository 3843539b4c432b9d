//! Sockets that cafe holds for services: passed as systemd would, open over every restart, changed with the config,
//! taken from whoever starts cafe.

mod change;
mod connection;
mod open;
mod passed;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::harness::{DEADLINE, is_installed, sh, skip};

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
pub(crate) fn address() -> SocketAddr {
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

pub(crate) fn lacks_python() -> bool {
    let lacks = !is_installed("python3");
    if lacks {
        skip("python3 is not installed");
    }
    lacks
}
