//! The command line from outside: formats, exit codes, help, and the ways it can be cut short.

use std::process::Stdio;

use cafe::types::error::Code;
use cafe::types::state::State;
use serde_json::Value;

use crate::harness::{Cafe, IDLE, Told, is_installed, program, sh, skip, told};

async fn running() -> Cafe {
    let idle = sh(&format!("trap : HUP; echo hello; {IDLE}"));
    let cafe = Cafe::start(&format!(
        r#"services: {{ "web": (command: {idle}, ready: log("^hello"), reload: signal(HUP)), "off": (command: {idle}, start: manual),
            "slow": (command: {idle}, start: manual, ready: delay("1h"), ready_timeout: "2h"),
            "fails": (command: ["/no/such/program"], start: manual, restart: temporary) }},"#,
    ))
    .await;
    // Before it said so, a signal would end it.
    cafe.wait_state("web", State::Ready).await;
    cafe
}

fn run(cafe: &Cafe, arguments: &str) -> Told {
    told(&cafe.cli(&arguments.split_whitespace().collect::<Vec<_>>()))
}

#[tokio::test]
async fn every_verb_answers_in_json() {
    let cafe = running().await;
    for verb in [
        "status",
        "status web",
        "tree",
        "start web",
        "restart web",
        "reload web",
        "reload",
        "kill web -s HUP",
        "wait web --for running",
        "stop web",
        "config check cafe.ron",
        "config diff",
        "config show",
        "explain",
        "explain C021",
        "shutdown --dry-run",
        "stop web --dry-run",
        "reload --dry-run",
    ] {
        let told = run(&cafe, &format!("{verb} -o json"));
        // `status` says with its exit code that something is not well.
        assert!(
            told.code == 0 || (verb.starts_with("status") && told.code == 3),
            "{verb}: {told:?}"
        );
        assert_eq!(told.json()["schema"], 1, "{verb}: {told:?}");
        assert_eq!(told.stdout.lines().count(), 1, "{verb}: a document is a line");
        assert_eq!(run(&cafe, &format!("{verb} --json")).code, told.code, "{verb} --json");
    }
    for stream in ["events --after 0 -n 3", "logs web -n 1"] {
        let told = run(&cafe, &format!("{stream} -o json"));
        told.expect(0, &[]);
        assert!(!told.stdout.is_empty(), "{stream}");
        for line in told.stdout.lines() {
            assert!(serde_json::from_str::<Value>(line).unwrap().is_object(), "{stream}: {line}");
        }
    }
    for none in ["run cafe.ron", "completions bash", "man", ""] {
        let told = run(&cafe, &format!("{none} -o json"));
        let error: Value = serde_json::from_str(&told.expect(2, &["no JSON"]).stderr).unwrap();
        assert_eq!(error["error"]["code"], "C045", "{none}");
    }
    run(&cafe, "shutdown -y -o json").expect(0, &["\"stopped\":true"]);
}

#[rustfmt::skip]
const CODES: &[(&str, i32, &[&str])] = &[
    ("",                                       0, &["Usage: cafe", "Examples:"]),
    ("--help",                                 0, &["Usage: cafe"]),
    ("--version",                              0, &["cafe "]),
    ("status web",                             0, &["web", "ready"]),
    ("status off",                             3, &["stopped"]),
    ("status wbe",                             4, &["C043", "did you mean `web`?"]),
    ("start wbe",                              4, &["cannot start \"wbe\"", "C043", "did you mean `web`?"]),
    ("start web",                              0, &["already ready"]),
    ("start fails --timeout 20s",              1, &["cannot start \"fails\"", "C020", "hint:"]),
    ("start slow --timeout 100ms",             7, &["cannot start \"slow\"", "C044", "100ms"]),
    ("wait slow --timeout 100ms",              7, &["\"slow\" is not ready", "C044", "100ms"]),
    ("wait off --for running --timeout 20s",   3, &["\"off\" is not running", "stopped"]),
    ("wait web --for stopped --timeout 50ms",  7, &["C044"]),
    ("wait nobody",                            4, &["C043"]),
    ("kill off",                               1, &["cannot kill \"off\"", "no process", "C046"]),
    ("kill web -s NOPE",                       2, &["SIGTERM"]),
    ("stop off",                               0, &["already stopped"]),
    ("stop web nobody",                        4, &["C043", "stopped web"]),
    ("frobnicate",                             2, &["frobnicate", "Usage"]),
    ("stauts",                                 2, &["status"]),
    ("start",                                  2, &["NAME"]),
    ("explain C999",                           4, &["C999"]),
    ("config check nowhere.ron",               2, &["C001", "nowhere.ron"]),
    ("config diff nowhere.ron",                2, &["nowhere.ron"]),
    ("shutdown",                               2, &["--yes"]),
    ("--socket nowhere.sock status",           5, &["C040", "nowhere.sock", "hint:", "cafe run"]),
    ("--socket nowhere.sock start web",        5, &["C040"]),
    ("--socket nowhere.sock shutdown -y",      5, &["C040"]),
];

