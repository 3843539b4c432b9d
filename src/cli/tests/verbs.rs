//! Every verb against a daemon: what it prints in each format, and how it ends.

use clap::Parser as _;

use crate::cli::arguments::{Arguments, Command, ConfigCommand, Global};
use crate::cli::failure::Failure;
use crate::cli::output::{Captured, Format, Output};
use crate::cli::{Exit, Outcome, act, configs, events, help, logs, look, tree, upgrade};
use crate::net::fake::{Fake, Running};

struct Printed {
    exit: Exit,
    stdout: String,
    stderr: String,
}

/// Runs a line as `cafe` does, with the daemon's socket and both streams replaced.
async fn cafe(running: &Running, line: &str) -> Printed {
    let line = format!("cafe --socket {} {line}", running.path().display());
    let arguments = Arguments::try_parse_from(line.split_whitespace()).expect("parses");
    let (mut output, captured) = Output::captured(arguments.global.format(), true);
    let command = arguments.command.expect("a verb");
    let outcome = run(command, &arguments.global, &mut output).await;
    finished(outcome, &mut output, &captured)
}

fn finished(outcome: Outcome, output: &mut Output, captured: &Captured) -> Printed {
    let exit = outcome.unwrap_or_else(|failure| failure.report(output));
    output.flush().expect("memory takes all");
    Printed { exit, stdout: captured.stdout.text(), stderr: captured.stderr.text() }
}

async fn run(command: Command, global: &Global, output: &mut Output) -> Outcome {
    match command {
        Command::Status(arguments) => look::status(&arguments, global, output).await,
        Command::Tree => tree::tree(global, output).await,
        Command::Events(arguments) => events::events(&arguments, global, output).await,
        Command::Start(arguments) => act::start(&arguments, global, output).await,
        Command::Stop(arguments) => act::stop(&arguments, global, output).await,
        Command::Restart(arguments) => act::restart(&arguments, global, output).await,
        Command::Reload(arguments) => act::reload(&arguments, global, output).await,
        Command::Kill(arguments) => act::kill(&arguments, global, output).await,
        Command::Wait(arguments) => act::wait(&arguments, global, output).await,
        Command::Upgrade(arguments) => upgrade::upgrade(&arguments, global, output).await,
        Command::Shutdown(arguments) => {
            act::confirm_shutdown(global, output)?;
            act::shutdown(&arguments, global, output).await
        }
        Command::Logs(arguments) => logs::logs(&arguments, global, output).await,
        Command::Config(ConfigCommand::Check(arguments)) => configs::check(&arguments, output),
        Command::Config(ConfigCommand::Diff(arguments)) => {
            configs::diff(&arguments, global, output).await
        }
        Command::Config(ConfigCommand::Show) => configs::show(global, output).await,
        Command::Explain(arguments) => help::explain(&arguments, output),
        Command::Completions(arguments) => help::completions(&arguments, output),
        Command::Man => help::man(output),
        Command::Run(_) | Command::Role(_) => output.refuse_json("run").map(|()| Exit::Done),
    }
}

#[tokio::test]
async fn every_verb_honours_json_or_refuses_it() {
    let running = Running::start(Fake::new());
    for line in [
        "status",
        "status web shop",
        "tree",
        "events",
        "start web",
        "start web --dry-run",
        "stop web shop",
        "restart web",
        "reload",
        "reload web",
        "kill web",
        "wait web",
        "shutdown --dry-run",
        "config diff",
        "config show",
        "explain C021",
        "explain",
    ] {
        let printed = cafe(&running, &format!("{line} -o json")).await;
        assert_eq!(printed.stderr, "", "{line}");
        assert!(!printed.stdout.is_empty(), "{line}");
        for document in printed.stdout.lines() {
            let document: serde_json::Value = serde_json::from_str(document).expect(line);
            assert!(document["schema"] == 1 || line == "events", "{line}: {document}");
        }
    }
    for line in ["completions bash", "man", "run"] {
        let printed = cafe(&running, &format!("{line} -o json")).await;
        assert_eq!((printed.exit, printed.stdout.as_str()), (Exit::Usage, ""), "{line}");
        let error: serde_json::Value = serde_json::from_str(&printed.stderr).expect(line);
        assert_eq!(error["error"]["code"], "C045", "{line}");
    }
}

