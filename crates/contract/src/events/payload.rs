//! An event as a webhook receives it: the body of a `POST`, or the query of a `GET`.
//!
//! It knows nothing of HTTP clients and retries; [`signature`](crate::signature) signs its content.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::conversations::ConversationView;
use switchboard_model::{
    agents::AgentConfig,
    conversations::{Conversation, summary_at},
    event_names::EventName,
    events::Event,
    ids::{AccountId, EventId},
    time::Timestamp,
    webhooks::{Webhook, WebhookMethod},
};

/// Maximum length of a value in a query, in bytes: servers reject a URL of more than about 8,000.
const MAX_VALUE_BYTES: usize = 1_000;

/// The content of a request to a webhook.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// The body of a `POST`.
    Json(String),
    /// The query of a `GET`, form-encoded. It follows the query of the webhook's own URL.
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
    /// A retry has the content of the first attempt: the conversation's status is that of the event, not of the time
    /// of the attempt.
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

    /// The content that is signed: the body of a `POST`; the whole query of a `GET`, without the question mark. `url` is
    /// the webhook's.
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

/// Whether the payload contains the conversation as it ended. A query has no place for it.
#[must_use]
pub fn needs_conversation(event: EventName, webhook: &Webhook) -> bool {
    event == EventName::Ended && webhook.method == WebhookMethod::Post
}

/// The data of an event as clients and webhooks see it. The conversation that ended is not stored in its event.
#[must_use]
pub fn data(event: &Event, ended: Option<ConversationView>) -> Value {
    let mut data = event.data.clone();
    if let Some(conversation) = ended {
        add_conversation(&mut data, conversation);
    }
    data
}

/// Adds the conversation as it ended, without the headers of webhooks: they may hold secrets, which other receivers must
/// not see.
pub(crate) fn add_conversation(data: &mut Value, conversation: ConversationView) {
    let conversation = json!(conversation.without_headers());
    match data {
        Value::Object(data) => _ = data.insert("conversation".into(), conversation),
        data => *data = json!({ "conversation": conversation }),
    }
}

/// The event, flattened: a member of an object has the object's name before its own (`message.role`). Lists and nulls are
/// left out, and a long text is cut.
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
