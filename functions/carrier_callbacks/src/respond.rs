//! Responses to the carrier: a status, or a document.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use switchboard_aws::table::TableError;
use switchboard_providers::carrier::documents::CallDocument;

/// A status with its name as JSON.
pub(crate) fn respond(status: StatusCode) -> Response {
    (status, Json(json!({ "detail": status.canonical_reason() }))).into_response()
}

/// Instructions in the carrier's language.
pub(crate) fn respond_with(CallDocument { content_type, body }: CallDocument) -> Response {
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// The status for a failure of the table.
pub(crate) fn status_of_failure(error: &TableError) -> StatusCode {
    tracing::error!(%error, "table request failed");
    match error {
        TableError::Conflict | TableError::Throttled(_) | TableError::Unavailable(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
