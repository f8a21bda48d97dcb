//! The OpenAI server: chat completions, streamed or whole, and the list of models.
//!
//! It refuses what the real API refuses for reasoning models. The model is a script (`scripts/model.json`, or the one
//! that was set for the key: [`crate::faults`]) that reads only the conversation in the request. Token counts are
//! estimates of four characters per token.

#[cfg(test)]
mod fault_tests;
mod models;
mod reply;
mod request;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::faults::{self, Admission, Disruption, Endpoint, Keys, Treatment};
use crate::script::{Reply, Script};
use crate::{clock, ids};
use request::{Completion, Refusal};

/// Time between two tokens of a streamed response: 50 tokens a second.
const TOKEN_TIME: Duration = Duration::from_millis(20);

const COMPLETIONS: &str = "/v1/chat/completions";

/// The models in the list; other models of the same families work, too.
const MODELS: [&str; 3] = ["gpt-6-luna", "gpt-6-sol", "gpt-4o"];

/// The key that the server accepts. It is not secret: it opens only a loopback server.
pub(crate) const API_KEY: &str = "sandbox-openai-key";

/// The key by its name in a deployment's provider keys.
pub(crate) const KEYS: &[(&str, &str)] = &[("openai_api_key", API_KEY)];

/// The server's routes (below `/v1`); `api_key` is its own key, others are added at `/sandbox/keys`. Responses that a
/// fault keeps open end with the token.
pub(crate) fn router(api_key: String, stop: &CancellationToken) -> Router {
    let keys = Arc::new(Keys::<Script>::new(api_key, &[Endpoint::Chat]));
    Router::new()
        .route(COMPLETIONS, post(complete))
        .route("/v1/models", get(list_models))
        .fallback(async |request: Request| {
            let message = format!("Invalid URL ({} {})", request.method(), request.uri().path());
            Refusal::new(StatusCode::NOT_FOUND, message)
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&keys), admit))
        .with_state(stop.clone())
        .merge(faults::router(keys))
}

/// Refuses requests with an unknown key or a due fault; gives every response an id.
async fn admit(State(keys): State<Arc<Keys<Script>>>, mut request: Request, next: Next) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let part = (request.uri().path() == COMPLETIONS).then_some(Endpoint::Chat);
    let mut response = match authorization.and_then(|value| value.strip_prefix("Bearer ")) {
        None => Refusal::key("You didn't provide an API key.").into_response(),
        Some(key) => match keys.admit(key, part) {
            Admission::Served(service) => {
                request.extensions_mut().insert(service);
                next.run(request).await
            }
            Admission::Unknown => Refusal::key("Incorrect API key provided.").into_response(),
            Admission::Refused => {
                let message = "The server is currently overloaded. Please try again later.";
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message).into_response()
            }
            Admission::RateLimited => {
                let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Rate limit reached for requests.");
                let code = Some("rate_limit_exceeded");
                ([(header::RETRY_AFTER, "1")], Refusal { code, ..refusal }).into_response()
            }
        },
    };
    if let Ok(id) = HeaderValue::from_str(&ids::sid("req_")) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

async fn list_models() -> Json<Value> {
    let today = clock::today();
    let model = |id: &str| {
        let shutdown_date = models::shutdown_date(id).map(|date| date.to_string());
        json!({ "id": id, "object": "model", "created": 0, "owned_by": "sandbox", "shutdown_date": shutdown_date })
    };
    let live: Vec<_> = MODELS.into_iter().filter(|id| models::exists(id, today)).map(model).collect();
    Json(json!({ "object": "list", "data": live }))
}

async fn complete(
    State(stop): State<CancellationToken>,
    Extension(service): Extension<Treatment<Script>>,
    body: Bytes,
) -> Response {
    let request = match Completion::parse(&body, clock::today()) {
        Ok(request) => request,
        Err(refusal) => return refusal.into_response(),
    };
    let reply = match service.script.map_or_else(|| Script::load().map(Arc::new), Ok) {
        Ok(script) => script.reply(&request.conversation()),
        Err(error) => {
            return Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
        }
    };
    let after = reply.after;
    let (content_type, mut pieces, half) = answer(&request, &reply);
    match service.disruption {
        None => {}
        Some(Disruption::Silent) => pieces.clear(),
        Some(Disruption::Break | Disruption::Stall) => pieces.truncate(half),
    }
    let paced = stream::iter(pieces).enumerate().then(move |(position, piece)| async move {
        tokio::time::sleep(if position == 0 { after + TOKEN_TIME } else { TOKEN_TIME }).await;
        Ok(Bytes::from(piece))
    });
    let body = faults::body(paced, service.disruption, stop);
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// The response on the wire: its content type, its pieces, and the number of pieces in its first half.
fn answer(request: &Completion, reply: &Reply) -> (&'static str, Vec<String>, usize) {
    let (id, created) = (ids::sid("chatcmpl-"), clock::now().as_second());
    let ids: Vec<String> = reply.calls.iter().map(|_| ids::sid("call_")).collect();
    let usage = reply.usage(request.prompt_tokens());
    if !request.stream {
        let choice = json!({
            "index": 0, "message": reply.message(&ids), "logprobs": null, "finish_reason": reply.finish_reason(),
        });
        let whole = json!({
            "id": id, "object": "chat.completion", "created": created, "model": request.model,
            "choices": [choice], "usage": usage,
        });
        let mut first = whole.to_string();
        let second = first.split_off(first.floor_char_boundary(first.len() / 2));
        return ("application/json", vec![first, second], 1);
    }
    let include_usage = request.stream_options.as_ref().is_some_and(|options| options.include_usage);
    let head =
        json!({ "id": id, "object": "chat.completion.chunk", "created": created, "model": request.model });
    let choices = reply.choices(&ids);
    // The tokens lie between the role and the end.
    let half = 1 + (choices.len() - 2).div_ceil(2);
    ("text/event-stream; charset=utf-8", events(&head, choices, include_usage.then_some(usage)), half)
}

/// The server-sent events of a streamed response; `usage` only if it was requested.
fn events(head: &Value, choices: Vec<Value>, usage: Option<Value>) -> Vec<String> {
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut chunk = head.clone();
        chunk["choices"] = choices;
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    };
    let unknown = usage.is_some().then_some(Value::Null);
    let mut events: Vec<String> =
        choices.into_iter().map(|choices| chunk(choices, unknown.clone())).collect();
    events.extend(usage.map(|usage| chunk(json!([]), Some(usage))));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_comes_last_and_only_on_request() {
        let reply = Reply { text: "Hello there.".to_owned(), ..Reply::default() };
        let choices = reply.choices(&[]);
        let head = json!({"id": "c1"});
        let plain = events(&head, choices.clone(), None);
        assert_eq!(plain.last().unwrap(), "data: [DONE]\n\n");
        assert!(!plain.concat().contains("usage"));
        let usage = reply.usage(10);
        let with_usage = events(&head, choices, Some(usage));
        assert_eq!(with_usage.len(), plain.len() + 1);
        assert!(with_usage[0].contains(r#""usage":null"#));
        let last: Value =
            serde_json::from_str(with_usage[plain.len() - 1].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(
            (&last["usage"]["completion_tokens"], &last["usage"]["total_tokens"]),
            (&json!(3), &json!(13))
        );
    }
}
