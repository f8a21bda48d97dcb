//! What of an event leaves for a webhook.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::conversations::ConversationView;
use switchboard_model::{
    agents::{AgentConfig, Webhook, WebhookMethod},
    conversations::{Conversation, PhoneCall, PhoneCallView, summary_at},
    events::{Event, EventName},
    ids::{AccountId, EventId},
    time::Timestamp,
};

/// The longest value in a query, in bytes: servers refuse a URL of more than some 8,000.
const MAX_VALUE_BYTES: usize = 1_000;

/// An event as it is sent.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// The body of a `POST`.
    Json(String),
    /// What a `GET` has in its query, form-encoded, behind what the webhook's own URL has there.
    Query(String),
}

/// The body of a `POST`.
#[derive(Serialize)]
struct Body<'a> {
    id: EventId,
    event: EventName,
    created_at: Timestamp,
    sequence: u64,
    account_id: AccountId,
    conversation: Value,
    data: &'a Value,
}

impl Payload {
    /// An event for a webhook. `ended` is the conversation as it ended, for [`needs_conversation`].
    ///
    /// A retry says what the first attempt said: also the conversation's status is that of the event, not
    /// of the moment at which it is sent.
    #[must_use]
    pub fn new(
        event: &Event,
        conversation: &Conversation,
        agent: &AgentConfig,
        method: WebhookMethod,
        ended: Option<ConversationView>,
    ) -> Self {
        let data = data(event, ended);
        match method {
            WebhookMethod::Post => {
                let body = Body {
                    id: event.id,
                    event: event.name,
                    created_at: event.created_at,
                    sequence: event.sequence,
                    account_id: conversation.account_id,
                    conversation: summary_at(event.name, conversation, agent),
                    data: &data,
                };
                Self::Json(json!(body).to_string())
            }
            WebhookMethod::Get => Self::Query(query(event, conversation, &data)),
        }
    }

    /// What is signed: the body of a `POST`, and of a `GET`, which has none, its query as it is sent,
    /// without the question mark. `url` is the webhook's.
    #[must_use]
    pub fn signed(&self, url: &str) -> Cow<'_, str> {
        match self {
            Self::Json(body) => Cow::Borrowed(body),
            Self::Query(query) => match Url::parse(url).ok().as_ref().and_then(Url::query) {
                Some(own) => Cow::Owned(format!("{own}&{query}")),
                None => Cow::Borrowed(query),
            },
        }
    }
}

/// Whether an event takes the conversation along, as it ended: a query has no place for it.
#[must_use]
pub fn needs_conversation(event: EventName, webhook: &Webhook) -> bool {
    event == EventName::Ended && webhook.method == WebhookMethod::Post
}

/// What an event carries, as clients and webhooks see it: a call is stored without what all calls have
/// in common, and the conversation that ended is not stored in its event.
#[must_use]
pub fn data(event: &Event, ended: Option<ConversationView>) -> Value {
    let mut data = event.data.clone();
    if let Some(stored) = data.get_mut("phone_call")
        && let Ok(call) = PhoneCall::deserialize(&*stored)
    {
        *stored = json!(PhoneCallView::from(call));
    }
    if let Some(conversation) = ended {
        add_conversation(&mut data, conversation);
    }
    data
}

/// Adds the conversation as it ended. It goes to receivers that the headers of the others' webhooks,
/// which may hold secrets, are not meant for.
pub(crate) fn add_conversation(data: &mut Value, conversation: ConversationView) {
    let conversation = json!(conversation.without_headers());
    match data {
        Value::Object(data) => _ = data.insert("conversation".into(), conversation),
        data => *data = json!({ "conversation": conversation }),
    }
}

/// The event, flat: what is in an object has its name before it (`message.role`), lists and nulls are left
/// out, and a long text is cut.
fn query(event: &Event, conversation: &Conversation, data: &Value) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("event", event.name.as_str())
        .append_pair("id", &event.id.to_string())
        .append_pair("sequence", &event.sequence.to_string())
        .append_pair("conversation_id", &conversation.id.to_string());
    flatten(&mut query, "", data);
    query.finish()
}

fn flatten(query: &mut form_urlencoded::Serializer<'_, String>, name: &str, value: &Value) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                flatten(query, &name, value);
            }
        }
        Value::String(text) => {
            _ = query.append_pair(name, &text[..text.floor_char_boundary(MAX_VALUE_BYTES)]);
        }
        Value::Bool(_) | Value::Number(_) => _ = query.append_pair(name, &value.to_string()),
        Value::Null | Value::Array(_) => {}
    }
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
