//! The control API as any HTTP client sees it: every endpoint, its errors, its streams, and who may use it.

mod http;
mod openmetrics;
mod peers;

use std::collections::BTreeSet;

use cafe::types::state::State;
use serde_json::Value;

use crate::harness::{Cafe, DEADLINE, IDLE, is_installed, program, sh, skip, told};
use http::{Stream, request};

async fn running() -> Cafe {
    let script = format!("trap 'echo heard' HUP; echo hello; {IDLE}");
    let cafe = Cafe::start(&format!(
        r#"services: {{ "web": (command: {}, ready: log("^hello"), reload: signal(HUP)) }}, groups: {{ "shop": (services: ["web"]) }},"#,
        sh(&script)
    ))
    .await;
    // Before it said so, a signal would end it.
    cafe.wait_state("web", State::Ready).await;
    cafe
}

#[rustfmt::skip]
const ENDPOINTS: &[(&str, &str, u16, &[&str])] = &[
    ("GET",  "/v1/status",                              200, &["services", "daemon"]),
    ("GET",  "/v1/services/web",                        200, &["services"]),
    ("GET",  "/v1/services/shop",                       200, &["services"]),
    ("GET",  "/v1/services/wbe",                        404, &["C043", "did you mean `web`?"]),
    ("GET",  "/v1/daemon",                              200, &["pid", "version"]),
    ("GET",  "/v1/tree",                                200, &["children", "schema"]),
    ("GET",  "/v1/metrics",                             200, &["# EOF"]),
    ("GET",  "/v1/openapi.json",                        200, &["openapi", "paths"]),
    ("GET",  "/v1/logs/web",                            200, &["hello", "stdout"]),
    ("GET",  "/v1/logs/web?lines=many",                 400, &["C045"]),
    ("GET",  "/v1/logs/nobody",                         404, &["C043"]),
    ("GET",  "/v1/services/web/wait?for=running&timeout_ms=20000", 200, &["\"ready\""]),
    ("GET",  "/v1/services/web/wait?for=stopped&timeout_ms=50", 504, &["C044", "web"]),
    ("GET",  "/v1/services/web/wait?for=rich&timeout_ms=1", 400, &["C045"]),
    ("POST", "/v1/services/web/start?wait_ms=20000",    200, &["unchanged"]),
    ("POST", "/v1/services/web/restart?wait_ms=20000",  200, &["changed", "pid_before"]),
    ("POST", "/v1/services/web/reload?wait_ms=20000",   200, &["changed"]),
    ("POST", "/v1/services/web/kill?signal=HUP",        200, &["changed"]),
    ("POST", "/v1/services/web/kill?signal=NOPE",       400, &["C045"]),
    ("POST", "/v1/services/web/stop?wait_ms=20000",     200, &["stopped"]),
    ("POST", "/v1/services/web/kill?signal=HUP",        409, &["C046", "no process"]),
    ("GET",  "/v1/services/web/wait?for=running&timeout_ms=20000", 500, &["C052", "stopped"]),
    ("POST", "/v1/services/shop/start?wait_ms=20000",   200, &["changed", "web"]),
    ("POST", "/v1/services/nobody/start",               404, &["C043"]),
    ("POST", "/v1/services/web/explode",                404, &["C045", "/v1/openapi.json"]),
    ("GET",  "/v1/services/web/start",                  405, &["C045", "/v1/openapi.json"]),
    ("POST", "/v1/status",                              405, &["C045"]),
    ("GET",  "/v1/config",                              200, &["revision", "\"web\""]),
    ("POST", "/v1/config/reload?dry_run=true",          200, &["\"applied\":false"]),
    ("POST", "/v1/config/reload",                       200, &["\"applied\":true"]),
    ("POST", "/v1/config/diff",                         200, &["\"steps\":[]"]),
    ("GET",  "/",                                       404, &["C045"]),
];

#[tokio::test]
async fn every_endpoint_answers_as_it_says() {
    let cafe = running().await;
    for (method, path, status, says) in ENDPOINTS {
        let answer = request(&cafe, method, path, &[], "");
        assert_eq!(answer.status, *status, "{method} {path}: {answer:?}");
        for text in *says {
            assert!(answer.body.contains(text), "{method} {path}: {text}: {answer:?}");
        }
        if *status >= 400 {
            let error: Value = serde_json::from_str(&answer.body).unwrap();
            assert!(error["error"]["message"].is_string(), "{method} {path}: {answer:?}");
        }
    }
    // Who asked for each change, and what.
    let events = cafe.events().await;
    let audits: Vec<_> = events.iter().map(|event| event.kind.describe()).collect();
    for verb in
        ["start web", "restart web", "reload web", "kill web", "stop web", "reload the config"]
    {
        let told = |line: &&String| line.starts_with("uid ") && line.contains(verb);
        assert!(audits.iter().any(|line| told(&line)), "{verb}: {audits:#?}");
    }
    let end = request(&cafe, "POST", "/v1/shutdown?why=done", &[], "");
    assert_eq!(end.status / 100, 2, "{end:?}");
}

