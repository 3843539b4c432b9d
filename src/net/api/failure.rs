//! Errors as HTTP: one body for all, `{"error":{"code","message","hint"}}`, and the status that fits the code.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::net::control::ErrorBody;
use crate::types::error::{Code, Problem};

/// A problem on its way to the client.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    problem: Problem,
}

impl Failure {
    /// With another status than the code has by itself.
    pub(super) fn with_status(status: StatusCode, problem: Problem) -> Self {
        Self { status, problem }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Problem::new(Code::BadRequest, message).into()
    }

    pub(super) fn not_found(problem: Problem) -> Self {
        Self::with_status(StatusCode::NOT_FOUND, problem)
    }

    pub(super) fn wrong_method(problem: Problem) -> Self {
        Self::with_status(StatusCode::METHOD_NOT_ALLOWED, problem)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { status: status_of(problem.code), problem }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { error: self.problem })).into_response()
    }
}

fn status_of(code: Code) -> StatusCode {
    match code {
        Code::BadRequest => StatusCode::BAD_REQUEST,
        Code::Refused => StatusCode::FORBIDDEN,
        Code::NoSuchName => StatusCode::NOT_FOUND,
        Code::Conflict | Code::AlreadyRunning => StatusCode::CONFLICT,
        Code::TimedOut | Code::NotReadyInTime => StatusCode::GATEWAY_TIMEOUT,
        Code::ConfigUnreadable
        | Code::ConfigSyntax
        | Code::UnknownField
        | Code::InvalidValue
        | Code::MissingField
        | Code::DependencyCycle
        | Code::UnknownReference
        | Code::DuplicateName
        | Code::UndefinedVariable
        | Code::ConfigTooLarge
        | Code::PrivilegeDropped
        | Code::UpgradeRefused => StatusCode::UNPROCESSABLE_ENTITY,
        Code::DaemonUnreachable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
