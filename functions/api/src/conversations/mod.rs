//! `/conversations`: create a call, list, get, delete, link to the recording; `end` ends one, `web_call` creates one for a
//! browser, `scenario` makes a test of one.

mod end;
mod scenario;
mod web_call;

use std::time::Duration;

use axum::{Json, extract::State};
use switchboard_aws::table::{Queued, TableError};
use switchboard_contract::{
    conversations::{ChosenAgent, ConversationView, CreatePhoneCall, RecordingView},
    lists::ListConversations,
};
use switchboard_model::{
    accounts::Limits,
    agents::{Agent, AgentConfig},
    conversations::{Conversation, Snapshot},
    ids::{AccountId, AgentId, ConversationId},
    limits::is_spent,
    time::Timestamp,
};
use switchboard_runtime::spans;

pub(crate) use self::{end::end, scenario::scenario, web_call::create_web_call};
use crate::{
    Api,
    errors::ApiError,
    extract::{Caller, JsonBody, PathParameter, Query},
    idempotency::NewItem,
    pages::PageResponse,
    references,
};

/// Pieces of a recording that are joined while the request waits: five minutes. Joining an hour takes longer than the gateway
/// waits.
const MAX_PIECES: usize = 30;
/// Validity of a link to a recording.
const RECORDING_LINK: Duration = Duration::from_hours(1);

/// `POST /conversations/create_phone_call`: stores the call. The relay sends it from the table's stream to the dialer.
pub(crate) async fn create_phone_call(
    Caller(account): Caller,
    State(api): State<Api>,
    new: NewItem,
    JsonBody(body): JsonBody,
) -> Result<Json<ConversationView>, ApiError> {
    let checked = CreatePhoneCall::read(&body, api.egress_policy);
    let (call, resolved) = references::resolve(&api, account, checked).await?;
    let (agent_id, agent) = chosen_agent(call.agent, resolved.agent)?;
    let (id, now) = (ConversationId::of_request(new.id), (api.now)());
    limits_of_new_call(&api, account, new.may_exist, now).await?;
    spans::record_conversation(account, id);
    let conversation = Conversation::outbound(id, account, agent_id, call.to_number, call.from_number, now);
    let is_imported = resolved.number.is_some_and(|number| number.is_imported());
    let conversation = conversation.with_own_carrier(is_imported).with_retention(api.retention);
    let snapshot = Snapshot { conversation, agent };
    match api.table.queue_call(&snapshot).await? {
        Queued::Stored => {}
        // An earlier request with the same key stored it, and died before it could answer.
        Queued::Exists if new.may_exist => {
            return get(Caller(account), State(api), PathParameter(id)).await;
        }
        Queued::Exists => return Err(TableError::Conflict.into()),
        Queued::TooMany => return Err(ApiError::TooManyWaiting),
    }
    tracing::info!("conversation queued");
    Ok(Json(ConversationView::new(&api.public_url, snapshot, Some(vec![]))))
}

/// The agent of a new call: the one of its request, or the stored one, which `references` has looked up.
fn chosen_agent(
    chosen: ChosenAgent,
    stored: Option<Agent>,
) -> Result<(Option<AgentId>, AgentConfig), ApiError> {
    match (chosen, stored) {
        (ChosenAgent::Given(agent), _) => Ok((None, *agent)),
        (ChosenAgent::Stored(_), Some(Agent { id, config, .. })) => Ok((Some(id), config)),
        (ChosenAgent::Stored(_), None) => Err(ApiError::Internal("a stored agent was not looked up".into())),
    }
}

/// The limits of the account, unless it has reached its spend limit of the day. A call that may exist already was admitted
/// by an earlier request.
async fn limits_of_new_call(
    api: &Api,
    account: AccountId,
    may_exist: bool,
    now: Timestamp,
) -> Result<Limits, ApiError> {
    let limits = api.table.limits(account).await?;
    if !may_exist && is_spent(api.table.spent(account, now).await?, &limits) {
        return Err(ApiError::SpendLimit(until_midnight(now)));
    }
    Ok(limits)
}

