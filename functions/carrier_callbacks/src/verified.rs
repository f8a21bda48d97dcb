//! Callbacks whose signature was verified.
//!
//! The carrier signs with the auth token of the account that a call goes through: the deployment's, or the customer's
//! own for a call of an imported number. The customer's is read only if the deployment's does not match.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, OriginalUri, Path, Request},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use switchboard_aws::table::TableError;
use switchboard_model::{
    ids::{AccountId, ConversationId},
    phone_numbers::{CallAccount, PhoneNumber},
};
use switchboard_providers::{
    Secret,
    twilio::{
        callbacks::{parse_form, to_number},
        signature::{self, Signed},
    },
};
use switchboard_runtime::spans;

use crate::{Callbacks, in_time, respond::respond};

/// A verified callback about a conversation.
pub(crate) struct VerifiedCallback {
    pub(crate) account_id: AccountId,
    pub(crate) conversation_id: ConversationId,
    pub(crate) body: Bytes,
}

/// A verified callback about a call to one of an account's numbers, whose conversation may not exist yet.
pub(crate) struct VerifiedNumberCallback {
    pub(crate) account_id: AccountId,
    /// The number that is called. `None` if the account does not have it, or does not have it any more.
    pub(crate) number: Option<PhoneNumber>,
    pub(crate) body: Bytes,
}

impl VerifiedCallback {
    /// The ids are recorded into the current span.
    pub(crate) fn new(account_id: AccountId, conversation_id: ConversationId, body: Bytes) -> Self {
        spans::record_conversation(account_id, conversation_id);
        Self { account_id, conversation_id, body }
    }
}

impl FromRequest<Arc<Callbacks>> for VerifiedCallback {
    type Rejection = Response;

    async fn from_request(request: Request, callbacks: &Arc<Callbacks>) -> Result<Self, Response> {
        let (ids, unverified) = UnverifiedCallback::read(request, callbacks).await?;
        let (account_id, conversation_id) = ids;
        let backend = &callbacks.backend;
        let customers_token = async {
            let Some(found) = backend.table.conversation(account_id, conversation_id).await? else {
                return Ok(None);
            };
            Ok(token(backend.table.call_account(&backend.sealer, &found.conversation).await?))
        };
        unverified.verify(callbacks, customers_token).await?;
        Ok(Self::new(account_id, conversation_id, unverified.body))
    }
}

impl FromRequest<Arc<Callbacks>> for VerifiedNumberCallback {
    type Rejection = Response;

    async fn from_request(request: Request, callbacks: &Arc<Callbacks>) -> Result<Self, Response> {
        let (account_id, unverified) = UnverifiedCallback::read(request, callbacks).await?;
        let backend = &callbacks.backend;
        let number = match to_number(&parse_form(&unverified.body)) {
            Some(number) => {
                in_time(backend.table.phone_number(account_id, &number)).await.map_err(respond)?
            }
            None => None,
        };
        let customers_token = async {
            let Some(number) = &number else { return Ok(None) };
            Ok(token(backend.table.carrier_account(&backend.sealer, number).await?))
        };
        unverified.verify(callbacks, customers_token).await?;
        spans::record_account(account_id);
        let number = number.filter(PhoneNumber::is_owned);
        Ok(Self { account_id, number, body: unverified.body })
    }
}

fn token(account: CallAccount) -> Option<Secret> {
    match account {
        CallAccount::Customers(own) => Some(own.auth_token),
        CallAccount::Deployments | CallAccount::Gone => None,
    }
}

/// A request that may come from any sender.
struct UnverifiedCallback {
    url: String,
    signature: String,
    body: Bytes,
}

impl UnverifiedCallback {
    /// Reads the request, and the ids in its path.
    async fn read<Ids>(request: Request, callbacks: &Arc<Callbacks>) -> Result<(Ids, Self), Response>
    where
        Ids: DeserializeOwned + Send,
    {
        let (mut parts, body) = request.into_parts();
        let ids = Path::<Ids>::from_request_parts(&mut parts, callbacks).await;
        let Ok(OriginalUri(uri)) = OriginalUri::from_request_parts(&mut parts, callbacks).await;
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let url = format!("{}{path}", callbacks.urls.public_url());
        let signature = parts.headers.get(signature::HEADER).and_then(|header| header.to_str().ok());
        let signature = signature.unwrap_or_default().to_owned();
        let body = Bytes::from_request(Request::from_parts(parts, body), callbacks)
            .await
            .map_err(IntoResponse::into_response)?;
        let Ok(Path(ids)) = ids else { return Err(respond(StatusCode::FORBIDDEN)) };
        Ok((ids, Self { url, signature, body }))
    }

    async fn verify(
        &self,
        callbacks: &Callbacks,
        customers_token: impl Future<Output = Result<Option<Secret>, TableError>>,
    ) -> Result<(), Response> {
        if self.is_signed_with(&callbacks.auth_token) {
            return Ok(());
        }
        match in_time(customers_token).await.map_err(respond)? {
            Some(token) if self.is_signed_with(&token) => Ok(()),
            _ => {
                tracing::warn!("callback without a valid signature rejected");
                Err(respond(StatusCode::FORBIDDEN))
            }
        }
    }

    fn is_signed_with(&self, token: &Secret) -> bool {
        signature::verify(token, &self.url, Signed::Form(&parse_form(&self.body)), &self.signature)
    }
}
