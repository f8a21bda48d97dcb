//! One received webhook: its payload, whether it is a repetition, and the response to it.

use std::collections::{HashMap, VecDeque};

use axum::body::Bytes;
use serde_json::{Map, Value, json};

/// Maximum number of remembered ids.
const IDS: usize = 10_000;

/// Maximum depth of an event's data.
const DEPTH: usize = 8;

/// The only event whose response has a meaning.
const FUNCTION_CALL: &str = "function_call:triggered";

/// Whether a webhook is a repetition, judged by its `webhook-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Its id is new, or it has none.
    First,
    /// All earlier attempts were refused; the number of attempts, this one included.
    Retry(u32),
    /// An earlier attempt was accepted; the number of attempts, this one included.
    Duplicate(u32),
}

/// The ids that were received; the oldest are forgotten.
#[derive(Default)]
pub(super) struct Seen {
    times: HashMap<String, (u32, bool)>,
    order: VecDeque<String>,
}

impl Seen {
    /// Records an attempt, and whether it is accepted.
    pub(super) fn note(&mut self, id: &str, taken: bool) -> Repeat {
        if let Some((times, taken_before)) = self.times.get_mut(id) {
            *times = times.saturating_add(1);
            let repeat = if *taken_before { Repeat::Duplicate(*times) } else { Repeat::Retry(*times) };
            *taken_before |= taken;
            return repeat;
        }
        if self.order.len() == IDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.times.remove(&oldest);
        }
        self.order.push_back(id.to_owned());
        self.times.insert(id.to_owned(), (1, taken));
        Repeat::First
    }
}

/// The JSON body of a webhook, or the query of a `GET` in the same form. A body that is not JSON becomes text.
pub(super) fn payload(body: &Bytes, query: &str) -> Value {
    if body.is_empty() {
        return flat(query);
    }
    serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

fn flat(query: &str) -> Value {
    let (mut payload, mut data) = (Map::new(), Map::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = Value::String(value.into_owned());
        match &*name {
            "conversation_id" => _ = payload.insert("conversation".to_owned(), json!({ "id": value })),
            "id" | "event" | "sequence" | "created_at" | "account_id" => {
                payload.insert(name.into_owned(), value);
            }
            _ => insert(&mut data, &name, value),
        }
    }
    if payload.is_empty() && data.is_empty() {
        return Value::Null;
    }
    payload.insert("data".to_owned(), Value::Object(data));
    Value::Object(payload)
}

/// Inserts a value at the path that a name such as `message.role` describes.
fn insert(mut object: &mut Map<String, Value>, name: &str, value: Value) {
    let mut parts = name.splitn(DEPTH, '.').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            object.insert(part.to_owned(), value);
            return;
        }
        match object.entry(part).or_insert_with(|| json!({})) {
            Value::Object(inner) => object = inner,
            _ => return,
        }
    }
}

/// The response to an accepted webhook: empty, or the result of a tool call.
pub(super) fn answer(payload: &Value, answers: &Map<String, Value>) -> Option<Value> {
    if payload["event"] != FUNCTION_CALL {
        return None;
    }
    let name = function_name(payload)?;
    // The result that the model would get without any webhook.
    Some(json!({ "result": answers.get(name).cloned().unwrap_or_else(|| json!({ "ok": true })) }))
}

/// The name of the called tool.
pub(super) fn function_name(payload: &Value) -> Option<&str> {
    payload["data"]["function"]["name"].as_str()
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use serde_json::{Map, Value, json};

    use super::{IDS, Repeat, Seen, answer, payload};

    #[test]
    fn a_refused_webhook_is_retried_and_an_accepted_one_is_a_duplicate() {
        let mut seen = Seen::default();
        assert_eq!(seen.note("a", false), Repeat::First);
        assert_eq!(seen.note("b", true), Repeat::First);
        assert_eq!(seen.note("a", false), Repeat::Retry(2));
        assert_eq!(seen.note("a", true), Repeat::Retry(3));
        assert_eq!(seen.note("a", true), Repeat::Duplicate(4));
        assert_eq!(seen.note("b", true), Repeat::Duplicate(2));
    }

    #[test]
    fn old_ids_are_forgotten() {
        let mut seen = Seen::default();
        for id in 0..=IDS {
            seen.note(&id.to_string(), true);
        }
        assert_eq!((seen.times.len(), seen.order.len()), (IDS, IDS));
        assert_eq!(seen.note("0", true), Repeat::First);
        assert_eq!(seen.note("2", true), Repeat::Duplicate(2));
    }

    #[test]
    fn a_get_is_read_like_a_post() {
        let read = payload(
            &Bytes::new(),
            "event=conversation%3Aduration&id=evt_1&sequence=4&conversation_id=cnv_1&duration=12&message.role=user",
        );
        assert_eq!(
            read,
            json!({
                "event": "conversation:duration", "id": "evt_1", "sequence": "4",
                "conversation": { "id": "cnv_1" }, "data": { "duration": "12", "message": { "role": "user" } },
            })
        );
        assert_eq!(payload(&Bytes::new(), ""), Value::Null);
        assert_eq!(payload(&Bytes::from_static(b"hello"), ""), json!("hello"));
    }

    #[test]
    fn a_tool_call_is_answered_from_the_file() {
        let answers: Map<String, Value> =
            [("price".to_owned(), json!({ "cake": 12 })), ("open".to_owned(), json!(true))]
                .into_iter()
                .collect();
        let call =
            |name| json!({ "event": "function_call:triggered", "data": { "function": { "name": name } } });
        assert_eq!(answer(&call("price"), &answers), Some(json!({ "result": { "cake": 12 } })));
        assert_eq!(answer(&call("open"), &answers), Some(json!({ "result": true })));
        assert_eq!(answer(&call("other"), &answers), Some(json!({ "result": { "ok": true } })));
        assert_eq!(answer(&json!({ "event": "conversation:ended" }), &answers), None);
    }
}
