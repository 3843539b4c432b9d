//! Many upgrades while everything is busy: no connection is refused or reset, nothing leaks. `bench/upgrade.py` does the
//! same with a thousand services.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cafe::types::state::State;

use super::upgrade;
use crate::harness::{Cafe, DEADLINE, IDLE, eventually, is_installed, sh, skip};

const UPGRADES: usize = 20;

/// Answers each connection with what it was sent.
const SERVER: &str = "import os,socket\ns=socket.socket(fileno=3)\nos.write(4,b'\\n')\nwhile True:\n c,_=s.accept()\n c.sendall(c.recv(64))\n c.close()";

#[tokio::test]
async fn no_connection_is_lost_and_nothing_leaks() {
    if !is_installed("python3") {
        return skip("python3 is not installed");
    }
    let idle: String =
        (0..30).map(|number| format!("\"s{number}\": (command: {}),", sh(IDLE))).collect();
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = format!("127.78.{high}.{low}:21000");
    let server = serde_json::to_string(SERVER).unwrap();
    let cafe = Cafe::start(&format!(
        "services: {{ {idle} \"web\": (command: [\"python3\", \"-c\", {server}], listen: {{ \"http\": {address:?} }}, ready: fd(4)) }},"
    ))
    .await;
    cafe.wait_state("web", State::Ready).await;
    let before = cafe.processes();

    let over = Arc::new(AtomicBool::new(false));
    let asking = std::thread::spawn({
        let over = over.clone();
        move || ask_until(&over, &address)
    });
    // The first makes what every further one finds made.
    upgrade(&cafe);
    // The program before and its state are let go once they are not needed.
    let settled = || {
        let all = descriptors(&cafe);
        let kept = |open: &String| open == "/memfd" || open.ends_with("/cafe");
        (!all.iter().any(kept)).then_some(all)
    };
    let before_all = eventually("the program before is let go", settled).await;
    for _ in 0..UPGRADES {
        upgrade(&cafe);
    }
    over.store(true, Ordering::Relaxed);

    let asked = asking.join().unwrap();
    assert!(asked > UPGRADES, "{asked} connections");
    assert_eq!(cafe.processes(), before);
    // One that is open for a moment may have been counted before.
    let no_more = || (descriptors(&cafe).len() <= before_all.len()).then_some(());
    eventually("no more descriptors than before", no_more).await;
    let status = cafe.status().await;
    assert!(status.services.iter().all(|it| it.restarts == 0 && it.state.is_up()));
    assert_eq!(status.daemon.upgrades, UPGRADES as u64 + 1);
}

/// A connection after the other, each to be answered; how many there were.
fn ask_until(over: &AtomicBool, address: &str) -> usize {
    let mut asked = 0_usize;
    while !over.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let word = format!("request {asked}");
        stream.write_all(word.as_bytes()).unwrap();
        let mut answer = String::new();
        match stream.read_to_string(&mut answer) {
            Ok(_) => assert_eq!(answer, word),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer to {asked}"),
            Err(error) => panic!("connection {asked}: {error}"),
        }
        asked += 1;
    }
    asked
}

/// What the daemon has open, without what it opens for those who ask.
fn descriptors(cafe: &Cafe) -> Vec<String> {
    let directory = format!("/proc/{}/fd", cafe.pid());
    let links = std::fs::read_dir(directory).unwrap();
    let mut kinds: Vec<String> = links
        .filter_map(|link| Some(std::fs::read_link(link.ok()?.path()).ok()?.display().to_string()))
        // Read for a moment, whenever a time is shown for the first time.
        .filter(|target| !target.starts_with("/usr/share/zoneinfo"))
        .map(|target| target.split(':').next().unwrap_or_default().to_owned())
        .collect();
    kinds.sort();
    kinds
}
