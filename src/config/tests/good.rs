//! What is accepted, and what it means.

use std::path::Path;
use std::time::Duration;

use super::super::{
    Kind, OnUnhealthy, Overlap, Probe, Ready, Reload, Schedule, Start, defaults, load, parse_cron,
    show,
};
use super::{environment, errors, loaded, service, service_error};
use crate::types::policy::{AutoShutdown, OnFull, OnLimit, Restart, Strategy};

#[test]
fn the_example_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cafe.ron");
    let config = load(&path, &environment).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.services["clock"].env["GREETING"], "hello from 5 seconds");
    assert_eq!(config.services["clock"].cwd, Path::new(env!("CARGO_MANIFEST_DIR")).join("."));
    assert_eq!(config.groups["shop"].strategy, Strategy::RestForOne);
    assert!(config.services.values().any(|service| service.kind == Kind::Oneshot));
}

#[test]
fn an_empty_config_has_the_defaults() {
    let config = loaded("Cafe()");
    assert!(config.services.is_empty() && config.groups.is_empty());
    assert_eq!(config.daemon.control.socket, defaults::socket(&environment));
    assert_eq!(config.daemon.state_dir, defaults::state_dir(&environment));
    assert!(config.daemon.parallel_starts >= 4);
    assert_eq!((config.daemon.logs.max_total, config.daemon.logs.min_free_percent), (1 << 30, 10));
    assert!(config.daemon.cgroups && !config.daemon.control.public);
}

#[test]
fn a_bare_service_has_the_defaults() {
    let service = service("");
    assert_eq!(service.command, ["true"]);
    assert_eq!(service.cwd, Path::new("/srv/app"));
    assert_eq!(
        (service.start, service.kind, service.restart),
        (Start::Auto, Kind::Daemon, Restart::Permanent)
    );
    assert_eq!(service.backoff.max, Duration::from_secs(30));
    assert_eq!((service.intensity.restarts, service.intensity.then), (5, OnLimit::Hold));
    assert_eq!((service.stop.signal, service.stop.timeout), (15, Duration::from_secs(10)));
    assert_eq!(service.reload, Reload::Restart);
    assert_eq!(
        (service.log.max_file, service.log.keep, service.log.on_full),
        (10 << 20, 10, OnFull::Block)
    );
}

#[test]
fn every_field_of_a_service() {
    let service = service(
        r#"cwd: "work", user: "www-data", group: "33", env: { "A": "1" }, umask: "027", nice: -5, start: manual,
        capabilities: ["NET_BIND_SERVICE", "CAP_KILL"], no_new_privs: true,
        ready: http("http://localhost:8080?q=1"), ready_timeout: "5s",
        health: (probe: tcp("[::1]:80"), every: "1s", timeout: "500ms", failures: 2, grace: "3s", action: mark),
        restart: transient, backoff: (min: "0s", max: "0s", reset_after: "1s"),
        intensity: (restarts: 0, within: "1s", then: give_up),
        on_give_up: (command: ["mail", "me"], timeout: "1s"), stop: (signal: QUIT, timeout: "0s"),
        reload: signal(HUP), log: (max_file: "1MiB", keep: 0, on_full: drop),
        limits: (memory_high: "1MiB", memory_max: "2MiB", cpu_weight: 100, cpu_percent: 150, tasks_max: 64,
                 nofile: 4096, nproc: unlimited, core: unlimited, address_space: "1GiB", file_size: "1kB",
                 memlock: "0B")"#,
    );
    assert_eq!(service.cwd, Path::new("/srv/app/work"));
    assert_eq!((service.user.as_deref(), service.group.as_deref()), (Some("www-data"), Some("33")));
    assert_eq!(
        (service.umask, service.nice, service.start),
        (Some(0o027), Some(-5), Start::Manual)
    );
    assert_eq!(
        (service.capabilities.map(|set| set.to_string()), service.no_new_privs),
        (Some("KILL NET_BIND_SERVICE".to_owned()), true)
    );
    let Some(Ready::Probe(probe)) = &service.ready else { panic!() };
    let Probe::Http { address, host, path } = &**probe else { panic!() };
    assert_eq!(
        (address.to_string().as_str(), host.as_str(), path.as_str()),
        ("127.0.0.1:8080", "localhost:8080", "/?q=1")
    );
    let health = service.health.as_ref().expect("health");
    assert_eq!(health.probe, Probe::Tcp("[::1]:80".parse().expect("an address")));
    assert_eq!((health.failures, health.action), (2, OnUnhealthy::Mark));
    assert_eq!(service.intensity.then, OnLimit::GiveUp);
    assert_eq!(service.on_give_up.as_ref().expect("a hook").command, ["mail", "me"]);
    assert_eq!((service.stop.signal, service.reload), (3, Reload::Signal(1)));
    assert_eq!((service.limits().nproc, service.limits().file_size), (Some(u64::MAX), Some(1_000)));
}

