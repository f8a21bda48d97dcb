//! What a handler may receive: only what was proven before it runs.

use std::collections::BTreeMap;

use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, header, request::Parts},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use switchboard_contract::validation::{Checks, Field, Noted, Read};
use switchboard_model::{
    accounts::Token,
    ids::{AccountId, ConversationId},
};

use crate::{Api, MAX_BODY_BYTES, errors::ApiError, throttle::Awaited};

/// The account whose token came with the request. The first argument of every handler but the
/// service document's: nothing else is looked at before.
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
        // A request that only reads is counted while it is answered.
        if !parts.extensions.get::<Awaited>().is_some_and(|awaited| awaited.say(account)) {
            api.count(account).await?;
        }
        parts.extensions.insert(Self(account));
        Ok(Self(account))
    }
}

/// The id in the path, or the ids as a tuple. A malformed one is one that does not exist.
pub(crate) struct Named<T = ConversationId>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
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

/// The parameters of the query, as they came.
pub(crate) struct Parameters(Value);

impl Parameters {
    /// Reads them; the error names all that are wrong.
    pub(crate) fn read<T>(&self, parse: impl FnOnce(&Field<'_>) -> Read<T>) -> Result<T, ApiError> {
        let checks = Checks::default();
        let read = parse(&Field::query(&self.0, &checks));
        read.map_err(|Noted| ApiError::Invalid(checks.into_errors()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let given = Query::<BTreeMap<String, String>>::from_request_parts(parts, state).await;
        let given = given.map_or_else(|_| BTreeMap::new(), |Query(given)| given);
        // Numbers come as text; what is none, or begins with a zero as digits do, stays as it came.
        let typed = |text: String| match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Value::from(number),
            _ => Value::String(text),
        };
        Ok(Self(Value::Object(given.into_iter().map(|(name, text)| (name, typed(text))).collect())))
    }
}
