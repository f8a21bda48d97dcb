//! The language model of a load test: streamed chat completions with the same two sentences about the number in the
//! last question.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    load::Load,
    speech::{Sentence, number},
};

/// Time between two tokens: 50 a second.
const TOKEN: Duration = Duration::from_millis(20);

/// The server's routes (below `/v1`); `api_key` is the only key that it accepts.
pub(crate) fn router(load: Arc<Load>, api_key: &str) -> Router {
    let server = Server { load, authorization: format!("Bearer {api_key}") };
    Router::new().route("/v1/chat/completions", post(complete)).with_state(Arc::new(server))
}

struct Server {
    load: Arc<Load>,
    authorization: String,
}

/// The members of a request that are read.
#[derive(Deserialize)]
struct Completion {
    model: String,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Value,
}

async fn complete(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    Json(request): Json<Completion>,
) -> Response {
    let key = headers.get(header::AUTHORIZATION);
    if key.is_none_or(|key| key != server.authorization.as_str()) {
        let error =
            json!({ "error": { "message": "Incorrect API key provided.", "code": "invalid_api_key" } });
        return (StatusCode::UNAUTHORIZED, Json(error)).into_response();
    }
    let said = request.messages.iter().rev().find(|message| message.role == "user");
    let asked = said.and_then(|message| number(message.content.as_str().unwrap_or_default()));
    if let Some(asked) = asked {
        server.load.record_model_request(asked);
    }
    let (first, last) = match asked {
        Some(asked) => (Sentence::First.about(asked), format!(" {}", Sentence::Last.about(asked))),
        None => ("I am here.".to_owned(), String::new()),
    };
    let answer = format!("{first}{last}");
    let mut events = Vec::new();
    let mut read = 0;
    for token in tokens(&answer) {
        // Only the token after a full stop proves that the sentence has ended.
        let ends = read == first.len();
        read += token.len();
        events.push((event(&request.model, &json!({ "content": token }), None), ends));
    }
    events.push((event(&request.model, &json!({}), Some("stop")), false));
    events.push(("data: [DONE]\n\n".to_owned(), false));
    let paced = stream::iter(events).then(move |(event, ends)| {
        let load = server.load.clone();
        async move {
            tokio::time::sleep(TOKEN).await;
            if let Some(asked) = asked.filter(|_| ends) {
                load.record_first_sentence(asked);
            }
            anyhow::Ok(event)
        }
    });
    ([(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")], Body::from_stream(paced)).into_response()
}

/// Splits into words with the space before them, as real tokens have it.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.char_indices().skip(1).find(|(_, c)| *c == ' ').map_or(rest.len(), |(index, _)| index);
        let (token, more) = rest.split_at(end);
        rest = more;
        (!token.is_empty()).then_some(token)
    })
}

fn event(model: &str, delta: &Value, finish_reason: Option<&str>) -> String {
    let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason });
    let chunk = json!({
        "id": "chatcmpl-canned", "object": "chat.completion.chunk", "created": 0, "model": model,
        "choices": [choice],
    });
    format!("data: {chunk}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_words_and_join_to_the_whole_text() {
        assert_eq!(
            tokens("The first half. The last").collect::<Vec<_>>(),
            ["The", " first", " half.", " The", " last"]
        );
        assert_eq!(tokens("").count(), 0);
    }
}
