//! Every endpoint, every refusal, against a fake daemon and without a socket.

mod metrics;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::{BODY_LIMIT, Right, document, router, routes};
use crate::net::control::Peer;
use crate::net::fake::{Fake, MEMBER_GROUP};
use crate::types::status::Status;

const ROOT: Peer = Peer { uid: 0, gid: 0, pid: None };
const MEMBER: Peer = Peer { uid: 4000, gid: MEMBER_GROUP, pid: None };
const STRANGER: Peer = Peer { uid: 4001, gid: 4001, pid: None };

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().expect("a code").to_owned()
    }
}

async fn send(router: &Router, peer: Peer, request: Request<Body>) -> Reply {
    let mut request = request;
    request.extensions_mut().insert(peer);
    let (parts, body) = router.clone().oneshot(request).await.expect("infallible").into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Reply { status: parts.status, headers: parts.headers, body }
}

fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).expect("a request")
}

fn fake() -> (Arc<Fake>, Router) {
    let fake = Arc::new(Fake::new());
    (fake.clone(), router(fake))
}

async fn ask(peer: Peer, method: &str, path: &str) -> Reply {
    send(&fake().1, peer, request(method, path)).await
}

/// A request each endpoint accepts.
fn example(method: &Method, path: &str) -> Request<Body> {
    let path = path.replace("{name}", "web");
    let query = if path.ends_with("/wait") { "?for=ready&timeout_ms=5" } else { "" };
    Request::builder()
        .method(method)
        .uri(path + query)
        .header("if-match", "\"abc123\"")
        .body(Body::empty())
        .expect("a request")
}

#[tokio::test]
async fn every_endpoint_answers_those_who_may_and_nobody_else() {
    for row in routes() {
        for (peer, has) in [(ROOT, Right::Own), (MEMBER, Right::Operate), (STRANGER, Right::Look)] {
            let (fake, router) = fake();
            let reply = send(&router, peer, example(&row.method, row.path)).await;
            let subject = format!("{} {} by {}", row.method, row.path, peer.uid);
            if has >= row.needs {
                assert!(reply.status.is_success(), "{subject}: {}", reply.status);
                continue;
            }
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{subject}");
            assert_eq!(reply.code(), "C042", "{subject}");
            assert_eq!(fake.calls(), Vec::<String>::new(), "{subject}");
        }
    }
}

#[tokio::test]
async fn a_member_of_the_group_may_all_but_config_and_shutdown() {
    for row in routes() {
        let allowed = !row.path.starts_with("/v1/config") && row.path != "/v1/shutdown";
        let reply = send(&fake().1, MEMBER, example(&row.method, row.path)).await;
        assert_eq!(reply.status != StatusCode::FORBIDDEN, allowed, "{} {}", row.method, row.path);
    }
}

#[tokio::test]
async fn without_public_strangers_see_nothing() {
    let mut fake = Fake::new();
    fake.access.public = false;
    let router = router(Arc::new(fake));
    for row in routes() {
        let reply = send(&router, STRANGER, example(&row.method, row.path)).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", row.path);
    }
}

