//! `/v1/openapi.json`, generated from the handlers and the types they answer with.

use utoipa::OpenApi;

use super::{act, config, look};

/// The OpenAPI description of this version's API.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "cafe control API",
        description = "Served on the unix socket `control.socket`; who may do what is decided by the peer's user."
    ),
    paths(
        look::status, look::daemon, look::service, look::tree, look::metrics, look::openapi, look::events, look::logs,
        act::wait, act::start, act::stop, act::restart, act::reload, act::kill, act::upgrade,
        act::shutdown,
        config::show, config::reload, config::diff, config::put,
    ),
    components(schemas(crate::net::control::Goal)),
    tags(
        (name = "look", description = "what is"),
        (name = "act", description = "what to do"),
        (name = "config", description = "the config in force"),
    )
)]
struct Description;
