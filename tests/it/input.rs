//! Bad input: each config that cannot be is refused with all of its errors, each with place and code, and
//! nothing starts; each service that cannot run says why, and the others run.

use std::os::unix::net::UnixListener;

use cafe::types::error::Code;
use cafe::types::exit::Cause;
use cafe::types::state::State;

use crate::harness::{Cafe, IDLE, Told, eventually, root, sh, skip, told};

/// Name of the case, text of the config, code, and what the error must say besides.
type Case = (&'static str, &'static str, Code, &'static [&'static str]);

#[rustfmt::skip]
const REFUSED: &[Case] = &[
    ("undefined variable", r#"Cafe(services: { "a": (command: ["${NO_SUCH_VARIABLE_HERE}"]) })"#,
        Code::UndefinedVariable, &["NO_SUCH_VARIABLE_HERE", "cafe.ron:1:35"]),
    ("dependency cycle", r#"Cafe(services: { "a": (command: ["x"], after: ["b"]), "b": (command: ["x"], requires: ["a"]) })"#,
        Code::DependencyCycle, &["`a` -> `b` -> `a`"]),
    ("duplicate name", r#"Cafe(services: { "a": (command: ["x"]), "a": (command: ["y"]) })"#,
        Code::DuplicateName, &["cafe.ron:1:41"]),
    ("unknown field", r#"Cafe(services: { "a": (comand: ["x"]) })"#,
        Code::UnknownField, &["comand", "command", "cafe.ron:1:24"]),
    ("unknown reference", r#"Cafe(services: { "web": (command: ["x"], after: ["wbe"]) , "db": (command: ["x"], after: ["wb"]) })"#,
        Code::UnknownReference, &["wb", "web"]),
    ("bad value", r#"Cafe(services: { "a": (command: ["x"], ready_timeout: "10 parsecs") })"#,
        Code::InvalidValue, &["10 parsecs"]),
    ("missing field", r#"Cafe(services: { "a": () })"#,
        Code::MissingField, &["command"]),
    ("not RON", "Cafe(services: { \"a\": (command: [\"x\"], ",
        Code::ConfigSyntax, &["cafe.ron:1:"]),
    ("empty", "", Code::ConfigSyntax, &["cafe.ron"]),
];

#[test]
fn a_config_that_cannot_be_is_refused_with_place_and_code() {
    let cafe = Cafe::new("");
    for (name, text, code, says) in REFUSED {
        std::fs::write(cafe.path("cafe.ron"), text).unwrap();
        refused(&cafe, name, *code, says);
    }
}

/// Checked and run, the file is refused alike: with exit code 2, and nothing runs.
fn refused(cafe: &Cafe, name: &str, code: Code, says: &[&str]) {
    for verb in [&["config", "check", "cafe.ron"][..], &["run", "cafe.ron"]] {
        let told = told(&cafe.cli(verb));
        assert_eq!(told.code, 2, "{name}: {told:#?}");
        let said = |text: &str| assert!(told.stderr.contains(text), "{name}: {text}: {told:#?}");
        said(code.as_str());
        says.iter().copied().for_each(said);
        assert!(!cafe.path("state").try_exists().unwrap(), "{name}: a refused config left a trace");
    }
    let told = told(&cafe.cli(&["config", "check", "cafe.ron", "-o", "json"]));
    let json = told.expect(2, &[]).json();
    let codes = json["errors"].as_array().unwrap().iter().map(|error| &error["code"]);
    assert!(codes.into_iter().any(|found| found == code.as_str()), "{name}: {json}");
}

#[test]
fn all_errors_come_at_once() {
    let cafe = Cafe::new(
        r#"services: { "a": (comand: ["x"], after: ["nobody"]), "b": (command: [], restart: sometimes) },"#,
    );
    let told = told(&cafe.cli(&["config", "check", "cafe.ron"]));
    told.expect(2, &["C003", "C004", "comand", "sometimes"]);
}

#[test]
fn a_config_of_ten_megabytes_is_refused_at_once() {
    let cafe = Cafe::new("");
    let mut text = String::from("Cafe()\n");
    text.push_str(&"// filler\n".repeat(1 << 20));
    std::fs::write(cafe.path("cafe.ron"), text).unwrap();
    refused(&cafe, "10 MB", Code::ConfigTooLarge, &["cafe.ron", "1 MiB"]);
}

#[test]
fn a_config_that_is_not_utf8_is_refused_where_it_stops_being() {
    let cafe = Cafe::new("");
    std::fs::write(cafe.path("cafe.ron"), b"Cafe(\n  env: { \"A\": \"\xff\xfe\" },\n)\n").unwrap();
    refused(&cafe, "not UTF-8", Code::ConfigSyntax, &["UTF-8", "cafe.ron:2:16"]);
}

#[test]
fn a_config_that_is_not_there_is_named() {
    let cafe = Cafe::new("");
    std::fs::remove_file(cafe.path("cafe.ron")).unwrap();
    refused(&cafe, "missing", Code::ConfigUnreadable, &["cafe.ron", "No such file"]);
}

