//! Conversations: asked for, shown, listened to.

use std::time::Duration;

use axum::{Json, extract::State};
use serde::Serialize;
use switchboard_aws::table::{Queued, TableError};
use switchboard_contract::lists::ListConversations;
use switchboard_contract::{
    requests::{ChosenAgent, CreatePhoneCall},
    views::ConversationView,
};
use switchboard_model::{
    agents::{Agent, AgentConfig},
    conversations::{Conversation, Snapshot},
    ids::{AccountId, AgentId, ConversationId},
};

use crate::{
    Api,
    errors::ApiError,
    extract::{Caller, JsonBody, Named, Parameters},
    idempotency::Fresh,
    references::{self, Checked},
    views::PageView,
};

/// How long a link to a recording works.
const LINK: Duration = Duration::from_hours(1);

/// `POST /conversations/create_phone_call`: stores the call; the table's stream brings it to the dialer.
pub(crate) async fn create_phone_call(
    Caller(account): Caller,
    State(api): State<Api>,
    fresh: Fresh,
    JsonBody(body): JsonBody,
) -> Result<Json<ConversationView>, ApiError> {
    let checked = Checked::read(&body, |field| CreatePhoneCall::parse(field, api.egress_policy));
    let (call, found) = references::look_up(&api, account, checked).await?;
    let (agent_id, agent): (Option<AgentId>, AgentConfig) = match (call.agent, found.agent) {
        (ChosenAgent::Given(agent), _) => (None, *agent),
        (ChosenAgent::Stored(_), Some(Agent { id, config, .. })) => (Some(id), config),
        (ChosenAgent::Stored(_), None) => {
            return Err(ApiError::Internal("a stored agent was not looked up".into()));
        }
    };
    let (id, now) = (ConversationId::of_request(fresh.id), (api.now)());
    let conversation = Conversation::outbound(id, account, agent_id, call.to_number, call.from_number, now);
    let is_imported = found.number.is_some_and(|number| number.is_imported());
    let conversation = conversation.with_own_carrier(is_imported).with_retention(api.retention);
    let snapshot = Snapshot { conversation, agent };
    match api.table.queue_call(&snapshot).await? {
        Queued::Stored => {}
        // By a request with the same key that died before it could say so.
        Queued::Exists if fresh.again => return show(Caller(account), State(api), Named(id)).await,
        Queued::Exists => return Err(TableError::Conflict.into()),
        Queued::TooMany => return Err(ApiError::TooManyWaiting),
    }
    tracing::info!(account = %account, conversation = %id, "queued");
    Ok(Json(ConversationView::new(&api.public_url, snapshot, Some(vec![]))))
}

/// `GET /conversations`: newest first, without their messages.
pub(crate) async fn list(
    Caller(account): Caller,
    State(api): State<Api>,
    parameters: Parameters,
) -> Result<PageView<ConversationView>, ApiError> {
    let ListConversations { status, listing } = parameters.read(ListConversations::parse)?;
    let (mut found, has_more) = api.table.conversations(account, status, listing).await?;
    let now = (api.now)();
    found.retain(|snapshot| !snapshot.conversation.is_expired(now));
    let items =
        found.into_iter().map(|snapshot| ConversationView::new(&api.public_url, snapshot, None)).collect();
    Ok(PageView { items, index: listing.page.index, has_more })
}

/// `GET /conversations/{id}`
pub(crate) async fn show(
    Caller(account): Caller,
    State(api): State<Api>,
    Named(id): Named,
) -> Result<Json<ConversationView>, ApiError> {
    let snapshot = find(&api, account, id).await?;
    let messages = api.table.messages(account, id).await?;
    Ok(Json(ConversationView::new(&api.public_url, snapshot, Some(messages))))
}

/// `DELETE /conversations/{id}`: takes away everything there is of it. One that was cut short is finished
/// by asking again; the answer then has what was left.
pub(crate) async fn delete(
    Caller(account): Caller,
    State(api): State<Api>,
    Named(id): Named,
) -> Result<Json<ConversationView>, ApiError> {
    let snapshot = find(&api, account, id).await?;
    if snapshot.conversation.ended().is_none() {
        return Err(ApiError::Conflict("Only a conversation that has ended can be deleted: end it first"));
    }
    let messages = api.table.messages(account, id).await?;
    api.recordings.remove(account, id).await?;
    api.table.delete_conversation(account, id).await?;
    // Once more: it may have been joined meanwhile. Who joins later finds no conversation any more, and
    // removes it.
    api.recordings.remove(account, id).await?;
    tracing::info!(account = %account, conversation = %id, "deleted");
    Ok(Json(ConversationView::new(&api.public_url, snapshot, Some(messages))))
}

/// A link to a recording.
#[derive(Serialize)]
pub(crate) struct RecordingView {
    recording_url: String,
}

/// `GET /conversations/{id}/recording`
pub(crate) async fn recording(
    Caller(account): Caller,
    State(api): State<Api>,
    Named(id): Named,
) -> Result<Json<RecordingView>, ApiError> {
    let snapshot = find(&api, account, id).await?;
    let mut link = api.recordings.url(account, id, LINK).await?;
    // The worker that should have joined the pieces may be gone; of a live call there is no recording yet.
    if link.is_none() && snapshot.conversation.ended().is_some() && api.recordings.join(account, id).await? {
        // Somebody may have deleted the conversation meanwhile.
        if api.table.conversation(account, id).await?.is_none() {
            api.recordings.remove(account, id).await?;
            return Err(ApiError::NotFound);
        }
        link = api.recordings.url(account, id, LINK).await?;
    }
    link.map(|recording_url| Json(RecordingView { recording_url })).ok_or(ApiError::NotFound)
}

/// A conversation of the account's that is not forgotten yet.
pub(crate) async fn find(api: &Api, account: AccountId, id: ConversationId) -> Result<Snapshot, ApiError> {
    let found = api.table.conversation(account, id).await?;
    let now = (api.now)();
    found.filter(|snapshot| !snapshot.conversation.is_expired(now)).ok_or(ApiError::NotFound)
}
