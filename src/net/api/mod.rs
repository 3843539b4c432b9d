//! The control API as a router over a [`Backend`]: the whole of it is the table in `routes`.
//!
//! Each row names the right it needs, checked before a byte of the body is read. Handlers translate; they
//! decide nothing. The connection's [`Peer`] comes as a request extension, from the server.

mod access;
mod act;
mod backend;
mod config;
mod document;
mod failure;
mod look;
mod metrics;
mod parameters;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};

pub use access::{Access, Right, groups_of};
pub use backend::{Answer, Backend, Counters, Feed, ServiceCounters};
pub use document::document;

use crate::net::control::Peer;
use crate::types::error::{Code, Problem};
use failure::Failure;

/// Largest request body, bytes; a config is the largest thing anybody sends.
pub const BODY_LIMIT: usize = 1 << 20;

type App = Arc<dyn Backend>;

/// One row of the API.
struct Row {
    #[cfg_attr(not(test), expect(dead_code, reason = "compared with the API document"))]
    method: Method,
    path: &'static str,
    needs: Right,
    handler: MethodRouter<App>,
}

fn row<H, T>(method: Method, path: &'static str, needs: Right, handler: H) -> Row
where
    H: Handler<T, App>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).expect("GET, POST and PUT have a filter");
    Row { method, path, needs, handler: on(filter, handler) }
}

fn routes() -> Vec<Row> {
    use Right::{Look, Operate, Own};
    vec![
        row(Method::GET, "/v1/status", Look, look::status),
        row(Method::GET, "/v1/daemon", Look, look::daemon),
        row(Method::GET, "/v1/services/{name}", Look, look::service),
        row(Method::GET, "/v1/tree", Look, look::tree),
        row(Method::GET, "/v1/metrics", Look, look::metrics),
        row(Method::GET, "/v1/openapi.json", Look, look::openapi),
        row(Method::GET, "/v1/events", Operate, look::events),
        row(Method::GET, "/v1/logs/{name}", Operate, look::logs),
        row(Method::GET, "/v1/services/{name}/wait", Operate, act::wait),
        row(Method::POST, "/v1/services/{name}/start", Operate, act::start),
        row(Method::POST, "/v1/services/{name}/stop", Operate, act::stop),
        row(Method::POST, "/v1/services/{name}/restart", Operate, act::restart),
        row(Method::POST, "/v1/services/{name}/reload", Operate, act::reload),
        row(Method::POST, "/v1/services/{name}/kill", Operate, act::kill),
        row(Method::GET, "/v1/config", Own, config::show),
        row(Method::POST, "/v1/config/reload", Own, config::reload),
        row(Method::POST, "/v1/config/diff", Own, config::diff),
        row(Method::PUT, "/v1/config", Own, config::put),
        row(Method::PUT, "/v1/upgrade", Own, act::upgrade),
        row(Method::POST, "/v1/shutdown", Own, act::shutdown),
    ]
}

/// The API over `backend`.
pub fn router(backend: Arc<dyn Backend>) -> Router {
    let mut router = Router::new();
    for row in routes() {
        let guard = from_fn_with_state((row.needs, backend.clone()), require);
        router = router.route(row.path, row.handler.route_layer(guard));
    }
    router.fallback(unknown_path).method_not_allowed_fallback(wrong_method).with_state(backend)
}

/// Lets a request through if its peer has the right, and tells the handler which right that is.
async fn require(
    State((needs, app)): State<(Right, App)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let Some(&peer) = request.extensions().get::<Peer>() else {
        return Err(refused("this connection does not say who you are").into());
    };
    let right = app.access().right(peer, || groups_of(peer));
    if right < needs {
        let message =
            format!("user {} may not {} {}", peer.uid, request.method(), request.uri().path());
        return Err(refused(message).into());
    }
    request.extensions_mut().insert(right);
    Ok(next.run(request).await)
}

fn refused(message: impl Into<String>) -> Problem {
    Problem::new(Code::Refused, message)
        .hint("use root, the user cafe runs as, or a member of `control.group`")
}

async fn unknown_path(request: Request) -> Failure {
    let problem = Problem::new(Code::BadRequest, format!("no endpoint {}", request.uri().path()));
    Failure::not_found(problem.hint("GET /v1/openapi.json lists them"))
}

async fn wrong_method(request: Request) -> Failure {
    let message = format!("{} is not for {}", request.uri().path(), request.method());
    let problem = Problem::new(Code::BadRequest, message);
    Failure::wrong_method(problem.hint("GET /v1/openapi.json lists what each endpoint takes"))
}