/// The time until the next day (UTC).
pub(crate) fn until_midnight(now: Timestamp) -> Duration {
    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
    Duration::from_millis((DAY_MS - now.as_millis().rem_euclid(DAY_MS)).unsigned_abs())
}

/// `GET /conversations`: newest first, without their messages.
pub(crate) async fn list(
    Caller(account): Caller,
    State(api): State<Api>,
    query: Query,
) -> Result<PageResponse<ConversationView>, ApiError> {
    let ListConversations { status, listing } = query.read(ListConversations::read)?;
    let (mut found, has_more) = api.table.conversations(account, status, listing).await?;
    let now = (api.now)();
    found.retain(|snapshot| !snapshot.conversation.is_expired(now));
    let view = |snapshot| ConversationView::new(&api.public_url, snapshot, None);
    Ok(PageResponse::new((found, has_more), listing.page, view))
}

/// `GET /conversations/{id}`
pub(crate) async fn get(
    Caller(account): Caller,
    State(api): State<Api>,
    PathParameter(id): PathParameter<ConversationId>,
) -> Result<Json<ConversationView>, ApiError> {
    let snapshot = find(&api, account, id).await?;
    let messages = api.table.messages(account, id).await?;
    Ok(Json(ConversationView::new(&api.public_url, snapshot, Some(messages))))
}

/// `DELETE /conversations/{id}`: removes all items and objects of a conversation. If it is interrupted, a repeated
/// request removes the rest, and answers with what was left.
pub(crate) async fn delete(
    Caller(account): Caller,
    State(api): State<Api>,
    PathParameter(id): PathParameter<ConversationId>,
) -> Result<Json<ConversationView>, ApiError> {
    let snapshot = find(&api, account, id).await?;
    if snapshot.conversation.ended().is_none() {
        return Err(ApiError::Conflict("Only a conversation that has ended can be deleted: end it first"));
    }
    let messages = api.table.messages(account, id).await?;
    api.recordings.remove(account, id).await?;
    api.table.delete_conversation(account, id, (api.now)()).await?;
    // A worker may have joined the recording meanwhile. One that joins it later finds no conversation, and removes it.
    api.recordings.remove(account, id).await?;
    tracing::info!("conversation deleted");
    Ok(Json(ConversationView::new(&api.public_url, snapshot, Some(messages))))
}

/// `GET /conversations/{id}/recording`
pub(crate) async fn recording(
    Caller(account): Caller,
    State(api): State<Api>,
    PathParameter(id): PathParameter<ConversationId>,
) -> Result<Json<RecordingView>, ApiError> {
    let snapshot = find(&api, account, id).await?;
    let mut link = api.recordings.url(account, id, RECORDING_LINK).await?;
    if link.is_some() || snapshot.conversation.ended().is_none() {
        // A live call has no recording yet.
        return link.map(|recording_url| Json(RecordingView { recording_url })).ok_or(ApiError::NotFound);
    }
    // The worker may have died before it joined the pieces. The sweeper joins many.
    if api.recordings.count_pieces(account, id).await? > MAX_PIECES {
        api.table.want_recording(&snapshot.conversation, (api.now)()).await?;
        return Err(ApiError::NotYet("The recording is being prepared; ask again in a minute"));
    }
    if api.recordings.join(account, id).await? {
        // A `DELETE` may have removed the conversation meanwhile.
        if api.table.conversation(account, id).await?.is_none() {
            api.recordings.remove(account, id).await?;
            return Err(ApiError::NotFound);
        }
        link = api.recordings.url(account, id, RECORDING_LINK).await?;
    }
    link.map(|recording_url| Json(RecordingView { recording_url })).ok_or(ApiError::NotFound)
}

/// A conversation of the account that has not expired.
pub(crate) async fn find(api: &Api, account: AccountId, id: ConversationId) -> Result<Snapshot, ApiError> {
    spans::record_conversation(account, id);
    let found = api.table.conversation(account, id).await?;
    let now = (api.now)();
    found.filter(|snapshot| !snapshot.conversation.is_expired(now)).ok_or(ApiError::NotFound)
}