#[tokio::test]
async fn verbs_say_what_changed_and_what_to_run_next() {
    let running = Running::start(Fake::new());
    for (line, expected) in [
        ("start web", "started web (pid 812 -> 912), ready after 420ms; see: cafe logs web\n"),
        ("restart web", "restarted web (pid 812 -> 912), ready after 420ms; see: cafe logs web\n"),
        ("stop unused", "stopped unused after 420ms\n"),
        ("reload web", "reloaded web (pid 812 -> 912), ready\n"),
        ("kill web -s USR1", "sent SIGUSR1 to web (pid 812 -> 912), ready\n"),
        ("start web -o plain", "web\tchanged\tready\t912\tanswered GET /healthz\n"),
        (
            "stop shop --dry-run",
            "would stop db, now running (pid 700)\nwould stop web, now ready (pid 812)\n",
        ),
        ("wait web", "web is ready (pid 812)\n"),
        ("shutdown --dry-run", "would stop 6 services, then cafe\n"),
        ("reload", "+ new (add)\n- old (remove)\n~ web (restart): command, env\n"),
        ("config diff -o plain", "add\tnew\t\nremove\told\t\nrestart\tweb\tcommand,env\n"),
    ] {
        let printed = cafe(&running, line).await;
        assert_eq!((printed.exit, printed.stdout.as_str()), (Exit::Done, expected), "{line}");
    }
}

#[tokio::test]
async fn exits_are_those_of_the_manual_and_the_worst_of_several() {
    let running = Running::start(Fake::new());
    for (line, exit) in [
        ("status", Exit::NotRunning),
        ("status web", Exit::Done),
        ("status shop", Exit::Done),
        ("status unused", Exit::NotRunning),
        ("status broken web", Exit::NotRunning),
        ("status web nope", Exit::NoSuchName),
        ("start web", Exit::Done),
        ("start nope web", Exit::NoSuchName),
        ("start slow", Exit::TimedOut),
        ("start broken web", Exit::Failed),
        ("wait web unused --for stopped", Exit::TimedOut),
        ("wait broken", Exit::NotRunning),
        ("wait slow", Exit::TimedOut),
        ("explain C999", Exit::NoSuchName),
        ("shutdown", Exit::Usage),
    ] {
        let printed = cafe(&running, line).await;
        assert_eq!(printed.exit, exit, "{line}: {}", printed.stderr);
        let silent = matches!(exit, Exit::Done) || line.starts_with("status");
        assert!(silent || !printed.stderr.is_empty(), "{line}");
    }
}

#[tokio::test]
async fn what_fails_is_told_with_its_code_and_what_to_do() {
    let running = Running::start(Fake::new());
    let printed = cafe(&running, "start nope web").await;
    assert_eq!(
        printed.stderr,
        "cafe: cannot start \"nope\": there is no service or group `nope` [C043]\n\
         hint: did you mean `web`?\nhint: cafe explain C043\n"
    );
    assert!(printed.stdout.starts_with("started web"), "the others are done all the same");
    let printed = cafe(&running, "start broken").await;
    assert!(
        printed.stderr.starts_with(
            "cafe: cannot start \"broken\": exited 1 four times in 30s [C052]\nhint: cafe status broken\n"
        ),
        "{}",
        printed.stderr
    );
    let printed = cafe(&running, "status nope -o json").await;
    let error: serde_json::Value = serde_json::from_str(&printed.stderr).expect("JSON");
    assert_eq!(error["error"]["code"], "C043");
}

#[tokio::test]
async fn names_are_acted_on_side_by_side_and_told_in_order() {
    let running = Running::start(Fake::new());
    let names = ["web", "db"].repeat(100).join(" ");
    let printed = cafe(&running, &format!("restart {names}")).await;
    let order: Vec<_> = printed.stdout.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(order.join(" "), names);
    assert_eq!(running.fake.calls().len(), 200);
}

#[tokio::test]
async fn status_of_one_shows_its_last_lines_and_tames_them() {
    let running = Running::start(Fake::new());
    let printed = cafe(&running, "status web").await;
    assert!(
        printed.stdout.contains("  2026-11-20T18:20:01.114Z  ready on 8080\n"),
        "{}",
        printed.stdout
    );
    assert!(printed.stdout.contains("all lines: cafe logs web"));
    assert!(!printed.stdout.contains('\u{1b}'), "{:?}", printed.stdout);
}

