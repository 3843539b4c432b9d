//! What cafe prints when its stderr is the journal of systemd, which stamps lines itself.

use std::os::unix::fs::MetadataExt as _;

use cafe::types::state::State;
use nix::sys::signal::Signal;

use crate::harness::{Cafe, eventually, kill};

/// Names the file that is stderr as systemd names its socket.
const AS_JOURNAL: &str = "export JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2); exec \"$@\"";

#[tokio::test]
async fn lines_have_a_priority_and_no_time() {
    let service = "(command: [\"false\"], restart: temporary)";
    let mut cafe = Cafe::new(&format!("services: {{ \"bad\": {service} }},"));
    let mut daemon = cafe.spawn_by(&["sh", "-c", AS_JOURNAL, "sh"]);
    cafe.answers().await;
    cafe.wait_state("bad", State::Failed).await;
    kill(daemon.id(), Signal::SIGTERM);
    eventually("its end", || daemon.try_wait().expect("own child")).await;
    let console = cafe.console();
    for line in console.lines() {
        let prefixed = ["<3>", "<4>", "<6>"].iter().any(|priority| line.starts_with(priority));
        assert!(prefixed && !line.starts_with("<6>2"), "{console}");
    }
    assert!(console.contains("<3>bad"), "{console}");
    assert!(console.contains("<6>cafe: everything has stopped"), "{console}");
}

#[tokio::test]
async fn a_redirection_is_no_journal() {
    let cafe = Cafe::new("services: {},");
    let other = cafe.path(".").metadata().expect("there");
    let named = format!("JOURNAL_STREAM={}:{}", other.dev(), other.ino());
    let mut cafe = cafe;
    let mut daemon = cafe.spawn_by(&["env", &named]);
    cafe.answers().await;
    kill(daemon.id(), Signal::SIGTERM);
    eventually("its end", || daemon.try_wait().expect("own child")).await;
    assert!(!cafe.console().contains("<6>"), "{}", cafe.console());
}
