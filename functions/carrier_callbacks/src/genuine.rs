//! What the carrier sent, proven to come from it.
//!
//! It signs with the auth token of the account that a call goes through: the deployment's, or the customer's
//! own for a call of an imported number. Which one it is, the conversation or the number says, and is asked
//! only if the deployment's does not fit.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, OriginalUri, Path, Request},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use switchboard_aws::store::StoreError;
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

use crate::{Callbacks, answer, in_time};

/// About a conversation.
pub(crate) struct Genuine {
    pub(crate) account_id: AccountId,
    pub(crate) conversation_id: ConversationId,
    pub(crate) body: Bytes,
}

/// About a call to one of an account's numbers, of which nobody knows yet whether it is a conversation.
pub(crate) struct GenuineOfNumber {
    pub(crate) account_id: AccountId,
    /// The number that is called; none if the account does not have it (any more).
    pub(crate) number: Option<PhoneNumber>,
    pub(crate) body: Bytes,
}

impl FromRequest<Arc<Callbacks>> for Genuine {
    type Rejection = Response;

    async fn from_request(request: Request, callbacks: &Arc<Callbacks>) -> Result<Self, Response> {
        let (ids, sent) = Sent::read(request, callbacks).await?;
        let (account_id, conversation_id) = ids;
        let own = async {
            let Some(found) = callbacks.store.conversation(account_id, conversation_id).await? else {
                return Ok(None);
            };
            Ok(token(callbacks.store.call_account(&callbacks.sealer, &found.conversation).await?))
        };
        sent.prove(callbacks, own).await?;
        Ok(Self { account_id, conversation_id, body: sent.body })
    }
}

impl FromRequest<Arc<Callbacks>> for GenuineOfNumber {
    type Rejection = Response;

    async fn from_request(request: Request, callbacks: &Arc<Callbacks>) -> Result<Self, Response> {
        let (account_id, sent) = Sent::read(request, callbacks).await?;
        let number = match to_number(&parse_form(&sent.body)) {
            Some(number) => {
                in_time(callbacks.store.phone_number(account_id, &number)).await.map_err(answer)?
            }
            None => None,
        };
        let own = async {
            let Some(number) = &number else { return Ok(None) };
            Ok(token(callbacks.store.carrier_account(&callbacks.sealer, number).await?))
        };
        sent.prove(callbacks, own).await?;
        let number = number.filter(PhoneNumber::is_owned);
        Ok(Self { account_id, number, body: sent.body })
    }
}

fn token(account: CallAccount) -> Option<Secret> {
    match account {
        CallAccount::Customers(own) => Some(own.auth_token),
        CallAccount::Deployments | CallAccount::Gone => None,
    }
}

/// What came in, from whomever.
struct Sent {
    url: String,
    signature: String,
    body: Bytes,
}

impl Sent {
    /// With the ids in its path.
    async fn read<Ids>(request: Request, callbacks: &Arc<Callbacks>) -> Result<(Ids, Self), Response>
    where
        Ids: DeserializeOwned + Send,
    {
        let (mut parts, body) = request.into_parts();
        let ids = Path::<Ids>::from_request_parts(&mut parts, callbacks).await;
        let Ok(OriginalUri(uri)) = OriginalUri::from_request_parts(&mut parts, callbacks).await;
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let url = format!("{}{path}", callbacks.public_url);
        let signature = parts.headers.get(signature::HEADER).and_then(|header| header.to_str().ok());
        let signature = signature.unwrap_or_default().to_owned();
        let body = Bytes::from_request(Request::from_parts(parts, body), callbacks)
            .await
            .map_err(IntoResponse::into_response)?;
        let Ok(Path(ids)) = ids else { return Err(answer(StatusCode::FORBIDDEN)) };
        Ok((ids, Self { url, signature, body }))
    }

    async fn prove(
        &self,
        callbacks: &Callbacks,
        own: impl Future<Output = Result<Option<Secret>, StoreError>>,
    ) -> Result<(), Response> {
        if self.is_signed_with(&callbacks.auth_token) {
            return Ok(());
        }
        match in_time(own).await.map_err(answer)? {
            Some(own) if self.is_signed_with(&own) => Ok(()),
            _ => {
                tracing::warn!("a report without a valid signature: refused");
                Err(answer(StatusCode::FORBIDDEN))
            }
        }
    }

    fn is_signed_with(&self, token: &Secret) -> bool {
        signature::verify(token, &self.url, Signed::Form(&parse_form(&self.body)), &self.signature)
    }
}
