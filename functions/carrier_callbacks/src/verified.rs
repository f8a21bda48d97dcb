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
use switchboard_providers::carrier::{
    Carrier as _,
    callbacks::{CallbackRequest, VerifiedCallback},
};
use switchboard_runtime::spans;

use crate::{Callbacks, in_time, respond::respond};

/// A verified callback about a conversation.
pub(crate) struct ConversationCallback {
    pub(crate) account_id: AccountId,
    pub(crate) conversation_id: ConversationId,
    pub(crate) callback: VerifiedCallback,
}

/// A verified callback about a call to one of an account's numbers, whose conversation may not exist yet.
pub(crate) struct NumberCallback {
    pub(crate) account_id: AccountId,
    /// The number that is called. `None` if the account does not have it, or does not have it any more.
    pub(crate) number: Option<PhoneNumber>,
    pub(crate) callback: VerifiedCallback,
}

impl ConversationCallback {
    /// The ids are recorded into the current span.
    pub(crate) fn new(
        account_id: AccountId,
        conversation_id: ConversationId,
        callback: VerifiedCallback,
    ) -> Self {
        spans::record_conversation(account_id, conversation_id);
        Self { account_id, conversation_id, callback }
    }
}

impl FromRequest<Arc<Callbacks>> for ConversationCallback {
    type Rejection = Response;

    async fn from_request(request: Request, callbacks: &Arc<Callbacks>) -> Result<Self, Response> {
        let (ids, unverified) = UnverifiedCallback::read(request, callbacks).await?;
        let (account_id, conversation_id) = ids;
        let backend = &callbacks.backend;
        let own_account = async {
            let Some(found) = backend.table.conversation(account_id, conversation_id).await? else {
                return Ok(None);
            };
            let leg = found.conversation.legs.caller();
            Ok(Some(backend.table.call_account(&backend.sealer, account_id, leg).await?))
        };
        let callback = unverified.verify(callbacks, own_account).await?;
        Ok(Self::new(account_id, conversation_id, callback))
    }
}

impl FromRequest<Arc<Callbacks>> for NumberCallback {
    type Rejection = Response;

    async fn from_request(request: Request, callbacks: &Arc<Callbacks>) -> Result<Self, Response> {
        let (account_id, unverified) = UnverifiedCallback::read(request, callbacks).await?;
        let backend = &callbacks.backend;
        let number = match backend.carrier.claimed_number(&unverified.0) {
            Some(number) => {
                in_time(backend.table.phone_number(account_id, &number)).await.map_err(respond)?
            }
            None => None,
        };
        let own_account = async {
            let Some(number) = &number else { return Ok(None) };
            Ok(Some(backend.table.carrier_account(&backend.sealer, number).await?))
        };
        let callback = unverified.verify(callbacks, own_account).await?;
        spans::record_account(account_id);
        let number = number.filter(PhoneNumber::is_owned);
        Ok(Self { account_id, number, callback })
    }
}

/// A request that may come from any sender.
struct UnverifiedCallback(CallbackRequest);

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
        let headers = parts.headers.clone();
        let body = Bytes::from_request(Request::from_parts(parts, body), callbacks)
            .await
            .map_err(IntoResponse::into_response)?;
        let Ok(Path(ids)) = ids else { return Err(respond(StatusCode::FORBIDDEN)) };
        Ok((ids, Self(CallbackRequest { url, headers, body })))
    }

    async fn verify(
        &self,
        callbacks: &Callbacks,
        own_account: impl Future<Output = Result<Option<CallAccount>, TableError>>,
    ) -> Result<VerifiedCallback, Response> {
        let carrier = &callbacks.backend.carrier;
        if let Some(callback) = carrier.verify(&self.0) {
            return Ok(callback);
        }
        let verified = match in_time(own_account).await.map_err(respond)? {
            Some(CallAccount::Customers(own)) => carrier.through_own(&own).verify(&self.0),
            // The token may have been replaced since it was read.
            Some(CallAccount::Deployments | CallAccount::Gone) | None => {
                carrier.reread_credentials().await;
                carrier.verify(&self.0)
            }
        };
        verified.ok_or_else(|| {
            tracing::warn!("callback without a valid signature rejected");
            respond(StatusCode::FORBIDDEN)
        })
    }
}
