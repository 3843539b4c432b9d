//! Reload: only what changed is touched, by whatever way the file changes; what fails changes nothing.

use std::collections::BTreeMap;
use std::io::Write as _;

use cafe::net::control::{Notice, Plan, Verb};
use cafe::types::event::Kind;
use cafe::types::state::State;
use nix::sys::signal::Signal;

use crate::harness::{Cafe, DEADLINE, IDLE, kill, sh, told};

/// Process of each service that has one.
type Pids = BTreeMap<String, u32>;

/// Services that only wait, each with what stands behind its command.
fn services(list: &[(&str, &str)]) -> String {
    let command = sh(IDLE);
    let one = |(name, more): &(&str, &str)| format!("{name:?}: (command: {command}, {more}),");
    format!("services: {{ {} }},", list.iter().map(one).collect::<String>())
}

async fn running(list: &[(&str, &str)]) -> Cafe {
    let cafe = Cafe::start(&services(list)).await;
    settled(&cafe, list.len()).await;
    cafe
}

/// Waits until so many services are there, and all of them run.
async fn settled(cafe: &Cafe, count: usize) -> Pids {
    let all = |status: &cafe::types::status::Status| {
        let pids: Pids = status
            .services
            .iter()
            .filter(|service| service.state == State::Running)
            .filter_map(|service| Some((service.name.to_string(), service.pid?)))
            .collect();
        (status.services.len() == count && pids.len() == count).then_some(pids)
    };
    cafe.wait_for(&format!("{count} services running"), all).await
}

/// Changes the config in some way and returns the summary of the event that says it is in force.
async fn changed(cafe: &Cafe, change: impl FnOnce()) -> String {
    outcome(cafe, true, change).await
}

async fn refused(cafe: &Cafe, change: impl FnOnce()) -> String {
    outcome(cafe, false, change).await
}

async fn outcome(cafe: &Cafe, wanted: bool, change: impl FnOnce()) -> String {
    let mut events = cafe.client.events(None).await.unwrap();
    change();
    let told = async {
        loop {
            if let Some(Notice::Event(event)) = events.next().await.unwrap()
                && let Kind::Config { applied, summary } = event.kind
            {
                assert_eq!(applied, wanted, "{summary}");
                return summary;
            }
        }
    };
    tokio::time::timeout(DEADLINE, told).await.expect("the daemon tells of its config")
}

/// Which of the services that were and are have another process now.
fn restarted(before: &Pids, after: &Pids) -> Vec<String> {
    let other = |(name, pid): &(&String, &u32)| after.get(*name).is_some_and(|now| now != *pid);
    before.iter().filter(other).map(|(name, _)| name.clone()).collect()
}

