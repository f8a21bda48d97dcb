//! Whatever goes wrong, as the API's documentation says it: the only place where an error becomes a
//! status and a body. What lies beneath a 5xx is logged here, once, and never shown.

use std::{error::Error, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use switchboard_aws::{ServiceError, table::TableError};
use switchboard_contract::validation::FieldError;

/// Why a request is not answered as hoped.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// 400: the body is not JSON.
    NotJson,
    /// 401: no, a malformed or an unknown token.
    Unauthorized,
    /// 404: the account has no such thing. Unknown, foreign and malformed ids look the same.
    NotFound,
    /// 405: the path exists, the method does not.
    MethodNotAllowed,
    /// 409: what is asked for is not possible as things stand; says why.
    Conflict(&'static str),
    /// 409: a request with the same idempotency key still runs.
    StillRunning,
    /// 413: the body is larger than [`MAX_BODY_BYTES`](crate::MAX_BODY_BYTES).
    TooLarge,
    /// 415: the body is not `application/json`.
    UnsupportedMediaType,
    /// 422: these fields are wrong.
    Invalid(Vec<FieldError>),
    /// 429: more requests a second than the account may send; the next one may come after this time.
    TooManyRequests(Duration),
    /// 429: as many calls of the account wait to be dialled as may.
    TooManyWaiting,
    /// 503: the table or the bucket cannot answer now.
    Unavailable(Box<dyn Error + Send + Sync>),
    /// 500: a defect of ours.
    Internal(Box<dyn Error + Send + Sync>),
}

#[derive(Serialize)]
struct Body<D> {
    detail: D,
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotJson => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) | Self::StillRunning => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests(_) | Self::TooManyWaiting => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn detail(&self) -> &'static str {
        match self {
            Self::NotJson => "The body is not JSON",
            Self::Unauthorized => "Not authenticated",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::Conflict(detail) => detail,
            Self::StillRunning => "A request with this Idempotency-Key is still running",
            Self::TooLarge => "The body is larger than 256 KiB",
            Self::UnsupportedMediaType => "The body should be application/json",
            Self::Invalid(_) => "Some fields are wrong",
            Self::TooManyRequests(_) => "Too many requests",
            Self::TooManyWaiting => "Too many calls of this account wait to be dialled",
            Self::Unavailable(_) => "The service is not available now; try again",
            Self::Internal(_) => "Internal server error",
        }
    }
}

impl ApiError {
    /// When it is worth asking again, in seconds.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::StillRunning => Some(1),
            // Whole seconds, and not too early.
            Self::TooManyRequests(wait) => Some(wait.as_millis().div_ceil(1_000).try_into().unwrap_or(1)),
            // At one call a second ten of them are dialled by then.
            Self::TooManyWaiting => Some(10),
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let detail = self.detail();
        let retry_after = self.retry_after();
        match self {
            Self::Invalid(detail) => return (status, Json(Body { detail })).into_response(),
            Self::Unavailable(cause) | Self::Internal(cause) => {
                tracing::error!(status = status.as_u16(), error = chain(&*cause), "request failed");
            }
            _ => {}
        }
        let mut response = (status, Json(Body { detail })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// An error and what lies beneath it, in one line.
fn chain(error: &dyn Error) -> String {
    let beneath = std::iter::successors(error.source(), |error| (*error).source());
    beneath.fold(error.to_string(), |text, error| format!("{text}: {error}"))
}

impl From<TableError> for ApiError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Conflict | TableError::Throttled(_) | TableError::Unavailable(_) => {
                Self::Unavailable(error.into())
            }
            TableError::TooLarge | TableError::Corrupt(_) | TableError::Refused(_) => {
                Self::Internal(error.into())
            }
        }
    }
}

/// Of the carrier: what it refuses to us is a defect of ours, or of how we are deployed.
impl From<switchboard_providers::Error> for ApiError {
    fn from(error: switchboard_providers::Error) -> Self {
        if error.is_retryable() { Self::Unavailable(error.into()) } else { Self::Internal(error.into()) }
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        TableError::from(error).into()
    }
}
