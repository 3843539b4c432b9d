//! What cafe and its services may do, as the kernel says it: little of root is kept, and enough to do the work.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cafe::types::exit::Cause;
use cafe::types::state::State;
use cafe::types::status::Privileges;

use crate::harness::{
    Cafe, IDLE, command, eventually, is_installed, program, root, sh, skip, told,
};

/// Another user than that of the tests, with the rest of a service after it.
const STRANGER: &str = r#"user: "65534", group: "65534""#;

/// Says that its traps are set, then waits for signals without a file of another user.
const WAIT: &str = "echo >&3; while :; do sleep 1000 & wait $!; done";

/// Whether this is root, with what root usually has.
fn is_full_root() -> bool {
    let needed = [1, 0, 5, 6, 7, 8, 10, 19];
    let full = root() && needed.iter().all(|number| own("CapPrm") & (1 << number) != 0);
    if !full {
        skip("capabilities are given up by root");
    }
    full
}

/// A set of a process or thread, from its `status` in /proc.
fn set(directory: &str, name: &str) -> u64 {
    try_set(directory, name).unwrap()
}

/// As [`set`]; none when it has ended.
fn try_set(directory: &str, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{directory}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok()
}

fn own(name: &str) -> u64 {
    set("self", name)
}

fn sets(pid: u32) -> [u64; 4] {
    ["CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|name| set(&pid.to_string(), name))
}

/// A daemon in a directory that others get to.
async fn open(sections: &str) -> Cafe {
    let mut cafe = Cafe::new(sections);
    std::fs::set_permissions(cafe.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    cafe.boot().await;
    cafe
}

async fn privileges(cafe: &Cafe) -> Privileges {
    cafe.status().await.daemon.privileges.unwrap()
}

/// The threads of the daemon: their directories in /proc, and whether they start services.
async fn threads(cafe: &Cafe) -> Vec<(String, bool)> {
    let tasks = format!("/proc/{}/task", cafe.pid());
    let starters = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    let all_named = || {
        let mut threads = Vec::new();
        for task in std::fs::read_dir(&tasks).unwrap() {
            let directory = format!("{}/task/{}", cafe.pid(), task.unwrap().file_name().display());
            // A thread of the pool may end at any time.
            let name = std::fs::read_to_string(format!("/proc/{directory}/comm"));
            threads.extend(name.map(|name| (directory, name.starts_with("spawn-"))));
        }
        // A thread gives itself its name when it first runs.
        (threads.iter().filter(|(_, starts)| *starts).count() == starters).then_some(threads)
    };
    eventually("all threads that start services", all_named).await
}

/// Every thread has what the status says: those that start services what it says of them, the others the rest.
async fn assert_status_is_true(cafe: &Cafe) {
    let told = privileges(cafe).await;
    let threads = threads(cafe).await;
    assert!(threads.iter().filter(|(_, starts)| !starts).count() >= 3, "{threads:?}");
    for (directory, starts) in threads {
        let held = if starts { told.for_services } else { told.held };
        let expected = [held, held, told.bounding].map(|set| set.bits());
        let found = ["CapPrm", "CapEff", "CapBnd"].map(|name| try_set(&directory, name));
        if found.contains(&None) {
            // It has ended meanwhile.
            continue;
        }
        assert_eq!(found, expected.map(Some), "{directory}, which starts services: {starts}");
    }
    assert_eq!((told.held | told.dropped).bits(), own("CapPrm"), "nothing is unaccounted for");
}

#[tokio::test]
async fn services_of_root_have_what_root_has_and_cafe_has_little() {
    if !is_full_root() {
        return;
    }
    let few = r#"capabilities: ["NET_RAW"]"#;
    let idle = sh(IDLE);
    let sections = format!(
        r#"services: {{
            "all": (command: {idle}), "few": (command: {idle}, {few}),
            "bound": (command: {idle}, no_new_privs: true),
        }},"#
    );
    let cafe = Cafe::start(&sections).await;
    let all = own("CapBnd");
    let pid = |name: &'static str| {
        let cafe = &cafe;
        async move { cafe.wait_state(name, State::Running).await.pid.unwrap() }
    };
    assert_eq!(sets(pid("all").await), [own("CapPrm"), own("CapEff"), all, 0]);
    assert_eq!(sets(pid("bound").await), [own("CapPrm"), own("CapEff"), all, 0]);
    assert_eq!(set(&pid("bound").await.to_string(), "NoNewPrivs"), 1);
    assert_eq!(sets(pid("few").await), [1 << 13; 4]);

    assert_status_is_true(&cafe).await;
    let told_of = privileges(&cafe).await;
    let given_up = ["SYS_ADMIN", "SYS_MODULE", "NET_ADMIN", "SETUID", "SYS_TIME"];
    for name in given_up {
        assert!(told_of.dropped.contains(name.parse().unwrap()), "{name}: {told_of:?}");
    }
    told(&cafe.cli(&["status"]))
        .expect(0, &["privileges: ", "KILL", " given up, all for services as root"]);
    let json = told(&cafe.cli(&["status", "-o", "json"])).json();
    let held = json["daemon"]["privileges"]["held"].as_array().unwrap().clone();
    assert!(held.contains(&"KILL".into()) && !held.contains(&"SETUID".into()), "{held:?}");
}

