//! The answer of a list: one page, of at most the size that Lambda can answer with.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use switchboard_contract::{lists::PageView, validation::FieldError};
use switchboard_model::lists::Page;

use crate::errors::ApiError;

/// Maximum size of a function's answer, in bytes (AWS Lambda, quotas). The answer travels as a JSON string, in which
/// quotes and backslashes take two bytes.
const MAX_ANSWER_BYTES: usize = 6_000_000;

/// One page of a list.
pub(crate) struct PageResponse<T>(PageView<T>);

impl<T> PageResponse<T> {
    /// The items of a page, and whether there is a next one, as the client sees them.
    pub(crate) fn new<S>((found, has_more): (Vec<S>, bool), page: Page, view: impl FnMut(S) -> T) -> Self {
        Self(PageView { items: found.into_iter().map(view).collect(), index: page.index, has_more })
    }
}

impl<T: Serialize> IntoResponse for PageResponse<T> {
    fn into_response(self) -> Response {
        let page = match serde_json::to_vec(&self.0) {
            Ok(page) => page,
            Err(error) => return ApiError::Internal(error.into()).into_response(),
        };
        let escaped = page.iter().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        if page.len() + escaped > MAX_ANSWER_BYTES {
            let msg = "The items of this page are too large together: ask for fewer";
            return ApiError::Invalid(vec![FieldError::at("query", "limit", "less_than", msg)])
                .into_response();
        }
        ([(header::CONTENT_TYPE, "application/json")], page).into_response()
    }
}