#[tokio::test]
async fn only_the_changed_service_restarts_however_the_file_is_written() {
    let list = |value: &str| {
        let env = format!(r#"env: {{ "V": {value:?} }}"#);
        services(&[("a", ""), ("b", &env), ("c", "")])
    };
    let cafe = Cafe::start(&list("0")).await;
    let mut before = settled(&cafe, 3).await;
    type Way<'w> = (&'static str, &'w dyn Fn(&str));
    let ways: [Way; 3] = [
        ("rename", &|sections| cafe.configure(sections)),
        ("plain write", &|sections| {
            // In two writes with the file cut short between them, as `cp` and some editors do.
            let text = cafe.config_text("", sections);
            let mut file = std::fs::File::create(cafe.path("cafe.ron")).unwrap();
            let (head, tail) = text.split_at(text.len() / 2);
            file.write_all(head.as_bytes()).unwrap();
            file.write_all(tail.as_bytes()).unwrap();
        }),
        ("symlink swap", &|sections| {
            let text = cafe.config_text("", sections);
            std::fs::write(cafe.path("real.ron"), text).unwrap();
            std::os::unix::fs::symlink("real.ron", cafe.path("link")).unwrap();
            std::fs::rename(cafe.path("link"), cafe.path("cafe.ron")).unwrap();
        }),
    ];
    for (way, write) in ways {
        let summary = changed(&cafe, || write(&list(way))).await;
        assert_eq!(summary, "restart b", "{way}");
        let now = cafe.wait_service("b", "again", |b| {
            b.state == State::Running && b.pid != before.get("b").copied()
        });
        now.await;
        let after = settled(&cafe, 3).await;
        assert_eq!(restarted(&before, &after), ["b"], "{way}");
        before = after;
    }
    // What the link leads to is watched, too.
    let summary = changed(&cafe, || {
        std::fs::write(cafe.path("real.ron"), cafe.config_text("", &list("behind the link")))
            .unwrap();
    });
    assert_eq!(summary.await, "restart b");
}

#[tokio::test]
async fn an_included_file_that_comes_and_goes_is_a_service_that_does() {
    let include = r#"include: ["conf.d/*.ron"],"#;
    let cafe = Cafe::new(&format!("{include}{}", services(&[("a", "")])));
    std::fs::create_dir(cafe.path("conf.d")).unwrap();
    let mut cafe = cafe;
    cafe.boot().await;
    let before = settled(&cafe, 1).await;
    let file = cafe.path("conf.d/b.ron");
    let text = format!("Cafe({})", services(&[("b", "")]));
    assert_eq!(changed(&cafe, || std::fs::write(&file, text).unwrap()).await, "add b");
    let both = settled(&cafe, 2).await;
    assert_eq!(restarted(&before, &both), [""; 0]);
    assert_eq!(changed(&cafe, || std::fs::remove_file(&file).unwrap()).await, "remove b");
    assert_eq!(settled(&cafe, 1).await, before);
    assert_eq!(cafe.processes().len(), 1);
}

#[tokio::test]
async fn what_the_plan_says_is_what_the_reload_does() {
    let old =
        [("kept", ""), ("policy", ""), ("moved", ""), ("gone", ""), ("renamed", ""), ("env", "")];
    let new = [
        ("kept", ""),
        ("policy", r#"backoff: (min: "1s", max: "2s"), stop: (timeout: "3s"), restart: transient"#),
        ("moved", ""),
        ("name", ""),
        ("env", r#"env: { "A": "1" }"#),
        ("fresh", ""),
    ];
    let group = |members: &str| {
        format!(r#"groups: {{ "g": (strategy: one_for_one, services: [{members}]) }},"#)
    };
    let cafe = Cafe::start(&(services(&old) + &group(r#""kept""#))).await;
    let before = settled(&cafe, 6).await;
    let sections = services(&new) + &group(r#""kept", "moved""#);

    std::fs::write(cafe.path("next.ron"), cafe.config_text("", &sections)).unwrap();
    let planned = told(&cafe.cli(&["config", "diff", "next.ron", "-o", "json"]));
    let plan: Plan = serde_json::from_str(&planned.expect(0, &[]).stdout).unwrap();
    assert_eq!(cafe.service("env").await.pid, before.get("env").copied(), "a plan does nothing");
    let dry = told(&cafe.cli(&["reload", "--dry-run"]));
    dry.expect(0, &[]);

    changed(&cafe, || cafe.configure(&sections)).await;
    cafe.wait_service("env", "again", |env| {
        env.pid.is_some() && env.pid != before.get("env").copied()
    })
    .await;
    cafe.wait_service("moved", "again", |moved| {
        moved.pid.is_some() && moved.pid != before.get("moved").copied() && moved.group.is_some()
    })
    .await;
    let after = settled(&cafe, 6).await;
    let steps = |action: &str| {
        let steps = plan.steps.iter().filter(|step| step.action == action);
        let mut names: Vec<String> = steps.map(|step| step.name.clone()).collect();
        names.sort();
        names
    };
    let only = |ours: &Pids, theirs: &Pids| {
        ours.keys().filter(|name| !theirs.contains_key(*name)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(steps("restart"), restarted(&before, &after));
    assert_eq!(steps("restart"), ["env", "moved"]);
    assert_eq!(steps("add"), only(&after, &before));
    assert_eq!(steps("remove"), only(&before, &after));
    assert_eq!(steps("apply"), ["g", "policy"]);
    let nothing = told(&cafe.cli(&["config", "diff", "-o", "json"])).expect(0, &[]).json();
    assert_eq!(nothing["steps"], serde_json::json!([]), "after the reload nothing differs");
}

#[tokio::test]
async fn groups_come_go_and_change_without_a_restart_of_their_members_neighbours() {
    let list = [("a", ""), ("b", ""), ("c", "")];
    let group = |strategy: &str, members: &str| {
        format!(
            r#"{} groups: {{ "g": (strategy: {strategy}, services: [{members}]) }},"#,
            services(&list)
        )
    };
    let cafe = Cafe::start(&group("one_for_one", r#""a", "b""#)).await;
    let before = settled(&cafe, 3).await;
    changed(&cafe, || cafe.configure(&group("one_for_all", r#""a", "b""#))).await;
    assert_eq!(settled(&cafe, 3).await, before, "a strategy is live");
    // And it is the strategy in force.
    kill(before["a"], Signal::SIGKILL);
    let all = cafe.wait_for("both again", |status| {
        let pid = |name: &str| {
            let found = status.services.iter().find(|service| service.name.as_str() == name)?;
            found.pid.filter(|pid| found.state == State::Running && *pid != before[name])
        };
        Some((pid("a")?, pid("b")?))
    });
    all.await;
    assert_eq!(cafe.service("c").await.pid, before.get("c").copied());
    changed(&cafe, || cafe.configure(&services(&list))).await;
    cafe.wait_for("no group", |status| status.groups.is_empty().then_some(())).await;
    let after = settled(&cafe, 3).await;
    assert_eq!(after["c"], before["c"]);
}

#[tokio::test]
async fn a_config_that_fails_changes_nothing_and_is_shown_until_it_is_right() {
    let cafe = running(&[("a", ""), ("b", "")]).await;
    let before = settled(&cafe, 2).await;
    let revision = cafe.status().await.daemon.config_revision;
    let broken = services(&[("a", r#"restrat: never"#)]);
    let summary = refused(&cafe, || cafe.configure(&broken)).await;
    assert!(summary.contains("C003") && summary.contains("restrat"), "{summary}");
    let status = cafe.status().await;
    assert_eq!(status.daemon.config_revision, revision);
    assert!(status.daemon.config_error.is_some_and(|error| error.contains("restrat")));
    assert_eq!(settled(&cafe, 2).await, before);
    told(&cafe.cli(&["status"])).expect(0, &["restrat"]);
    told(&cafe.cli(&["reload"])).expect(2, &["C003", "restrat"]);
    let good = services(&[("a", ""), ("b", "")]);
    changed(&cafe, || cafe.configure(&good)).await;
    assert_eq!(cafe.status().await.daemon.config_error, None);
    assert_eq!(settled(&cafe, 2).await, before);
}

#[tokio::test]
async fn a_hang_up_and_the_verb_reload_read_the_file() {
    let cafe = running(&[("a", "")]).await;
    let hang_up = || {
        cafe.configure(&services(&[("a", ""), ("b", "")]));
        kill(cafe.pid(), Signal::SIGHUP);
    };
    assert_eq!(changed(&cafe, hang_up).await, "add b");
    settled(&cafe, 2).await;
    cafe.configure(&services(&[("a", ""), ("b", ""), ("c", "")]));
    told(&cafe.cli(&["reload"])).expect(0, &[]);
    settled(&cafe, 3).await;
}

#[tokio::test]
async fn a_reload_while_services_start_and_stop_ends_in_the_new_config() {
    let slow = r#"ready: delay("300ms"), stop: (timeout: "300ms")"#;
    let deaf = sh(&format!("trap '' TERM; {IDLE}"));
    let cafe = Cafe::start(&format!(
        r#"services: {{ "deaf": (command: {deaf}, {slow}), "slow": (command: {}, {slow}) }},"#,
        sh(IDLE)
    ))
    .await;
    for round in 0..6 {
        let env = format!(r#"{slow}, env: {{ "ROUND": "{round}" }}"#);
        let extra = format!("extra{round}");
        cafe.configure(&services(&[("slow", &env), (&extra, slow), ("deaf", &env)]));
        told(&cafe.cli(&["reload"])).expect(0, &[]);
        let verb = if round % 2 == 0 { Verb::Restart } else { Verb::Stop };
        // Its outcome is of no interest: it is in the way.
        let _ = cafe.client.act(verb, "slow", None, std::time::Duration::ZERO).await;
    }
    cafe.act(Verb::Start, "slow").await;
    let names = ["deaf", "extra5", "slow"];
    cafe.wait_for("the last config", |status| {
        let ready = status.services.iter().filter(|service| service.state == State::Ready);
        let ready: Vec<_> = ready.map(|service| service.name.as_str()).collect();
        (ready == names && status.services.len() == 3).then_some(())
    })
    .await;
    let environment = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    for name in ["deaf", "slow"] {
        let pid = cafe.service(name).await.pid.unwrap();
        assert!(environment(pid).contains("ROUND=5\0"), "{name} runs an older config");
    }
    assert_eq!(cafe.processes().len(), 3, "{:?}", cafe.processes());
}
