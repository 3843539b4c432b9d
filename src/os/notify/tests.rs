//! Messages read, a service told from strangers, and what cafe tells its own manager.

use std::ffi::OsString;
use std::time::Duration;

use super::*;
use crate::os::isolated::in_own_process;
use crate::os::process::{Command, Spawner};

#[test]
fn every_known_key_is_read_and_unknown_ones_are_ignored() {
    let text = b"READY=1\nSTATUS=half = full\nERRNO=2\nMAINPID=42\nWATCHDOG=1\nWATCHDOG_USEC=1500000\n\
        EXTEND_TIMEOUT_USEC=10\nMONOTONIC_USEC=7\nX_OTHER=what\nRELOADING=1\nSTOPPING=1\nBARRIER=1\n";
    let message = Message::parse(text);
    let expected = Message {
        ready: true,
        reloading: true,
        stopping: true,
        status: Some("half = full".to_owned()),
        errno: Some(2),
        main_pid: Some(42),
        watchdog: Some(Watchdog::Alive),
        watchdog_interval: Some(Duration::from_millis(1500)),
        extend_timeout: Some(Duration::from_micros(10)),
        monotonic: Some(Duration::from_micros(7)),
        barrier: true,
        malformed: 0,
    };
    assert_eq!(message, expected);
    assert_eq!(Message::parse(b"WATCHDOG=trigger").watchdog, Some(Watchdog::Trigger));
}

#[test]
fn what_cannot_be_is_counted_and_does_not_spoil_the_rest() {
    let text = b"no assignment\nREADY=yes\nMAINPID=0\nMAINPID=-4\nERRNO=x\nSTATUS=\xff\nREADY=1";
    let message = Message::parse(text);
    assert_eq!((message.malformed, message.ready, message.main_pid), (6, true, None));
    assert_eq!(Message::parse(b""), Message::default());
}

#[tokio::test]
async fn a_service_is_heard_and_known_by_process_and_user() {
    let directory = tempfile::tempdir().expect("makes a directory");
    let path = directory.path().join("notify");
    std::fs::write(&path, "left behind").expect("writes");
    let socket = Socket::bind(&path, None).expect("binds");
    let script = "import os, socket, array
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ['NOTIFY_SOCKET'])
s.send(b'READY=1\\nSTATUS=up')
r, w = os.pipe()
s.sendmsg([b'BARRIER=1'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [w]))])
os.close(w)
assert os.read(r, 1) == b''
s.send(b'STATUS=' + b'x' * 5000)
";
    let command = Command {
        argv: ["python3", "-c", script].map(OsString::from).into(),
        env: std::env::vars_os().chain([("NOTIFY_SOCKET".into(), path.clone().into())]).collect(),
        cwd: "/".into(),
        ..Command::default()
    };
    let child = Spawner::with_threads(1).expect("starts").spawn(command).await.expect("starts");
    let first = next(&socket).await;
    assert!(first.message.ready && first.message.status.as_deref() == Some("up"));
    assert_eq!((first.pid, first.uid), (child.pid(), nix::unistd::getuid().as_raw()));
    // The service waits for the descriptor to be closed: it goes on, and says more.
    assert!(next(&socket).await.message.barrier);
    let long = next(&socket).await.message;
    assert_eq!(long, Message { malformed: 1, ..Message::default() });
    assert!(child.wait().await.expect("ends").cause.is_normal());
    drop(socket);
    assert!(!path.try_exists().expect("asks"), "removed with its owner");
}

#[tokio::test]
async fn cafe_tells_its_own_manager() {
    // The one inside is the service, and this the manager: the environment is the process's own.
    let name = "os::notify::tests::cafe_tells_its_own_manager_inside";
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        return;
    }
    let directory = tempfile::tempdir().expect("makes a directory");
    let path = directory.path().join("notify");
    let socket = Socket::bind(&path, None).expect("binds");
    let variables = [
        (OsString::from("NOTIFY_SOCKET"), path.clone().into_os_string()),
        (OsString::from("WATCHDOG_USEC"), OsString::from("2000000")),
        (OsString::from("CAFE_TEST_INSIDE"), OsString::from("1")),
    ];
    let program = std::env::current_exe().expect("is known").into_os_string();
    let command = Command {
        argv: [program].into_iter().chain([name, "--exact"].map(OsString::from)).collect(),
        env: std::env::vars_os().chain(variables).collect(),
        cwd: "/".into(),
        ..Command::default()
    };
    let child = Spawner::with_threads(1).expect("starts").spawn(command).await.expect("starts");
    let first = next(&socket).await.message;
    assert!(first.ready && first.status.as_deref() == Some("up"));
    let second = next(&socket).await.message;
    assert!(second.reloading && second.monotonic.is_some());
    let third = next(&socket).await.message;
    assert!(third.stopping && third.watchdog == Some(Watchdog::Alive));
    assert!(child.wait().await.expect("ends").cause.is_normal());
}

#[tokio::test]
async fn cafe_tells_its_own_manager_inside() {
    use manager::{Notice, tell, watchdog};
    let name = "os::notify::tests::cafe_tells_its_own_manager_inside";
    in_own_process(name, async {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            assert!(tell(&[Notice::Ready]).is_ok() && watchdog().is_none(), "nobody listens");
            return;
        }
        assert_eq!(watchdog(), Some(Duration::from_secs(2)));
        tell(&[Notice::Ready, Notice::Status("up".to_owned())]).expect("tells");
        tell(&[Notice::Reloading]).expect("tells");
        tell(&[Notice::Stopping, Notice::Watchdog]).expect("tells");
    })
    .await;
}

async fn next(socket: &Socket) -> Received {
    loop {
        socket.readable().await.expect("waits");
        if let Some(received) = socket.try_receive().expect("hears") {
            return received;
        }
    }
}