#[tokio::test]
async fn status_in_json_is_the_answer_of_the_api_to_the_byte() {
    let running = Running::start(Fake::new());
    let printed = cafe(&running, "status -o json").await;
    let document = serde_json::to_string(&crate::net::fake::status()).expect("serialises");
    assert_eq!(printed.stdout, document + "\n");
}

#[tokio::test]
async fn a_name_and_its_group_show_a_service_once() {
    let running = Running::start(Fake::new());
    let printed = cafe(&running, "status web shop -o plain").await;
    let names: Vec<_> = printed.stdout.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(names, ["web", "db"]);
}

#[tokio::test]
async fn events_come_line_by_line_with_their_gaps() {
    let running = Running::start(Fake::new());
    let printed = cafe(&running, "events --after 0 -n 1 --utc").await;
    assert_eq!(printed.stdout, "2026-11-20 18:20:01.000  cafe: ready\n");
    assert_eq!(printed.stderr, "-- 2 events are missing here --\n");
    let printed = cafe(&running, "events -o plain").await;
    assert_eq!(
        printed.stdout,
        "3\t2026-11-20T18:20:01Z\tcafe: ready\n4\t2026-11-20T18:20:01Z\tcafe: stopping\n"
    );
    let printed = cafe(&running, "events web -o json").await;
    assert_eq!(printed.stdout, "{\"event\":\"gap\",\"missed\":2}\n");
}

#[tokio::test]
async fn shutdown_waits_until_the_daemon_has_gone() {
    let running = Running::start(Fake::new());
    // The fake's event stream ends by itself, as that of a daemon that ends does.
    let printed = cafe(&running, "shutdown --yes -m reboot").await;
    assert_eq!((printed.exit, printed.stdout.as_str()), (Exit::Done, "cafe has stopped\n"));
    assert!(running.fake.calls()[0].ends_with(": shutdown Some(\"reboot\")"));
}

#[tokio::test(start_paused = true)]
async fn shutdown_that_takes_too_long_says_so() {
    let events = crate::net::fake::Events::Silent;
    let running = Running::start(Fake { events, ..Fake::new() });
    let printed = cafe(&running, "shutdown --yes --timeout 5s").await;
    assert_eq!(printed.exit, Exit::TimedOut);
    assert!(printed.stderr.contains("cafe still runs after 5.0s [C044]"), "{}", printed.stderr);
}

#[tokio::test]
async fn without_a_daemon_it_says_how_to_start_one() {
    let mut running = Running::start(Fake::new());
    running.stop().await;
    let printed = cafe(&running, "status").await;
    assert_eq!(printed.exit, Exit::Unreachable);
    assert!(
        printed.stderr.contains("[C040]\nhint: start it with `cafe run`"),
        "{}",
        printed.stderr
    );
}

#[test]
fn a_reader_that_has_gone_is_success() {
    let gone: Failure = std::io::Error::from(std::io::ErrorKind::BrokenPipe).into();
    let (mut output, captured) = Output::captured(Format::Human, true);
    assert_eq!(gone.report(&mut output), Exit::Done);
    assert_eq!(captured.stderr.text(), "");
    let full: Failure = std::io::Error::from(std::io::ErrorKind::StorageFull).into();
    assert_eq!(full.report(&mut output), Exit::Failed);
    assert!(captured.stderr.text().contains("cannot write the output"));
}

/// A daemon whose services have written something.
fn with_logs(directory: &std::path::Path) -> Running {
    for (service, lines) in [
        ("web", "2026-11-20T18:20:01.000001Z o one\n2026-11-20T18:20:03.000001Z e tw\u{1b}o\n"),
        ("db", "2026-11-20T18:20:02.000001Z o between\n"),
        ("gone", "2026-11-20T18:20:04.000001Z c removed\n"),
    ] {
        let logs = directory.join("logs").join(service);
        std::fs::create_dir_all(&logs).expect("made");
        std::fs::write(logs.join("current"), lines).expect("written");
    }
    let fake = Fake::new();
    let state_dir = directory.to_string_lossy().into_owned();
    fake.status.lock().expect("not poisoned").daemon.state_dir = state_dir;
    Running::start(fake)
}