#[tokio::test]
async fn services_of_others_are_started_stopped_killed_and_found_again() {
    if !is_full_root() {
        return;
    }
    let polite = sh(&format!("trap 'echo polite; exit 0' TERM; echo up; {WAIT}"));
    let stubborn = sh(&format!("trap '' TERM; setsid sleep 1000 & echo up; {WAIT}"));
    let rest = format!("{STRANGER}, ready: fd(3), stop: (timeout: \"300ms\")");
    let sections = format!(
        r#"services: {{ "polite": (command: {polite}, {STRANGER}, ready: fd(3)), "stubborn": (command: {stubborn}, {rest}) }},"#
    );
    let mut cafe = open(&sections).await;
    let mut before = BTreeMap::new();
    for name in ["polite", "stubborn"] {
        let pid = cafe.wait_state(name, State::Ready).await.pid.unwrap();
        assert_eq!(sets(pid), [0, 0, own("CapBnd"), 0], "{name}");
        before.insert(name, pid);
    }
    assert_status_is_true(&cafe).await;
    assert_eq!(privileges(&cafe).await.for_services, privileges(&cafe).await.held);

    let causes =
        [("polite", Cause::Code(0)), ("stubborn", Cause::Signal { signal: 9, core: false })];
    for (name, cause) in causes {
        told(&cafe.cli(&["stop", name])).expect(0, &[]);
        assert_eq!(cafe.service(name).await.exits[0].cause, cause, "{name}");
    }
    assert_eq!(cafe.processes(), [], "nor what had left its session");

    // Their pipes, theirs alone, are opened again through /proc.
    for (name, _) in causes {
        told(&cafe.cli(&["start", name])).expect(0, &[]);
        before.insert(name, cafe.wait_state(name, State::Ready).await.pid.unwrap());
    }
    cafe.crash();
    cafe.boot().await;
    for (name, _) in causes {
        let found = cafe.wait_service(name, "found", |service| service.pid.is_some()).await;
        assert_eq!(found.pid, before.get(name).copied());
        told(&cafe.cli(&["stop", name])).expect(0, &[]);
    }
    let polite = || {
        let lines = told(&cafe.cli(&["logs", "polite", "-n", "all"])).stdout;
        (lines.matches("polite").count() >= 2).then_some(())
    };
    eventually("the last line after a crash", polite).await;
    assert_eq!(cafe.processes(), [], "nor what had left its session, after a crash");
}

