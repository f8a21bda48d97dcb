//! Conversations: asked for, shown, listened to.

use std::time::Duration;

use aws::store::Store;
use axum::{Json, extract::State};
use domain::{
    agents::{AgentConfig, WebhookUrls},
    conversations::{Conversation, Snapshot},
    ids::{AccountId, AgentId, ConversationId},
    requests::{ChosenAgent, CreatePhoneCall},
    validation::{Checks, Field, FieldError, Loc, Reference},
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    Api,
    errors::ApiError,
    extract::{Caller, JsonBody, Named, Page},
    views::{ConversationView, EventView, PageView},
};

/// How long a link to a recording works.
const LINK: Duration = Duration::from_hours(1);

/// What a request's body says, and what is still to be looked up.
struct Checked {
    call: Option<CreatePhoneCall>,
    references: Vec<(Loc, Reference)>,
    errors: Vec<FieldError>,
}

/// `POST /conversations/create_phone_call`: stores the call; the table's stream brings it to the dialer.
pub(crate) async fn create_phone_call(
    Caller(account): Caller,
    State(api): State<Api>,
    JsonBody(body): JsonBody,
) -> Result<Json<ConversationView>, ApiError> {
    let Checked { call, references, mut errors } = check(&body, api.webhook_urls);
    let mut stored_agent = None;
    for (loc, reference) in references {
        let exists = match reference {
            Reference::Destination(number) => {
                if !api.store.has_number_in(account, number.calling_code()).await? {
                    errors.push(FieldError::country_not_allowed(loc));
                }
                continue;
            }
            Reference::PhoneNumber(number) => api.store.owns_phone_number(account, &number).await?,
            Reference::Agent(id) => {
                stored_agent = api.store.agent(account, id).await?.map(|agent| (id, agent));
                stored_agent.is_some()
            }
            // Nobody can store one yet.
            Reference::Credential(_) => false,
        };
        if !exists {
            errors.push(FieldError::not_found(loc));
        }
    }
    let (Some(call), true) = (call, errors.is_empty()) else { return Err(ApiError::Invalid(errors)) };
    let (agent_id, agent): (Option<AgentId>, AgentConfig) = match (call.agent, stored_agent) {
        (ChosenAgent::Given(agent), _) => (None, *agent),
        (ChosenAgent::Stored(_), Some((id, agent))) => (Some(id), agent),
        (ChosenAgent::Stored(_), None) => {
            return Err(ApiError::Internal("a stored agent was not looked up".into()));
        }
    };
    let now = (api.now)();
    let id = ConversationId::new(now, (api.random)());
    let conversation = Conversation::outbound(id, account, agent_id, call.to_number, call.from_number, now);
    let snapshot = Snapshot { conversation, agent };
    api.store.create_conversation(&snapshot).await?;
    tracing::info!(account = %account, conversation = %id, "queued");
    Ok(Json(ConversationView::new(&api.public_url, snapshot, vec![])))
}

/// Reads the body; apart from the handler, since what notes the errors must not wait for the table.
fn check(body: &Value, urls: WebhookUrls) -> Checked {
    let checks = Checks::default();
    let call = CreatePhoneCall::parse(&Field::body(body, &checks), urls).ok();
    Checked { call, references: checks.references(), errors: checks.into_errors() }
}

/// `GET /conversations/{id}`
pub(crate) async fn show(
    Caller(account): Caller,
    State(api): State<Api>,
    Named(id): Named,
) -> Result<Json<ConversationView>, ApiError> {
    let snapshot = find(&api.store, account, id).await?;
    let messages = api.store.messages(account, id).await?;
    Ok(Json(ConversationView::new(&api.public_url, snapshot, messages)))
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
    let snapshot = find(&api.store, account, id).await?;
    let mut link = api.recordings.url(account, id, LINK).await?;
    // The worker that should have joined the pieces may be gone; of a live call there is no recording yet.
    if link.is_none() && snapshot.conversation.ended().is_some() && api.recordings.join(account, id).await? {
        link = api.recordings.url(account, id, LINK).await?;
    }
    link.map(|recording_url| Json(RecordingView { recording_url })).ok_or(ApiError::NotFound)
}

/// `GET /conversations/{id}/events`: the event log, oldest first.
pub(crate) async fn events(
    Caller(account): Caller,
    State(api): State<Api>,
    Named(id): Named,
    page: Result<Page, ApiError>,
) -> Result<Json<PageView<EventView>>, ApiError> {
    let snapshot = find(&api.store, account, id).await?;
    // Only now: whoever asks for a page that cannot be must not learn from the answer whether the id exists.
    let page = page?;
    let (events, has_more) = api.store.events(account, id, page.offset(), page.limit).await?;
    let mut items: Vec<_> = events.into_iter().map(|event| EventView::new(event, &snapshot.agent)).collect();
    if let Some(ended) = items.last_mut().filter(|event| event.is_end()) {
        // Read again: the call may have ended between the two reads above.
        let snapshot = find(&api.store, account, id).await?;
        let messages = api.store.messages(account, id).await?;
        ended.show_conversation(ConversationView::new(&api.public_url, snapshot, messages))?;
    }
    Ok(Json(PageView { items, index: page.index, has_more }))
}

async fn find(store: &Store, account: AccountId, id: ConversationId) -> Result<Snapshot, ApiError> {
    store.conversation(account, id).await?.ok_or(ApiError::NotFound)
}
