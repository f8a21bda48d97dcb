//! What a handler may receive: only what was proven before it runs.

use std::collections::BTreeMap;

use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, header, request::Parts},
};
use domain::{
    accounts::Token,
    ids::{AccountId, ConversationId},
    validation::{Checks, Field, FieldError, Noted, Read, Step},
};
use serde_json::Value;

use crate::{Api, MAX_BODY_BYTES, errors::ApiError};

/// The most items of one page.
const MAX_LIMIT: i64 = 100;
/// The last item that can be reached by paging.
const MAX_DEPTH: i64 = 10_000;

/// The account whose token came with the request. The first argument of every handler but the
/// service document's: nothing else is looked at before.
pub(crate) struct Caller(pub(crate) AccountId);

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(Token::from_authorization).ok_or(ApiError::Unauthorized)?;
        api.store.account_of_token(&token).await?.map(Self).ok_or(ApiError::Unauthorized)
    }
}

/// The id in the path. A malformed one is one that does not exist.
pub(crate) struct Named(pub(crate) ConversationId);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(ApiError::NotFound),
        }
    }
}

/// A JSON body of acceptable size.
pub(crate) struct JsonBody(pub(crate) Value);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| ApiError::TooLarge)?;
        if !bytes.is_empty() && !is_json(&parts.headers) {
            return Err(ApiError::UnsupportedMediaType);
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|_| ApiError::NotJson)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Which page of a list is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// From 1.
    pub(crate) index: u64,
    /// How many items it has at most, 1 to 100.
    pub(crate) limit: usize,
}

impl Page {
    /// How many items come before it.
    pub(crate) fn offset(self) -> u64 {
        (self.index - 1).saturating_mul(self.limit as u64)
    }

    fn parse(query: &Field<'_>) -> Read<Self> {
        let object = query.object()?;
        let index = object.or("index", 1, |field| field.integer(1..=MAX_DEPTH));
        let limit = object.or("limit", MAX_LIMIT, |field| field.integer(1..=MAX_LIMIT));
        let (index, limit): (i64, i64) = (index?, limit?);
        Ok(Self { index: index.unsigned_abs(), limit: usize::try_from(limit).unwrap_or(1) })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let given = Query::<BTreeMap<String, String>>::from_request_parts(parts, state).await;
        let given = given.map_or_else(|_| BTreeMap::new(), |Query(given)| given);
        // Numbers come as text; what is none is reported as it came.
        let typed = |text: String| text.parse::<i64>().map_or(Value::String(text), Value::from);
        let query = Value::Object(given.into_iter().map(|(name, text)| (name, typed(text))).collect());
        let checks = Checks::default();
        match Self::parse(&Field::query(&query, &checks)) {
            Ok(page) if page.index.saturating_mul(page.limit as u64) > MAX_DEPTH.unsigned_abs() => {
                let loc = ["query", "index"].map(|step| Step::Field(step.into())).into();
                let msg = format!("index * limit should be at most {MAX_DEPTH}");
                Err(ApiError::Invalid(vec![FieldError { loc, msg, kind: "less_than_equal" }]))
            }
            Ok(page) => Ok(page),
            Err(Noted) => Err(ApiError::Invalid(checks.into_errors())),
        }
    }
}