#[tokio::test]
async fn the_document_lists_every_route_and_no_other() {
    let cafe = running().await;
    let document: Value =
        serde_json::from_str(&request(&cafe, "GET", "/v1/openapi.json", &[], "").body).unwrap();
    let mut listed = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            listed.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    // What the table above asks is listed, unless it is refused for its path or method.
    for (method, path, ..) in ENDPOINTS.iter().filter(|row| !matches!(row.2, 404 | 405)) {
        let path =
            path.split('?').next().unwrap().replace("/web", "/{name}").replace("/shop", "/{name}");
        let known = document["paths"][&path].get(method.to_lowercase());
        assert!(known.is_some(), "{method} {path}");
        listed.remove(&format!("{method} {path}"));
    }
    let others = ["GET /v1/events", "POST /v1/shutdown", "PUT /v1/config", "PUT /v1/upgrade"];
    assert_eq!(listed.iter().map(String::as_str).collect::<Vec<_>>(), others);
    let components = document["components"]["schemas"].as_object().unwrap();
    for name in ["Status", "Service", "Event", "Problem", "Plan"] {
        assert!(components.contains_key(name), "{name} is described");
    }
}

#[tokio::test]
async fn a_config_is_replaced_only_by_whom_knows_what_it_replaces() {
    let cafe = running().await;
    let before = cafe.service("web").await.pid;
    let shown = request(&cafe, "GET", "/v1/config", &[], "");
    let tag = shown.header("etag").unwrap().to_owned();
    let known = request(&cafe, "GET", "/v1/config", &[("If-None-Match", &tag)], "");
    assert_eq!((known.status, known.body.as_str()), (304, ""));

    let text = cafe
        .read("cafe.ron")
        .replace("services: {", &format!("services: {{ \"b\": (command: {}),", sh(IDLE)));
    let put =
        |headers: &[(&str, &str)], text: &str| request(&cafe, "PUT", "/v1/config", headers, text);
    let missing = put(&[], &text);
    assert_eq!(missing.status, 428, "{missing:?}");
    assert!(missing.body.contains("C045") && missing.body.contains("ETag"), "{missing:?}");
    let stale = put(&[("If-Match", "\"0123456789abcdef\"")], &text);
    assert_eq!(stale.status, 412, "{stale:?}");
    assert!(stale.body.contains("C046"));
    let broken = put(&[("If-Match", &tag)], "Cafe(sevices: {})");
    assert_eq!(broken.status, 422, "{broken:?}");
    assert!(broken.body.contains("C003"), "{broken:?}");
    let large = put(&[("If-Match", &tag)], &" ".repeat(2 << 20));
    assert_eq!(large.status, 413, "{large:?}");
    assert_ne!(cafe.read("cafe.ron"), text, "nothing was written yet");
    assert_eq!(request(&cafe, "GET", "/v1/config", &[], "").header("etag"), Some(tag.as_str()));

    let done = put(&[("If-Match", &tag)], &text);
    assert_eq!(done.status, 200, "{done:?}");
    assert_ne!(done.header("etag"), Some(tag.as_str()));
    assert_eq!(cafe.read("cafe.ron"), text);
    cafe.wait_state("b", State::Running).await;
    assert_eq!(cafe.service("web").await.pid, before);
    assert_eq!(put(&[("If-Match", &tag)], &text).status, 412, "the old tag is worth nothing now");
}

#[tokio::test]
async fn events_go_on_where_a_client_left_without_gap_or_repeat() {
    let cafe = running().await;
    let mut seen = Vec::new();
    let mut last: Option<u64> = None;
    for round in 0..4 {
        let header = last.map(|id| id.to_string());
        let headers: Vec<(&str, &str)> =
            header.as_deref().map(|id| ("Last-Event-ID", id)).into_iter().collect();
        let path = if round == 0 { "/v1/events?after=0" } else { "/v1/events" };
        let mut stream = Stream::open(&cafe, path, &headers);
        for _ in 0..4 {
            let event = stream.message();
            let id: u64 = event.id.unwrap().parse().unwrap();
            let body: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!(body["seq"], id);
            assert!(body["event"].is_string() && body["at"].is_string(), "{body}");
            seen.push(id);
            last = Some(id);
        }
        drop(stream);
        // Things happen while it is away.
        cafe.act(cafe::net::control::Verb::Restart, "web").await;
    }
    assert_eq!(seen, (1..=16).collect::<Vec<_>>());
    let wrong = request(&cafe, "GET", "/v1/events", &[("Last-Event-ID", "x")], "");
    assert_eq!(wrong.status, 400, "{wrong:?}");
}

#[tokio::test]
async fn curl_is_all_it_takes() {
    if !is_installed("curl") {
        return skip("curl is not installed");
    }
    let cafe = running().await;
    let socket = cafe.path("control.sock");
    let seconds = DEADLINE.as_secs().to_string();
    let curl = |arguments: &[&str]| {
        let mut command = program("curl");
        command.args(["-sS", "--fail-with-body", "--max-time", &seconds, "--unix-socket"]);
        told(&command.arg(&socket).args(arguments).output().unwrap())
    };
    let status = curl(&["http://cafe/v1/status"]).expect(0, &[]).json();
    assert_eq!(status["services"][0]["name"], "web");
    let acted = curl(&["-X", "POST", "http://cafe/v1/services/web/restart?wait_ms=20000"]);
    assert_eq!(acted.expect(0, &[]).json()["services"][0]["outcome"], "changed");
    curl(&["http://cafe/v1/services/nobody"]).expect(22, &["C043"]);
}
