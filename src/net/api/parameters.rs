//! What requests carry: names in the path, parameters in the query, text in the body; each checked, each bounded.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::BODY_LIMIT;
use super::failure::Failure;
use crate::types::error::{Code, Problem};
use crate::types::name::Name;

/// Longest time a client may take to send a body.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Longest time a request may wait for an outcome.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// `{name}` of the path. What cannot be a name is the name of nothing: `C043`, not a bad request.
pub(super) struct Named(pub(super) Name);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Failure::bad_request(rejection.body_text()))?;
        match text.parse() {
            Ok(name) => Ok(Self(name)),
            Err(_) => Err(Problem::new(
                Code::NoSuchName,
                format!("there is no service or group `{}`", text.escape_default()),
            )
            .into()),
        }
    }
}

/// The query, as `T`.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let Query(value) = Query::try_from_uri(&parts.uri)
            .map_err(|rejection| Failure::bad_request(rejection.body_text()))?;
        Ok(Self(value))
    }
}

/// Parameters of the changing verbs.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ActParameters {
    /// How long to wait for the outcome, milliseconds; 0: not at all.
    #[serde(default)]
    pub(super) wait_ms: u64,
    /// Why, for the audit event.
    pub(super) why: Option<String>,
    /// For `restart`: start the next generation beside the present one, which is stopped once that is ready.
    #[serde(default)]
    pub(super) overlap: bool,
    /// For `kill`: `TERM`, `SIGTERM` or `15`.
    pub(super) signal: Option<String>,
}

/// A wait as asked for, within bounds.
pub(super) fn wait(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds).min(LONGEST_WAIT)
}

/// The body as text, bounded in size and time.
pub(super) async fn text(body: Body) -> Result<String, Failure> {
    let collected = tokio::time::timeout(BODY_DEADLINE, Limited::new(body, BODY_LIMIT).collect())
        .await
        .map_err(|_| {
            let problem = Problem::new(Code::TimedOut, "the body did not come in time");
            Failure::with_status(StatusCode::REQUEST_TIMEOUT, problem)
        })?;
    let bytes: Bytes = match collected {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("the body has more than {BODY_LIMIT} bytes");
            let problem = Problem::new(Code::ConfigTooLarge, message);
            return Err(Failure::with_status(StatusCode::PAYLOAD_TOO_LARGE, problem));
        }
        Err(error) => return Err(Failure::bad_request(format!("the body broke off: {error}"))),
    };
    String::from_utf8(bytes.into())
        .map_err(|error| Failure::bad_request(format!("the body is not UTF-8: {error}")))
}