#[tokio::test]
async fn the_bounding_set_is_given_up_where_no_service_can_gain_by_it() {
    if !is_full_root() {
        return;
    }
    let command = sh(WAIT);
    let sections = format!(
        r#"services: {{ "a": (command: {command}, {STRANGER}, ready: fd(3), no_new_privs: true) }},"#
    );
    let cafe = open(&sections).await;
    let service = cafe.wait_state("a", State::Ready).await.pid.unwrap();
    let told_of = privileges(&cafe).await;
    assert_eq!(
        sets(cafe.pid()),
        [told_of.held.bits(), told_of.held.bits(), told_of.held.bits(), 0]
    );
    assert_eq!(sets(service), [0, 0, told_of.held.bits(), 0]);
    assert_status_is_true(&cafe).await;
}

#[tokio::test]
async fn root_that_lists_its_capabilities_leaves_cafe_with_few() {
    if !is_full_root() {
        return;
    }
    let few = r#"capabilities: ["NET_RAW"]"#;
    let cafe =
        Cafe::start(&format!(r#"services: {{ "few": (command: {}, {few}) }},"#, sh(IDLE))).await;
    let pid = cafe.wait_state("few", State::Running).await.pid.unwrap();
    assert_eq!(sets(pid), [1 << 13; 4]);
    let held = privileges(&cafe).await.held.bits();
    assert_eq!(sets(cafe.pid()), [held, held, held, 0]);
    assert_status_is_true(&cafe).await;
}

#[tokio::test]
async fn a_reload_that_needs_what_was_given_up_is_refused_and_changes_nothing() {
    if !is_full_root() {
        return;
    }
    let idle = sh(IDLE);
    let services = |more: &str| format!(r#"services: {{ "a": (command: {idle}), {more} }},"#);
    let cafe = Cafe::start(&services("")).await;
    let before = cafe.wait_state("a", State::Running).await.pid;
    let revision = cafe.status().await.daemon.config_revision;
    let wanting = services(&format!(r#""b": (command: {idle}, {STRANGER})"#));
    let reason = ["C011", "CAP_", "service `b` runs as user `65534`", "AmbientCapabilities"];
    std::fs::write(cafe.path("next.ron"), cafe.config_text("", &wanting)).unwrap();
    told(&cafe.cli(&["config", "diff", "next.ron"])).expect(2, &reason);
    cafe.configure(&wanting);
    told(&cafe.cli(&["reload"])).expect(2, &reason);
    told(&cafe.cli(&["reload", "--dry-run"])).expect(2, &reason);
    let status = cafe.status().await;
    assert_eq!((status.daemon.config_revision, status.services.len()), (revision, 1));
    assert!(status.daemon.config_error.is_some_and(|error| error.contains("gave up")));
    assert_eq!(cafe.service("a").await.pid, before);
    told(&cafe.cli(&["explain", "C011"])).expect(0, &["AmbientCapabilities"]);

    // What needs no more is put in force, also after a refusal.
    cafe.configure(&services(&format!(r#""c": (command: {idle}, nice: 5)"#)));
    told(&cafe.cli(&["reload"])).expect(0, &[]);
    cafe.wait_state("c", State::Running).await;
    assert_eq!(cafe.status().await.daemon.config_error, None);
    assert_eq!(cafe.service("a").await.pid, before);
}

#[tokio::test]
async fn another_user_binds_port_80_with_that_capability_and_not_without() {
    if !is_full_root() {
        return;
    }
    if !is_installed("unshare") || !is_installed("perl") {
        return skip("a port below 1024 needs a network of its own and perl");
    }
    let isolated = program("unshare").args(["-n", "true"]).status();
    if !isolated.is_ok_and(|status| status.success()) {
        return skip("no network namespace can be made here");
    }
    let listen = "use IO::Socket::INET; \
        IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => 80, Listen => 1) or die qq(no port: $!\\n); \
        open(my $ready, '>&=', 3); syswrite($ready, qq(\\n)); sleep 1000;";
    let perl = command(&["perl", "-e", listen]);
    let rest = format!("{STRANGER}, restart: temporary, ready: fd(3)");
    let mut cafe = Cafe::new(&format!(
        r#"services: {{
            "without": (command: {perl}, {rest}),
            "with": (command: {perl}, {rest}, capabilities: ["NET_BIND_SERVICE"], no_new_privs: true, after: ["without"]),
        }},"#
    ));
    std::fs::set_permissions(cafe.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    cafe.boot_by(&["unshare", "-n"]).await;
    let pid = cafe.wait_state("with", State::Ready).await.pid.unwrap();
    assert_eq!(sets(pid), [1 << 10, 1 << 10, own("CapBnd"), 1 << 10]);
    let ended = |service: &cafe::types::status::Service| !service.exits.is_empty();
    let refused = cafe.wait_service("without", "ended", ended).await;
    assert_ne!(refused.exits[0].cause, Cause::Code(0));
    let said = || {
        told(&cafe.cli(&["logs", "without"])).stdout.contains("no port: Permission").then_some(())
    };
    eventually("the reason", said).await;
}

#[tokio::test]
async fn an_ordinary_user_with_ambient_capabilities_keeps_what_it_needs_and_hands_on_what_is_asked()
{
    if !is_full_root() {
        return;
    }
    // The binary stands where another user may not get to it, on some machines.
    let binary = Path::new(env!("CARGO_BIN_EXE_cafe"));
    let stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if !is_installed("setpriv") {
        return skip("another user needs setpriv");
    }
    let may = program("setpriv").args(&stranger[1..]).args(["test", "-x"]).arg(binary).status();
    if !may.is_ok_and(|status| status.success()) {
        return skip("another user may not execute the tested binary");
    }
    let wait = sh(WAIT);
    let mut cafe = Cafe::new(&format!(
        r#"services: {{
            "none": (command: {wait}, ready: fd(3)),
            "port": (command: {wait}, ready: fd(3), capabilities: ["CAP_NET_BIND_SERVICE"]),
            "other": (command: {wait}, ready: fd(3), user: "65533", group: "65533"),
        }},"#
    ));
    std::fs::write(cafe.path("console"), "").unwrap();
    for path in ["", "console", "cafe.ron"] {
        std::os::unix::fs::chown(cafe.path(path), Some(65534), Some(65534)).unwrap();
    }
    std::fs::set_permissions(cafe.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    let given =
        "+chown,+dac_read_search,+kill,+setgid,+setuid,+net_bind_service,+net_raw,+sys_ptrace";
    let (inheritable, ambient) = (format!("--inh-caps={given}"), format!("--ambient-caps={given}"));
    let wrapper = [&stranger[..], &[&inheritable, &ambient]].concat();
    cafe.boot_by(&wrapper).await;
    let mut before = BTreeMap::new();
    for name in ["none", "port", "other"] {
        before.insert(name, cafe.wait_state(name, State::Ready).await.pid.unwrap());
    }
    let all = own("CapBnd");
    let (port, held) = (1 << 10, 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 19);
    assert_eq!(sets(cafe.pid()), [held, held, all, held]);
    assert_eq!(sets(before["none"]), [0, 0, all, 0], "what cafe has is not for its services");
    assert_eq!(sets(before["other"]), [0, 0, all, 0]);
    assert_eq!(sets(before["port"]), [port, port, all, port]);
    told(&cafe.cli(&["status"])).expect(0, &["NET_BIND_SERVICE SYS_PTRACE, 1 given up\n"]);
    told(&cafe.cli(&["upgrade"])).expect(0, &["after a pause of"]);
    assert_eq!(sets(cafe.pid()), [held, held, all, held], "an upgrade keeps them");
    for (name, pid) in &before {
        assert_eq!(cafe.service(name).await.pid, Some(*pid), "{name}");
    }
    told(&cafe.cli(&["restart", "other"])).expect(0, &[]);
    before.insert("other", cafe.service("other").await.pid.unwrap());
    cafe.crash();
    cafe.boot_by(&wrapper).await;
    for (name, pid) in before {
        let found = cafe.wait_service(name, "found", |service| service.pid.is_some()).await;
        assert_eq!(found.pid, Some(pid), "{name}");
        told(&cafe.cli(&["stop", name])).expect(0, &[]);
    }
    assert_eq!(cafe.processes(), []);
}
