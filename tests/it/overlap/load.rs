//! Under load: whoever connects is served, by the last generation or by the next.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use cafe::net::control::{Outcome, Verb};
use cafe::types::event::Kind;
use cafe::types::state::State;

use crate::harness::{Cafe, DEADLINE, eventually, is_gone, is_installed, sh, skip};

/// Answers each connection with its process id. Told to end it finishes what it has, and accepts no more.
const SERVER: &str = r#"
import os, select, signal, socket
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
woken, wake = os.pipe(); os.set_blocking(wake, False); signal.set_wakeup_fd(wake)
listener = socket.socket(fileno=3); listener.setblocking(False)
os.write(4, b"\n")
while not told:
    select.select([listener, woken], [], [])
    if told:
        break
    try:
        client, _ = listener.accept()
    except BlockingIOError:
        continue
    client.makefile().readline()
    client.sendall(f"{os.getpid()}".encode()); client.close()
"#;

/// Connects again and again, and never tries twice.
struct Client {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Vec<u32>, Vec<String>)>,
}

impl Client {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut answers, mut errors) = (Vec::new(), Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                match ask(address) {
                    Ok(pid) => answers.push(pid),
                    Err(error) => errors.push(error.to_string()),
                }
            }
            (answers, errors)
        });
        Self { stop, thread }
    }

    /// Who answered, in order, and what went wrong.
    fn end(self) -> (Vec<u32>, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn ask(address: SocketAddr) -> std::io::Result<u32> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"hello\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    answer.parse().map_err(|_| std::io::Error::other(format!("answered {answer:?}")))
}

async fn serving(port: u16, fields: &str) -> (Cafe, SocketAddr) {
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = SocketAddr::from((Ipv4Addr::new(127, 78, high, low), port));
    let env = serde_json::to_string(SERVER).unwrap().replace("${", "$${");
    let cafe = Cafe::start(&format!(
        "services: {{ \"web\": (command: {}, env: {{ \"SERVER\": {env} }}, \
         listen: {{ \"http\": \"{address}\" }}, ready: fd(4), {fields}) }},",
        sh("exec python3 -c \"$SERVER\"")
    ))
    .await;
    (cafe, address)
}

#[tokio::test]
async fn instances_share_a_socket_and_rolls_refuse_nobody() {
    if !is_installed("python3") {
        return skip("python3 is not installed");
    }
    let (cafe, address) = serving(20_200, "instances: 3").await;
    let pids = |web: &cafe::types::status::Service| -> Vec<u32> {
        web.instances.iter().filter_map(|it| it.pid).collect()
    };
    let mut all = pids(&cafe.wait_state("web", State::Ready).await);
    assert_eq!(all.len(), 3);
    let clients = [Client::start(address), Client::start(address)];
    for verb in [Verb::Restart, Verb::Overlap, Verb::Restart] {
        cafe.act(verb, "web").await;
        let web = cafe.wait_service("web", "three of it", |web| web.instances.len() == 3).await;
        assert!(pids(&web).iter().all(|pid| !all.contains(pid)), "{web:?}");
        all.extend(pids(&web));
    }
    for client in clients {
        let (answers, errors) = client.end();
        assert_eq!(errors, [""; 0], "of {} connections", answers.len());
        assert!(answers.iter().all(|pid| all.contains(pid)));
        let mut served = answers.clone();
        served.sort_unstable();
        served.dedup();
        assert!(served.len() > 3, "{served:?} of {all:?}");
    }
}

#[tokio::test]
async fn twenty_restarts_refuse_nobody() {
    if !is_installed("python3") {
        return skip("python3 is not installed");
    }
    let (cafe, address) = serving(20_100, "").await;
    let first = cafe.wait_state("web", State::Ready).await;
    let clients = [Client::start(address), Client::start(address)];

    let mut pids = vec![first.pid.unwrap()];
    for generation in 2..=21 {
        let acted = cafe.act(Verb::Overlap, "web").await;
        let change = &acted.services[0];
        assert_eq!((change.outcome, change.pid_before), (Outcome::Changed, pids.last().copied()));
        pids.push(change.pid.unwrap());
        let web = cafe.service("web").await;
        assert_eq!((web.state, web.instances[0].generation), (State::Ready, generation));
        assert_eq!(web.restarts, 0);
    }
    let last = pids.pop().unwrap();
    for pid in &pids {
        eventually("end of the generations before", || is_gone(*pid).then_some(())).await;
    }
    assert_eq!(ask(address).unwrap(), last);

    for client in clients {
        let (answers, errors) = client.end();
        assert_eq!(errors, [""; 0], "of {} connections", answers.len());
        assert!(answers.iter().all(|pid| *pid == last || pids.contains(pid)), "{answers:?}");
        assert!(answers.len() >= 20, "{answers:?}");
    }
    let web = cafe.wait_service("web", "alone", |web| web.instances.len() == 1).await;
    assert!(
        web.exits[0].trigger.ends_with("; generation 21 took over"),
        "{}",
        web.exits[0].trigger
    );
    // To all who look at its state it was ready all the time.
    let states = cafe.events().await.into_iter().filter(
        |event| matches!(&event.kind, Kind::State { service, .. } if service.as_str() == "web"),
    );
    assert_eq!(states.count(), 3, "waiting, starting, ready");
}
