//! The extractors of handlers: the caller, the path's parameters, the query, the JSON body.

use std::collections::BTreeMap;

use axum::{
    body::to_bytes,
    extract::{self, FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, header, request::Parts},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use switchboard_contract::{lists, validation::FieldError};
use switchboard_model::{accounts::Token, ids::AccountId, lists::Listing};
use switchboard_runtime::spans;

use crate::{Api, MAX_BODY_BYTES, errors::ApiError};

/// The account whose token came with the request. It is the first argument of every handler that needs a token, so a
/// request is authenticated before anything else is checked.
#[derive(Clone, Copy)]
pub(crate) struct Caller(pub(crate) AccountId);

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        if let Some(caller) = parts.extensions.get() {
            return Ok(*caller);
        }
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(Token::from_authorization).ok_or(ApiError::Unauthorized)?;
        let account = api.table.account_of_token(&token).await?.ok_or(ApiError::Unauthorized)?;
        spans::record_account(account);
        api.count(account, 1).await?;
        parts.extensions.insert(Self(account));
        Ok(Self(account))
    }
}

/// The id in the path, or the ids as a tuple. A malformed id is answered like an unknown one.
pub(crate) struct PathParameter<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathParameter<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(ApiError::NotFound),
        }
    }
}

/// A byte order mark in UTF-8, which some editors and clients put before JSON.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A JSON body of at most [`MAX_BODY_BYTES`].
pub(crate) struct JsonBody(pub(crate) Value);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| ApiError::TooLarge)?;
        if !bytes.is_empty() && !is_json(&parts.headers) {
            return Err(ApiError::UnsupportedMediaType);
        }
        let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
        serde_json::from_slice(text).map(Self).map_err(|error| ApiError::NotJson(error.to_string()))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// The parameters of the query, as one JSON object.
pub(crate) struct Query(Value);

impl Query {
    /// Reads the parameters.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Value) -> Result<T, Vec<FieldError>>,
    ) -> Result<T, ApiError> {
        Ok(read(&self.0)?)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let given = extract::Query::<BTreeMap<String, String>>::from_request_parts(parts, state).await;
        let given = given.map_or_else(|_| BTreeMap::new(), |extract::Query(given)| given);
        // Numbers arrive as text. Digits with leading zeros are no number, and stay text.
        let typed = |text: String| match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Value::from(number),
            _ => Value::String(text),
        };
        Ok(Self(Value::Object(given.into_iter().map(|(name, text)| (name, typed(text))).collect())))
    }
}

/// The page and the time range that the query of a list names.
pub(crate) struct ListQuery(pub(crate) Listing);

impl<S: Send + Sync> FromRequestParts<S> for ListQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Query::from_request_parts(parts, state).await?.read(lists::read_listing).map(Self)
    }
}