#[tokio::test]
async fn logs_are_merged_by_time_and_chosen_by_flags() {
    let directory = tempfile::tempdir().expect("temp dir");
    let running = with_logs(directory.path());
    let one = "2026-11-20 18:20:01.000 web one\n";
    let between = "2026-11-20 18:20:02.000 db  between\n";
    let two = "2026-11-20 18:20:03.000 web e tw\u{1b}o\n";
    for (line, expected) in [
        ("logs web db", format!("{one}{between}{two}")),
        ("logs shop", format!("{one}{between}{two}")),
        ("logs shop -n 1", two.to_owned()),
        ("logs shop -g ^b", between.to_owned()),
        ("logs shop -g ^b --invert", format!("{one}{two}")),
        ("logs shop --stderr", two.to_owned()),
        ("logs shop --since 2026-11-20T18:20:02Z --until 2026-11-20T18:20:03Z", between.to_owned()),
        ("logs web --no-prefix -n 1", two.replace("web ", "")),
        ("logs gone", "2026-11-20 18:20:04.000 cafe: removed\n".to_owned()),
        ("logs web -o plain -n 1", "2026-11-20T18:20:03.000001Z\tweb\tstderr\ttw\u{1b}o\n".to_owned()),
        (
            "logs db -o json",
            "{\"t\":\"2026-11-20T18:20:02.000001Z\",\"service\":\"db\",\"stream\":\"stdout\",\"line\":\"between\"}\n"
                .to_owned(),
        ),
    ] {
        let printed = cafe(&running, &format!("{line} --utc")).await;
        assert_eq!((printed.exit, printed.stdout), (Exit::Done, expected), "{line}");
    }
    for name in ["nope", "../web", "A"] {
        let printed = cafe(&running, &format!("logs {name}")).await;
        assert_eq!((printed.exit, printed.stdout.as_str()), (Exit::NoSuchName, ""), "{name}");
    }
}

#[tokio::test]
async fn a_follow_prints_what_comes() {
    use std::io::Write as _;
    let directory = tempfile::tempdir().expect("temp dir");
    let running = with_logs(directory.path());
    let line = format!("cafe --socket {} logs -f db --utc", running.path().display());
    let arguments = Arguments::try_parse_from(line.split_whitespace()).expect("parses");
    let (mut output, captured) = Output::captured(Format::Human, true);
    let command = arguments.command.expect("a verb");
    let append = async {
        captured.stdout.shows("between\n").await;
        let current = directory.path().join("logs/db/current");
        let mut file = std::fs::File::options().append(true).open(current).expect("opens");
        file.write_all(b"2026-11-20T18:20:09.000001Z o later\n").expect("written");
        captured.stdout.shows("later\n").await;
    };
    tokio::select! {
        outcome = run(command, &arguments.global, &mut output) => panic!("ended: {outcome:?}"),
        () = append => {}
    }
}

#[tokio::test]
async fn config_check_needs_no_daemon_and_tells_all_errors() {
    let mut running = Running::start(Fake::new());
    running.stop().await;
    let directory = tempfile::tempdir().expect("temp dir");
    let file = directory.path().join("cafe.ron");
    std::fs::write(&file, "Cafe(services: { \"web\": (command: [\"true\"]) })").expect("written");
    let line = format!("config check {}", file.display());
    let printed = cafe(&running, &line).await;
    let expected = format!("{}: no errors (services: 1, groups: 0)\n", file.display());
    assert_eq!((printed.exit, printed.stdout), (Exit::Done, expected));
    let wrong = "Cafe(services: { \"web\": (comand: [\"true\"]), \"db\": (command: [], nope: 1) })";
    std::fs::write(&file, wrong).expect("written");
    let printed = cafe(&running, &line).await;
    assert_eq!((printed.exit, printed.stdout.as_str()), (Exit::Usage, ""));
    assert!(printed.stderr.contains("C003") && printed.stderr.contains('^'), "{}", printed.stderr);
    let printed = cafe(&running, &format!("{line} -o json")).await;
    let document: serde_json::Value = serde_json::from_str(&printed.stdout).expect("JSON");
    assert_eq!((printed.exit, &document["ok"]), (Exit::Usage, &serde_json::Value::Bool(false)));
    assert!(document["errors"].as_array().is_some_and(|errors| errors.len() >= 2), "{document}");
    let printed = cafe(&running, &format!("{line} -o plain")).await;
    let columns = |line: &str| line.split('\t').count();
    assert!(printed.stdout.lines().all(|line| columns(line) == 5), "{}", printed.stdout);
}