#[test]
fn kinds_and_timers() {
    assert_eq!(service("kind: oneshot").restart, Restart::Temporary);
    assert!(service("overlap: true").overlap && !service("").overlap);
    let cron = service("kind: timer(\"*/5 * * * *\"), overlap: queue");
    let schedule = Schedule::Cron("*/5 * * * *".to_owned());
    assert_eq!(cron.kind, Kind::Timer { schedule, overlap: Overlap::Queue });
    let every = service("kind: timer(\"every 1h30m\")");
    let schedule = Schedule::Every(Duration::from_secs(5_400));
    assert_eq!(every.kind, Kind::Timer { schedule, overlap: Overlap::Skip });
    assert!(parse_cron("0 30 9 * * MON-FRI").is_ok(), "six fields begin with seconds");
    assert!(parse_cron("0 0 0 1 1 * 2030").is_err(), "years are not possible");
}

#[test]
fn signals_by_any_name() {
    for (text, number) in [("TERM", 15), ("SIGTERM", 15), ("\"INT\"", 2), ("9", 9), ("34", 34)] {
        assert_eq!(service(&format!("stop: (signal: {text})")).stop.signal, number);
    }
}

#[test]
fn the_forms_of_ron_are_understood() {
    let config = loaded(
        "#![enable(implicit_some)]\n/* a /* nested */ comment */ Cafe( // and another\n services: {\n
            r#\"web\"#: ( /* before */ command: [\"a\", r\"b\\\", ] /* after */, user: None, group: Some(\"33\"),
            cwd: \"/t\\u{61}\", // \"not: a field\"
            nice: 0x5, ), }, ) // end",
    );
    let service = &config.services["web"];
    assert_eq!(service.command, ["a", "b\\"]);
    assert_eq!((service.user.as_deref(), service.group.as_deref()), (None, Some("33")));
    assert_eq!((service.cwd.as_path(), service.nice), (Path::new("/ta"), Some(5)));
    loaded("\u{feff}Cafe()\r\n");
}

#[test]
fn groups_and_daemon() {
    let config = loaded(
        r#"Cafe(services: { "a": (command: ["a"], restart: transient, significant: true), "b": (command: ["b"]) },
            groups: { "g": (strategy: one_for_all, services: ["a", "b"], auto_shutdown: all_significant) },
            control: (socket: "run/s", group: "cafe", public: true), state_dir: "state", parallel_starts: 3,
            logs: (max_total: "2GiB", min_free: "5%"), cgroups: false)"#,
    );
    let group = &config.groups["g"];
    assert_eq!(
        (group.strategy, group.auto_shutdown),
        (Strategy::OneForAll, AutoShutdown::AllSignificant)
    );
    assert_eq!((group.intensity.restarts, group.intensity.then), (3, OnLimit::GiveUp));
    assert_eq!(config.daemon.control.socket, Path::new("/srv/app/run/s"));
    assert_eq!(config.daemon.state_dir, Path::new("/srv/app/state"));
    assert_eq!((config.daemon.parallel_starts, config.daemon.cgroups), (3, false));
    assert_eq!(config.daemon.logs.min_free_percent, 5);
}

#[test]
fn variables_are_replaced_in_every_string() {
    let config = loaded(
        r#"Cafe(services: { "web": (command: ["${PROGRAM}", "$${HOME}", "$HOME $$ $", "${env:HOME}/x"],
            cwd: "${BASE}", ready: tcp("127.0.0.1:${PORT}"), stop: (timeout: "${PATIENCE}"), after: ["${DB}"]),
            "db": (command: ["db"]) },
            env: { "PROGRAM": "${BASE}/bin", "BASE": "/opt/${NAME}", "NAME": "app", "PORT": "80",
                   "PATIENCE": "3s", "DB": "db", "LITERAL": "$${x}" })"#,
    );
    let service = &config.services["web"];
    assert_eq!(service.command, ["/opt/app/bin", "${HOME}", "$HOME $$ $", "/home/ada/x"]);
    assert_eq!(service.cwd, Path::new("/opt/app"));
    assert_eq!(service.stop.timeout, Duration::from_secs(3));
    assert_eq!(service.after[0].as_str(), "db");
}