#[tokio::test]
async fn a_request_without_a_peer_is_refused() {
    let (_, router) = fake();
    let response = router.oneshot(request("GET", "/v1/status")).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_changes_something_is_never_a_get() {
    let changing = ["start", "stop", "restart", "reload", "kill", "shutdown", "diff"];
    for row in routes() {
        let last = row.path.rsplit('/').next().unwrap_or_default();
        if changing.contains(&last) {
            assert_eq!(row.method, Method::POST, "{}", row.path);
            let reply = send(&fake().1, ROOT, example(&Method::GET, row.path)).await;
            assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{}", row.path);
            assert_eq!(reply.code(), "C045");
        }
    }
}

#[tokio::test]
async fn the_document_lists_every_route_and_no_other() {
    let reply = ask(ROOT, "GET", "/v1/openapi.json").await;
    let document = reply.json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let listed: BTreeSet<_> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let routed: BTreeSet<_> =
        routes().iter().map(|row| (row.method.to_string(), row.path.to_owned())).collect();
    assert_eq!(listed, routed);
    for name in ["Status", "Service", "Node", "Event", "Acted", "ErrorBody", "PostMortem"] {
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = serde_json::to_value(document()).expect("serialises");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn status_is_the_snapshot_of_all_of_one_or_of_a_group() {
    let names = |reply: &Reply| -> Vec<String> {
        let status: Status = serde_json::from_slice(&reply.body).expect("a status");
        status.services.iter().map(|service| service.name.to_string()).collect()
    };
    let all = ask(ROOT, "GET", "/v1/status").await;
    assert_eq!(names(&all), ["broken", "db", "retry", "slow", "unused", "web"]);
    assert_eq!(all.headers["content-type"], "application/json");
    assert_eq!(all.json()["schema"], 1);
    assert_eq!(names(&ask(ROOT, "GET", "/v1/services/web").await), ["web"]);
    assert_eq!(names(&ask(ROOT, "GET", "/v1/services/shop").await), ["db", "web"]);
}

#[tokio::test]
async fn what_services_wrote_is_not_for_the_public() {
    for path in ["/v1/status", "/v1/services/web"] {
        let seen = |reply: Reply| String::from_utf8(reply.body.into()).expect("text");
        assert!(seen(ask(MEMBER, "GET", path).await).contains("hunter2"));
        let public = seen(ask(STRANGER, "GET", path).await);
        assert!(!public.contains("hunter2") && public.contains("out_of_memory"), "{public}");
    }
}

#[tokio::test]
async fn names_that_are_none_are_not_found_whatever_they_look_like() {
    for name in ["nope", "..%2f..%2fetc", "A", "%00", "web%0a"] {
        let paths = ["", "/start", "/stop", "/wait?for=ready&timeout_ms=1"];
        for (method, path) in ["GET", "POST", "POST", "GET"].into_iter().zip(paths) {
            let reply = ask(ROOT, method, &format!("/v1/services/{name}{path}")).await;
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{name}{path}");
            assert_eq!(reply.code(), "C043", "{name}{path}");
        }
    }
    let reply = ask(ROOT, "GET", "/v1/services/nope").await;
    assert_eq!(reply.json()["error"]["hint"], "did you mean `web`?");
}

#[tokio::test]
async fn bad_requests_say_what_is_bad() {
    for (method, path) in [
        ("POST", "/v1/services/web/start?wait_ms=soon"),
        ("POST", "/v1/services/web/start?wait_ms=-1"),
        ("POST", "/v1/services/web/start?signal=TERM"),
        ("POST", "/v1/services/web/stop?overlap=true"),
        ("POST", "/v1/services/web/restart?signal=TERM&overlap=true"),
        ("POST", "/v1/services/web/kill?signal=NOPE"),
        ("POST", "/v1/services/web/kill?signal=0"),
        ("POST", "/v1/services/web/start?unknown=1"),
        ("GET", "/v1/services/web/wait"),
        ("GET", "/v1/services/web/wait?for=lunch&timeout_ms=1"),
        ("GET", "/v1/services/%ff"),
        ("GET", "/v1/logs/web?follow=perhaps"),
        ("GET", "/v1/logs/web?lines=many"),
        ("GET", "/v1/logs/web?since=yesterday"),
        ("GET", "/v1/events?after=x"),
        ("POST", "/v1/config/reload?dry_run=maybe"),
    ] {
        let reply = ask(ROOT, method, path).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(reply.code(), "C045", "{path}");
    }
    let reply = ask(ROOT, "GET", "/v2/nothing").await;
    assert_eq!((reply.status, reply.code()), (StatusCode::NOT_FOUND, "C045".to_owned()));
}

#[tokio::test]
async fn verbs_reach_the_daemon_with_who_why_and_how_long() {
    let (fake, router) = fake();
    for path in [
        "/v1/services/web/start?wait_ms=1500&why=because%20of%20it",
        "/v1/services/shop/stop",
        "/v1/services/web/kill?signal=USR1",
        "/v1/services/web/kill",
        "/v1/services/web/restart?wait_ms=999999999999",
        "/v1/services/web/restart?overlap=true",
    ] {
        let reply = send(&router, MEMBER, request("POST", path)).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
        assert_eq!(reply.json()["schema"], 1);
    }
    assert_eq!(
        fake.calls(),
        [
            "uid 4000: Start web Some(\"because of it\") 1.5s",
            "uid 4000: Stop shop None 0ns",
            "uid 4000: Kill { signal: 10 } web None 0ns",
            "uid 4000: Kill { signal: 15 } web None 0ns",
            "uid 4000: Restart web None 3600s",
            "uid 4000: Overlap web None 0ns",
        ]
    );
}

#[tokio::test]
async fn problems_of_the_daemon_have_the_status_that_fits() {
    let slow = ask(ROOT, "POST", "/v1/services/slow/start").await;
    assert_eq!((slow.status, slow.code()), (StatusCode::GATEWAY_TIMEOUT, "C044".to_owned()));
    let waiting = ask(ROOT, "GET", "/v1/services/slow/wait?for=ready&timeout_ms=1").await;
    assert_eq!((waiting.status, waiting.code()), (StatusCode::GATEWAY_TIMEOUT, "C044".to_owned()));
    let missed = ask(ROOT, "GET", "/v1/services/broken/wait?for=ready&timeout_ms=1").await;
    let expected = (StatusCode::INTERNAL_SERVER_ERROR, "C052".to_owned());
    assert_eq!((missed.status, missed.code()), expected);
}

#[tokio::test]
async fn a_config_write_names_what_it_replaces() {
    let put = |if_match: Option<&str>, body: Vec<u8>| {
        let mut request = Request::builder().method("PUT").uri("/v1/config");
        if let Some(if_match) = if_match {
            request = request.header("if-match", if_match);
        }
        request.body(Body::from(body)).expect("a request")
    };
    let (fake, router) = fake();
    for (if_match, body, status, code) in [
        (None, b"Cafe()".to_vec(), 428, "C045"),
        (Some("\"other\""), b"Cafe()".to_vec(), 412, "C046"),
        (Some("\"abc123\""), b"bad".to_vec(), 422, "C002"),
        (Some("*"), vec![0xff], 400, "C045"),
        (Some("*"), vec![b' '; BODY_LIMIT + 1], 413, "C010"),
    ] {
        let reply = send(&router, ROOT, put(if_match, body)).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (status, code.to_owned()));
    }
    let reply = send(&router, ROOT, put(Some("\"abc123\""), b"Cafe()".to_vec())).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.headers["etag"], "\"def456\"");
    assert_eq!(reply.json()["applied"], true);
    let calls = fake.calls();
    assert_eq!(calls, ["uid 0: put other 6", "uid 0: put abc123 3", "uid 0: put abc123 6"]);
}

#[tokio::test]
async fn the_config_has_an_etag_that_saves_sending_it() {
    let (_, router) = fake();
    let reply = send(&router, ROOT, request("GET", "/v1/config")).await;
    assert_eq!(reply.headers["etag"], "\"abc123\"");
    assert_eq!(reply.json()["config"]["services"]["web"]["env"]["TOKEN"], "***");
    let mut again = request("GET", "/v1/config");
    again.headers_mut().insert("if-none-match", "\"abc123\"".parse().expect("a header"));
    let reply = send(&router, ROOT, again).await;
    assert_eq!((reply.status, reply.body.len()), (StatusCode::NOT_MODIFIED, 0));
}

#[tokio::test]
async fn reload_and_diff_are_asked_of_the_daemon() {
    let (fake, router) = fake();
    let reply = send(&router, ROOT, request("POST", "/v1/config/reload?dry_run=true")).await;
    assert_eq!(reply.json()["applied"], false);
    let mut diff = request("POST", "/v1/config/diff");
    *diff.body_mut() = Body::from("Cafe()");
    let reply = send(&router, ROOT, diff).await;
    assert_eq!(reply.json()["steps"][2]["keys"][0], "command");
    send(&router, ROOT, request("POST", "/v1/config/diff")).await;
    assert_eq!(
        fake.calls(),
        ["uid 0: reload true", "uid 0: diff Some(\"Cafe()\")", "uid 0: diff None"]
    );
}

#[tokio::test]
async fn events_resume_after_the_last_one_seen() {
    let (_, router) = fake();
    let mut resume = request("GET", "/v1/events?after=1");
    resume.headers_mut().insert("last-event-id", "40".parse().expect("a header"));
    let reply = send(&router, MEMBER, resume).await;
    assert_eq!(reply.headers["content-type"], "text/event-stream");
    let text = String::from_utf8(reply.body.into()).expect("text");
    assert!(
        text.starts_with("event: gap\ndata: {\"event\":\"gap\",\"missed\":2}\n\nid: 43\n"),
        "{text}"
    );
    let mut bad = request("GET", "/v1/events");
    bad.headers_mut().insert("last-event-id", "x".parse().expect("a header"));
    assert_eq!(send(&router, MEMBER, bad).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn a_silent_event_stream_has_a_heartbeat() {
    let mut fake = Fake::new();
    fake.events = crate::net::fake::Events::Silent;
    let router = router(Arc::new(fake));
    let mut ask = request("GET", "/v1/events");
    ask.extensions_mut().insert(MEMBER);
    let began = tokio::time::Instant::now();
    let mut body = router.oneshot(ask).await.expect("infallible").into_body();
    let frame = body.frame().await.expect("a frame").expect("whole");
    assert_eq!(frame.into_data().expect("data").first(), Some(&b':'));
    assert_eq!(began.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn logs_are_json_lines() {
    let reply = ask(MEMBER, "GET", "/v1/logs/web?lines=5&since=2026-11-20T00:00:00Z").await;
    assert_eq!(reply.headers["content-type"], "application/jsonl");
    assert_eq!(reply.json()["line"], "ready on 8080");
    assert_eq!(ask(MEMBER, "GET", "/v1/logs/nope").await.code(), "C043");
}

#[tokio::test]
async fn shutdown_says_that_it_has_begun() {
    let (fake, router) = fake();
    let reply = send(&router, ROOT, request("POST", "/v1/shutdown?why=reboot")).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    assert_eq!(fake.calls(), ["uid 0: shutdown Some(\"reboot\")"]);
}
