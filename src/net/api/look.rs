//! Endpoints that only look: status, tree, events, logs, metrics, and the description of the API itself.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::{Stream, StreamExt};
use serde::Deserialize;

use super::failure::Failure;
use super::parameters::{Named, Parameters};
use super::{App, Right, document, metrics};
use crate::net::control::{ErrorBody, LogLine, LogQuery, Notice, Tree};
use crate::types::status::{Daemon, SCHEMA, Status};

/// Everything: the daemon, its services and groups.
#[utoipa::path(get, path = "/v1/status", tag = "look", responses(
    (status = 200, description = "the snapshot", body = Status),
    (status = 403, description = "C042", body = ErrorBody),
))]
pub(super) async fn status(
    State(app): State<App>,
    Extension(right): Extension<Right>,
) -> Result<Json<Status>, Failure> {
    Ok(Json(visible(app.status(None)?, right)))
}

/// The daemon itself, without its services: cheap however many there are.
#[utoipa::path(get, path = "/v1/daemon", tag = "look", responses(
    (status = 200, description = "as in the status", body = Daemon),
    (status = 403, description = "C042", body = ErrorBody),
))]
pub(super) async fn daemon(State(app): State<App>) -> Json<Daemon> {
    Json(app.daemon())
}

/// One service, or the services of one group, with all exits that are kept.
#[utoipa::path(get, path = "/v1/services/{name}", tag = "look",
    params(("name" = String, Path, description = "service or group")), responses(
    (status = 200, description = "the snapshot, of these alone", body = Status),
    (status = 403, description = "C042", body = ErrorBody),
    (status = 404, description = "C043", body = ErrorBody),
))]
pub(super) async fn service(
    State(app): State<App>,
    Extension(right): Extension<Right>,
    Named(name): Named,
) -> Result<Json<Status>, Failure> {
    Ok(Json(visible(app.status(Some(&name))?, right)))
}

/// What services wrote is for those who may read logs; everybody else sees how they ended.
fn visible(mut status: Status, right: Right) -> Status {
    if right < Right::Operate {
        for exit in status.services.iter_mut().flat_map(|service| &mut service.exits) {
            exit.last_lines.clear();
        }
    }
    status
}

/// The live supervision tree.
#[utoipa::path(get, path = "/v1/tree", tag = "look", responses(
    (status = 200, description = "its root", body = Tree),
    (status = 403, description = "C042", body = ErrorBody),
))]
pub(super) async fn tree(State(app): State<App>) -> Json<Tree> {
    Json(Tree { schema: SCHEMA, root: app.tree() })
}

/// Metrics in OpenMetrics 1.0 text.
#[utoipa::path(get, path = "/v1/metrics", tag = "look", responses(
    (status = 200, description = "OpenMetrics 1.0", body = String,
        content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    (status = 403, description = "C042", body = ErrorBody),
))]
pub(super) async fn metrics(State(app): State<App>) -> Result<Response, Failure> {
    let text = metrics::render(&app.status(None)?, &app.counters());
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "look", responses(
    (status = 200, description = "OpenAPI 3.1", body = Object),
    (status = 403, description = "C042", body = ErrorBody),
))]
pub(super) async fn openapi() -> Response {
    Json(document::document()).into_response()
}

/// Where an event stream begins.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventParameters {
    /// Number of the last event already seen; `Last-Event-ID` goes before it.
    after: Option<u64>,
}

/// What happens, as server-sent events: `id` is the event's number, `event: gap` tells of lost ones.
#[utoipa::path(get, path = "/v1/events", tag = "look",
    params(EventParameters,
        ("Last-Event-ID" = Option<u64>, Header, description = "resume after this event")),
    responses(
    (status = 200, description = "one types::Event per message; a comment every 15 s", content_type = "text/event-stream",
        body = crate::types::event::Event),
    (status = 400, description = "C045", body = ErrorBody),
    (status = 403, description = "C042", body = ErrorBody),
))]
pub(super) async fn events(
    State(app): State<App>,
    Parameters(parameters): Parameters<EventParameters>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Failure> {
    let after = match headers.get("last-event-id") {
        None => parameters.after,
        Some(value) => {
            let number = value.to_str().ok().and_then(|text| text.parse().ok());
            Some(number.ok_or_else(|| Failure::bad_request("Last-Event-ID is not a number"))?)
        }
    };
    let messages = app.events(after).map(|notice| Ok(message(&notice)));
    // KeepAlive: a comment every 15 s, so that both sides notice a dead link.
    Ok(Sse::new(messages).keep_alive(KeepAlive::default()))
}

fn message(notice: &Notice) -> SseEvent {
    match notice {
        Notice::Gap(missed) => SseEvent::default()
            .event("gap")
            .data(serde_json::json!({ "event": "gap", "missed": missed }).to_string()),
        Notice::Event(event) => SseEvent::default()
            .id(event.seq.to_string())
            .data(serde_json::to_string(event).unwrap_or_default()),
    }
}

/// Log lines of a service or group, as JSON Lines.
#[utoipa::path(get, path = "/v1/logs/{name}", tag = "look",
    params(("name" = String, Path, description = "service or group"),
        ("follow" = Option<bool>, Query, description = "go on with what is written from now on"),
        ("lines" = Option<usize>, Query, description = "the last so many; all unless given"),
        ("since" = Option<String>, Query, description = "RFC 3339"),
        ("until" = Option<String>, Query, description = "RFC 3339")),
    responses(
    (status = 200, description = "one object per line", content_type = "application/jsonl", body = LogLine),
    (status = 400, description = "C045", body = ErrorBody),
    (status = 403, description = "C042", body = ErrorBody),
    (status = 404, description = "C043", body = ErrorBody),
))]
pub(super) async fn logs(
    State(app): State<App>,
    Named(name): Named,
    Parameters(LogParameters { follow, lines, since, until }): Parameters<LogParameters>,
) -> Result<Response, Failure> {
    let follow = match follow.as_deref() {
        None | Some("false" | "0") => false,
        // `?follow` alone means yes.
        Some("" | "true" | "1") => true,
        Some(_) => return Err(Failure::bad_request("`follow` is `true` or `false`")),
    };
    let query = LogQuery { follow, lines, since, until };
    let lines = app.logs(&name, query).await?.map(Ok::<_, Infallible>);
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogParameters {
    follow: Option<String>,
    lines: Option<usize>,
    since: Option<jiff::Timestamp>,
    until: Option<jiff::Timestamp>,
}