#[test]
fn an_include_that_cannot_be_read_is_named() {
    let cafe = Cafe::new(r#"include: ["conf.d/*.ron"],"#);
    // A directory with the name of a file: unreadable for root, too.
    std::fs::create_dir_all(cafe.path("conf.d/web.ron")).unwrap();
    refused(&cafe, "include", Code::ConfigUnreadable, &["conf.d/web.ron"]);
}

#[tokio::test]
async fn services_that_cannot_start_say_why_and_the_others_run() {
    let cafe = Cafe::new("");
    std::fs::write(cafe.path("text"), "no program").unwrap();
    std::fs::write(cafe.path("orphan"), "#!/no/such/interpreter\n").unwrap();
    set_executable(&cafe, "orphan");
    let user = if root() { r#""u": (command: ["true"], user: "no-such-user"),"# } else { "" };
    cafe.configure(&format!(
        r#"services: {{
            "bin": (command: ["/no/such/program"]), "path": (command: ["no-such-program"]),
            "exec": (command: ["./text"]), "loader": (command: ["./orphan"]),
            "cwd": (command: ["true"], cwd: "/no/such/directory"), {user}
            "well": (command: {}),
        }},"#,
        sh(IDLE)
    ));
    let mut cafe = cafe;
    cafe.boot().await;
    let mut cases = vec![
        ("bin", Code::ProgramNotFound, "/no/such/program"),
        ("path", Code::ProgramNotFound, "no-such-program"),
        ("exec", Code::ProgramNotExecutable, "text"),
        ("loader", Code::ProgramNotFound, "/no/such/interpreter"),
        ("cwd", Code::WorkingDirectory, "/no/such/directory"),
    ];
    if root() {
        cases.push(("u", Code::UnknownUser, "no-such-user"));
    } else {
        skip("another user needs root");
    }
    for (name, code, subject) in cases {
        let tried = cafe.wait_service(name, "tried", |service| !service.exits.is_empty()).await;
        assert_eq!(tried.exits[0].cause, Cause::NotStarted, "{name}");
        let trigger = &tried.exits[0].trigger;
        assert!(trigger.contains(code.as_str()) && trigger.contains(subject), "{name}: {trigger}");
        // Whoever asks for it is told why, at once: not after the wait is over.
        let started = told(&cafe.cli(&["start", name, "--timeout", "20s"]));
        started.expect(1, &["cannot start", code.as_str(), subject, "hint:"]);
        // Its own log tells it, too, though it never had a process.
        eventually("a line in its log", || {
            let log = told(&cafe.cli(&["logs", name])).stdout;
            (log.contains("could not start") && log.contains(subject)).then_some(())
        })
        .await;
    }
    cafe.wait_state("well", State::Running).await;
}

fn set_executable(cafe: &Cafe, name: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(cafe.path(name), mode).unwrap();
}

// ---- what is in use ----

#[tokio::test]
async fn a_socket_that_somebody_answers_on_is_left_alone_and_nothing_starts() {
    let cafe = Cafe::new(&format!(
        "services: {{ \"a\": (command: {}) }},",
        sh("touch ran; exec sleep 60")
    ));
    let other = UnixListener::bind(cafe.path("control.sock")).unwrap();
    let told = run_to_end(&cafe).await;
    told.expect(1, &["control.sock", "another", "C041", "hint:"]);
    assert!(!cafe.path("ran").try_exists().unwrap(), "a service was started");
    assert_eq!(cafe.processes(), []);
    drop(other);
}

#[tokio::test]
async fn a_socket_nobody_answers_on_is_replaced() {
    let mut cafe = Cafe::new("");
    drop(UnixListener::bind(cafe.path("control.sock")).unwrap());
    cafe.boot().await;
    assert_eq!(cafe.status().await.services, []);
}

#[tokio::test]
async fn a_file_in_place_of_the_socket_is_kept() {
    let cafe = Cafe::new("");
    std::fs::write(cafe.path("control.sock"), "precious").unwrap();
    run_to_end(&cafe).await.expect(1, &["control.sock", "not a socket", "C047", "hint:"]);
    assert_eq!(cafe.read("control.sock"), "precious");
}

#[tokio::test]
async fn a_second_daemon_on_the_same_state_is_refused_and_told_of_the_first() {
    let cafe = Cafe::start("").await;
    let pid = cafe.pid().to_string();
    run_to_end(&cafe).await.expect(1, &["lock", &pid, "C041", "cafe status"]);
    cafe.status().await;
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_made_is_named() {
    let cafe = Cafe::new("");
    std::fs::write(cafe.path("state"), "a file").unwrap();
    run_to_end(&cafe).await.expect(1, &["state", "C051", "hint:"]);
}

#[tokio::test]
async fn a_service_whose_port_is_in_use_shows_what_it_said_itself() {
    let script = "echo 'bind: address already in use' >&2; exit 98";
    let cafe = Cafe::start(&format!(
        "services: {{ \"web\": (command: {}, restart: temporary) }},",
        sh(script)
    ))
    .await;
    let shown = |exit: &cafe::types::exit::PostMortem| !exit.last_lines.is_empty();
    let web = cafe.wait_service("web", "ended", |web| web.exits.first().is_some_and(shown)).await;
    assert_eq!(web.exits[0].cause, Cause::Code(98));
    told(&cafe.cli(&["status", "web"])).expect(3, &["exited 98", "address already in use"]);
}

/// Runs a daemon that is to end by itself.
async fn run_to_end(cafe: &Cafe) -> Told {
    let before = cafe.console().len();
    let mut daemon = cafe.spawn();
    let status = eventually("end of the daemon", || daemon.try_wait().unwrap()).await;
    let stderr = cafe.console().split_off(before);
    Told { code: status.code().unwrap_or(-1), stdout: String::new(), stderr }
}
