//! Endpoints of the config: show, compare, reload, replace. A write must name the revision it replaces.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;

use super::App;
use super::failure::Failure;
use super::parameters::{Parameters, text};
use crate::net::control::{ConfigView, ErrorBody, Peer, Plan, Reloaded};
use crate::types::error::{Code, Problem};

/// The config in force, secrets masked.
#[utoipa::path(get, path = "/v1/config", tag = "config", responses(
    (status = 200, description = "its `ETag` is the revision", body = ConfigView,
        headers(("etag" = String, description = "the revision, quoted"))),
    (status = 304, description = "If-None-Match names the revision in force"),
    (status = 403, description = "C042", body = ErrorBody),
))]
pub(super) async fn show(State(app): State<App>, headers: HeaderMap) -> Response {
    let view = app.config();
    let tag = etag(&view.revision);
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == tag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    ([(header::ETAG, tag)], Json(view)).into_response()
}

/// Whether to apply.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReloadParameters {
    /// Only say what would change.
    #[serde(default)]
    dry_run: bool,
}

/// Reads the config file again and applies it.
#[utoipa::path(post, path = "/v1/config/reload", tag = "config", params(ReloadParameters), responses(
    (status = 200, description = "applied, or what would be", body = Reloaded),
    (status = 403, description = "C042", body = ErrorBody),
    (status = 422, description = "C001 to C010: nothing changed", body = ErrorBody),
))]
pub(super) async fn reload(
    State(app): State<App>,
    Extension(who): Extension<Peer>,
    Parameters(parameters): Parameters<ReloadParameters>,
) -> Result<Json<Reloaded>, Failure> {
    Ok(Json(app.reload(who, parameters.dry_run).await?))
}

/// What applying the config in the body would change; an empty body: the file on disk.
#[utoipa::path(post, path = "/v1/config/diff", tag = "config",
    request_body(content = String, content_type = "text/plain", description = "a cafe.ron, or nothing"),
    responses(
    (status = 200, description = "the plan", body = Plan),
    (status = 403, description = "C042", body = ErrorBody),
    (status = 413, description = "C010", body = ErrorBody),
    (status = 422, description = "C001 to C010", body = ErrorBody),
))]
pub(super) async fn diff(
    State(app): State<App>,
    Extension(who): Extension<Peer>,
    body: Body,
) -> Result<Json<Plan>, Failure> {
    let text = text(body).await?;
    Ok(Json(app.diff(who, Some(text).filter(|text| !text.is_empty())).await?))
}

/// Replaces the config file and applies it.
#[utoipa::path(put, path = "/v1/config", tag = "config",
    params(("If-Match" = String, Header, description = "the revision it replaces, or `*`")),
    request_body(content = String, content_type = "text/plain", description = "a whole cafe.ron"),
    responses(
    (status = 200, description = "in force", body = Reloaded),
    (status = 403, description = "C042", body = ErrorBody),
    (status = 412, description = "C046: another config is in force", body = ErrorBody),
    (status = 413, description = "C010", body = ErrorBody),
    (status = 422, description = "C001 to C010: nothing changed", body = ErrorBody),
    (status = 428, description = "C045: If-Match is missing", body = ErrorBody),
))]
pub(super) async fn put(
    State(app): State<App>,
    Extension(who): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let Some(if_match) = headers.get(header::IF_MATCH) else {
        let problem = Problem::new(Code::BadRequest, "If-Match is missing")
            .hint("GET /v1/config, and send its ETag as If-Match");
        return Err(Failure::with_status(StatusCode::PRECONDITION_REQUIRED, problem));
    };
    let if_match = if_match.to_str().unwrap_or_default().trim_matches('"').to_owned();
    let text = text(body).await?;
    let reloaded =
        app.put_config(who, if_match, text).await.map_err(|problem| match problem.code {
            Code::Conflict => Failure::with_status(StatusCode::PRECONDITION_FAILED, problem),
            _ => problem.into(),
        })?;
    Ok(([(header::ETAG, etag(&reloaded.revision))], Json(reloaded)).into_response())
}

fn etag(revision: &str) -> HeaderValue {
    // A revision is a hash in hex, so it always is a valid header; an empty tag matches nothing.
    HeaderValue::from_str(&format!("\"{revision}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}
