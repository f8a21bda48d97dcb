//! `POST /conversations/create_web_call`: stores a call that a browser will open.

use axum::{Json, extract::State};
use switchboard_aws::table::{Begun, Outcome, TableError};
use switchboard_contract::{
    conversations::ConversationView,
    web_calls::{CreateWebCall, CreatedWebCallView, WebCallView},
};
use switchboard_model::{
    accounts::sha256_hex,
    conversations::{Conversation, LegId, Snapshot, Transition},
    ids::{AccountId, ConversationId},
};
use switchboard_runtime::{random_hex, spans};

use super::{chosen_agent, find, limits_of_new_call};
use crate::{
    Api,
    errors::ApiError,
    extract::{Caller, JsonBody},
    idempotency::NewItem,
    references,
};

/// The call takes a slot of the account's inbound calls at once, until its URL expires or the call ends.
pub(crate) async fn create_web_call(
    Caller(account): Caller,
    State(api): State<Api>,
    new: NewItem,
    JsonBody(body): JsonBody,
) -> Result<Json<CreatedWebCallView>, ApiError> {
    let checked = CreateWebCall::read(&body, api.egress_policy);
    let (call, resolved) = references::resolve(&api, account, checked).await?;
    let (agent_id, agent) = chosen_agent(call.agent, resolved.agent)?;
    let Some(media_url) = &api.media_url else {
        return Err(ApiError::Unavailable(
            "MEDIA_URL is not set: this deployment has no media worker".into(),
        ));
    };
    let (id, now) = (ConversationId::of_request(new.id), (api.now)());
    let limits = limits_of_new_call(&api, account, new.may_exist, now).await?;
    spans::record_conversation(account, id);
    let token = random_hex::<32>();
    let url = format!("{media_url}/web/{account}/{id}/{token}");
    let conversation = Conversation::web(id, account, agent_id, sha256_hex(&token), now);
    let conversation = conversation.with_retention(api.retention);
    let change = Transition { conversation, events: vec![], messages: vec![] };
    match api.table.begin(&change, &agent, &limits).await? {
        Begun::Stored => {}
        // An earlier request with the same key stored it, and died before it could answer: its token is lost.
        Begun::Exists if new.may_exist => return created_before(&api, account, id, &token, url).await,
        Begun::Exists => return Err(TableError::Conflict.into()),
        Begun::Full => return Err(ApiError::TooManyLive),
    }
    tracing::info!("web call created");
    Ok(answer(&api, Snapshot { conversation: change.conversation, agent }, Some(url)))
}

/// Gives the call another token, unless a browser has opened it.
async fn created_before(
    api: &Api,
    account: AccountId,
    id: ConversationId,
    token: &str,
    url: String,
) -> Result<Json<CreatedWebCallView>, ApiError> {
    let (hash, now) = (sha256_hex(token), (api.now)());
    let replace = |Snapshot { conversation, .. }: &Snapshot| {
        if conversation.web_url_expires_at() <= now {
            return Err(switchboard_model::conversations::InvalidTransition);
        }
        conversation.replace_media_token(LegId::CALLER, hash.clone())
    };
    match api.table.transition(account, id, replace).await? {
        Outcome::Changed(snapshot) => Ok(answer(api, snapshot, Some(url))),
        Outcome::Unchanged(_) | Outcome::LostLease | Outcome::NotFound => {
            Ok(answer(api, find(api, account, id).await?, None))
        }
    }
}

fn answer(api: &Api, snapshot: Snapshot, url: Option<String>) -> Json<CreatedWebCallView> {
    let expires_at = snapshot.conversation.web_url_expires_at();
    let conversation = ConversationView::new(&api.public_url, snapshot, Some(vec![]));
    Json(CreatedWebCallView { conversation, web_call: url.map(|url| WebCallView { url, expires_at }) })
}