#[tokio::test]
async fn exit_codes_are_those_of_the_table() {
    let cafe = running().await;
    for (arguments, code, says) in CODES {
        let told = run(&cafe, arguments);
        assert_eq!(told.code, *code, "cafe {arguments}: {told:#?}");
        told.expect(*code, says);
        if *code != 0 && *code != 3 {
            assert!(!told.stderr.is_empty(), "cafe {arguments}: errors go to stderr");
        }
    }
    assert_eq!(cafe.service("slow").await.state, State::Starting, "what took too long goes on");
}

#[test]
fn every_code_is_explained() {
    let cafe = Cafe::new("");
    let list = run(&cafe, "explain");
    for code in Code::ALL {
        assert!(list.stdout.contains(code.as_str()), "{code} is listed");
        let page = run(&cafe, &format!("explain {code}"));
        page.expect(0, &[code.as_str(), code.title()]);
        assert!(page.stdout.lines().count() > 3, "{code}: a page says what to do");
        assert_eq!(
            run(&cafe, &format!("explain {}", code.as_str().to_lowercase())).stdout,
            page.stdout
        );
    }
}

#[test]
fn completions_are_programs_of_their_shells() {
    let cafe = Cafe::new("");
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&cafe, &format!("completions {shell}"));
        script.expect(0, &["cafe"]);
        if !is_installed(shell) {
            skip(&format!("{shell} is not installed"));
            continue;
        }
        std::fs::write(cafe.path("completions"), &script.stdout).unwrap();
        let check = program(shell).arg("-n").arg(cafe.path("completions")).output().unwrap();
        assert!(check.status.success() && check.stderr.is_empty(), "{shell}: {check:?}");
    }
    run(&cafe, "completions tcsh").expect(2, &["tcsh"]);
}

#[test]
fn the_manual_is_a_man_page_without_warnings() {
    let cafe = Cafe::new("");
    let page = run(&cafe, "man");
    page.expect(0, &[".TH cafe", "EXIT", "130"]);
    if !is_installed("groff") {
        return skip("groff is not installed");
    }
    std::fs::write(cafe.path("cafe.1"), &page.stdout).unwrap();
    let shown = program("groff")
        .args(["-man", "-ww", "-Tutf8", "-P-cbou"])
        .arg(cafe.path("cafe.1"))
        .output();
    let shown = told(&shown.unwrap());
    assert_eq!(shown.stderr, "");
    for verb in ["cafe status", "cafe wait", "cafe shutdown", "cafe config check"] {
        shown.expect(0, &[verb]);
        assert!(!shown.stdout.contains(&format!("help {}", &verb[5..])), "each verb once");
    }
}

#[tokio::test]
async fn a_reader_that_goes_is_no_error_of_any_verb() {
    let cafe = running().await;
    for verb in
        ["status", "tree", "config show -q", "events --after 0 -n 2", "man", "explain", "--help"]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = cafe.command();
        let told = told(&command.args(verb.split(' ')).stdout(writer).output().unwrap());
        assert_eq!((told.code, told.stderr.as_str()), (0, ""), "{verb}: {told:?}");
    }
    // A full disk is another matter.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let told = told(&cafe.command().args(["config", "show", "-q"]).stdout(full).output().unwrap());
    told.expect(1, &["cannot write", "C052"]);
}

/// Colours on a terminal follow `NO_COLOR`, which an empty value does not set (<https://no-color.org>).
#[tokio::test]
async fn colour_is_for_terminals_and_no_color_has_to_say_something() {
    let cafe = running().await;
    assert!(!run(&cafe, "status").stdout.contains('\x1b'), "into a pipe");
    assert!(run(&cafe, "status --color always").stdout.contains('\x1b'));
    if !is_installed("script") {
        return skip("no terminal without `script`");
    }
    for (variable, coloured) in [(None, true), (Some(""), true), (Some("1"), false)] {
        let mut terminal = program("script");
        let verb = format!("{} status", env!("CARGO_BIN_EXE_cafe"));
        terminal.args(["-qec", &verb, "/dev/null"]).stdin(Stdio::null());
        terminal.env("CAFE_SOCKET", cafe.path("control.sock")).env("TERM", "xterm");
        terminal.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        if let Some(value) = variable {
            terminal.env("NO_COLOR", value);
        }
        let shown = told(&terminal.output().unwrap());
        assert_eq!(shown.stdout.contains('\x1b'), coloured, "NO_COLOR={variable:?}: {shown:?}");
    }
}
