//! What people, scripts and programs see, from fixed data.

use insta::assert_snapshot;
use jiff::Timestamp;

use crate::cli::style::Paint;
use crate::cli::{look, tree};
use crate::net::fake;
use crate::types::capability::Capabilities;
use crate::types::status::Privileges;

const PLAIN: Paint = Paint { coloured: false, unicode: true };
const ASCII: Paint = Paint { coloured: false, unicode: false };
const COLOURED: Paint = Paint { coloured: true, unicode: true };

fn now() -> Timestamp {
    "2026-11-20T18:20:01Z".parse().expect("a time")
}

#[test]
fn overview() {
    assert_snapshot!(look::overview(&fake::status(), PLAIN), @r#"
    cafe 0.1.0, up 2d 4h: 6 services: 1 failed, 1 backoff, 1 starting, 1 running, 1 ready, 1 stopped
       NAME    STATE     FOR     PID  RESTARTS  CPU   MEMORY  REASON
    ✗  broken  failed    4h 20m       4                       exited 1 four times in 30s
    ●  db      running   4h 20m  700            1.2%  84MiB   no readiness check is configured
    ↻  retry   backoff   4h 20m                               exited 1, next try in 16s
    ↻  slow    starting  4h 20m  900            1.2%  84MiB   waits for tcp 127.0.0.1:9
    ○  unused  stopped   4h 20m                               never started
    ●  web     ready     4h 20m  812  1         1.2%  84MiB   answered GET /healthz
    "#);
}

#[test]
fn overview_in_ascii() {
    assert_snapshot!(look::overview(&fake::status(), ASCII), @r#"
    cafe 0.1.0, up 2d 4h: 6 services: 1 failed, 1 backoff, 1 starting, 1 running, 1 ready, 1 stopped
          NAME    STATE     FOR     PID  RESTARTS  CPU   MEMORY  REASON
    [!!]  broken  failed    4h 20m       4                       exited 1 four times in 30s
    [ok]  db      running   4h 20m  700            1.2%  84MiB   no readiness check is configured
    [..]  retry   backoff   4h 20m                               exited 1, next try in 16s
    [..]  slow    starting  4h 20m  900            1.2%  84MiB   waits for tcp 127.0.0.1:9
    [--]  unused  stopped   4h 20m                               never started
    [ok]  web     ready     4h 20m  812  1         1.2%  84MiB   answered GET /healthz
    "#);
}

#[test]
fn overview_of_nothing_and_of_trouble() {
    let mut status = fake::status();
    status.services.truncate(1);
    status.daemon.config_error = Some("cafe.ron:3:5: unknown field `x`\u{1b}[2J\nfoo".into());
    status.daemon.stopping = true;
    status.daemon.logs_stalled_ms = Some(61_000);
    assert_snapshot!(look::overview(&status, PLAIN), @r#"
    cafe 0.1.0, up 2d 4h: 1 service: 1 failed
    cafe is stopping
    no log is written: a file system hangs for 1m 1s
    config on disk refused: cafe.ron:3:5: unknown field `x`\u{1b}[2J
      foo
       NAME    STATE   FOR     PID  RESTARTS  CPU  MEMORY  REASON
    ✗  broken  failed  4h 20m       4                      exited 1 four times in 30s
    "#);
    status.services.clear();
    status.daemon.config_error = None;
    status.daemon.stopping = false;
    status.daemon.logs_stalled_ms = None;
    assert_snapshot!(look::overview(&status, PLAIN), @r#"cafe 0.1.0, up 2d 4h: 0 services"#);
}

#[test]
fn what_the_daemon_may_do() {
    let mut status = fake::status();
    status.services.clear();
    let set = Capabilities::from_bits;
    let mut line = |held, for_services, dropped| {
        let (held, for_services, dropped) = (set(held), set(for_services), set(dropped));
        let bounding = set(0b11);
        let bounding_dropped = set(0);
        let privileges = Privileges { held, for_services, bounding, dropped, bounding_dropped };
        status.daemon.privileges = Some(privileges);
        look::overview(&status, PLAIN).lines().skip(1).collect::<String>()
    };
    assert_eq!(line(0, 0, 0), "", "an ordinary user");
    assert_eq!(line(0b10_0001, 0b10_0001, 0b10), "privileges: CHOWN KILL, 1 given up");
    assert_eq!(line(1, 0b11, 0b10), "privileges: CHOWN, 1 given up, all for services as root");
    assert_eq!(line(0, 0, 0b111), "privileges: none, 3 given up");
    assert_eq!(line(0b11, 0b11, 0), "privileges: all");
    assert_eq!(line(1, 1, 0), "privileges: CHOWN", "just what it needs");
}

#[test]
fn colours_go_around_words_and_end() {
    let text = look::overview(&fake::status(), COLOURED);
    assert!(text.contains("\u{1b}[1m\u{1b}[31mfailed\u{1b}[0m"), "{text:?}");
    let stripped = anstream::adapter::strip_str(&text).to_string();
    assert_eq!(stripped, look::overview(&fake::status(), PLAIN));
}

#[test]
fn records() {
    assert_snapshot!(look::records(&fake::status().services), @r#"
    broken	failed	-	0	4	0.0	0	exited 1 four times in 30s
    db	running	700	15601000	0	1.2	88080384	no readiness check is configured
    retry	backoff	-	0	0	0.0	0	exited 1, next try in 16s
    slow	starting	900	15601000	0	1.2	88080384	waits for tcp 127.0.0.1:9
    unused	stopped	-	0	0	0.0	0	never started
    web	ready	812	15601000	1	1.2	88080384	answered GET /healthz
    "#);
}

#[test]
fn detail() {
    let services = fake::status().services;
    let text: Vec<_> = services.iter().map(|service| look::detail(service, PLAIN, now())).collect();
    assert_snapshot!(text.join("\n"), @r#"
    ✗ broken  failed, 4h 20m: exited 1 four times in 30s
      kind: daemon
      restarts: 4

    ● db  running, 4h 20m: no readiness check is configured
      process: pid 700, up 4h 20m, cpu 1.2 %, memory 84MiB
      kind: daemon, group shop
      restarts: 0

    ↻ retry  backoff, 4h 20m: exited 1, next try in 16s
      kind: daemon
      next start: in 16s
      restarts: 0

    ↻ slow  starting, 4h 20m: waits for tcp 127.0.0.1:9
      process: pid 900, up 4h 20m, cpu 1.2 %, memory 84MiB
      kind: daemon
      restarts: 0

    ○ unused  stopped, 4h 20m: never started
      kind: daemon
      restarts: 0

    ● web  ready, 4h 20m: answered GET /healthz
      process: pid 812, up 4h 20m, cpu 1.2 %, memory 84MiB
      kind: daemon, group shop
      depends on: db
      says: serving\u{1b}[2J 3 clients
      probe: GET http://127.0.0.1:9000/healthz: 200 in 4ms
      restarts: 1
      ended: 4h 20m ago: killed for memory (oom) after 3.0s, pulled down cache
    "#);
}

#[test]
fn json_is_the_document_of_the_api() {
    assert_snapshot!(serde_json::to_string(&fake::status().services[5]).expect("serialises"), @r#"{"name":"web","state":"ready","reason":"answered GET /healthz","kind":"daemon","group":"shop","pid":812,"instances":[{"number":1,"pid":812,"generation":2,"since":"2026-11-20T14:00:00Z","memory_bytes":88080384,"cpu_percent":1.25}],"restarts":1,"since":"2026-11-20T14:00:00Z","state_ms":15601000,"uptime_ms":15601000,"memory_bytes":88080384,"cpu_percent":1.25,"status_text":"serving\u001b[2J 3 clients","probe":"GET http://127.0.0.1:9000/healthz: 200 in 4ms","depends_on":["db"],"exits":[{"generation":1,"pid":700,"at":"2026-11-20T14:00:00Z","cause":"out_of_memory","run_ms":3000,"usage":{"user_ms":10,"system_ms":5,"max_memory_bytes":268435456},"trigger":"","pulled_down":["cache"],"last_lines":["password=hunter2"]}]}"#);
}

#[test]
fn tree_drawn() {
    assert_snapshot!(tree::draw(&fake::tree(), PLAIN), @r#"
    cafe  running  one_for_one
    ├─ services  running
    │  ├─ shop  running  rest_for_one
    │  │  ├─ ● db  running  pid 700
    │  │  └─ ● web  ready  restarts 1  pid 812
    │  └─ ✗ broken  failed  restarts 4  exited 1
    └─ control  running
    "#);
    assert_snapshot!(tree::draw(&fake::tree(), ASCII), @r#"
    cafe  running  one_for_one
    |- services  running
    |  |- shop  running  rest_for_one
    |  |  |- [ok] db  running  pid 700
    |  |  `- [ok] web  ready  restarts 1  pid 812
    |  `- [!!] broken  failed  restarts 4  exited 1
    `- control  running
    "#);
    assert_snapshot!(tree::records(&fake::tree()), @r#"
    /cafe	supervisor	running	0	one_for_one
    /cafe/services	supervisor	running	0	
    /cafe/services/shop	group	running	0	rest_for_one
    /cafe/services/shop/db	service	running	0	pid 700
    /cafe/services/shop/web	service	ready	1	pid 812
    /cafe/services/broken	service	failed	4	exited 1
    /cafe/control	actor	running	0
    "#);
}