#[test]
fn undefined_variables_say_what_to_do() {
    for (value, expected) in [
        ("${NO}", "C009 variable `NO` is not defined (define it in the top-level `env`)"),
        (
            "${HOME}",
            "C009 variable `HOME` is not defined (it is in the environment of cafe: write `${env:HOME}`)",
        ),
        ("${env:NO}", "C009 `NO` is not in the environment of cafe"),
        (
            "${vault:x}",
            "C009 `vault:x` is not a variable (use `${NAME}`, `${env:NAME}` or `${file:/path}`)",
        ),
        ("${NO", "C004 a variable has no end (end it with `}`, or write `$${` for a literal `${`)"),
    ] {
        assert_eq!(service_error(&format!("cwd: \"{value}\"")), expected);
    }
}

#[test]
fn variables_that_use_each_other_in_a_circle_or_grow_without_end_are_refused() {
    let list = errors("Cafe(env: { \"A\": \"${B}\", \"B\": \"${C}\", \"C\": \"${A}\" })");
    assert_eq!(list, ["C004 1:18 variable `A` uses itself: A -> B -> C -> A"]);
    let doubling: String =
        (1..40).map(|n| format!("\"V{n}\": \"${{V{0}}}${{V{0}}}\",", n - 1)).collect();
    let list = errors(&format!("Cafe(env: {{ \"V0\": \"0123456789\", {doubling} }})"));
    assert!(list[0].contains("variables grow to more than 16 MiB"), "{list:?}");
    let chain: String = (1..5_000).map(|n| format!("\"V{n}\": \"${{V{}}}\",", n + 1)).collect();
    let list = errors(&format!("Cafe(env: {{ {chain} \"V5000\": \"\" }})"));
    assert!(list[0].contains("deep"), "{list:?}");
}

#[test]
fn secrets_reach_env_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "s3cr3t\n").expect("a file");
    let file = file.display();
    let text = |field: &str| {
        format!("Cafe(env: {{ \"TOKEN\": \"${{file:{file}}}\", \"URL\": \"x:${{TOKEN}}@y\" }}, services: {{
            \"web\": (command: [\"x\"], env: {{ \"URL\": \"${{URL}}\", \"T\": \"${{file:{file}}}\", \"P\": \"1\" }}, {field}) }})")
    };
    let config = loaded(&text(""));
    let service = &config.services["web"];
    assert_eq!((service.env["URL"].as_str(), service.env["T"].as_str()), ("x:s3cr3t@y", "s3cr3t"));
    assert_eq!(service.secrets, ["T", "URL"]);
    let shown = show(&config).to_string();
    assert!(
        shown.contains("\"***\"") && shown.contains("\"P\":\"1\"") && !shown.contains("s3cr3t"),
        "{shown}"
    );
    for field in [
        "cwd: \"${URL}\"",
        "ready: log(\"${TOKEN}\")",
        "on_give_up: (command: [\"a\", \"${TOKEN}\"])",
    ] {
        let problems = super::try_load(&text(field)).expect_err(field);
        assert!(
            problems.to_string().contains("a secret file may only be used in `env`"),
            "{problems}"
        );
        assert!(!problems.to_string().contains("s3cr3t"), "{problems}");
    }
}

#[test]
fn an_unreadable_secret_is_an_error() {
    let error = service_error("env: { \"A\": \"${file:/does/not/exist}\" }");
    assert!(error.starts_with("C009 cannot read the secret file `/does/not/exist`: "), "{error}");
    let error = service_error("env: { \"A\": \"${file:/dev/zero}\" }");
    assert!(error.ends_with("it is not a regular file"), "{error}");
}

#[test]
fn the_resolved_config_is_in_the_words_of_the_file() {
    let config = loaded(
        r#"Cafe(services: { "web": (command: ["x"], ready: log("a\"b"), stop: (signal: 34, timeout: "1500ms"),
        limits: (core: unlimited)), "tick": (command: ["x"], kind: timer("every 90s")) },
        groups: { "g": (services: ["web"]) })"#,
    );
    let shown = show(&config);
    let web = &shown["services"]["web"];
    assert_eq!(web["ready"], r#"log("a\"b")"#);
    assert_eq!((&web["stop"]["signal"], &web["stop"]["timeout"]), (&"34".into(), &"1500ms".into()));
    assert_eq!((&web["limits"]["core"], &web["member_of"]), (&"unlimited".into(), &"g".into()));
    assert_eq!(shown["services"]["tick"]["kind"], r#"timer("every 90s")"#);
    assert_eq!(shown["schema"], 1);
}
