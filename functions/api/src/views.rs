//! What a client sees of a list; of what is in it, see [`switchboard_contract::views`].

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use switchboard_contract::validation::{FieldError, Step};

use crate::errors::ApiError;

/// The largest answer that a function can give, in bytes (AWS Lambda, quotas). It travels as a JSON
/// string, in which quotes and backslashes are two.
const LARGEST: usize = 6_000_000;

/// One page of a list.
#[derive(Serialize)]
pub(crate) struct PageView<T> {
    /// What is on it.
    pub(crate) items: Vec<T>,
    /// Which page it is, from 1.
    pub(crate) index: u64,
    /// Whether there is a next one.
    pub(crate) has_more: bool,
}

impl<T: Serialize> IntoResponse for PageView<T> {
    fn into_response(self) -> Response {
        let page = match serde_json::to_vec(&self) {
            Ok(page) => page,
            Err(error) => return ApiError::Internal(error.into()).into_response(),
        };
        let escaped = page.iter().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        if page.len() + escaped > LARGEST {
            let loc = ["query", "limit"].map(|step| Step::Field(step.into())).into();
            let msg = "The items of this page are too large together: ask for fewer".into();
            return ApiError::Invalid(vec![FieldError { loc, msg, kind: "less_than" }]).into_response();
        }
        ([(header::CONTENT_TYPE, "application/json")], page).into_response()
    }
}
