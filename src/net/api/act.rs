//! Endpoints that change something, and the one that waits for it.

use axum::extract::State;
use axum::{Extension, Json};
use serde::Deserialize;

use super::App;
use super::failure::Failure;
use super::parameters::{ActParameters, Named, Parameters, wait as bounded};
use crate::net::control::{Acted, ErrorBody, Goal, Peer, Verb};
use crate::types::exit::signal_number;
use crate::types::status::Service;

/// One handler per changing verb: they differ in the verb alone.
macro_rules! verbs {
    ($($handler:ident $path:literal $what:literal = $verb:expr;)*) => {$(
        #[doc = $what]
        #[utoipa::path(post, path = $path, tag = "act",
            params(("name" = String, Path, description = "service or group"), ActParameters),
            responses(
            (status = 200, description = "what came of it", body = Acted),
            (status = 400, description = "C045", body = ErrorBody),
            (status = 403, description = "C042", body = ErrorBody),
            (status = 404, description = "C043", body = ErrorBody),
            (status = 504, description = "C044: not settled within wait_ms; it goes on", body = ErrorBody),
        ))]
        pub(super) async fn $handler(
            State(app): State<App>,
            Extension(who): Extension<Peer>,
            Named(name): Named,
            Parameters(parameters): Parameters<ActParameters>,
        ) -> Result<Json<Acted>, Failure> {
            let verb = $verb(&parameters)?;
            let wait = bounded(parameters.wait_ms);
            Ok(Json(app.act(who, verb, &name, parameters.why, wait).await?))
        }
    )*};
}

verbs! {
    start "/v1/services/{name}/start"
        "Starts it; cancels a backoff and clears its restart window." = plain(Verb::Start);
    stop "/v1/services/{name}/stop"
        "Stops it, and what needs it." = plain(Verb::Stop);
    restart "/v1/services/{name}/restart"
        "Stops it, then starts it; with `overlap` the other way round." = restarted;
    reload "/v1/services/{name}/reload"
        "Has it read its own config again." = plain(Verb::Reload);
    kill "/v1/services/{name}/kill"
        "Sends it a signal; what follows is up to it and its restart policy." = signalled;
}

fn plain(verb: Verb) -> impl Fn(&ActParameters) -> Result<Verb, Failure> {
    move |parameters| match parameters {
        ActParameters { signal: Some(_), .. } => {
            Err(Failure::bad_request("`signal` is for kill alone"))
        }
        ActParameters { overlap: true, .. } => {
            Err(Failure::bad_request("`overlap` is for restart alone"))
        }
        _ => Ok(verb),
    }
}

fn restarted(parameters: &ActParameters) -> Result<Verb, Failure> {
    match (parameters.overlap, &parameters.signal) {
        (true, None) => Ok(Verb::Overlap),
        _ => plain(Verb::Restart)(parameters),
    }
}

fn signalled(parameters: &ActParameters) -> Result<Verb, Failure> {
    let text = parameters.signal.as_deref().unwrap_or("TERM");
    let signal = signal_number(text)
        .ok_or_else(|| Failure::bad_request(format!("`{}` is no signal", text.escape_default())))?;
    Ok(Verb::Kill { signal })
}

/// What to wait for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WaitParameters {
    /// The state to wait for.
    #[serde(rename = "for")]
    goal: Goal,
    /// How long, milliseconds.
    timeout_ms: u64,
}

/// Waits until a service is where it should be.
#[utoipa::path(get, path = "/v1/services/{name}/wait", tag = "act",
    params(("name" = String, Path, description = "service"), WaitParameters), responses(
    (status = 200, description = "it is there", body = Service),
    (status = 400, description = "C045", body = ErrorBody),
    (status = 403, description = "C042", body = ErrorBody),
    (status = 404, description = "C043", body = ErrorBody),
    (status = 500, description = "C052: it will not get there by itself", body = ErrorBody),
    (status = 504, description = "C044: not within timeout_ms", body = ErrorBody),
))]
pub(super) async fn wait(
    State(app): State<App>,
    Named(name): Named,
    Parameters(parameters): Parameters<WaitParameters>,
) -> Result<Json<Service>, Failure> {
    Ok(Json(app.wait(&name, parameters.goal, bounded(parameters.timeout_ms)).await?))
}

/// Why the daemon is stopped.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ShutdownParameters {
    /// Why, for the audit event.
    why: Option<String>,
}

/// Stops every service, then the daemon. The answer comes when that has begun.
#[utoipa::path(post, path = "/v1/shutdown", tag = "act", params(ShutdownParameters), responses(
    (status = 202, description = "it has begun"),
    (status = 403, description = "C042", body = ErrorBody),
))]
pub(super) async fn shutdown(
    State(app): State<App>,
    Extension(who): Extension<Peer>,
    Parameters(parameters): Parameters<ShutdownParameters>,
) -> Result<(axum::http::StatusCode, Json<serde_json::Value>), Failure> {
    app.shutdown(who, parameters.why).await?;
    let begun = serde_json::json!({ "schema": crate::types::status::SCHEMA, "stopping": true });
    Ok((axum::http::StatusCode::ACCEPTED, Json(begun)))
}
