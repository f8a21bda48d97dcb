//! The errors of the API. This is the only place where an error becomes a status and a body. The cause of a 5xx is logged
//! here, once, and never shown.

use std::{borrow::Cow, error::Error, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use switchboard_aws::{ServiceError, table::TableError};
use switchboard_contract::{
    errors::{ErrorView, ValidationErrorView},
    validation::FieldError,
};

/// The reason why a request failed.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// 400: the body is not JSON; the reason and its place, without text of the body.
    NotJson(String),
    /// 401: no, a malformed or an unknown token.
    Unauthorized,
    /// 404: the account does not have the item. Unknown, foreign and malformed ids look the same.
    NotFound,
    /// 404: there is none yet, with the reason.
    NotYet(&'static str),
    /// 405: the path exists, the method does not.
    MethodNotAllowed,
    /// 409: not possible in the current state, with the reason.
    Conflict(&'static str),
    /// 409: a request with the same idempotency key is still running.
    StillRunning,
    /// 413: the body is larger than [`MAX_BODY_BYTES`](crate::MAX_BODY_BYTES).
    TooLarge,
    /// 415: the body is not `application/json`.
    UnsupportedMediaType,
    /// 422: these fields are wrong.
    Invalid(Vec<FieldError>),
    /// 429: the account sent too many requests per second; the next one is accepted after this time.
    TooManyRequests(Duration),
    /// 429: too many calls of the account wait to be dialled.
    TooManyWaiting,
    /// 429: as many inbound and web calls of the account are live as its limit allows.
    TooManyLive,
    /// 429: the account has spent its daily limit; a new day begins after this time.
    SpendLimit(Duration),
    /// 429: the account has bought as many numbers as it may on a day; a new day begins after this time.
    PurchaseLimit(Duration),
    /// 503: the table, the bucket or the carrier is unavailable.
    Unavailable(Box<dyn Error + Send + Sync>),
    /// 500: an internal error.
    Internal(Box<dyn Error + Send + Sync>),
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotJson(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound | Self::NotYet(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) | Self::StillRunning => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests(_)
            | Self::TooManyWaiting
            | Self::TooManyLive
            | Self::SpendLimit(_)
            | Self::PurchaseLimit(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn detail(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::NotJson(reason) => return Cow::Owned(format!("The body is not JSON: {reason}")),
            Self::Unauthorized => "Not authenticated",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::Conflict(detail) | Self::NotYet(detail) => detail,
            Self::StillRunning => "A request with this Idempotency-Key is still running",
            Self::TooLarge => "The body is larger than 256 KiB",
            Self::UnsupportedMediaType => "The body should be application/json",
            Self::Invalid(_) => "Some fields are wrong",
            Self::TooManyRequests(_) => "Too many requests",
            Self::TooManyWaiting => "Too many calls of this account wait to be dialled",
            Self::TooManyLive => {
                "This account has reached its limit of live inbound and web calls; end one, or try again later"
            }
            Self::SpendLimit(_) => {
                "This account has reached its spend limit of the day; a new day begins at midnight UTC"
            }
            Self::PurchaseLimit(_) => {
                "This account has bought as many numbers as it may on a day; a new day begins at midnight UTC"
            }
            Self::Unavailable(_) => "The service is not available now; try again",
            Self::Internal(_) => "Internal server error",
        })
    }
}

impl ApiError {
    /// Seconds after which a repeated request may succeed.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::StillRunning => Some(1),
            Self::NotYet(_) => Some(60),
            // Whole seconds, rounded up.
            Self::TooManyRequests(wait) | Self::SpendLimit(wait) | Self::PurchaseLimit(wait) => {
                Some(wait.as_millis().div_ceil(1_000).try_into().unwrap_or(1))
            }
            // At one call a second, ten calls are dialled in that time.
            Self::TooManyWaiting | Self::TooManyLive => Some(10),
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
            Self::Invalid(detail) => return (status, Json(ValidationErrorView { detail })).into_response(),
            Self::Unavailable(cause) | Self::Internal(cause) => {
                tracing::error!(status = status.as_u16(), error = with_causes(&*cause), "request failed");
            }
            _ => {}
        }
        let mut response = (status, Json(ErrorView { detail: detail.into_owned() })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// An error and its causes, in one line.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.fold(error.to_string(), |text, error| format!("{text}: {error}"))
}

impl From<Vec<FieldError>> for ApiError {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::Invalid(errors)
    }
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

/// An error of the carrier. A request that it rejects is a defect of this code or of the deployment.
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
